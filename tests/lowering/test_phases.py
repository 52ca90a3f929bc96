"""The phases of a transposed convolution against its definition."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from minidnn.lowering.deconvolution import Axis

sizes = st.integers(1, 9)


@settings(deadline=None, derandomize=True, max_examples=400)
@given(st.builds(Axis, sizes, st.integers(1, 30), sizes, sizes, sizes, st.integers(-20, 20)))
def test_phases_hold_every_pair_of_an_output_and_a_tap_once(axis: Axis) -> None:
    found = []
    for phase in axis.phases():
        assert phase.count > 0
        for m in range(phase.count):
            for number, tap in enumerate(phase.taps):
                met = phase.start + m - number * axis.step
                if 0 <= met < axis.input:
                    found.append((phase.first + m * axis.stride, tap, met))
    expected = [
        (output, tap, met)
        for output in range(axis.output)
        for tap in range(axis.kernel)
        for met in range(axis.input)
        if output + axis.pad == met * axis.stride + tap * axis.dilate
    ]
    assert sorted(found) == expected


@given(st.builds(Axis, sizes, st.integers(1, 30), sizes, sizes, sizes, st.integers(-20, 20)))
def test_every_output_is_in_one_phase_and_every_tap_in_one_at_most(axis: Axis) -> None:
    phases = axis.phases()
    assert len(phases) == axis.num_phases
    outputs = [phase.first + m * axis.stride for phase in phases for m in range(phase.count)]
    assert sorted(outputs) == list(range(axis.output))
    taps = [tap for phase in phases for tap in phase.taps]
    assert len(taps) == len(set(taps))
    assert set(taps) <= set(range(axis.kernel))
