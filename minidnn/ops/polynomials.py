"""Operators on polynomials, vectors of coefficients with the highest power first. NumPy computes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError
from minidnn.ops.checks import FLOATS, broadcast_shapes, want_min_rank, want_rank, want_shape
from minidnn.ops.elementwise import INT64, want_supported
from minidnn.ops.numpy_dtypes import defaulted, probed_dtype
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register

__all__: list[str] = []

Array = np.ndarray[Any, Any]
_FLOAT64 = np.dtype(np.float64)
_SIZE = Attr("size", "int", None, low=0)


def _infer_polyval(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    want_supported("polyval", types)
    want_min_rank("polyval", "p", types[0], 1)
    each = TensorType(types[0].shape[1:], types[0].dtype)
    return [TensorType(broadcast_shapes("polyval", [each, types[1]]), probed_dtype(np.polyval, types))]


register(Op("polyval", _infer_polyval, lambda attrs, p, x: np.polyval(p, x), ("p", "x"), mxnet=("_npi_polyval",)))


def _lengths(op: str, types: Sequence[TensorType]) -> list[int]:
    """The numbers of coefficients; a number is a polynomial with one."""
    want_supported(op, types)
    for i, t in enumerate(types):
        if t.ndim > 1 or not t.size:
            raise ShapeError(f"{op}: polynomial {i} must be a vector with at least one coefficient, got {t}")
    return [t.size for t in types]


def _register_sum(name: str, function: Callable[..., Any]) -> None:
    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        return [TensorType((max(_lengths(name, types)),), probed_dtype(function, types))]

    register(Op(name, infer, lambda attrs, a, b: function(a, b), ("a1", "a2")))


_register_sum("polyadd", np.polyadd)
_register_sum("polysub", np.polysub)


def _infer_polymul(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    _lengths("polymul", types)
    return [TensorType((attrs.size,), probed_dtype(np.polymul, types))]


# Without the zeros in front of its factors.
register(
    Op(
        "polymul",
        _infer_polymul,
        lambda attrs, a, b: np.polymul(a, b),
        ("a1", "a2"),
        attrs=(_SIZE,),
        is_dynamic=True,
    )
)


def _infer_polydiv(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    first, second = _lengths("polydiv", types)
    floats = [t.dtype if t.dtype in FLOATS else _FLOAT64 for t in types]
    dtype = defaulted(np.result_type(*floats), types)
    return [TensorType((max(first - second + 1, 1),), dtype), TensorType((attrs.size,), dtype)]


register(
    Op(
        "polydiv",
        _infer_polydiv,
        lambda attrs, u, v: np.polydiv(np.atleast_1d(u), np.atleast_1d(v)),
        ("u", "v"),
        attrs=(_SIZE,),
        outputs=2,
        is_dynamic=True,
    )
)


def _infer_polyint(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    (length,) = _lengths("polyint", types[:1])
    if len(types) > 1 and types[1].size not in (1, attrs.m):
        raise ShapeError(f"polyint: k must be one constant, or one for each of {attrs.m} integrations, got {types[1]}")
    dtype = types[0].dtype if not attrs.m else defaulted(_FLOAT64, types)
    return [TensorType((length + attrs.m,), dtype)]


register(
    Op(
        "polyint",
        _infer_polyint,
        lambda attrs, p, k=None: np.polyint(np.atleast_1d(p), attrs.m, None if k is None else k.reshape(-1)),
        lambda attrs: ("p", "k") if attrs.has_k else ("p",),
        attrs=(Attr("m", "int", 1, low=0), Attr("has_k", "bool", False)),
    )
)


def _infer_poly(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "poly", types[0]
    want_supported(op, types)
    if data.ndim > 2 or (data.ndim == 2 and data.shape[0] != data.shape[1]):
        raise ShapeError(f"{op}: data must be a vector of roots or a square matrix, got {data}")
    sample = np.ones((1,) * max(data.ndim, 1), data.dtype)
    return [TensorType((data.shape[0] + 1 if data.ndim else 2,), defaulted(np.poly(sample).dtype, types))]


register(Op("poly", _infer_poly, lambda attrs, x: np.poly(np.atleast_1d(x)), ("data",)))


def _infer_roots(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    _lengths("roots", types)
    return [TensorType((attrs.size,), defaulted(_FLOAT64, types))]


def _roots(attrs: Attrs, p: Array) -> Array:
    """The roots.

    Raises:
        OpError: there are complex ones.
    """
    roots = np.roots(np.atleast_1d(p))
    if np.iscomplexobj(roots) and np.any(roots.imag):
        raise OpError("roots: the roots are complex, and there are no complex arrays")
    return np.real(roots)


register(Op("roots", _infer_roots, _roots, ("p",), attrs=(_SIZE,), is_dynamic=True))


def _infer_vander(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    want_supported("vander", types)
    want_rank("vander", "x", types[0], 1)
    count = types[0].size if attrs.N is None else attrs.N
    return [TensorType((types[0].size, count), probed_dtype(np.vander, types))]


register(
    Op(
        "vander",
        _infer_vander,
        lambda attrs, x: np.vander(x, attrs.N, attrs.increasing),
        ("x",),
        attrs=(Attr("N", "int", None, low=0), Attr("increasing", "bool", False)),
    )
)


# ---- least squares -------------------------------------------------------------------------------------

_FIT = (Attr("deg", "int", low=0), Attr("rcond", "float", None), Attr("has_weights", "bool", False))


def _fit_inputs(attrs: Attrs) -> tuple[str, ...]:
    return ("x", "y", "w") if attrs.has_weights else ("x", "y")


def _fitted(op: str, attrs: Attrs, types: Sequence[TensorType]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The shape and the dtype of the coefficients."""
    want_supported(op, types)
    want_rank(op, "x", types[0], 1)
    want_min_rank(op, "y", types[1], 1)
    if types[1].ndim > 2 or types[1].shape[0] != types[0].size or not types[0].size:
        raise ShapeError(f"{op}: y must have a number, or a row, for each of x, and one at least, got {types[1]}")
    if attrs.has_weights:
        want_shape(op, "w", types[2], types[0].shape, "one for each of x")
    return (attrs.deg + 1, *types[1].shape[1:]), defaulted(_FLOAT64, types)


def _fit(attrs: Attrs, x: Array, y: Array, w: Array | None, **options: Any) -> Any:
    try:
        return np.polyfit(x, y, attrs.deg, attrs.rcond, w=w, **options)
    except (np.linalg.LinAlgError, ValueError) as error:
        raise OpError(f"polyfit: {error}") from None


def _infer_polyfit(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    shape, dtype = _fitted("polyfit", attrs, types)
    if attrs.covariance == "none":
        return [TensorType(shape, dtype)]
    return [TensorType(shape, dtype), TensorType((attrs.deg + 1, *shape), dtype)]


def _polyfit(attrs: Attrs, x: Array, y: Array, w: Array | None = None) -> Any:
    cov: Any = {"none": False, "scaled": True}.get(attrs.covariance, attrs.covariance)
    return _fit(attrs, x, y, w, cov=cov)


register(
    Op(
        "polyfit",
        _infer_polyfit,
        _polyfit,
        _fit_inputs,
        attrs=(*_FIT, Attr("covariance", "str", "none", choices=("none", "scaled", "unscaled"))),
        outputs=lambda attrs: 1 if attrs.covariance == "none" else 2,
    )
)


def _infer_polyfit_full(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    shape, dtype = _fitted("polyfit_full", attrs, types)
    singular = TensorType((min(attrs.deg + 1, types[0].size),), dtype)
    rank, share = TensorType((), INT64), TensorType((), dtype)
    return [TensorType(shape, dtype), rank, singular, share, TensorType((attrs.size,), dtype)]


def _polyfit_full(attrs: Attrs, x: Array, y: Array, w: Array | None = None) -> tuple[Any, ...]:
    coefficients, residuals, rank, singular, rcond = _fit(attrs, x, y, w, full=True)
    return coefficients, rank, singular, rcond, residuals


# Coefficients, rank, singular values, the least share that counts, and residuals: none where the rank is too low.
register(
    Op(
        "polyfit_full",
        _infer_polyfit_full,
        _polyfit_full,
        _fit_inputs,
        attrs=(*_FIT, _SIZE),
        outputs=5,
        is_dynamic=True,
    )
)
