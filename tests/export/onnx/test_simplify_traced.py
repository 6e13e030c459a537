"""Files of the TorchScript exporter, which leaves shapes, pads and slices as arithmetic in the graph."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgewright.export.onnx.file import load_onnx
from edgewright.export.onnx.simplify import simplify


class Calls(nn.Module):
    def __init__(self, function: Callable[..., Tensor], *modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.parts)


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], list[str]]] = {
    "pads are constants": (
        lambda: Calls(lambda x: nn.functional.pad(x, (1, 2, 0, 1), value=0.5)), (1, 2, 4, 5), ["Pad"],
    ),
    "shapes of padded tensors are constants": (
        lambda: Calls(lambda x: nn.functional.pad(x, (0, 1)).chunk(2, 2)[1].exp()), (1, 2, 7), ["Pad", "Slice", "Exp"],
    ),
    "weights that were transposed": (
        lambda: Calls(lambda x, a, b: b(a(x)), nn.Linear(4, 4), nn.Linear(4, 4)),
        (1, 3, 4),
        ["MatMul", "Add", "MatMul", "Add"],
    ),
    "one column behind a slice": (
        lambda: Calls(lambda x, a: a(x.chunk(2, 1)[0]).exp(), nn.Linear(3, 1)), (1, 6), ["Slice", "Gemm", "Exp"],
    ),
    "a roll by the whole length of one axis": (
        lambda: Calls(lambda x: x.roll((1, 4), (1, 2)).exp()), (1, 3, 4),
        ["Slice", "Slice", "Concat", "Exp"],
    ),
    "an output that is only reshaped": (
        lambda: Calls(lambda x: x.mean((1, 2), keepdim=True).unsqueeze(1).squeeze(1)),
        (1, 4, 4),
        ["ReduceMean", "Reshape"],
    ),
}  # fmt: skip


def export(module: nn.Module, x: Tensor, path: Path) -> NDArray[np.float32]:
    """Write the file; gives torch's answer."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, of itself
        torch.onnx.export(
            module, (x,), path, dynamo=False, opset_version=18, do_constant_folding=False, input_names=["x"]
        )
        answer: NDArray[np.float32] = module(x).numpy()
    return answer


@pytest.mark.parametrize("case", NETS)
def test_traced_files_come_out_clean(case: str, tmp_path: Path) -> None:
    make, shape, wanted_ops = NETS[case]
    torch.manual_seed(0)
    module, x = make().eval(), torch.randn(shape)
    wanted = export(module, x, tmp_path / "m.onnx")
    model, _ = simplify(load_onnx(tmp_path / "m.onnx"))
    found = [node.op_type for node in model.graph]
    assert found == wanted_ops
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], wanted, rtol=1e-5, atol=1e-6)
