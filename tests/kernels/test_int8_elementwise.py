"""Integers at the edges of float32 kernels: typed operands and outputs of elementwise kernels and of the tile."""

from __future__ import annotations

import numpy as np
import pytest
from microkernels import Machine, Watched, address, words
from tile_native import solve
from tile_problem import DTYPES, Array, Tail, Tile, TileProblem

from minidnn_kernels.elementwise import ElementwiseSpec
from minidnn_kernels.epilogue import Epilogue, Instruction, number_word

_LIMITS = {"s8": (-127.0, 127.0), "u8": (0.0, 255.0)}


def _quantized(machine: Machine, output: str, inverse_scale: float, x: Array, kind: str = "tensor") -> Array:
    """The integers of `x` times a number."""
    spec = ElementwiseSpec(Epilogue((Instruction("multiply_scalar", (0,)),), (kind,), output))
    return _run(machine, spec, x, numbers=(inverse_scale,))


def _run(machine: Machine, spec: ElementwiseSpec, *operands: Array, numbers: tuple[float, ...] = ()) -> Array:
    """The kernel's output, between bytes that have stayed."""
    count = operands[0].size
    target = Watched((count,), DTYPES[spec.epilogue.output])
    machine.call(spec, words(target.address, *map(address, operands)), count, words(*map(number_word, numbers)))
    target.assert_untouched_around()
    return target.array


@pytest.mark.parametrize("output", ["s8", "u8"])
def test_halves_are_rounded_to_even(machine: Machine, output: str) -> None:
    x = np.arange(-300, 300, 0.5, dtype=np.float32)
    expected = [max(_LIMITS[output][0], min(_LIMITS[output][1], round(float(value)))) for value in x]
    np.testing.assert_array_equal(_quantized(machine, output, 1.0, x), expected)


@pytest.mark.parametrize("output", ["s8", "u8"])
def test_neighbours_of_halves_are_rounded_to_the_nearest(machine: Machine, output: str) -> None:
    halves = np.arange(-130, 260, dtype=np.float32) + np.float32(0.5)
    for towards in (-np.inf, np.inf):
        x = np.nextafter(halves, np.float32(towards))
        expected = np.clip(np.floor(x.astype(np.float64) + 0.5), *_LIMITS[output])
        np.testing.assert_array_equal(_quantized(machine, output, 1.0, x), expected)


@pytest.mark.parametrize(("output", "low", "high"), [("s8", -127, 127), ("u8", 0, 255)])
def test_what_is_too_large_saturates_and_nan_is_zero(machine: Machine, output: str, low: int, high: int) -> None:
    largest = float(np.finfo(np.float32).max)
    large = [high + 0.5, 1e3, 2.0**31, 2.0**32, 1e10, largest, np.inf]
    x = np.array([*large, *(-value for value in large), np.nan, -0.0, 1e-45, -1e-45], np.float32)
    expected = [high] * len(large) + [low] * len(large) + [0] * 4
    np.testing.assert_array_equal(_quantized(machine, output, 1.0, x), expected)
    # Products that overflow, too.
    np.testing.assert_array_equal(_quantized(machine, output, 1e30, x[:-2]), expected[:-2])


@pytest.mark.parametrize("output", ["s8", "u8"])
def test_quantize_multiplies_in_float32(machine: Machine, output: str) -> None:
    rng = np.random.default_rng(0)
    for scale in (0.0123, 1 / 3, 7.77, 1e-3):
        inverse = np.float32(1) / np.float32(scale)
        x = (rng.standard_normal(4000) * scale * 100).astype(np.float32)
        expected = np.clip(np.rint(x * inverse), *_LIMITS[output])
        np.testing.assert_array_equal(_quantized(machine, output, float(inverse), x), expected)


@pytest.mark.parametrize("output", ["f32", "s8", "u8"])
@pytest.mark.parametrize("kind", ["s8", "u8", "s32"])
def test_integer_operands_of_every_length(machine: Machine, kind: str, output: str) -> None:
    limits = np.iinfo(DTYPES[kind])
    rng = np.random.default_rng(1)
    program = [Instruction("load", operand=1), Instruction("multiply_scalar", (1,)), Instruction("add", (0, 2))]
    if output != "f32":
        program.append(Instruction("multiply_scalar", (3,)))
    spec = ElementwiseSpec(Epilogue(tuple(program), (f"tensor_{kind}", "tensor_s8"), output))
    for count in range(4 * machine.isa.lanes + 2):
        a: Array = rng.integers(limits.min, limits.max, count, endpoint=True).astype(DTYPES[kind])
        a[: min(count, 2)] = [limits.min, limits.max][: min(count, 2)]
        b = rng.integers(-128, 128, count).astype(np.int8)
        expected = a.astype(np.float32) + b.astype(np.float32) * np.float32(0.3)
        if output != "f32":
            expected = np.clip(np.rint(expected * np.float32(0.6)), *_LIMITS[output])
        np.testing.assert_array_equal(_run(machine, spec, a, b, numbers=(0.3, 0.6)), expected)


def test_every_int8_and_uint8_keeps_its_value(machine: Machine) -> None:
    for kind, numbers in (("s8", np.arange(-127, 128)), ("u8", np.arange(256))):
        x: Array = numbers.astype(DTYPES[kind])
        np.testing.assert_array_equal(_run(machine, ElementwiseSpec(Epilogue((), (f"tensor_{kind}",))), x), numbers)
        np.testing.assert_array_equal(_quantized(machine, kind, 1.0, x, f"tensor_{kind}"), numbers)


def test_int32_beyond_float32_is_rounded_to_nearest(machine: Machine) -> None:
    x = np.array([2**24 + 1, 2**24 + 3, 2**31 - 1, -(2**31), -(2**24) - 1, 2**30 + 63, 2**30 + 65], np.int32)
    actual = _run(machine, ElementwiseSpec(Epilogue((), ("tensor_s32",))), x)
    np.testing.assert_array_equal(actual, x.astype(np.float32))


@pytest.mark.parametrize("output", ["f32", "s8", "u8"])
@pytest.mark.parametrize("residual", [None, "s8", "u8", "s32", "f32"])
def test_a_float32_tile_reads_and_stores_integers(machine: Machine, residual: str | None, output: str) -> None:
    lanes = machine.isa.lanes
    tail = Tail(scale=True, bias=True, residual=residual, activation="relu", output=output)
    for masked, columns in ((False, 2 * lanes), (True, 2 * lanes - 1), (True, lanes), (True, 1)):
        tile = Tile(3, 2, "f32", masked, tail)
        solve(machine, TileProblem(machine.isa, tile, 3, columns, depth=9, seed=columns))


def test_int32_is_stored_only_as_it_was_summed(machine: Machine) -> None:
    with pytest.raises(ValueError, match="s32 output is the accumulators as they are"):
        Epilogue((Instruction("relu", (0,)),), (), "s32")
    with pytest.raises(ValueError, match="s32 output needs int32 sums"):
        ElementwiseSpec(Epilogue((), ("tensor_s32",), "s32")).emit(machine.isa)
    with pytest.raises(ValueError, match="s32 output needs int32 sums"):
        Tile(1, 1, "f32", tail=Tail()).spec.emit(machine.isa)
