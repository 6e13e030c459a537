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
        std = torch.tensor(preprocess.std, dtype=torch.float64)
        mean = torch.tensor(preprocess.mean, dtype=torch.float64)
        self.register_buffer("factor", (preprocess.scale / std).float(), persistent=False)
        self.register_buffer("offset", (-mean / std).float(), persistent=False)

    def forward(self, raw: Tensor) -> Any:
        per_channel = (1, -1, *[1] * (raw.dim() - 2))
        return self.module(raw.float() * self.factor.reshape(per_channel) + self.offset.reshape(per_channel))
