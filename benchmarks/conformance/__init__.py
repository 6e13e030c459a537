"""onnx's own test cases through a target: what passes, what is refused and why, and that nothing answers wrongly."""
