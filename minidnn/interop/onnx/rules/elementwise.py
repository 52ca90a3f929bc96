"""Elementwise operators: arithmetic, comparisons, logic, activations, casts."""

from __future__ import annotations

import numpy as np

from minidnn.interop.onnx.call import Call, Rule, UnsupportedNodeError, rule
from minidnn.interop.onnx.elements import Element
from minidnn.interop.onnx.rules.integers import Sums
from minidnn.interop.onnx.values import Value, known

__all__: list[str] = []

# ONNX's name -> ours, of one array.
_UNARY = {
    "Abs": "abs",
    "Acos": "arccos",
    "Acosh": "arccosh",
    "Asin": "arcsin",
    "Asinh": "arcsinh",
    "Atan": "arctan",
    "Atanh": "arctanh",
    "Ceil": "ceil",
    "Cos": "cos",
    "Cosh": "cosh",
    "Erf": "erf",
    "Exp": "exp",
    "Floor": "floor",
    "HardSwish": "hard_swish",
    "Identity": "identity",
    "IsNaN": "isnan",
    "Log": "log",
    "Mish": "mish",
    "Neg": "negative",
    "Not": "logical_not",
    "Reciprocal": "reciprocal",
    "Relu": "relu",
    "Round": "rint",
    "Sigmoid": "sigmoid",
    "Sign": "sign",
    "Sin": "sin",
    "Sinh": "sinh",
    "Softplus": "softrelu",
    "Softsign": "softsign",
    "Sqrt": "sqrt",
    "Tan": "tan",
    "Tanh": "tanh",
    "BitwiseNot": "bitwise_not",
}

# Of two arrays.
_BINARY = {
    "Add": "add",
    "Sub": "subtract",
    "Mul": "multiply",
    "And": "logical_and",
    "Or": "logical_or",
    "Xor": "logical_xor",
    "Equal": "equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "BitwiseAnd": "bitwise_and",
    "BitwiseOr": "bitwise_or",
    "BitwiseXor": "bitwise_xor",
}


def _unary_rule(op: str) -> Rule:
    def read(call: Call) -> Value:
        call.ignore("consumed_inputs")
        return call[0] if op == "identity" else call.emit(op, call[0])

    return read


def _binary_rule(op: str) -> Rule:
    def read(call: Call) -> Value:
        call.ignore("consumed_inputs")
        a, b = _aligned(call)
        return call.binary(op, a, b)

    return read


for _name, _op in _UNARY.items():
    rule(_name)(_unary_rule(_op))
for _name, _op in _BINARY.items():
    rule(_name)(_binary_rule(_op))


def _aligned(call: Call) -> tuple[Value, Value]:
    """The two inputs; before version 7 the second one lies along axes that an attribute names."""
    a, b = call[0], call[1]
    broadcast, axis = call.flag("broadcast"), call.integer("axis", None)
    if broadcast and axis is not None:
        trailing = a.ndim - call.axis(axis, a.ndim) - b.ndim
        if trailing < 0:
            call.fail(f"an array of {b.ndim} dimensions does not fit at axis {axis} of {a.ndim}")
        b = call.reshape(b, (*b.shape, *(1,) * trailing))
    return a, b


@rule("Div")
def _div(call: Call) -> Value:
    call.ignore("consumed_inputs")
    a, b = _aligned(call)
    return call.binary("true_divide", a, b) if a.element.is_float else call.emit("truncate_divide", a, b)


@rule("Mod")
def _mod(call: Call) -> Value:
    return call.emit("fmod" if call.flag("fmod") else "mod", call[0], call[1])


@rule("Pow")
def _pow(call: Call) -> Value:
    a, b = _aligned(call)
    if b.array is not None and b.array.size == 1 and not b.is_sized and b.ndim <= a.ndim and a.element.is_float:
        return call.emit("power_scalar", a, scalar=float(b.array.reshape(())), is_int=False)
    # The result is of the base's type, whatever the exponent's is.
    wide = np.promote_types(a.dtype, b.dtype)
    result = call.emit("power", call.cast(a, wide), call.cast(b, wide))
    return call.cast(result, a.dtype).as_element(a.element)


@rule("Max", "Min", "Sum", "Mean")
def _variadic(call: Call) -> Value:
    call.ignore("consumed_inputs")
    op = {"Max": "maximum", "Min": "minimum", "Sum": "add", "Mean": "add"}[call.op]
    first, *others = call.all()
    total = first
    for other in others:
        total = call.binary(op, total, other)
    return call.binary("multiply", total, 1.0 / len(call.inputs)) if call.op == "Mean" and others else total


@rule("BitShift")
def _bit_shift(call: Call) -> Value:
    direction = call.text("direction", choices=("LEFT", "RIGHT"))
    return call.emit(f"bitwise_{direction.lower()}_shift", call[0], call[1])


@rule("Where")
def _where(call: Call) -> Value:
    return call.emit("where", call[0], call[1], call[2]).as_element(call[1].element)


@rule("Clip")
def _clip(call: Call) -> Value:
    call.ignore("consumed_inputs")
    x, low, high = call[0], call.get(1), call.get(2)
    if call.opset < 11:
        a, b = call.real("min", None), call.real("max", None)
        return call.emit("clip", x, a_min=a, a_max=b) if a is not None or b is not None else x
    bounds = [b for b in (low, high) if b is not None]
    if x.element.is_float and all(b.array is not None and not b.is_sized for b in bounds) and not _crossed(low, high):
        numbers = [None if b is None or b.array is None else float(b.array.reshape(())) for b in (low, high)]
        return call.emit("clip", x, a_min=numbers[0], a_max=numbers[1]) if bounds else x
    result = x if low is None else call.emit("maximum", x, low)
    return result if high is None else call.emit("minimum", result, high)


def _crossed(low: Value | None, high: Value | None) -> bool:
    return (low is not None and high is not None and low.array is not None and high.array is not None) and not bool(
        (low.array <= high.array).all()
    )


@rule("IsInf")
def _is_inf(call: Call) -> Value:
    negative, positive = call.flag("detect_negative", True), call.flag("detect_positive", True)
    if negative and positive:
        return call.emit("isinf", call[0])
    if not negative and not positive:
        return call.emit("less_scalar", call.emit("abs", call[0]), scalar=0.0)
    return call.emit("isposinf" if positive else "isneginf", call[0])


# ---- activations ---------------------------------------------------------------------------------------


@rule("LeakyRelu")
def _leaky_relu(call: Call) -> Value:
    call.ignore("consumed_inputs")
    return call.emit("leaky_relu", call[0], act_type="leaky", slope=call.real("alpha", 0.01))


@rule("Elu")
def _elu(call: Call) -> Value:
    call.ignore("consumed_inputs")
    return call.emit("leaky_relu", call[0], act_type="elu", slope=call.real("alpha", 1.0))


_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


@rule("Selu")
def _selu(call: Call) -> Value:
    call.ignore("consumed_inputs")
    alpha, gamma = call.real("alpha", _SELU_ALPHA), call.real("gamma", _SELU_GAMMA)
    elu = call.emit("leaky_relu", call[0], act_type="elu", slope=alpha)
    return call.binary("multiply", elu, gamma)


@rule("Celu")
def _celu(call: Call) -> Value:
    """max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0): an elu of x / alpha, times alpha."""
    alpha = call.real("alpha", 1.0)
    if alpha == 1.0:
        return call.emit("leaky_relu", call[0], act_type="elu", slope=1.0)
    inner = call.binary("true_divide", call[0], alpha)
    return call.binary("multiply", call.emit("leaky_relu", inner, act_type="elu", slope=1.0), alpha)


@rule("HardSigmoid")
def _hard_sigmoid(call: Call) -> Value:
    call.ignore("consumed_inputs")
    return call.emit("hard_sigmoid", call[0], alpha=call.real("alpha", 0.2), beta=call.real("beta", 0.5))


@rule("Gelu")
def _gelu(call: Call) -> Value:
    kind = call.text("approximate", "none", ("none", "tanh"))
    return call.emit("gelu", call[0], approximation="erf" if kind == "none" else "tanh")


@rule("Swish")
def _swish(call: Call) -> Value:
    alpha = call.real("alpha", 1.0)
    if alpha == 1.0:
        return call.emit("silu", call[0])
    return call.emit("multiply", call[0], call.emit("sigmoid", call.binary("multiply", call[0], alpha)))


@rule("PRelu")
def _prelu(call: Call) -> Value:
    call.ignore("consumed_inputs")
    x, slope = call[0], call[1]
    if call.opset < 7 and slope.ndim == 1 and x.ndim > 1:
        slope = call.reshape(slope, (*slope.shape, *(1,) * (x.ndim - 2)))
    if not x.element.is_float:
        return call.emit("where", call.emit("less_scalar", x, scalar=0), call.emit("multiply", x, slope), x)
    below = call.emit("minimum_scalar", x, scalar=0.0)
    return call.emit("add", call.emit("relu", x), call.binary("multiply", below, slope))


@rule("ThresholdedRelu")
def _thresholded_relu(call: Call) -> Value:
    x, alpha = call[0], call.real("alpha", 1.0)
    return call.emit("where", call.emit("greater_scalar", x, scalar=alpha), x, call.like(0, x))


@rule("Shrink")
def _shrink(call: Call) -> Value:
    x, bias, lambd = call[0], call.real("bias", 0.0), call.real("lambd", 0.5)
    below = call.emit("where", call.emit("less_scalar", x, scalar=-lambd), _shifted(call, x, bias), call.like(0, x))
    return call.emit("where", call.emit("greater_scalar", x, scalar=lambd), _shifted(call, x, -bias), below)


def _shifted(call: Call, x: Value, number: float) -> Value:
    return call.emit("add", x, call.like(number, x)) if number else x


# ---- casts ---------------------------------------------------------------------------------------------


@rule("Cast")
def _cast(call: Call) -> Value:
    call.ignore("round_mode")
    to = call.text("to") if call.opset < 6 else call.element("to")
    if isinstance(to, str):
        call.fail("attribute 'to' must be the number of an element type, which it is from version 6 on")
    return _to_element(call, call[0], to, call.flag("saturate", True))


@rule("BitCast")
def _bit_cast(call: Call) -> Value:
    to = call.element("to")
    if to.is_narrow or call[0].element.is_narrow:
        call.refuse(f"bits of {call[0].element} as {to} are not supported")
    return call.emit("view_bits", call[0], dtype=to.carrier)


@rule("CastLike")
def _cast_like(call: Call) -> Value:
    call.ignore("round_mode")
    return _to_element(call, call[0], call[1].element, call.flag("saturate", True))


def _to_element(call: Call, x: Value, to: Element, saturate: bool) -> Value:
    if to == x.element:
        return x
    if x.is_sized and not to.is_narrow:
        return call.emit("cast", x, dtype=to.carrier)
    if to.is_narrow and to.is_float:
        rounded = call.emit("round_float", call.cast(x, np.float32), kind=to.name, saturate=saturate)
        return rounded.as_element(to)
    if to.is_narrow:
        return _to_few_bits(call, x, to)
    if x.element.is_float and to.carrier.kind in "iu":
        return call.emit("cast", x, dtype=to.carrier).as_element(to)
    if isinstance(x.origin, Sums) and to.carrier == np.float32:
        return x.origin.real(call).as_element(to)
    result = call.cast(x, to.carrier)
    return result.as_element(to) if result.dtype == to.carrier else result


def _to_few_bits(call: Call, x: Value, to: Element) -> Value:
    """Integers of two or four bits: the lowest bits of what is cast."""
    wide = call.cast(x, np.int32) if x.dtype != np.int32 else x
    span, low = 1 << to.bits, to.limits[0]
    if low:
        wide = call.emit("subtract_scalar", call.emit("mod_scalar", _up(call, wide, -low), scalar=span), scalar=-low)
    else:
        wide = call.emit("mod_scalar", wide, scalar=span)
    return call.cast(wide, to.carrier).as_element(to)


def _up(call: Call, x: Value, number: int) -> Value:
    return call.emit("add_scalar", x, scalar=number)


@rule("Dropout")
def _dropout(call: Call) -> list[Value]:
    """What it is at inference: nothing, and a mask of what is kept."""
    call.ignore("ratio", "seed", "is_test", "consumed_inputs")
    training = call.get(2)
    if training is not None and call.one_of(training, "training_mode"):
        ratio = call.get(1)
        if ratio is None or call.one_of(ratio, "ratio") != 0:
            call.refuse("training_mode is not supported: minidnn is for inference")
    if not call.wants(1):
        return [call[0]]
    mask = call.filled(call[0].shape, 1, np.bool_ if call.opset >= 10 else call[0].dtype)
    return [call[0], mask]


@rule("Constant")
def _constant(call: Call) -> Value:
    constant = call.tensor("value", None) or call.tensor("sparse_value", None)
    if constant is not None:
        return call.builder.constant(constant)
    for read, name, dtype in (
        (call.real, "value_float", np.float32),
        (call.integer, "value_int", np.int64),
        (call.reals, "value_floats", np.float32),
        (call.integers, "value_ints", np.int64),
    ):
        value = read(name, None)
        if value is not None:
            return known(np.array(value, dtype))
    raise UnsupportedNodeError(f"{call.node}: constants that are no numbers are not supported")
