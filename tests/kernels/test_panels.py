"""Panels that kernels write: the same bits as NumPy's, for weights in any order, of any elements, on every ISA."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from microkernels import Array, Machine, words

from minidnn.lowering import panels as lowered
from minidnn.lowering.builder import Builder
from minidnn.lowering.panels import new_plain_panels, new_transformed_panels
from minidnn.plan.program import Kernel
from minidnn_kernels.matmul import pack_panels
from minidnn_kernels.winograd import F2X3, F4X3, Scheme


def _written(machine: Machine, builder: Builder, panels: Array) -> Array:
    """The panels, after the loop has run that writes them."""
    builder.constant(panels)
    (packing,) = builder.find_packings()
    assert not panels.any()
    arguments = packing.step.arguments
    row = [machine.library.microkernel(a.spec) if isinstance(a, Kernel) else a for a in arguments]
    for _ in range(2):  # twice changes nothing
        machine.run_loop(packing.step.loop.name, words(*row), packing.step.parts)
    return panels


def _numbers(shape: tuple[int, ...], dtype: Any) -> Array:
    """Every bit pattern of integers; finite numbers of float32, zeros with both signs among them."""
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind != "f":
        made: Array = rng.integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8).view(dtype)[..., 0]
        return made
    numbers: Array = rng.standard_normal(shape).astype(dtype)
    return np.where(np.abs(numbers) < 0.1, np.copysign(np.float32(0), numbers), numbers)


def _in_order(weights: Array, order: str) -> Array:
    """The same weights [groups, taps, depth, n], otherwise in memory."""
    if order == "outputs first":
        return np.ascontiguousarray(weights.transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1)
    if order == "inputs first":
        return np.ascontiguousarray(weights)
    if order == "taps first":
        return np.ascontiguousarray(weights.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    if order == "with gaps":
        wide = np.repeat(_in_order(weights, "outputs first").transpose(0, 3, 2, 1), 2, 1)
        return wide[:, ::2].transpose(0, 3, 2, 1)
    assert order == "unaligned"
    memory = np.empty(weights.nbytes + 1, np.uint8)[1:].view(weights.dtype).reshape(weights.transpose(0, 3, 2, 1).shape)
    memory[...] = weights.transpose(0, 3, 2, 1)
    return memory.transpose(0, 3, 2, 1)


_SHAPES = [(1, 1, 1, 1), (1, 1, 37, 5), (2, 9, 5, 19), (1, 4, 33, 64), (3, 1, 16, 33), (1, 6, 3, 1)]


@pytest.mark.parametrize("order", ["outputs first", "inputs first", "taps first", "with gaps", "unaligned"])
@pytest.mark.parametrize("shape", _SHAPES)
def test_panels_are_numpys(machine: Machine, shape: tuple[int, int, int, int], order: str) -> None:
    for dtype, vectors, together, scaled in (
        ("f4", 2, 1, True),
        ("f4", 1, 2, False),
        ("u2", 3, 2, False),
        ("i1", 2, 1, False),
    ):
        weights, columns = _numbers(shape, dtype), vectors * machine.isa.lanes
        factors = _numbers((shape[0], shape[3]), "f4") if scaled else None
        builder = Builder(machine.isa)
        made = _written(
            machine, builder, new_plain_panels(builder, _in_order(weights, order), columns, together, factors)
        )
        expected = pack_panels(weights if factors is None else weights * factors[:, None, None], columns, together)
        assert made.shape == (*expected.shape[:2], expected[0, 0].nbytes)
        np.testing.assert_array_equal(made.reshape(-1), expected.reshape(-1).view(np.uint8))


@pytest.mark.parametrize("order", ["outputs first", "inputs first"])
def test_parts_of_many_channels_and_slices_of_depth(
    machine: Machine, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_PART_BYTES", "_FEW_BYTES"):
        monkeypatch.setattr(lowered, name, 1)
    weights, columns = _numbers((1, 1, 75, 2 * machine.isa.lanes + 3), np.float32), machine.isa.lanes
    given = _in_order(weights, order)
    for part in (slice(0, 75), slice(11, 58)):
        builder = Builder(machine.isa)
        made = _written(machine, builder, new_plain_panels(builder, given[:, :, part], columns, 1))
        np.testing.assert_array_equal(
            made.view(np.float32).reshape(-1), pack_panels(weights[:, :, part], columns).reshape(-1)
        )


@pytest.mark.parametrize("scheme", [F2X3, F4X3], ids=lambda scheme: scheme.name)
@pytest.mark.parametrize(("depth", "filters"), [(1, 1), (5, 19), (37, 33)])
def test_transformed_panels_are_as_near_as_can_be(machine: Machine, scheme: Scheme, depth: int, filters: int) -> None:
    columns, matrix = 2 * machine.isa.lanes, np.array(scheme.weight_matrix, np.longdouble)
    plain, factors = _numbers((1, 9, depth, filters), np.float32), _numbers((1, filters), np.float32)
    bits = (plain.view(np.uint32) >> 16).astype(np.uint16)
    widened = (bits.astype(np.uint32) << 16).view(np.float32)
    for weights, numbers, scale in ((plain, plain * factors[:, None, None], factors), (bits, widened, None)):
        taps = numbers[0].reshape(3, 3, depth, filters).astype(np.longdouble)
        exact, size = (
            np.einsum("pi,qj,ijdn->pqdn", m, m, t).reshape(scheme.products, 1, depth, filters).astype(np.float64)
            for m, t in ((matrix, taps), (abs(matrix), abs(taps)))
        )
        for order in ("outputs first", "inputs first"):
            builder = Builder(machine.isa)
            panels = new_transformed_panels(builder, scheme, _in_order(weights, order), columns, scale)
            made = _written(machine, builder, panels).view(np.float32)
            # Float64's error inside, and then float32's.
            expected = pack_panels(exact, columns)
            rounding = np.spacing(np.abs(expected).astype(np.float32)) / 2 + 1e-15 * pack_panels(size, columns)
            assert (np.abs(made.reshape(expected.shape) - expected) <= rounding * 1.000001).all()
            assert not made.reshape(expected.shape)[pack_panels(size, columns) == 0].any()
