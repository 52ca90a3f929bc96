"""The one parameter of a stack of recurrent layers, and its parts by the names of MXNet 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minidnn.errors import DataError
from minidnn.gluon.parameter import Parameter
from minidnn.initializer import Initializer
from minidnn.numpy.convert import as_array, to_numpy
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.recurrent import Packing, packing_of
from minidnn.ops.registry import Attrs

__all__ = ["PackedParameter"]


class PackedParameter(Parameter):
    """A vector of the weights and biases of recurrent layers.

    Args:
        name: its last name.
        attrs: of the operator `rnn`.
        input_size: features of the data; 0: not known yet.
        dtype: of its elements.
        init: its initializer.

    Raises:
        ValueError: a negative `input_size`.
    """

    def __init__(self, name: str, attrs: Attrs, input_size: int, dtype: Any, init: Initializer) -> None:
        if input_size < 0:
            raise ValueError(f"input_size must be at least 0, got {input_size}")
        self._attrs = attrs
        total = packing_of(attrs, input_size).total if input_size else -1
        super().__init__(name, shape=(total,), dtype=dtype, init=init, allow_deferred_init=True)

    @property
    def input_size(self) -> int:
        """Features of the data; 0 where they are not known yet."""
        if not self.shape_is_known or self.shape is None:
            return 0
        without, one = (packing_of(self._attrs, n).total for n in (0, 1))
        return (self.shape[0] - without) // (one - without)

    @property
    def packing(self) -> Packing:
        """How the parts lie; their shapes have 0 where the features of the data are not known yet."""
        return packing_of(self._attrs, self.input_size)

    def pack(self, parts: Mapping[str, Any]) -> ndarray | None:
        """The vector of these parts, arrays by name; None where one is missing.

        Raises:
            DataError: shapes do not fit; the message names the part.
        """
        names = [*self.packing.parts()]
        if not all(name in parts for name in names):
            return None
        arrays = {name: to_numpy(as_array(parts[name])) for name in names}
        first = arrays[names[0]]
        wanted = packing_of(self._attrs, first.shape[1] if first.ndim == 2 else 0)
        for name, shape in wanted.parts().items():
            if arrays[name].shape != shape:
                raise DataError(f"parameter {name!r} must have shape {shape}, got {arrays[name].shape}")
        return ndarray._wrap(np.concatenate([array.ravel() for array in arrays.values()]))
