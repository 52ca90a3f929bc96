"""States of a recurrent layer in levels, as they are multiplied at a time: integers by a range found then."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from minidnn_kernels.arguments import WORD_BYTES, ArgumentRow, Field
from minidnn_kernels.element_type import FLOAT32, INT8, UINT8, ElementType
from minidnn_kernels.isa import Isa
from minidnn_kernels.rows import Row
from minidnn_kernels.scales import linear_scale
from minidnn_kernels.simd import F32, I32, Simd, Value, const, new_function

__all__ = ["ARGUMENTS", "LEVELS", "ROW_SCALE", "StateLevelsSpec", "row_pitch"]

# pointers: address of row pointers
# rows:     how many
# depth:    float32 of a row
# target:   [rows] of the levels, `row_pitch` bytes from one to the next
# scales:   `ROW_SCALE` of each row; of levels in float32, 0
ARGUMENTS = ("pointers", "rows", "depth", "target", "scales")

# What the sums of a row's products are to be multiplied by, float32 in the low half, and the level of a zero.
ROW_SCALE = ArgumentRow(Field("scale", "a float32 in the low half"), Field("zero", "an int32 in the low half"))

Combine = Callable[[list[Value], Value], list[Value]]

# A product reads whole groups of a row, the last maybe beyond its end.
_LINE = 64


@dataclass(frozen=True)
class _Levels:
    """The type of levels, and whether all rows share one range."""

    type: ElementType
    is_shared: bool


# Of each row -127 to 127 by the largest of it; of all rows 0 to 255, with a zero point, and what these stand for.
LEVELS = {"rows": _Levels(INT8, False), "batch": _Levels(UINT8, True), "batch_floats": _Levels(FLOAT32, True)}


def row_pitch(form: str, depth: int) -> int:
    """Bytes from the levels of one row to the next's."""
    return -(-depth * LEVELS[form].type.bytes // _LINE) * _LINE


@dataclass(frozen=True)
class StateLevelsSpec:
    """Levels of some rows; `form` is one of `LEVELS`.

    A NaN spoils its own row: it stays one in float32, and makes the scale of integers NaN.
    """

    form: str

    @property
    def name(self) -> str:
        return f"{LEVELS[self.form].type.name}_state_levels_{self.form}"

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel, one function of `ARGUMENTS`."""
        module, function, builder = new_function(self.name, ARGUMENTS)
        rows = _Rows(Simd(builder, isa), LEVELS[self.form].type, dict(zip(ARGUMENTS, function.args, strict=True)))
        if LEVELS[self.form].is_shared:
            rows.by_one_range()
        else:
            rows.by_their_ranges()
        builder.ret_void()
        return str(module)


class _Rows:
    """The rows of a call."""

    def __init__(self, s: Simd, type: ElementType, arguments: dict[str, Value]) -> None:
        self.s, self.type, self._a = s, type, arguments
        depth = arguments["depth"]
        self._whole = s.builder.and_(depth, const(-s.lanes))
        mask = s.first_lanes(s.builder.sub(depth, self._whole))
        is_partial = s.builder.icmp_signed("<", self._whole, depth)
        everywhere = s.builder.trunc(s.splat_i32(s.builder.sext(is_partial, I32)), s.mask_type)
        self._mask = s.builder.and_(mask, everywhere)
        line = s.add(s.mul(depth, const(type.bytes)), const(_LINE - 1))
        self._pitch = s.builder.and_(line, const(-_LINE))

    def by_one_range(self) -> None:
        s, b = self.s, self.s.builder
        with s.loop(const(0), self._a["rows"], 1, [s.splat(0.0), s.splat(0.0)]) as loop:
            loop.next = self._fold(self._source(loop.index), loop.values, self._widened)
        low = s.splat(s.reduce(loop.results[0], lambda x, y: s.where("<", x, y, x, y)))
        high = s.splat(s.reduce(loop.results[1], lambda x, y: s.where(">", x, y, x, y)))
        scale, zero = linear_scale(s, low, high, 255.0)

        def level(x: Value) -> Value:
            steps = s.unary("rint", b.fdiv(x, scale))
            made = s.at_most(s.at_least(b.fadd(steps, zero), s.splat(0.0)), s.splat(255.0))
            return made if self.type.is_integer else b.fmul(b.fsub(made, zero), scale)

        with s.loop(const(0), self._a["rows"], 1, []) as loop:
            source = self._source(loop.index)
            self._store_levels(source, loop.index, level)
            if self.type.is_integer:
                nans = self._fold(source, [s.splat(0.0)], self._spoiled)[0]
                spoilt = s.splat(s.reduce(nans, b.fadd))
                self._store_scale(loop.index, b.fadd(scale, spoilt), s.to_int(zero))

    def by_their_ranges(self) -> None:
        s = self.s
        with s.loop(const(0), self._a["rows"], 1, []) as loop:
            row = Row(s, self._source(loop.index), self._target(loop.index), self._a["depth"])
            self._store_scale(loop.index, row.quantize(self.type.name), s.splat_int(0))

    def _source(self, row: Value) -> Value:
        return self.s.load_i64(self.s.add(self._a["pointers"], self.s.mul(row, const(WORD_BYTES))))

    def _target(self, row: Value) -> Value:
        return self.s.add(self._a["target"], self.s.mul(row, self._pitch))

    def _fold(self, source: Value, start: list[Value], combine: Combine) -> list[Value]:
        """The vectors of a row combined; lanes behind its end are zeros."""
        s = self.s
        with s.loop(const(0), self._whole, s.lanes, start) as loop:
            loop.next = combine(loop.values, s.load(s.add(source, s.mul(loop.index, const(FLOAT32.bytes)))))
        return combine(loop.results, s.load(s.add(source, s.mul(self._whole, const(FLOAT32.bytes))), self._mask))

    def _widened(self, ends: list[Value], x: Value) -> list[Value]:
        """The smallest and the largest element; a NaN does not count."""
        s = self.s
        return [s.where("<", x, ends[0], x, ends[0]), s.where(">", x, ends[1], x, ends[1])]

    def _spoiled(self, found: list[Value], x: Value) -> list[Value]:
        """NaN where one was met."""
        s = self.s
        return [s.where("==", x, x, found[0], s.splat(math.nan))]

    def _store_levels(self, source: Value, row: Value, level: Callable[[Value], Value]) -> None:
        s, into = self.s, self._target(row)

        def one(index: Value, mask: Value | None) -> None:
            made = level(s.load(s.add(source, s.mul(index, const(FLOAT32.bytes))), mask))
            address = s.add(into, s.mul(index, const(self.type.bytes)))
            if self.type.is_integer:
                self.type.store_lanes(s, self.type.from_float(s, made), address, mask)
            else:
                s.store(made, address, mask)

        s.each_vector(self._a["depth"], one)

    def _store_scale(self, row: Value, scale: Value, zero: Value) -> None:
        s, b = self.s, self.s.builder
        at = s.add(self._a["scales"], s.mul(row, const(ROW_SCALE.words * WORD_BYTES)))
        for offset, vector, element in ((ROW_SCALE.offsets.scale, scale, F32), (ROW_SCALE.offsets.zero, zero, I32)):
            address = s.pointer(s.add(at, const(offset)), element)
            b.store(b.extract_element(vector, I32(0)), address, align=FLOAT32.bytes)
