import numpy as np
import pytest
from PIL import Image

from edgewright.data import Samples, load_samples, synthetic
from edgewright.errors import BadData


def numbered(count, split=None):
    return Samples({"x": np.arange(count, dtype=np.float32)[:, None]}, split=split)


def test_without_split_a_fixed_hash_gives_three_quarters_to_calibrate():
    samples = numbered(4000)
    sizes = {part: len(samples.part(part)) for part in ("train", "calibration", "validation", "test")}
    assert sizes["train"] == 0
    assert sum(sizes.values()) == 4000
    assert abs(sizes["test"] / 4000 - 0.25) < 0.03
    assert abs(sizes["validation"] / 4000 - 0.125) < 0.02
    assert np.array_equal(samples.part("test").inputs["x"], numbered(4000).part("test").inputs["x"])


def test_parts_never_share_a_sample_even_when_calibration_is_borrowed_from_train():
    split = np.array(["train"] * 800 + ["validation"] * 100 + ["test"] * 100)
    samples = numbered(1000, split)
    parts = {part: set(samples.part(part).inputs["x"][:, 0]) for part in ("train", "calibration", "validation", "test")}
    assert sum(map(len, parts.values())) == len(set().union(*parts.values())) == 1000
    assert 60 < len(parts["calibration"]) < 150
    assert parts["test"] == set(range(900, 1000))


def test_a_split_that_names_calibration_is_taken_as_it_is():
    samples = numbered(4, np.array(["train", "train", "calibration", "test"]))
    assert len(samples.part("train")) == 2 and len(samples.part("calibration")) == 1


def test_first_is_spread_over_all_samples():
    assert numbered(100).first(5).inputs["x"][:, 0].tolist() == [0, 24, 49, 74, 99]


def test_digest_sees_values_labels_and_split():
    base = Samples({"x": np.zeros((2, 3), np.float32)}, labels=np.array([0, 1]))
    others = [
        Samples({"x": np.ones((2, 3), np.float32)}, labels=np.array([0, 1])),
        Samples({"x": np.zeros((2, 3), np.float32)}, labels=np.array([1, 1])),
        Samples({"y": np.zeros((2, 3), np.float32)}, labels=np.array([0, 1])),
        Samples({"x": np.zeros((2, 3), np.float32)}, labels=np.array([0, 1]), split=np.array(["test", "test"])),
    ]
    assert len({base.digest(), *(other.digest() for other in others)}) == 5


def test_npz_round_trip(tmp_path):
    file = tmp_path / "d.npz"
    np.savez(
        file, x=np.zeros((3, 2), np.float32), labels=np.array([0, 1, 2]), split=np.array(["train", "test", "test"])
    )
    samples = load_samples(str(file))
    assert list(samples.inputs) == ["x"] and samples.labels.tolist() == [0, 1, 2]
    assert len(samples.part("test")) == 2


def test_npy_is_the_lone_input(tmp_path):
    np.save(tmp_path / "d.npy", np.zeros((3, 2), np.float32))
    assert list(load_samples(str(tmp_path / "d.npy"), input_name="image").inputs) == ["image"]


def test_every_problem_is_listed(tmp_path):
    file = tmp_path / "d.npz"
    np.savez(
        file,
        a=np.array([[1.0], [np.nan]], np.float32),
        b=np.zeros((3, 1), np.float32),
        labels=np.array([0.5, 1.5]),
        split=np.array(["train", "exam"]),
    )
    with pytest.raises(BadData) as caught:
        load_samples(str(file))
    for part in (
        "sample counts differ",
        "a holds NaN or infinity",
        "labels have dtype float64",
        "unknown parts ['exam']",
    ):
        assert part in str(caught.value)


def test_empty_data_is_refused(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((0, 2), np.float32))
    with pytest.raises(BadData, match="no samples"):
        load_samples(str(tmp_path / "d.npz"))


def test_pickled_objects_are_refused_without_running_them(tmp_path):
    np.save(tmp_path / "d.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BadData, match="pickle"):
        load_samples(str(tmp_path / "d.npy"))


@pytest.mark.parametrize("name", ["absent.npz", "absent.npy", "absent"])
def test_absent_data(tmp_path, name):
    with pytest.raises(BadData, match="no such"):
        load_samples(str(tmp_path / name))


def test_a_truncated_archive_is_refused(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((100, 20), np.float32))
    whole = (tmp_path / "d.npz").read_bytes()
    (tmp_path / "d.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadData):
        load_samples(str(tmp_path / "d.npz"))


def test_a_folder_of_images(tmp_path):
    for label, value in (("cat", 10), ("dog", 200)):
        (tmp_path / label).mkdir()
        Image.fromarray(np.full((40, 30, 3), value, np.uint8)).save(tmp_path / label / "1.png")
    samples = load_samples(str(tmp_path), shape=(1, 3, 8, 8), input_name="image")
    assert samples.inputs["image"].shape == (2, 3, 8, 8)
    assert samples.labels.tolist() == [0, 1]
    assert samples.inputs["image"][1].max() == 200


def test_synthetic_probes_are_seeded_and_say_so():
    shapes = {"x": ((1, 3), "float32"), "n": ((None, 2), "int64")}
    one, two = synthetic(shapes, 4), synthetic(shapes, 4)
    assert one.origin == "synthetic" and one.inputs["n"].dtype == np.int64
    assert np.array_equal(one.inputs["x"], two.inputs["x"]) and one.inputs["x"].shape == (4, 3)


def test_probes_of_absurd_inputs_are_refused():
    with pytest.raises(BadData, match=r"input .x. of shape .* is too large for probes"):
        synthetic({"x": ((1, 1 << 40), "float32")}, 4)
