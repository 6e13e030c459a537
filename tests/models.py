"""The networks that the tests share: true topologies and operators at small widths, seeded, with lived-in BN layers."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """`after(body(x) + shortcut(x))`."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None, after: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut or nn.Identity()
        self.after = after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        summed: Tensor = self.after(self.body(x) + self.shortcut(x))
        return summed


def conv_bn(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = nn.ReLU6
) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs), *([act()] if act else [])]


def watch_cnn(channels: int = 6, samples: int = 100, classes: int = 7) -> nn.Module:
    """A 1-D CNN for windows [n, channels, samples] of motion sensors."""

    def build() -> nn.Module:
        widths = (channels, 16, 32, 48)
        body: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            body += [nn.Conv1d(inputs, outputs, 5, padding=2), nn.BatchNorm1d(outputs), nn.ReLU(), nn.MaxPool1d(2)]
        head = [nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(widths[-1], classes)]
        return nn.Sequential(*body, *head)

    return lived_in(build, (channels, samples))


def student_net(base: int = 8, width_mult: float = 1.0, size: int = 64, classes: int = 11) -> nn.Module:
    """Depthwise separable blocks without an activation after the pointwise convolution; ReLU6; max pools."""
    multipliers = (1, 2, 4, 8, 16, 16, 16, 16)
    widths = [int(base * m * (width_mult if 3 <= i <= 6 else 1)) for i, m in enumerate(multipliers)]

    def build() -> nn.Module:
        body = [*conv_bn(3, widths[0], 3), nn.MaxPool2d(2)]
        for block, (inputs, outputs) in enumerate(pairwise(widths), 1):
            body += [*conv_bn(inputs, inputs, 3, groups=inputs), nn.Conv2d(inputs, outputs, 1)]
            body += [nn.MaxPool2d(2)] if block <= 3 else []
        return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))

    return lived_in(build, (3, size, size))


def inverted_residual(inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> nn.Module:
    hidden = inputs * expand
    body = nn.Sequential(
        *(conv_bn(inputs, hidden, 1) if expand > 1 else []),
        *conv_bn(hidden, hidden, kernel, stride, groups=hidden),
        *conv_bn(hidden, outputs, 1, act=None),
    )
    return Residual(body) if stride == 1 and inputs == outputs else body


Stages = Sequence[tuple[int, int, int, int, int]]
"""Rows of (expand, outputs, repeats, stride, kernel)."""

MOBILENET_V2: Stages = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 32, 3, 2, 3),
    (6, 64, 4, 2, 3),
    (6, 96, 3, 1, 3),
    (6, 160, 3, 2, 3),
    (6, 320, 1, 1, 3),
)
EFFICIENTNET_LITE0: Stages = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


def inverted_network(stages: Stages, width: float, classes: int) -> nn.Module:
    def scaled(channels: int) -> int:
        return max(8, round(channels * width / 8) * 8)

    inputs = scaled(32)
    body: list[nn.Module] = conv_bn(3, inputs, 3, stride=2)
    for expand, channels, repeats, stride, kernel in stages:
        for index in range(repeats):
            outputs = scaled(channels)
            body.append(inverted_residual(inputs, outputs, kernel, stride if index == 0 else 1, expand))
            inputs = outputs
    body += [*conv_bn(inputs, scaled(1280), 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2)]
    return nn.Sequential(*body, nn.Linear(scaled(1280), classes))


def mobilenet_v2(width: float = 0.25, size: int = 64, classes: int = 10) -> nn.Module:
    return lived_in(lambda: inverted_network(MOBILENET_V2, width, classes), (3, size, size))


def efficientnet_lite0(width: float = 0.25, size: int = 64, classes: int = 10) -> nn.Module:
    """Without the asymmetric padding of the TensorFlow original."""
    return lived_in(lambda: inverted_network(EFFICIENTNET_LITE0, width, classes), (3, size, size))


def basic_block(inputs: int, outputs: int, stride: int) -> nn.Module:
    body = nn.Sequential(*conv_bn(inputs, outputs, 3, stride, act=nn.ReLU), *conv_bn(outputs, outputs, 3, act=None))
    same = stride == 1 and inputs == outputs
    shortcut = None if same else nn.Sequential(*conv_bn(inputs, outputs, 1, stride, act=None))
    return Residual(body, shortcut, nn.ReLU())


def resnet18(width: int = 8, size: int = 64, classes: int = 10) -> nn.Module:
    """`width` is the number of channels of the first stage (64 in the original)."""

    def build() -> nn.Module:
        body: list[nn.Module] = [*conv_bn(3, width, 7, stride=2, act=nn.ReLU), nn.MaxPool2d(3, 2, 1)]
        inputs = width
        for stage in range(4):
            for index in range(2):
                body.append(basic_block(inputs, width << stage, 2 if stage and not index else 1))
                inputs = width << stage
        return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))

    return lived_in(build, (3, size, size))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "watch_cnn": (watch_cnn, (6, 100)),
    "student_net": (student_net, (3, 64, 64)),
    "mobilenet_v2": (mobilenet_v2, (3, 64, 64)),
    "resnet18": (resnet18, (3, 64, 64)),
    "efficientnet_lite0": (efficientnet_lite0, (3, 64, 64)),
}
"""Factory with its default arguments, and the shape of one sample."""


def lived_in(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> nn.Module:
    """The seeded module in eval mode: BN statistics from forward passes, and a head fitted to `labelled` samples.

    Depthwise kernels lean on their centre, and the ridge of the fit keeps the head from amplifying noise: as in trained
    networks, a signal then outweighs the noise of quantization.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        module = build()
        layers = list(module.modules())
        for layer in layers:
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
                nn.init.uniform_(layer.weight, 0.6, 1.4)
                nn.init.normal_(layer.bias, std=0.2)
            if isinstance(layer, nn.Conv2d) and layer.groups > 1:
                layer.weight[:, :, layer.kernel_size[0] // 2, layer.kernel_size[1] // 2] += 2.0
        head = [layer for layer in layers if isinstance(layer, nn.Linear)][-1]
        module.train()
        for seed in range(20):
            module(labelled(shape, head.out_features, 8, seed)[0])
        fit_head(module.eval(), head, shape)
    return module


def fit_head(module: nn.Module, head: nn.Linear, shape: tuple[int, ...]) -> None:
    """Ridge regression from the features before `head` to ±2 logits."""
    inputs, labels = labelled(shape, head.out_features, 128, seed=20)
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _layer, arguments: seen.append(arguments[0]))
    module(inputs)
    hook.remove()
    features = seen[0].double()
    mean = features.mean(0)
    centred = features - mean
    targets = 4 * nn.functional.one_hot(labels, head.out_features).double() - 2
    gram = centred.T @ centred
    ridge = 1.0 * gram.trace() / len(gram) * torch.eye(len(gram), dtype=torch.double)
    weight = torch.linalg.solve(gram + ridge, centred.T @ (targets - targets.mean(0))).T
    head.weight.copy_(weight)
    head.bias.copy_(targets.mean(0) - weight @ mean)


def labelled(shape: tuple[int, ...], classes: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Seeded samples [count, *shape] and their classes [count]: a smooth pattern for each class, varied and noisy."""
    patterns = smooth(shape, classes, torch.Generator().manual_seed(12345))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (count,), generator=generator)
    gain = 0.5 + torch.rand(count, *(1,) * len(shape), generator=generator)
    noise = 0.5 * smooth(shape, count, generator) + 0.3 * torch.randn(count, *shape, generator=generator)
    return 1.5 * gain * patterns[labels] + noise, labels


def smooth(shape: tuple[int, ...], count: int, generator: torch.Generator) -> Tensor:
    """Random fields [count, *shape] that change over a quarter of the length."""
    coarse = torch.randn(count, shape[0], *(4,) * (len(shape) - 1), generator=generator)
    return nn.functional.interpolate(coarse, size=shape[1:], mode="bilinear" if len(shape) == 3 else "linear")


CLASSES = {"watch_cnn": 7, "student_net": 11}


def samples(name: str, count: int, seed: int = 100) -> Tensor:
    """Seeded inputs [count, ...] for a network of `NETWORKS` with its default arguments."""
    return labelled(NETWORKS[name][1], CLASSES.get(name, 10), count, seed)[0]
