"""The copy loop and its transposing microkernel: any item size, any strides, odd sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from microkernels import Array, Machine, Watched, address, words

from minidnn.runtime.library import KernelSpec
from minidnn_kernels.copy import COPY_ARGUMENTS, MAX_DIMENSIONS, MOST_INTERLEAVED, InterleaveSpec, TransposeSpec


def _row(source: Array, target: Array, rows_per_part: int, kernel: int = 0) -> tuple[Array, int]:
    """The argument row that copies `source` to `target`, both of MAX_DIMENSIONS dimensions, and its parts."""
    outer, row_parts = int(np.prod(source.shape[:-2])), -(-source.shape[-2] // rows_per_part)
    row = COPY_ARGUMENTS.fill(
        source=address(source),
        target=address(target),
        item=source.itemsize,
        outer=outer,
        shape=source.shape,
        source_strides=source.strides,
        target_strides=target.strides,
        rows_per_part=rows_per_part,
        row_parts=row_parts,
        kernel=kernel,
    )
    return words(*row), outer * row_parts


def _full_rank(array: Array) -> Array:
    return array.reshape((1,) * (MAX_DIMENSIONS - array.ndim) + array.shape)


def _numbers(shape: tuple[int, ...], dtype: Any) -> Array:
    """Every bit pattern is as good as any other: NaN payloads must survive."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    numbers: Array = np.random.default_rng(0).integers(0, 256, count, np.uint8).view(dtype).reshape(shape)
    return numbers


def _bits(array: Array) -> Array:
    bits: Array = np.ascontiguousarray(array).view(np.uint8)
    return bits


def _check(machine: Machine, source: Array, rows_per_part: int = 2, spec: KernelSpec | None = None) -> None:
    target = Watched(source.shape, source.dtype)
    kernel = machine.library.microkernel(spec) if spec is not None else 0
    row, parts = _row(_full_rank(source), _full_rank(target.array), rows_per_part, kernel)
    machine.run_loop("copy_loop", row, parts)
    np.testing.assert_array_equal(_bits(target.array), _bits(source))
    target.assert_untouched_around()


@pytest.mark.parametrize("dtype", ["u1", "f2", "f4", "f8", "i8", "i2", "?"])
def test_items_of_every_size(machine: Machine, dtype: str) -> None:
    whole = _numbers((3, 4, 5, 6), dtype)
    _check(machine, whole)
    _check(machine, whole.transpose(2, 0, 3, 1))
    _check(machine, whole[:, 1:3, ::2, ::-1])
    _check(machine, whole[::-1, ::-1])


def test_a_repeated_dimension(machine: Machine) -> None:
    _check(machine, np.broadcast_to(_numbers((4, 1, 6), "f4"), (4, 5, 6)))
    _check(machine, np.broadcast_to(_numbers((4, 5, 1), "f4"), (4, 5, 6)))


def test_all_dimensions_at_once(machine: Machine) -> None:
    _check(machine, _numbers((2, 3, 2, 3, 2, 3), "f4").transpose(5, 3, 1, 0, 2, 4))


@pytest.mark.parametrize("rows_per_part", [1, 3, 7, 50])
def test_parts_of_any_size(machine: Machine, rows_per_part: int) -> None:
    _check(machine, _numbers((2, 7, 5), "f4"), rows_per_part)


def test_only_the_target_region_is_written(machine: Machine) -> None:
    source = _numbers((4, 5), "u2")
    target = Watched((8, 10), "u2")
    region = target.array[1:5, 2:7]
    row, parts = _row(_full_rank(source), _full_rank(region), 2)
    machine.run_loop("copy_loop", row, parts)
    np.testing.assert_array_equal(region, source)
    region[...] = 0
    assert not target.array.any()
    target.assert_untouched_around()


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33])
@pytest.mark.parametrize("rows", [1, 2, 5, 8, 11, 16, 17, 33])
def test_transposing_blocks_of_odd_sizes(machine: Machine, rows: int, columns: int) -> None:
    source = _numbers((2, columns, rows), "f4").transpose(0, 2, 1)
    _check(machine, source, rows_per_part=16, spec=TransposeSpec())


def test_transposing_into_the_middle_of_something_larger(machine: Machine) -> None:
    lanes = machine.isa.lanes
    rows, columns = 2 * lanes + 3, lanes + 1
    source = _numbers((columns, rows + 5), "f4")
    target = Watched((rows, columns + 4), fill=-77)
    row = np.zeros(COPY_ARGUMENTS.words, np.int64)
    row[COPY_ARGUMENTS.position("source_strides") + MAX_DIMENSIONS - 1] = source.strides[0]
    row[COPY_ARGUMENTS.position("target_strides") + MAX_DIMENSIONS - 2] = target.array.strides[0]
    machine.call(TransposeSpec(), address(source), target.address + 8, rows, columns, row)
    np.testing.assert_array_equal(_bits(target.array[:, 2 : 2 + columns]), _bits(source[:, :rows].T))
    assert (target.array[:, :2] == -77).all()
    assert (target.array[:, 2 + columns :] == -77).all()
    target.assert_untouched_around()


@pytest.mark.parametrize("dtype", ["u1", "f2", "f4", "f8"])
@pytest.mark.parametrize("planes", range(2, MOST_INTERLEAVED + 1))
def test_interleaving_planes_of_any_length(machine: Machine, planes: int, dtype: str) -> None:
    spec = InterleaveSpec(planes, np.dtype(dtype).itemsize)
    vector = machine.isa.lanes * 4 // spec.item
    for pixels in (1, 2, vector - 1, vector, vector + 1, 2 * vector, 3 * vector + 1):
        source = _numbers((2, planes, pixels + 1), dtype)[:, :, 1:].transpose(0, 2, 1)
        _check(machine, source, rows_per_part=2 * vector, spec=spec)
