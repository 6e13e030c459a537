"""Rules that run ONNX operators with torch, one file a family."""
