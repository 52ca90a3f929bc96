"""What has been made of a network's weights, and found out about them, for all the sizes that it is planned for."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from minidnn.lowering.values import PLAIN, Array, Value
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Address, Buffer

__all__ = ["Lookup", "Lookups", "Origin", "WeightStore"]

T = TypeVar("T")


@dataclass(frozen=True)
class Origin:
    """What weights are made of, for programs that make the same: the parameters, and the steps from them on."""

    sources: tuple[Array, ...]
    steps: tuple[Hashable, ...]

    @staticmethod
    def of(arrangement: str, *parameters: Array | None) -> Origin:
        """Those parameters that there are, arranged in a way that tells apart what the shape of a matrix does not."""
        return Origin(tuple(array for array in parameters if array is not None), (arrangement,))

    def then(self, step: Hashable, sources: Sequence[Array] = ()) -> Origin:
        """With one more step, of more parameters."""
        return Origin((*self.sources, *sources), (*self.steps, step))


class WeightStore:
    """Packed weights and the like, made once, and there as long as the network is. Safe to use from many threads.

    Args:
        parameters: of the network, by name; their numbers do not change.
    """

    def __init__(self, parameters: Mapping[str, Array]) -> None:
        # Who holds them can tell them by identity.
        self._parameters = {id(array): array for array in parameters.values()}
        self._made: dict[Hashable, Any] = {}
        self._values: dict[int, Value] = {}

    def value(self, array: Array) -> Value:
        """The value whose numbers are these."""
        value = self._values.get(id(array))
        if value is None:
            value = Value(TensorType.of(array), Address(Buffer("parameter", -1)), PLAIN, array)
            if id(array) in self._parameters:
                self._values[id(array)] = value
        return value

    def get(self, form: Hashable, sources: Sequence[Array], make: Callable[[], T]) -> T:
        """What `make` gives for parameters `sources`, from the first time; made again where one is no parameter.

        Args:
            form: tells apart what is made of the same sources.
            sources: what it is made of, by identity.
        """
        if not all(id(source) in self._parameters for source in sources):
            return make()
        key = (form, *map(id, sources))
        if key not in self._made:
            # Of several threads that come here at once, all get what the first one has made.
            self._made.setdefault(key, make())
        made: T = self._made[key]
        return made

    def find(self, form: Hashable, sources: Sequence[Array]) -> Any | None:
        """What there is already; None: nothing."""
        return self._made.get((form, *map(id, sources)))


@dataclass(frozen=True, eq=False, slots=True)
class Lookup:
    """What a store was asked for, and what it gave."""

    form: Hashable
    sources: tuple[Array, ...]
    answer: Any


class Lookups:
    """The store of a network as one program under construction sees it: it can write down what is asked for.

    Attributes:
        notes: where that is written; None: nowhere.
    """

    def __init__(self, store: WeightStore) -> None:
        self.find = store.find
        self.value = store.value
        self.notes: list[Lookup] | None = None
        self._store = store

    def get(self, form: Hashable, sources: Sequence[Array], make: Callable[[], T]) -> T:
        """As of the store."""
        answer = self._store.get(form, sources, make)
        if self.notes is not None:
            self.notes.append(Lookup(form, tuple(sources), answer))
        return answer
