"""A module behind its preprocessing: one multiplication and one addition per value, carried into every format alike."""

from typing import Any

import torch
from torch import Tensor, nn

from edgewright.runtimes.module.preprocess import Preprocess


class Preprocessed(nn.Module):
    factor: Tensor
    offset: Tensor

    def __init__(self, module: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        self.module = module
        for name, values in zip(("factor", "offset"), preprocess.affine(), strict=True):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)

    def forward(self, raw: Tensor) -> Any:
        per_channel = (1, -1, *[1] * (raw.dim() - 2))
        return self.module(raw.float() * self.factor.reshape(per_channel) + self.offset.reshape(per_channel))
