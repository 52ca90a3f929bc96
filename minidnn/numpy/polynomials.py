"""Polynomials as vectors of coefficients, the highest power first."""

from __future__ import annotations

from minidnn.numpy.delegated import _delegate

__all__ = ["poly", "polyadd", "polydiv", "polyfit", "polyint", "polymul", "polysub", "roots", "vander"]

poly = _delegate("poly", "The coefficients of the polynomial with these roots.")
polyadd = _delegate("polyadd", "The sum of two polynomials.")
polydiv = _delegate("polydiv", "Quotient and remainder of two polynomials.")
polyfit = _delegate("polyfit", "The polynomial of a degree with the least squared error at some points.")
polyint = _delegate("polyint", "The antiderivative of a polynomial.")
polymul = _delegate("polymul", "The product of two polynomials.")
polysub = _delegate("polysub", "The difference of two polynomials.")
roots = _delegate("roots", "The roots of a polynomial; a NumPy array where they are complex.")
vander = _delegate("vander", "The powers of each element, in rows.")
