"""An ONNX graph, float or QDQ, that gradients can flow through."""
