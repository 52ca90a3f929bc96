"""Functions that NumPy has and `mx.np` has not, by operators: for calls of NumPy's own functions with our arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minidnn.dispatch import binary, invoke_one, product
from minidnn.errors import OpError, ShapeError
from minidnn.numpy import creation, elementwise, manipulation, samples, sets
from minidnn.numpy.convert import as_array, as_operand
from minidnn.numpy.multiarray import ndarray

__all__ = ["FUNCTIONS", "REDUCTIONS", "accumulate"]

# What reduces by a ufunc.
REDUCTIONS = {
    "add": "sum",
    "multiply": "prod",
    "maximum": "max",
    "minimum": "min",
    "logical_and": "all",
    "logical_or": "any",
}
_ACCUMULATED = {"add": "cumsum", "multiply": "cumprod"}


def accumulate(ufunc: str, x: ndarray, axis: int, dtype: Any) -> ndarray | None:
    """A ufunc applied to all elements so far; None if there is no operator for that."""
    op = _ACCUMULATED.get(ufunc)
    return None if op is None else invoke_one(op, x, axis=axis, dtype=dtype)


def _conjugate(x: Any) -> ndarray:
    return as_operand(x).copy()


def _angle(z: Any, deg: bool = False) -> ndarray:
    turned = elementwise.where(as_operand(z) < 0, 180.0 if deg else math.pi, 0.0)
    return invoke_one("where", invoke_one("isnan", as_operand(z)), as_array(math.nan), turned)


def _sinc(x: Any) -> ndarray:
    y = binary("multiply", as_operand(x), math.pi)
    y = elementwise.where(y == 0, 1e-20, y)
    return binary("true_divide", invoke_one("sin", y), y)


def _exp2(x: Any) -> ndarray:
    return binary("power", 2.0, as_operand(x))


def _logaddexp2(x1: Any, x2: Any) -> ndarray:
    scaled = [binary("multiply", as_operand(x), math.log(2.0)) for x in (x1, x2)]
    return binary("true_divide", binary("logaddexp", *scaled), math.log(2.0))


def _convolve(a: Any, v: Any, mode: str = "full") -> ndarray:
    x, y = as_operand(a), as_operand(v)
    longer, shorter = (y, x) if y.size > x.size else (x, y)
    return samples.correlate(longer, manipulation.flip(shorter), mode)


def _gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Central differences inside, one-sided ones of `edge_order` at the ends; spacing is a number for each axis."""
    x = as_operand(f)
    x = x if x.dtype.kind == "f" else x.astype(np.float32)
    axes = range(x.ndim) if axis is None else [a % x.ndim for a in ((axis,) if isinstance(axis, int) else axis)]
    steps = varargs * len(axes) if len(varargs) == 1 else varargs or (1.0,) * len(axes)
    if len(steps) != len(axes) or not all(isinstance(s, (int, float, np.number)) for s in steps):
        raise OpError(f"gradient: while tracing, spacing must be a number for each of {len(axes)} axes")
    if edge_order not in (1, 2) or any(x.shape[a] <= edge_order for a in axes):
        raise ShapeError(f"gradient: edge_order must be 1 or 2 and below the sizes {x.shape}, got {edge_order}")
    results = [_difference(x, a, float(s), edge_order) for a, s in zip(axes, steps, strict=True)]
    return results[0] if len(results) == 1 else tuple(results)


def _difference(x: ndarray, axis: int, step: float, edge_order: int) -> ndarray:
    def part(begin: int, end: int | None) -> ndarray:
        return invoke_one("slice_axis", x, axis=axis, begin=begin, end=end)

    inner = (part(2, None) - part(0, -2)) / (2.0 * step)
    first, second = part(0, 1), part(1, 2)
    last, before = part(-1, None), part(-2, -1)
    if edge_order == 1:
        ends = (second - first) / step, (last - before) / step
    else:
        third, earlier = part(2, 3), part(-3, -2)
        ends = (
            (4.0 * second - 3.0 * first - third) / (2.0 * step),
            (3.0 * last - 4.0 * before + earlier) / (2.0 * step),
        )
    return manipulation.concatenate([ends[0], inner, ends[1]], axis)


def _unstack(x: Any, /, *, axis: int = 0) -> tuple[ndarray, ...]:
    parts = manipulation.moveaxis(as_operand(x), axis, 0)
    return tuple(parts[i].copy() for i in range(parts.shape[0]))


def _matrix_transpose(x: Any, /) -> ndarray:
    return as_operand(x).swapaxes(-1, -2)


def _vecdot(x1: Any, x2: Any) -> ndarray:
    return binary("multiply", as_operand(x1), as_operand(x2)).sum(-1)


def _matvec(x1: Any, x2: Any) -> ndarray:
    return product("matmul", as_operand(x1), as_operand(x2).expand_dims(-1)).squeeze(-1)


def _vecmat(x1: Any, x2: Any) -> ndarray:
    return product("matmul", as_operand(x1).expand_dims(-2), as_operand(x2)).squeeze(-2)


def _block(arrays: Any) -> ndarray:
    return _joined(arrays, _depth(arrays), max(_depth(arrays), _rank(arrays)))


def _depth(arrays: Any) -> int:
    return 1 + _depth(arrays[0]) if isinstance(arrays, list) else 0


def _rank(arrays: Any) -> int:
    return max(map(_rank, arrays)) if isinstance(arrays, list) else as_operand(arrays).ndim


def _joined(arrays: Any, depth: int, rank: int) -> ndarray:
    if not isinstance(arrays, list):
        x = as_operand(arrays)
        return x.reshape((1,) * (rank - x.ndim) + x.shape)
    return manipulation.concatenate([_joined(a, depth - 1, rank) for a in arrays], -depth)


def _unique_counts(x: Any) -> tuple[ndarray, ndarray]:
    found = sets.unique_all(x)
    return found.values, found.counts


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "angle": _angle,
    "block": _block,
    "conj": _conjugate,
    "conjugate": _conjugate,
    "convolve": _convolve,
    "exp2": _exp2,
    "gradient": _gradient,
    "imag": lambda val: creation.zeros_like(as_operand(val)),
    "iscomplex": lambda x: creation.zeros_like(as_operand(x), np.bool_),
    "iscomplexobj": lambda x: False,
    "isreal": lambda x: creation.ones_like(as_operand(x), np.bool_),
    "isrealobj": lambda x: True,
    "logaddexp2": _logaddexp2,
    "matrix_transpose": _matrix_transpose,
    "matvec": _matvec,
    "real_if_close": lambda a, tol=100: as_array(a),
    "sinc": _sinc,
    "trapezoid": samples.trapz,
    "unique_counts": _unique_counts,
    "unstack": _unstack,
    "vecdot": _vecdot,
    "vecmat": _vecmat,
}
