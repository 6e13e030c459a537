"""What Core ML takes, in one value; which operators of an int8 program compute in int8 is the device's choice."""

from edgewright.export.coreml.border import BORDER_DTYPES
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.operators import Target
from edgewright.export.reasons import REASONS

TARGET = Target(COREML, frozenset(BORDER_DTYPES), ("QuantizeLinear", "DequantizeLinear"), (), REASONS)
