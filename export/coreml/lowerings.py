"""The rules that turn ONNX operators into MIL operations; the modules of `ops` fill them."""

from edgewright.export.lowering import Lowerings

COREML = Lowerings("coreml", "edgewright.export.coreml.ops")
