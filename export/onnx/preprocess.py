"""Preprocessing put in front of an ONNX model: the file takes what the app has."""

from pathlib import Path

import numpy as np

from edgewright.errors import BadInput
from edgewright.export.onnx.file import contract_of, load_onnx, save_model
from edgewright.export.steps import Notes
from edgewright.runtimes.contract import Contract, TensorInfo
from edgewright.runtimes.module.preprocess import Preprocess


def preprocess_onnx(path: Path, out: Path, preprocess: Preprocess) -> Notes:
    """input → graph   ⇒   input → Cast → Mul → Add → graph, under the input's own name.

    Raises BadInput when the model has more than one input, or an input that is not float32 N×C×….
    """
    import onnx_ir as ir

    model = load_onnx(path)
    graph = model.graph
    contract = contract_of(model)
    if len(graph.inputs) != 1 or graph.inputs[0].dtype != ir.DataType.FLOAT or len(contract.inputs[0].shape) < 2:
        names = ", ".join(f"{info.name} {info.dtype} {info.shape}" for info in contract.inputs)
        raise BadInput(f"{path}: preprocess is for one float32 input of N×C×…; this model has {names}")
    inner, info = graph.inputs[0], contract.inputs[0]
    name = info.name
    raw = ir.val(name, dtype=ir.DataType[{"uint8": "UINT8", "float32": "FLOAT"}[preprocess.dtype]], shape=inner.shape)
    inner.name = f"{name}_preprocessed"
    per_channel = (1, -1, *[1] * (len(info.shape) - 2))
    factor, offset = (np.array(values, np.float32).reshape(per_channel) for values in preprocess.affine())
    constants = [
        ir.val(f"{name}_{kind}", const_value=ir.tensor(a)) for kind, a in (("factor", factor), ("offset", offset))
    ]
    cast = ir.node("Cast", [raw], {"to": int(ir.DataType.FLOAT)}, name=f"{name}_cast")
    scaled = ir.node("Mul", [cast.outputs[0], constants[0]], name=f"{name}_scale")
    shifted = ir.node("Add", [scaled.outputs[0], constants[1]], name=f"{name}_shift")
    inner.replace_all_uses_with(shifted.outputs[0])
    graph.inputs[0] = raw
    for constant in constants:
        graph.register_initializer(constant)
    graph.insert_before(graph[0], [cast, scaled, shifted])
    save_model(model, Contract((TensorInfo(name, info.shape, preprocess.dtype),), contract.outputs), out)
    return {"preprocess": preprocess.to_json()}
