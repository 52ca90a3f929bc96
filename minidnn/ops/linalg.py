"""Operators of linear algebra. NumPy computes them, in float64; results are float32 unless an input is float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops.checks import FLOAT32, broadcast_shapes, want_min_rank, want_rank
from minidnn.ops.elementwise import INT64, want_supported
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register

__all__: list[str] = []

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
_FLOAT64 = np.dtype(np.float64)
_SIZE = Attr("size", "int", None, low=0)


def _dtype(op: str, types: Sequence[TensorType]) -> np.dtype[Any]:
    """The dtype of the results.

    Raises:
        TypeMismatchError: an input is made of bools.
    """
    want_supported(op, types)
    for t in types:
        if t.dtype == np.bool_:
            raise TypeMismatchError(f"{op}: numbers are wanted, got {t}")
    return _FLOAT64 if any(t.dtype == _FLOAT64 for t in types) else FLOAT32


def _want_square(op: str, t: TensorType) -> None:
    want_min_rank(op, "a", t, 2)
    if t.shape[-1] != t.shape[-2]:
        raise ShapeError(f"{op}: the last two dimensions must be square, got {t}")


def _want_matrices(op: str, t: TensorType) -> None:
    want_min_rank(op, "a", t, 2)


def _computed(op: str, function: Callable[[], Any], arrays: Sequence[Array]) -> Any:
    """What NumPy computes.

    Raises:
        OpError: it refuses the arguments: a matrix is singular or not positive definite.
    """
    try:
        return function()
    except (np.linalg.LinAlgError, ValueError) as error:
        shapes = " and ".join(str(a.shape) for a in arrays)
        raise OpError(f"{op}: {error}; shapes are {shapes}") from None


def _register(
    name: str,
    function: Callable[..., Any],
    shapes: Callable[[Attrs, Sequence[TensorType]], Sequence[Shape]],
    attrs: tuple[Attr, ...] = (),
    inputs: tuple[str, ...] = ("a",),
    outputs: int = 1,
    check: Callable[[str, TensorType], None] | None = None,
) -> None:
    """An operator whose results are floats."""
    op = f"linalg.{name}"

    def infer(values: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        dtype = _dtype(op, types)
        if check is not None:
            check(op, types[0])
        return [TensorType(shape, dtype) for shape in shapes(values, types)]

    def reference(values: Attrs, *arrays: Array) -> Any:
        wide = [a.astype(np.float64) for a in arrays]
        result = _computed(op, lambda: function(values, *wide), arrays)
        return tuple(result) if outputs > 1 else result

    register(Op(f"linalg_{name}", infer, reference, inputs, attrs=attrs, outputs=outputs))


def _real(name: str, value: Any) -> Any:
    """Eigenvalues or eigenvectors that have no imaginary part.

    Raises:
        OpError: they have one.
    """
    if np.iscomplexobj(value) and np.any(np.imag(value)):
        raise OpError(f"linalg.{name}: the eigenvalues are complex, and there are no complex arrays; use NumPy's")
    return np.real(value)


def _same(attrs: Attrs, types: Sequence[TensorType]) -> list[Shape]:
    return [types[0].shape]


def _lead(attrs: Attrs, types: Sequence[TensorType]) -> list[Shape]:
    return [types[0].shape[:-2]]


# ---- square matrices -----------------------------------------------------------------------------------

_UPPER = (Attr("upper", "bool", False),)
_register("inv", lambda attrs, a: np.linalg.inv(a), _same, check=_want_square)
_register("det", lambda attrs, a: np.linalg.det(a), _lead, check=_want_square)
_register(
    "slogdet",
    lambda attrs, a: np.linalg.slogdet(a),
    lambda attrs, types: [types[0].shape[:-2]] * 2,
    outputs=2,
    check=_want_square,
)


def _cholesky(attrs: Attrs, a: Array) -> Array:
    factor = np.linalg.cholesky(a)
    return np.swapaxes(factor, -1, -2) if attrs.upper else factor


_register("cholesky", _cholesky, _same, _UPPER, check=_want_square)


def _values_and_vectors(attrs: Attrs, types: Sequence[TensorType]) -> list[Shape]:
    return [types[0].shape[:-1], types[0].shape]


def _values(attrs: Attrs, types: Sequence[TensorType]) -> list[Shape]:
    return [types[0].shape[:-1]]


_register(
    "eig",
    lambda attrs, a: [_real("eig", part) for part in np.linalg.eig(a)],
    _values_and_vectors,
    outputs=2,
    check=_want_square,
)
_register("eigvals", lambda attrs, a: _real("eigvals", np.linalg.eigvals(a)), _values, check=_want_square)
_register(
    "eigh",
    lambda attrs, a: np.linalg.eigh(a, "U" if attrs.upper else "L"),
    _values_and_vectors,
    _UPPER,
    outputs=2,
    check=_want_square,
)
_register(
    "eigvalsh",
    lambda attrs, a: np.linalg.eigvalsh(a, "U" if attrs.upper else "L"),
    _values,
    _UPPER,
    check=_want_square,
)

# ---- factors -------------------------------------------------------------------------------------------


def _qr_shapes(attrs: Attrs, types: Sequence[TensorType]) -> list[Shape]:
    *lead, rows, columns = types[0].shape
    inner = rows if attrs.mode == "complete" else min(rows, columns)
    return [(*lead, rows, inner), (*lead, inner, columns)]


def _svd_shapes(attrs: Attrs, types: Sequence[TensorType]) -> list[Shape]:
    *lead, rows, columns = types[0].shape
    inner = min(rows, columns)
    return [(*lead, rows, inner), (*lead, inner), (*lead, inner, columns)]


_register(
    "qr",
    lambda attrs, a: np.linalg.qr(a, attrs.mode),
    _qr_shapes,
    (Attr("mode", "str", "reduced", choices=("reduced", "complete")),),
    outputs=2,
    check=_want_matrices,
)
_register("svd", lambda attrs, a: np.linalg.svd(a, full_matrices=False), _svd_shapes, outputs=3, check=_want_matrices)
_register(
    "svdvals",
    lambda attrs, a: np.linalg.svd(a, compute_uv=False),
    lambda attrs, types: [_svd_shapes(attrs, types)[1]],
    check=_want_matrices,
)


def _cond(attrs: Attrs, x: Array) -> Any:
    order = attrs.p if attrs.p in (None, "fro", "nuc") else float(attrs.p)
    return np.linalg.cond(x, order)


def _check_order(attrs: Attrs) -> None:
    if attrs.p not in (None, "fro", "nuc", "1.0", "-1.0", "2.0", "-2.0", "inf", "-inf"):
        raise OpError(f"linalg.cond: p must be None, 1, -1, 2, -2, inf, -inf, 'fro' or 'nuc', got {attrs.p!r}")


def _infer_cond(attrs: Attrs, types: Sequence[TensorType]) -> list[Shape]:
    _check_order(attrs)
    if attrs.p not in (None, "2.0", "-2.0"):
        _want_square("linalg.cond", types[0])
    return [types[0].shape[:-2]]


_register("cond", _cond, _infer_cond, (Attr("p", "str", None),), ("x",), check=_want_matrices)


def _matrix_norm_shape(attrs: Attrs, types: Sequence[TensorType]) -> list[Shape]:
    return [types[0].shape[:-2]]


# Those of singular values; the others are sums and extremes.
_register(
    "singular_norm",
    lambda attrs, x: np.linalg.norm(x, "nuc" if attrs.ord == "nuc" else int(attrs.ord), (-2, -1)),
    _matrix_norm_shape,
    (Attr("ord", "str", "2", choices=("2", "-2", "nuc")),),
    ("x",),
    check=_want_matrices,
)


def _pinv_shape(attrs: Attrs, types: Sequence[TensorType]) -> list[Shape]:
    *lead, rows, columns = types[0].shape
    if len(types) > 1 and broadcast_shapes("linalg.pinv", [TensorType(tuple(lead), FLOAT32), types[1]]) != tuple(lead):
        raise ShapeError(f"linalg.pinv: rtol must broadcast to the matrices {tuple(lead)}, got {types[1]}")
    return [(*lead, columns, rows)]


_HERMITIAN = (Attr("hermitian", "bool", False),)
_register(
    "pinv",
    lambda attrs, a, rtol: np.linalg.pinv(a, rtol, attrs.hermitian),
    _pinv_shape,
    _HERMITIAN,
    ("a", "rtol"),
    check=_want_matrices,
)


# ---- rank ----------------------------------------------------------------------------------------------


def _infer_matrix_rank(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    _dtype("linalg.matrix_rank", types)
    return [TensorType(types[0].shape[:-2], INT64)]


def _matrix_rank(attrs: Attrs, a: Array, rtol: Array) -> Any:
    wide = a.astype(np.float64)
    if wide.ndim < 2:
        return int(np.any(wide != 0))
    largest = np.linalg.svd(wide, compute_uv=False, hermitian=attrs.hermitian).max(axis=-1, initial=0.0)
    tolerance = rtol.astype(np.float64) * largest
    return _computed("linalg.matrix_rank", lambda: np.linalg.matrix_rank(wide, tolerance, attrs.hermitian), [a])


register(Op("linalg_matrix_rank", _infer_matrix_rank, _matrix_rank, ("a", "rtol"), attrs=_HERMITIAN))


# ---- equations -----------------------------------------------------------------------------------------


def _solve_shape(attrs: Attrs, types: Sequence[TensorType]) -> list[Shape]:
    op, (a, b) = "linalg.solve", types
    size = a.shape[-1]
    want_min_rank(op, "b", b, 1)
    rows = b.shape[0] if b.ndim == 1 else b.shape[-2]
    if rows != size:
        raise ShapeError(f"{op}: b must have {size} rows as a has, got {b} and {a}")
    if b.ndim == 1:
        return [a.shape[:-1]]
    lead = broadcast_shapes(op, [TensorType(t.shape[:-2], t.dtype) for t in types])
    return [(*lead, size, b.shape[-1])]


_register("solve", lambda attrs, a, b: np.linalg.solve(a, b), _solve_shape, (), ("a", "b"), check=_want_square)


def _tensorinv_shape(attrs: Attrs, types: Sequence[TensorType]) -> list[Shape]:
    shape, ind = types[0].shape, attrs.ind
    if not 0 < ind <= len(shape) or math.prod(shape[:ind]) != math.prod(shape[ind:]):
        raise ShapeError(f"linalg.tensorinv: the first {ind} dimensions must be as large as the others, got {shape}")
    return [shape[ind:] + shape[:ind]]


_register(
    "tensorinv", lambda attrs, a: np.linalg.tensorinv(a, attrs.ind), _tensorinv_shape, (Attr("ind", "int", 2, low=1),)
)


def _tensorsolve_shape(attrs: Attrs, types: Sequence[TensorType]) -> list[Shape]:
    a, b = types
    moved = [axis % max(a.ndim, 1) for axis in attrs.axes or ()]
    shape = [n for i, n in enumerate(a.shape) if i not in moved] + [a.shape[i] for i in moved]
    result = tuple(shape[b.ndim :])
    if math.prod(result) != b.size or math.prod(result) ** 2 != a.size:
        raise ShapeError(f"linalg.tensorsolve: a must have as many unknowns as b has elements, got {a} and {b}")
    return [result]


_register(
    "tensorsolve",
    lambda attrs, a, b: np.linalg.tensorsolve(a, b, attrs.axes),
    _tensorsolve_shape,
    (Attr("axes", "ints", None),),
    ("a", "b"),
)


def _infer_lstsq(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (a, b) = "linalg.lstsq", types
    dtype = _dtype(op, types)
    want_rank(op, "a", a, 2)
    want_min_rank(op, "b", b, 1)
    rows, columns = a.shape
    if b.ndim > 2 or b.shape[0] != rows:
        raise ShapeError(f"{op}: b must be a vector or a matrix of {rows} rows as a has, got {b} and {a}")
    x = TensorType((columns, *b.shape[1:]), dtype)
    return [x, TensorType((), INT64), TensorType((min(rows, columns),), dtype), TensorType((attrs.size,), dtype)]


def _lstsq(attrs: Attrs, a: Array, b: Array) -> tuple[Any, ...]:
    dtype = _dtype("linalg.lstsq", [TensorType.of(a), TensorType.of(b)])
    cutoff = float(np.finfo(dtype).eps) * max((*a.shape, 1)) if attrs.rcond is None else attrs.rcond
    wide = a.astype(np.float64), b.astype(np.float64)
    x, residuals, rank, singular = _computed("linalg.lstsq", lambda: np.linalg.lstsq(*wide, cutoff), (a, b))
    return x, rank, singular, residuals


# The solution, the rank, the singular values, and the residuals: none where the rank is too low.
register(
    Op(
        "linalg_lstsq",
        _infer_lstsq,
        _lstsq,
        ("a", "b"),
        attrs=(Attr("rcond", "float", None), _SIZE),
        outputs=4,
        is_dynamic=True,
    )
)
