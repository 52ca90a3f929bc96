"""Normalizations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from minidnn.interop.onnx.call import Call, rule
from minidnn.interop.onnx.maker import Maker
from minidnn.interop.onnx.rules.slicing import pad
from minidnn.interop.onnx.values import Value

__all__ = ["layer_norm", "rms_norm"]


@rule("BatchNormalization")
def _batch_norm(call: Call) -> Value:
    call.ignore("momentum", "consumed_inputs", "is_test")
    if call.flag("training_mode") or any(map(call.wants, range(1, call.num_outputs))):
        call.fail("attribute 'training_mode' must be 0: minidnn is for inference")
    eps = call.real("epsilon", 1e-5)
    x, *parameters = (call[i] for i in range(5))
    wide = [p if p.dtype == x.dtype else call.cast(p, x.dtype) for p in parameters]
    if not call.flag("spatial", True):
        return _normalized(call, x, wide, eps)
    if all(p.array is not None for p in wide):
        return call.emit("batch_norm", x, *wide, eps=eps, fix_gamma=False, use_global_stats=True, axis=1)
    for name, p in zip(("scale", "B", "mean", "var"), wide, strict=True):
        if x.ndim < 2 or p._type.shape != (x.dim(1),):
            call.misfit(f"{name} must have one number for each channel of {x._type.shape}, got {p._type.shape}")
    return _normalized(call, x, [call.reshape(p, (-1, *[1] * (x.ndim - 2))) for p in wide], eps)


def _normalized(call: Call, x: Value, parameters: Sequence[Value], eps: float) -> Value:
    """By parameters that broadcast against it."""
    scale, shift, mean, variance = parameters
    factor = call.emit("true_divide", scale, call.emit("sqrt", call.binary("add", variance, eps)))
    return call.emit("add", call.emit("multiply", call.emit("subtract", x, mean), factor), shift)


@rule("InstanceNormalization")
def _instance_norm(call: Call) -> Value:
    call.ignore("consumed_inputs")
    return call.emit("instance_norm", call[0], call[1], call[2], eps=call.real("epsilon", 1e-5))


@rule("LayerNormalization")
def _layer_norm(call: Call) -> list[Value]:
    eps, axis = call.real("epsilon", 1e-5), call.integer("axis", -1)
    call.ignore("stash_type")
    return layer_norm(call, call[0], call[1], call.get(2), call.axis(axis, call[0].ndim), eps)


def layer_norm(call: Maker, x: Value, scale: Value | None, shift: Value | None, axis: int, eps: float) -> list[Value]:
    """The normalized input; mean and inverse deviation behind it where somebody reads them."""
    axes = tuple(range(axis, x.ndim))
    size = math.prod(x.shape[axis:])
    is_plain = scale is not None and scale._type.shape == x._type.shape[axis:]
    is_plain = is_plain and (shift is None or shift._type.shape == x._type.shape[axis:])
    extra = []
    if any(map(call.wants, range(1, 3))) or not is_plain:
        mean = call.emit("mean", x, axis=axes, keepdims=True)
        centered = call.emit("subtract", x, mean)
        variance = call.emit("mean", call.emit("square", centered), axis=axes, keepdims=True)
        inverse = call.emit("rsqrt", call.binary("add", variance, eps))
        extra = [mean, inverse]
        if not is_plain:
            y = call.emit("multiply", centered, inverse)
            y = y if scale is None else call.emit("multiply", y, scale)
            return [y if shift is None else call.emit("add", y, shift), *extra]
    assert scale is not None
    if shift is None:
        shift = call.filled(scale.shape, 0, x.dtype)
    if axis == x.ndim - 1:
        return [call.emit("layer_norm", x, scale, shift, axis=-1, eps=eps), *extra]
    flat = call.reshape(x, (*x.shape[:axis], size))
    made = call.emit("layer_norm", flat, call.reshape(scale, (size,)), call.reshape(shift, (size,)), axis=-1, eps=eps)
    return [call.reshape(made, x.shape), *extra]


@rule("RMSNormalization")
def _rms_norm(call: Call) -> Value:
    eps, axis = call.real("epsilon", 1e-5), call.integer("axis", -1)
    call.ignore("stash_type")
    return rms_norm(call, call[0], call[1], call.axis(axis, call[0].ndim), eps)


def rms_norm(call: Maker, x: Value, scale: Value, axis: int, eps: float) -> Value:
    """x over the root of its mean square, times a scale."""
    mean = call.emit("mean", call.emit("square", x), axis=tuple(range(axis, x.ndim)), keepdims=True)
    inverse = call.emit("rsqrt", call.binary("add", mean, eps))
    return call.emit("multiply", call.emit("multiply", x, inverse), scale)


@rule("LpNormalization")
def _lp_norm(call: Call) -> Value:
    x, p = call[0], call.integer("p", 2)
    axis = call.axis(call.integer("axis", -1), x.ndim)
    if p not in (1, 2):
        call.fail(f"attribute 'p' must be 1 or 2, got {p}")
    where: dict[str, Any] = {"axis": (axis,), "keepdims": True}
    if p == 1:
        norm = call.emit("sum", call.emit("abs", x), **where)
    else:
        norm = call.emit("sqrt", call.emit("sum", call.emit("square", x), **where))
    # Nothing has norm zero but zeros, which stay.
    safe = call.emit("where", call.emit("equal_scalar", norm, scalar=0.0), call.like(1, norm), norm)
    return call.emit("true_divide", x, safe)


@rule("LRN")
def _lrn(call: Call) -> Value:
    """x over (bias + alpha / size * the sum of squares of `size` channels around) ** beta."""
    x, size = call[0], call.integer("size")
    alpha, beta, bias = call.real("alpha", 1e-4), call.real("beta", 0.75), call.real("bias", 1.0)
    n, channels, *spatial = x.shape
    rows = call.reshape(call.emit("square", x), (n, 1, channels, math.prod(spatial)))
    before = (size - 1) // 2
    padded = pad(call, rows, [(0, 0), (0, 0), (before, size - 1 - before), (0, 0)])
    sums = call.emit("pooling", padded, pool_type="sum", kernel=(size, 1))
    base = call.binary("add", call.binary("multiply", sums, alpha / size), bias)
    # A power by logarithm and exponential, which kernels have.
    factor = call.emit("exp", call.binary("multiply", call.emit("log", base), -beta))
    return call.emit("multiply", x, call.reshape(factor, x.shape))


@rule("GroupNormalization")
def _group_norm(call: Call) -> Value:
    x, scale, shift = call[0], call[1], call[2]
    eps, groups = call.real("epsilon", 1e-5), call.integer("num_groups")
    call.ignore("stash_type")
    n, channels, *spatial = x.shape
    if groups < 1 or channels % groups:
        call.misfit(f"attribute 'num_groups' must divide the {channels} channels, got {groups}")
    rows = call.reshape(x, (n, groups, -1))
    mean = call.emit("mean", rows, axis=(2,), keepdims=True)
    centered = call.emit("subtract", rows, mean)
    variance = call.emit("mean", call.emit("square", centered), axis=(2,), keepdims=True)
    normed = call.emit("multiply", centered, call.emit("rsqrt", call.binary("add", variance, eps)))
    if scale._type.shape[0] != channels:
        # Before version 21: a number for each group.
        scaled = call.emit("multiply", normed, call.reshape(scale, (1, groups, 1)))
        return call.reshape(call.emit("add", scaled, call.reshape(shift, (1, groups, 1))), x.shape)
    lying = (1, channels, *(1,) * len(spatial))
    scaled = call.emit("multiply", call.reshape(normed, x.shape), call.reshape(scale, lying))
    return call.emit("add", scaled, call.reshape(shift, lying))
