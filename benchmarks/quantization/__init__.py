"""Quantization held against bars, on real models and real data: `python -m edgewright.benchmarks.quantization`."""
