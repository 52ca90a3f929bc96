"""`mx.np.random`: random arrays. One generator serves all; `seed` restarts it.

While a network is traced, each call becomes an operation of its graph: every run draws new numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minidnn import dispatch
from minidnn.errors import MXNetError
from minidnn.generator import generator
from minidnn.ir import trace as tracing
from minidnn.numpy.base import deliver
from minidnn.numpy.convert import Shape, as_array, as_shape, check_device, is_scalar, own, to_numpy
from minidnn.numpy.multiarray import ndarray
from minidnn.random import seed

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


def draw(op: str, parameters: Mapping[str, Any], size: Size, dtype: Any, device: Any, out: ndarray | None) -> ndarray:
    """Numbers of a distribution of the registry.

    Args:
        op: the operator.
        parameters: numbers become attributes, arrays and lists inputs.
        size: shape of the result; None: that of `out`, or the common shape of the parameters.
        dtype: of the result.
        device: a CPU.
        out: receives the result where it is given.

    Raises:
        OpError: a parameter is outside its domain, or does not fit `size`.
    """
    check_device(device)
    if size is None and out is not None:
        size = out.shape
    scalars = {name: value for name, value in parameters.items() if is_scalar(value)}
    arrays = [exact(value) for name, value in parameters.items() if name not in scalars]
    result = dispatch.invoke_one(op, *arrays, **scalars, size=None if size is None else as_shape(size), dtype=dtype)
    return deliver(result, out)


def exact(values: Any) -> ndarray:
    """`values` as an array; lists as float64, in which their numbers are exact."""
    return as_array(values, None if isinstance(values, (ndarray, np.ndarray)) else np.float64)


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
    return draw("random_uniform", {"low": low, "high": high}, size, dtype, device or ctx, out)


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
    return draw("random_normal", {"loc": loc, "scale": scale}, size, dtype, device or ctx, out)


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
    return draw("random_lognormal", {"mean": mean, "sigma": sigma}, size, dtype, device or ctx, out)


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
    return draw("random_laplace", {"loc": loc, "scale": scale}, size, dtype, device or ctx, out)


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
    return draw("random_gamma", {"shape": shape, "scale": scale}, size, dtype, device or ctx, out)


def beta(a: Any, b: Any, size: Size = None, dtype: Any = None, device: Any = None, ctx: Any = None) -> ndarray:
    """The beta distribution."""
    return draw("random_beta", {"a": a, "b": b}, size, dtype, device or ctx, None)


def chisquare(df: Any, size: Size = None, dtype: Any = None, device: Any = None, ctx: Any = None) -> ndarray:
    """The chi-square distribution."""
    return draw("random_chisquare", {"df": df}, size, dtype, device or ctx, None)


def f(dfnum: Any, dfden: Any, size: Size = None, device: Any = None, ctx: Any = None) -> ndarray:
    """Fisher's F distribution."""
    return draw("random_f", {"dfnum": dfnum, "dfden": dfden}, size, None, device or ctx, None)


def _two(name: str, doc: str) -> Callable[..., ndarray]:
    def function(
        loc: Any = 0.0,
        scale: Any = 1.0,
        size: Size = None,
        device: Any = None,
        out: ndarray | None = None,
        ctx: Any = None,
    ) -> ndarray:
        return draw(f"random_{name}", {"loc": loc, "scale": scale}, size, None, device or ctx, out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


logistic = _two("logistic", "The logistic distribution.")
gumbel = _two("gumbel", "Gumbel's distribution.")


def exponential(
    scale: Any = 1.0, size: Size = None, device: Any = None, out: ndarray | None = None, ctx: Any = None
) -> ndarray:
    """The exponential distribution."""
    return draw("random_exponential", {"scale": scale}, size, None, device or ctx, out)


def rayleigh(
    scale: Any = 1.0, size: Size = None, device: Any = None, out: ndarray | None = None, ctx: Any = None
) -> ndarray:
    """Rayleigh's distribution."""
    return draw("random_rayleigh", {"scale": scale}, size, None, device or ctx, out)


def _one(name: str, doc: str) -> Callable[..., ndarray]:
    def function(a: Any, size: Size = None, device: Any = None, out: ndarray | None = None, ctx: Any = None) -> ndarray:
        return draw(f"random_{name}", {"a": a}, size, None, device or ctx, out)

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
    return draw("random_randint", {"low": low, "high": high}, size, dtype, device or ctx, out)


def multinomial(n: int, pvals: Any, size: Size = None) -> ndarray:
    """How often each outcome occurs in `n` draws, int64."""
    return dispatch.invoke_one("random_multinomial", exact(pvals), n=n, size=None if size is None else as_shape(size))


def multivariate_normal(
    mean: Any, cov: Any, size: Size = None, check_valid: Any = None, tol: float | None = None
) -> ndarray:
    """Normally distributed vectors with that mean and covariance matrix."""
    shape = None if size is None else as_shape(size)
    return dispatch.invoke_one("random_multivariate_normal", exact(mean), exact(cov), size=shape)


def choice(
    a: Any,
    size: Size = None,
    replace: bool = True,
    p: Any = None,
    device: Any = None,
    out: ndarray | None = None,
    ctx: Any = None,
) -> ndarray:
    """Elements of an array along its first axis, or of ``range(a)``, drawn at random.

    Args:
        a: an array, or a number.
        size: shape of the result.
        replace: whether an element can be drawn more than once.
        p: the probability of each element.
        device, ctx: a CPU.
        out: receives the result where it is given.

    Raises:
        OpError: `a` is empty, has too few elements to draw without replacement, or others than `p`.
    """
    check_device(device or ctx)
    source = None if is_scalar(a) else as_array(a)
    count = int(a) if source is None else len(source)
    shape = None if size is None else as_shape(size)
    odds = [] if p is None else [exact(p)]
    where = dispatch.invoke_one("random_choice", *odds, a=count, size=shape, replace=replace, weighted=p is not None)
    return deliver(where if source is None else dispatch.invoke_one("take", source, where, axis=0), out)


def shuffle(x: Any) -> None:
    """Put the slices along the first axis into random order, in place.

    Raises:
        MXNetError: the network is being traced, and `x` exists outside of it: every run would have to shuffle the same
            memory.
    """
    if not isinstance(x, ndarray):
        if tracing.innermost_serial():
            raise MXNetError("random.shuffle of a NumPy array cannot be traced; use random.permutation")
        x[...] = generator().permutation(to_numpy(x))
        return
    x._assign(dispatch.invoke_one("random_shuffle", x))


def permutation(x: Any) -> ndarray:
    """The slices along the first axis, or the numbers below `x`, in random order."""
    source = own(np.arange(int(x))) if is_scalar(x) else as_array(x)
    return dispatch.invoke_one("random_shuffle", source)
