"""Convolutions and the geometry of poolings: windows, strides, and the pads that ``auto_pad`` stands for."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

from minidnn.interop.onnx.call import Call
from minidnn.interop.onnx.rules.slicing import pad
from minidnn.interop.onnx.values import Value
from minidnn.sizes import has_sizes

__all__ = ["Geometry", "Pairs", "convolve", "is_symmetric", "read_pads", "read_spatial"]

Pairs = list[tuple[Any, Any]]

_AUTO = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


def read_spatial(call: Call, name: str, rank: int, default: int = 1) -> tuple[int, ...]:
    """An attribute that has one number for each spatial dimension."""
    found = call.integers(name, None)
    if found is None:
        return (default,) * rank
    if len(found) != rank or min(found, default=1) < 1:
        call.fail(f"attribute {name!r} must have {rank} numbers from 1 on, got {found}")
    return tuple(found)


def read_pads(call: Call, spatial: Sequence[Any], extents: Sequence[int], strides: Sequence[int]) -> Pairs:
    """The pads in front and behind, by ``pads`` or by ``auto_pad``.

    Args:
        call: the node.
        spatial: sizes of the input.
        extents: how many elements a window reaches over, by dimension.
        strides: of windows.
    """
    auto, rank = call.text("auto_pad", "NOTSET", _AUTO), len(spatial)
    given = call.integers("pads", None)
    if auto == "VALID" or (auto == "NOTSET" and given is None):
        return [(0, 0)] * rank
    if auto == "NOTSET":
        if len(given) != 2 * rank:
            call.fail(f"attribute 'pads' must have {2 * rank} numbers, got {given}")
        return [(given[i], given[i + rank]) for i in range(rank)]
    pairs: Pairs = []
    for n, extent, stride in zip(spatial, extents, strides, strict=True):
        total = (-(-n // stride) - 1) * stride + extent - n
        if total < 0:
            total = 0
        small = total // 2
        pairs.append((small, total - small) if auto == "SAME_UPPER" else (total - small, small))
    return pairs


def is_symmetric(pairs: Pairs) -> bool:
    """Whether the pads are numbers, not negative, and as many in front as behind."""
    return not has_sizes(tuple(pairs)) and all(a == b >= 0 for a, b in pairs)


class Geometry:
    """What a convolution's attributes say.

    Attributes:
        kernel, strides, dilations: a number for each spatial dimension.
        group: in how many groups the channels are.
        pads: in front and behind.
    """

    def __init__(self, call: Call, x: Value, weight: Value, is_transposed: bool = False) -> None:
        rank = x.ndim - 2
        if rank not in (1, 2, 3):
            call.refuse(f"one to three spatial dimensions are supported, got an input of {x.ndim} dimensions")
        if weight.ndim != x.ndim:
            call.fail(f"the weight must have {x.ndim} dimensions like the input, got {weight.ndim}")
        self.kernel = tuple(int(n) for n in weight.shape[2:])
        said = call.integers("kernel_shape", None)
        if said is not None and tuple(said) != self.kernel:
            call.fail(f"attribute 'kernel_shape' is {said}, but the weight has shape {weight.shape}")
        self.strides = read_spatial(call, "strides", rank)
        self.dilations = read_spatial(call, "dilations", rank)
        self.group = call.integer("group", 1)
        self.extents = [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        self.pads: Pairs = [] if is_transposed else read_pads(call, x.shape[2:], self.extents, self.strides)

    def without_pads(self) -> Geometry:
        """The same for data that is padded already."""
        made = copy(self)
        made.pads = [(0, 0)] * len(self.pads)
        return made


def convolve(
    call: Call,
    x: Value,
    weight: Value,
    bias: Value | None,
    geometry: Geometry,
    fill: Any = 0,
    op: str = "convolution",
) -> Value:
    """A convolution; what its pads do not have on both sides is padded before."""
    pads = tuple(a for a, _ in geometry.pads)
    if not is_symmetric(geometry.pads) or (fill and any(pads)):
        x = pad(call, x, [(0, 0), (0, 0), *geometry.pads], value=fill)
        pads = (0,) * len(pads)
    inputs = (x, weight) if bias is None else (x, weight, bias)
    return call.emit(
        op,
        *inputs,
        kernel=geometry.kernel,
        num_filter=int(weight.dim(0)),
        stride=geometry.strides,
        dilate=geometry.dilations,
        pad=pads,
        num_group=geometry.group,
        no_bias=bias is None,
    )
