"""Run as a program: every microkernel on arrays that end, then on arrays that begin, at an unmapped page.

A read or write of one byte too many ends the process with a signal. Arguments: the ISA, and to see that it does,
``beyond`` and ``begin`` or ``end``, or ``beyond-row``.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import sys
from dataclasses import replace

import numpy as np
from microkernels import Array, Machine, address, words
from tile_problem import DTYPES, Tail, Tile, kinds, tiles, weight_type

from minidnn_kernels.copy import COPY_ARGUMENTS, MAX_DIMENSIONS, InterleaveSpec, TransposeSpec
from minidnn_kernels.depthwise import DepthwiseSpec, DepthwiseTileSpec
from minidnn_kernels.dot import dot_for
from minidnn_kernels.elementwise import ElementwiseSpec
from minidnn_kernels.epilogue import Epilogue, Instruction
from minidnn_kernels.isa import get_isa
from minidnn_kernels.matmul import pack_integer_panels
from minidnn_kernels.panels import PANELS_ARGUMENTS, PanelSpec, TransformedPanelSpec
from minidnn_kernels.pooling import PoolSpec
from minidnn_kernels.rows import RowSpec
from minidnn_kernels.tile import TileSpec
from minidnn_kernels.winograd import F4X3, InputTransform, OutputTransform, schemes_for

_ADD_BOTH = Epilogue(
    (
        Instruction("load", operand=0),
        Instruction("add", (0, 1)),
        Instruction("load", operand=1),
        Instruction("add", (2, 3)),
        Instruction("load", operand=2),
        Instruction("add", (4, 5)),
        Instruction("clip", (6,)),
    ),
    ("tensor", "channel", "scalar"),
)
_CLIP = (0, 0)


class Fence:
    """Arrays between two pages that nobody may touch, at the begin or at the end of what is between them."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._maps: list[mmap.mmap] = []  # keeps them mapped
        self._protect = ctypes.CDLL(None, use_errno=True).mprotect
        self._protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

    def array(self, *shape: int, dtype: type = np.float32) -> Array:
        """Zeros."""
        size, page = int(np.prod(shape)) * np.dtype(dtype).itemsize, mmap.PAGESIZE
        inside = -(-size // page) * page
        memory = mmap.mmap(-1, inside + 2 * page)
        self._maps.append(memory)
        whole = np.frombuffer(memory, np.uint8)
        for begin in (0, page + inside):
            if self._protect(address(whole) + begin, page, 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        offset = page + (inside - size if self.where == "end" else 0)
        return whole[offset : offset + size].view(dtype).reshape(shape)

    def copy(self, array: Array) -> Array:
        """The array's elements."""
        placed = self.array(*array.shape, dtype=array.dtype.type)
        placed[...] = array
        return placed


def run_integers(machine: Machine, fence: Fence) -> None:
    """Tiles of every kind, and Winograd's transforms of integers."""
    lanes = machine.isa.lanes
    for data, dot in kinds(machine.isa):
        shapes = tiles(machine.isa, data, dot)
        chosen = {(1, 1), (3, 2), max(shapes), max(shapes, key=lambda shape: shape[::-1])}
        for (rows, vectors), depth in itertools.product(sorted(chosen), (1, 3, 8, 17, 21, 32)):
            for missing in (0, 1, lanes - 1):
                run_integer_tile(machine, fence, Tile(rows, vectors, data, missing > 0, dot=dot), depth, missing)
    for data in ("u8", "s8"):
        for scheme, channels in itertools.product(
            schemes_for(machine.isa, data), (2 * lanes, 2 * lanes + 1, 4 * lanes - 1, 5 * lanes)
        ):
            pixel = fence.array(channels, dtype=DTYPES[data])
            target = fence.array(scheme.products, channels, dtype=np.int16)
            pointers = np.full(scheme.products, address(pixel), np.int64)
            machine.call(InputTransform(scheme, data), pointers, address(target), 2 * channels, channels)
    for scheme, filters in itertools.product(schemes_for(machine.isa, "u8"), (1, lanes - 1, lanes, 2 * lanes + 3)):
        for output in ("s32", "u8", "s8", "f32"):
            sums = fence.array(scheme.products, filters, dtype=np.int32)
            image = fence.array(scheme.output**2, filters, dtype=DTYPES[output])
            spec = OutputTransform(scheme, Tail(scale=output != "s32", output=output).epilogue())
            context = words(address(image), filters * image.itemsize, address(fence.array(filters)), 0)
            table = np.arange(scheme.output**2, dtype=np.int32)
            machine.call(spec, context, address(sums), filters * 4, table, 0, 0, filters)


def run_integer_tile(machine: Machine, fence: Fence, tile: Tile, depth: int, missing: int) -> None:
    """A row that holds just what the dot reads, and weights that leave a rest where there may be one."""
    lanes, taps = machine.isa.lanes, 2
    width = tile.vectors * lanes
    weights = np.random.default_rng(depth).integers(-128, 128, (1, taps, depth, width)).astype(weight_type(tile.data))
    dot = dot_for(machine.isa, tile.data, tile.dot)
    packed, steps = pack_integer_panels(weights, np.zeros((1, width), np.int32), width, dot, lanes)
    panel, row = fence.copy(packed[0, 0]), fence.array(dot.row_bytes(steps), dtype=np.uint8)
    result = fence.array(tile.rows, width - missing, dtype=np.int32)
    pointers = np.full(taps * tile.rows, address(row), np.int64)
    context = words(address(result), (width - missing) * 4)
    machine.call(tile.spec, context, pointers, taps, steps, address(panel), 0, 0, tile.rows, width - missing)


def _context(fence: Fence, target: Array, tensor: Array, channel: Array, scalar: Array) -> Array:
    """The context of a kernel that ends in `_ADD_BOTH`."""
    places = (address(target), target.strides[0], address(tensor), tensor.strides[0])
    return fence.copy(words(*places, address(channel), 0, address(scalar), 0, *_CLIP))


def run(machine: Machine, fence: Fence) -> None:
    lanes = machine.isa.lanes
    for n in sorted({1, 2, 3, lanes - 1, lanes, lanes + 1, 2 * lanes, 2 * lanes + 3, 4 * lanes + 1}):
        a, b, c, one = fence.array(n), fence.array(n), fence.array(n), fence.array(1)
        unary = Epilogue(_ADD_BOTH.instructions, ("tensor", "tensor", "scalar"))
        machine.call(
            ElementwiseSpec(unary),
            words(address(c), address(a), address(b), address(one)),
            n,
            fence.copy(words(*_CLIP)),
        )
        for operation in ("softmax", "log_softmax", "layer_norm"):
            machine.call(RowSpec(operation), address(a), address(c), n, words(0, address(b), address(b)), 0)
        integers = fence.copy(np.zeros(n, np.int8))
        machine.call(RowSpec("quantize", "s8"), address(a), address(integers), n, 0, address(one))
        pixels = fence.array(3, n)
        pointers = address(pixels) + np.arange(3) * n * 4
        for operation in ("max", "sum"):
            machine.call(PoolSpec(operation), address(c), pointers, 3, n, words(0, n * 4))
            machine.call(PoolSpec(operation, strided=True), address(c), address(pixels), 3, n, words(0, n * 4))

        block, products = fence.array(36, n), fence.array(36, n)
        machine.call(InputTransform(), address(block) + np.arange(36) * n * 4, address(products), n * 4, n)
        image, residual = fence.array(16, n), fence.array(16, n)
        context = _context(fence, image, residual, b, one)
        output = OutputTransform(epilogue=_ADD_BOTH)
        machine.call(output, context, address(products), n * 4, np.arange(16, dtype=np.int32), 0, 0, n)

        depthwise = DepthwiseSpec(3, 3, 2, 1, 4, _ADD_BOTH, masked=n < lanes)
        window = fence.array(3, depthwise.columns, n)
        weights = fence.array(9, -(-n // lanes) * lanes)
        strip, beside = fence.array(4, n), fence.array(4, n)
        context = _context(fence, strip, beside, b, one)
        addresses = address(window) + np.arange(3 * depthwise.columns) * n * 4
        machine.call(depthwise, context, addresses, address(weights), 0, n)

        for rows, vectors in ((1, 1), (4, 2), (machine.isa.max_rows, 1), (2, 4)):
            width = vectors * lanes
            columns, depth = min(n, width), 3
            there, panel = fence.array(rows, depth), fence.array(2 * depth, width)
            result, beside, bias = fence.array(rows, columns), fence.array(rows, columns), fence.array(columns)
            context = _context(fence, result, beside, bias, one)
            taps = np.tile(address(there) + np.arange(rows) * depth * 4, 2)
            tile = TileSpec(rows, vectors, _ADD_BOTH, masked=columns < width)
            machine.call(tile, context, taps, 2, depth, address(panel), 0, 0, rows, columns)
            scattered = np.concatenate([taps, np.arange(rows)[::-1]])
            tile = replace(tile, scattered=True)
            machine.call(tile, context, scattered, 2, depth, address(panel), 0, 0, rows, columns)
            pixel = fence.array(columns)
            scattered[: 2 * rows] = address(pixel)
            channels = DepthwiseTileSpec(rows, vectors, _ADD_BOTH, masked=columns < width)
            machine.call(channels, context, scattered, 2, 1, address(panel), 0, 0, rows, columns)

        for m in (1, lanes - 1, lanes, lanes + 2):
            source, target = fence.array(m, n), fence.array(n, m)
            strides = np.zeros(COPY_ARGUMENTS.words, np.int64)
            strides[COPY_ARGUMENTS.position("source_strides") + MAX_DIMENSIONS - 1] = n * 4
            strides[COPY_ARGUMENTS.position("target_strides") + MAX_DIMENSIONS - 2] = m * 4
            machine.call(TransposeSpec(), address(source), address(target), n, m, strides)

            for item, scaled in ((4, True), (1, False)):
                run_panels(machine, fence, PanelSpec(item, False, scaled), n, m)
                run_panels(machine, fence, PanelSpec(item, True, scaled), n, m)
            run_panels(machine, fence, TransformedPanelSpec(F4X3, True), n, m)

        for planes in (2, 3, 4):
            source, target = fence.array(planes, n), fence.array(n, planes)
            strides = np.zeros(COPY_ARGUMENTS.words, np.int64)
            strides[COPY_ARGUMENTS.position("source_strides") + MAX_DIMENSIONS - 1] = n * 4
            machine.call(InterleaveSpec(planes, 4), address(source), address(target), n, planes, strides)


def run_panels(machine: Machine, fence: Fence, spec: PanelSpec | TransformedPanelSpec, n: int, depth: int) -> None:
    """A panel with as many columns as there are whole vectors of."""
    inputs_first = isinstance(spec, PanelSpec) and spec.inputs_first
    item, taps = (spec.item, 1 if inputs_first else 3) if isinstance(spec, PanelSpec) else (4, 9)
    products = taps if isinstance(spec, PanelSpec) else spec.scheme.products
    columns = -(-n // machine.isa.lanes) * machine.isa.lanes
    source, target = (
        fence.array(n * depth * taps * item, dtype=np.uint8),
        fence.array(products, depth, columns * item, dtype=np.uint8),
    )
    row = np.zeros(PANELS_ARGUMENTS.words, np.int64)
    pitches = (item, n * item) if inputs_first else (depth * taps * item, taps * item)
    given = {"column_pitch": pitches[0], "channel_pitch": pitches[1], "taps": taps, "columns": columns}
    for name, value in {**given, "tap_pitch": target.strides[0], "row_pitch": target.strides[1]}.items():
        row[PANELS_ARGUMENTS.position(name)] = value
    machine.call(spec, address(source), address(target), address(fence.array(n)), depth, n, fence.copy(row))


def run_beyond_row(machine: Machine, fence: Fence) -> None:
    """A step too many of an integer tile."""
    dot = dot_for(machine.isa, "u8")
    row, panel, result = fence.array(dot.row_bytes(2), dtype=np.uint8), np.zeros(1 << 16, np.uint8), np.zeros(64)
    steps = dot.row_bytes(2) // dot.step_bytes + 1
    context = words(address(result), 0)
    machine.call(Tile(1, 1).spec, context, words(address(row)), 1, steps, panel, 0, 0, 1, machine.isa.lanes)


def run_beyond(machine: Machine, fence: Fence) -> None:
    """One element too many."""
    a = fence.array(8)
    step = 0 if fence.where == "end" else -4
    spec = ElementwiseSpec(Epilogue((), ("tensor",)))
    target = np.empty(9, np.float32)
    machine.call(spec, words(address(target), address(a) + step), 9, 0)


if __name__ == "__main__":
    host = Machine(get_isa(sys.argv[1]))
    if sys.argv[2:3] == ["beyond"]:
        run_beyond(host, Fence(sys.argv[3]))
    elif sys.argv[2:3] == ["beyond-row"]:
        run_beyond_row(host, Fence("end"))
    else:
        for where in ("end", "begin"):
            run(host, Fence(where))
            run_integers(host, Fence(where))
    print("within bounds")
