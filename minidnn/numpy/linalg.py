"""`mx.np.linalg`: linear algebra. Results are float32 unless an argument is float64."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minidnn import dispatch
from minidnn.errors import OpError, ShapeError
from minidnn.numpy import contractions, delegated, elementwise, linear, reductions
from minidnn.numpy.base import apply
from minidnn.numpy.convert import as_array, find_traced, own
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.checks import FLOAT32
from minidnn.user_code import named

__all__ = [
    "cholesky",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "inv",
    "lstsq",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "multi_dot",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "tensorinv",
    "tensorsolve",
    "trace",
    "vecdot",
    "vector_norm",
]

Axis = int | tuple[int, ...] | None


class EigResult(NamedTuple):
    """Eigenvalues, and the eigenvectors as columns."""

    eigenvalues: ndarray
    eigenvectors: ndarray


class QRResult(NamedTuple):
    """The factors of `qr`."""

    Q: ndarray
    R: ndarray


class SlogdetResult(NamedTuple):
    """Sign and logarithm of the absolute value of a determinant."""

    sign: ndarray
    logabsdet: ndarray


class SVDResult(NamedTuple):
    """The factors of `svd`."""

    U: ndarray
    S: ndarray
    Vh: ndarray


def _plain(function: str, doc: str) -> Callable[[Any], ndarray]:
    def computed(a: Any) -> ndarray:
        return dispatch.invoke_one(f"linalg_{function}", as_array(a))

    return named(computed, function, doc)


def _parts(function: str, *arrays: Any, **attrs: Any) -> tuple[ndarray, ...]:
    """The results of an operator that has several."""
    return apply(ndarray, f"linalg_{function}", [as_array(a) for a in arrays], attrs)


inv = _plain("inv", "The inverse of square matrices ``(..., n, n)``.")
det = _plain("det", "The determinant of square matrices ``(..., n, n)``.")


def slogdet(a: Any) -> SlogdetResult:
    """Sign and logarithm of the absolute value of the determinant of square matrices."""
    return SlogdetResult(*_parts("slogdet", a))


def cholesky(a: Any, upper: bool = False) -> ndarray:
    """The triangular factor L of a positive definite matrix ``L · Lᵀ``, or with `upper` its transpose."""
    return dispatch.invoke_one("linalg_cholesky", as_array(a), upper=upper)


def qr(a: Any, mode: str = "reduced") -> QRResult:
    """An orthogonal Q and an upper triangular R whose product is `a`; `mode` is ``reduced`` or ``complete``.

    Raises:
        OpError: another mode.
    """
    return QRResult(*_parts("qr", a, mode=mode))


def svd(a: Any) -> SVDResult:
    """U, S and Vh of ``a = U · diag(S) · Vh``: of ``(..., M, N)`` with M <= N they are (M, M), (M,) and (M, N)."""
    return SVDResult(*_parts("svd", a))


svdvals = _plain("svdvals", "The singular values, the largest first.")


def eig(a: Any) -> EigResult:
    """Eigenvalues and eigenvectors of square matrices.

    Raises:
        OpError: they are complex.
    """
    return EigResult(*_parts("eig", a))


def eigvals(a: Any) -> ndarray:
    """Eigenvalues of square matrices.

    Raises:
        OpError: they are complex.
    """
    return dispatch.invoke_one("linalg_eigvals", as_array(a))


def eigh(a: Any, upper: bool = False) -> EigResult:
    """Eigenvalues, in order, and eigenvectors of symmetric matrices, of which one triangle is read."""
    return EigResult(*_parts("eigh", a, upper=upper))


def eigvalsh(a: Any, upper: bool = False) -> ndarray:
    """Eigenvalues, in order, of symmetric matrices, of which one triangle is read."""
    return dispatch.invoke_one("linalg_eigvalsh", as_array(a), upper=upper)


def solve(a: Any, b: Any) -> ndarray:
    """The x of ``a · x = b``; `a` is ``(..., n, n)``, `b` ``(n,)`` or ``(..., n, k)``."""
    return dispatch.invoke_one("linalg_solve", as_array(a), as_array(b))


def lstsq(a: Any, b: Any, rcond: Any = "warn") -> tuple[ndarray, ndarray, Any, ndarray]:
    """The x with the smallest ``|a · x - b|``; the residuals; the rank of `a`; its singular values.

    Args:
        a, b: ``(M, N)`` and ``(M,)`` or ``(M, K)``.
        rcond: singular values below this share of the largest count as zero. None, -1 and ``warn`` take the precision
            of the dtype times the larger of M and N.

    Returns:
        The rank is an integer, or an array without dimensions in a network that is being traced.
    """
    share = None if rcond in (None, -1, "warn") else float(rcond)
    x, rank, singular, residuals = _parts("lstsq", a, b, rcond=share)
    return x, residuals, rank if find_traced(rank) is not None else int(rank), singular


def pinv(a: Any, rtol: Any = None, hermitian: bool = False) -> ndarray:
    """The pseudo-inverse; singular values below `rtol` times the largest count as zero (by default 1e-15)."""
    share = as_array(1e-15 if rtol is None else rtol)
    return dispatch.invoke_one("linalg_pinv", as_array(a), share, hermitian=hermitian)


def matrix_rank(M: Any, rtol: Any = None, hermitian: bool = False) -> ndarray:  # noqa: N803 - MXNet's name
    """The number of singular values above `rtol` times the largest, by default the dtype's precision times the size."""
    a = as_array(M)
    if rtol is None:
        dtype = a.dtype if a.dtype == np.float64 else FLOAT32
        rtol = np.finfo(dtype).eps * max((*a.shape[-2:], 1))
    return dispatch.invoke_one("linalg_matrix_rank", a, as_array(rtol), hermitian=hermitian)


def cond(x: Any, p: Any = None) -> ndarray:
    """The condition number, by the norm `p` (by default the 2-norm)."""
    order = p if p is None or isinstance(p, str) else str(float(p))
    return dispatch.invoke_one("linalg_cond", as_array(x), p=order)


def tensorinv(a: Any, ind: int = 2) -> ndarray:
    """The inverse with respect to `tensordot` over the first `ind` dimensions."""
    return dispatch.invoke_one("linalg_tensorinv", as_array(a), ind=ind)


def tensorsolve(a: Any, b: Any, axes: Sequence[int] | None = None) -> ndarray:
    """The x of ``tensordot(a, x, x.ndim) = b``; `axes` of `a` are moved to its end before."""
    return dispatch.invoke_one("linalg_tensorsolve", as_array(a), as_array(b), axes=axes)


# ---- sums and products ----------------------------------------------------------------------------


# MXNet takes these words too.
_INFINITIES = {"inf": np.inf, "-inf": -np.inf}


def norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> ndarray:
    """The norm of vectors, or with two axes of matrices.

    Args:
        x: the array; integers count as float32.
        ord: of vectors any number, or plus or minus infinity; of matrices ``'fro'``, 1, -1, infinity, -infinity, and
            2, -2 and ``'nuc'``, for which singular values are computed. None: the root of the sum of squares.
            Infinities may be written ``'inf'`` and ``'-inf'``.
        axis: of the vectors, or both axes of the matrices; None: all elements, as a vector or matrix with an `ord`.
        keepdims: whether the axes stay, with size one.

    Raises:
        OpError: an unknown order, or as many axes as no vector and no matrix has.
    """
    a = as_array(x)
    a = a if a.dtype.kind == "f" else a.astype(FLOAT32)
    if axis is None:
        if ord is None:
            return _vector_norm(a, 2, None, keepdims)
        axes: tuple[int, ...] = tuple(range(a.ndim))
    else:
        axes = (axis,) if isinstance(axis, int) else tuple(axis)
    if len(axes) == 1:
        return _vector_norm(a, 2 if ord is None else ord, axes, keepdims)
    if len(axes) == 2:
        return _matrix_norm(a, "fro" if ord is None else ord, axes, keepdims)
    raise OpError(f"linalg.norm: one or two axes are wanted, got {len(axes)} of an array of shape {a.shape}")


def _vector_norm(a: ndarray, ord: Any, axes: tuple[int, ...] | None, keepdims: bool) -> ndarray:
    ord = _INFINITIES.get(ord, ord)
    if isinstance(ord, str):
        raise OpError(f"linalg.norm: the order {ord!r} is one of matrices")
    if ord == 2:
        root: ndarray = elementwise.sqrt(reductions.sum(a * a, axes, keepdims=keepdims))
        return root
    sizes = elementwise.abs(a)
    if ord in (np.inf, -np.inf):
        return (reductions.max if ord > 0 else reductions.min)(sizes, axes, keepdims=keepdims)
    if ord == 0:
        return reductions.sum((a != 0).astype(a.dtype), axes, keepdims=keepdims)
    if ord == 1:
        return reductions.sum(sizes, axes, keepdims=keepdims)
    return reductions.sum(sizes ** float(ord), axes, keepdims=keepdims) ** (1.0 / float(ord))


def _matrix_norm(a: ndarray, ord: Any, axes: tuple[int, ...], keepdims: bool) -> ndarray:
    rows, columns = axes
    ord = _INFINITIES.get(ord, ord)
    if ord in ("fro", "f"):
        return _vector_norm(a, 2, axes, keepdims)
    if ord in (2, -2, "nuc"):
        matrices = dispatch.invoke_one("moveaxis", a, source=axes, destination=(-2, -1))
        result = dispatch.invoke_one("linalg_singular_norm", matrices, ord=ord if ord == "nuc" else str(int(ord)))
        for axis in sorted(axis % a.ndim for axis in axes) if keepdims else ():
            result = result.expand_dims(axis)
        return result
    if ord not in (1, -1, np.inf, -np.inf):
        raise OpError(f"linalg.norm: the order of a matrix norm must be 1, 2, inf, 'fro' or 'nuc', got {ord!r}")
    summed, kept = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = reductions.sum(elementwise.abs(a), summed, keepdims=True)
    result = (reductions.max if ord > 0 else reductions.min)(sums, kept, keepdims=True)
    return result if keepdims else result.squeeze(axes)


def vector_norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> ndarray:
    """The norm of order `ord` (by default 2) over all of `axis` taken as one vector, or over all elements."""
    a = as_array(x)
    a = a if a.dtype.kind == "f" else a.astype(FLOAT32)
    axes = (axis,) if isinstance(axis, int) else axis
    return _vector_norm(a, 2 if ord is None else ord, axes, keepdims)


def matrix_norm(x: Any, ord: Any = "fro", axis: tuple[int, int] = (-2, -1), keepdims: bool = False) -> ndarray:
    """The norm of the matrices in two axes; see `norm`.

    Raises:
        ValueError: not two axes.
    """
    if not isinstance(axis, tuple) or len(axis) != 2:
        raise ValueError(f"linalg.matrix_norm: axis must be a tuple of two numbers, got {axis!r}")
    return norm(x, ord, axis, keepdims)


def matrix_transpose(a: Any) -> ndarray:
    """The last two axes exchanged.

    Raises:
        ShapeError: there are fewer.
    """
    x = as_array(a)
    if x.ndim < 2:
        raise ShapeError(f"linalg.matrix_transpose: at least two dimensions are wanted, got shape {x.shape}")
    return x.swapaxes(-1, -2)


def trace(a: Any, offset: int = 0) -> Any:
    """The sum of a diagonal."""
    return delegated.trace(a, offset=offset)


def diagonal(a: Any, offset: int = 0) -> Any:
    """A diagonal of a matrix; of a vector the matrix with that diagonal."""
    return delegated.diag(a, k=offset)


def cross(a: Any, b: Any, axis: int = -1) -> Any:
    """The cross product of the vectors along `axis`."""
    return delegated.cross(a, b, axis=axis)


def outer(a: Any, b: Any) -> ndarray:
    """All products of an element of `a` with one of `b`, as a matrix."""
    return linear.outer(a, b)


def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """The sum over several axes of two arrays."""
    return contractions.tensordot(a, b, axes)


def matmul(a: Any, b: Any) -> ndarray:
    """The matrix product of the last two axes."""
    return linear.matmul(a, b)


def vecdot(a: Any, b: Any, axis: int | None = None) -> ndarray:
    """The sum of the products along `axis`, by default the last one."""
    return reductions.sum(dispatch.binary("multiply", as_array(a), as_array(b)), -1 if axis is None else axis)


def matrix_power(a: Any, n: int) -> ndarray:
    """The product of `n` equal square matrices; the inverse's with a negative `n`.

    Raises:
        ShapeError: the matrices are not square.
    """
    x = as_array(a)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"linalg.matrix_power: square matrices are wanted, got shape {x.shape}")
    if n < 0:
        x, n = inv(x), -n
    if n == 0:
        unit = np.broadcast_to(np.eye(x.shape[-1], dtype=x.dtype), x.shape)
        return own(unit)
    result: ndarray | None = None
    while n:
        if n & 1:
            result = x if result is None else linear.matmul(result, x)
        n >>= 1
        x = linear.matmul(x, x) if n else x
    assert result is not None
    return result.copy() if result is a else result


def multi_dot(arrays: Sequence[Any]) -> ndarray:
    """The product of two or more matrices, of which the first and the last may be vectors, from left to right.

    Raises:
        OpError: there are fewer than two.
    """
    factors = [as_array(a) for a in arrays]
    if len(factors) < 2:
        raise OpError(f"linalg.multi_dot: at least two matrices are wanted, got {len(factors)}")
    return functools.reduce(linear.dot, factors)
