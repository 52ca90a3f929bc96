"""Elementwise operators as nodes of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.interop.onnx.export.writer import EXPORT, Rule, Tensor, Writer, export_rule
from minidnn.ops.registry import Attrs, TensorType

__all__ = ["activated"]

_UNARY = {
    "abs": "Abs",
    "arccos": "Acos",
    "arccosh": "Acosh",
    "arcsin": "Asin",
    "arcsinh": "Asinh",
    "arctan": "Atan",
    "arctanh": "Atanh",
    "ceil": "Ceil",
    "cos": "Cos",
    "cosh": "Cosh",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "hard_swish": "HardSwish",
    "log": "Log",
    "mish": "Mish",
    "negative": "Neg",
    "reciprocal": "Reciprocal",
    "relu": "Relu",
    "rint": "Round",
    "round": "Round",
    "sigmoid": "Sigmoid",
    "sign": "Sign",
    "sin": "Sin",
    "sinh": "Sinh",
    "softrelu": "Softplus",
    "softsign": "Softsign",
    "sqrt": "Sqrt",
    "tan": "Tan",
    "tanh": "Tanh",
}
_BINARY = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "true_divide": "Div",
    "power": "Pow",
    "maximum": "Max",
    "minimum": "Min",
    "bitwise_and": "BitwiseAnd",
    "bitwise_or": "BitwiseOr",
    "bitwise_xor": "BitwiseXor",
}
_COMPARISONS = {
    "equal": "Equal",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "less": "Less",
    "less_equal": "LessOrEqual",
}
_LOGIC = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor"}
# Those that ONNX calls something else where the elements are bools.
_OF_BOOLS = {"BitwiseAnd": "And", "BitwiseOr": "Or", "BitwiseXor": "Xor"}


def _operands(w: Writer, attrs: Attrs, x: Sequence[Tensor], dtype: Any) -> tuple[str, str]:
    """Two arrays in a dtype, or an array and the attribute ``scalar``."""
    if len(x) == 2:
        return w.cast(x[0], dtype), w.cast(x[1], dtype)
    return w.cast(x[0], dtype), w.number(attrs.scalar, dtype)


def _common(attrs: Attrs, x: Sequence[Tensor]) -> Any:
    """The dtype in which operands are compared."""
    if len(x) == 2:
        return np.promote_types(x[0].dtype, x[1].dtype)
    is_whole = attrs.is_int and float(attrs.scalar).is_integer()
    kind = x[0].dtype.kind
    return x[0].dtype if kind == "f" or (is_whole and kind in "iu") else np.dtype(np.float32)


def _unary(op: str) -> Rule:
    def write(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
        return w.node(op, w.cast(x[0], out[0].dtype))

    return write


def _binary(op: str, swapped: bool = False) -> Rule:
    def write(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
        a, b = _operands(w, attrs, x, out[0].dtype)
        name = _OF_BOOLS.get(op, op) if out[0].dtype == np.bool_ else op
        return w.node(name, b, a) if swapped else w.node(name, a, b)

    return write


def _comparison(op: str, negated: bool = False) -> Rule:
    def write(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
        made = w.node(op, *_operands(w, attrs, x, _common(attrs, x)))
        made = w.node("Not", made) if negated else made
        return made if out[0].dtype == np.bool_ else w.node("Cast", made, to=w.element(out[0].dtype))

    return write


def _logic(op: str) -> Rule:
    def write(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
        made = w.node(op, *_operands(w, attrs, x, np.bool_))
        return made if out[0].dtype == np.bool_ else w.node("Cast", made, to=w.element(out[0].dtype))

    return write


for _name, _op in _UNARY.items():
    export_rule(_name)(_unary(_op))
for _name, _op in _BINARY.items():
    export_rule(_name, f"{_name}_scalar")(_binary(_op))
for _name in ("subtract", "true_divide", "power"):
    export_rule(f"r{_name}_scalar")(_binary(_BINARY[_name], swapped=True))
for _name, _op in _COMPARISONS.items():
    export_rule(_name, f"{_name}_scalar")(_comparison(_op))
export_rule("not_equal", "not_equal_scalar")(_comparison("Equal", negated=True))
for _name, _op in _LOGIC.items():
    export_rule(_name, f"{_name}_scalar")(_logic(_op))


@export_rule("logical_not")
def _logical_not(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    made = w.node("Not", w.cast(x[0], np.bool_))
    return made if out[0].dtype == np.bool_ else w.node("Cast", made, to=w.element(out[0].dtype))


@export_rule("bitwise_not")
def _bitwise_not(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.node("Not" if x[0].dtype == np.bool_ else "BitwiseNot", x[0])


@export_rule("isnan", "isinf", "isfinite")
def _is_number(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    nan, inf = (w.node(op, x[0]) for op in ("IsNaN", "IsInf"))
    made = {"isnan": nan, "isinf": inf}.get(w.op) or w.node("Not", w.node("Or", nan, inf))
    return made if out[0].dtype == np.bool_ else w.node("Cast", made, to=w.element(out[0].dtype))


# What ONNX says by several nodes.


@export_rule("square")
def _square(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.node("Mul", x[0], x[0])


@export_rule("rsqrt")
def _rsqrt(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.node("Reciprocal", w.node("Sqrt", w.cast(x[0], out[0].dtype)))


@export_rule("silu")
def _silu(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.node("Mul", x[0], w.node("Sigmoid", x[0]))


@export_rule("log_sigmoid")
def _log_sigmoid(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.node("Neg", w.node("Softplus", w.node("Neg", x[0])))


@export_rule("trunc", "fix")
def _trunc(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.node("Mul", w.node("Sign", x[0]), w.node("Floor", w.node("Abs", x[0])))


@export_rule("expm1")
def _expm1(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    # Below it is an ELU of slope 1, which runtimes compute without the cancellation.
    y = w.cast(x[0], out[0].dtype)
    zero = w.number(0, out[0].dtype)
    above = w.node("Sub", w.node("Exp", w.node("Max", y, zero)), w.number(1, out[0].dtype))
    return w.node("Add", above, w.node("Elu", w.node("Min", y, zero), alpha=1.0))


@export_rule("log1p", "log2", "log10")
def _logarithm(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    y, dtype = w.cast(x[0], out[0].dtype), out[0].dtype
    if w.op == "log1p":
        return w.node("Log", w.node("Add", y, w.number(1, dtype)))
    base = 2.0 if w.op == "log2" else 10.0
    return w.node("Mul", w.node("Log", y), w.number(1 / np.log(base), dtype))


@export_rule("floor_divide", "floor_divide_scalar", "truncate_divide", "truncate_divide_scalar")
def _divide_whole(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    dtype = out[0].dtype
    a, b = _operands(w, attrs, x, dtype)
    is_floor = w.op.startswith("floor")
    if dtype.kind == "f":
        quotient = w.node("Div", a, b)
        if is_floor:
            return w.node("Floor", quotient)
        return w.node("Mul", w.node("Sign", quotient), w.node("Floor", w.node("Abs", quotient)))
    return w.node("Div", w.node("Sub", a, w.node("Mod", a, b)), b) if is_floor else w.node("Div", a, b)


@export_rule("mod", "mod_scalar", "fmod", "fmod_scalar")
def _mod(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    dtype = out[0].dtype
    a, b = _operands(w, attrs, x, dtype)
    if w.op.startswith("fmod") or dtype.kind != "f":
        return w.node("Mod", a, b, fmod=int(w.op.startswith("fmod")))
    # ONNX's Mod of floats has the sign of the dividend.
    return w.node("Sub", a, w.node("Mul", w.node("Floor", w.node("Div", a, b)), b))


@export_rule("where")
def _where(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.node("Where", w.cast(x[0], np.bool_), *(w.cast(y, out[0].dtype) for y in x[1:]))


@export_rule("clip")
def _clip(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    bounds = [None if n is None else w.number(n, x[0].dtype) for n in (attrs.a_min, attrs.a_max)]
    return w.node("Clip", x[0], *bounds)


@export_rule("cast")
def _cast(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.node("Cast", x[0], to=w.element(out[0].dtype))


@export_rule("identity", "dropout")
def _identity(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.name_of(x[0])


# ---- activations


@export_rule("hard_sigmoid")
def _hard_sigmoid(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.node("HardSigmoid", x[0], alpha=float(attrs.alpha), beta=float(attrs.beta))


@export_rule("gelu")
def _gelu(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.node("Gelu", x[0], approximate="none" if attrs.approximation == "erf" else "tanh")


def activated(w: Writer, name: str, x: Tensor) -> str:
    """An activation by MXNet's name."""
    rule = EXPORT.get({"softrelu": "softrelu"}.get(name, name))
    if rule is None:
        w.fail(f"activation {name!r} is not supported")
    assert rule is not None
    result: str = rule(w, Attrs({}), [x], [x.type])
    return result


@export_rule("activation")
def _activation(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return activated(w, attrs.act_type, x[0])


@export_rule("leaky_relu")
def _leaky_relu(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    kind = attrs.act_type
    if kind == "prelu":
        slope = x[1]
        name = w.name_of(slope)
        if slope.ndim == 1 and x[0].ndim > 2 and slope.shape[0] != 1:
            name = w.reshaped(name, (slope.shape[0], *(1,) * (x[0].ndim - 2)))
        return w.node("PRelu", x[0], name)
    if kind == "leaky":
        return w.node("LeakyRelu", x[0], alpha=float(attrs.slope))
    if kind == "elu":
        return w.node("Elu", x[0], alpha=float(attrs.slope))
    if kind == "selu":
        return w.node("Selu", x[0])
    if kind == "gelu":
        return w.node("Gelu", x[0])
    return w.fail(f"act_type {kind!r} is not supported")
