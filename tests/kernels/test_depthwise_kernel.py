"""The depthwise microkernel alone: strides, dilations, strips of every length, channels of every number."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from microkernels import Machine, Watched, address, words

from minidnn_kernels.depthwise import DepthwiseSpec
from minidnn_kernels.epilogue import Epilogue, Instruction, number_word

TAIL = Epilogue(
    (
        Instruction("load", operand=0),
        Instruction("add", (0, 1)),
        Instruction("load", operand=1),
        Instruction("add", (2, 3)),
        Instruction("clip", (4,)),
    ),
    ("channel", "tensor"),
)


def _check(machine: Machine, spec: DepthwiseSpec, channels: int, padded: int = 0) -> None:
    """One strip whose first `padded` columns are padding, against a sum in float64."""
    rng = np.random.default_rng(channels)
    columns = rng.standard_normal((spec.outer, spec.columns, channels)).astype(np.float32)
    weights = rng.standard_normal((spec.outer, spec.width, channels)).astype(np.float32)
    spec = replace(spec, masked=channels < machine.isa.lanes)
    packed = spec.pack(weights, None, machine.isa)
    zeros = np.zeros(channels, np.float32)
    pointers = (address(columns) + np.arange(spec.outer * spec.columns) * channels * 4).reshape(spec.outer, -1)
    pointers[:, :padded] = address(zeros)
    columns[:, :padded] = 0

    first = 1
    target = Watched((first + spec.pixels + 1, channels), fill=-77)
    channel = rng.standard_normal(channels).astype(np.float32)
    tensor = rng.standard_normal((spec.pixels + 2, channels)).astype(np.float32)
    context = words(target.address, channels * 4)
    if spec.epilogue.operands:
        operands = (address(channel), 0, address(tensor), channels * 4)
        context = np.concatenate([context, words(*operands, number_word(-1.0), number_word(1.0))])
    machine.call(spec, context, pointers, packed, first, channels)

    expected = np.zeros((spec.pixels, channels))
    wide = np.asarray(columns, np.float64)
    for p, outer, tap in itertools.product(range(spec.pixels), range(spec.outer), range(spec.width)):
        expected[p] += wide[outer, p * spec.stride + tap * spec.dilate] * weights[outer, tap]
    if spec.epilogue.operands:
        expected = np.clip(expected + channel + tensor[first : first + spec.pixels], -1, 1)
    np.testing.assert_allclose(target.array[first : first + spec.pixels], expected, rtol=1e-5, atol=1e-5)
    target.assert_untouched_around()
    assert (target.array[[0, -1]] == -77).all(), "written into other rows"


@pytest.mark.parametrize(("stride", "dilate"), [(1, 1), (2, 1), (1, 2), (3, 2), (2, 3)])
@pytest.mark.parametrize("pixels", [1, 2, 3, 4, 8])
def test_strides_and_dilations(machine: Machine, stride: int, dilate: int, pixels: int) -> None:
    _check(machine, DepthwiseSpec(3, 3, stride, dilate, pixels), machine.isa.lanes + 3)


@pytest.mark.parametrize(("outer", "width"), [(1, 1), (1, 5), (5, 1), (2, 3), (9, 3)])
def test_windows_of_any_shape(machine: Machine, outer: int, width: int) -> None:
    _check(machine, DepthwiseSpec(outer, width, 1, 1, 4), machine.isa.lanes + 1)


def test_any_number_of_channels_and_a_tail(machine: Machine) -> None:
    spec = DepthwiseSpec(3, 3, 1, 1, 4, TAIL)
    for channels in range(1, 3 * machine.isa.lanes + 2):
        _check(machine, spec, channels)


def test_padding_points_at_zeros(machine: Machine) -> None:
    _check(machine, DepthwiseSpec(3, 3, 1, 1, 4, TAIL), 5, padded=2)


def test_columns_are_those_the_outputs_see() -> None:
    assert DepthwiseSpec(1, 3, 1, 1, 4).columns == 6
    assert DepthwiseSpec(1, 3, 2, 1, 4).columns == 9
    assert DepthwiseSpec(1, 3, 2, 4, 1).columns == 9
