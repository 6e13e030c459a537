"""ONNX → ONNX: the clean float graph, float16, and int8 as Q/DQ pairs."""
