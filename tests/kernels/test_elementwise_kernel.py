"""The elementwise microkernel and its loop: tails, chunks, broadcast operands, parts."""

from __future__ import annotations

import numpy as np
import pytest
from microkernels import Array, Machine, Watched, address, words

from minidnn_kernels.elementwise import ELEMENTWISE_ARGUMENTS, MAX_OUTER, TENSOR, ElementwiseSpec
from minidnn_kernels.epilogue import Epilogue, Instruction

_ADD = (Instruction("load", operand=1), Instruction("add", (0, 1)))


def test_every_length(machine: Machine) -> None:
    rng = np.random.default_rng(0)
    spec = ElementwiseSpec(Epilogue(_ADD, ("tensor", "tensor")))
    for count in range(4 * machine.isa.lanes + 2):
        a, b = (rng.standard_normal(count).astype(np.float32) for _ in range(2))
        target = Watched((count + 1,), fill=-77)
        machine.call(spec, words(target.address, address(a), address(b)), count, 0)
        np.testing.assert_array_equal(target.array[:count], a + b)
        assert target.array[count] == -77
        target.assert_untouched_around()


@pytest.mark.parametrize("kinds", [("scalar", "tensor"), ("tensor", "scalar"), ("scalar", "scalar")])
def test_one_number_for_the_whole_row(machine: Machine, kinds: tuple[str, str]) -> None:
    a, b = (np.random.default_rng(i).standard_normal(13).astype(np.float32) for i in range(2))
    target = Watched((13,))
    spec = ElementwiseSpec(Epilogue(_ADD, kinds))
    machine.call(spec, words(target.address, address(a), address(b)), 13, 0)
    parts = [x[:1] if kind == "scalar" else x for x, kind in zip((a, b), kinds, strict=True)]
    np.testing.assert_array_equal(target.array, np.broadcast_to(parts[0] + parts[1], 13))


def test_output_may_be_an_operand(machine: Machine) -> None:
    a, b = (np.random.default_rng(i).standard_normal(21).astype(np.float32) for i in range(2))
    expected = a + b
    spec = ElementwiseSpec(Epilogue(_ADD, ("tensor", "tensor")))
    machine.call(spec, words(address(a), address(a), address(b)), 21, 0)
    np.testing.assert_array_equal(a, expected)


def _arguments(machine: Machine, target: Array, operands: list[Array], chunk: int) -> Array:
    """The argument row that adds two operands, each broadcast to the target's shape."""
    kinds = tuple("tensor" if x.strides[-1] else "scalar" for x in operands)
    *outer, inner = target.shape
    missing = [0] * (MAX_OUTER - len(outer))
    tensors: list[int] = []
    for tensor in (target, *operands):
        *around, step = tensor.strides
        tensors += TENSOR.fill(address=address(tensor), strides=missing + around, step=step)
    row = ELEMENTWISE_ARGUMENTS.fill(
        kernel=machine.library.microkernel(ElementwiseSpec(Epilogue(_ADD, kinds))),
        tensors=3,
        inner=inner,
        chunk=chunk,
        chunks=-(-inner // chunk),
        outer=int(np.prod(outer)),
        shape=[1] * len(missing) + outer,
        tensor=tensors,
        numbers=[],
    )
    return words(*row)


@pytest.mark.parametrize("parts", [1, 2, 7, 100])
@pytest.mark.parametrize("chunk", [1, 8, 10, 64])
@pytest.mark.parametrize(
    ("shape", "other"), [((37,), (37,)), ((3, 37), (1, 37)), ((3, 37), (3, 1)), ((2, 3, 1, 2, 9), (2, 1, 1, 2, 9))]
)
def test_loop_covers_everything_once(
    machine: Machine, shape: tuple[int, ...], other: tuple[int, ...], chunk: int, parts: int
) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(shape).astype(np.float32), rng.standard_normal(other).astype(np.float32)
    target = Watched(shape, fill=-77)
    row = _arguments(machine, target.array, [a, np.broadcast_to(b, shape)], chunk)
    machine.run_loop("elementwise_loop", row, parts)
    np.testing.assert_array_equal(target.array, a + b)
    target.assert_untouched_around()
