from pathlib import Path

import pytest

from edgewright.compress.prune import Prune
from edgewright.compress.training import Training
from edgewright.devices.device import Budget
from edgewright.devices.spec import Precision
from edgewright.errors import BadRecipe
from edgewright.export.onnx.passes.batch import InputShape
from edgewright.recipe import read_recipe

WHOLE = """
model = "net.py:net"
data = "d.npz"
devices = ["raspberry-pi-4"]
precisions = ["int8"]
seed = 3
[preprocess]
scale = 0.5
mean = [0.1, 0.2]
std = [1.0, 2]
dtype = "uint8"
[train]
epochs = 2
learning_rate = 1
[[compress]]
pass = "prune"
amount = 0.25
keep = ["head"]
finetune = { epochs = 1 }
[budget]
accuracy_drop = 0.01
ram_bytes = 1000
[options.quantize]
estimator = "minmax"
[options.tflite-int8]
layout = "nhwc"
"""


def write(folder, text):
    (folder / "edgewright.toml").write_text(text)
    return folder / "edgewright.toml"


def test_a_whole_recipe(tmp_path):
    (tmp_path / "net.py").write_text("")
    (tmp_path / "d.npz").write_text("")
    recipe = read_recipe(write(tmp_path, WHOLE))
    assert recipe.model == f"{tmp_path}/net.py:net" and recipe.data == f"{tmp_path}/d.npz"
    assert recipe.precisions == (Precision.INT8,) and recipe.seed == 3
    assert recipe.preprocess.mean == (0.1, 0.2) and recipe.preprocess.std == (1.0, 2)
    assert recipe.train == Training(epochs=2, learning_rate=1)
    [prune] = recipe.compress
    assert prune.config == Prune(0.25, keep=("head",)) and prune.finetune == Training(epochs=1)
    assert recipe.budget == Budget(accuracy_drop=0.01, ram_bytes=1000)
    assert recipe.options["quantize"].estimator == "minmax"
    assert recipe.options["tflite-int8"].layout == "nhwc"


def test_every_mistake_is_listed_with_the_nearest_key(tmp_path):
    text = """
modle = "net.py:net"
devices = ["rasberry-pi-4"]
precisions = ["int9"]
[train]
epoch = 3
batch = "many"
[[compress]]
pass = "prun"
[[compress]]
pass = "prune"
amount = 2.0
[options.quantise]
[budget]
size = 3
"""
    with pytest.raises(BadRecipe) as caught:
        read_recipe(write(tmp_path, text))
    for part in (
        "unknown key modle; did you mean 'model'?",
        "model is missing",
        "unknown device 'rasberry-pi-4'; did you mean 'raspberry-pi-4'?",
        "unknown precision 'int9'; did you mean 'int8'",
        "unknown key train.epoch; did you mean 'epochs'?",
        "train.batch is 'many', wanted number",
        "compress[0].pass is 'prun'; did you mean 'prune'?",
        "compress[1]: prune: amount is 2.0",
        "unknown key options.quantise; did you mean 'quantize'",
        "unknown key budget.size; did you mean 'size_bytes'?",
    ):
        assert part in str(caught.value)
    assert caught.value.exit_code == 2


def test_values_of_the_wrong_type(tmp_path):
    text = """
model = 3
devices = "raspberry-pi-4"
seed = true
train = 5
compress = [1]
[preprocess]
mean = ["a"]
std = 1.0
[budget]
latency_ms = "fast"
"""
    with pytest.raises(BadRecipe) as caught:
        read_recipe(write(tmp_path, text))
    for part in (
        "model is 3, wanted text",
        "devices is 'raspberry-pi-4', wanted a list",
        "seed is True, wanted a whole number",
        "train is 5, wanted a table",
        "compress[0] is 1, wanted a table",
        "preprocess.mean is ['a'], wanted a list of numbers",
        "preprocess.std is 1.0, wanted a list of numbers",
        "budget.latency_ms is 'fast', wanted number",
    ):
        assert part in str(caught.value)


def test_not_toml(tmp_path):
    with pytest.raises(BadRecipe, match=r"edgewright\.toml"):
        read_recipe(write(tmp_path, "model = "))
    with pytest.raises(BadRecipe, match="No such file"):
        read_recipe(tmp_path / "absent.toml")


@pytest.mark.parametrize("example", ["watch", "studentnet"])
def test_the_examples_are_valid(example):
    recipe = read_recipe(Path(__file__).parents[1] / "examples" / example / "edgewright.toml")
    assert len(recipe.devices) == 4 and recipe.train is not None


def test_shapes_of_an_onnx_model(tmp_path):
    path = tmp_path / "edgewright.toml"
    path.write_text('model = "net.onnx"\n[shapes]\nimage = ["1?", 3, 224, 224]\nstate = [1, 8]\n')
    assert read_recipe(path).shapes == {"image": InputShape((1, 3, 224, 224), (0,)), "state": InputShape((1, 8))}
    path.write_text('model = "net.onnx"\n[shapes]\nimage = [1, 0]\nstate = 8\n')
    with pytest.raises(BadRecipe, match=r"shapes.state is 8, wanted a list; shapes: shape of 'image': 0 at axis 1"):
        read_recipe(path)
