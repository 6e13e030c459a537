"""The rules that lower ONNX operators to TFLite; the modules of `ops` fill them when they are first asked for."""

from edgewright.export.lowering import Lowerings

TFLITE = Lowerings("tflite", "edgewright.export.tflite.ops")
