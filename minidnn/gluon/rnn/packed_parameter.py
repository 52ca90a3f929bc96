"""The one parameter of a stack of recurrent layers, and its parts by the names of MXNet 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.errors import DataError
from minidnn.gluon.parameter import Parameter
from minidnn.initializer import Initializer
from minidnn.numpy.convert import as_array, to_numpy
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.recurrent import Packing, packing_of
from minidnn.ops.registry import Attrs

__all__ = ["PackedParameter", "Part"]


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

    def gather(self, arrays: dict[str, Any], name: str, prefix: str) -> None:
        """Put the vector into `arrays` in place of its parts, if all of them are there and it is not.

        Raises:
            DataError: shapes do not fit; the message names the part.
        """
        names = [*self.packing.parts()]
        if name in arrays or not all(prefix + part in arrays for part in names):
            return
        parts = {part: to_numpy(as_array(arrays.pop(prefix + part))) for part in names}
        first = parts[names[0]]
        wanted = packing_of(self._attrs, self.input_size or (first.shape[1] if first.ndim == 2 else 0))
        for part, shape in wanted.parts().items():
            if parts[part].shape != shape:
                raise DataError(f"parameter {prefix + part!r} must have shape {shape}, got {parts[part].shape}")
        arrays[name] = ndarray._wrap(np.concatenate([array.ravel() for array in parts.values()]))

    def part(self, name: str) -> Part:
        """One of the parts, by MXNet 1's name.

        Raises:
            KeyError: there is none of that name.
        """
        if name not in self.packing.parts():
            raise KeyError(name)
        return Part(self, name)


class Part:
    """A weight or a bias that is part of a `PackedParameter`: it reads from there, and writes to there.

    Args:
        whole: the vector.
        name: by MXNet 1's name, as ``l0_i2h_weight``.
    """

    def __init__(self, whole: PackedParameter, name: str) -> None:
        self._whole, self.name = whole, name

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape; -1 for features of the data that are not known yet."""
        return tuple(n or -1 for n in self._whole.packing.parts()[self.name])

    def data(self) -> ndarray:
        """A copy of its values.

        Raises:
            DeferredInitializationError: the whole waits for the first forward pass.
            RuntimeError: the whole has not been initialized.
        """
        vector = to_numpy(self._whole.concrete())
        return ndarray._wrap(self._whole.packing.unpack(vector)[self.name].copy())

    def set_data(self, data: Any) -> None:
        """Overwrite its values.

        Args:
            data: an array of its shape.

        Raises:
            DataError: the shape does not fit.
            DeferredInitializationError, RuntimeError: as of `data`.
        """
        vector = to_numpy(self._whole.concrete()).copy()
        target, given = self._whole.packing.unpack(vector)[self.name], to_numpy(as_array(data))
        if given.shape != target.shape:
            raise DataError(f"{self.name} must have shape {target.shape}, got {given.shape}")
        target[...] = given
        self._whole.set_data(ndarray._wrap(vector))

    def __repr__(self) -> str:
        return f"Part {self.name} (shape={self.shape}, dtype={self._whole.dtype})"
