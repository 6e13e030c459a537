"""What a user chooses about quantization."""

from dataclasses import dataclass
from typing import Literal

from edgewright.errors import BadInput
from edgewright.export.onnx.quantize.observation import ESTIMATORS
from edgewright.export.onnx.quantize.qat import Qat

ROUNDINGS = ("nearest", "gptq", "learned")


@dataclass(frozen=True)
class QuantizeOptions:
    """`estimator` sets activation ranges ("auto": the best by measured SNR); `samples`: how many calibrate.

    `equalize` and `correct_bias` improve accuracy where the validation samples show that they do. `scale_inputs` does
    too, where the channels of an input differ in range: for a float multiplication, and no int8 inputs.
    `fast_x86` gives weights 7 bits, with which the fast kernels of any x86 answer exactly: another, coarser network.
    `rounding` of weights: nearest, gptq (error feedback, in closed form), or learned (then also trained on their grids,
    without labels, for about `rounding_seconds`). `qat` fine-tunes on the train part, with labels where there are any.
    """

    estimator: Literal["auto", "minmax", "average", "percentile", "mse", "entropy"] = "auto"
    samples: int = 256
    equalize: bool = True
    scale_inputs: bool = False
    correct_bias: bool = True
    fast_x86: bool = False
    rounding: str = "gptq"
    rounding_seconds: int = 120
    qat: Qat | None = None

    def __post_init__(self) -> None:
        if self.estimator not in ("auto", *ESTIMATORS) or not isinstance(self.samples, int) or self.samples < 1:
            raise BadInput(f"{self}: estimator is auto, {', '.join(ESTIMATORS)}; samples at least 1")
        if self.rounding not in ROUNDINGS or self.rounding_seconds < 1:
            raise BadInput(f"{self}: rounding is {', '.join(ROUNDINGS)}; rounding_seconds at least 1")
