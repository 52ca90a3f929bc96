"""Every operation of the tail against float64: special values, and numbers of all sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from microkernels import Array, Machine, Watched, address, ulps, words

from minidnn_kernels.elementwise import ElementwiseSpec
from minidnn_kernels.epilogue import OPS, Epilogue, Instruction, number_word

_TINY = float(np.finfo(np.float32).tiny)
_MAX = float(np.finfo(np.float32).max)

SPECIAL = np.array(
    [
        *(0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-39, -1e-39, _TINY, -_TINY, _MAX, -_MAX, 1e38, -1e38),
        *(88.72, 88.73, 88.722839, -87.3, -87.34, -103.0, 0.5, -0.5, 1.5, 2.5, -2.5, 8388609.0, 0.625, 0.35, 1.0, -1.0),
    ],
    np.float32,
)


def _numbers(count: int, seed: int) -> Array:
    """Numbers of ordinary size, and some of every size there is."""
    rng = np.random.default_rng(seed)
    ordinary = rng.standard_normal(count) * 8
    sizes = rng.standard_normal(count // 4) * 10.0 ** rng.integers(-38, 38, count // 4)
    return np.concatenate([SPECIAL, ordinary, np.linspace(-100, 100, count), sizes]).astype(np.float32)


def _pairs() -> tuple[Array, Array]:
    """All pairs of special values, and random ones."""
    a, b = (grid.reshape(-1) for grid in np.meshgrid(SPECIAL, SPECIAL))
    return np.concatenate([a, _numbers(2000, 1)]), np.concatenate([b, _numbers(2000, 2)])


def _erf(x: Array) -> Array:
    return np.asarray(torch.erf(torch.from_numpy(x)))


def _erfc(x: Array) -> Array:
    return np.asarray(torch.erfc(torch.from_numpy(x)))


def _softplus(x: Array) -> Array:
    return np.logaddexp(0, x)


@dataclass(frozen=True)
class Case:
    """An operation's float64 reference and the larger of two errors it may have.

    Args:
        ulp: units in the last place.
        absolute: where the result is small against its parts, or is a product with a subnormal number.
        numbers: the operation's constants.
    """

    reference: Callable[..., Any]
    ulp: float = 0.5
    absolute: float = 0.0
    numbers: tuple[float, ...] = field(default=())


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

CASES: dict[str, Case] = {
    "relu": Case(lambda x: np.where(x < 0, 0, x)),
    "clip": Case(lambda x, low, high: np.clip(x, low, high), numbers=(-1.5, 6.0)),
    "saturate": Case(lambda x, low, high: np.clip(x, low, high), numbers=(-1.5, 6.0)),
    "at_most": Case(np.minimum, numbers=(6.0,)),
    "leaky_relu": Case(lambda x, slope: np.where(x < 0, x * np.float32(slope), x), numbers=(0.1,)),
    "elu": Case(lambda x, alpha: np.where(x < 0, alpha * np.expm1(x), x), 2, 0, (0.7,)),
    "selu": Case(lambda x: _SELU_SCALE * np.where(x < 0, _SELU_ALPHA * np.expm1(x), x), 2.5),
    "gelu": Case(lambda x: x * _erfc(-x / math.sqrt(2)) / 2, 10, 2e-44),
    "gelu_tanh": Case(lambda x: x / (1 + np.exp(-math.sqrt(8 / math.pi) * (x + 0.044715 * x**3))), 300, 1e-43),
    "silu": Case(lambda x: x / (1 + np.exp(-x)), 4, 1e-43),
    "mish": Case(lambda x: x * np.tanh(_softplus(x)), 4, 1e-43),
    "sigmoid": Case(lambda x: 1 / (1 + np.exp(-x)), 3),
    "log_sigmoid": Case(lambda x: -_softplus(-x), 2.5),
    "tanh": Case(np.tanh, 2),
    "softrelu": Case(_softplus, 2.5),
    "softsign": Case(lambda x: x / (1 + np.abs(x)), 2),
    "hard_sigmoid": Case(lambda x, a, b: np.clip(a * x + b, 0, 1), 2, 1.2e-7, (0.25, 0.5)),
    "hard_swish": Case(lambda x: x * np.clip(x + 3, 0, 6) / 6, 2, 1e-6),
    "erf": Case(_erf, 3),
    "exp": Case(np.exp, 1.5),
    "expm1": Case(np.expm1, 8),
    "log1p": Case(np.log1p, 3),
    "round": Case(lambda x: np.copysign(np.floor(np.abs(x) + 0.5), x)),
    "log": Case(np.log, 1),
    "sqrt": Case(np.sqrt),
    "rsqrt": Case(lambda x: 1 / np.sqrt(x), 2),
    "square": Case(np.square),
    "absolute": Case(np.abs),
    "negative": Case(np.negative),
    "reciprocal": Case(lambda x: 1 / x),
    "sign": Case(np.sign),
    "floor": Case(np.floor),
    "ceil": Case(np.ceil),
    "trunc": Case(np.trunc),
    "rint": Case(np.rint),
    "add": Case(np.add),
    "subtract": Case(np.subtract),
    "multiply": Case(np.multiply),
    "divide": Case(np.divide),
    "maximum": Case(np.maximum),
    "minimum": Case(np.minimum),
    "prelu": Case(lambda x, slope: np.where(x < 0, x * slope, x)),
    "add_scalar": Case(np.add, numbers=(2.5,)),
    "subtract_scalar": Case(np.subtract, numbers=(2.5,)),
    "multiply_scalar": Case(np.multiply, numbers=(-2.5,)),
    "divide_scalar": Case(np.divide, numbers=(2.5,)),
    "maximum_scalar": Case(np.maximum, numbers=(0.25,)),
    "minimum_scalar": Case(np.minimum, numbers=(0.25,)),
    "rsubtract_scalar": Case(lambda x, number: number - x, numbers=(2.5,)),
    "rdivide_scalar": Case(lambda x, number: number / x, numbers=(2.5,)),
}


def apply(machine: Machine, epilogue: Epilogue, *operands: Array, numbers: Sequence[float] = ()) -> Array:
    """The epilogue by the elementwise microkernel, on operands of one length and with these numbers."""
    target = Watched(operands[0].shape)
    context = words(target.address, *(address(x) for x in operands))
    machine.call(ElementwiseSpec(epilogue), context, operands[0].size, words(*map(number_word, numbers)))
    target.assert_untouched_around()
    return target.array


def operation(name: str) -> Epilogue:
    """One operation on as many operands as it takes."""
    arity = OPS[name][0]
    loads = tuple(Instruction("load", operand=i) for i in range(1, arity))
    return Epilogue((*loads, Instruction(name, tuple(range(arity)))), ("tensor",) * arity)


def test_every_operation_has_a_case() -> None:
    assert CASES.keys() | {"affine"} == OPS.keys()


@pytest.mark.parametrize("name", CASES)
def test_operation_is_that_of_float64(machine: Machine, name: str) -> None:
    case = CASES[name]
    operands = (_numbers(20_000, 0),) if OPS[name][0] == 1 else _pairs()
    actual = apply(machine, operation(name), *operands, numbers=case.numbers)
    with np.errstate(all="ignore"):
        expected = np.asarray(case.reference(*(x.astype(np.float64) for x in operands), *case.numbers))
        error = np.where(np.abs(actual - expected) <= case.absolute, 0, ulps(actual, expected))
    worst = int(error.argmax())
    assert error[worst] <= case.ulp, (
        f"{name}({', '.join(str(x[worst]) for x in operands)}) is {expected[worst]}, got {actual[worst]}, "
        f"{error[worst]:.1f} ulp off"
    )


def test_affine_rounds_once_or_twice(machine: Machine) -> None:
    x, scale = _pairs()
    shift = np.roll(scale, 7)
    actual = apply(machine, operation("affine"), x, scale, shift)
    with np.errstate(all="ignore"):
        exact = x.astype(np.float64) * scale + shift
        twice = x * scale + shift
        near = ulps(actual, exact) <= 0.5
    assert (near | (actual == twice) | (np.isnan(actual) & np.isnan(twice))).all()


@pytest.mark.parametrize("name", ["relu", "clip", "leaky_relu", "tanh", "erf", "gelu", "negative", "maximum_scalar"])
def test_nan_comes_through(machine: Machine, name: str) -> None:
    x = np.full(9, np.nan, np.float32)
    assert np.isnan(apply(machine, operation(name), x, numbers=CASES[name].numbers)).all()


_ODD = ("relu", "tanh", "erf", "rint", "floor", "trunc", "sqrt", "softsign", "expm1", "log1p")


@pytest.mark.parametrize("name", _ODD)
def test_sign_of_zero_is_kept(machine: Machine, name: str) -> None:
    x = np.array([-0.0, 0.0], np.float32)
    np.testing.assert_array_equal(np.signbit(apply(machine, operation(name), x)), [True, False])


@pytest.mark.parametrize(
    "name",
    ["exp", "log", "tanh", "erf", "sigmoid", "softrelu", "gelu", "gelu_tanh", "elu", "mish", "rsqrt", "expm1", "log1p"],
)
def test_operation_is_that_of_float64_over_the_whole_range(machine: Machine, name: str) -> None:
    case = CASES[name]
    patterns = np.arange(0, 1 << 32, 16381, dtype=np.uint64).astype(np.uint32)
    x = np.concatenate([patterns.view(np.float32), np.linspace(-110, 110, 100_001, dtype=np.float32)])
    # Signalling NaNs are no numbers that arithmetic makes.
    x = x[~np.isnan(x)]
    assert (np.abs(x[x != 0]) < _TINY).sum() > 1000
    actual = apply(machine, operation(name), x, numbers=case.numbers)
    with np.errstate(all="ignore"):
        expected = np.asarray(case.reference(x.astype(np.float64), *case.numbers))
        error = np.where(np.abs(actual - expected) <= case.absolute, 0, ulps(actual, expected))
    worst = int(error.argmax())
    assert error[worst] <= case.ulp, f"{name}({x[worst]}) is {expected[worst]}, got {actual[worst]}"


def test_values_may_be_used_more_than_once_and_late(machine: Machine) -> None:
    x, y = _numbers(100, 3)[len(SPECIAL) :], _numbers(100, 4)[len(SPECIAL) :]
    program = (
        Instruction("load", operand=1),  # value 1: y
        Instruction("multiply", (0, 1)),  # value 2: x y
        Instruction("add", (2, 0)),  # value 3: x y + x
        Instruction("maximum", (3, 2)),
        Instruction("subtract", (4, 1)),
    )
    actual = apply(machine, Epilogue(program, ("tensor", "tensor")), x, y)
    with np.errstate(over="ignore"):
        expected = np.maximum(x * y + x, x * y) - y
    np.testing.assert_array_equal(actual, expected)


def test_empty_epilogue_copies(machine: Machine) -> None:
    x = _numbers(50, 5)
    np.testing.assert_array_equal(apply(machine, Epilogue((), ("tensor",)), x), x)


def test_name_tells_the_operations() -> None:
    program = (Instruction("load", operand=0), Instruction("add", (0, 1)), Instruction("relu", (2,)))
    assert Epilogue(program, ("tensor",)).name == "add_relu"
    assert Epilogue().name == "plain"


@pytest.mark.parametrize(
    ("instructions", "operands", "message"),
    [
        ((Instruction("explode", (0,)),), (), "explode"),
        ((), ("matrix",), "matrix"),
        ((Instruction("relu", (1,)),), (), "not made yet"),
        ((Instruction("relu", (-1,)),), (), "not made yet"),
        ((Instruction("relu", (0, 0)),), (), "relu takes 1"),
        ((Instruction("load", operand=1),), ("tensor",), "operand 1"),
    ],
)
def test_malformed_programs_are_refused(
    instructions: tuple[Instruction, ...], operands: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Epilogue(instructions, operands)


def test_the_sign_of_a_zero_is_plus_zero(machine: Machine) -> None:
    assert not np.signbit(apply(machine, operation("sign"), np.array([-0.0, 0.0], np.float32))).any()
