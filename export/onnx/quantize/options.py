"""What a user chooses about quantization."""

from dataclasses import dataclass
from typing import Literal

from edgewright.errors import BadInput
from edgewright.export.onnx.quantize.observation import ESTIMATORS


@dataclass(frozen=True)
class QuantizeOptions:
    """`estimator` sets activation ranges ("auto": the best by measured SNR); `samples`: how many calibrate."""

    estimator: Literal["auto", "minmax", "average", "percentile"] = "auto"
    samples: int = 256

    def __post_init__(self) -> None:
        if self.estimator not in ("auto", *ESTIMATORS) or not isinstance(self.samples, int) or self.samples < 1:
            raise BadInput(f"{self}: estimator is auto, {', '.join(ESTIMATORS)}; samples at least 1")
