"""Convolution and transposed convolution over one, two or three spatial dimensions, channels first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError
from minidnn.ops.checks import want_dtype, want_filled, want_float, want_rank, want_shape
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import AnchorTraits

__all__ = ["LAYOUTS", "complete_spatial", "transposed_geometry"]

Array = np.ndarray[Any, Any]
LAYOUTS = {1: "NCW", 2: "NCHW", 3: "NCDHW"}
# Of kernels, strides and paddings: products of two of them and positions in an image stay within int64.
_MAX_NUMBER = 2**31 - 1


def complete_spatial(op: str, attrs: Attrs, defaults: dict[str, int]) -> Attrs:
    """The attributes that have one number per spatial dimension, completed to the rank of ``kernel``.

    Raises:
        OpError: the kernel has not one to three numbers, an attribute another number of them or one beyond int32,
            or the layout is not the channels-first one of that rank.
    """
    rank = len(attrs.kernel)
    if rank not in LAYOUTS:
        raise OpError(f"{op}: kernel must have one, two or three numbers, got {attrs.kernel}")
    changes: dict[str, Any] = {}
    for name, default in defaults.items():
        value = attrs[name]
        if not value:
            changes[name] = (default,) * rank
        elif len(value) != rank:
            raise OpError(f"{op}: {name} must have {rank} numbers like kernel {attrs.kernel}, got {value}")
    if attrs.layout not in (None, LAYOUTS[rank]):
        raise OpError(f"{op}: layout must be {LAYOUTS[rank]} for a kernel of {rank} numbers, got {attrs.layout}")
    for name in ("kernel", *defaults):
        if None in (attrs[name] or ()):
            raise OpError(f"{op}: {name} must be all integers, got {attrs[name]}")
        if max(attrs[name] or (0,)) > _MAX_NUMBER:
            raise OpError(f"{op}: {name} must be at most {_MAX_NUMBER}, got {attrs[name]}")
    return attrs.replace(**changes, layout=LAYOUTS[rank])


def _inputs(attrs: Attrs) -> tuple[str, ...]:
    return ("data", "weight") if attrs.no_bias else ("data", "weight", "bias")


def _taps(attrs: Attrs) -> itertools.product[tuple[int, ...]]:
    return itertools.product(*(range(k) for k in attrs.kernel))


def _at_tap(weight: Array, tap: tuple[int, ...]) -> Array:
    """The matrices (group, rows, columns) of one tap of a grouped weight."""
    index: tuple[Any, ...] = (..., *tap)
    return np.asarray(weight[index])


def _check_common(op: str, attrs: Attrs, types: Sequence[TensorType]) -> None:
    data, weight = types[:2]
    want_rank(op, "data", data, len(attrs.kernel) + 2, f"({', '.join(attrs.layout)})")
    want_filled(op, "data", data, range(1, data.ndim))
    want_float(op, "data", data)
    for name, t in zip(("weight", "bias"), types[1:], strict=False):
        want_dtype(op, name, t, data.dtype, "data")
    channels = data.shape[1]
    if channels % attrs.num_group or attrs.num_filter % attrs.num_group:
        raise ShapeError(
            f"{op}: num_group={attrs.num_group} must divide both the {channels} channels of data {data.shape} "
            f"and num_filter={attrs.num_filter}"
        )
    wanted = get_shapes(op, attrs, data)["weight"]
    channel_axis = 1 if op == "convolution" else 0
    if weight.ndim == len(wanted) and weight.shape[channel_axis] != wanted[channel_axis]:
        came = weight.shape[channel_axis] * (attrs.num_group if op == "convolution" else 1)
        raise ShapeError(
            f"{op}: data has {channels} channels but weight {weight.shape} is made for {came} "
            f"(num_group={attrs.num_group}); data is {data}"
        )
    want_shape(op, "weight", weight, wanted, f"from data {data.shape}, num_filter and kernel")
    if not attrs.no_bias:
        want_shape(op, "bias", types[2], (attrs.num_filter,), "one number per filter")


def get_shapes(op: str, attrs: Attrs, data: TensorType) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters, from the attributes and the number of channels."""
    want_rank(op, "data", data, len(attrs.kernel) + 2, f"({', '.join(attrs.layout)})")
    channels, groups = data.shape[1], attrs.num_group
    if op == "convolution":
        weight = (attrs.num_filter, channels // groups, *attrs.kernel)
    else:
        weight = (channels, attrs.num_filter // groups, *attrs.kernel)
    return {"weight": weight} if attrs.no_bias else {"weight": weight, "bias": (attrs.num_filter,)}


def _infer_convolution(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "convolution", types[0]
    _check_common(op, attrs, types)
    spatial = []
    for n, k, s, d, p in zip(data.shape[2:], attrs.kernel, attrs.stride, attrs.dilate, attrs.pad, strict=True):
        extent = d * (k - 1) + 1
        if extent > n + 2 * p:
            raise ShapeError(
                f"{op}: kernel {attrs.kernel} (dilate {attrs.dilate}) reaches over {extent} elements and does not fit "
                f"into the padded input of {n} + 2·{p}; data is {data}"
            )
        spatial.append((n + 2 * p - extent) // s + 1)
    return [TensorType((data.shape[0], attrs.num_filter, *spatial), data.dtype)]


def _compute_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.promote_types(dtype, np.float32)


def _convolution(attrs: Attrs, data: Array, weight: Array, bias: Array | None = None) -> Array:
    """A sum over the kernel's taps of (filters × channels) · (channels × output pixels)."""
    dtype = _compute_dtype(data.dtype)
    groups = attrs.num_group
    padded = np.pad(data.astype(dtype, copy=False), [(0, 0), (0, 0), *((p, p) for p in attrs.pad)])
    out_spatial = tuple(
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(padded.shape[2:], attrs.kernel, attrs.stride, attrs.dilate, strict=True)
    )
    batch, channels = data.shape[:2]
    per_group = channels // groups
    w = weight.astype(dtype, copy=False).reshape(groups, attrs.num_filter // groups, per_group, *attrs.kernel)
    out = np.zeros((batch, groups, attrs.num_filter // groups, int(np.prod(out_spatial))), dtype)
    for tap in _taps(attrs):
        window = tuple(
            slice(t * d, t * d + (o - 1) * s + 1, s)
            for t, d, o, s in zip(tap, attrs.dilate, out_spatial, attrs.stride, strict=True)
        )
        x = padded[(slice(None), slice(None), *window)].reshape(batch, groups, per_group, out.shape[-1])
        at_tap = _at_tap(w, tap)
        out += at_tap @ x if per_group > 1 else at_tap * x
    if bias is not None:
        out += bias.astype(dtype, copy=False).reshape(groups, -1, 1)
    return out.reshape(batch, attrs.num_filter, *out_spatial)


def transposed_geometry(attrs: Attrs, data: TensorType) -> list[tuple[int, int]]:
    """Output size and padding in front, one pair per spatial dimension.

    With ``target_shape`` the padding follows from it (and ``pad`` and ``adj`` are ignored), as MXNet defines it.
    """
    op, result = "deconvolution", []
    for i, (n, k, s, d) in enumerate(zip(data.shape[2:], attrs.kernel, attrs.stride, attrs.dilate, strict=True)):
        full = s * (n - 1) + d * (k - 1) + 1
        if any(attrs.target_shape):
            size = attrs.target_shape[i]
            if not 0 < size <= full:
                raise ShapeError(f"{op}: target_shape must lie in 1..{full} in spatial dimension {i}, got {size}")
            pad = (full - size + 1) // 2
        else:
            pad = attrs.pad[i]
            if attrs.adj[i] >= max(s, d):
                raise OpError(
                    f"{op}: adj must be smaller than stride or dilate, got adj={attrs.adj}, stride={attrs.stride}, "
                    f"dilate={attrs.dilate}"
                )
            size = full - 2 * pad + attrs.adj[i]
            if size < 1:
                raise ShapeError(f"{op}: pad {attrs.pad} leaves nothing of {full} elements in spatial dimension {i}")
        result.append((size, pad))
    return result


def _infer_deconvolution(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    _check_common("deconvolution", attrs, types)
    spatial = [size for size, _ in transposed_geometry(attrs, types[0])]
    return [TensorType((types[0].shape[0], attrs.num_filter, *spatial), types[0].dtype)]


def _deconvolution(attrs: Attrs, data: Array, weight: Array, bias: Array | None = None) -> Array:
    """Every input pixel adds its multiple of the kernel to the output: the adjoint of a convolution."""
    dtype, groups = _compute_dtype(data.dtype), attrs.num_group
    geometry = transposed_geometry(attrs, TensorType.of(data))
    batch, channels, *spatial = data.shape
    x = data.astype(dtype, copy=False).reshape(batch, groups, channels // groups, *spatial)
    w = weight.astype(dtype, copy=False).reshape(groups, channels // groups, attrs.num_filter // groups, *attrs.kernel)
    out = np.zeros((batch, attrs.num_filter, *(size for size, _ in geometry)), dtype)
    for tap in _taps(attrs):
        windows = [
            _inputs_within(n, s, t * d - pad, size)
            for n, s, t, d, (size, pad) in zip(spatial, attrs.stride, tap, attrs.dilate, geometry, strict=True)
        ]
        inputs: tuple[Any, ...] = (..., *(inputs for inputs, _ in windows))
        outputs: tuple[Any, ...] = (..., *(outputs for _, outputs in windows))
        seen, target = x[inputs], out[outputs]
        product = np.swapaxes(_at_tap(w, tap), 1, 2) @ seen.reshape(
            batch, groups, channels // groups, math.prod(seen.shape[3:])
        )
        target += product.reshape(target.shape)
    if bias is not None:
        out += bias.astype(dtype, copy=False).reshape(-1, *(1,) * len(spatial))
    return out


def _inputs_within(count: int, stride: int, offset: int, size: int) -> tuple[slice, slice]:
    """The inputs i of `count` whose output ``i * stride + offset`` lies in an output of `size`, and these outputs."""
    first = max(0, -(offset // stride))
    end = max(first, min(count, (size - 1 - offset) // stride + 1))
    begin = first * stride + offset
    return slice(first, end), slice(begin, begin + (end - first) * stride, stride)


_ATTRS = (
    Attr("kernel", "ints", low=1),
    Attr("num_filter", "int", low=1),
    Attr("stride", "ints", None, low=1),
    Attr("dilate", "ints", None, low=1),
    Attr("pad", "ints", None, low=0),
    Attr("num_group", "int", 1, low=1),
)

register(
    Op(
        "convolution",
        _infer_convolution,
        _convolution,
        _inputs,
        attrs=(*_ATTRS, Attr("no_bias", "bool", False), Attr("layout", "str", None)),
        kind="anchor",
        parameters=frozenset({"weight", "bias"}),
        infer_parameters=lambda attrs, data: get_shapes("convolution", attrs, data),
        mxnet=("Convolution", "_npx_convolution"),
        check=lambda attrs: complete_spatial("convolution", attrs, {"stride": 1, "dilate": 1, "pad": 0}),
        anchor=AnchorTraits(
            "conv",
            channel_axis=1,
            output_rank=lambda attrs: len(attrs.kernel) + 2,
            integer="quantized_convolution",
            bfloat16="convolution_bfloat16_weight",
            always_per_channel=True,
        ),
    )
)

register(
    Op(
        "deconvolution",
        _infer_deconvolution,
        _deconvolution,
        _inputs,
        attrs=(
            *_ATTRS,
            Attr("adj", "ints", None, low=0),
            Attr("target_shape", "ints", None, low=0),
            Attr("no_bias", "bool", True),
            Attr("layout", "str", None),
        ),
        kind="anchor",
        parameters=frozenset({"weight", "bias"}),
        infer_parameters=lambda attrs, data: get_shapes("deconvolution", attrs, data),
        mxnet=("Deconvolution", "_npx_deconvolution"),
        check=lambda attrs: complete_spatial(
            "deconvolution", attrs, {"stride": 1, "dilate": 1, "pad": 0, "adj": 0, "target_shape": 0}
        ),
        anchor=AnchorTraits(
            "deconv",
            channel_axis=1,
            output_rank=lambda attrs: len(attrs.kernel) + 2,
            bfloat16="deconvolution_bfloat16_weight",
        ),
    )
)
