"""Pooling: for each output pixel, the maximum or the scaled sum of some input pixels, channel by channel."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from minidnn_kernels.arguments import WORD_BYTES, ArgumentRow, Field
from minidnn_kernels.element_type import ELEMENT_TYPES, FLOAT32, INT32, ElementType
from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import Simd, Value, const, new_function

__all__ = ["ARGUMENTS", "GLOBAL_POOL_ARGUMENTS", "MAX_TAPS", "POOL_ARGUMENTS", "STRIDED", "PoolSpec"]

# target:   address of the output pixel
# pixels:   address of the input pixels' addresses; for a strided pool, the address of the first pixel
# count:    input pixels
# channels: how many
# extra:    address of the float32 factor of a sum; for a strided pool, of `STRIDED`
ARGUMENTS = ("target", "pixels", "count", "channels", "extra")

_UNROLL = 4

# Pixels summed without compensation: of many in a row, a float32 sum loses more digits with each.
_BLOCK = 32


# Taps of a window: the loop keeps their addresses on its stack.
MAX_TAPS = 8192

# Of `pool_loop`.
POOL_ARGUMENTS = ArgumentRow(
    Field("kernel", "microkernel"),
    Field("source", "the input"),
    Field("target", "the output"),
    Field("image_pitch", "from one input image to the next"),
    Field("pixel_pitch", "from one input pixel to the next"),
    Field("target_pitch", "from one output pixel to the next"),
    Field("table", "int32 [pixels][taps]: input pixels, -1 for padding"),
    Field("taps", "of the window, at most `MAX_TAPS`"),
    Field("pixels", "output pixels per image"),
    Field("block", "output pixels of a part"),
    Field("blocks", "parts of an image"),
    Field("factors", "float32 [pixels]: what sums are multiplied by"),
    Field("channels", "how many"),
)

# Of `global_pool_loop`.
GLOBAL_POOL_ARGUMENTS = ArgumentRow(
    Field("kernel", "microkernel of a strided pool"),
    Field("source", "the input"),
    Field("target", "the output"),
    Field("image_pitch", "from one input image to the next"),
    Field("target_pitch", "from one output image to the next"),
    Field("pixels", "input pixels per image"),
    Field("block", "channels of a part"),
    Field("blocks", "parts of an image"),
    Field("extra", "address of `STRIDED`"),
    Field("channels", "how many"),
    Field("item", "bytes of an element of the input"),
    Field("target_item", "bytes of an element of the output"),
)
# What the microkernel of a strided pool is told beside.
STRIDED = ArgumentRow(
    Field("factor", "a float32 in the low half: what a sum is multiplied by"),
    Field("pixel_pitch", "from one input pixel to the next"),
)


@dataclass(frozen=True)
class PoolSpec:
    """`operation` is ``max`` (NaN wins) or ``sum`` (times a factor); `strided` pixels lie at equal distances.

    `data` is the type of the input, ``f32``, ``u8`` or ``s8``. A maximum has the same type, a sum is float32.
    """

    operation: str
    strided: bool = False
    data: str = "f32"

    @property
    def name(self) -> str:
        return f"{self.data}_{'global_' if self.strided else ''}pool_{self.operation}"

    @property
    def _type(self) -> ElementType:
        return ELEMENT_TYPES[self.data]

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel, one function of `ARGUMENTS`."""
        module, function, builder = new_function(self.name, ARGUMENTS)
        s = Simd(builder, isa)
        channels = function.args[3]
        stop_wide = builder.sub(channels, builder.srem(channels, const(_UNROLL * s.lanes)))
        with s.loop(const(0), stop_wide, _UNROLL * s.lanes, []) as loop:
            self._channels(s, function.args, loop.index, _UNROLL, None)
        whole = builder.and_(channels, const(-s.lanes))
        with s.loop(stop_wide, whole, s.lanes, []) as loop:
            self._channels(s, function.args, loop.index, 1, None)
        with builder.if_then(builder.icmp_signed("<", whole, channels)):
            self._channels(s, function.args, whole, 1, s.first_lanes(builder.sub(channels, whole)))
        builder.ret_void()
        return str(module)

    def _channels(self, s: Simd, arguments: list[Value], channel: Value, vectors: int, mask: Value | None) -> None:
        target, pixels, count, _, extra = arguments
        pitch = s.load_argument(extra, STRIDED.offsets.pixel_pitch) if self.strided else None
        item = self._type.bytes

        def fold(begin: Value, end: Value) -> list[Value]:
            with s.loop(begin, end, 1, [self._start(s)] * vectors) as tap:
                if pitch is not None:
                    pixel = s.add(pixels, s.mul(tap.index, pitch))
                else:
                    pixel = s.load_i64(s.add(pixels, s.mul(tap.index, const(WORD_BYTES))))
                first = s.add(pixel, s.mul(channel, const(item)))
                tap.next = [
                    self._take(s, value, s.add(first, const(j * s.lanes * item)), mask)
                    for j, value in enumerate(tap.values)
                ]
            return tap.results

        results = _sum_blocks(s, count, vectors, fold) if self.operation == "sum" else fold(const(0), count)
        factor = s.load_splat(extra) if self.operation == "sum" else None
        made = self._type if factor is None else FLOAT32
        for j, value in enumerate(results):
            address = s.add(target, s.mul(channel, const(made.bytes)), const(j * s.lanes * made.bytes))
            made.store_lanes(s, value if factor is None else s.builder.fmul(value, factor), address, mask)

    def _start(self, s: Simd) -> Value:
        if self.operation == "sum":
            return s.splat(0.0)
        return s.splat_int(INT32.limits[0]) if self._type.is_integer else s.splat(-math.inf)

    def _take(self, s: Simd, value: Value, address: Value, mask: Value | None) -> Value:
        """`value` with the elements at `address` taken in."""
        if self.operation == "sum":
            return s.builder.fadd(value, self._type.load(s, address, mask))
        element = self._type.load_lanes(s, address, mask)
        if not self._type.is_integer:
            return s.binary("maximum", value, element)
        return s.builder.select(s.builder.icmp_signed(">", element, value), element, value)


def _sum_blocks(s: Simd, count: Value, vectors: int, fold: Callable[[Value, Value], list[Value]]) -> list[Value]:
    """Sums of blocks of pixels, added with what each addition loses carried to the next.

    W. Kahan, Further Remarks on Reducing Truncation Errors, 1965: the error stays that of one block, however
    many pixels there are.
    """
    b = s.builder
    with s.loop(const(0), count, _BLOCK, [s.splat(0.0)] * (2 * vectors)) as block:
        sums = fold(block.index, s.smaller(s.add(block.index, const(_BLOCK)), count))
        totals, lost = [], []
        for part, total, carried in zip(sums, block.values[:vectors], block.values[vectors:], strict=True):
            summand = b.fsub(part, carried)
            totals.append(b.fadd(total, summand))
            loss = b.fsub(b.fsub(totals[-1], total), summand)
            # Of an infinite total nothing is lost.
            lost.append(s.where("==", loss, loss, loss, s.splat(0.0)))
        block.next = [*totals, *lost]
    return block.results[:vectors]
