"""Elementwise operators of two arrays, or of an array and a scalar: one row of a table each.

Dtypes follow the rules of `minidnn.ops.elementwise`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.errors import OpError, TypeMismatchError
from minidnn.ops.checks import FLOATS, INTEGERS, broadcast_shapes
from minidnn.ops.elementwise import BOOL, INT64, float_of, promote, quiet, want_supported
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import (
    ALWAYS,
    AS_BOOLS,
    IF_ALL,
    IF_ANY,
    IF_FIRST,
    IF_SECOND,
    IN_COMMON,
    EpilogueForm,
    EpilogueStep,
    Sign,
    comparison_step,
    if_first_or_scalar,
    if_scalar,
    if_scalar_and_all,
    scalar_step,
    step,
)

__all__ = ["BINARY", "COMPARE"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _Form:
    """The traits of one form of a binary operator: of two arrays, of an array and a scalar, or of these reversed."""

    epilogue: EpilogueForm | None = None
    nonnegative: Sign | None = None
    int8_in_full_mode: bool = False
    int8_when_tuned: bool = False


@dataclass(frozen=True)
class _BinaryRow:
    """A binary operator.

    Args:
        function: NumPy's.
        kind: of the result: ``number``: the promoted dtype; ``float``: the promoted dtype, float32 for integers;
            ``bits``: integers and bools only; ``whole``: integers only; ``bool``: a comparison.
        mxnet: MXNet's names.
        arrays: its traits on two arrays.
        scalar: on an array and a scalar.
        reversed: on a scalar and an array; None if that form does not exist.
        label: the word in names of fused nodes, for all forms; empty for the name of the form on arrays.
    """

    function: Callable[..., Any]
    kind: str
    mxnet: tuple[str, ...]
    arrays: _Form = _Form()
    scalar: _Form = _Form()
    reversed: _Form | None = None
    label: str = ""


# The powers that are an instruction of their own; any other takes a logarithm.
_POWERS = {
    1.0: EpilogueStep("multiply_scalar", (1.0,)),
    2.0: EpilogueStep("square"),
    3.0: EpilogueStep("cube"),
    4.0: EpilogueStep("fourth_power"),
    0.5: EpilogueStep("sqrt"),
    -1.0: EpilogueStep("reciprocal"),
}
_any_power = scalar_step("power_scalar")


def _power_step(attrs: Attrs) -> EpilogueStep | None:
    return _POWERS.get(attrs.scalar) or _any_power(attrs)


def _ldexp(x: Any, exponent: Any) -> Any:
    """x · 2^exponent without a power that overflows where the product does not."""
    result = np.float64(x) * np.exp2(np.float64(exponent))
    return result.astype(np.result_type(x, exponent))


def _truncate_divide(a: Any, b: Any) -> Any:
    """Quotients without their fractions; 0 where the divisor is 0."""
    quotient = a // b
    is_below = (quotient * b != a) & ((a < 0) != (b < 0)) & (b != 0)
    return np.asarray(quotient + is_below, quotient.dtype)


def _power_sign(attrs: Attrs, inputs: Sequence[bool]) -> bool:
    return IF_FIRST(attrs, inputs) or attrs.scalar % 2 == 0


def _arithmetic(
    op: str,
    sign: Sign | None,
    scalar_sign: Sign | None,
    full: tuple[bool, bool] = (False, False),
    tuned: tuple[bool, bool] = (True, True),
) -> tuple[_Form, _Form]:
    """The two forms of an operator that is one instruction each."""
    return (
        _Form(step(op), sign, full[0], tuned[0]),
        _Form(scalar_step(f"{op}_scalar"), scalar_sign, full[1], tuned[1]),
    )


def _forms(
    op: str, sign: Sign | None = None, scalar_sign: Sign | None = None, reversed_sign: Sign | None = None
) -> tuple[_Form, _Form, _Form]:
    """All three forms."""
    return (
        _Form(step(op), sign),
        _Form(scalar_step(f"{op}_scalar"), scalar_sign),
        _Form(scalar_step(f"r{op}_scalar"), reversed_sign),
    )


def _comparison(op: str) -> tuple[_Form, _Form]:
    return _Form(step(op, computes=IN_COMMON), ALWAYS), _Form(comparison_step(f"{op}_scalar"), ALWAYS)


def _logic(op: str) -> tuple[_Form, _Form]:
    return _Form(step(op, computes=AS_BOOLS), ALWAYS), _Form(scalar_step(f"{op}_scalar", AS_BOOLS), ALWAYS)


_BINARY: dict[str, _BinaryRow] = {
    "add": _BinaryRow(
        np.add,
        "number",
        ("_npi_add", "elemwise_add", "broadcast_add", "_Plus", "_plus"),
        *_arithmetic("add", IF_ALL, if_scalar_and_all, (True, False)),
    ),
    "subtract": _BinaryRow(
        np.subtract,
        "number",
        ("_npi_subtract", "elemwise_sub", "broadcast_sub", "_Minus", "_sub"),
        *_arithmetic("subtract", None, None, (True, False)),
        _Form(scalar_step("rsubtract_scalar"), int8_when_tuned=True),
        "sub",
    ),
    "multiply": _BinaryRow(
        np.multiply,
        "number",
        ("_npi_multiply", "elemwise_mul", "broadcast_mul", "_Mul", "_mul"),
        *_arithmetic("multiply", IF_ALL, if_scalar_and_all),
        label="mul",
    ),
    "true_divide": _BinaryRow(
        np.true_divide,
        "float",
        ("_npi_true_divide", "elemwise_div", "broadcast_div", "_Div"),
        *_arithmetic("divide", IF_ALL, if_scalar_and_all, tuned=(False, True)),
        _Form(scalar_step("rdivide_scalar"), if_scalar_and_all),
        "div",
    ),
    "floor_divide": _BinaryRow(
        np.floor_divide,
        "number",
        ("_npi_floor_divide",),
        *_forms("floor_divide", IF_ALL, if_scalar_and_all, if_scalar_and_all),
    ),
    "truncate_divide": _BinaryRow(_truncate_divide, "whole", (), *_forms("truncate_divide", IF_ALL)[:2]),
    # The remainder has the sign of the divisor; fmod's has that of the dividend.
    "mod": _BinaryRow(
        np.mod,
        "number",
        ("_npi_mod", "broadcast_mod"),
        *_forms("mod", IF_SECOND, if_scalar, IF_FIRST),
    ),
    "fmod": _BinaryRow(
        np.fmod,
        "number",
        ("_npi_fmod",),
        *_forms("fmod", IF_FIRST, IF_FIRST, if_scalar),
    ),
    "power": _BinaryRow(
        np.power,
        "number",
        ("_npi_power", "broadcast_power"),
        _Form(step("power"), IF_FIRST),
        _Form(_power_step, _power_sign),
        _Form(scalar_step("rpower_scalar"), if_scalar),
    ),
    "maximum": _BinaryRow(
        np.maximum,
        "number",
        ("_npi_maximum", "broadcast_maximum"),
        *_arithmetic("maximum", IF_ANY, if_first_or_scalar, (False, True)),
        label="max",
    ),
    "minimum": _BinaryRow(
        np.minimum,
        "number",
        ("_npi_minimum", "broadcast_minimum"),
        *_arithmetic("minimum", IF_ALL, if_scalar_and_all, (False, True)),
        label="min",
    ),
    # Where one operand is nan these give the other one, so that one alone does not decide.
    "fmax": _BinaryRow(np.fmax, "number", ("_npi_fmax",), *_forms("fmax", IF_ALL, if_scalar)[:2]),
    "fmin": _BinaryRow(np.fmin, "number", ("_npi_fmin",), *_forms("fmin", IF_ALL, if_scalar_and_all)[:2]),
    "arctan2": _BinaryRow(
        np.arctan2,
        "float",
        ("_npi_arctan2",),
        *_forms("arctan2", IF_FIRST, IF_FIRST, if_scalar),
    ),
    "hypot": _BinaryRow(np.hypot, "float", ("_npi_hypot", "broadcast_hypot"), *_forms("hypot", ALWAYS, ALWAYS)[:2]),
    "copysign": _BinaryRow(
        np.copysign,
        "float",
        ("_npi_copysign",),
        *_forms("copysign", None, lambda attrs, inputs: math.copysign(1.0, attrs.scalar) > 0),
    ),
    "logaddexp": _BinaryRow(np.logaddexp, "float", ("_npi_logaddexp",), *_forms("logaddexp")[:2]),
    "heaviside": _BinaryRow(
        np.heaviside,
        "float",
        ("_npi_heaviside",),
        *_forms("heaviside", IF_SECOND, if_scalar, IF_FIRST),
    ),
    "bitwise_and": _BinaryRow(np.bitwise_and, "bits", ("_npi_bitwise_and",), *_forms("bitwise_and")[:2]),
    "bitwise_or": _BinaryRow(np.bitwise_or, "bits", ("_npi_bitwise_or",), *_forms("bitwise_or")[:2]),
    "bitwise_xor": _BinaryRow(np.bitwise_xor, "bits", ("_npi_bitwise_xor",), *_forms("bitwise_xor")[:2]),
    "bitwise_left_shift": _BinaryRow(np.left_shift, "whole", ("_npi_bitwise_left_shift",), *_forms("left_shift")),
    "bitwise_right_shift": _BinaryRow(np.right_shift, "whole", ("_npi_bitwise_right_shift",), *_forms("right_shift")),
    "gcd": _BinaryRow(np.gcd, "whole", ("_npi_gcd",), *_forms("gcd", ALWAYS, ALWAYS)[:2]),
    "lcm": _BinaryRow(np.lcm, "whole", ("_npi_lcm",), *_forms("lcm")[:2]),
    "ldexp": _BinaryRow(_ldexp, "float", ("_npi_ldexp",), *_forms("ldexp", IF_FIRST, IF_FIRST)),
    "equal": _BinaryRow(np.equal, "bool", ("_npi_equal",), *_comparison("equal")),
    "not_equal": _BinaryRow(np.not_equal, "bool", ("_npi_not_equal",), *_comparison("not_equal")),
    "less": _BinaryRow(np.less, "bool", ("_npi_less",), *_comparison("less")),
    "less_equal": _BinaryRow(np.less_equal, "bool", ("_npi_less_equal",), *_comparison("less_equal")),
    "greater": _BinaryRow(np.greater, "bool", ("_npi_greater",), *_comparison("greater")),
    "greater_equal": _BinaryRow(np.greater_equal, "bool", ("_npi_greater_equal",), *_comparison("greater_equal")),
    "logical_and": _BinaryRow(np.logical_and, "bool", ("_npi_logical_and",), *_logic("logical_and")),
    "logical_or": _BinaryRow(np.logical_or, "bool", ("_npi_logical_or",), *_logic("logical_or")),
    "logical_xor": _BinaryRow(np.logical_xor, "bool", ("_npi_logical_xor",), *_logic("logical_xor")),
}

BINARY = tuple(_BINARY)
COMPARE = tuple(name for name, row in _BINARY.items() if row.kind == "bool")


def _binary_dtype(op: str, kind: str, dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
    if kind == "bool":
        return BOOL
    common = promote(*dtypes)
    if kind == "bits" and common in FLOATS:
        raise TypeMismatchError(f"{op}: inputs must be integers or bools, got {' and '.join(map(str, dtypes))}")
    if kind == "whole" and common not in INTEGERS:
        raise TypeMismatchError(f"{op}: inputs must be integers, got {' and '.join(map(str, dtypes))}")
    if kind == "number" and common == BOOL and op.removesuffix("_scalar") in {"subtract", "rsubtract"}:
        raise TypeMismatchError(f"{op}: bools cannot be subtracted; use logical_xor or cast them first")
    return float_of(common) if kind == "float" else common


def _traits(name: str, row: _BinaryRow, form: _Form) -> dict[str, Any]:
    return {
        "label": row.label or name,
        "epilogue": form.epilogue,
        "nonnegative": form.nonnegative,
        "int8_in_full_mode": form.int8_in_full_mode,
        "int8_when_tuned": form.int8_when_tuned,
    }


def _register_binary(name: str, row: _BinaryRow) -> None:
    function, kind = row.function, row.kind

    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        want_supported(name, types)
        dtype = _binary_dtype(name, kind, [t.dtype for t in types])
        return [TensorType(broadcast_shapes(name, types), dtype)]

    def reference(attrs: Attrs, a: Array, b: Array) -> Any:
        if kind in {"number", "float"}:
            dtype = _binary_dtype(name, kind, [a.dtype, b.dtype])
            a, b = a.astype(dtype, copy=False), b.astype(dtype, copy=False)
        return function(a, b)

    traits = _traits(name, row, row.arrays)
    register(Op(name, infer, quiet(reference), ("lhs", "rhs"), kind="elementwise", mxnet=row.mxnet, **traits))


# What an integer dtype can hold; NumPy takes no larger integers.
_LOWEST, _HIGHEST = -(2**63), 2**64 - 1

_SCALAR_ATTRS = (Attr("scalar", "float"), Attr("is_int", "bool", True))


def _scalar_value(attrs: Attrs) -> int | float:
    """The scalar as Python's int or float, which decides the dtype of the result."""
    whole = attrs.is_int and float(attrs.scalar).is_integer()
    return int(attrs.scalar) if whole else float(attrs.scalar)


def _register_scalar(base: str, row: _BinaryRow, form: _Form, reversed_: bool = False) -> None:
    name = f"{'r' if reversed_ else ''}{base}_scalar"
    function, kind = row.function, row.kind
    mxnet = (f"_npi_{name}", *_OLD_SCALAR_NAMES.get(name, ())) if row.mxnet else ()

    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        want_supported(name, types)
        t, scalar = types[0], _scalar_value(attrs)
        if kind == "bool":
            return [TensorType(t.shape, BOOL)]
        if isinstance(scalar, float):
            own = float_of(t.dtype)
        elif t.dtype == BOOL:
            own = INT64
        else:
            own = t.dtype
            if own in INTEGERS and kind != "float" and not np.iinfo(own).min <= scalar <= np.iinfo(own).max:
                raise OpError(f"{name}: the scalar {scalar} does not fit into {own}")
        if function is np.power and own in INTEGERS and not reversed_ and scalar < 0:
            raise OpError(f"{name}: an integer array cannot be raised to the negative power {scalar}; cast it first")
        return [TensorType(t.shape, _binary_dtype(name, kind, [own]))]

    def reference(attrs: Attrs, x: Array) -> Any:
        scalar = _scalar_value(attrs)
        if kind != "bool":
            x = x.astype(infer(attrs, [TensorType.of(x)])[0].dtype, copy=False)
        if x.dtype in FLOATS or not _LOWEST <= scalar <= _HIGHEST:
            scalar = float(scalar)
        return function(scalar, x) if reversed_ else function(x, scalar)

    register(
        Op(
            name,
            infer,
            quiet(reference),
            ("data",),
            attrs=_SCALAR_ATTRS,
            kind="elementwise",
            mxnet=mxnet,
            **_traits(base, row, form),
        )
    )


_OLD_SCALAR_NAMES = {
    "add_scalar": ("_plus_scalar", "_PlusScalar"),
    "subtract_scalar": ("_minus_scalar", "_MinusScalar"),
    "rsubtract_scalar": ("_rminus_scalar", "_RMinusScalar"),
    "multiply_scalar": ("_mul_scalar", "_MulScalar"),
    "true_divide_scalar": ("_div_scalar", "_DivScalar"),
    "rtrue_divide_scalar": ("_rdiv_scalar", "_RDivScalar"),
    "mod_scalar": ("_mod_scalar", "_ModScalar"),
    "rmod_scalar": ("_rmod_scalar", "_RModScalar"),
    "power_scalar": ("_power_scalar", "_PowerScalar"),
    "rpower_scalar": ("_rpower_scalar", "_RPowerScalar"),
    "maximum_scalar": ("_maximum_scalar", "_MaximumScalar"),
    "minimum_scalar": ("_minimum_scalar", "_MinimumScalar"),
}

for _name, _binary in _BINARY.items():
    _register_binary(_name, _binary)
    _register_scalar(_name, _binary, _binary.scalar)
    if _binary.reversed is not None:
        _register_scalar(_name, _binary, _binary.reversed, reversed_=True)
