"""Gates of recurrent layers: one sequence at one time, for every number of hidden units, against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from microkernels import Array, Machine, Watched, address, words

from minidnn_kernels.epilogue import number_word
from minidnn_kernels.recurrent import ACTIVATIONS, FORMS, GATES_CONTEXT, NUMBERS, GatesSpec
from minidnn_kernels.state_levels import LEVELS, ROW_SCALE, StateLevelsSpec, row_pitch

_ALPHA, _BETA, _CLIP = 0.7, 0.4, 0.6

Function = Any
FUNCTIONS: dict[str, Function] = {
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
    "affine": lambda x: _ALPHA * x + _BETA,
    "leakyrelu": lambda x: np.where(x < 0, _ALPHA * x, x),
    "thresholdedrelu": lambda x: np.where(x < _ALPHA, 0, x),
    "scaledtanh": lambda x: _ALPHA * np.tanh(_BETA * x),
    "hardsigmoid": lambda x: np.clip(_ALPHA * x + _BETA, 0, 1),
    "elu": lambda x: np.where(x < 0, _ALPHA * np.expm1(x), x),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
}


class Unit:
    """What a kernel is given of `count` units, and what it makes of that."""

    def __init__(self, machine: Machine, spec: GatesSpec, count: int) -> None:
        rng, lanes = np.random.default_rng(count), machine.isa.lanes
        self._vectors = -(-count // lanes)
        self._lanes, self._count = lanes, count
        sums, gates, _ = FORMS[spec.form]
        constants = 3 if spec.peephole else 1
        self.sums, self.input, self.constants, scales = (
            rng.standard_normal((self._vectors, n, lanes)).astype(np.float32) for n in (sums, gates, constants, sums)
        )
        self.state, self.cell, self.update = (rng.standard_normal(count).astype(np.float32) for _ in range(3))
        self.made = {name: Watched((count,), fill=-77) for name in ("next", "output", "cell", "update", "product")}
        self.made["cell"].array[:], self.made["update"].array[:] = self.cell, self.update
        given = {"sums": self.sums, "input": self.input, "state": self.state, "constants": self.constants}
        totals = rng.integers(-900, 900, scales.shape).astype(np.int32)
        row_scale = words(number_word(0.37), 130)
        if spec.levels:
            self.sums = rng.integers(-30000, 30000, self.sums.shape).astype(np.int32)
            given["sums"] = self.sums
        given |= {"scales": scales, "totals": totals, "row_scale": row_scale}
        places = {**{k: address(v) for k, v in given.items()}, **{k: v.address for k, v in self.made.items()}}
        values = {"clip": _CLIP, "low": -0.3, "high": 0.5}
        numbers = words(*(number_word(values.get(n, _ALPHA if n.startswith("alpha") else _BETA)) for n in NUMBERS))
        machine.call(spec, words(*(places[f.name] for f in GATES_CONTEXT.fields)), count, numbers)
        for watched in self.made.values():
            watched.assert_untouched_around()
        if spec.levels == "batch":
            self.sums = self.sums - 130 * totals
        if spec.levels:
            self.sums = self.sums.astype(np.float32) * np.float32(0.37)
        if spec.scaled:
            self.sums = self.sums * scales

    def of(self, grouped: Array, number: int) -> Array:
        """One of what lies together, as float64 of each unit."""
        return grouped[:, number].reshape(-1)[: self._count].astype(np.float64)

    def gate(self, number: int, sum: int | None = None) -> Array:
        return self.of(self.input, number) + self.of(self.sums, number if sum is None else sum)

    def assert_made(self, **expected: Array) -> None:
        for name, values in expected.items():
            np.testing.assert_allclose(self.made[name].array, values, rtol=2e-6, atol=1e-6)


def _counts(machine: Machine) -> list[int]:
    return [1, machine.isa.lanes - 1, machine.isa.lanes, machine.isa.lanes + 1, 3 * machine.isa.lanes + 2]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_activation(machine: Machine, name: str) -> None:
    for count in _counts(machine):
        unit = Unit(machine, GatesSpec("rnn", (name,)), count)
        made = FUNCTIONS[name](unit.gate(0))
        unit.assert_made(next=made, output=made)
    assert FUNCTIONS.keys() == ACTIVATIONS.keys()


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("peephole", [False, True])
@pytest.mark.parametrize("coupled", [False, True])
def test_lstm(machine: Machine, clip: bool, peephole: bool, coupled: bool) -> None:
    spec = GatesSpec("lstm", ("sigmoid", "tanh", "softsign"), clip, "", coupled, peephole)
    for count in _counts(machine):
        unit = Unit(machine, spec, count)

        def gate(number: int, seen: Array | None = None, place: int = 0, unit: Unit = unit) -> Array:
            z = unit.gate(number) + (unit.of(unit.constants, place) * seen if peephole and seen is not None else 0)
            return np.asarray(np.clip(z, -_CLIP, _CLIP) if clip else z)

        before, sigmoid = unit.cell.astype(np.float64), FUNCTIONS["sigmoid"]
        entry = sigmoid(gate(0, before, 0))
        forget = 1 - entry if coupled else sigmoid(gate(1, before, 1))
        cell = forget * before + entry * np.tanh(gate(2))
        hidden = sigmoid(gate(3, cell, 2)) * FUNCTIONS["softsign"](cell)
        unit.assert_made(cell=cell, next=hidden, output=hidden)


@pytest.mark.parametrize("bounds", ["keep_nan", "drop_nan"])
def test_bounds_of_the_cell_of_a_projected_lstm(machine: Machine, bounds: str) -> None:
    functions = ("sigmoid", "tanh", "tanh")
    count = machine.isa.lanes + 1
    free = Unit(machine, GatesSpec("lstm", functions, projected=True), count)
    bound = Unit(machine, GatesSpec("lstm", functions, bounds=bounds, projected=True), count)
    cell = np.clip(free.made["cell"].array, np.float32(-0.3), np.float32(0.5))
    sigmoid = FUNCTIONS["sigmoid"]
    bound.assert_made(cell=cell, product=sigmoid(bound.gate(3)) * np.tanh(cell.astype(np.float64)))
    assert (bound.made["next"].array == -77).all()


@pytest.mark.parametrize("has_bias", [False, True])
def test_gru(machine: Machine, has_bias: bool) -> None:
    for count in _counts(machine):
        unit = Unit(machine, GatesSpec("gru", ("sigmoid", "tanh"), has_bias=has_bias), count)
        reset, update = (FUNCTIONS["sigmoid"](unit.gate(i)) for i in (0, 1))
        inner = unit.of(unit.sums, 2) + (unit.of(unit.constants, 0) if has_bias else 0)
        new = np.tanh(unit.of(unit.input, 2) + reset * inner)
        made = (1 - update) * new + update * unit.state
        unit.assert_made(next=made, output=made)


def test_the_two_phases_of_a_gru(machine: Machine) -> None:
    for count in _counts(machine):
        first = Unit(machine, GatesSpec("gru_gates", ("sigmoid", "tanh")), count)
        reset, update = (FUNCTIONS["sigmoid"](first.gate(i)) for i in (0, 1))
        first.assert_made(product=reset * first.state, update=update)
        second = Unit(machine, GatesSpec("gru_new", ("sigmoid", "tanh")), count)
        given = second.update.astype(np.float64)
        made = (1 - given) * np.tanh(second.gate(2, 0)) + given * second.state
        second.assert_made(next=made, output=made)


def test_a_projection_is_its_sums(machine: Machine) -> None:
    unit = Unit(machine, GatesSpec("projection"), machine.isa.lanes + 3)
    unit.assert_made(next=unit.of(unit.sums, 0), output=unit.of(unit.sums, 0))


@pytest.mark.parametrize("form", ["rnn", "gru_gates", "projection"])
def test_sums_are_scaled(machine: Machine, form: str) -> None:
    for count in _counts(machine):
        if form == "projection":
            unit = Unit(machine, GatesSpec(form, scaled=True), count)
            unit.assert_made(next=unit.of(unit.sums, 0))
        elif form == "rnn":
            unit = Unit(machine, GatesSpec(form, ("tanh",), scaled=True), count)
            unit.assert_made(next=np.tanh(unit.gate(0)))
        else:
            unit = Unit(machine, GatesSpec(form, ("sigmoid", "tanh"), scaled=True), count)
            reset, update = (FUNCTIONS["sigmoid"](unit.gate(i)) for i in (0, 1))
            unit.assert_made(product=reset * unit.state, update=update)


@pytest.mark.parametrize("levels", ["rows", "batch"])
def test_sums_of_integers_are_scaled_by_their_row_too(machine: Machine, levels: str) -> None:
    for count in _counts(machine):
        unit = Unit(machine, GatesSpec("projection", scaled=True, levels=levels), count)
        unit.assert_made(next=unit.of(unit.sums, 0), output=unit.of(unit.sums, 0))


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_gates_are_accurate_everywhere_and_stay_in_their_range(machine: Machine, name: str) -> None:
    x = np.concatenate([np.linspace(-30, 30, 6001), np.geomspace(1e-30, 1e30, 400), [0, np.inf, -np.inf, np.nan]])
    lanes, count = machine.isa.lanes, len(x)
    rows = np.zeros(-(-count // lanes) * lanes, np.float32)
    rows[:count] = x
    zeros, made = np.zeros_like(rows), np.empty(count, np.float32)
    given = {"sums": rows, "input": zeros, "next": made, "output": made}
    context = words(*(address(given[f.name]) if f.name in given else 0 for f in GATES_CONTEXT.fields))
    machine.call(GatesSpec("rnn", (name,)), context, count, words(*[0] * len(NUMBERS)))
    with np.errstate(over="ignore"):
        expected = FUNCTIONS[name](rows[:count].astype(np.float64))
    np.testing.assert_allclose(made, expected, rtol=0, atol=4e-7)
    assert np.nanmax(made) <= 1 and np.nanmin(made) >= (-1 if name == "tanh" else 0)
    if name == "tanh":
        small = np.abs(x) < 1
        np.testing.assert_allclose(made[small], expected[small], rtol=4e-7, atol=1e-37)


def in_levels(machine: Machine, form: str, rows: list[Array]) -> tuple[Array, Array, Array]:
    """What the kernel makes of rows, and their scales and the levels of a zero."""
    depth, pitch, dtype = len(rows[0]), row_pitch(form, len(rows[0])), LEVELS[form].type.dtype
    made = Watched((len(rows), pitch // dtype.itemsize), dtype, fill=77)
    scales = np.zeros((len(rows), ROW_SCALE.words), np.int64)
    machine.call(StateLevelsSpec(form), words(*map(address, rows)), len(rows), depth, made.address, address(scales))
    made.assert_untouched_around()
    assert (made.array[:, depth:] == 77).all()
    halves = scales.view(np.int32)[:, ::2]
    return made.array[:, :depth], halves[:, :1].copy().view(np.float32), halves[:, 1:]


@pytest.mark.parametrize("form", ["batch", "batch_floats"])
@pytest.mark.parametrize("depth", [1, 3, 8, 17, 40])
def test_states_have_levels_between_the_extremes_of_all_rows(machine: Machine, form: str, depth: int) -> None:
    rng = np.random.default_rng(depth)
    for low, high in ((-1, 1), (0.2, 0.9), (-0.9, -0.3), (0, 0)):
        rows = [rng.uniform(low, high, depth).astype(np.float32) for _ in range(3)]
        made, scales, zeros = in_levels(machine, form, rows)
        x = np.stack(rows)
        least, most = min(x.min(), 0), max(x.max(), 0)
        scale = np.float32(most - least) / np.float32(255) or np.float32(1)
        zero = np.rint(-least / scale)
        levels = np.clip(np.rint(x / scale) + zero, 0, 255)
        if form == "batch":
            np.testing.assert_array_equal(made, levels)
            assert (scales == scale).all() and (zeros == zero).all()
        else:
            np.testing.assert_array_equal(made, (levels - zero) * scale)


@pytest.mark.parametrize("depth", [1, 3, 8, 17, 40])
def test_each_row_has_levels_by_its_largest_number(machine: Machine, depth: int) -> None:
    rng = np.random.default_rng(depth)
    rows = [(rng.standard_normal(depth) * size).astype(np.float32) for size in (1, 1e-3, 40, 0)]
    made, scales, zeros = in_levels(machine, "rows", rows)
    for row, q, scale in zip(rows, made, scales[:, 0], strict=True):
        wanted = np.abs(row).max() / np.float32(127) or np.float32(1)
        assert scale == wanted
        np.testing.assert_array_equal(q, np.clip(np.rint(row * (np.float32(1) / wanted)), -127, 127))
    assert not zeros.any()


@pytest.mark.parametrize("form", ["rows", "batch"])
def test_what_is_no_number_spoils_its_row_alone(machine: Machine, form: str) -> None:
    rows = [np.linspace(-1, 1, 19, dtype=np.float32) for _ in range(3)]
    before = in_levels(machine, form, rows)[0].copy()
    rows[1][18] = np.nan
    made, scales, _ = in_levels(machine, form, rows)
    assert np.isnan(scales[:, 0]).tolist() == [False, True, False]
    np.testing.assert_array_equal(made[[0, 2]], before[[0, 2]])
