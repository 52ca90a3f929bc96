"""`mx.np.random`: random arrays. One generator serves all; `seed` starts it anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidnn.numpy.base import deliver
from minidnn.numpy.convert import Shape, as_array, as_shape, check_device, is_scalar, own, to_numpy
from minidnn.numpy.multiarray import ndarray
from minidnn.random import generator, seed

__all__ = [
    "beta",
    "chisquare",
    "choice",
    "exponential",
    "f",
    "gamma",
    "gumbel",
    "laplace",
    "logistic",
    "lognormal",
    "multinomial",
    "multivariate_normal",
    "normal",
    "pareto",
    "permutation",
    "power",
    "rand",
    "randint",
    "randn",
    "rayleigh",
    "seed",
    "shuffle",
    "uniform",
    "weibull",
]

Size = Shape | None


def _draw(name: str, parameters: tuple[Any, ...], size: Size, dtype: Any, device: Any, out: ndarray | None) -> ndarray:
    check_device(device)
    if size is None and out is not None:
        size = out.shape
    shape = None if size is None else as_shape(size)
    numbers = getattr(generator(), name)(*to_numpy(parameters), size=shape)
    return deliver(own(np.asarray(numbers).astype(dtype or np.float32)), out)


def uniform(
    low: Any = 0.0,
    high: Any = 1.0,
    size: Size = None,
    dtype: Any = None,
    device: Any = None,
    out: ndarray | None = None,
    ctx: Any = None,
) -> ndarray:
    """Evenly distributed over [low, high); float32 by default."""
    return _draw("uniform", (low, high), size, dtype, device or ctx, out)


def normal(
    loc: Any = 0.0,
    scale: Any = 1.0,
    size: Size = None,
    dtype: Any = None,
    device: Any = None,
    out: ndarray | None = None,
    ctx: Any = None,
) -> ndarray:
    """Normally distributed with mean `loc` and standard deviation `scale`; float32 by default."""
    return _draw("normal", (loc, scale), size, dtype, device or ctx, out)


def lognormal(
    mean: Any = 0.0,
    sigma: Any = 1.0,
    size: Size = None,
    dtype: Any = None,
    device: Any = None,
    out: ndarray | None = None,
    ctx: Any = None,
) -> ndarray:
    """Numbers whose logarithm is normally distributed."""
    return _draw("lognormal", (mean, sigma), size, dtype, device or ctx, out)


def laplace(
    loc: Any = 0.0,
    scale: Any = 1.0,
    size: Size = None,
    dtype: Any = None,
    device: Any = None,
    out: ndarray | None = None,
    ctx: Any = None,
) -> ndarray:
    """Laplace's distribution."""
    return _draw("laplace", (loc, scale), size, dtype, device or ctx, out)


def gamma(
    shape: Any,
    scale: Any = 1.0,
    size: Size = None,
    dtype: Any = None,
    device: Any = None,
    out: ndarray | None = None,
    ctx: Any = None,
) -> ndarray:
    """The gamma distribution."""
    return _draw("gamma", (shape, scale), size, dtype, device or ctx, out)


def beta(a: Any, b: Any, size: Size = None, dtype: Any = None, device: Any = None, ctx: Any = None) -> ndarray:
    """The beta distribution."""
    return _draw("beta", (a, b), size, dtype, device or ctx, None)


def chisquare(df: Any, size: Size = None, dtype: Any = None, device: Any = None, ctx: Any = None) -> ndarray:
    """The chi-square distribution."""
    return _draw("chisquare", (df,), size, dtype, device or ctx, None)


def f(dfnum: Any, dfden: Any, size: Size = None, device: Any = None, ctx: Any = None) -> ndarray:
    """Fisher's F distribution."""
    return _draw("f", (dfnum, dfden), size, None, device or ctx, None)


def _two(name: str, doc: str) -> Callable[..., ndarray]:
    def function(
        loc: Any = 0.0,
        scale: Any = 1.0,
        size: Size = None,
        device: Any = None,
        out: ndarray | None = None,
        ctx: Any = None,
    ) -> ndarray:
        return _draw(name, (loc, scale), size, None, device or ctx, out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


logistic = _two("logistic", "The logistic distribution.")
gumbel = _two("gumbel", "Gumbel's distribution.")


def exponential(
    scale: Any = 1.0, size: Size = None, device: Any = None, out: ndarray | None = None, ctx: Any = None
) -> ndarray:
    """The exponential distribution."""
    return _draw("exponential", (scale,), size, None, device or ctx, out)


def rayleigh(
    scale: Any = 1.0, size: Size = None, device: Any = None, out: ndarray | None = None, ctx: Any = None
) -> ndarray:
    """Rayleigh's distribution."""
    return _draw("rayleigh", (scale,), size, None, device or ctx, out)


def _one(name: str, doc: str) -> Callable[..., ndarray]:
    def function(a: Any, size: Size = None, device: Any = None, out: ndarray | None = None, ctx: Any = None) -> ndarray:
        return _draw(name, (a,), size, None, device or ctx, out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


weibull = _one("weibull", "Weibull's distribution.")
pareto = _one("pareto", "The Pareto II (Lomax) distribution.")
power = _one("power", "The power distribution on [0, 1].")


def rand(*size: int, dtype: Any = None, device: Any = None, ctx: Any = None) -> ndarray:
    """Evenly distributed over [0, 1), in the shape of the arguments."""
    return uniform(size=size, dtype=dtype, device=device or ctx)


def randn(*size: int, dtype: Any = None, device: Any = None, ctx: Any = None) -> ndarray:
    """Normally distributed with mean 0 and variance 1, in the shape of the arguments."""
    return normal(size=size, dtype=dtype, device=device or ctx)


def randint(
    low: int,
    high: int | None = None,
    size: Size = None,
    dtype: Any = None,
    device: Any = None,
    out: ndarray | None = None,
    ctx: Any = None,
) -> ndarray:
    """Integers in [low, high), or in [0, low) without `high`; int64 by default."""
    low, high = (0, low) if high is None else (low, high)
    return _draw("integers", (low, high), size, dtype or np.int64, device or ctx, out)


def multinomial(n: int, pvals: Any, size: Size = None) -> ndarray:
    """How often each outcome occurs in `n` draws, int64."""
    exact = np.asarray(to_numpy(pvals), np.float64)
    return _draw("multinomial", (n, exact), size, np.int64, None, None)


def multivariate_normal(
    mean: Any, cov: Any, size: Size = None, check_valid: Any = None, tol: float | None = None
) -> ndarray:
    """Normally distributed vectors with that mean and covariance matrix."""
    return _draw("multivariate_normal", (mean, cov), size, None, None, None)


def choice(
    a: Any,
    size: Size = None,
    replace: bool = True,
    p: Any = None,
    device: Any = None,
    out: ndarray | None = None,
    ctx: Any = None,
) -> ndarray:
    """Elements of a vector, or of ``range(a)``, drawn at random.

    Args:
        a: a vector, or a number.
        size: shape of the result.
        replace: whether an element can be drawn more than once.
        p: the probability of each element.
        device, ctx: a CPU.
        out: receives the result where it is given.
    """
    check_device(device or ctx)
    source = int(a) if is_scalar(a) else np.asarray(as_array(a))
    odds = None if p is None else np.asarray(to_numpy(p), np.float64)
    # Probabilities that came as float32 do not add up to one in float64.
    odds = odds if odds is None else odds / odds.sum()
    shape = None if size is None else as_shape(size)
    return deliver(own(np.asarray(generator().choice(source, shape, replace, odds))), out)


def shuffle(x: ndarray) -> None:
    """Put the slices along the first axis into random order, in place."""
    x[...] = generator().permutation(to_numpy(x))


def permutation(x: Any) -> ndarray:
    """The slices along the first axis, or the numbers below `x`, in random order."""
    source = int(x) if is_scalar(x) else np.asarray(as_array(x))
    return own(generator().permutation(source))
