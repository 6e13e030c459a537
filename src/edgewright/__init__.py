"""edgewright: from a PyTorch module or an ONNX file to files that run on watches, phones and small boards."""


__version__ = "0.1.0"

__all__ = ["__version__"]
