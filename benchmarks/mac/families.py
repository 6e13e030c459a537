"""Small ML programs, one a family of operations, that show a Mac and the evaluator the same questions.

Each result is an output of its own, so that one run tells which operation answers otherwise.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHAPE = (1, 8, 12, 16)
Results = Mapping[str, Any]
Family = Callable[[Any, Any], Results]
"""(coremltools' builder, an input of `SHAPE`) → results by name"""


def _each(names: str, b: Any, x: Any) -> Results:
    """Operations of one input and no parameters."""
    return {name: getattr(b, name)(x=x) for name in names.split()}


def _positive(names: str, b: Any, x: Any) -> Results:
    """The same on values above 0."""
    return _each(names, b, b.add(x=b.abs(x=x), y=np.float32(0.5)))


def _weights(*shape: int) -> NDArray[np.float32]:
    spread = 1 / float(np.sqrt(np.prod(shape[1:])))
    return np.random.default_rng(sum(shape)).normal(0, spread, shape).astype(np.float32)


def _activation(b: Any, x: Any) -> Results:
    return {
        **_each("relu relu6 sigmoid silu softplus softsign tanh", b, x),
        "elu": b.elu(x=x, alpha=np.float32(0.7)),
        "gelu_exact": b.gelu(x=x, mode="EXACT"),
        "gelu_tanh": b.gelu(x=x, mode="TANH_APPROXIMATION"),
        "leaky_relu": b.leaky_relu(x=x, alpha=np.float32(0.1)),
        "prelu": b.prelu(x=x, alpha=np.linspace(0, 0.7, 8, dtype=np.float32)),
        "sigmoid_hard": b.sigmoid_hard(x=x, alpha=np.float32(0.2), beta=np.float32(0.5)),
        "softmax_channels": b.softmax(x=x, axis=1),
        "softmax_last": b.softmax(x=x, axis=-1),
    }


def _binary(b: Any, x: Any) -> Results:
    y = b.reverse(x=x, axes=[3])
    names = "add sub mul maximum minimum"
    divisor = b.add(x=b.abs(x=y), y=np.float32(1))
    compared = {name: getattr(b, name)(x=x, y=y) for name in ("greater", "less_equal")}
    return {
        **{name: getattr(b, name)(x=x, y=y) for name in names.split()},
        **{name: b.cast(x=each, dtype="fp32") for name, each in compared.items()},
        "real_div": b.real_div(x=x, y=divisor),
        "select": b.select(cond=compared["greater"], a=x, b=divisor),
    }


def _convolution(b: Any, x: Any) -> Results:
    return {
        "plain": b.conv(x=x, weight=_weights(12, 8, 3, 3), bias=_weights(12, 1)[:, 0], pad_type="same"),
        "strided": b.conv(x=x, weight=_weights(12, 8, 3, 3), strides=[2, 2], pad_type="valid"),
        "dilated": b.conv(x=x, weight=_weights(12, 8, 3, 3), dilations=[2, 2], pad_type="same"),
        "depthwise": b.conv(x=x, weight=_weights(8, 1, 5, 5), groups=8, pad_type="same"),
        "pointwise": b.conv(x=x, weight=_weights(16, 8, 1, 1)),
        "transposed": b.conv_transpose(x=x, weight=_weights(8, 6, 2, 2), strides=[2, 2]),
    }


def _linear(b: Any, x: Any) -> Results:
    rows = b.reshape(x=x, shape=[8, 192])
    attended = b.matmul(x=x, y=x, transpose_y=True)
    return {
        "linear": b.linear(x=rows, weight=_weights(10, 192), bias=_weights(10, 1)[:, 0]),
        "matmul": attended,
        "attention": b.matmul(x=b.softmax(x=attended, axis=-1), y=x),
        "einsum": b.einsum(values=(x, b.transpose(x=x, perm=[0, 3, 2, 1])), equation="nchw,nwhu->nchu"),
    }


def _normalization(b: Any, x: Any) -> Results:
    scale, shift = np.linspace(0.5, 2, 8, dtype=np.float32), np.linspace(-1, 1, 8, dtype=np.float32)
    variance, last = np.linspace(0.5, 3, 8, dtype=np.float32), np.linspace(0.5, 2, 16, dtype=np.float32)
    return {
        "batch_norm": b.batch_norm(
            x=x, mean=shift, variance=variance, gamma=scale, beta=shift, epsilon=np.float32(1e-3)
        ),
        "instance_norm": b.instance_norm(x=x, gamma=scale, beta=shift, epsilon=np.float32(1e-3)),
        "layer_norm": b.layer_norm(x=x, axes=[3], gamma=last, beta=last, epsilon=np.float32(1e-3)),
        "l2_norm": b.l2_norm(x=x, epsilon=np.float32(1e-3)),
    }


def _pooling(b: Any, x: Any) -> Results:
    window = {"kernel_sizes": [3, 3], "strides": [2, 2]}
    return {
        "max_valid": b.max_pool(x=x, pad_type="valid", **window),
        "max_padded": b.max_pool(x=x, pad_type="custom", pad=[1, 1, 1, 1], **window),
        "average": b.avg_pool(x=x, pad_type="valid", **window),
        "average_excluded": b.avg_pool(
            x=x, pad_type="custom", pad=[1, 1, 1, 1], exclude_padding_from_average=True, **window
        ),
    }


def _reduction(b: Any, x: Any) -> Results:
    names = "reduce_max reduce_mean reduce_min reduce_sum reduce_l1_norm reduce_l2_norm reduce_sum_square"
    return {
        **{name: getattr(b, name)(x=x, axes=[2, 3], keep_dims=True) for name in names.split()},
        "reduce_log_sum_exp": b.reduce_log_sum_exp(x=x, axes=[1], keep_dims=True),
        "reduce_argmax": b.cast(x=b.reduce_argmax(x=x, axis=1), dtype="fp32"),
        "cumsum": b.cumsum(x=x, axis=3),
    }


def _shape(b: Any, x: Any) -> Results:
    halves = b.split(x=x, num_splits=2, axis=1)
    return {
        "transpose": b.transpose(x=x, perm=[0, 2, 3, 1]),
        "reshape": b.reshape(x=x, shape=[1, 12, 8, 16]),
        "concat": b.concat(values=(halves[1], halves[0]), axis=1),
        "slice": b.slice_by_index(x=x, begin=[0, 1, 2, 3], end=[1, 8, 12, 16], stride=[1, 2, 1, 3]),
        "pad_constant": b.pad(x=x, pad=[1, 2, 3, 0], mode="constant", constant_val=np.float32(0.5)),
        "pad_reflect": b.pad(x=x, pad=[1, 2, 3, 0], mode="reflect"),
        "tile": b.tile(x=x, reps=[1, 2, 1, 3]),
        "depth_to_space": b.depth_to_space(x=x, block_size=2),
        "space_to_depth": b.space_to_depth(x=x, block_size=2),
    }


def _indexing(b: Any, x: Any) -> Results:
    values, indices = b.topk(x=x, k=3, axis=3)
    return {
        "gather": b.gather(x=x, indices=np.array([5, 0, 2], np.int32), axis=1),
        "topk_values": values,
        "topk_indices": b.cast(x=indices, dtype="fp32"),
    }


def _resizing(b: Any, x: Any) -> Results:
    bilinear = {"scale_factor_height": 2.0, "scale_factor_width": 2.0}
    return {
        "nearest": b.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=2),
        "bilinear": b.upsample_bilinear(x=x, align_corners=False, **bilinear),
        "bilinear_corners": b.upsample_bilinear(x=x, align_corners=True, **bilinear),
        "resize": b.resize_bilinear(x=x, target_size_height=7, target_size_width=9, sampling_mode="DEFAULT"),
    }


def _quantization(b: Any, x: Any) -> Results:
    codes = b.quantize(input=x, scale=np.float32(0.04), zero_point=np.int8(-3), output_dtype="int8")
    returned = b.dequantize(input=codes, scale=np.float32(0.04), zero_point=np.int8(-3))
    stored = np.random.default_rng(0).integers(-127, 128, (12, 8, 3, 3)).astype(np.int8)
    scale, zero = np.linspace(0.001, 0.003, 12, dtype=np.float32), np.zeros(12, np.int8)
    weight = b.constexpr_affine_dequantize(quantized_data=stored, zero_point=zero, scale=scale, axis=np.int32(0))
    return {"round_trip": b.identity(x=returned), "conv": b.conv(x=returned, weight=weight, pad_type="same")}


def _recurrent(b: Any, x: Any) -> Results:
    steps, start = b.reshape(x=x, shape=[12, 1, 128]), np.zeros((1, 16), np.float32)
    sequence, _, _ = b.lstm(
        x=steps,
        initial_h=start,
        initial_c=start,
        weight_ih=_weights(64, 128),
        weight_hh=_weights(64, 16),
        bias=_weights(64, 1)[:, 0],
        output_sequence=True,
    )
    return {"lstm": sequence}


def _control(b: Any, x: Any) -> Results:
    total = b.reduce_sum(x=x, axes=[0, 1, 2, 3], keep_dims=False)
    chosen = b.cond(
        pred=b.greater(x=total, y=np.float32(0)),
        _true_fn=lambda: b.mul(x=x, y=2.0),
        _false_fn=lambda: b.mul(x=x, y=-1.0),
    )
    _, looped = b.while_loop(
        _cond=lambda count, _: b.less(x=count, y=np.int32(3)),
        _body=lambda count, value: (b.add(x=count, y=np.int32(1)), b.mul(x=value, y=0.5)),
        loop_vars=(np.int32(0), x),
    )
    return {"cond": chosen, "while_loop": looped}


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "activation": _activation,
        "binary": _binary,
        "control": _control,
        "convolution": _convolution,
        "indexing": _indexing,
        "linear": _linear,
        "normalization": _normalization,
        "pooling": _pooling,
        "positive": partial(_positive, "sqrt rsqrt log inverse"),
        "quantization": _quantization,
        "recurrent": _recurrent,
        "reduction": _reduction,
        "resizing": _resizing,
        "shape": _shape,
        "unary": partial(_each, "abs atan ceil cos erf exp floor round sign sin square"),
    }
)
