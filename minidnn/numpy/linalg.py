"""`mx.np.linalg`: linear algebra, computed by NumPy on the values at hand, or made of operators where that is simple.

Results are float32 unless an argument is float64. Functions that NumPy computes refuse arrays of a network that is
being traced; `norm`, `vector_norm`, `matrix_transpose`, `trace`, `outer`, `vecdot`, `matrix_power` and `multi_dot` are
operators.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minidnn import dispatch
from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.numpy import contractions, delegated, elementwise, linear, reductions
from minidnn.numpy.convert import as_array, own, to_numpy
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.checks import FLOAT32

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

Array = np.ndarray[Any, Any]
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


def _floats(function: str, *arrays: Any) -> tuple[list[Array], np.dtype[Any]]:
    """The arguments in float64, and the dtype of the results.

    Raises:
        MXNetError: an array is traced.
        OpError: an argument is no array of numbers.
    """
    ours = [as_array(a) for a in arrays]
    dtype = np.dtype(np.float64) if any(a.dtype == np.float64 for a in ours) else FLOAT32
    for a in ours:
        if a.dtype == np.bool_:
            raise TypeMismatchError(f"linalg.{function}: numbers are wanted, got {a.dtype} of shape {a.shape}")
    return [to_numpy(a).astype(np.float64) for a in ours], dtype


def _computed(function: str, *arrays: Any, **kwargs: Any) -> tuple[Any, np.dtype[Any]]:
    """What NumPy computes, and the dtype of the results.

    Raises:
        OpError: NumPy refuses the arguments: the shapes do not fit, a matrix is singular or not positive definite.
    """
    hosts, dtype = _floats(function, *arrays)
    try:
        return getattr(np.linalg, function)(*hosts, **kwargs), dtype
    except (np.linalg.LinAlgError, ValueError) as error:
        shapes = " and ".join(str(h.shape) for h in hosts)
        raise OpError(f"linalg.{function}: {error}; shapes are {shapes}") from None


def _one(value: Any, dtype: np.dtype[Any]) -> ndarray:
    return own(np.asarray(value).astype(dtype, copy=False))


def _real(function: str, value: Any, dtype: np.dtype[Any]) -> ndarray:
    """Eigenvalues or eigenvectors that have no imaginary part.

    Raises:
        OpError: they have one; there are no complex arrays.
    """
    if np.iscomplexobj(value) and np.any(np.imag(value)):
        raise OpError(f"linalg.{function}: the eigenvalues are complex, and there are no complex arrays; use NumPy's")
    return _one(np.real(value), dtype)


def _plain(function: str, doc: str) -> Callable[[Any], ndarray]:
    def computed(a: Any) -> ndarray:
        return _one(*_computed(function, a))

    computed.__name__ = computed.__qualname__ = function
    computed.__doc__ = doc
    return computed


inv = _plain("inv", "The inverse of square matrices ``(..., n, n)``.")
det = _plain("det", "The determinant of square matrices ``(..., n, n)``.")


def slogdet(a: Any) -> SlogdetResult:
    """Sign and logarithm of the absolute value of the determinant of square matrices."""
    (sign, logarithm), dtype = _computed("slogdet", a)
    return SlogdetResult(_one(sign, dtype), _one(logarithm, dtype))


def cholesky(a: Any, upper: bool = False) -> ndarray:
    """The triangular factor L of a positive definite matrix ``L · Lᵀ``, or with `upper` its transpose."""
    factor, dtype = _computed("cholesky", a)
    return _one(np.swapaxes(factor, -1, -2) if upper else factor, dtype)


def qr(a: Any, mode: str = "reduced") -> QRResult:
    """An orthogonal Q and an upper triangular R whose product is `a`; `mode` is ``reduced`` or ``complete``.

    Raises:
        OpError: another mode.
    """
    if mode not in ("reduced", "complete"):
        raise OpError(f"linalg.qr: mode must be 'reduced' or 'complete', got {mode!r}")
    (q, r), dtype = _computed("qr", a, mode=mode)
    return QRResult(_one(q, dtype), _one(r, dtype))


def svd(a: Any) -> SVDResult:
    """U, S and Vh of ``a = U · diag(S) · Vh``: of ``(..., M, N)`` with M <= N they are (M, M), (M,) and (M, N)."""
    (u, s, vh), dtype = _computed("svd", a, full_matrices=False)
    return SVDResult(_one(u, dtype), _one(s, dtype), _one(vh, dtype))


def svdvals(a: Any) -> ndarray:
    """The singular values, the largest first."""
    return _one(*_computed("svd", a, compute_uv=False))


def eig(a: Any) -> EigResult:
    """Eigenvalues and eigenvectors of square matrices.

    Raises:
        OpError: they are complex.
    """
    (values, vectors), dtype = _computed("eig", a)
    return EigResult(_real("eig", values, dtype), _real("eig", vectors, dtype))


def eigvals(a: Any) -> ndarray:
    """Eigenvalues of square matrices.

    Raises:
        OpError: they are complex.
    """
    values, dtype = _computed("eigvals", a)
    return _real("eigvals", values, dtype)


def eigh(a: Any, upper: bool = False) -> EigResult:
    """Eigenvalues, in order, and eigenvectors of symmetric matrices, of which one triangle is read."""
    (values, vectors), dtype = _computed("eigh", a, UPLO="U" if upper else "L")
    return EigResult(_one(values, dtype), _one(vectors, dtype))


def eigvalsh(a: Any, upper: bool = False) -> ndarray:
    """Eigenvalues, in order, of symmetric matrices, of which one triangle is read."""
    return _one(*_computed("eigvalsh", a, UPLO="U" if upper else "L"))


def solve(a: Any, b: Any) -> ndarray:
    """The x of ``a · x = b``; `a` is ``(..., n, n)``, `b` ``(n,)`` or ``(..., n, k)``."""
    return _one(*_computed("solve", a, b))


def lstsq(a: Any, b: Any, rcond: Any = "warn") -> tuple[ndarray, ndarray, int, ndarray]:
    """The x with the smallest ``|a · x - b|``; the residuals; the rank of `a`; its singular values.

    Args:
        a, b: ``(M, N)`` and ``(M,)`` or ``(M, K)``.
        rcond: singular values below this share of the largest count as zero. None, -1 and ``warn`` take the precision
            of the dtype times the larger of M and N.
    """
    hosts, dtype = _floats("lstsq", a, b)
    cutoff = float(np.finfo(dtype).eps) * max((*hosts[0].shape, 1)) if rcond in (None, -1, "warn") else float(rcond)
    (x, residuals, rank, singular), _ = _computed("lstsq", a, b, rcond=cutoff)
    return _one(x, dtype), _one(residuals, dtype), int(rank), _one(singular, dtype)


def pinv(a: Any, rtol: Any = None, hermitian: bool = False) -> ndarray:
    """The pseudo-inverse; singular values below `rtol` times the largest count as zero (by default 1e-15)."""
    return _one(*_computed("pinv", a, rcond=1e-15 if rtol is None else to_numpy(rtol), hermitian=hermitian))


def matrix_rank(M: Any, rtol: Any = None, hermitian: bool = False) -> ndarray:  # noqa: N803 - MXNet's name
    """The number of singular values above `rtol` times the largest, by default the dtype's precision times the size."""
    (host,), dtype = _floats("matrix_rank", M)
    share = float(np.finfo(dtype).eps) * max((*host.shape[-2:], 1)) if rtol is None else to_numpy(rtol)
    if host.ndim < 2:
        return own(np.asarray(int(np.any(host != 0)), np.int64))
    largest = np.linalg.svd(host, compute_uv=False, hermitian=hermitian).max(axis=-1, initial=0.0)
    rank, _ = _computed("matrix_rank", M, tol=share * largest, hermitian=hermitian)
    return own(np.asarray(rank, np.int64))


def cond(x: Any, p: Any = None) -> ndarray:
    """The condition number, by the norm `p` (by default the 2-norm)."""
    return _one(*_computed("cond", x, p=p))


def tensorinv(a: Any, ind: int = 2) -> ndarray:
    """The inverse with respect to `tensordot` over the first `ind` dimensions."""
    return _one(*_computed("tensorinv", a, ind=ind))


def tensorsolve(a: Any, b: Any, axes: Sequence[int] | None = None) -> ndarray:
    """The x of ``tensordot(a, x, x.ndim) = b``; `axes` of `a` are moved to its end before."""
    return _one(*_computed("tensorsolve", a, b, axes=axes))


# ---- operators ------------------------------------------------------------------------------------


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
        hosts, _ = _floats("norm", a)
        return _one(np.linalg.norm(hosts[0], ord, axes, keepdims), a.dtype)
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
