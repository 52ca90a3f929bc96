"""Polynomials as vectors of coefficients, the highest power first."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from minidnn.dispatch import invoke_one
from minidnn.errors import OpError
from minidnn.numpy.base import apply
from minidnn.numpy.convert import as_operand
from minidnn.numpy.delegated import _delegate
from minidnn.numpy.multiarray import ndarray

__all__ = ["poly", "polyadd", "polydiv", "polyfit", "polyint", "polymul", "polysub", "roots", "vander"]

roots = _delegate("roots", "The roots of a polynomial; a NumPy array where they are complex.")


def poly(seq_of_zeros: Any) -> ndarray:
    """The coefficients of the polynomial with these roots, or the characteristic one of a square matrix."""
    return invoke_one("poly", as_operand(seq_of_zeros))


def polyadd(a1: Any, a2: Any) -> ndarray:
    """The sum of two polynomials."""
    return invoke_one("polyadd", as_operand(a1), as_operand(a2))


def polysub(a1: Any, a2: Any) -> ndarray:
    """The difference of two polynomials."""
    return invoke_one("polysub", as_operand(a1), as_operand(a2))


def polymul(a1: Any, a2: Any) -> ndarray:
    """The product of two polynomials, without zeros in front."""
    return invoke_one("polymul", as_operand(a1), as_operand(a2))


def polydiv(u: Any, v: Any) -> tuple[ndarray, ndarray]:
    """Quotient and remainder of two polynomials; the remainder without zeros in front."""
    quotient, remainder = apply(ndarray, "polydiv", [as_operand(u), as_operand(v)], {})
    return quotient, remainder


def polyint(p: Any, m: int = 1, k: Any = None) -> ndarray:
    """The `m`-th antiderivative of a polynomial; `k` has the constants of integration, zeros by default."""
    constants = [] if k is None else [as_operand(k)]
    return invoke_one("polyint", as_operand(p), *constants, m=m, has_k=k is not None)


def polyfit(
    x: Any,
    y: Any,
    deg: int,
    rcond: float | None = None,
    full: bool = False,
    w: Any = None,
    cov: bool | Literal["unscaled"] = False,
) -> Any:
    """The polynomial of degree `deg` with the least squared error at some points.

    Args:
        x, y: the points; `y` may have several columns.
        deg: the degree.
        rcond: singular values below this share of the largest count as zero.
        full: whether residuals, rank, singular values and `rcond` follow the coefficients.
        w: a weight for each point.
        cov: whether the covariance of the coefficients follows them, scaled by chi²/dof, or ``unscaled``.

    Raises:
        OpError: the points do not fit together, or `deg` is no degree.
    """
    inputs = [as_operand(a) for a in (x, y, w) if a is not None]
    attrs = {"deg": np.asarray(deg).item(), "rcond": rcond, "has_weights": w is not None}
    if full:
        coefficients, rank, singular, share, residuals = apply(ndarray, "polyfit_full", inputs, attrs)
        return coefficients, residuals, rank, singular, share
    if cov not in (True, False, "unscaled"):
        raise OpError(f"polyfit: cov must be a bool or 'unscaled', got {cov!r}")
    kind = cov if isinstance(cov, str) else "scaled" if cov else "none"
    results = apply(ndarray, "polyfit", inputs, {**attrs, "covariance": kind})
    return results if len(results) > 1 else results[0]


def vander(x: Any, N: int | None = None, increasing: bool = False) -> ndarray:  # noqa: N803 - NumPy's name
    """The powers of each element, in rows of `N`, by default as many as there are elements."""
    return invoke_one("vander", as_operand(x), N=N, increasing=increasing)
