"""What has been made of a network's weights, and found out about them, for all the sizes that it is planned for."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from minidnn.lowering.values import Array

__all__ = ["WeightStore"]

T = TypeVar("T")


class WeightStore:
    """Packed weights and the like, made once, and there as long as the network is. Safe to use from many threads.

    Args:
        parameters: of the network, by name; their numbers do not change.
    """

    def __init__(self, parameters: Mapping[str, Array]) -> None:
        # Who holds them can tell them by identity.
        self._parameters = {id(array): array for array in parameters.values()}
        self._made: dict[Hashable, Any] = {}

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
            self._made[key] = make()
        made: T = self._made[key]
        return made
