"""onnx:float32 → onnx:int8: what runs in int8 (plan), what values tensors take (calibrate), on which grid (qdq)."""
