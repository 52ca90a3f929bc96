"""Winograd's transforms alone: the algorithm is a convolution, edges are not written, channels of every number."""

from __future__ import annotations

import numpy as np
import pytest
from microkernels import Array, Machine, Watched, address, words

from minidnn_kernels.epilogue import Epilogue, Instruction
from minidnn_kernels.winograd import INPUT, OUTPUT, PRODUCTS, InputTransform, OutputTransform, transform_weights

TAIL = Epilogue(
    (
        Instruction("load", operand=0),
        Instruction("add", (0, 1)),
        Instruction("load", operand=1),
        Instruction("add", (2, 3)),
        Instruction("relu", (4,)),
    ),
    ("channel", "tensor"),
)


def _input_transform(machine: Machine, block: Array) -> Array:
    """(6, 6, channels) to (36, channels)."""
    channels = block.shape[-1]
    pointers = address(block) + np.arange(PRODUCTS) * channels * 4
    target = Watched((PRODUCTS, channels + 1), fill=-77)
    machine.call(InputTransform(), pointers, target.address, target.array.strides[0], channels)
    target.assert_untouched_around()
    assert (target.array[:, -1] == -77).all()
    return np.ascontiguousarray(target.array[:, :-1])


def _output_transform(
    machine: Machine, products: Array, table: Array, epilogue: Epilogue = TAIL, operands: tuple[Array, ...] = ()
) -> Array:
    """(36, filters) to the 16 pixels of a larger output, at the rows that `table` gives, from row 2 on."""
    filters = products.shape[-1]
    target = Watched((20, filters), fill=-77)
    context = [target.address, filters * 4]
    for operand in operands:
        context += [address(operand), operand.strides[0] if operand.ndim > 1 else 0]
    machine.call(OutputTransform(epilogue), words(*context), products, products.strides[0], table, 2, filters)
    target.assert_untouched_around()
    return target.array


def test_the_algorithm_is_a_convolution(machine: Machine) -> None:
    rng = np.random.default_rng(0)
    channels, filters = 5, 7
    block = rng.standard_normal((INPUT, INPUT, channels)).astype(np.float32)
    weights = rng.standard_normal((filters, channels, 3, 3)).astype(np.float32)
    transformed = _input_transform(machine, block)
    products = np.einsum("pc,pcf->pf", transformed, transform_weights(weights)).astype(np.float32)
    table = np.arange(16, dtype=np.int32)
    actual = _output_transform(machine, products, table, Epilogue())[2:18].reshape(OUTPUT, OUTPUT, filters)
    expected = np.zeros((OUTPUT, OUTPUT, filters))
    for y in range(OUTPUT):
        for x in range(OUTPUT):
            window = block[y : y + 3, x : x + 3].astype(np.float64)
            expected[y, x] = np.einsum("yxc,fcyx->f", window, weights)
    np.testing.assert_allclose(actual, expected, atol=5e-6 * np.abs(expected).max())


def test_every_number_of_channels(machine: Machine) -> None:
    whole = np.random.default_rng(0).standard_normal((INPUT, INPUT, 70)).astype(np.float32)
    reference = _input_transform(machine, whole)
    # 36 impulses give the transform's matrix, exactly.
    impulses = np.eye(PRODUCTS, dtype=np.float32).reshape(INPUT, INPUT, PRODUCTS)
    matrix = _input_transform(machine, impulses).astype(np.float64)
    np.testing.assert_allclose(reference, matrix @ whole.reshape(PRODUCTS, -1), atol=1e-4)
    for channels in range(1, 70):
        part = np.ascontiguousarray(whole[..., :channels])
        np.testing.assert_array_equal(_input_transform(machine, part), reference[:, :channels])


@pytest.mark.parametrize("present", [1, 2, 3, 4])
def test_pixels_beyond_the_edge_are_not_written(machine: Machine, present: int) -> None:
    products = np.random.default_rng(1).standard_normal((PRODUCTS, 11)).astype(np.float32)
    whole = _output_transform(machine, products, np.arange(16, dtype=np.int32), Epilogue())
    table = np.where(np.arange(16) % 4 < present, np.arange(16), -1).astype(np.int32)
    actual = _output_transform(machine, products, table, Epilogue())
    kept = table[table >= 0] + 2
    np.testing.assert_array_equal(actual[kept], whole[kept])
    rest = np.setdiff1d(np.arange(20), kept)
    assert (actual[rest] == -77).all()


def test_the_tail_reads_its_operands_where_the_output_lies(machine: Machine) -> None:
    for filters in range(1, 3 * machine.isa.lanes + 2):
        rng = np.random.default_rng(filters)
        products = rng.standard_normal((PRODUCTS, filters)).astype(np.float32)
        bias = rng.standard_normal((filters,)).astype(np.float32)
        residual = rng.standard_normal((20, filters)).astype(np.float32)
        table = rng.permutation(16).astype(np.int32)
        plain = _output_transform(machine, products, table, Epilogue())
        actual = _output_transform(machine, products, table, TAIL, (bias, residual))
        expected = np.maximum(plain + bias + residual, 0)
        np.testing.assert_allclose(actual[2:18], expected[2:18], atol=1e-5)
        assert (actual[[0, 1, 18, 19]] == -77).all()
