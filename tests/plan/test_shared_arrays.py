"""What is made of arrays is made once as long as somebody holds it, and never taken for something else."""

from __future__ import annotations

import gc
import weakref

import numpy as np

from minidnn.plan.shared_arrays import Array, SharedArrays


class _Maker:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> tuple[Array, ...]:
        self.calls += 1
        return np.full(3, self.calls), np.zeros(2)


def test_the_same_of_the_same_is_made_once() -> None:
    store, make, source = SharedArrays(), _Maker(), np.ones(3)
    first = store.share("packed", [source], make)
    second = store.share("packed", [source], make)
    assert all(a is b for a, b in zip(first, second, strict=True))
    assert make.calls == 1


def test_other_forms_and_other_sources_are_other_arrays() -> None:
    store, make, a, b = SharedArrays(), _Maker(), np.ones(3), np.ones(3)
    held = [store.share(form, sources, make) for form in ("p", "q") for sources in ([a], [b], [a, b], [b, a], [])]
    assert make.calls == len(held) == 10


def test_nothing_is_kept_alive() -> None:
    store, make, source = SharedArrays(), _Maker(), np.ones(3)
    gone = [weakref.ref(array) for array in store.share("packed", [source], make)]
    gone.append(weakref.ref(source))
    del source
    gc.collect()
    assert [reference() for reference in gone] == [None] * 3


def test_half_of_what_was_made_is_not_enough() -> None:
    store, make, source = SharedArrays(), _Maker(), np.ones(3)
    kept = store.share("packed", [source], make)[1]
    gc.collect()
    assert store.share("packed", [source], make)[1] is not kept
    assert make.calls == 2


def test_an_array_in_the_place_of_another_is_not_taken_for_it() -> None:
    store, make = SharedArrays(), _Maker()
    held = []
    for _ in range(100):
        source = np.ones(3)  # soon at the address, and with the identity, of one before
        held.append(store.share("packed", [source], make))
        del source
    assert make.calls == 100


def test_what_is_gone_is_forgotten() -> None:
    store, make, source = SharedArrays(), _Maker(), np.ones(3)
    kept = store.share("kept", [source], make)
    for i in range(10_000):
        store.share(i, [source], make)
    assert len(store._known) < 200
    assert store.share("kept", [source], make) is not None
    assert store.share("kept", [source], make)[0] is kept[0]
