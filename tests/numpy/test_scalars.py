"""Python's and NumPy's numbers beside float32 arrays: what NumPy gives, also for the numbers that are special."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidnn as mx
from minidnn.runtime.library import library

_X = np.array([0.0, -0.0, 1.5, -2.5, np.inf, -np.inf, np.nan, 1e-45, -1e-39, 3.4e38, 7, 0.3, -9], np.float32)

_NUMBERS = (0.0, -0.0, 1, 0.1, -3, np.inf, -np.inf, np.nan, 1e-45, -1e-39, 1e39, -1e300, True, False)
_LARGE_INTEGERS = (2**53 + 1, 2**60 + 7, -(10**20), 10**30, 10**45)
_NUMPY_NUMBERS = (np.float64(0.1), np.float64(1e39), np.float32(0.3), np.float16(0.1), np.int64(7), np.bool_(True))

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "x + n": operator.add,
    "x - n": operator.sub,
    "n - x": lambda x, n: n - x,
    "x * n": operator.mul,
    "x / n": operator.truediv,
    "n / x": lambda x, n: n / x,
}
_BOUNDS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "maximum": lambda module, x, n: module.maximum(x, n),
    "minimum": lambda module, x, n: module.minimum(x, n),
    "clip from below": lambda module, x, n: module.clip(x, n, None),
    "clip from above": lambda module, x, n: module.clip(x, None, n),
}


def _assert_same(actual: mx.np.ndarray, expected: np.ndarray, signed_zeros: bool) -> None:
    assert actual.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(actual.asnumpy(), expected)
    if signed_zeros:
        numbers = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(actual.asnumpy())[numbers], np.signbit(expected)[numbers])


@pytest.mark.parametrize("number", [*_NUMBERS, *_LARGE_INTEGERS, *_NUMPY_NUMBERS], ids=repr)
@pytest.mark.parametrize("name", _OPERATORS)
def test_arithmetic_with_a_number_is_numpys(name: str, number: Any) -> None:
    weak = number.item() if isinstance(number, np.generic) else number
    with np.errstate(all="ignore"):
        expected = _OPERATORS[name](_X, weak)
    _assert_same(_OPERATORS[name](mx.np.array(_X), number), expected, signed_zeros=True)


@pytest.mark.parametrize("number", [*_NUMBERS, *_LARGE_INTEGERS, *_NUMPY_NUMBERS], ids=repr)
@pytest.mark.parametrize("name", _BOUNDS)
def test_bounds_are_numpys(name: str, number: Any) -> None:
    """Of two zeros of different sign either may come out, as from NumPy."""
    if "clip" in name and number != number:
        with pytest.raises(mx.errors.OpError, match="must be numbers"):
            _BOUNDS[name](mx.np, mx.np.array(_X), number)
        return
    weak = number.item() if isinstance(number, np.generic) else number
    with np.errstate(all="ignore"):
        expected = _BOUNDS[name](np, _X, np.float32(weak))
    _assert_same(_BOUNDS[name](mx.np, mx.np.array(_X), number), expected, signed_zeros=False)


def test_an_integer_that_no_float_can_hold_is_refused() -> None:
    with pytest.raises(OverflowError, match="too large"):
        mx.np.ones(3) * 10**400


def test_numbers_of_one_program_stay_apart() -> None:
    """Numbers that are equal as dictionary keys, but not in what they compute."""
    x = mx.np.array([1.0, -2.0])
    np.testing.assert_array_equal((x / 0.0).asnumpy(), [np.inf, -np.inf])
    np.testing.assert_array_equal((x / -0.0).asnumpy(), [-np.inf, np.inf])
    np.testing.assert_array_equal((x * 1.0).asnumpy(), (x * True).asnumpy())


def test_a_new_number_compiles_nothing() -> None:
    x = mx.np.array(np.linspace(-2, 2, 9, dtype=np.float32))
    calls: dict[str, Callable[[float], Any]] = {
        "multiply": lambda n: x * n,
        "reflected divide": lambda n: n / x,
        "maximum": lambda n: mx.np.maximum(x, n),
        "clip": lambda n: mx.np.clip(x, -n, n),
        "leaky": lambda n: mx.npx.leaky_relu(x, slope=n),
        "elu": lambda n: mx.npx.leaky_relu(x, act_type="elu", slope=n),
        "softmax": lambda n: mx.npx.softmax(x, temperature=n),
    }
    for call in calls.values():
        call(0.5)
    before = library().compiled
    for name, call in calls.items():
        for i in range(20):
            call(0.03 * i + 0.01)
        assert library().compiled == before, name


_INTEGERS = np.array([0, 1, -1, 100], np.int32)
_UNLIKE_ANY_INTEGER = (2**64, 10**30, -(2**63) - 1)


@pytest.mark.parametrize("number", _UNLIKE_ANY_INTEGER, ids=repr)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.bool_])
@pytest.mark.parametrize("name", ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"])
def test_integers_compare_with_numbers_beyond_every_integer_dtype(name: str, dtype: type, number: int) -> None:
    x = np.array([0, 1, 1], dtype)
    numbers = x.astype(np.int64)
    for actual, expected in (
        (getattr(mx.np, name)(mx.np.array(x), number), getattr(np, name)(numbers, number)),
        (getattr(mx.np, name)(number, mx.np.array(x)), getattr(np, name)(number, numbers)),
    ):
        np.testing.assert_array_equal(actual.asnumpy(), expected)


@pytest.mark.parametrize("number", _UNLIKE_ANY_INTEGER, ids=repr)
@pytest.mark.parametrize("name", ["true_divide", "arctan2", "hypot", "copysign"])
def test_functions_that_give_floats_take_numbers_beyond_every_integer_dtype(name: str, number: int) -> None:
    expected = getattr(np, name)(_INTEGERS, float(number)).astype(np.float32)
    np.testing.assert_allclose(getattr(mx.np, name)(mx.np.array(_INTEGERS), number).asnumpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor"])
def test_logic_takes_large_integers(name: str) -> None:
    for x in (_X, _INTEGERS, _X.astype(np.float64)):
        actual = getattr(mx.np, name)(mx.np.array(x, dtype=x.dtype), 2**63 - 1)
        np.testing.assert_array_equal(actual.asnumpy(), getattr(np, name)(x, True))


def test_arithmetic_beyond_every_integer_dtype_is_refused() -> None:
    with pytest.raises(mx.errors.OpError, match="does not fit into int32"):
        mx.np.array(_INTEGERS) + 2**64


@pytest.mark.parametrize("number", [True, False, np.bool_(True)], ids=repr)
@pytest.mark.parametrize(
    "name",
    [
        "add",
        "multiply",
        "maximum",
        "minimum",
        "fmax",
        "fmin",
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
        "true_divide",
    ],
)
def test_a_bool_beside_bools_is_a_bool(name: str, number: Any) -> None:
    x = np.array([True, False])
    with np.errstate(all="ignore"):
        pairs = (
            (getattr(mx.np, name)(mx.np.array(x), number), getattr(np, name)(x, number)),
            (getattr(mx.np, name)(number, mx.np.array(x)), getattr(np, name)(number, x)),
        )
    for actual, expected in pairs:
        assert actual.dtype == (np.float32 if name == "true_divide" else np.bool_)
        np.testing.assert_array_equal(actual.asnumpy(), expected.astype(actual.dtype))


def test_bools_cannot_be_subtracted() -> None:
    with pytest.raises(mx.errors.OpError, match="bools cannot be subtracted"):
        mx.np.array(np.array([True, False])) - True


def test_a_traced_mask_and_a_bool_are_bools() -> None:
    class Mask(mx.gluon.HybridBlock):
        def forward(self, x: Any) -> Any:
            return (x > 0) & True, (x > 0) * False

    net, x = Mask(), mx.np.array([1.0, -1.0])
    net.hybridize()
    for actual, expected in zip(net(x), ([True, False], [False, False]), strict=True):
        assert actual.dtype == np.bool_
        np.testing.assert_array_equal(actual.asnumpy(), expected)
