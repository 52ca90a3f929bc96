"""Panels of weights as tiles of float32 read them: written by kernels, from weights as networks hold them.

Weights lie with their outputs first, [outputs, channels, taps], or with their inputs first, [channels, outputs]. Those
of Winograd's algorithm are transformed on the way. A kernel does some channels of one panel; what it writes depends on
the weights alone, so that writing it twice changes nothing.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from minidnn_kernels.arguments import ArgumentRow, Field
from minidnn_kernels.copy import transposed
from minidnn_kernels.element_type import ELEMENT_TYPES, FLOAT32, ElementType
from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import F32, F64, I32, I64, LANE_BYTES, Simd, Value, const, new_function
from minidnn_kernels.winograd import Scheme

__all__ = ["ARGUMENTS", "PANELS_ARGUMENTS", "PanelSpec", "TransformedPanelSpec"]

# Of `panels_loop`.
PANELS_ARGUMENTS = ArgumentRow(
    Field("kernel", "microkernel"),
    Field("source", "the weights"),
    Field("target", "the panels"),
    Field("factors", "float32 [groups][columns of a group], by which weights are multiplied; or 0"),
    Field("source_group", "bytes from one group's weights to the next's"),
    Field("column_pitch", "from one output's weights to the next's"),
    Field("channel_pitch", "from one channel's weights to the next's"),
    Field("target_group", "bytes from one group's panels to the next's"),
    Field("panel_pitch", "from one panel to the next"),
    Field("tap_pitch", "from one tap of a panel to the next, or from one product of a scheme"),
    Field("row_pitch", "from one channel of a tap to the next"),
    Field("taps", "of a channel"),
    Field("channels", "of a group"),
    Field("group_columns", "outputs of a group"),
    Field("columns", "of a panel"),
    Field("panels", "of a group"),
    Field("part_channels", "channels of a part"),
    Field("blocks", "parts of a panel"),
)

# source, target: addresses of the part's first weight, and of where it goes
# factors:        address of the panel's first factor
# channels:       of the part
# columns:        that there are: what is behind them in a panel is left as it is
# row:            the step's argument row
ARGUMENTS = ("source", "target", "factors", "channels", "columns", "row")

# Elements of float32 in a line of a cache.
_LINE_ELEMENTS = 16
# Channels that are transformed before they are written: products may lie at such distances that a cache has no room
# for a line of each, so that lines are written as a whole.
_CHANNELS = 16


class _Part:
    """What kernels share: the arguments, and the factors of a vector of columns."""

    def __init__(self, name: str, isa: Isa, is_scaled: bool) -> None:
        self.module, function, self.builder = new_function(name, ARGUMENTS)
        self.s = Simd(self.builder, isa)
        self.source, self.target, self._factors, self.channels, self.columns, self._row = function.args
        self._is_scaled = is_scaled

    def argument(self, name: str) -> Value:
        return self.s.load_argument(self._row, getattr(PANELS_ARGUMENTS.offsets, name))

    def scaled(self, weights: Value, factors: Value | None) -> Value:
        return weights if factors is None else self.builder.fmul(weights, factors)

    def factors(self, first: Value, mask: Value | None) -> Value | None:
        """Of the columns from there on, if there are any."""
        if not self._is_scaled:
            return None
        return self.s.load(self.s.add(self._factors, self.s.mul(first, const(LANE_BYTES))), mask)

    def columns_from(self, first: Value, mask: Value | None) -> list[Value]:
        """A vector of columns: as many as there are, then the last one again."""
        s, last = self.s, self.s.add(self.columns, const(-1))
        columns = [s.add(first, const(i)) for i in range(s.lanes)]
        return columns if mask is None else [s.smaller(column, last) for column in columns]

    def finish(self) -> str:
        self.builder.ret_void()
        return str(self.module)


@dataclass(frozen=True)
class PanelSpec:
    """Weights as they are, elements of `item` bytes; float32 times their column's factor if `scaled`.

    `inputs_first` says in which order they lie; such have one tap.
    """

    item: int
    inputs_first: bool = False
    scaled: bool = False

    @property
    def name(self) -> str:
        order = "inputs_first" if self.inputs_first else "outputs_first"
        return f"x{8 * self.item}_panel_{order}" + "_scaled" * self.scaled

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel, one function of `ARGUMENTS`."""
        part = _Part(self.name, isa, self.scaled)
        element = F32 if self.scaled else ir.IntType(8 * self.item)
        (self._emit_rows if self.inputs_first else self._emit_transposed)(part, element)
        return part.finish()

    def _emit_rows(self, part: _Part, element: Any) -> None:
        s, channel_pitch, row_pitch = part.s, part.argument("channel_pitch"), part.argument("row_pitch")
        with s.loop(const(0), part.channels, 1, []) as channels:
            source = s.add(part.source, s.mul(channels.index, channel_pitch))
            target = s.add(part.target, s.mul(channels.index, row_pitch))

            def copy(first: Value, mask: Value | None) -> None:
                offset = s.mul(first, const(self.item))
                weights = s.load_elements(s.add(source, offset), element, mask)
                s.store_elements(part.scaled(weights, part.factors(first, mask)), s.add(target, offset), mask)

            s.each_vector(part.columns, copy)

    def _emit_transposed(self, part: _Part, element: Any) -> None:
        """Square blocks: of an output's weights, all taps of a channel and then the next one's lie side by side.

        A cache line of each output is read at once: more outputs may lie at equal distances than a cache has ways.
        """
        s, b, pitch = part.s, part.builder, part.argument("column_pitch")
        taps, tap_pitch, row_pitch = (part.argument(name) for name in ("taps", "tap_pitch", "row_pitch"))
        to_next_channel = b.sub(row_pitch, s.mul(tap_pitch, s.add(taps, const(-1))))
        count, span = s.mul(part.channels, taps), max(s.lanes, _LINE_ELEMENTS)

        def advance(tap: Value, place: Value) -> tuple[Value, Value]:
            """The next weight's tap, and where it goes."""
            tap = s.add(tap, const(1))
            is_last = b.icmp_signed("==", tap, taps)
            return b.select(is_last, const(0), tap), s.add(place, b.select(is_last, to_next_channel, tap_pitch))

        with s.loop(const(0), count, span, [const(0), part.target]) as weights:
            places, tap, place = [], *weights.values
            for _ in range(span):
                places.append(place)
                tap, place = advance(tap, place)
            weights.next = [tap, place]
            begin, left = s.add(part.source, s.mul(weights.index, const(self.item))), b.sub(count, weights.index)

            def block(first: Value, mask: Value | None, is_whole: bool) -> None:
                columns = [s.add(begin, s.mul(column, pitch)) for column in part.columns_from(first, mask)]
                factors, offset = part.factors(first, mask), s.mul(first, const(self.item))
                for number in range(0, span, s.lanes):
                    valid = None if is_whole else s.first_lanes(s.add(left, const(-number)))
                    addresses = [s.add(column, const(number * self.item)) for column in columns]
                    vectors = transposed(s, [s.load_elements(address, element, valid) for address in addresses])
                    for i, vector in enumerate(vectors, number):
                        with contextlib.nullcontext() if is_whole else b.if_then(b.icmp_signed("<", const(i), left)):
                            s.store_elements(part.scaled(vector, factors), s.add(places[i], offset), mask)

            with s.loop(const(0), part.columns, s.lanes, []) as vectors:
                first, remaining = vectors.index, b.sub(part.columns, vectors.index)
                is_whole = b.and_(
                    b.icmp_signed(">=", left, const(span)), b.icmp_signed(">=", remaining, const(s.lanes))
                )
                with b.if_else(is_whole) as (whole, partial):
                    with whole:
                        block(first, None, True)
                    with partial:
                        block(first, s.first_lanes(remaining), False)


@dataclass(frozen=True)
class TransformedPanelSpec:
    """Weights of 3x3 taps, outputs first, by a scheme of float32: ``G g Gᵀ``, in double precision inside.

    They are multiplied by their column's factor before, if `scaled`. Taps are summed in order by `Simd.fma`, as BLAS
    does. `data` is their type, ``f32`` or ``bf16``.
    """

    scheme: Scheme
    scaled: bool = False
    data: str = FLOAT32.name

    @property
    def name(self) -> str:
        return f"{self.data}_panel_{self.scheme.name}" + "_scaled" * self.scaled

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel, one function of `ARGUMENTS`."""
        part = _Part(self.name, isa, self.scaled)
        s, b = part.s, part.builder
        count, row_pitch = part.argument("columns"), part.argument("row_pitch")
        rows = b.alloca(F32, s.mul(count, const(_CHANNELS * self.scheme.products)))
        rows.align = s.vector_bytes
        memory = b.ptrtoint(rows, I64)
        product_bytes = s.mul(row_pitch, const(_CHANNELS))
        with s.loop(const(0), part.channels, _CHANNELS, []) as blocks:
            channels = s.smaller(const(_CHANNELS), b.sub(part.channels, blocks.index))
            with s.loop(const(0), channels, 1, []) as inner:
                channel = s.add(blocks.index, inner.index)
                source = s.add(part.source, s.mul(channel, part.argument("channel_pitch")))
                target = s.add(memory, s.mul(inner.index, row_pitch))
                with s.loop(const(0), count, s.lanes, []) as columns:
                    self._transform(part, source, target, columns.index, product_bytes)
            place, size = s.add(part.target, s.mul(blocks.index, row_pitch)), s.mul(channels, row_pitch)
            with s.loop(const(0), const(self.scheme.products), 1, []) as products:
                target = s.add(place, s.mul(products.index, part.argument("tap_pitch")))
                source = s.add(memory, s.mul(products.index, product_bytes))
                with s.loop(const(0), size, s.vector_bytes, []) as vectors:
                    s.store(s.load(s.add(source, vectors.index)), s.add(target, vectors.index))
        return part.finish()

    def _transform(self, part: _Part, source: Value, target: Value, first: Value, product_bytes: Value) -> None:
        """All products of a vector of columns, zeros where there are none."""
        s, b, type = part.s, part.builder, ELEMENT_TYPES[self.data]
        mask, wide = s.first_lanes(b.sub(part.columns, first)), ir.VectorType(F64, s.lanes)
        pitch = part.argument("column_pitch")
        addresses = [s.add(source, s.mul(column, pitch)) for column in part.columns_from(first, mask)]
        taps = [_gathered(s, addresses, type, tap) for tap in range(len(self.scheme.weight_matrix[0]) ** 2)]
        factors, place = part.factors(first, mask), s.add(target, s.mul(first, const(FLOAT32.bytes)))
        values = [b.fpext(part.scaled(tap, factors), wide) for tap in taps]
        matrix = np.asarray(self.scheme.weight_matrix, np.float64)
        for factors_of_taps in np.kron(matrix, matrix):
            product: Value = None
            for factor, value in zip(factors_of_taps.tolist(), values, strict=True):
                if factor:
                    constant = ir.Constant(wide, [factor] * s.lanes)
                    product = b.fmul(value, constant) if product is None else s.fma(value, constant, product)
            s.store(b.select(mask, b.fptrunc(product, s.vector), s.splat(0.0)), place)
            place = s.add(place, product_bytes)


def _gathered(s: Simd, addresses: list[Value], type: ElementType, place: int) -> Value:
    """The element at that place behind each address, in float32."""
    made: Value = ir.Constant(s.vector_of(type.memory), ir.Undefined)
    for lane, address in enumerate(addresses):
        element = s.pointer(s.add(address, const(place * type.bytes)), type.memory)
        number = s.builder.load(element, align=type.bytes)
        made = s.builder.insert_element(made, number, ir.Constant(I32, lane))
    return type.to_float(s, type.widen(s, made))
