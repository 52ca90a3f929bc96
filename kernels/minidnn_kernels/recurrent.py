"""Recurrent layers: the gates of one sequence at one time, and the arguments of the loop over time steps.

The loop multiplies the states by their weights with the tile, and a microkernel makes gates and the next state of the
sums. What belongs to a vector of hidden units lies together: the sums of its gates, one vector after the other, and the
same of the input's share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from minidnn_kernels import vector_math as vm
from minidnn_kernels.arguments import ArgumentRow, Field
from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.epilogue import load_numbers
from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import Simd, Value, const, new_function
from minidnn_kernels.state_levels import LEVELS, ROW_SCALE

__all__ = [
    "ACTIVATIONS",
    "ARGUMENTS",
    "COUNTER_BYTES",
    "FORMS",
    "GATES_CONTEXT",
    "MAX_DIRECTIONS",
    "MAX_PHASES",
    "NUMBERS",
    "PHASE",
    "RECURRENT_ARGUMENTS",
    "SCRATCH_HEAD",
    "GatesSpec",
]

MAX_DIRECTIONS, MAX_PHASES = 2, 2
# Of a counter: nothing else is on its cache lines.
COUNTER_BYTES = 128
# Of a part's scratch memory, before its row pointers.
SCRATCH_HEAD = 64

# Float32 numbers of a direction, in the low half of a word each: the bound of gates, the bounds of the cell state, and
# alpha and beta of each activation.
NUMBERS = ("clip", "low", "high", "alpha0", "beta0", "alpha1", "beta1", "alpha2", "beta2")

# A product of states and what is made of its sums. The second phase of a time begins when the first one is over.
PHASE = ArgumentRow(
    Field("tile", "microkernel of the product"),
    Field("gates", "microkernel of the gates, of each direction", words=MAX_DIRECTIONS),
    Field("source", "float32 [directions][batch][depth]; 0 for the states at the time"),
    Field("levels", "microkernel of `state_levels` that states go through before the product; 0: none"),
    Field("level_pitch", "from one row of levels to the next"),
    Field("depth", "of the product"),
    Field("steps", "of the tile, which that depth takes"),
    Field("weights", "panels of [directions][parts]"),
    Field("part_pitch", "from the panels of one part to the next's"),
    Field("panel_pitch", "from the panels of one tile to the next's"),
    Field("panels", "tiles of a part, along the columns"),
    Field("rows", "of the tile"),
    Field("places", "row pointers, of whole strips"),
    Field("columns", "of the tile"),
    Field("parts", "how many share the units of a direction"),
    Field("part_units", "units of a part, whole vectors"),
    Field("units", "of the direction"),
    Field("scales", "float32 [directions][vectors of units][sums], of int8 weights; 0 if there are none"),
    Field("scales_direction", "bytes from one direction's to the other's"),
    Field("unit_scales", "of each unit"),
    Field("totals", "int32 likewise: sums of the weights, of levels with a zero point; 0 if there are none"),
)
# Of `recurrent_loop`. "Units" are hidden units, or elements of a projected state in a phase that makes them.
RECURRENT_ARGUMENTS = ArgumentRow(
    Field("counters", "parts that are done, [blocks][directions], and begun, [blocks]; zeros, `COUNTER_BYTES` apart"),
    Field("blocks", "of sequences, each of which goes through the times by itself"),
    Field("block_rows", "sequences of a block, whole strips"),
    Field("times", "time steps"),
    Field("batch", "sequences"),
    Field("directions", "how many"),
    Field("is_reverse", "of each direction: whether it begins at the end", words=MAX_DIRECTIONS),
    Field("lengths", "int64 [batch]; 0 if all sequences have all times"),
    Field("zeros", "as many zeros as a state has"),
    Field("input", "the input's share, float32 [times][batch][directions][vectors of units][gates]"),
    Field("input_pitch", "from one sequence's to the next's"),
    Field("input_direction", "bytes from one direction's to the other's"),
    Field("gates", "of each unit in it"),
    Field("output", "float32 [times][batch][directions][state]"),
    Field("states", "float32 [2][directions][batch][state]: at even and at odd times"),
    Field("state", "elements of a state"),
    Field("cells", "float32 [directions][batch][size]; 0 if there are none"),
    Field("size", "hidden units"),
    Field("update", "float32 [directions][batch][size], between the phases; 0 if there are none"),
    Field("product", "likewise, what the second phase multiplies"),
    Field("constants", "float32 [directions][vectors of units][constants]; 0 if there are none"),
    Field("constants_direction", "bytes from one direction's to the other's"),
    Field("unit_constants", "of each unit"),
    Field("numbers", "`NUMBERS` of each direction", words=MAX_DIRECTIONS * len(NUMBERS)),
    Field("phases", "how many"),
    Field("phase", "as `PHASE` has it", words=MAX_PHASES * PHASE.words),
)

# context: as `GATES_CONTEXT` has it
# count:   hidden units
# numbers: address of `NUMBERS`
ARGUMENTS = ("context", "count", "numbers")

# All of one sequence, from the first unit of a part on.
GATES_CONTEXT = ArgumentRow(
    Field("sums", "of the product"),
    Field("input", "the input's share"),
    Field("state", "at the time"),
    Field("next", "the state after it"),
    Field("output", "a copy of that"),
    Field("cell", "of an LSTM, before and after"),
    Field("update", "the update gate, between phases"),
    Field("product", "what the second phase multiplies"),
    Field("constants", "peephole weights, or a bias"),
    Field("scales", "of the sums"),
    Field("totals", "of the weights"),
    Field("row_scale", "`ROW_SCALE` of the levels that were multiplied"),
)

Activation = Callable[[Simd, Value, Value, Value], Value]


def _elu(s: Simd, x: Value, alpha: Value, beta: Value) -> Value:
    return s.where("<", x, s.splat(0.0), s.builder.fmul(alpha, vm.expm1_negative(s, x)), x)


def _softsign(s: Simd, x: Value, alpha: Value, beta: Value) -> Value:
    return s.builder.fdiv(x, s.builder.fadd(s.splat(1.0), s.unary("fabs", x)))


def _hard_sigmoid(s: Simd, x: Value, alpha: Value, beta: Value) -> Value:
    return s.at_most(s.at_least(s.fma(x, alpha, beta), s.splat(0.0)), s.splat(1.0))


# Of x, alpha and beta, by the names that operators' records have.
ACTIVATIONS: dict[str, Activation] = {
    "tanh": lambda s, x, a, b: vm.gate_tanh(s, x),
    "sigmoid": lambda s, x, a, b: vm.gate_sigmoid(s, x),
    "relu": lambda s, x, a, b: s.at_least(x, s.splat(0.0)),
    "affine": lambda s, x, a, b: s.fma(x, a, b),
    "leakyrelu": lambda s, x, a, b: s.where("<", x, s.splat(0.0), s.builder.fmul(x, a), x),
    "thresholdedrelu": lambda s, x, a, b: s.where("<", x, a, s.splat(0.0), x),
    "scaledtanh": lambda s, x, a, b: s.builder.fmul(a, vm.gate_tanh(s, s.builder.fmul(b, x))),
    "hardsigmoid": _hard_sigmoid,
    "elu": _elu,
    "softsign": _softsign,
    "softplus": lambda s, x, a, b: vm.log1p_exp(s, x),
}


@dataclass(frozen=True)
class GatesSpec:
    """Gates and the next state of one sequence.

    Args:
        form: one of `FORMS`.
        functions: the activations of gates, of the new value and of an LSTM's cell on its way out.
        clip: whether gates are bounded before their activations.
        bounds: of an LSTM's cell state: empty, ``keep_nan`` or ``drop_nan``.
        coupled: whether an LSTM's forget gate is 1 minus its input gate.
        peephole: whether gates also see the cell.
        projected: whether an LSTM's state is yet to be multiplied.
        has_bias: whether the product of a GRU's new value has a bias of its own.
        scaled: whether sums are multiplied by scales: those of int8 weights.
        levels: of sums of int32, the form of the levels that were multiplied, of `state_levels.LEVELS`.
    """

    form: str
    functions: tuple[str, ...] = ()
    clip: bool = False
    bounds: str = ""
    coupled: bool = False
    peephole: bool = False
    projected: bool = False
    has_bias: bool = False
    scaled: bool = False
    levels: str = ""

    @property
    def name(self) -> str:
        flags = ("clip", "coupled", "peephole", "projected", "has_bias", "scaled")
        words = (
            *self.functions,
            *(flag for flag in flags if getattr(self, flag)),
            *filter(None, [self.bounds, self.levels]),
        )
        return "_".join(("f32_gates", self.form, *words))

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel, one function of `ARGUMENTS`."""
        module, function, builder = new_function(self.name, ARGUMENTS)
        s = Simd(builder, isa)
        context, count, numbers = function.args
        fields = {
            f.name: s.load_argument(context, getattr(GATES_CONTEXT.offsets, f.name)) for f in GATES_CONTEXT.fields
        }
        loaded = dict(zip(NUMBERS, load_numbers(s, numbers, [FLOAT32] * len(NUMBERS)), strict=True))
        sums, gates, emit = FORMS[self.form]

        def body(index: Value, mask: Value | None) -> None:
            emit(_Units(s, self, fields, loaded, (sums, gates), index, mask))

        # Int8 networks give the same bits on every ISA.
        with s.rounding_twice(bool(self.levels)):
            s.each_vector(count, body)
        builder.ret_void()
        return str(module)


class _Units:
    """One vector of hidden units.

    Args:
        layout: sums and gates of the input's share of each unit.
        index: the first unit.
        mask: of those that exist; None for all.
    """

    def __init__(
        self,
        s: Simd,
        spec: GatesSpec,
        fields: dict[str, Value],
        numbers: dict[str, Value],
        layout: tuple[int, int],
        index: Value,
        mask: Value | None,
    ) -> None:
        self.s, self.spec, self._fields, self._numbers = s, spec, fields, numbers
        self._sums, self._gates = layout
        self._offset, self._mask = s.mul(index, const(FLOAT32.bytes)), mask

    def grouped(self, field: str, group: int, number: int) -> Value:
        """A vector of what lies together for these units, `group` vectors of them, which are all there."""
        s = self.s
        at = s.add(s.mul(self._offset, const(group)), const(number * s.vector_bytes))
        return s.load(s.add(self._fields[field], at))

    def gate(self, number: int, sum: int | None = None) -> Value:
        """The input's share of a gate and its sum."""
        share = self.grouped("input", self._gates, number)
        return self.s.builder.fadd(share, self.sum(number if sum is None else sum))

    def sum(self, number: int) -> Value:
        b = self.s.builder
        made = self._whole_sum(number) if self.spec.levels else self.grouped("sums", self._sums, number)
        if not self.spec.scaled:
            return made
        scale = self.grouped("scales", self._sums, number)
        if self.spec.levels:
            of_row = self.s.add(self._fields["row_scale"], const(ROW_SCALE.offsets.scale))
            scale = b.fmul(self.s.load_splat(of_row), scale)
        return b.fmul(made, scale)

    def _whole_sum(self, number: int) -> Value:
        """A sum of int32, of levels without their zero point, as float32."""
        s = self.s
        made = s.as_int(self.grouped("sums", self._sums, number))
        if LEVELS[self.spec.levels].is_shared:
            zero = s.load_splat_i32(s.add(self._fields["row_scale"], const(ROW_SCALE.offsets.zero)))
            total = s.as_int(self.grouped("totals", self._sums, number))
            made = s.builder.sub(made, s.builder.mul(zero, total))
        return s.builder.sitofp(made, s.vector)

    def load(self, field: str) -> Value:
        return self.s.load(self.s.add(self._fields[field], self._offset), self._mask)

    def store(self, value: Value, *fields: str) -> None:
        for field in fields:
            self.s.store(value, self.s.add(self._fields[field], self._offset), self._mask)

    def bounded(self, x: Value) -> Value:
        if not self.spec.clip:
            return x
        limit = self._numbers["clip"]
        return self.s.at_most(self.s.at_least(x, self.s.builder.fneg(limit)), limit)

    def apply(self, function: int, x: Value) -> Value:
        """Activation number `function`."""
        alpha, beta = self._numbers[f"alpha{function}"], self._numbers[f"beta{function}"]
        return ACTIVATIONS[self.spec.functions[function]](self.s, x, alpha, beta)

    def bounded_cell(self, c: Value) -> Value:
        s, low, high = self.s, self._numbers["low"], self._numbers["high"]
        if not self.spec.bounds:
            return c
        if self.spec.bounds == "drop_nan":
            c = s.builder.select(s.builder.fcmp_unordered("uno", c, c), low, c)
        return s.at_most(s.at_least(c, low), high)


def _elman(u: _Units) -> None:
    u.store(u.apply(0, u.bounded(u.gate(0))), "next", "output")


def _lstm(u: _Units) -> None:
    s, b, spec = u.s, u.s.builder, u.spec
    cell = u.load("cell")

    def gate(number: int, peephole: int, seen: Value) -> Value:
        made = u.gate(number)
        return s.fma(u.grouped("constants", 3, peephole), seen, made) if spec.peephole else made

    entry = u.apply(0, u.bounded(gate(0, 0, cell)))
    forget = b.fsub(s.splat(1.0), entry) if spec.coupled else u.apply(0, u.bounded(gate(1, 1, cell)))
    new = u.apply(1, u.bounded(u.gate(2)))
    cell = u.bounded_cell(s.fma(forget, cell, b.fmul(entry, new)))
    u.store(cell, "cell")
    out = u.apply(0, u.bounded(gate(3, 2, cell)))
    hidden = b.fmul(out, u.apply(2, cell))
    u.store(hidden, *(["product"] if spec.projected else ["next", "output"]))


def _next_of_gru(u: _Units, update: Value, new: Value) -> None:
    s, b = u.s, u.s.builder
    kept = b.fmul(update, u.load("state"))
    u.store(s.fma(b.fsub(s.splat(1.0), update), new, kept), "next", "output")


def _gru(u: _Units) -> None:
    """The reset gate comes after the product."""
    s, b = u.s, u.s.builder
    reset, update = (u.apply(0, u.bounded(u.gate(i))) for i in (0, 1))
    inner = u.sum(2)
    inner = b.fadd(inner, u.grouped("constants", 1, 0)) if u.spec.has_bias else inner
    new = s.fma(reset, inner, u.grouped("input", 3, 2))
    _next_of_gru(u, update, u.apply(1, u.bounded(new)))


def _gru_gates(u: _Units) -> None:
    """The first phase where the reset gate comes before the product."""
    reset, update = (u.apply(0, u.bounded(u.gate(i))) for i in (0, 1))
    u.store(u.s.builder.fmul(reset, u.load("state")), "product")
    u.store(update, "update")


def _gru_new(u: _Units) -> None:
    """The second phase of that."""
    _next_of_gru(u, u.load("update"), u.apply(1, u.bounded(u.gate(2, 0))))


def _projection(u: _Units) -> None:
    u.store(u.sum(0), "next", "output")


# name: (sums of each unit, gates of each unit in the input's share, emitter)
FORMS: dict[str, tuple[int, int, Callable[[_Units], None]]] = {
    "rnn": (1, 1, _elman),
    "lstm": (4, 4, _lstm),
    "gru": (3, 3, _gru),
    "gru_gates": (2, 3, _gru_gates),
    "gru_new": (1, 3, _gru_new),
    "projection": (1, 4, _projection),
}
