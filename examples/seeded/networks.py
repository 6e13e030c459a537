"""The five seeded networks of the tests as factories: true topologies at small widths, BN layers lived in."""

from functools import partial

import torch
from torch import Tensor, nn

from tests.models import NETWORKS


def network(name: str) -> tuple[nn.Module, dict[str, Tensor]]:
    build, shape = NETWORKS[name]
    return build(), {"input": torch.zeros(1, *shape)}


watch_cnn = partial(network, "watch_cnn")
student_net = partial(network, "student_net")
mobilenet_v2 = partial(network, "mobilenet_v2")
resnet18 = partial(network, "resnet18")
efficientnet_lite0 = partial(network, "efficientnet_lite0")
