"""Batch norms behind weights: their scale moves into the weights before these get a table.

Exporters fold a norm into the layer before it. A scale of its own for each channel would then make 2^bits values a
channel out of 2^bits values a tensor. A norm whose scale is 1 everywhere folds without that.
"""

from typing import TYPE_CHECKING, Any

from edgewright.errors import BadModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

LAYERS = ("conv1d", "conv2d", "conv3d", "linear", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


def settle_norms(module: "nn.Module", example_inputs: "Mapping[str, Tensor]") -> tuple[str, ...]:
    """Norms that alone read a layer's output get scale 1, in place; what `module` computes in eval mode stays.

    Gives the names of these norms: they only add a number to each channel. Raises BadModel where torch cannot export
    the module.
    """
    import torch

    layers = dict(module.named_modules())
    if not any(isinstance(layer, torch.nn.modules.batchnorm._BatchNorm) for layer in layers.values()):
        return ()
    settled = []
    with torch.no_grad():
        for layer, norm in _pairs(module, example_inputs):
            if _fits(layers[layer], layers[norm]):
                _settle(layers[layer], layers[norm])
                settled.append(norm)
    return tuple(settled)


def _pairs(module: "nn.Module", example_inputs: "Mapping[str, Tensor]") -> list[tuple[str, str]]:
    """(layer, norm) by name, where the norm is the only reader of what the layer gives, and both are called once."""
    program = _program(module.eval(), tuple(example_inputs.values()))
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    pairs = []
    for node in program.graph.nodes:
        if "batch_norm" in str(node.target) and node.op == "call_function":
            before = node.args[0]
            if _operator(before) in LAYERS and len(before.users) == 1:
                layer, norm = _owner(before.args[1], names), _owner(node.args[3], names)
                pairs += [(layer, norm)] if layer is not None and norm is not None else []
    return pairs


def _program(module: "nn.Module", examples: "tuple[Tensor, ...]") -> Any:
    import torch

    try:
        return torch.export.export(module, examples)
    except Exception:  # it says of a recurrent layer that its weights are set, which the strict way does not
        try:
            return torch.export.export(module, examples, strict=True)
        except Exception as error:  # torch wraps whatever the module's code raised
            raise BadModel(f"torch cannot export {type(module).__name__}: {error}") from error


def _operator(node: Any) -> str:
    """aten.conv2d.default → conv2d"""
    return str(node.target).split(".")[1] if node.op == "call_function" and "aten." in str(node.target) else ""


def _owner(node: Any, names: "Mapping[str, str]") -> str | None:
    """The layer whose parameter or buffer `node` is, when nothing else reads it."""
    if node is None or node.name not in names or len(node.users) != 1:
        return None
    return names[node.name].rpartition(".")[0]


def _fits(layer: "nn.Module", norm: "nn.Module") -> bool:
    from torch import nn

    grouped = isinstance(layer, nn.modules.conv._ConvTransposeNd) and layer.groups > 1
    known = isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd))
    return known and not grouped and isinstance(norm, nn.modules.batchnorm._BatchNorm)


def _settle(layer: Any, norm: Any) -> None:
    """y = scale · (W x + b) + shift, with scale in W and b and shift in the norm."""
    from torch import nn

    scale = (norm.running_var + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
    shift = -norm.running_mean * scale + (0 if norm.bias is None else norm.bias)
    axis = 1 if isinstance(layer, nn.modules.conv._ConvTransposeNd) else 0
    layer.weight.mul_(scale.reshape([-1 if i == axis else 1 for i in range(layer.weight.dim())]))
    if layer.bias is not None:
        layer.bias.mul_(scale)
    norm.running_var.fill_(1 - norm.eps)
    norm.running_mean.zero_()
    if norm.weight is None:
        norm.running_mean.copy_(-shift)
    else:
        norm.weight.fill_(1)
        norm.bias.copy_(shift)
