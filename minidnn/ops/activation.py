"""Activation functions with attributes, and their kin: clip, where, cast, dropout. All elementwise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops.checks import DTYPES, FLOATS, broadcast_shapes, want_dtype, want_float
from minidnn.ops.elementwise import BOOL, float_of, promote
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, get_op, register
from minidnn.ops.traits import ALWAYS, IF_ALL, EpilogueStep, Part, cast_number, step

__all__ = ["ACTIVATIONS", "LEAKY_ACTIVATIONS", "SELU_ALPHA", "SELU_SCALE"]

Array = np.ndarray[Any, Any]

# Klambauer et al., Self-Normalizing Neural Networks (2017): the fixed point of mean 0, variance 1.
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


def _widened(x: Array) -> Array:
    return x.astype(np.promote_types(x.dtype, np.float32), copy=False)


def _same_float(op: str) -> Callable[[Attrs, Sequence[TensorType]], list[TensorType]]:
    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        want_float(op, "data", types[0])
        return [types[0]]

    return infer


def _unary(name: str) -> Callable[[Array], Any]:
    """The reference of a unary operator of the registry."""
    op = get_op(name)
    return lambda x: op.reference(op.make_attrs({}), x)


# MXNet's names for the functions of `activation`, and the operators they are.
ACTIVATIONS: dict[str, str] = {
    "relu": "relu",
    "sigmoid": "sigmoid",
    "log_sigmoid": "log_sigmoid",
    "mish": "mish",
    "tanh": "tanh",
    "softrelu": "softrelu",
    "softsign": "softsign",
}

_NONE = Attrs({})


def _function_of(attrs: Attrs) -> Op:
    """The operator that `activation` is with these attributes."""
    return get_op(ACTIVATIONS[attrs.act_type])


def _sign_of_function(attrs: Attrs, inputs: Sequence[bool]) -> bool:
    sign = _function_of(attrs).nonnegative
    return sign is not None and sign(_NONE, inputs)


def _lowest_of_function(attrs: Attrs) -> float | None:
    lowest = _function_of(attrs).lowest
    return None if lowest is None else lowest(_NONE)


register(
    Op(
        "softrelu",
        _same_float("softrelu"),
        lambda attrs, x: np.logaddexp(0, _widened(x)),
        ("data",),
        kind="elementwise",
        int8_when_tuned=True,
        label="act",
        epilogue=step("softrelu"),
        nonnegative=ALWAYS,
        decomposition=lambda attrs: (Part("activation", attrs={"act_type": "softrelu"}),),
    )
)

register(
    Op(
        "activation",
        _same_float("activation"),
        lambda attrs, x: _unary(ACTIVATIONS[attrs.act_type])(_widened(x)),
        ("data",),
        attrs=(Attr("act_type", "str", choices=tuple(ACTIVATIONS)),),
        kind="elementwise",
        label="act",
        epilogue=lambda attrs: _function_of(attrs).epilogue_step(_NONE),
        nonnegative=_sign_of_function,
        lowest=_lowest_of_function,
        int8_in_full_mode=True,
        mxnet=("Activation", "_npx_activation"),
    )
)


# That of the approximation by tanh is -0.17004.
_LOWEST_GELU = -0.1701

# NumPy has none.
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _gelu(x: Array, approximation: str) -> Any:
    """Hendrycks and Gimpel, Gaussian Error Linear Units (2016): x·Φ(x), or its tanh approximation."""
    if approximation == "tanh":
        # (1 + tanh(u)) / 2 = sigmoid(2 u), in which nothing cancels.
        return x * _unary("sigmoid")(math.sqrt(8 / math.pi) * (x + 0.044715 * x**3))
    return 0.5 * x * _erfc(x.astype(np.float64) / -math.sqrt(2))


register(
    Op(
        "gelu",
        _same_float("gelu"),
        lambda attrs, x: _gelu(_widened(x), attrs.approximation),
        ("data",),
        attrs=(Attr("approximation", "str", "erf", choices=("erf", "tanh")),),
        kind="elementwise",
        int8_when_tuned=True,
        label="act",
        epilogue=lambda attrs: EpilogueStep("gelu" if attrs.approximation == "erf" else "gelu_tanh"),
        nonnegative=IF_ALL,
        lowest=lambda attrs: _LOWEST_GELU,
        decomposition=lambda attrs: (
            Part("leaky_relu", attrs={"act_type": "gelu" if attrs.approximation == "erf" else "gelu_tanh"}),
        ),
    )
)

LEAKY_ACTIVATIONS = ("leaky", "elu", "selu", "gelu", "gelu_erf", "gelu_tanh", "prelu", "rrelu")


def _infer_leaky(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "leaky_relu", types[0]
    want_float(op, "data", data)
    if attrs.act_type == "prelu":
        want_dtype(op, "gamma", types[1], data.dtype, "data")
        _prelu_shape(data.shape, types[1].shape)
    return [data]


def _prelu_shape(data: tuple[int, ...], gamma: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which gamma broadcasts over data: a vector belongs to the channels, axis 1."""
    shape = (1, *gamma, *(1,) * (len(data) - 2)) if len(gamma) == 1 and len(data) > 1 else gamma
    try:
        fits = np.broadcast_shapes(data, shape) == data
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"leaky_relu: gamma {gamma} does not broadcast along axis 1 of data {data}")
    return shape


def _leaky(attrs: Attrs, x: Array, gamma: Array | None = None) -> Any:
    dtype, kind = x.dtype, attrs.act_type
    x = _widened(x)
    if gamma is not None:
        return np.where(x > 0, x, x * gamma.reshape(_prelu_shape(x.shape, gamma.shape)))
    if kind == "leaky":
        return np.where(x > 0, x, x * dtype.type(attrs.slope))
    if kind == "rrelu":
        # At inference the random slope is its mean (Xu et al., 2015).
        return np.where(x > 0, x, x * dtype.type((attrs.lower_bound + attrs.upper_bound) / 2))
    if kind.startswith("gelu"):
        return _gelu(x, "tanh" if kind == "gelu_tanh" else "erf")
    below = np.expm1(np.minimum(x, 0))
    if kind == "elu":
        return np.where(x > 0, x, attrs.slope * below)
    return SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * below)


def _lowest_leaky(attrs: Attrs) -> float | None:
    if attrs.act_type == "elu":
        return -abs(float(attrs.slope))
    return {"gelu": _LOWEST_GELU, "gelu_erf": _LOWEST_GELU, "gelu_tanh": _LOWEST_GELU, "selu": -1.7581}.get(
        attrs.act_type
    )


def _leaky_step(attrs: Attrs) -> EpilogueStep:
    slope = float(attrs.slope)
    return {
        "leaky": EpilogueStep("leaky_relu", (slope,)),
        "rrelu": EpilogueStep("leaky_relu", (float(attrs.lower_bound + attrs.upper_bound) / 2,)),
        "elu": EpilogueStep("elu", (slope,)),
        "selu": EpilogueStep("selu"),
        "gelu": EpilogueStep("gelu"),
        "gelu_erf": EpilogueStep("gelu"),
        "gelu_tanh": EpilogueStep("gelu_tanh"),
        # A vector of slopes belongs to the channels, axis 1.
        "prelu": EpilogueStep("prelu", axes={1: 1}),
    }[attrs.act_type]


register(
    Op(
        "leaky_relu",
        _infer_leaky,
        _leaky,
        lambda attrs: ("data", "gamma") if attrs.act_type == "prelu" else ("data",),
        attrs=(
            Attr("act_type", "str", "leaky", choices=LEAKY_ACTIVATIONS),
            Attr("slope", "float", 0.25),
            Attr("lower_bound", "float", 0.125),
            Attr("upper_bound", "float", 0.334),
        ),
        kind="elementwise",
        parameters=frozenset({"gamma"}),
        infer_parameters=lambda attrs, data: (
            {"gamma": (data.shape[1] if data.ndim > 1 else 1,)} if attrs.act_type == "prelu" else {}
        ),
        label="act",
        epilogue=_leaky_step,
        nonnegative=IF_ALL,
        lowest=_lowest_leaky,
        int8_in_full_mode=True,
        mxnet=("LeakyReLU", "_npx_leaky_relu"),
    )
)

register(
    Op(
        "hard_sigmoid",
        _same_float("hard_sigmoid"),
        lambda attrs, x: np.clip(attrs.alpha * _widened(x) + attrs.beta, 0, 1),
        ("data",),
        attrs=(Attr("alpha", "float", 0.2), Attr("beta", "float", 0.5)),
        kind="elementwise",
        int8_when_tuned=True,
        label="act",
        epilogue=lambda attrs: EpilogueStep("hard_sigmoid", (float(attrs.alpha), float(attrs.beta))),
        nonnegative=ALWAYS,
        mxnet=("hard_sigmoid", "_npx_hard_sigmoid"),
    )
)

register(
    Op(
        "smooth_l1",
        _same_float("smooth_l1"),
        lambda attrs, x: np.where(
            np.abs(x) < 1 / attrs.scalar**2, 0.5 * (attrs.scalar * x) ** 2, np.abs(x) - 0.5 / attrs.scalar**2
        ),
        ("data",),
        attrs=(Attr("scalar", "float", 1.0, low=1e-30),),
        kind="elementwise",
        int8_when_tuned=True,
        epilogue=lambda attrs: EpilogueStep(
            "smooth_l1", (float(attrs.scalar), 1 / float(attrs.scalar) ** 2, 0.5 / float(attrs.scalar) ** 2)
        ),
        nonnegative=ALWAYS,
        mxnet=("smooth_l1", "_npx_smooth_l1"),
    )
)


def _check_clip(attrs: Attrs) -> None:
    if any(bound is not None and math.isnan(bound) for bound in (attrs.a_min, attrs.a_max)):
        raise OpError(f"clip: a_min and a_max must be numbers, got {attrs.a_min} and {attrs.a_max}")


def _clip_step(attrs: Attrs) -> EpilogueStep:
    low = -math.inf if attrs.a_min is None else float(attrs.a_min)
    high = math.inf if attrs.a_max is None else float(attrs.a_max)

    def bounds(dtype: np.dtype[Any]) -> tuple[float, float]:
        return (cast_number(low, dtype), cast_number(high, dtype)) if dtype in FLOATS else _whole_bounds(attrs, dtype)

    return EpilogueStep("clip", (low, high), numbers_in=bounds)


def _whole_bounds(attrs: Attrs, dtype: np.dtype[Any]) -> tuple[int, int]:
    """Integers keep their dtype, so their bounds are the nearest integers inside that dtype."""
    low, high, info = attrs.a_min, attrs.a_max, np.iinfo(dtype)
    low = info.min if low is None or low <= info.min else min(math.ceil(low), info.max)
    return low, info.max if high is None or high >= info.max else max(math.floor(high), info.min)


def _clip_sign(attrs: Attrs, inputs: Sequence[bool]) -> bool:
    """The upper bound counts last, so it must not be negative either."""
    return attrs.a_min is not None and attrs.a_min >= 0 and (attrs.a_max is None or attrs.a_max >= 0)


def _infer_clip(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    if types[0].dtype not in DTYPES or types[0].dtype == BOOL:
        raise TypeMismatchError(f"clip: data must be integer or float, got {types[0]}")
    return [types[0]]


def _clip(attrs: Attrs, x: Array) -> Any:
    if x.dtype not in FLOATS:
        low, high = _whole_bounds(attrs, x.dtype)
        return np.minimum(np.maximum(x, low), high)
    low, high = attrs.a_min, attrs.a_max
    out = x if low is None else np.maximum(x, x.dtype.type(low))
    return out if high is None else np.minimum(out, x.dtype.type(high))


register(
    Op(
        "clip",
        _infer_clip,
        _clip,
        ("data",),
        attrs=(Attr("a_min", "float", None), Attr("a_max", "float", None)),
        kind="elementwise",
        label="act",
        epilogue=_clip_step,
        nonnegative=_clip_sign,
        int8_in_full_mode=True,
        mxnet=("clip", "_npi_clip", "_npx_clip"),
        check=_check_clip,
    )
)


def _infer_where(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    for t in types:
        if t.dtype not in DTYPES:
            raise TypeMismatchError(f"where: inputs must be bool, integer or float, got {t}")
    return [TensorType(broadcast_shapes("where", types), promote(types[1].dtype, types[2].dtype))]


register(
    Op(
        "where",
        _infer_where,
        lambda attrs, condition, x, y: np.where(condition != 0, x, y),
        ("condition", "x", "y"),
        kind="elementwise",
        epilogue=step("where", computes=lambda inputs, result: np.result_type(*inputs[1:])),
        nonnegative=lambda attrs, inputs: all(inputs[1:]),
        mxnet=("_npi_where", "where"),
    )
)


def _infer_cast(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    if attrs.dtype not in DTYPES:
        raise TypeMismatchError(f"cast: dtype must be bool, integer or float, got {attrs.dtype}")
    return [TensorType(types[0].shape, attrs.dtype)]


def _cast(attrs: Attrs, x: Array) -> Any:
    with np.errstate(all="ignore"):
        return x.astype(attrs.dtype)


register(
    Op(
        "cast",
        _infer_cast,
        _cast,
        ("data",),
        attrs=(Attr("dtype", "dtype"),),
        kind="elementwise",
        epilogue=step("cast"),
        is_identity=True,
        nonnegative=IF_ALL,
        mxnet=("_npx_cast", "Cast", "cast"),
    )
)


def _check_dropout(attrs: Attrs) -> None:
    if attrs.mode == "always":
        raise OpError("dropout: mode 'always' drops elements at inference too, which minidnn does not do")


register(
    Op(
        "dropout",
        lambda attrs, types: [TensorType(types[0].shape, float_of(types[0].dtype))],
        lambda attrs, x: x,
        ("data",),
        attrs=(
            Attr("p", "float", 0.5, low=0),
            Attr("mode", "str", "training", choices=("training", "always")),
            Attr("axes", "ints", ()),
        ),
        kind="elementwise",
        epilogue=step("cast"),
        is_identity=True,
        nonnegative=IF_ALL,
        mxnet=("Dropout", "_npx_dropout"),
        check=_check_dropout,
    )
)
