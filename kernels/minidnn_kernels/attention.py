"""Attention: what becomes of a row of scores, and the arguments of the loop around it.

The loop takes some queries of one head at a time and goes through the keys in blocks that the second-level cache holds:
the tile multiplies a strip of queries by a block of keys, the weights of the softmax are made of the scores, and the
tile multiplies them by the values, so that scores never leave the core. Over several blocks the softmax is kept up to
date (M. Milakov and N. Gimelshein, Online normalizer calculation for softmax, 2018; T. Dao et al., FlashAttention,
2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from minidnn_kernels import vector_math as vm
from minidnn_kernels.arguments import ArgumentRow, Field
from minidnn_kernels.element_type import FLOAT32, INT8
from minidnn_kernels.epilogue import Epilogue, Instruction, load_numbers
from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import F32, Simd, Value, const, new_function

__all__ = [
    "ADD_EPILOGUE",
    "ATTENTION_ARGUMENTS",
    "CAUSAL",
    "MASKS",
    "MAX_SEGMENTS",
    "NUMBERS",
    "OUT_EPILOGUE",
    "SEGMENT",
    "WEIGHTS_CONTEXT",
    "FinishSpec",
    "PackSpec",
    "WeightsSpec",
]

# Keys come from a past, and from what is new.
MAX_SEGMENTS = 2
# How the order of queries limits the keys they see.
CAUSAL = {None: 0, "first": 1, "last": 2}
# Masks by the name of a `WeightsSpec`, and the bytes of an element.
MASKS = {"": 0, "add": FLOAT32.bytes, "keep": INT8.bytes}
# Float32 numbers, in the low half of a word each.
NUMBERS = ("scale", "softcap", "hidden")

# Keys and values that lie in one piece of memory.
SEGMENT = ArgumentRow(
    Field("key", "float32, of the first batch and head"),
    Field("value", "likewise"),
    Field("key_batch", "bytes from one batch's keys to the next's"),
    Field("key_head", "bytes from one head's to the next's"),
    Field("key_row", "bytes from one key to the next, whose elements lie side by side"),
    Field("value_batch", "likewise"),
    Field("value_head", "likewise"),
    Field("value_row", "likewise"),
    Field("keys", "how many"),
    Field("lengths", "of each batch how many count; 0: all"),
    Field("length_bytes", "of one of these integers, 4 or 8"),
    Field("column", "of the mask's row, where its first key is"),
)
# Of `attention_loop`. "Rows" are queries, of `groups` heads that share the keys of a head.
ATTENTION_ARGUMENTS = ArgumentRow(
    Field("score_tile", "microkernel of queries by keys"),
    Field("out_tile", "microkernel of weights by values where there is one block: `OUT_EPILOGUE`"),
    Field("remainder_tile", "the same for the last columns"),
    Field("add_tile", "likewise, where there are several: `ADD_EPILOGUE`; 0 where there is one"),
    Field("weights", "microkernel of the softmax"),
    Field("pack", "microkernel that packs values"),
    Field("transpose", "microkernel that packs keys"),
    Field("finish", "microkernel that divides by the sums; 0 where there is one block"),
    Field("score_row", "microkernel of one query by keys where they lie, instead of tiles and panels; else 0"),
    Field("value_row", "the same of its weights by values"),
    Field("query", "float32, of the first batch and head"),
    Field("query_batch", "bytes from one batch's to the next's"),
    Field("query_head", "bytes from what shares one head of keys to what shares the next"),
    Field("query_group", "bytes between those that share a head"),
    Field("query_row", "bytes from one query to the next"),
    Field("out", "float32, of the first batch and head"),
    Field("out_batch", "as of the queries"),
    Field("out_head", "as of the queries"),
    Field("out_group", "as of the queries"),
    Field("out_row", "as of the queries"),
    Field("mask", "its first element; 0: there is none"),
    Field("mask_batch", "as of the queries"),
    Field("mask_head", "as of the queries"),
    Field("mask_group", "as of the queries"),
    Field("mask_row", "as of the queries"),
    Field("mask_item", "bytes of its elements, which lie side by side along the keys"),
    Field("packed", "sequences, which lie one behind the other in all rows, with as many keys; 0: a batch"),
    Field("heads", "of the keys"),
    Field("groups", "heads of queries for each of them"),
    Field("rows", "queries of a head"),
    Field("row_blocks", "parts of a head"),
    Field("block_rows", "rows of a part, whole strips"),
    Field("size", "elements of a query"),
    Field("value_size", "elements of a value"),
    Field("tile_rows", "of both tiles"),
    Field("score_columns", "of its tile"),
    Field("value_columns", "of its tile"),
    Field("key_block", "keys of a block, whole tiles"),
    Field("causal", "of the last segment, as `CAUSAL` has it"),
    Field("step", "keys that a row sees more than the one before it, if `causal`: 1, or 0 if rows are heads"),
    Field("queries", "of a head, whatever rows are"),
    Field("numbers", "as `NUMBERS` has it", words=len(NUMBERS)),
    Field("segments", "how many"),
    Field("segment", "as `SEGMENT` has it, the last one at the end", words=MAX_SEGMENTS * SEGMENT.words),
)

# Weights by values, times one number for each row: 1 / the sum of its weights.
OUT_EPILOGUE = Epilogue((Instruction("load", operand=0), Instruction("multiply", (0, 1))), ("row",))
# The same added to what earlier blocks gave.
ADD_EPILOGUE = Epilogue((Instruction("load", operand=0), Instruction("add", (0, 1))), ("tensor",))

WEIGHTS_CONTEXT = ArgumentRow(
    Field("row", "scores, which become weights"),
    Field("filled", "elements of it that are read behind: zeros where no key is seen"),
    Field("mask", "of the row's first key"),
    Field("largest", "float32, of the blocks before"),
    Field("total", "float32, likewise; where there is one block, gets 1 / the sum of weights"),
    Field("sums", "of values, of the blocks before"),
    Field("sums_count", "of these, whole vectors"),
)
# context: as `WEIGHTS_CONTEXT` has it
# count:   keys that are seen
# numbers: address of `NUMBERS`
_WEIGHTS_ARGUMENTS = ("context", "count", "numbers")


@dataclass(frozen=True)
class WeightsSpec:
    """Scores to weights, not divided by their sum yet.

    Args:
        mask: "", ``add`` (float32) or ``keep`` (bytes; keys where it is 0 have the score ``hidden``).
        softcap: whether scores are bounded before the mask.
        online: whether there are several blocks, whose sums are kept up to date.
    """

    mask: str = ""
    softcap: bool = False
    online: bool = False

    @property
    def name(self) -> str:
        flags = ("softcap", "online")
        return "_".join(("f32_weights", *filter(None, [self.mask]), *(f for f in flags if getattr(self, f))))

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel."""
        module, function, builder = new_function(self.name, _WEIGHTS_ARGUMENTS)
        _Weights(Simd(builder, isa), self, *function.args).emit()
        builder.ret_void()
        return str(module)


class _Weights:
    """One row of a block."""

    def __init__(self, s: Simd, spec: WeightsSpec, context: Value, count: Value, numbers: Value) -> None:
        self.s, self.spec, self.count = s, spec, count
        self.given = {
            f.name: s.load_argument(context, getattr(WEIGHTS_CONTEXT.offsets, f.name)) for f in WEIGHTS_CONTEXT.fields
        }
        self.numbers = dict(zip(NUMBERS, load_numbers(s, numbers, [FLOAT32] * len(NUMBERS)), strict=True))

    def emit(self) -> None:
        s, b = self.s, self.s.builder
        nothing = s.splat(-math.inf)
        before = s.load_splat(self.given["largest"]) if self.spec.online else nothing
        found = s.reduce(self._fold(self._masked, nothing, lambda a, x: s.where(">", x, a, x, a)), self._larger)
        found = s.splat(found)
        largest = s.where(">", found, before, found, before)
        # Where no key is seen yet nothing is to be subtracted: infinity less infinity is NaN.
        base = s.where("==", largest, nothing, s.splat(0.0), largest)

        def weigh(x: Value, index: Value, mask: Value | None) -> Value:
            return vm.exp_below(s, b.fsub(x, base))

        total = s.splat(s.reduce(self._fold(weigh, s.splat(0.0), b.fadd), b.fadd))
        self._clear_rest()
        if not self.spec.online:
            inverse = s.where("==", total, s.splat(0.0), total, b.fdiv(s.splat(1.0), total))
            self._store_number(inverse, "total")
            return
        shrunk = vm.exp_below(s, b.fsub(before, base))
        self._store_number(largest, "largest")
        self._store_number(s.fma(s.load_splat(self.given["total"]), shrunk, total), "total")
        self._rescale(shrunk)

    def _larger(self, a: Value, x: Value) -> Value:
        return self.s.where(">", x, a, x, a)

    def _fold(
        self,
        change: Callable[[Value, Value, Value | None], Value],
        start: Value,
        combine: Callable[[Value, Value], Value],
    ) -> Value:
        """Change each element in place, and combine what comes of it lane by lane."""
        s, b = self.s, self.s.builder

        def one(index: Value, mask: Value | None) -> Value:
            address = s.add(self.given["row"], s.mul(index, const(FLOAT32.bytes)))
            made = change(s.load(address, mask), index, mask)
            s.store(made, address, mask)
            return made if mask is None else b.select(mask, made, start)

        whole = b.and_(self.count, const(-s.lanes))
        with s.loop(const(0), whole, s.lanes, [start]) as loop:
            loop.next = [combine(loop.values[0], one(loop.index, None))]
        made = loop.results[0]
        left = b.sub(self.count, whole)
        before = b.block
        with b.if_then(b.icmp_signed(">", left, const(0))):
            rest = combine(made, one(whole, s.first_lanes(left)))
            inside = b.block
        both = b.phi(s.vector)
        both.add_incoming(made, before)
        both.add_incoming(rest, inside)
        return both

    def _masked(self, x: Value, index: Value, mask: Value | None) -> Value:
        s, b = self.s, self.s.builder
        x = b.fmul(x, self.numbers["scale"])
        if self.spec.softcap:
            bound = self.numbers["softcap"]
            x = b.fmul(vm.tanh(s, b.fdiv(x, bound)), bound)
        if not self.spec.mask:
            return x
        address = s.add(self.given["mask"], s.mul(index, const(MASKS[self.spec.mask])))
        if self.spec.mask == "add":
            return b.fadd(x, s.load(address, mask))
        lanes = INT8.load_lanes(s, address, mask)
        return b.select(b.icmp_signed("!=", lanes, s.splat_int(0)), x, self.numbers["hidden"])

    def _clear_rest(self) -> None:
        """Zeros from `count` to `filled`."""
        s, b = self.s, self.s.builder
        with s.loop(self.count, self.given["filled"], s.lanes, []) as loop:
            left = b.sub(self.given["filled"], loop.index)
            s.store(
                s.splat(0.0), s.add(self.given["row"], s.mul(loop.index, const(FLOAT32.bytes))), s.first_lanes(left)
            )

    def _store_number(self, value: Value, field: str) -> None:
        s = self.s
        number = s.builder.extract_element(value, const(0))
        s.builder.store(number, s.pointer(self.given[field], F32), align=FLOAT32.bytes)

    def _rescale(self, factor: Value) -> None:
        s, b = self.s, self.s.builder
        with s.loop(const(0), self.given["sums_count"], s.lanes, []) as loop:
            address = s.add(self.given["sums"], s.mul(loop.index, const(FLOAT32.bytes)))
            s.store(b.fmul(s.load(address), factor), address)


# source, target: addresses
# rows:           how many
# columns:        of a row
# pitches:        address of two words: from one row of the source to the next, from one panel to the next
_PACK_ARGUMENTS = ("source", "target", "rows", "columns", "pitches")


@dataclass(frozen=True)
class PackSpec:
    """Rows of float32 into panels of so many `vectors`, row by row; columns that do not exist become zeros."""

    vectors: int

    @property
    def name(self) -> str:
        return f"f32_pack_{self.vectors}v"

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel."""
        module, function, b = new_function(self.name, _PACK_ARGUMENTS)
        s = Simd(b, isa)
        source, target, rows, columns, pitches = function.args
        row_pitch, panel_pitch = s.load_argument(pitches, 0), s.load_argument(pitches, 8)
        width = self.vectors * s.lanes
        with s.loop(const(0), rows, 1, []) as row, s.loop(const(0), columns, width, [target]) as panel:
            begin = s.add(source, s.mul(row.index, row_pitch), s.mul(panel.index, const(FLOAT32.bytes)))
            to = s.add(panel.values[0], s.mul(row.index, const(width * FLOAT32.bytes)))
            left = b.sub(columns, panel.index)

            def move(masked: bool, begin: Value = begin, to: Value = to, left: Value = left) -> None:
                for v in range(self.vectors):
                    offset = const(v * s.vector_bytes)
                    mask = s.first_lanes(s.add(left, const(-v * s.lanes))) if masked else None
                    s.store(s.load(s.add(begin, offset), mask), s.add(to, offset))

            with b.if_else(b.icmp_signed(">=", left, const(width))) as (whole, part):
                with whole:
                    move(masked=False)
                with part:
                    move(masked=True)
            panel.next = [s.add(panel.values[0], panel_pitch)]
        b.ret_void()
        return str(module)


# source, target: addresses of a row
# columns:        of it
# total:          address of the sum of its weights
# unused
_FINISH_ARGUMENTS = ("source", "target", "columns", "total", "unused")


@dataclass(frozen=True)
class FinishSpec:
    """A row divided by the sum of its weights; zeros where that is zero."""

    @property
    def name(self) -> str:
        return "f32_finish"

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel."""
        module, function, b = new_function(self.name, _FINISH_ARGUMENTS)
        s = Simd(b, isa)
        source, target, columns, total, _ = function.args
        sum_ = s.load_splat(total)
        inverse = s.where("==", sum_, s.splat(0.0), sum_, b.fdiv(s.splat(1.0), sum_))

        def one(index: Value, mask: Value | None) -> None:
            offset = s.mul(index, const(FLOAT32.bytes))
            s.store(b.fmul(s.load(s.add(source, offset), mask), inverse), s.add(target, offset), mask)

        s.each_vector(columns, one)
        b.ret_void()
        return str(module)
