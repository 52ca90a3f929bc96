"""Random operators: numbers that are drawn from the process's generator in every run.

A parameter of a distribution is an attribute, or, where the attribute is None, an input that broadcasts with the
others. Without a `size` there is one number for each element of the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.generator import generator
from minidnn.ops.checks import DTYPES, FLOAT32, broadcast_shapes, want_float, want_min_rank, want_rank, want_shape
from minidnn.ops.registry import REQUIRED, Attr, Attrs, Op, TensorType, register

__all__ = ["DISTRIBUTIONS"]

Array = np.ndarray[Any, Any]

_INT64 = np.dtype(np.int64)
_SIZE = Attr("size", "ints", None, low=0)

# The distributions: the parameters of each, by the names of NumPy's generator, and MXNet's name.
DISTRIBUTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "uniform": (("low", "high"), "_npi_uniform"),
    "normal": (("loc", "scale"), "_npi_normal"),
    "lognormal": (("mean", "sigma"), ""),
    "laplace": (("loc", "scale"), "_npi_laplace"),
    "logistic": (("loc", "scale"), "_npi_logistic"),
    "gumbel": (("loc", "scale"), "_npi_gumbel"),
    "gamma": (("shape", "scale"), "_npi_gamma"),
    "beta": (("a", "b"), ""),
    "chisquare": (("df",), ""),
    "f": (("dfnum", "dfden"), ""),
    "exponential": (("scale",), "_npi_exponential"),
    "rayleigh": (("scale",), "_npi_rayleigh"),
    "weibull": (("a",), "_npi_weibull"),
    "pareto": (("a",), "_npi_pareto"),
    "power": (("a",), "_npi_powerd"),
}


def _refusing(op: str, draw: Callable[[], Any]) -> Any:
    """What `draw` returns; NumPy's refusal of a parameter as an error of the operator.

    Raises:
        OpError: a parameter is outside the domain of the distribution.
    """
    try:
        return draw()
    except (ValueError, TypeError, OverflowError) as error:
        raise OpError(f"{op}: {error}") from None


def _check_result(op: str, attrs: Attrs) -> None:
    if attrs.size is not None and None in attrs.size:
        raise OpError(f"{op}: size must consist of integers, got {attrs.size}")
    dtype = attrs.get("dtype")
    if dtype is not None and dtype not in DTYPES:
        raise TypeMismatchError(f"{op}: dtype must be bool, an integer or a float of up to 64 bits, got {dtype}")


def _register_distribution(name: str, mxnet: str, method: str, parameters: tuple[str, ...], batched: bool) -> None:
    """Register one distribution; where it is `batched`, the parameters' shape is appended to `size`."""

    def inputs(attrs: Attrs) -> tuple[str, ...]:
        return tuple(p for p in parameters if attrs[p] is None)

    def check(attrs: Attrs) -> None:
        _check_result(name, attrs)
        # Every domain is a set of positive numbers, if it is not all of them: 1 stands for what is not known yet.
        known = [1.0 if attrs[p] is None else attrs[p] for p in parameters]
        _refusing(name, lambda: getattr(np.random.Generator(np.random.PCG64(0)), method)(*known, size=0))

    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        common = broadcast_shapes(name, types) if types else ()
        if batched or attrs.size is None:
            return [TensorType((*(attrs.size or ()), *common), attrs.dtype or FLOAT32)]
        wanted = TensorType(attrs.size, FLOAT32)
        if broadcast_shapes(name, [wanted, *types]) != attrs.size:
            raise ShapeError(f"{name}: parameters of shape {common} do not broadcast to size {attrs.size}")
        return [TensorType(attrs.size, attrs.dtype or FLOAT32)]

    def draw(attrs: Attrs, *arrays: Array) -> Array:
        given = iter(arrays)
        values = [next(given) if attrs[p] is None else attrs[p] for p in parameters]
        (out,) = infer(attrs, [TensorType.of(a) for a in arrays])
        drawn = np.asarray(_refusing(name, lambda: getattr(generator(), method)(*values, size=out.shape)))
        return _below(drawn.astype(out.dtype), *values) if method == "uniform" else drawn.astype(out.dtype)

    attributes = (*(Attr(p, "float", None) for p in parameters), _SIZE, Attr("dtype", "dtype", None))
    names = (mxnet,) if mxnet else ()
    register(Op(name, infer, draw, inputs, attributes, mxnet=names, check=check, is_random=True))


def _below(drawn: Array, low: Any, high: Any) -> Array:
    """`drawn`, where rounding has made it `high`, as the number before that: the interval is half open."""
    if drawn.dtype.kind != "f":
        return drawn
    low, high = np.asarray(low).astype(drawn.dtype), np.asarray(high).astype(drawn.dtype)
    return np.where((drawn >= high) & (low < high), np.nextafter(high, low), drawn)


for _name, (_parameters, _mxnet) in DISTRIBUTIONS.items():
    _register_distribution(f"random_{_name}", _mxnet, _name, _parameters, False)
for _name in ("uniform", "normal"):
    _parameters, _mxnet = DISTRIBUTIONS[_name]
    _register_distribution(f"random_{_name}_n", f"{_mxnet}_n", _name, _parameters, True)


# ---- integers ----------------------------------------------------------------------------------------


def _integer_dtype(attrs: Attrs) -> np.dtype[Any]:
    """The dtype in which integers are drawn."""
    dtype = attrs.dtype or _INT64
    return dtype if dtype.kind in "iu" else _INT64


def _check_randint(attrs: Attrs) -> None:
    _check_result("random_randint", attrs)
    limits = np.iinfo(_integer_dtype(attrs))
    if not limits.min <= attrs.low < attrs.high <= limits.max + 1:
        raise OpError(
            f"random_randint: low must be less than high, both within {limits.dtype}, got {attrs.low} and {attrs.high}"
        )


register(
    Op(
        "random_randint",
        lambda attrs, types: [TensorType(attrs.size or (), attrs.dtype or _INT64)],
        lambda attrs: generator().integers(attrs.low, attrs.high, attrs.size or (), _integer_dtype(attrs)),
        (),
        (Attr("low", "int"), Attr("high", "int"), _SIZE, Attr("dtype", "dtype", None)),
        mxnet=("_npi_random_randint", "_random_randint"),
        check=_check_randint,
        is_random=True,
    )
)


# ---- yes or no ---------------------------------------------------------------------------------------


def _bernoulli_inputs(attrs: Attrs) -> tuple[str, ...]:
    return ("input",) if attrs.prob is None and attrs.logit is None else ()


def _check_bernoulli(attrs: Attrs) -> None:
    _check_result("random_bernoulli", attrs)
    if attrs.prob is not None and attrs.logit is not None:
        raise OpError("random_bernoulli: give prob or logit, not both")
    if attrs.prob is not None and not 0 <= attrs.prob <= 1:
        raise OpError(f"random_bernoulli: prob must lie in [0, 1], got {attrs.prob}")


def _infer_bernoulli(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    common = types[0].shape if types else ()
    size = common if attrs.size is None else attrs.size
    if broadcast_shapes("random_bernoulli", [TensorType(size, FLOAT32), *types]) != size:
        raise ShapeError(f"random_bernoulli: parameters of shape {common} do not broadcast to size {size}")
    return [TensorType(size, attrs.dtype or FLOAT32)]


def _bernoulli(attrs: Attrs, *arrays: Array) -> Array:
    (out,) = _infer_bernoulli(attrs, [TensorType.of(a) for a in arrays])
    given = arrays[0] if arrays else attrs.prob if attrs.logit is None else attrs.logit
    odds = np.asarray(given, np.float64)
    if attrs.is_logit or attrs.logit is not None:
        odds = np.exp(-np.logaddexp(0.0, -odds))
    elif not ((odds >= 0) & (odds <= 1)).all():
        raise OpError("random_bernoulli: prob must lie in [0, 1]")
    return np.asarray(generator().random(out.shape) < odds).astype(out.dtype)


register(
    Op(
        "random_bernoulli",
        _infer_bernoulli,
        _bernoulli,
        _bernoulli_inputs,
        (
            Attr("prob", "float", None),
            Attr("logit", "float", None),
            _SIZE,
            Attr("dtype", "dtype", None),
            Attr("is_logit", "bool", False),
        ),
        mxnet=("_npi_bernoulli",),
        check=_check_bernoulli,
        is_random=True,
    )
)


# ---- outcomes with given probabilities ---------------------------------------------------------------


def _infer_multinomial(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    want_rank("random_multinomial", "pvals", types[0], 1)
    want_float("random_multinomial", "pvals", types[0])
    return [TensorType((*(attrs.size or ()), *types[0].shape), _INT64)]


def _multinomial(attrs: Attrs, pvals: Array) -> Array:
    if not pvals.size:  # NumPy's generators want an outcome at least
        return np.zeros((*(attrs.size or ()), 0), np.int64)
    exact = pvals.astype(np.float64)
    total = exact.sum()
    if 1 < total < 1 + exact.size * np.finfo(np.float32).eps:  # probabilities that float32 has rounded
        exact /= total
    drawn = _refusing("random_multinomial", lambda: generator().multinomial(attrs.n, exact, attrs.size))
    return np.asarray(drawn)


register(
    Op(
        "random_multinomial",
        _infer_multinomial,
        _multinomial,
        ("pvals",),
        (Attr("n", "int", low=0), _SIZE),
        mxnet=("_npi_multinomial",),
        check=lambda attrs: _check_result("random_multinomial", attrs),
        is_random=True,
    )
)


def _check_choice(attrs: Attrs) -> None:
    _check_result("random_choice", attrs)
    count = int(np.prod(attrs.size or (), dtype=object))
    if attrs.a == 0 and count:
        raise OpError("random_choice: a must not be empty unless no samples are taken")
    if not attrs["replace"] and count > attrs.a:
        raise OpError(f"random_choice: {count} of {attrs.a} elements cannot be drawn without replacement")


def _infer_choice(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    if types:
        want_shape("random_choice", "p", types[0], (attrs.a,), "a probability for each element")
        want_float("random_choice", "p", types[0])
    return [TensorType(attrs.size or (), _INT64)]


def _choice(attrs: Attrs, *arrays: Array) -> Array:
    odds = arrays[0].astype(np.float64) if arrays else None
    # Probabilities in float32 do not add up to one in float64.
    odds = odds if odds is None else odds / odds.sum()
    drawn = _refusing("random_choice", lambda: generator().choice(attrs.a, attrs.size or (), attrs["replace"], odds))
    return np.asarray(drawn)


register(
    Op(
        "random_choice",
        _infer_choice,
        _choice,
        lambda attrs: ("p",) if attrs.weighted else (),
        (Attr("a", "int", REQUIRED, low=0), _SIZE, Attr("replace", "bool", True), Attr("weighted", "bool", False)),
        mxnet=("_npi_choice",),
        check=_check_choice,
        is_random=True,
    )
)


# ---- vectors and orders ------------------------------------------------------------------------------


def _infer_multivariate(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    mean, cov = types
    want_rank("random_multivariate_normal", "mean", mean, 1)
    want_shape("random_multivariate_normal", "cov", cov, (*mean.shape, *mean.shape), "like mean")
    return [TensorType((*(attrs.size or ()), *mean.shape), FLOAT32)]


def _multivariate(attrs: Attrs, mean: Array, cov: Array) -> Array:
    return np.asarray(
        _refusing("random_multivariate_normal", lambda: generator().multivariate_normal(mean, cov, attrs.size))
    )


register(
    Op(
        "random_multivariate_normal",
        _infer_multivariate,
        _multivariate,
        ("mean", "cov"),
        (_SIZE,),
        check=lambda attrs: _check_result("random_multivariate_normal", attrs),
        is_random=True,
    )
)


def _infer_shuffle(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    want_min_rank("random_shuffle", "data", types[0], 1)
    return [types[0]]


register(
    Op(
        "random_shuffle",
        _infer_shuffle,
        lambda attrs, data: generator().permutation(data),
        ("data",),
        mxnet=("_npi_shuffle", "_shuffle"),
        is_random=True,
    )
)
