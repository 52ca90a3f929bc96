"""Operators about diagonals and triangles of matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError
from minidnn.ops.checks import normalize_axis, want_min_rank
from minidnn.ops.composed import Operand, expansion_of
from minidnn.ops.elementwise import want_supported
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import IF_ALL

__all__: list[str] = []

_K = Attr("k", "int", 0)
# Of a diagonal that a matrix of any possible size may have.
_LARGEST_K = 1 << 47


def _length(rows: int, columns: int, k: int) -> int:
    return max(0, min(rows, columns - k) if k >= 0 else min(rows + k, columns))


def _check_k(name: str) -> Callable[[Attrs], None]:
    def check(attrs: Attrs) -> None:
        k = attrs.get("k", attrs.get("offset"))
        if abs(k) > _LARGEST_K:
            raise OpError(f"{name}: no matrix has a diagonal {k}")

    return check


def _infer_diag(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    data = types[0]
    want_supported("diag", types)
    if data.ndim not in (1, 2):
        raise ShapeError(f"diag: data must have 1 or 2 dimensions, got {data}")
    if data.ndim == 2:
        return [TensorType((_length(data.shape[0], data.shape[1], attrs.k),), data.dtype)]
    return [TensorType((data.size + abs(attrs.k),) * 2, data.dtype)]


def _infer_diagflat(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    want_supported("diagflat", types)
    return [TensorType((types[0].size + abs(attrs.k),) * 2, types[0].dtype)]


def _infer_diagonal(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "diagonal", types[0]
    want_supported(op, types)
    want_min_rank(op, "data", data, 2)
    first, second = (normalize_axis(op, attrs[name], data.ndim, name) for name in ("axis1", "axis2"))
    if first == second:
        raise OpError(f"{op}: axis1 and axis2 must differ, got {attrs.axis1} and {attrs.axis2}")
    others = tuple(n for i, n in enumerate(data.shape) if i not in (first, second))
    return [TensorType((*others, _length(data.shape[first], data.shape[second], attrs.offset)), data.dtype)]


def _infer_triangle(name: str) -> Callable[[Attrs, Sequence[TensorType]], list[TensorType]]:
    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        data = types[0]
        want_supported(name, types)
        want_min_rank(name, "data", data, 1)
        # A vector counts as a matrix with it in every row.
        return [data if data.ndim > 1 else TensorType((data.size, data.size), data.dtype)]

    return infer


def _compose_triangle(comparison: str) -> Any:
    def compose(attrs: Attrs, data: Operand) -> Operand:
        rows, columns = data.shape[-2:] if data.ndim > 1 else data.shape * 2
        distance = data.count(columns).reshape(1, columns) - data.count(rows).reshape(rows, 1)
        keep = distance.apply(f"{comparison}_scalar", scalar=attrs.k, is_int=True)
        return keep.apply("where", data, data.full(0))

    return expansion_of(compose)


def _register(name: str, infer: Any, reference: Any, attrs: tuple[Attr, ...] = (_K,), expansion: Any = None) -> None:
    register(
        Op(
            name,
            infer,
            reference,
            ("data",),
            attrs=attrs,
            kind="shape",
            mxnet=(f"_npi_{name}",),
            check=_check_k(name),
            nonnegative=IF_ALL,
            expansion=expansion,
        )
    )


_register("diag", _infer_diag, lambda attrs, x: np.diag(x, attrs.k))
_register("diagflat", _infer_diagflat, lambda attrs, x: np.diagflat(x, attrs.k))
_register(
    "diagonal",
    _infer_diagonal,
    lambda attrs, x: np.diagonal(x, attrs.offset, attrs.axis1, attrs.axis2),
    (Attr("offset", "int", 0), Attr("axis1", "int", 0), Attr("axis2", "int", 1)),
)
_register(
    "tril",
    _infer_triangle("tril"),
    lambda attrs, x: np.tril(x, attrs.k),
    expansion=_compose_triangle("less_equal"),
)
_register(
    "triu",
    _infer_triangle("triu"),
    lambda attrs, x: np.triu(x, attrs.k),
    expansion=_compose_triangle("greater_equal"),
)
