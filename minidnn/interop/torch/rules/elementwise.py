"""Elementwise operators: arithmetic, comparisons, logic, activations, casts."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.interop.onnx.elements import Element
from minidnn.interop.onnx.values import Value
from minidnn.interop.torch.call import Call, Rule, aten
from minidnn.sizes import has_sizes

__all__ = ["cast_to"]

# ATen's name: ours, of one array. Integers are computed in the dtype of the result.
_UNARY = {
    **{name: name for name in ("abs", "ceil", "cos", "cosh", "erf", "exp", "expm1", "floor", "log", "log10", "log1p")},
    **{name: name for name in ("log2", "reciprocal", "relu", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt")},
    **{name: name for name in ("square", "tan", "tanh", "trunc", "mish", "silu", "erfinv")},
    "acos": "arccos",
    "acosh": "arccosh",
    "asin": "arcsin",
    "asinh": "arcsinh",
    "atan": "arctan",
    "atanh": "arctanh",
    "digamma": "digamma",
    "hardswish": "hard_swish",
    "lgamma": "gammaln",
    "log_sigmoid": "log_sigmoid",
    "neg": "negative",
    "round": "rint",
}
# Those whose result is bool, whatever they are given.
_TESTS = {"isfinite": "isfinite", "isinf": "isinf", "isnan": "isnan", "logical_not": "logical_not"}
_COMPARISONS = {
    "eq": "equal",
    "ge": "greater_equal",
    "gt": "greater",
    "le": "less_equal",
    "lt": "less",
    "ne": "not_equal",
}
_LOGIC = {"logical_and": "logical_and", "logical_or": "logical_or", "logical_xor": "logical_xor"}
_BITWISE = {"bitwise_and": "bitwise_and", "bitwise_or": "bitwise_or", "bitwise_xor": "bitwise_xor"}
_ARITHMETIC = {
    **{name: name for name in ("maximum", "minimum", "hypot", "copysign", "gcd")},
    "fmod": "fmod",
    "remainder": "mod",
    "atan2": "arctan2",
}


def _unary_rule(op: str) -> Rule:
    def read(call: Call, x: Value) -> Value:
        if x.dtype.kind != "f" and op in ("ceil", "floor", "trunc", "rint"):
            return x
        return call.emit(op, call.cast(x, call.dtype))

    return read


def _test_rule(op: str) -> Rule:
    def read(call: Call, x: Value) -> Value:
        if x.dtype.kind != "f" and op != "logical_not":
            return call.filled(x.shape, op == "isfinite", np.bool_)
        return call.emit(op, x)

    return read


def _comparison_rule(op: str) -> Rule:
    def read(call: Call, a: Any, b: Any) -> Value:
        return call.arithmetic(op, a, b, call.common(a, b))

    return read


def _logic_rule(op: str) -> Rule:
    def read(call: Call, a: Value, b: Value) -> Value:
        return call.emit(op, a, b)

    return read


def _binary_rule(op: str) -> Rule:
    def read(call: Call, a: Any, b: Any) -> Value:
        return call.arithmetic(op, a, b)

    return read


for _name, _op in _UNARY.items():
    aten(_name)(_unary_rule(_op))
for _name, _op in _TESTS.items():
    aten(_name)(_test_rule(_op))
for _name, _op in _COMPARISONS.items():
    aten(f"{_name}.Tensor", f"{_name}.Scalar")(_comparison_rule(_op))
for _name, _op in _LOGIC.items():
    aten(_name)(_logic_rule(_op))
for _name, _op in _BITWISE.items():
    aten(f"{_name}.Tensor", f"{_name}.Scalar")(_binary_rule(_op))
for _name in ("maximum", "minimum", "atan2", "hypot", "gcd"):
    aten(_name)(_binary_rule(_ARITHMETIC[_name]))
aten("ldexp.Tensor")(_binary_rule("ldexp"))
for _name in ("fmod", "remainder", "copysign"):
    aten(f"{_name}.Tensor", f"{_name}.Scalar")(_binary_rule(_ARITHMETIC[_name]))


@aten("bitwise_not")
def _bitwise_not(call: Call, x: Value) -> Value:
    return call.emit("logical_not" if x.dtype == np.bool_ else "bitwise_not", x)


def _scaled(call: Call, x: Any, alpha: Any) -> Any:
    if not has_sizes(alpha) and alpha == 1:
        return x
    return call.arithmetic("multiply", x, alpha) if isinstance(x, Value) else x * alpha


@aten("add.Tensor", "add.Scalar")
def _add(call: Call, a: Any, b: Any, alpha: Any = 1) -> Value:
    b = _scaled(call, b, alpha)
    if call.dtype == np.bool_:
        return call.emit("logical_or", call.operand(a, np.bool_), call.operand(b, np.bool_))
    return call.arithmetic("add", a, b)


@aten("sub.Tensor", "sub.Scalar")
def _sub(call: Call, a: Any, b: Any, alpha: Any = 1) -> Value:
    return call.arithmetic("subtract", a, _scaled(call, b, alpha))


@aten("rsub.Tensor", "rsub.Scalar")
def _rsub(call: Call, a: Any, b: Any, alpha: Any = 1) -> Value:
    return call.arithmetic("subtract", b, _scaled(call, a, alpha))


@aten("mul.Tensor", "mul.Scalar")
def _mul(call: Call, a: Any, b: Any) -> Value:
    if call.dtype == np.bool_:
        return call.emit("logical_and", call.operand(a, np.bool_), call.operand(b, np.bool_))
    return call.arithmetic("multiply", a, b)


@aten("div.Tensor", "div.Scalar")
def _div(call: Call, a: Any, b: Any) -> Value:
    return call.arithmetic("true_divide", a, b)


@aten("div.Tensor_mode", "div.Scalar_mode")
def _div_mode(call: Call, a: Any, b: Any, rounding_mode: str | None = None) -> Value:
    if rounding_mode is None:
        return _div(call, a, b)
    if call.dtype.kind != "f":
        op = "floor_divide" if rounding_mode == "floor" else "truncate_divide"
        return call.emit(op, call.operand(a, call.dtype), call.operand(b, call.dtype))
    quotient = call.arithmetic("true_divide", a, b)
    return call.emit("floor" if rounding_mode == "floor" else "trunc", quotient)


@aten("floor_divide", "floor_divide.Scalar")
def _floor_divide(call: Call, a: Any, b: Any) -> Value:
    return _div_mode(call, a, b, "floor")


@aten("pow.Tensor_Scalar", "pow.Scalar", "pow.Tensor_Tensor")
def _pow(call: Call, a: Any, b: Any) -> Value:
    if isinstance(a, Value) and not isinstance(b, Value) and not has_sizes(b):
        if b == 2:
            return call.emit("square", call.cast(a, call.dtype))
        if b == 0.5:
            return call.emit("sqrt", call.cast(a, call.dtype))
    return call.arithmetic("power", a, b)


@aten("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def _where(call: Call, condition: Value, a: Any, b: Any) -> Value:
    return call.emit("where", condition, call.operand(a, call.dtype), call.operand(b, call.dtype))


@aten("masked_fill.Scalar", "masked_fill.Tensor")
def _masked_fill(call: Call, x: Value, mask: Value, value: Any) -> Value:
    return _where(call, mask, value, x)


def _clamped(call: Call, x: Value, low: Any, high: Any) -> Value:
    bounds = [b for b in (low, high) if b is not None]
    x = call.cast(x, call.dtype)
    if x.dtype.kind == "f" and not any(isinstance(b, Value) or has_sizes(b) for b in bounds):
        if len(bounds) == 2 and low > high:
            return call.filled(x.shape, float(high), x.dtype)
        return call.emit(
            "clip", x, a_min=None if low is None else float(low), a_max=None if high is None else float(high)
        )
    x = x if low is None else call.arithmetic("maximum", x, low)
    return x if high is None else call.arithmetic("minimum", x, high)


@aten("clamp", "clamp.Tensor")
def _clamp(call: Call, x: Value, min: Any = None, max: Any = None) -> Value:
    return _clamped(call, x, min, max)


@aten("clamp_min", "clamp_min.Tensor")
def _clamp_min(call: Call, x: Value, min: Any) -> Value:
    return _clamped(call, x, min, None)


@aten("clamp_max", "clamp_max.Tensor")
def _clamp_max(call: Call, x: Value, max: Any) -> Value:
    return _clamped(call, x, None, max)


@aten("nan_to_num")
def _nan_to_num(call: Call, x: Value, nan: Any = None, posinf: Any = None, neginf: Any = None) -> Value:
    return call.emit("nan_to_num", x, nan=0.0 if nan is None else nan, posinf=posinf, neginf=neginf)


@aten("angle")
def _angle(call: Call, x: Value) -> Value:
    """Zero, or half a turn where a number is negative."""
    x = call.cast(x, call.dtype)
    below = call.emit("less_scalar", x, scalar=0.0)
    angle = call.emit("where", below, call.like(np.pi, x), call.like(0, x))
    return call.emit("where", call.emit("isnan", x), x, angle)


@aten("round.decimals")
def _round_decimals(call: Call, x: Value, decimals: int) -> Value:
    factor = 10.0**decimals
    return call.binary("true_divide", call.emit("rint", call.binary("multiply", x, factor)), factor)


@aten("erfc")
def _erfc(call: Call, x: Value) -> Value:
    return call.emit("rsubtract_scalar", call.emit("erf", call.cast(x, call.dtype)), scalar=1.0)


@aten("__lshift__.Scalar", "__lshift__.Tensor", "bitwise_left_shift.Tensor", "bitwise_left_shift.Tensor_Scalar")
def _left_shift(call: Call, x: Value, count: Any) -> Value:
    return call.arithmetic("bitwise_left_shift", x, count)


@aten("__rshift__.Scalar", "__rshift__.Tensor", "bitwise_right_shift.Tensor", "bitwise_right_shift.Tensor_Scalar")
def _right_shift(call: Call, x: Value, count: Any) -> Value:
    return call.arithmetic("bitwise_right_shift", x, count)


# ---- activations


@aten("relu6")
def _relu6(call: Call, x: Value) -> Value:
    return _clamped(call, x, 0.0, 6.0)


@aten("hardtanh")
def _hardtanh(call: Call, x: Value, min_val: Any = -1.0, max_val: Any = 1.0) -> Value:
    return _clamped(call, x, min_val, max_val)


@aten("hardsigmoid")
def _hardsigmoid(call: Call, x: Value) -> Value:
    return call.emit("hard_sigmoid", x, alpha=1 / 6, beta=0.5)


@aten("gelu")
def _gelu(call: Call, x: Value, approximate: str = "none") -> Value:
    return call.emit("gelu", x, approximation="erf" if approximate == "none" else approximate)


@aten("leaky_relu")
def _leaky_relu(call: Call, x: Value, negative_slope: float = 0.01) -> Value:
    return call.emit("leaky_relu", x, act_type="leaky", slope=float(negative_slope))


@aten("elu")
def _elu(call: Call, x: Value, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Value:
    """Where x > 0 scale * x, elsewhere scale * alpha * (exp(input_scale * x) - 1)."""
    if input_scale == 1:
        y = call.emit("leaky_relu", x, act_type="elu", slope=float(alpha))
        return y if scale == 1 else call.binary("multiply", y, float(scale))
    below = call.emit("expm1", call.binary("multiply", call.emit("minimum_scalar", x, scalar=0.0), float(input_scale)))
    both = call.emit("add", call.emit("relu", x), call.binary("multiply", below, float(alpha)))
    return both if scale == 1 else call.binary("multiply", both, float(scale))


@aten("softplus")
def _softplus(call: Call, x: Value, beta: float = 1.0, threshold: float = 20.0) -> Value:
    # Above the threshold PyTorch gives x itself, which differs from this by less than its rounding.
    if beta == 1:
        return call.emit("softrelu", x)
    soft = call.emit("softrelu", call.binary("multiply", x, float(beta)))
    return call.binary("multiply", soft, 1.0 / beta)


@aten("prelu", "_prelu_kernel")
def _prelu(call: Call, x: Value, slope: Value) -> Value:
    if slope.ndim == 1 and x.ndim > 1:
        slope = call.reshape(slope, (slope.dim(0), *(1,) * (x.ndim - 2)))
    below = call.emit("minimum_scalar", x, scalar=0.0)
    return call.emit("add", call.emit("relu", x), call.binary("multiply", below, slope))


@aten("threshold")
def _threshold(call: Call, x: Value, threshold: Any, value: Any) -> Value:
    return call.emit("where", call.arithmetic("greater", x, threshold, x.dtype), x, call.operand(value, x.dtype))


# ---- casts and what is nothing at inference


def cast_to(call: Call, x: Value, dtype: Element | None) -> Value:
    """The value as another element type; PyTorch's float16 and bfloat16 lose what they do not hold."""
    if dtype is None or dtype == x.element:
        return x
    if dtype.is_narrow and dtype.is_float:
        wide = call.cast(x, np.float32)
        return call.emit("round_float", wide, kind=dtype.name, saturate=False).as_element(dtype)
    result = call.cast(x, dtype.carrier)
    return result.as_element(dtype)


@aten("_to_copy", "to.dtype", "convert_element_type")
def _to_copy(call: Call, x: Value, dtype: Element | None = None, *_: Any, **__: Any) -> Value:
    return cast_to(call, x, dtype)


@aten("alias", "clone", "contiguous", "detach", "detach_", "lift_fresh_copy", "lift_fresh", "positive")
def _same(call: Call, x: Value, *_: Any, **__: Any) -> Value:
    return x


@aten("dropout", "feature_dropout", "alpha_dropout")
def _dropout(call: Call, x: Value, p: float, train: bool) -> Value:
    if train and p:
        call.refuse("dropout of training is not supported: call the module's eval() before")
    return x
