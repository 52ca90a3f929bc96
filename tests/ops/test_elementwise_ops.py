"""Elementwise operators against torch, and their dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from ops_helpers import assert_close, infer, normal, reference, tensor

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops.binary import BINARY, COMPARE
from minidnn.ops.elementwise import UNARY

# Ours: torch's name, and the interval the function is defined on.
TORCH_UNARY: dict[str, tuple[Any, float, float]] = {
    "abs": (torch.abs, -3, 3),
    "sign": (torch.sign, -3, 3),
    "negative": (torch.neg, -3, 3),
    "square": (torch.square, -3, 3),
    "relu": (torch.relu, -3, 3),
    "floor": (torch.floor, -3, 3),
    "ceil": (torch.ceil, -3, 3),
    "trunc": (torch.trunc, -3, 3),
    "fix": (torch.trunc, -3, 3),
    "rint": (torch.round, -3, 3),
    "identity": (torch.clone, -3, 3),
    "exp": (torch.exp, -3, 3),
    "expm1": (torch.expm1, -3, 3),
    "log": (torch.log, 0.01, 9),
    "log2": (torch.log2, 0.01, 9),
    "log10": (torch.log10, 0.01, 9),
    "log1p": (torch.log1p, -0.9, 9),
    "sqrt": (torch.sqrt, 0, 9),
    "rsqrt": (torch.rsqrt, 0.01, 9),
    "cbrt": (lambda x: torch.sign(x) * torch.abs(x) ** (1 / 3), -9, 9),
    "rcbrt": (lambda x: torch.sign(x) / torch.abs(x) ** (1 / 3), 0.1, 9),
    "reciprocal": (torch.reciprocal, 0.1, 9),
    "sin": (torch.sin, -9, 9),
    "cos": (torch.cos, -9, 9),
    "tan": (torch.tan, -1.5, 1.5),
    "arcsin": (torch.arcsin, -1, 1),
    "arccos": (torch.arccos, -1, 1),
    "arctan": (torch.arctan, -9, 9),
    "sinh": (torch.sinh, -3, 3),
    "cosh": (torch.cosh, -3, 3),
    "tanh": (torch.tanh, -3, 3),
    "arcsinh": (torch.arcsinh, -9, 9),
    "arccosh": (torch.arccosh, 1, 9),
    "arctanh": (torch.arctanh, -0.9, 0.9),
    "degrees": (torch.rad2deg, -9, 9),
    "radians": (torch.deg2rad, -400, 400),
    "erf": (torch.erf, -3, 3),
    "erfinv": (torch.erfinv, -0.999, 0.999),
    "gamma": (lambda x: torch.exp(torch.lgamma(x)), 0.1, 9),
    "gammaln": (torch.lgamma, 0.1, 9),
    "digamma": (torch.digamma, -2.9, 30),
    "i0": (torch.i0, -3, 3),
    "spacing": (lambda x: torch.nextafter(x, x + 1) - x, 0.1, 9),
    "sigmoid": (torch.sigmoid, -9, 9),
    "log_sigmoid": (torch.nn.functional.logsigmoid, -9, 9),
    "softsign": (torch.nn.functional.softsign, -9, 9),
    "mish": (torch.nn.functional.mish, -9, 9),
    "silu": (torch.nn.functional.silu, -9, 9),
    "hard_swish": (torch.nn.functional.hardswish, -9, 9),
    "logical_not": (torch.logical_not, -1, 1),
    "isnan": (torch.isnan, -1, 1),
    "isinf": (torch.isinf, -1, 1),
    "isposinf": (torch.isposinf, -1, 1),
    "isneginf": (torch.isneginf, -1, 1),
    "isfinite": (torch.isfinite, -1, 1),
}

TORCH_BINARY: dict[str, Any] = {
    "add": torch.add,
    "subtract": torch.subtract,
    "multiply": torch.multiply,
    "true_divide": torch.true_divide,
    "floor_divide": torch.floor_divide,
    "mod": torch.remainder,
    "fmod": torch.fmod,
    "power": torch.pow,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "fmax": torch.fmax,
    "fmin": torch.fmin,
    "arctan2": torch.arctan2,
    "hypot": torch.hypot,
    "logaddexp": torch.logaddexp,
    "heaviside": torch.heaviside,
    "copysign": torch.copysign,
    "ldexp": torch.ldexp,
    "equal": torch.eq,
    "not_equal": torch.ne,
    "less": torch.lt,
    "less_equal": torch.le,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
}
BITS = {"bitwise_and": torch.bitwise_and, "bitwise_or": torch.bitwise_or, "bitwise_xor": torch.bitwise_xor}
# Of integers only, bools neither.
WHOLE = {
    "bitwise_left_shift": torch.bitwise_left_shift,
    "bitwise_right_shift": torch.bitwise_right_shift,
    "gcd": torch.gcd,
    "lcm": torch.lcm,
    "truncate_divide": lambda a, b: torch.where(b == 0, 0, torch.div(a, b + (b == 0), rounding_mode="trunc")).int(),
}


def test_every_operator_has_a_peer_here() -> None:
    assert set(TORCH_UNARY) | {"round", "bitwise_not"} == set(UNARY) | {"round"}
    assert set(TORCH_BINARY) | set(BITS) | set(WHOLE) == set(BINARY)


@pytest.mark.parametrize("name", sorted(TORCH_UNARY))
def test_unary_operators_agree_with_torch(name: str) -> None:
    function, low, high = TORCH_UNARY[name]
    x = np.random.default_rng(1).uniform(low, high, (3, 7)).astype(np.float32)
    assert_close(reference(name, x), function(torch.from_numpy(x)).numpy(), 2e-6)


def test_predicates_see_infinities_and_nan() -> None:
    x = np.array([0, 1, np.inf, -np.inf, np.nan], np.float32)
    assert reference("isnan", x).tolist() == [False] * 4 + [True]
    assert reference("isinf", x).tolist() == [False, False, True, True, False]
    assert reference("isposinf", x).tolist() == [False, False, True, False, False]
    assert reference("isneginf", x).tolist() == [False, False, False, True, False]
    assert reference("isfinite", x).tolist() == [True, True, False, False, False]


def test_rint_rounds_halves_to_even_and_round_away_from_zero() -> None:
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], np.float32)
    assert reference("rint", x).tolist() == [-2, -2, 0, 0, 2, 2]
    assert reference("round", x).tolist() == [-3, -2, -1, 1, 2, 3]


def test_special_functions_at_the_edges() -> None:
    x = np.array([-np.inf, -200, 0, 200, np.inf], np.float32)
    assert reference("sigmoid", x).tolist() == [0, 0, 0.5, 1, 1]
    assert_close(reference("log_sigmoid", np.array([-200.0, 200.0], np.float32)), [-200, 0])
    edges = reference("erfinv", np.array([-1, 1, 2], np.float32))
    assert edges[0] == -np.inf
    assert edges[1] == np.inf
    assert np.isnan(edges[2])
    assert np.isnan(reference("gamma", np.array([-1.0], np.float32))[0])
    assert reference("gamma", np.array([200.0]))[0] == np.inf
    assert reference("gammaln", np.array([0.0]))[0] == np.inf


@given(st.floats(-1, 1, exclude_min=True, exclude_max=True))
def test_erfinv_is_the_inverse_of_erf(x: float) -> None:
    y = reference("erfinv", np.array([x]))
    np.testing.assert_allclose(reference("erf", y)[0], x, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("name", sorted(TORCH_BINARY))
def test_binary_operators_agree_with_torch_and_broadcast(name: str) -> None:
    a = np.random.default_rng(1).uniform(0.5, 4, (3, 1, 5)).astype(np.float32)
    b = np.random.default_rng(2).uniform(-4, 4, (4, 1)).astype(np.float32)
    expected = TORCH_BINARY[name](torch.from_numpy(a), torch.from_numpy(b)).numpy()
    assert_close(reference(name, a, b), expected, 1e-6)


@pytest.mark.parametrize("name", sorted(BITS))
def test_bit_operators_agree_with_torch(name: str) -> None:
    a, b = np.arange(-8, 8, dtype=np.int32), np.arange(16, dtype=np.int32)[::-1].copy()
    expected = BITS[name](torch.from_numpy(a), torch.from_numpy(b)).numpy()
    assert reference(name, a, b).tolist() == expected.tolist()
    assert reference("bitwise_not", a).tolist() == torch.bitwise_not(torch.from_numpy(a)).tolist()


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_operators_of_integers_agree_with_torch(name: str) -> None:
    a, b = np.arange(-8, 8, dtype=np.int32), np.arange(16, dtype=np.int32)[::-1].copy()
    expected = WHOLE[name](torch.from_numpy(a), torch.from_numpy(b)).numpy()
    assert reference(name, a, b).tolist() == expected.tolist()
    three = reference(name, a, np.full(16, 3, np.int32)).tolist()
    assert reference(f"{name}_scalar", a, scalar=3).tolist() == three
    for dtype in ("bool", "float32"):
        with pytest.raises(TypeMismatchError, match="must be integers"):
            infer(name, tensor(2, dtype=dtype), tensor(2, dtype=dtype))


def test_quotients_lose_their_fractions_also_at_the_ends_of_a_dtype() -> None:
    a = np.array([-128, -128, 127, -127, 7], np.int8)
    assert reference("truncate_divide", a, np.array([2, -1, -2, 2, -2], np.int8)).tolist() == [-64, -128, -63, -63, -3]
    assert reference("truncate_divide", np.array([255], np.uint8), np.array([2], np.uint8)).tolist() == [127]


@given(mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4))
def test_shapes_broadcast_as_numpys_do(shapes: Any) -> None:
    a, b = (np.ones(shape, np.float32) for shape in shapes.input_shapes)
    assert reference("add", a, b).shape == shapes.result_shape


def test_shapes_that_do_not_broadcast_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"add: shapes \(2, 3\) and \(2, 4\) do not broadcast"):
        infer("add", tensor(2, 3), tensor(2, 4))


@pytest.mark.parametrize(
    ("left", "right", "wanted"),
    [
        ("float32", "float32", "float32"),
        ("float32", "float64", "float64"),
        ("float16", "float32", "float32"),
        ("int64", "float32", "float32"),
        ("bool", "float16", "float16"),
        ("uint8", "int8", "int16"),
        ("int32", "int64", "int64"),
        ("bool", "uint8", "uint8"),
    ],
)
def test_dtypes_promote(left: str, right: str, wanted: str) -> None:
    assert infer("add", tensor(2, dtype=left), tensor(2, dtype=right)).dtype == wanted
    assert infer("maximum", tensor(2, dtype=right), tensor(2, dtype=left)).dtype == wanted


def test_division_and_functions_of_integers_give_float32() -> None:
    assert infer("true_divide", tensor(2, dtype="int64"), tensor(2, dtype="int32")).dtype == "float32"
    assert infer("exp", tensor(2, dtype="int64")).dtype == "float32"
    assert infer("true_divide_scalar", tensor(2, dtype="uint8"), scalar=2).dtype == "float32"
    assert_close(reference("exp", np.arange(4)), np.exp(np.arange(4)))


@pytest.mark.parametrize("name", COMPARE)
def test_comparisons_are_bools(name: str) -> None:
    assert infer(name, tensor(2), tensor(2, dtype="int8")).dtype == "bool"
    assert infer(f"{name}_scalar", tensor(2, dtype="int8"), scalar=0.5).dtype == "bool"


@pytest.mark.parametrize("name", sorted(set(BINARY) - set(BITS) - set(WHOLE)))
@settings(max_examples=5, deadline=None)
@given(scalar=st.floats(-4, 4, width=32).filter(lambda s: abs(s) > 0.1))
def test_the_scalar_form_is_the_binary_form_with_an_array_of_one(name: str, scalar: float) -> None:
    x = np.random.default_rng(3).uniform(0.5, 4, (3, 5)).astype(np.float32)
    one = np.array([scalar], np.float32)
    assert_close(reference(f"{name}_scalar", x, scalar=scalar, is_int=False), reference(name, x, one))


@pytest.mark.parametrize("name", ["subtract", "true_divide", "floor_divide", "mod", "fmod", "power", "arctan2"])
def test_the_reversed_scalar_form_has_the_scalar_on_the_left(name: str) -> None:
    x = np.random.default_rng(3).uniform(0.5, 4, (3, 5)).astype(np.float32)
    two = np.array([2], np.float32)
    assert_close(reference(f"r{name}_scalar", x, scalar=2), reference(name, two, x))


@pytest.mark.parametrize(
    ("dtype", "scalar", "is_int", "wanted"),
    [
        ("float32", 2, True, "float32"),
        ("float16", 2.5, False, "float16"),
        ("int8", 2, True, "int8"),
        ("int8", 2.5, False, "float32"),
        ("int8", 2.0, False, "float32"),
        ("bool", 2, True, "int64"),
        ("bool", 0.5, False, "float32"),
        ("float64", 0.5, False, "float64"),
    ],
)
def test_scalars_are_weak(dtype: str, scalar: float, is_int: bool, wanted: str) -> None:
    assert infer("multiply_scalar", tensor(2, dtype=dtype), scalar=scalar, is_int=is_int).dtype == wanted


def test_a_scalar_that_does_not_fit_the_dtype_is_refused() -> None:
    with pytest.raises(OpError, match="the scalar 300 does not fit into uint8"):
        infer("add_scalar", tensor(2, dtype="uint8"), scalar=300)
    assert reference("less_scalar", np.array([255], np.uint8), scalar=300).tolist() == [True]


def test_integer_powers_stay_integers_and_negative_ones_are_refused() -> None:
    assert reference("power_scalar", np.array([2, 3]), scalar=3).tolist() == [8, 27]
    with pytest.raises(OpError, match="negative power -1"):
        infer("power_scalar", tensor(2, dtype="int32"), scalar=-1)


def test_division_by_zero_gives_infinities_without_a_warning() -> None:
    x = np.array([-1, 0, 1], np.float32)
    assert np.array_equal(reference("true_divide_scalar", x, scalar=0), [-np.inf, np.nan, np.inf], equal_nan=True)
    assert reference("floor_divide", np.array([1]), np.array([0])).tolist() == [0]


@pytest.mark.parametrize("name", ["bitwise_and", "bitwise_xor"])
def test_bits_of_floats_are_refused(name: str) -> None:
    with pytest.raises(TypeMismatchError, match=f"{name}: inputs must be integers or bools, got float32"):
        infer(name, tensor(2), tensor(2, dtype="int32"))
    with pytest.raises(TypeMismatchError, match=r"bitwise_not: .* got float32"):
        infer("bitwise_not", tensor(2))


@pytest.mark.parametrize("name", ["negative", "sign", "square"])
def test_bools_are_not_numbers_everywhere(name: str) -> None:
    with pytest.raises(TypeMismatchError, match=f"{name}: input must be a number"):
        infer(name, tensor(2, dtype="bool"))
    with pytest.raises(TypeMismatchError, match="bools cannot be subtracted"):
        infer("subtract", tensor(2, dtype="bool"), tensor(2, dtype="bool"))


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(TypeMismatchError, match="must be bool, integer or float, got complex64"):
        infer("exp", tensor(2, dtype="complex64"))
    with pytest.raises(TypeMismatchError, match="got complex64"):
        infer("add", tensor(2), tensor(2, dtype="complex64"))


def test_float16_is_rounded_once() -> None:
    x = normal(64, dtype="float16")
    exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert np.array_equal(reference("sigmoid", x), exact.astype(np.float16))


def test_elementwise_operators_take_empty_arrays() -> None:
    assert reference("add", np.ones((0, 3), np.float32), np.ones(3, np.float32)).shape == (0, 3)
