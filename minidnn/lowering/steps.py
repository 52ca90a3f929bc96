"""The steps of a program under construction, its constants and temporaries, before memory is planned."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache

import numpy as np

from minidnn.lowering.memory import TEMPORARY
from minidnn.lowering.values import PLAIN, Array, Value
from minidnn.lowering.weight_store import WeightStore
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Address, Argument, Buffer, Cost, HostStep, KernelSpec, Loop, NativeStep, Tensor
from minidnn.plan.shared_arrays import SharedArrays
from minidnn_kernels.isa import Isa

__all__ = ["Steps"]


# Weights as kernels read them, of all programs.
_WEIGHTS = SharedArrays()


class Steps:
    """Collects steps, and gives them memory.

    Args:
        isa: what kernels are chosen for.
        usual: what nodes make, by name, in the call that the network was traced with, as far as it has other shapes;
            None: there will be no program for other sizes.
        store: what there is already of the network's weights.
        types: what nodes make, by name, where that is known before.

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
    ) -> None:
        self.isa = isa
        self.varies = usual is not None
        self.store = WeightStore({}) if store is None else store
        self.types = types or {}
        self._usual = usual or {}
        self._versions: dict[int, int] = {}
        self._lent: dict[int, Array] = {}
        self.results: dict[str, TensorType] = {}
        self._steps: list[NativeStep | HostStep] = []
        self._constants: list[Array] = []
        self._constant_by_id: dict[int, Address] = {}
        self._temporaries: list[int] = []
        self._inputs: list[Tensor] = []
        self._ahead: dict[KernelSpec, None] = {}

    def input(self, type: TensorType, layout: str = PLAIN) -> Value:
        value = Value(type, Address(Buffer("input", len(self._inputs))), layout)
        self._inputs.append(value.tensor())
        return value

    def usual_shape(self, name: str) -> tuple[int, ...] | None:
        """What shape the node's first output had in the call that the network was traced with; None: this one."""
        made = self._usual.get(name)
        return None if made is None else made[0].shape

    def constant(self, array: Array) -> Address:
        """The address of a constant; the same array twice is one constant. The array must not change."""
        known = self._constant_by_id.get(id(array))
        if known is None:
            known = Address(Buffer("constant", len(self._constants)))
            self._constants.append(array)
            self._constant_by_id[id(array)] = known
        return known

    def share(self, form: Hashable, sources: Sequence[Array], make: Callable[[], Array]) -> Array:
        """What `make` makes of `sources`, once for all programs; `form` tells apart what is made of the same sources.

        Unless all sources are parameters of known versions, and there are some, it is for this program alone.
        """
        versions = [self._versions.get(id(source)) for source in sources]
        if not sources or None in versions:
            return make()
        key = (form, *versions, self.isa.name)
        (made,) = self.store.get(key, sources, lambda: _WEIGHTS.share(key, sources, lambda: (make(),)))
        self._lent[id(made)] = made
        return made

    def given(self, array: Array, version: int | None) -> Value:
        """A parameter of the graph: the array is the caller's. The version changes with its numbers, if it is known."""
        self._lent[id(array)] = array
        if version is not None:
            self._versions[id(array)] = version
        return self.parameter(array)

    def parameter(self, array: Array) -> Value:
        """A value whose numbers are known; they become a constant of the program only if a step reads them."""
        return Value(TensorType.of(array), Address(Buffer("parameter", -1)), PLAIN, array)

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
        return self.constant(_zeros(count))

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

    def host(self, step: HostStep) -> None:
        self._steps.append(step)


@cache
def _zeros(count: int) -> Array:
    return np.zeros(count, np.float32)
