"""Operations on other types than float32, and functions through float64: all of a narrow type, and large numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from microkernels import Array, Machine, Watched, address, ulps, words

from minidnn_kernels.element_type import ELEMENT_TYPES, FLOAT32, element_type_of
from minidnn_kernels.elementwise import ElementwiseSpec
from minidnn_kernels.epilogue import Epilogue, Instruction, number_word, operand_kind, tensor_kind
from minidnn_kernels.typed_ops import TYPED_OPS


def apply(machine: Machine, op: str, *operands: Array, made: Any = None) -> Array:
    """The operation in the type of its operands; a cast gives elements of dtype `made`."""
    types = [element_type_of(x.dtype) for x in operands]
    kinds = tuple(tensor_kind(type) for type in types if type is not None)
    loads = tuple(Instruction("load", operand=i, type=t.name) for i, t in enumerate(types) if t is not None)
    result = operands[0].dtype if made is None else np.dtype(made)
    computed = element_type_of(result) if op == "cast" else types[0]
    assert computed is not None
    values = tuple(range(1, len(operands) + 1))
    instruction = Instruction(op, values, type=computed.name)
    epilogue = Epilogue((*loads, instruction), kinds, instruction.made.name)
    target = Watched(operands[0].shape, instruction.made.dtype)
    context = words(target.address, *map(address, operands))
    machine.call(ElementwiseSpec(epilogue), context, operands[0].size, 0)
    target.assert_untouched_around()
    return target.array


def pairs(dtype: str) -> tuple[Array, Array]:
    """All pairs of an 8-bit type; the ends of others, and what is near them, 0 and each other."""
    info = np.iinfo(dtype)
    if info.bits == 8:
        some = np.arange(info.min, info.max + 1).astype(dtype)
    else:
        ends = [info.min, info.max, 0, info.max // 2, info.max // 3]
        near = [end + step for end in ends for step in (-2, -1, 0, 1, 2) if info.min <= end + step <= info.max]
        some = np.array([*near, 7, -7 if info.min else 9, 1 << 20 if info.bits > 16 else 1 << 10], dtype)
    a, b = (grid.reshape(-1) for grid in np.meshgrid(some, some))
    return np.ascontiguousarray(a), np.ascontiguousarray(b)


_INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
_DIVISIONS = {"floor_divide": np.floor_divide, "mod": np.mod, "fmod": np.fmod, "gcd": np.gcd, "lcm": np.lcm}


@pytest.mark.parametrize("dtype", _INTEGERS)
@pytest.mark.parametrize("op", _DIVISIONS)
def test_division_of_integers(machine: Machine, op: str, dtype: str) -> None:
    a, b = pairs(dtype)
    with np.errstate(all="ignore"):
        expected = _DIVISIONS[op](a, b)
    np.testing.assert_array_equal(apply(machine, op, a, b), expected)


@pytest.mark.parametrize("dtype", _INTEGERS)
@pytest.mark.parametrize("op", ["left_shift", "right_shift"])
def test_shifts_by_any_count(machine: Machine, op: str, dtype: str) -> None:
    a, b = pairs(dtype)
    np.testing.assert_array_equal(apply(machine, op, a, b), getattr(np, op)(a, b))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
def test_powers_of_integers(machine: Machine, dtype: str) -> None:
    a, b = pairs(dtype)
    np.testing.assert_array_equal(apply(machine, "power", a, b), np.power(a, b))


def test_every_float16_is_converted_and_rounded_to(machine: Machine) -> None:
    bits = np.arange(1 << 16).astype(np.uint16)
    halves = bits.view(np.float16)
    np.testing.assert_array_equal(apply(machine, "cast", halves, made=np.float32), halves.astype(np.float32))
    numbers = np.sort(halves[np.isfinite(halves)]).astype(np.float64)
    # Half-way between neighbours, and just beside that.
    middles = (numbers[1:] + numbers[:-1]) / 2
    near = [np.nextafter(middles, side) for side in (-np.inf, np.inf)]
    wide = np.concatenate([numbers, middles, *near, [65519.99, 65520.0, 1e30, np.inf, -np.inf, np.nan, 1e-12]])
    for given in (wide, wide.astype(np.float32)):
        with np.errstate(over="ignore"):
            expected = given.astype(np.float16)
        np.testing.assert_array_equal(apply(machine, "cast", given, made=np.float16), expected)


@pytest.mark.parametrize("source", ELEMENT_TYPES)
@pytest.mark.parametrize("target", ["bool", "s8", "u32", "f16"])
def test_casts(machine: Machine, source: str, target: str) -> None:
    from_, to = ELEMENT_TYPES[source].dtype, ELEMENT_TYPES[target].dtype
    if from_.kind in "fV":
        numbers = np.array([0.0, -0.0, 0.3, 1.5, 2.5, 100.7, 127, *([-1.5, -100.7, -128] if to.kind != "u" else [])])
    elif from_.kind == "b":
        numbers = np.array([0, 1, 1])
    else:
        info = np.iinfo(from_)
        numbers = np.array([0, 1, info.min, info.max, info.max - 1, info.max // 3], from_)
    if from_.kind == "V":
        # Bfloat16: the upper halves of float32 numbers.
        words = np.tile(numbers, 3).astype(np.float32).view(np.uint32) >> 16
        given, plain = words.astype(np.uint16).view(from_), (words << 16).view(np.float32)
    else:
        given = plain = np.tile(numbers.astype(from_), 3)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(apply(machine, "cast", given, made=to), plain.astype(to))


_SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, -0.5, 1e-45, -1e-39, 3e38, -3e38, 8388609.0, 1e20]


def _numbers() -> Array:
    rng = np.random.default_rng(0)
    ordinary = [rng.standard_normal(400) * 4, np.linspace(-1, 1, 201), 1 + rng.standard_normal(100) * 1e-3]
    sizes = rng.standard_normal(400) * 10.0 ** rng.integers(-38, 38, 400)
    return np.concatenate([_SPECIAL, *ordinary, sizes]).astype(np.float32)


_NUMPYS = (
    *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "arcsinh", "arccosh", "arctanh"),
    *("log2", "log10", "cbrt"),
)


@pytest.mark.parametrize("op", _NUMPYS)
def test_functions_through_float64_are_the_nearest_float32(machine: Machine, op: str) -> None:
    x = _numbers()
    with np.errstate(all="ignore"):
        expected = getattr(np, op)(x.astype(np.float64))
    assert ulps(apply(machine, op, x), expected).max() <= 0.51


@pytest.mark.parametrize("op", ["power", "arctan2", "hypot", "logaddexp"])
def test_functions_of_two_numbers(machine: Machine, op: str) -> None:
    some = _numbers()
    x = np.concatenate([np.repeat(_SPECIAL, len(_SPECIAL)), some, some]).astype(np.float32)
    y = np.concatenate([np.tile(_SPECIAL, len(_SPECIAL)), some[::-1], np.rint(some)]).astype(np.float32)
    with np.errstate(all="ignore"):
        expected = getattr(np, op)(x.astype(np.float64), y.astype(np.float64))
    assert ulps(apply(machine, op, x, y), expected).max() <= 0.51


@pytest.mark.parametrize(("op", "reference"), [("gamma", math.gamma), ("gammaln", math.lgamma)])
def test_gamma(machine: Machine, op: str, reference: Any) -> None:
    x = np.concatenate([np.linspace(-33, 34, 801) + 0.01, np.linspace(0.9, 2.1, 201)]).astype(np.float32)
    expected = np.array([reference(float(v)) for v in x])
    # Near its roots the logarithm is the difference of what is not small.
    assert ulps(apply(machine, op, x), expected).max() <= 1 or op == "gammaln"
    np.testing.assert_allclose(apply(machine, op, x), expected, 2e-7, 1e-12)


def test_float_remainders_are_exact(machine: Machine) -> None:
    rng = np.random.default_rng(0)
    sizes = [(rng.standard_normal(3000) * 10.0 ** rng.integers(-44, 38, 3000)).astype(np.float32) for _ in range(2)]
    pairs_ = np.meshgrid(np.float32(_SPECIAL), np.float32(_SPECIAL))
    a, b = (np.concatenate([x, grid.reshape(-1)]) for x, grid in zip(sizes, pairs_, strict=True))
    with np.errstate(all="ignore"):
        for op in ("fmod", "mod"):
            np.testing.assert_array_equal(apply(machine, op, a, b), getattr(np, op)(a, b))
        quotients = np.floor_divide(a.astype(np.float64), b.astype(np.float64))
    got, near = apply(machine, "floor_divide", a, b), np.abs(quotients) < 2.0**50
    np.testing.assert_array_equal(got[near], quotients[near].astype(np.float32))


def test_nothing_of_a_type_that_it_does_not_have() -> None:
    load = Instruction("load", operand=0, type="s32")
    for op in ("sin", "divide", "isclose"):
        values = (1,) * TYPED_OPS[op].values
        with pytest.raises(ValueError, match=f"no {op} of s32"):
            Epilogue((load, Instruction(op, values, type="s32")), (tensor_kind(ELEMENT_TYPES["s32"]),), "s32")
    with pytest.raises(ValueError, match="of s32, f32"):
        Epilogue((load, Instruction("add", (1, 0), type="s32")), ("tensor_s32",), "s32")
    with pytest.raises(ValueError, match="output"):
        Epilogue((load,), ("tensor_s32",), "f32")
    assert operand_kind("scalar", FLOAT32) == "scalar"


@pytest.mark.parametrize(("number", "type", "word"), [(-1, "s8", 0xFF), (-1, "s64", -1), (2**63, "u64", -(2**63))])
def test_number_words_of_integers(number: int, type: str, word: int) -> None:
    assert number_word(number, ELEMENT_TYPES[type]) == word
    assert number_word(1.5, ELEMENT_TYPES["f64"]) == int(np.float64(1.5).view(np.int64))
