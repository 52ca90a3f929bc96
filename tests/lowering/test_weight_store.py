"""What is made of a network's parameters is made once; of anything else it is made each time."""

from __future__ import annotations

import numpy as np

from minidnn.lowering import WeightStore


def test_what_is_made_of_parameters_is_made_once() -> None:
    a, b = np.ones(3), np.ones(3)
    store, calls = WeightStore({"a": a, "b": b}), []

    def make() -> object:
        calls.append(None)
        return object()

    first = store.get("packed", [a], make)
    assert store.get("packed", [a], make) is first
    others = [store.get(form, sources, make) for form, sources in (("packed", [b]), ("wide", [a]), ("packed", [a, b]))]
    assert len({id(first), *map(id, others)}) == len(calls) == 4


def test_what_is_made_of_other_arrays_is_not_kept() -> None:
    parameter = np.ones(3)
    store = WeightStore({"a": parameter})
    for _ in range(3):
        # Each may get the identity of the one before it, which is gone.
        other = np.random.default_rng(0).random(3)
        assert store.get("sum", [other], lambda other=other: id(other)) == id(other)  # type: ignore[misc]
        assert store.get("sum", [parameter, other], lambda other=other: id(other)) == id(other)  # type: ignore[misc]
    assert store.get("nothing", [], lambda: 7) == 7
