"""The geometry of convolutions and poolings: windows, strides, and the pads that ``auto_pad`` stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidnn.interop.onnx.call import Call
from minidnn.sizes import has_sizes

__all__ = ["Pairs", "is_symmetric", "read_pads", "read_spatial"]

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
