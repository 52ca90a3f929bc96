"""Convolutions, products, normalizations, poolings and recurrent layers as nodes of ONNX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.interop.onnx.export.writer import EXPORT, Tensor, Writer, export_rule
from minidnn.ops.registry import Attrs, TensorType

__all__ = ["convolved", "dense"]


def _want_channels_first(w: Writer, layout: str | None) -> None:
    if layout not in (None, "NCW", "NCHW", "NCDHW"):
        w.fail(f"layout {layout} is not supported, channels must come first")


def convolved(w: Writer, attrs: Attrs, *inputs: Tensor | str) -> str:
    """A convolution of floats."""
    _want_channels_first(w, attrs.layout)
    rank = len(attrs.kernel)
    pads = [*(attrs.pad or (0,) * rank)] * 2
    return w.node(
        "Conv",
        *inputs,
        kernel_shape=list(attrs.kernel),
        strides=list(attrs.stride or (1,) * rank),
        dilations=list(attrs.dilate or (1,) * rank),
        pads=pads,
        group=attrs.num_group,
    )


@export_rule("convolution")
def _convolution(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return convolved(w, attrs, *x)


@export_rule("deconvolution")
def _deconvolution(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    _want_channels_first(w, attrs.layout)
    if any(attrs.target_shape or ()):
        w.fail("target_shape is not supported")
    rank = len(attrs.kernel)
    return w.node(
        "ConvTranspose",
        *x,
        kernel_shape=list(attrs.kernel),
        strides=list(attrs.stride or (1,) * rank),
        dilations=list(attrs.dilate or (1,) * rank),
        pads=[*(attrs.pad or (0,) * rank)] * 2,
        output_padding=list(attrs.adj or (0,) * rank),
        group=attrs.num_group,
    )


def dense(w: Writer, attrs: Attrs, x: Tensor | str, ndim: int, weight: Tensor | str, bias: Tensor | str | None) -> str:
    """x @ weight.T + bias."""
    if attrs.flatten and ndim != 2:
        x, ndim = w.node("Flatten", x, axis=1), 2
    if ndim == 2:
        return w.node("Gemm", x, weight, bias, transB=1)
    product = w.node("MatMul", x, w.node("Transpose", weight, perm=[1, 0]))
    return product if bias is None else w.node("Add", product, bias)


@export_rule("fully_connected")
def _fully_connected(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return dense(w, attrs, x[0], x[0].ndim, x[1], x[2] if len(x) > 2 else None)


@export_rule("matmul", "dot")
def _matmul(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    a, b = (w.cast(y, out[0].dtype) for y in x)
    if w.op == "dot":
        if 0 in (x[0].ndim, x[1].ndim):
            return w.node("Mul", a, b)
        if x[1].ndim > 2:
            w.fail(f"dot with a second factor of {x[1].ndim} dimensions is not supported")
    return w.node("MatMul", a, b)


@export_rule("batch_dot")
def _batch_dot(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    names = []
    for y, transpose in zip(x, (attrs.transpose_a, attrs.transpose_b), strict=True):
        axes = [*range(y.ndim - 2), y.ndim - 1, y.ndim - 2]
        names.append(w.transposed(w.name_of(y), axes) if transpose else w.name_of(y))
    return w.node("MatMul", *names)


# ---- normalizations


@export_rule("batch_norm")
def _batch_norm(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    data, gamma, *others = x
    axis = attrs.axis % data.ndim
    order = [axis if i == 1 else i - (1 < i <= axis) if i else 0 for i in range(data.ndim)]
    order = [0, axis, *(i for i in range(1, data.ndim) if i != axis)] if data.ndim > 1 else [0]
    scale: Tensor | str = gamma
    if attrs.fix_gamma:
        scale = w.constant(np.ones(gamma.shape, gamma.dtype))
    if axis == 0:
        w.fail("axis 0 is not supported")
    made = w.node("BatchNormalization", w.transposed(w.name_of(data), order), scale, *others, epsilon=attrs.eps)
    return w.transposed(made, [order.index(i) for i in range(data.ndim)])


@export_rule("layer_norm")
def _layer_norm(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    axis, ndim = attrs.axis % x[0].ndim, x[0].ndim
    order = [i for i in range(ndim) if i != axis] + [axis]
    moved = w.transposed(w.name_of(x[0]), order)
    made = w.node("LayerNormalization", moved, x[1], x[2], axis=-1, epsilon=attrs.eps)
    return w.transposed(made, [order.index(i) for i in range(ndim)])


@export_rule("group_norm")
def _group_norm(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.node("GroupNormalization", *x, num_groups=attrs.num_groups, epsilon=attrs.eps)


@export_rule("instance_norm")
def _instance_norm(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.node("InstanceNormalization", *x, epsilon=attrs.eps)


@export_rule("l2_normalization")
def _l2_normalization(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    ndim = x[0].ndim
    axes = {"instance": range(1, ndim), "channel": (1,), "spatial": range(2, ndim)}[attrs.mode]
    total = w.node("ReduceSumSquare", x[0], w.ints(list(axes)), keepdims=1)
    return w.node("Div", x[0], w.node("Sqrt", w.node("Add", total, w.number(attrs.eps, x[0].dtype))))


@export_rule("softmax", "log_softmax")
def _softmax(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    if attrs.use_length:
        w.fail("use_length is not supported")
    name = w.cast(x[0], out[0].dtype)
    if attrs.temperature not in (None, 1.0):
        name = w.node("Div", name, w.number(attrs.temperature, out[0].dtype))
    return w.node("Softmax" if w.op == "softmax" else "LogSoftmax", name, axis=attrs.axis)


# ---- poolings


@export_rule("pooling")
def _pooling(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    _want_channels_first(w, attrs.layout)
    data, kind = x[0], attrs.pool_type
    if attrs.global_pool:
        if kind == "sum":
            return w.node("ReduceSum", data, w.ints(range(2, data.ndim)), keepdims=1)
        return w.node("GlobalMaxPool" if kind == "max" else "GlobalAveragePool", data)
    rank = len(attrs.kernel)
    if attrs.pooling_convention == "same":
        return w.node(
            "MaxPool", data, kernel_shape=list(attrs.kernel), strides=list(attrs.stride), auto_pad="SAME_UPPER"
        )
    common: dict[str, Any] = {
        "kernel_shape": list(attrs.kernel),
        "strides": list(attrs.stride or (1,) * rank),
        "pads": [*(attrs.pad or (0,) * rank)] * 2,
        "ceil_mode": int(attrs.pooling_convention == "full"),
    }
    if kind == "max":
        return w.node("MaxPool", data, **common)
    # A sum is a mean that counts the pads, times the elements of a window.
    include = attrs.count_include_pad or kind == "sum"
    made = w.node("AveragePool", data, count_include_pad=int(include), **common)
    if kind == "avg":
        return made
    if common["ceil_mode"]:
        w.fail("sums of windows that reach over the end are not supported")
    return w.node("Mul", made, w.number(math.prod(attrs.kernel), data.dtype))


_BFLOAT16_WEIGHT = "_bfloat16_weight"


@export_rule(*(f"{op}{_BFLOAT16_WEIGHT}" for op in ("convolution", "deconvolution", "fully_connected")))
def _by_bfloat16(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    """The product of floats, with weights that are stored as bfloat16 and cast."""
    data, weight, *bias = x
    if weight.array is None:
        w.fail("weights in bfloat16 must be constants")
    stored = w.bfloat16_constant(np.asarray(weight.array), weight.name)
    type_ = TensorType(weight.shape, data.dtype)
    widened = Tensor(w.node("Cast", stored, to=w.element(data.dtype)), type_)
    return EXPORT[w.op.removesuffix(_BFLOAT16_WEIGHT)](w, attrs, [data, widened, *bias], out)
