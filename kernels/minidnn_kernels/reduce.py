"""Reductions of elements of any type along any dimensions: sums, products, extremes, their places, variances."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minidnn_kernels.arguments import ArgumentRow, Field
from minidnn_kernels.elements import F64, LANES, REAL, WHOLE, WORD, Lanes
from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import Simd, Value, const, new_function

__all__ = [
    "FINISH_ARGUMENTS",
    "FOLD_ARGUMENTS",
    "MAX_KEPT",
    "MAX_REDUCED",
    "POOL_PLACES_ARGUMENTS",
    "REDUCE_ARGUMENTS",
    "FoldSpec",
    "ResultSpec",
    "start_word",
]

# Of a fold:
# accumulators: address of words, [2][count] for the places of extremes: extremes, then places
# source:       address of contiguous elements
# count:        of them
# extra:        a place for the places of extremes; for squares the address of the means they are taken from
FOLD_ARGUMENTS = ("accumulators", "source", "count", "extra")
# Of a finish: target[i] from accumulators[i], divided by `divisor`.
FINISH_ARGUMENTS = ("target", "accumulators", "count", "divisor")

MAX_KEPT, MAX_REDUCED = 4, 3

# Of `reduce_loop`.
REDUCE_ARGUMENTS = ArgumentRow(
    Field("fold", "microkernel"),
    Field("finish", "microkernel"),
    Field("squares", "microkernel that sums squares of differences from the means; 0 if none are wanted"),
    Field("means", "microkernel that finishes the means of squares"),
    Field("source", "its first element"),
    Field("target", "its first element"),
    Field("across", "1 if the innermost dimension is kept, 0 if it is reduced"),
    Field("inner", "elements of the innermost dimension"),
    Field("item", "bytes of an element of the source"),
    Field("target_item", "bytes of an element of the target"),
    Field("start", "word that accumulators begin with"),
    Field("divisor", "of the result"),
    Field("mean_divisor", "of the means"),
    Field("chunk", "accumulators of a call at most"),
    Field("words", "of an accumulator: 2 with the places of extremes"),
    Field("kept", "extents of the other kept dimensions, the outermost first", words=MAX_KEPT),
    Field("kept_strides", "bytes, in the source", words=MAX_KEPT),
    Field("target_strides", "bytes, in the target", words=MAX_KEPT),
    Field("reduced", "extents of the other reduced dimensions, the outermost first", words=MAX_REDUCED),
    Field("reduced_strides", "bytes", words=MAX_REDUCED),
)

# Of `pool_places_loop`. Scratch memory has two words for each channel.
POOL_PLACES_ARGUMENTS = ArgumentRow(
    Field("fold", "microkernel of the places of maxima, across"),
    Field("finish", "microkernel that writes places as int64"),
    Field("source", "[images][input pixels][channels]"),
    Field("target", "int64 [images][pixels][channels]: places, counted over all images and channels"),
    Field("images", "how many"),
    Field("pixels", "windows of an image"),
    Field("area", "input pixels of an image"),
    Field("channels", "how many"),
    Field("item", "bytes of an element of the source"),
    Field("taps", "of the window"),
    Field("table", "int32 [pixels][taps]: the input pixel of each tap; -1: padding"),
    Field("numbers", "int32 [area]: what a pixel is called in places"),
    Field("start", "word that accumulators begin with"),
)

_PLACES = {"argmax": "max", "argmin": "min"}


def start_word(operation: str, dtype: np.dtype[np.generic], held: str) -> int:
    """The bits of the accumulator that changes nothing."""
    operation = _PLACES.get(operation, {"any": "max", "all": "min"}.get(operation, operation))
    if held == REAL:
        number = {"prod": 1.0, "max": -math.inf, "min": math.inf}.get(operation, 0.0)
        return int(np.float64(number).view(np.int64))
    info = np.iinfo(np.uint64 if dtype.kind in "ub" else np.int64)
    number = {"prod": 1, "max": info.min, "min": info.max}.get(operation, 0)
    return int(np.array(number, info.dtype).view(np.int64))


@dataclass(frozen=True)
class FoldSpec:
    """Takes elements into accumulators, each into its own (`across`), or all into one.

    Args:
        operation: ``sum``, ``prod``, ``max`` and ``min`` (NaN wins), ``any``, ``all``, the sum of squares ``norm``,
            ``squares`` of differences from a mean, ``argmax``, ``argmin`` (the first of equals, the first NaN).
        data: NumPy's name of the elements' type.
        held: how accumulators are, `REAL` or `WHOLE`.
        across: whether each element has an accumulator.
    """

    operation: str
    data: str
    held: str
    across: bool

    @property
    def name(self) -> str:
        return f"{self.data}_{'across' if self.across else 'along'}_{self.operation}_{self.held}"

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel, one function of `FOLD_ARGUMENTS`."""
        module, function, builder = new_function(self.name, FOLD_ARGUMENTS)
        s = Simd(builder, isa)
        if self.across:
            self._emit_across(s, *function.args)
        elif self.operation in _PLACES:
            self._emit_place(s, *function.args)
        else:
            self._emit_along(s, *function.args)
        builder.ret_void()
        return str(module)

    def _emit_across(self, s: Simd, accumulators: Value, source: Value, count: Value, extra: Value) -> None:
        def body(index: Value, lanes: int) -> None:
            elements, held = Lanes(s.builder, self.data, self.held, lanes), _held(s, self.held, lanes)
            value = elements.load(s.add(source, s.mul(index, const(elements.bytes))))
            mine = s.add(accumulators, s.mul(index, const(WORD)))
            before = held.load(mine)
            if self.operation in _PLACES:
                places = _held(s, WHOLE, lanes)
                where = s.add(mine, s.mul(count, const(WORD)))
                wins = self._wins(s, before, value)
                held.store(s.builder.select(wins, value, before), mine)
                places.store(s.builder.select(wins, places.splat(extra), places.load(where)), where)
                return
            mean = held.load(s.add(extra, s.mul(index, const(WORD)))) if self.operation == "squares" else None
            held.store(self._combine(s, before, self._of(s, elements, value, mean)), mine)

        _each(s, count, body)

    def _emit_along(self, s: Simd, accumulators: Value, source: Value, count: Value, extra: Value) -> None:
        wide, one = (Lanes(s.builder, self.data, self.held, n) for n in (LANES, 1))
        scalar = _held(s, self.held, 1)
        mean = scalar.load(extra) if self.operation == "squares" else None
        spread = None if mean is None else wide.splat(mean)
        start = start_word(self.operation, wide.dtype, self.held)
        neutral = np.int64(start).view(np.float64).item() if self.held == REAL else start
        whole = s.builder.and_(count, const(-LANES))

        def take(lanes: Lanes, index: Value, total: Value, mean: Value | None) -> Value:
            value = lanes.load(s.add(source, s.mul(index, const(lanes.bytes))))
            return self._combine(s, total, self._of(s, lanes, value, mean))

        with s.loop(const(0), whole, LANES, [wide.constant(neutral)]) as loop:
            loop.next = [take(wide, loop.index, loop.values[0], spread)]
        folded = wide.fold(loop.results[0], lambda a, b: self._combine(s, a, b))
        with s.loop(whole, count, 1, [self._combine(s, scalar.load(accumulators), folded)]) as rest:
            rest.next = [take(one, rest.index, rest.values[0], mean)]
        scalar.store(rest.results[0], accumulators)

    def _emit_place(self, s: Simd, accumulators: Value, source: Value, count: Value, extra: Value) -> None:
        one, held, places = Lanes(s.builder, self.data, self.held, 1), _held(s, self.held, 1), _held(s, WHOLE, 1)
        where = s.add(accumulators, const(WORD))
        with s.loop(const(0), count, 1, [held.load(accumulators), places.load(where)]) as loop:
            value = one.load(s.add(source, s.mul(loop.index, const(one.bytes))))
            best, place = loop.values
            wins = self._wins(s, best, value)
            found = s.add(extra, loop.index)
            loop.next = [s.builder.select(wins, value, best), s.builder.select(wins, found, place)]
        held.store(loop.results[0], accumulators)
        places.store(loop.results[1], where)

    def _of(self, s: Simd, lanes: Lanes, value: Value, mean: Value | None) -> Value:
        """What an element contributes."""
        b = s.builder
        if mean is not None:
            difference = b.fsub(value, mean)
            return b.fmul(difference, difference)
        if self.operation == "norm":
            return b.fmul(value, value)
        if self.operation in ("any", "all"):
            is_true = b.fcmp_unordered if self.held == REAL else b.icmp_unsigned
            return b.select(is_true("!=", value, lanes.constant(0)), lanes.constant(1), lanes.constant(0))
        return value

    def _combine(self, s: Simd, a: Value, b: Value) -> Value:
        if self.operation in ("sum", "squares", "norm"):
            return (s.builder.fadd if self.held == REAL else s.builder.add)(a, b)
        if self.operation == "prod":
            return (s.builder.fmul if self.held == REAL else s.builder.mul)(a, b)
        return s.builder.select(self._wins(s, a, b), b, a)

    def _wins(self, s: Simd, best: Value, value: Value) -> Value:
        """Whether `value` takes the place of `best`: it is better, or the first NaN."""
        b = s.builder
        sign = ">" if self.operation in ("max", "argmax", "any") else "<"
        if self.held == WHOLE:
            compare = b.icmp_unsigned if np.dtype(self.data).kind in "ub" else b.icmp_signed
            return compare(sign, value, best)
        return b.and_(b.fcmp_unordered(sign, value, best), b.fcmp_ordered("ord", best, best))


@dataclass(frozen=True)
class ResultSpec:
    """Results from accumulators: divided, then the root if `root`.

    Args:
        data: NumPy's name of the results' type.
        held: how accumulators are.
        divides: whether there is a divisor: a float64 in a word.
        root: whether the square root is taken.
    """

    data: str
    held: str
    divides: bool = False
    root: bool = False

    @property
    def name(self) -> str:
        steps = f"{'_divided' if self.divides else ''}{'_root' if self.root else ''}"
        return f"{self.data}_finish_{self.held}{steps}"

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel, one function of `FINISH_ARGUMENTS`."""
        module, function, builder = new_function(self.name, FINISH_ARGUMENTS)
        s = Simd(builder, isa)
        target, accumulators, count, divisor = function.args
        number = builder.bitcast(divisor, F64) if self.divides else None

        def body(index: Value, lanes: int) -> None:
            held = _held(s, self.held, lanes)
            value = held.load(s.add(accumulators, s.mul(index, const(WORD))))
            kind = self.held
            if number is not None or self.root:
                real = _held(s, REAL, lanes)
                value = builder.sitofp(value, real.type) if kind == WHOLE else value
                kind = REAL
                value = value if number is None else builder.fdiv(value, real.splat(number))
                if self.root:
                    suffix = "f64" if lanes == 1 else f"v{lanes}f64"
                    value = builder.call(s.intrinsic(f"llvm.sqrt.{suffix}", real.type, [real.type]), [value])
            results = Lanes(builder, self.data, kind, lanes)
            results.store(value, s.add(target, s.mul(index, const(results.bytes))))

        _each(s, count, body)
        builder.ret_void()
        return str(module)


def _held(s: Simd, held: str, lanes: int) -> Lanes:
    """Accumulators in memory."""
    return Lanes(s.builder, "float64" if held == REAL else "int64", held, lanes)


def _each(s: Simd, count: Value, body: Callable[[Value, int], None]) -> None:
    """``body(index, lanes)`` for all elements: many at once, and the rest one by one."""
    whole = s.builder.and_(count, const(-LANES))
    with s.loop(const(0), whole, LANES, []) as loop:
        body(loop.index, LANES)
    with s.loop(whole, count, 1, []) as rest:
        body(rest.index, 1)
