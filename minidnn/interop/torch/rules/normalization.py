"""Normalizations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.interop.onnx.rules.normalization import layer_norm, rms_norm
from minidnn.interop.onnx.values import Value, known
from minidnn.interop.torch.call import Call, aten

__all__ = ["vector_norm"]


def _or_filled(value: Value | None, shape: Sequence[Any], number: float, dtype: Any) -> Value:
    """A parameter, or a vector of the number that does nothing where there is none."""
    return known(np.full([int(n) for n in shape], number, dtype)) if value is None else value


def _batch_norm(
    call: Call, x: Value, weight: Value | None, bias: Value | None, mean: Value, variance: Value, eps: float
) -> Value:
    size = (x.dim(1),)
    gamma, beta = _or_filled(weight, size, 1, x.dtype), _or_filled(bias, size, 0, x.dtype)
    wide = [call.cast(p, x.dtype) for p in (gamma, beta, mean, variance)]
    return call.emit("batch_norm", x, *wide, eps=eps, fix_gamma=False, use_global_stats=True, axis=1)


@aten("_native_batch_norm_legit_no_training")
def _batch_norm_inference(
    call: Call, x: Value, weight: Any, bias: Any, mean: Value, variance: Value, momentum: float, eps: float
) -> list[Value | None]:
    return [_batch_norm(call, x, weight, bias, mean, variance, eps), None, None]


@aten("_native_batch_norm_legit.no_stats")
def _batch_norm_of_batch(
    call: Call, x: Value, weight: Any, bias: Any, training: bool, momentum: float, eps: float
) -> list[Value | None]:
    """With the mean and the variance of the batch, as modules without running statistics do in evaluation mode too."""
    axes = (0, *range(2, x.ndim))
    centered = call.emit("subtract", x, call.emit("mean", x, axis=axes, keepdims=True))
    variance = call.emit("mean", call.emit("square", centered), axis=axes, keepdims=True)
    y = call.emit("multiply", centered, call.emit("rsqrt", call.binary("add", variance, eps)))
    lying = (1, -1, *(1,) * (x.ndim - 2))
    y = y if weight is None else call.emit("multiply", y, call.reshape(weight, lying))
    return [y if bias is None else call.emit("add", y, call.reshape(bias, lying)), None, None]


@aten("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_functional", "native_dropout")
def _training(call: Call, *args: Any, **kwargs: Any) -> Value:
    call.refuse("training is not supported: call the module's eval() before")


@aten("instance_norm")
def _instance_norm(
    call: Call,
    x: Value,
    weight: Any,
    bias: Any,
    mean: Any,
    variance: Any,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = False,
) -> Value:
    if not use_input_stats:
        return _batch_norm(call, x, weight, bias, mean, variance, eps)
    size = (x.dim(1),)
    gamma, beta = _or_filled(weight, size, 1, x.dtype), _or_filled(bias, size, 0, x.dtype)
    return call.emit("instance_norm", x, gamma, beta, eps=eps)


@aten("native_layer_norm")
def _native_layer_norm(
    call: Call, x: Value, normalized_shape: Sequence[Any], weight: Any, bias: Any, eps: float
) -> list[Value]:
    axis = x.ndim - len(normalized_shape)
    if weight is None and all(type(n) is int for n in normalized_shape):
        weight = _or_filled(None, normalized_shape, 1, x.dtype)
    return layer_norm(call, x, weight, bias, axis, eps)


@aten("layer_norm")
def _layer_norm(
    call: Call,
    x: Value,
    normalized_shape: Sequence[Any],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    cudnn_enable: bool = False,
) -> Value:
    return _native_layer_norm(call, x, normalized_shape, weight, bias, eps)[0]


@aten("group_norm")
def _group_norm(
    call: Call, x: Value, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, _: bool = False
) -> Value:
    size = (x.dim(1),)
    gamma, beta = _or_filled(weight, size, 1, x.dtype), _or_filled(bias, size, 0, x.dtype)
    if x.ndim == 2:
        deep = call.emit("group_norm", call.expand_dims(x, (2,)), gamma, beta, num_groups=groups, eps=eps)
        return call.emit("squeeze", deep, axis=(2,))
    return call.emit("group_norm", x, gamma, beta, num_groups=groups, eps=eps)


@aten("native_group_norm")
def _native_group_norm(
    call: Call, x: Value, weight: Any, bias: Any, n: Any, c: Any, size: Any, groups: int, eps: float
) -> list[Value | None]:
    if call.wants(1) or call.wants(2):
        call.refuse("mean and deviation as results are not supported")
    return [_group_norm(call, x, groups, weight, bias, eps), None, None]


@aten("rms_norm")
def _rms_norm(
    call: Call, x: Value, normalized_shape: Sequence[Any], weight: Any = None, eps: float | None = None
) -> Value:
    axis = x.ndim - len(normalized_shape)
    scale = _or_filled(weight, normalized_shape, 1, x.dtype)
    # PyTorch's default is the epsilon of the elements.
    default = 2.0**-7 if x.element.name == "bfloat16" else float(np.finfo(x.element.name).eps)
    return rms_norm(call, x, scale, axis, default if eps is None else eps)


@aten("_fused_rms_norm")
def _fused_rms_norm(
    call: Call, x: Value, normalized_shape: Sequence[Any], weight: Any, eps: float | None
) -> list[Value | None]:
    return [_rms_norm(call, x, normalized_shape, weight, eps), None]


@aten("linalg_vector_norm")
def vector_norm(call: Call, x: Value, ord: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Value:
    """The p-norm along axes, p being `ord`."""
    where: dict[str, Any] = {"axis": call.dims(dim, x.ndim), "keepdims": keepdim}
    x = call.cast(x, call.dtype)
    if ord == 2:
        return call.emit("sqrt", call.emit("sum", call.emit("square", x), **where))
    size = call.emit("abs", x)
    if ord == 1:
        return call.emit("sum", size, **where)
    if math.isinf(ord):
        return call.emit("max" if ord > 0 else "min", size, **where)
    if ord == 0:
        return call.emit("sum", call.cast(call.emit("not_equal_scalar", size, scalar=0.0), x.dtype), **where)
    return call.binary("power", call.emit("sum", call.binary("power", size, float(ord)), **where), 1.0 / ord)
