"""What lies where in the guest's memory, and how jobs and their arrays get there."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["FILL", "INPUT", "MEMORY", "OUTPUT", "PAYLOAD", "GuestMemory"]

Array = np.ndarray[Any, Any]

_MIB = 1 << 20
PAYLOAD = 1 * _MIB  # program, data, stack
INPUT = 8 * _MIB  # the header, then what `put` places: read only
OUTPUT = 32 * _MIB  # what `reserve` gives
MEMORY = 64 * _MIB

# Every byte of the output before the first job runs.
FILL = 0xA5

_HEADER = struct.Struct("<5Q")  # struct header of guest/main.c
_ALIGNMENT = 64
_ARGUMENTS = 9


class GuestMemory:
    """Arrays and jobs for one run; addresses are the guest's. An array begins on a cache line."""

    def __init__(self) -> None:
        self._input = bytearray(_HEADER.size)
        self._output_bytes = 0
        self._jobs: list[tuple[str, tuple[int, ...]]] = []

    def put(self, array: Array) -> int:
        """The address of a copy of the array's elements, in C order. No kernel may write there.

        Raises:
            MemoryError: the input is full.
        """
        self._input.extend(bytes(-len(self._input) % _ALIGNMENT))
        address = INPUT + len(self._input)
        self._input += np.ascontiguousarray(array).tobytes()
        if INPUT + len(self._input) > OUTPUT:
            raise MemoryError(f"input of {len(self._input)} bytes, but there is room for {OUTPUT - INPUT}")
        return address

    def reserve(self, size: int) -> int:
        """The address of `size` bytes of `FILL` to write to.

        Raises:
            MemoryError: the output is full.
        """
        address = OUTPUT + self._output_bytes
        self._output_bytes += size + -size % _ALIGNMENT
        if OUTPUT + self._output_bytes > MEMORY:
            raise MemoryError(f"output of {self._output_bytes} bytes, but there is room for {MEMORY - OUTPUT}")
        return address

    def call(self, symbol: str, *arguments: int) -> None:
        """Append a job: call the kernel of that symbol with up to nine integers.

        Raises:
            ValueError: more than nine.
        """
        if len(arguments) > _ARGUMENTS:
            raise ValueError(f"{symbol}: {len(arguments)} arguments; at most {_ARGUMENTS} are passed on")
        self._jobs.append((symbol, arguments))

    @property
    def jobs(self) -> Sequence[str]:
        """The symbol of each job."""
        return [symbol for symbol, _ in self._jobs]

    @property
    def output_bytes(self) -> int:
        return self._output_bytes

    def image(self, symbols: dict[str, int]) -> bytes:
        """What is to lie at `INPUT`, with the kernels at these addresses.

        Raises:
            KeyError: a job's symbol is not among them.
        """
        table = np.zeros((len(self._jobs), 1 + _ARGUMENTS), np.int64)
        for row, (symbol, arguments) in zip(table, self._jobs, strict=True):
            row[: 1 + len(arguments)] = symbols[symbol], *arguments
        body = bytes(self._input)
        body += bytes(-len(body) % _ALIGNMENT)
        first_job = INPUT + len(body)
        header = _HEADER.pack(len(self._jobs), first_job, OUTPUT, self._output_bytes, FILL)
        image = header + body[_HEADER.size :] + table.tobytes()
        if INPUT + len(image) > OUTPUT:
            raise MemoryError(f"input of {len(image)} bytes, but there is room for {OUTPUT - INPUT}")
        return image
