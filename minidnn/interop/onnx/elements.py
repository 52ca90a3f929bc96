"""Element types of ONNX: what they are called, and the dtype that carries them here.

A type that NumPy lacks, or that kernels do not compute in, is carried by one that holds all its values: float16,
bfloat16 and the 8-bit floats by float32, integers of two and four bits by those of eight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["BY_NUMBER", "Element", "element_of"]


@dataclass(frozen=True)
class Element:
    """A type of elements.

    Args:
        name: as NumPy and ml_dtypes call it.
        carrier: the dtype of arrays and graph entries of it.
        bits: of one element in a file.
        given: the dtype in which a model takes and gives it; None: the carrier.
    """

    name: str
    carrier: np.dtype[np.generic]
    bits: int
    given: np.dtype[np.generic] | None = None

    @property
    def is_float(self) -> bool:
        return self.carrier.kind == "f"

    @property
    def is_narrow(self) -> bool:
        """Whether the carrier has more values than the type."""
        return self.name != _BY_DTYPE[self.carrier].name

    @property
    def outside(self) -> np.dtype[np.generic]:
        return self.carrier if self.given is None else self.given

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the largest integer of an integer type."""
        signed = self.carrier.kind == "i"
        return (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1) if signed else (0, (1 << self.bits) - 1)

    def __str__(self) -> str:
        return self.name


def _plain(name: str) -> Element:
    dtype = np.dtype(name)
    return Element(name, dtype, 8 * dtype.itemsize)


def _float(name: str, bits: int) -> Element:
    return Element(name, np.dtype(np.float32), bits)


# By the numbers of TensorProto.DataType. Strings and complex numbers are not among them.
BY_NUMBER: Mapping[int, Element] = {
    1: _plain("float32"),
    2: _plain("uint8"),
    3: _plain("int8"),
    4: _plain("uint16"),
    5: _plain("int16"),
    6: _plain("int32"),
    7: _plain("int64"),
    9: _plain("bool"),
    10: Element("float16", np.dtype(np.float32), 16, np.dtype(np.float16)),
    11: _plain("float64"),
    12: _plain("uint32"),
    13: _plain("uint64"),
    16: _float("bfloat16", 16),
    17: _float("float8_e4m3fn", 8),
    18: _float("float8_e4m3fnuz", 8),
    19: _float("float8_e5m2", 8),
    20: _float("float8_e5m2fnuz", 8),
    21: Element("uint4", np.dtype(np.uint8), 4),
    22: Element("int4", np.dtype(np.int8), 4),
    25: Element("uint2", np.dtype(np.uint8), 2),
    26: Element("int2", np.dtype(np.int8), 2),
}

_BY_NAME = {element.name: element for element in BY_NUMBER.values()}
# Those that arrays have: a dtype takes some time to say its name.
_BY_DTYPE = {e.carrier: e for e in BY_NUMBER.values() if e.name == e.carrier.name}


def element_of(dtype: np.dtype[np.generic] | str) -> Element:
    """The element type of that name, or of a dtype.

    Raises:
        KeyError: there is none.
    """
    if isinstance(dtype, str):
        return _BY_NAME[dtype]
    return _BY_DTYPE.get(dtype) or _BY_NAME[dtype.name]
