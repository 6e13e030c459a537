"""Distillation against losses written out by hand, runs that were killed, and what is refused."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgewright.compress.distill import Distill, distill_module, teach
from edgewright.compress.passes import Given, passes
from edgewright.compress.training import Training, accuracy_of, train_classifier
from edgewright.data import Samples
from edgewright.edits import Edit
from edgewright.errors import BadData, BadInput, BadModel
from edgewright.progress import Silent


def rings(count, seed, labelled=True):
    """Points of the plane in four rings, as [n, 2]: a narrow network alone hardly learns them from few labels."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, count)
    angle, radius = generator.uniform(0, 2 * np.pi, count), labels + 0.6 + generator.normal(0, 0.12, count)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(np.float32)
    return Samples({"point": points}, labels if labelled else None)


def network(width, seed=0, classes=4):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes))


def images(count, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count)
    noise = generator.normal(0, 1, (count, 2, 8, 8))
    return Samples({"image": (noise + labels[:, None, None, None]).astype(np.float32)}, labels)


def convolutional(width, stride=1, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, width, 3, stride, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3),
    )  # fmt: skip


TRAIN, VALIDATION = rings(600, 0), rings(300, 1)


@pytest.fixture(scope="module")
def teacher():
    module = network(64)
    train_classifier(module, TRAIN, VALIDATION, Training(epochs=15, learning_rate=0.01))
    return module


def first_loss(student, teachers, config, train=TRAIN):
    """The loss of the first batch, of all samples and in their order, in train mode."""
    seen = []

    def fit(module, train, _validation, _settings, _progress, *, loss):
        module.train()
        rows = torch.arange(len(train))
        outputs = module(*(torch.from_numpy(array) for array in train.inputs.values()))
        seen.append(loss(outputs, rows).detach())
        return 0.0

    teach(student, teachers, train, VALIDATION if train is TRAIN else train, config, fit=fit)
    return seen[0]


def test_the_loss_is_hintons_for_an_ensemble(teacher):
    student, other = network(8, 1), network(32, 2)
    x, labels = torch.from_numpy(TRAIN.inputs["point"]), torch.from_numpy(TRAIN.labels)
    with torch.no_grad():
        target = (functional.softmax(teacher(x) / 3, 1) + functional.softmax(other(x) / 3, 1)) / 2
        q = functional.softmax(student(x) / 3, 1)
        soft = (target * (target / q).log()).sum(1).mean() * 9
        hard = functional.cross_entropy(student(x), labels)
    found = first_loss(student, [teacher, other], Distill(temperature=3.0, alpha=0.25))
    assert float(found) == pytest.approx(float(0.25 * soft + 0.75 * hard), rel=1e-5)


def test_a_hint_compares_features_behind_a_projection_that_the_student_does_not_keep():
    student, wide = convolutional(4, stride=2), convolutional(6, seed=1).eval()
    names = set(student.state_dict())
    config = Distill(alpha=0, hints=("0=0",), hint_weight=2.0, epochs=2)
    loss = first_loss(student, [wide], config, images(40))
    assert set(student.state_dict()) == names and not student._forward_hooks and not student[0]._forward_hooks
    plain = first_loss(student, [wide], Distill(alpha=0.5), images(40))
    x = torch.from_numpy(images(40).inputs["image"])
    with torch.no_grad():
        theirs = functional.adaptive_avg_pool2d(wide[0](x), (4, 4))
        torch.manual_seed(0)
        projection = nn.Conv1d(4, 6, 1)
        ours = projection(student[0](x).flatten(2)).reshape(theirs.shape)
        expected = 2 * ((ours - theirs) ** 2).mean() / (theirs**2).mean()
        hard = functional.cross_entropy(student.train()(x), torch.from_numpy(images(40).labels))
    assert float(loss) == pytest.approx(float(expected + hard), rel=1e-5)
    assert float(plain) != float(loss)


def test_attention_compares_maps_of_unit_length():
    student, wide = convolutional(4), convolutional(6, seed=1).eval()
    x = torch.from_numpy(images(40).inputs["image"])
    with torch.no_grad():
        maps = [(module[0](x) ** 2).mean(1).flatten(1) for module in (student, wide)]
        ours, theirs = (each / each.norm(dim=1, keepdim=True) for each in maps)
        expected = (ours - theirs).norm(dim=1).mean() * 5
        hard = functional.cross_entropy(copy.deepcopy(student).train()(x), torch.from_numpy(images(40).labels))
    config = Distill(alpha=0, hints=("0=0",), hint="attention", hint_weight=5.0)
    assert float(first_loss(student, [wide], config, images(40))) == pytest.approx(float(expected + hard), rel=1e-5)


def test_hints_bring_the_student_closer_to_what_the_teacher_sees():
    wide = convolutional(6, seed=1).eval()
    data = images(200)
    x = torch.from_numpy(data.inputs["image"])

    def gap(hint_weight):
        student = convolutional(4)
        config = Distill(hints=("2=2",), hint="attention", hint_weight=hint_weight, epochs=4, learning_rate=0.01)
        teach(student, [wide], data, images(60, 1), config)
        with torch.no_grad():
            maps = [functional.normalize((m[:3](x) ** 2).mean(1).flatten(1), dim=1) for m in (student, wide)]
        return float((maps[0] - maps[1]).norm(dim=1).mean())

    assert gap(20.0) < 0.9 * gap(1e-6)


def test_a_student_learns_from_a_teacher_without_any_label(teacher):
    student = network(16, 3)
    train, validation = rings(600, 0, labelled=False), rings(300, 1, labelled=False)
    config = Distill(alpha=1.0, epochs=20, learning_rate=0.02)
    agreement = teach(student, [teacher], train, validation, config)
    x = torch.from_numpy(VALIDATION.inputs["point"])
    with torch.no_grad():
        assert agreement == float((student(x).argmax(1) == teacher(x).argmax(1)).float().mean())
    assert agreement > 0.85
    assert accuracy_of(student, VALIDATION) > 0.85


def test_modules_stay_as_they_were_and_a_seed_gives_the_same_weights(teacher):
    module = network(8).train()
    before = [copy.deepcopy(each.state_dict()) for each in (module, teacher)]
    given = Given({"point": torch.zeros(1, 2)}, TRAIN, VALIDATION, teachers=[teacher])
    config = Distill(epochs=2)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    (one, edit), (two, again), (other, _) = (
        distill_module(module, each, given) for each in (config, config, Distill(epochs=2, seed=1))
    )
    assert torch.get_rng_state().equal(state)
    for each, old in zip((module, teacher), before, strict=True):
        assert all(value.equal(old[key]) for key, value in each.state_dict().items())
    assert module.training and not one.training
    assert same(one, two) and not same(one, other)
    assert edit == again and Edit.from_json(json.loads(json.dumps(edit.to_json()))).resized == ()


def same(one, two):
    return all(value.equal(two.state_dict()[key]) for key, value in one.state_dict().items())


def test_the_module_teaches_a_student_of_another_structure(teacher):
    small = network(8, 5)
    student, _ = distill_module(teacher, Distill(epochs=2), Given({}, TRAIN, VALIDATION, student=small))
    alone = network(8, 5)
    teach(alone, [teacher], TRAIN, VALIDATION, Distill(epochs=2))
    assert same(student, alone) and not same(student, small)


class Killed(Exception):
    pass


class KilledAfter(Silent):
    """A progress bar at which a run dies after so many units of training."""

    def __init__(self, units):
        self.units = units
        self.labels = []

    def task(self, label, total=None):
        self.labels.append(label)
        return super().task(label, total) if "train" not in label else _Counting(self)


class _Counting:
    def __init__(self, progress):
        self.progress = progress

    def __enter__(self):
        return self.advance

    def __exit__(self, *_):
        return None

    def advance(self, units):
        self.progress.units -= units
        if self.progress.units < 0:
            raise Killed


@pytest.mark.parametrize("hints", [(), ("0=0",)])
def test_a_killed_run_goes_on_to_the_same_weights_without_asking_the_teacher_again(tmp_path, hints):
    wide, train, validation = convolutional(6, seed=1), images(100), images(50, 1)
    config = Distill(hints=hints, epochs=5, batch=32)  # four batches an epoch
    whole = convolutional(4)
    best = teach(whole, [wide], train, validation, config)
    killed, dying = convolutional(4), KilledAfter(10)
    with pytest.raises(Killed):
        teach(killed, [wide], train, validation, config, progress=dying, scratch=tmp_path)
    assert "ask the teacher" in dying.labels
    resumed, watching = convolutional(4), KilledAfter(20)
    assert teach(resumed, [wide], train, validation, config, progress=watching, scratch=tmp_path) == best
    assert watching.units == 0 and "ask the teacher" not in watching.labels
    assert same(whole, resumed)
    assert not same(whole, killed)


def test_another_loss_does_not_go_on_with_what_was_left(tmp_path, teacher):
    students = [network(8) for _ in range(3)]
    for student, temperature, scratch in zip(students, (2.0, 5.0, 5.0), (tmp_path, tmp_path, None), strict=True):
        config = Distill(temperature=temperature, epochs=1)
        teach(student, [teacher], TRAIN, VALIDATION, config, scratch=scratch)
    assert same(students[1], students[2]) and not same(students[0], students[1])


def test_refusals_of_modules(teacher):
    def refused(error, match, student=None, teachers=(teacher,), train=TRAIN, config=None, **more):
        with pytest.raises(error, match=match):
            teach(student or network(8), teachers, train, VALIDATION, config or Distill(), **more)

    refused(BadInput, "there is no teacher", teachers=())
    five, wide = network(8, classes=5), nn.Sequential(nn.Linear(3, 4))
    refused(BadModel, r"teacher 2 gives \[2, 5\], the student \[2, 4\]", teachers=(teacher, five))
    refused(BadModel, r"teacher 1 failed on inputs \[\(2, 2\)\]: RuntimeError", teachers=(wide,))
    refused(BadModel, "teacher 1 gives tuple, wanted one tensor", teachers=(nn.LSTM(2, 4),))
    refused(BadModel, "labels go up to 3, but the student has 2", network(8, classes=2), (network(8, classes=2),))
    refused(BadModel, "two classes or more", network(8, classes=1), (network(8, classes=1),))
    config = Distill(hints=("7=0", "0=nine"))
    refused(BadInput, "the student has no layer.* '7'; the teacher has no layer.* 'nine'", config=config)
    attention = Distill(hints=("0=0",), hint="attention")
    refused(BadInput, r"0=0: the student's layer gives \(2, 8\), and attention wants", config=attention)

    def own(_module, _train, _validation, _settings, _progress):
        raise AssertionError

    refused(BadInput, "function own takes no `loss`", fit=own)


def test_refusals_of_data(teacher):
    none = TRAIN.at(np.arange(0))
    with pytest.raises(BadData, match=r"alpha is 0.7, which needs labels.*set alpha = 1"):
        teach(network(8), [teacher], rings(9, 0, labelled=False), VALIDATION, Distill())
    with pytest.raises(BadData, match="train part is empty; the validation part is empty"):
        teach(network(8), [teacher], none, none, Distill())
    with pytest.raises(BadData, match="needs samples"):
        distill_module(network(8), Distill(), Given({}, teachers=[teacher]))


def test_every_bad_setting_is_named():
    with pytest.raises(BadInput) as caught:
        Distill(
            temperature=0,
            alpha=2,
            hints=("a",),
            hint="shape",
            hint_weight=0,
            teacher=(3,),
            epochs=0,  # type: ignore[arg-type]
        )
    for part in (
        "temperature is 0",
        "alpha is 2",
        "'a' is not",
        "'shape'",
        "hint_weight is 0",
        "3 is no",
        "epochs ≥ 1",
    ):
        assert part in str(caught.value)
    with pytest.raises(BadInput, match="would teach nothing"):
        Distill(alpha=0)


def test_it_is_a_pass_that_uses_data():
    found = passes()["distill"]
    assert found.uses_data and found.references == ("teacher", "student")
