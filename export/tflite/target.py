"""What TFLite takes, in one value."""

from edgewright.export.operators import Target
from edgewright.export.reasons import REASONS
from edgewright.export.tflite.kernels import KERNELS
from edgewright.export.tflite.lower import DTYPES
from edgewright.export.tflite.quantization import INT8_KERNELS
from edgewright.export.tflite.rules import TFLITE

TARGET = Target(TFLITE, DTYPES, INT8_KERNELS | {"QuantizeLinear", "DequantizeLinear"}, KERNELS, REASONS)
