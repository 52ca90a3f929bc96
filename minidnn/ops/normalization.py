"""Normalizations (batch, layer, group, instance, l2) and softmax, as they are at inference."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops.checks import FLOATS, normalize_axis, want_float, want_min_rank, want_shape
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import ALWAYS, IF_ALL, ChannelAffine, step

__all__ = ["batch_norm_affine"]

Array = np.ndarray[Any, Any]


def _widened(x: Array) -> Array:
    return x.astype(np.promote_types(x.dtype, np.float32), copy=False)


def _want_data(op: str, data: TensorType, rank: int) -> None:
    want_min_rank(op, "data", data, rank)
    want_float(op, "data", data)


def _want_vectors(op: str, names: Sequence[str], types: Sequence[TensorType], size: int, axis: int) -> None:
    for name, t in zip(names, types, strict=True):
        want_float(op, name, t)
        want_shape(op, name, t, (size,), f"one number for each of the {size} elements of axis {axis} of data")


def _along(vector: Array, axis: int, ndim: int) -> Array:
    """`vector` in the shape that broadcasts along `axis`."""
    return vector.reshape(*(1,) * axis, -1, *(1,) * (ndim - axis - 1))


_MEAN_VAR = Attr("output_mean_var", "bool", False, choices=(False,))
_BATCH_NORM_INPUTS = ("data", "gamma", "beta", "running_mean", "running_var")


def _infer_batch_norm(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "batch_norm", types[0]
    _want_data(op, data, 1)
    axis = normalize_axis(op, attrs.axis, data.ndim)
    _want_vectors(op, _BATCH_NORM_INPUTS[1:], types[1:], data.shape[axis], axis)
    return [data]


def _batch_norm(attrs: Attrs, data: Array, gamma: Array, beta: Array, mean: Array, var: Array) -> Array:
    """Ioffe and Szegedy (2015) with the running statistics: (x - mean) / sqrt(var + eps) · gamma + beta."""
    axis = attrs.axis % data.ndim
    with np.errstate(all="ignore"):
        scale = 1 / np.sqrt(var.astype(np.float64) + attrs.eps)
        if not attrs.fix_gamma:
            scale = scale * gamma
        shift = beta - mean * scale
        dtype = np.promote_types(data.dtype, np.float32)
        scaled = data * _along(scale, axis, data.ndim).astype(dtype)
        return np.asarray(scaled + _along(shift, axis, data.ndim).astype(dtype))


def batch_norm_affine(attrs: Attrs, parameters: Sequence[Array]) -> tuple[Array, Array]:
    """Inference-time batch normalization as ``x * scale + shift``, computed in float64.

    Args:
        attrs: of the ``batch_norm`` node.
        parameters: gamma, beta, running_mean, running_var, each (C,).
    """
    gamma, beta, mean, variance = (np.asarray(p, np.float64) for p in parameters)
    if attrs.fix_gamma:
        gamma = np.ones_like(gamma)
    scale = gamma / np.sqrt(variance + attrs.eps)
    return scale, beta - mean * scale


def _vectors(
    names: Sequence[str], axis: int | None = None
) -> Callable[[Attrs, TensorType], dict[str, tuple[int, ...]]]:
    """Shapes of parameters with one number per element of `axis`, or of the attribute ``axis``."""

    def shapes(attrs: Attrs, data: TensorType) -> dict[str, tuple[int, ...]]:
        where = normalize_axis("parameter shapes", attrs.axis if axis is None else axis, data.ndim)
        return dict.fromkeys(names, (data.shape[where],))

    return shapes


register(
    Op(
        "batch_norm",
        _infer_batch_norm,
        _batch_norm,
        _BATCH_NORM_INPUTS,
        attrs=(
            Attr("eps", "float", 1e-3, low=0),
            Attr("momentum", "float", 0.9),
            Attr("fix_gamma", "bool", True),
            Attr("use_global_stats", "bool", False),
            _MEAN_VAR,
            Attr("axis", "int", 1),
        ),
        kind="normalization",
        parameters=frozenset(_BATCH_NORM_INPUTS[1:]),
        infer_parameters=_vectors(_BATCH_NORM_INPUTS[1:]),
        mxnet=("BatchNorm", "_npx_batch_norm"),
        label="bn",
        epilogue=step("affine"),
        affine=ChannelAffine(lambda attrs: attrs.axis, batch_norm_affine),
        int8_in_full_mode=True,
        auxiliary=frozenset({"running_mean", "running_var"}),
    )
)


def _standardized(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    if not x.size:
        return x
    mean = x.mean(axes, keepdims=True, dtype=np.float64)
    var = np.square(x - mean).mean(axes, keepdims=True)
    return np.asarray((x - mean) / np.sqrt(var + eps))


def _infer_layer_norm(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "layer_norm", types[0]
    _want_data(op, data, 1)
    axis = normalize_axis(op, attrs.axis, data.ndim)
    _want_vectors(op, ("gamma", "beta"), types[1:], data.shape[axis], axis)
    return [data]


def _layer_norm(attrs: Attrs, data: Array, gamma: Array, beta: Array) -> Array:
    """Ba, Kiros and Hinton (2016)."""
    axis = attrs.axis % data.ndim
    out = _standardized(data, (axis,), attrs.eps)
    return out * _along(gamma, axis, data.ndim) + _along(beta, axis, data.ndim)


register(
    Op(
        "layer_norm",
        _infer_layer_norm,
        _layer_norm,
        ("data", "gamma", "beta"),
        attrs=(Attr("axis", "int", -1), Attr("eps", "float", 1e-5, low=0), _MEAN_VAR),
        kind="normalization",
        parameters=frozenset({"gamma", "beta"}),
        infer_parameters=_vectors(("gamma", "beta")),
        mxnet=("LayerNorm", "_npx_layer_norm"),
    )
)


def _infer_group_norm(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "group_norm", types[0]
    _want_data(op, data, 3)
    if data.shape[1] % attrs.num_groups:
        raise ShapeError(f"{op}: num_groups={attrs.num_groups} must divide the {data.shape[1]} channels of data {data}")
    _want_vectors(op, ("gamma", "beta"), types[1:], data.shape[1], 1)
    return [data]


def _group_norm(attrs: Attrs, data: Array, gamma: Array, beta: Array) -> Array:
    """Wu and He (2018)."""
    grouped = data.reshape(data.shape[0], attrs.num_groups, math.prod(data.shape[1:]) // attrs.num_groups)
    out = _standardized(grouped, (2,), attrs.eps).reshape(data.shape)
    return out * _along(gamma, 1, data.ndim) + _along(beta, 1, data.ndim)


register(
    Op(
        "group_norm",
        _infer_group_norm,
        _group_norm,
        ("data", "gamma", "beta"),
        attrs=(Attr("num_groups", "int", 1, low=1), Attr("eps", "float", 1e-5, low=0), _MEAN_VAR),
        kind="normalization",
        parameters=frozenset({"gamma", "beta"}),
        infer_parameters=_vectors(("gamma", "beta"), axis=1),
        mxnet=("GroupNorm", "_npx_group_norm"),
    )
)


def _infer_instance_norm(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "instance_norm", types[0]
    _want_data(op, data, 3)
    _want_vectors(op, ("gamma", "beta"), types[1:], data.shape[1], 1)
    return [data]


def _instance_norm(attrs: Attrs, data: Array, gamma: Array, beta: Array) -> Array:
    """Ulyanov, Vedaldi and Lempitsky (2016)."""
    out = _standardized(data, tuple(range(2, data.ndim)), attrs.eps)
    return out * _along(gamma, 1, data.ndim) + _along(beta, 1, data.ndim)


register(
    Op(
        "instance_norm",
        _infer_instance_norm,
        _instance_norm,
        ("data", "gamma", "beta"),
        attrs=(Attr("eps", "float", 1e-3, low=0),),
        kind="normalization",
        parameters=frozenset({"gamma", "beta"}),
        infer_parameters=_vectors(("gamma", "beta"), axis=1),
        mxnet=("InstanceNorm", "_npx_instance_norm"),
    )
)


def _infer_l2(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    _want_data("l2_normalization", types[0], 2 if attrs.mode == "instance" else 3)
    return [types[0]]


def _l2_normalization(attrs: Attrs, data: Array) -> Array:
    first = 2 if attrs.mode == "spatial" else 1
    axes = (1,) if attrs.mode == "channel" else tuple(range(first, data.ndim))
    x = _widened(data)
    return np.asarray(x / np.sqrt(np.square(x).sum(axes, keepdims=True, dtype=np.float64) + attrs.eps))


register(
    Op(
        "l2_normalization",
        _infer_l2,
        _l2_normalization,
        ("data",),
        attrs=(
            Attr("eps", "float", 1e-10, low=0),
            Attr("mode", "str", "instance", choices=("instance", "channel", "spatial")),
        ),
        kind="normalization",
        mxnet=("L2Normalization", "_npx_l2_normalization"),
        nonnegative=IF_ALL,
    )
)


def _check_softmax(op: str) -> Callable[[Attrs], None]:
    def check(attrs: Attrs) -> None:
        if attrs.temperature is not None and not attrs.temperature > 0:
            raise OpError(f"{op}: temperature must be positive, got {attrs.temperature}")
        if attrs.get("dtype") is not None and attrs.dtype not in FLOATS:
            raise TypeMismatchError(f"{op}: dtype must be float16, float32 or float64, got {attrs.dtype}")

    return check


def _infer_softmax(op: str) -> Callable[[Attrs, Sequence[TensorType]], list[TensorType]]:
    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        data = types[0]
        _want_data(op, data, 1)
        axis = normalize_axis(op, attrs.axis, data.ndim)
        if attrs.use_length:
            length = types[1]
            if length.dtype not in (np.dtype(np.int32), np.dtype(np.int64)):
                raise TypeMismatchError(f"{op}: length must be int32 or int64, got {length}")
            wanted = data.shape[:axis] + data.shape[axis + 1 :]
            want_shape(op, "length", length, wanted, "data without the softmax axis")
        return [TensorType(data.shape, attrs.dtype or data.dtype)]

    return infer


def _log_softmax(x: Array, axis: int, temperature: float | None, keep: Array | None) -> Array:
    """log(softmax(x)), shifted by the maximum so that no exponential overflows; -inf where `keep` is false."""
    x = _widened(x).astype(np.float64)
    if not x.size:
        return x
    if keep is not None:
        x = np.where(keep, x, -np.inf)
    with np.errstate(all="ignore"):
        shifted = x - x.max(axis, keepdims=True)
        if temperature is not None:
            shifted = shifted / temperature
        out = shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))
    return out if keep is None else np.where(keep, out, -np.inf)


def _keep_length(data: Array, axis: int, length: Array | None) -> Array | None:
    if length is None:
        return None
    position = _along(np.arange(data.shape[axis]), axis % data.ndim, data.ndim)
    return np.asarray(position < np.expand_dims(length, axis))


def _softmax_reference(attrs: Attrs, data: Array, length: Array | None = None) -> Array:
    return np.exp(_log_softmax(data, attrs.axis, attrs.temperature, _keep_length(data, attrs.axis, length)))


def _log_softmax_reference(attrs: Attrs, data: Array, length: Array | None = None) -> Array:
    return _log_softmax(data, attrs.axis, attrs.temperature, _keep_length(data, attrs.axis, length))


for _name, _reference in (("softmax", _softmax_reference), ("log_softmax", _log_softmax_reference)):
    register(
        Op(
            _name,
            _infer_softmax(_name),
            _reference,
            lambda attrs: ("data", "length") if attrs.use_length else ("data",),
            attrs=(
                Attr("axis", "int", -1),
                Attr("temperature", "float", None),
                Attr("dtype", "dtype", None),
                Attr("use_length", "bool", False),
            ),
            kind="normalization",
            mxnet=(_name, f"_npx_{_name}"),
            check=_check_softmax(_name),
            nonnegative=ALWAYS if _name == "softmax" else None,
        )
    )


def _infer_masked(op: str) -> Callable[[Attrs, Sequence[TensorType]], list[TensorType]]:
    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        data, mask = types
        _want_data(op, data, 1)
        normalize_axis(op, attrs.axis, data.ndim)
        try:
            fits = np.broadcast_shapes(data.shape, mask.shape) == data.shape
        except ValueError:
            fits = False
        if not fits:
            raise ShapeError(f"{op}: mask {mask.shape} does not broadcast to data {data.shape}")
        if mask.dtype != np.bool_:
            raise TypeMismatchError(f"{op}: mask must be bool, got {mask}")
        return [data]

    return infer


def _masked_softmax(attrs: Attrs, data: Array, mask: Array) -> Array:
    # A row with nothing kept sums to zero: all its elements are zero, not nan.
    return np.nan_to_num(np.exp(_masked_log_softmax(attrs, data, mask)), nan=0.0, posinf=np.inf)


def _masked_log_softmax(attrs: Attrs, data: Array, mask: Array) -> Array:
    return _log_softmax(data, attrs.axis, attrs.temperature, np.broadcast_to(mask, data.shape))


for _name, _masked in (("masked_softmax", _masked_softmax), ("masked_log_softmax", _masked_log_softmax)):
    register(
        Op(
            _name,
            _infer_masked(_name),
            _masked,
            ("data", "mask"),
            attrs=(
                Attr("axis", "int", -1),
                Attr("temperature", "float", 1.0, optional=True),
                Attr("normalize", "bool", True),
            ),
            kind="normalization",
            mxnet=(_name, f"_npx_{_name}"),
            check=_check_softmax(_name),
            nonnegative=ALWAYS if _name == "masked_softmax" else None,
        )
    )
