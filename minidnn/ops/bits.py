"""Operators that put booleans into the bits of bytes, and take them out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.ops.checks import INTEGERS, normalize_axis, want_dtype
from minidnn.ops.elementwise import BOOL
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import ALWAYS

__all__: list[str] = []

Array = np.ndarray[Any, Any]
_UINT8 = np.dtype(np.uint8)
_ATTRS = (Attr("axis", "int", None), Attr("bitorder", "str", "big", choices=("big", "little")))


def _resized(op: str, attrs: Attrs, data: TensorType, size: Any) -> TensorType:
    """Bytes in the shape of `data` with another size along the axis; flat without one."""
    if attrs.axis is None:
        return TensorType((size(data.size),), _UINT8)
    axis = normalize_axis(op, attrs.axis, data.ndim)
    return TensorType(tuple(size(n) if i == axis else n for i, n in enumerate(data.shape)), _UINT8)


def _infer_packbits(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    if types[0].dtype not in INTEGERS | {BOOL}:
        raise OpError(f"packbits: data must be integers or bools, got {types[0]}")
    return [_resized("packbits", attrs, types[0], lambda n: -(-n // 8))]


register(
    Op(
        "packbits",
        _infer_packbits,
        lambda attrs, x: np.packbits(x, attrs.axis, attrs.bitorder),
        ("data",),
        attrs=_ATTRS,
        nonnegative=ALWAYS,
    )
)


def _infer_unpackbits(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, count = "unpackbits", attrs.count
    want_dtype(op, "data", types[0], _UINT8, "bytes")

    def size(n: int) -> int:
        if count is not None and count < -8 * n:
            raise OpError(f"{op}: count must be at least {-8 * n} for {n} bytes, got {count}")
        return 8 * n if count is None else count if count >= 0 else 8 * n + int(count)

    return [_resized(op, attrs, types[0], size)]


register(
    Op(
        "unpackbits",
        _infer_unpackbits,
        lambda attrs, x: np.unpackbits(x, attrs.axis, attrs.count, attrs.bitorder),
        ("data",),
        attrs=(_ATTRS[0], Attr("count", "int", None), *_ATTRS[1:]),
        nonnegative=ALWAYS,
    )
)
