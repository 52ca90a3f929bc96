"""The steps of a program under construction, its constants and temporaries, before memory is planned."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from minidnn.lowering.memory import TEMPORARY
from minidnn.lowering.values import PLAIN, Array, Value
from minidnn.lowering.weight_store import Lookup, Lookups, WeightStore
from minidnn.ops.registry import TensorType
from minidnn.plan.packing import Packings
from minidnn.plan.program import (
    Address,
    Argument,
    Buffer,
    Check,
    Cost,
    HostStep,
    KernelSpec,
    Loop,
    NativeStep,
    Packing,
    Program,
    Tensor,
)
from minidnn.plan.shared_arrays import SharedArrays
from minidnn_kernels.isa import Isa

__all__ = ["Made", "Mark", "Measure", "Steps"]


# Weights as kernels read them, of all programs.
_WEIGHTS = SharedArrays()
# What writes them, where kernels do.
_PACKINGS = Packings()


# From a description of the work and programs that do it, by name, to one of the names.
Measure = Callable[[str, Mapping[str, Callable[[], Program]]], str | None]


@dataclass(frozen=True)
class Mark:
    """How much there was of everything at some time."""

    steps: int
    temporaries: int
    laid_out: int
    checks: int


@dataclass(frozen=True)
class Made:
    """What has been made since a mark.

    Args:
        steps: in order.
        temporaries: sizes of temporary memory.
        lookups: in the network's store.
        laid_out: values that were put into another layout: the value, the layout, and the other value.
        read_earlier: whether something was read that had been put into another layout before.
        checks: how many there are for the end of a run.
    """

    steps: Sequence[NativeStep | HostStep]
    temporaries: Sequence[int]
    lookups: Sequence[Lookup]
    laid_out: Sequence[tuple[Value, str, Value]]
    read_earlier: bool
    checks: int


class Steps:
    """Collects steps, and gives them memory.

    Args:
        isa: what kernels are chosen for.
        usual: what nodes make, by name, in the call that the network was traced with, as far as it has other shapes;
            None: there will be no program for other sizes.
        store: what there is already of the network's weights.
        types: what nodes make, by name, where that is known before.
        measure: says which of some programs that do some work is the fastest, by name, where it can tell; None: nothing
            is measured.

    Attributes:
        varies: whether programs for other sizes may come.
        results: what nodes make, by name; steps carry it for the profiler.
    """

    def __init__(
        self,
        isa: Isa,
        usual: Mapping[str, tuple[TensorType, ...]] | None = None,
        store: WeightStore | None = None,
        types: Mapping[str, tuple[TensorType, ...]] | None = None,
        measure: Measure | None = None,
    ) -> None:
        self.isa = isa
        self.measure = measure
        self.varies = usual is not None
        self.store = Lookups(WeightStore({}) if store is None else store)
        self.types = types or {}
        self._usual = usual or {}
        self._versions: dict[int, int] = {}
        self._lent: dict[int, Array] = {}
        self.results: dict[str, TensorType] = {}
        self._steps: list[NativeStep | HostStep] = []
        self._checks: list[Check] = []
        self._constants: list[Array] = []
        self._constant_by_id: dict[int, Address] = {}
        self._temporaries: list[int] = []
        self._inputs: list[Tensor] = []
        self._ahead: dict[KernelSpec, None] = {}
        self._tables: dict[int, Array] = {}
        self._laid_out: dict[tuple[int, str], tuple[Value, str, Value, int]] = {}
        self._marked = 0
        self._read_earlier = False

    def input(self, type: TensorType, layout: str = PLAIN) -> Value:
        value = Value(type, Address(Buffer("input", len(self._inputs))), layout)
        self._inputs.append(value.tensor())
        return value

    def usual_types(self, name: str) -> tuple[TensorType, ...] | None:
        """What the node made in the call that the network was traced with; None: what it makes here."""
        return self._usual.get(name)

    def usual_shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of the first of `usual_types`."""
        made = self._usual.get(name)
        return None if made is None else made[0].shape

    @property
    def constants(self) -> Sequence[Array]:
        """All there are, by number."""
        return self._constants

    def constant(self, array: Array) -> Address:
        """The address of a constant; the same array twice is one constant. The array must not change."""
        known = self._constant_by_id.get(id(array))
        if known is None:
            known = Address(Buffer("constant", len(self._constants)))
            self._constants.append(array)
            self._constant_by_id[id(array)] = known
        return known

    def table(self, array: Array) -> Address:
        """The address of a constant that weights have no part in."""
        self._tables[id(array)] = array
        return self.constant(array)

    def is_table(self, array: Array) -> bool:
        return id(array) in self._tables

    def lent(self, array: Array) -> Address:
        """The address of a constant that `share` gave before."""
        self._lent[id(array)] = array
        return self.constant(array)

    def share(self, form: Hashable, sources: Sequence[Array], make: Callable[[], Array]) -> Array:
        """What `make` makes of `sources`, once for all programs; `form` tells apart what is made of the same sources.

        Unless all sources are parameters of known versions, and there are some, it is for this program alone.
        """
        versions = [self._versions.get(id(source)) for source in sources]
        if not sources or None in versions:
            return make()
        key = (form, self.isa.name)

        def make_once() -> Array:
            (made,) = _WEIGHTS.share((*key, *versions), sources, lambda: (make(),))
            return made

        made = self.store.get(key, sources, make_once)
        self._lent[id(made)] = made
        return made

    def packed(self, constant: Array, packing: Packing) -> Array:
        """A constant that is to be written by that packing before a program runs that reads it."""
        _PACKINGS.add(constant, packing)
        return constant

    def find_packings(self) -> tuple[Packing, ...]:
        """Those of the constants, as far as they are still to be done."""
        return _PACKINGS.find(self._constants)

    def given(self, array: Array, version: int | None) -> Value:
        """A parameter of the graph: the array is the caller's. The version changes with its numbers, if it is known."""
        self._lent[id(array)] = array
        if version is not None:
            self._versions[id(array)] = version
        return self.parameter(array)

    def parameter(self, array: Array) -> Value:
        """A value whose numbers are known; they become a constant of the program only if a step reads them."""
        return self.store.value(array)

    def address(self, value: Value) -> Address:
        """Where a step finds the value."""
        if value.array is None:
            return value.address
        array = value.array
        if array.flags.c_contiguous and array.dtype.isnative and array.ctypes.data % array.dtype.itemsize == 0:
            return self.constant(array)
        dtype = array.dtype.newbyteorder("=")
        return self.constant(self.share("contiguous", [array], lambda: np.ascontiguousarray(array, dtype)))

    def zeros(self, count: int) -> Address:
        """The address of `count` float32 zeros: what padding points at."""
        return self.table(_zeros(count))

    def temporary(self, nbytes: int) -> Address:
        self._temporaries.append(nbytes)
        return Address(Buffer(TEMPORARY, len(self._temporaries) - 1))

    def new(self, type: TensorType, layout: str = PLAIN) -> Value:
        """A fresh tensor for a step to write."""
        return Value(type, self.temporary(type.size * type.dtype.itemsize), layout)

    def native(
        self,
        name: str,
        loop: str,
        arguments: Sequence[Argument],
        parts: int,
        cost: Cost,
        scratch: int = 0,
        result: TensorType | None = None,
    ) -> None:
        result = self.results.get(name, result)
        self._steps.append(NativeStep(name, Loop(loop), tuple(arguments), parts, cost, scratch, result))

    def prepare(self, spec: KernelSpec) -> None:
        """Have a kernel ready that no step of this program calls, but one for other sizes may."""
        self._ahead[spec] = None

    def add(self, step: NativeStep) -> None:
        self._steps.append(step)

    def mark(self) -> Mark:
        """How far the program is; lookups are written down from here on."""
        self.store.notes = []
        self._marked, self._read_earlier = len(self._laid_out), False
        return Mark(len(self._steps), len(self._temporaries), self._marked, len(self._checks))

    def since(self, mark: Mark) -> Made:
        """What has been made since then."""
        lookups, self.store.notes = self.store.notes or [], None
        steps, temporaries = self._steps[mark.steps :], self._temporaries[mark.temporaries :]
        laid_out = [entry[:3] for entry in [*self._laid_out.values()][mark.laid_out :]]
        return Made(steps, temporaries, lookups, laid_out, self._read_earlier, len(self._checks) - mark.checks)

    def find_laid_out(self, value: Value, layout: str) -> Value | None:
        """The value in that layout, if somebody has put it into that before."""
        found = self._laid_out.get((id(value), layout))
        if found is None:
            return None
        self._read_earlier = self._read_earlier or found[3] < self._marked
        return found[2]

    def keep_laid_out(self, value: Value, layout: str, result: Value) -> None:
        """Have `result` found as the value in that layout."""
        self._laid_out[id(value), layout] = value, layout, result, len(self._laid_out)

    def host(self, step: HostStep) -> None:
        self._steps.append(step)

    def check(self, words: Value, refuse: Callable[[Array], object], decides: bool = False) -> None:
        """Have `refuse` look at words that steps write, when a run is over; see `Check`."""
        self._checks.append(Check(words.tensor(), refuse, decides))


@cache
def _zeros(count: int) -> Array:
    return np.zeros(count, np.float32)
