"""AMX in NumPy: its instructions as Intel's manual describes them, called from kernels in place of the real ones.

No emulator at hand knows AMX. Kernels for it run here on vectors that this machine has, and each instruction on matrix
registers calls back into Python, which checks what the CPU would check. The code as it is is read in
`test_matrix_tile.py`.
"""

from __future__ import annotations

import ctypes
import itertools
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from bfloat16_problem import by_plain_arithmetic
from microkernels import Machine

from minidnn.runtime.code_cache import CodeCache
from minidnn.runtime.library import KernelSpec, Library
from minidnn_kernels.isa import Isa, get_isa, host_supports

__all__ = ["MATRIX_ISAS", "MatrixRegisters", "WithMatrices", "with_matrices"]

Array = np.ndarray[Any, Any]


def with_matrices(isa: Isa) -> Isa:
    """The row with AMX's registers besides, as wide as its vectors."""
    amx = get_isa("amx")
    return replace(isa, name=f"{isa.name}_matrices", dot=amx.dot, bfloat16=amx.bfloat16, tall=amx.tall)


# Of vectors that this machine has.
MATRIX_ISAS = tuple(with_matrices(get_isa(name)) for name in ("neon", "sse", "avx2") if host_supports(get_isa(name)))


class MatrixRegisters(threading.local):
    """The eight registers of each thread; what a CPU refuses is an error."""

    def __init__(self) -> None:
        self._shapes: list[tuple[int, int]] | None = None
        self._tiles: list[Array] = []
        self.calls = 0

    def ldtilecfg(self, where: int) -> None:
        configuration = _bytes_at(where, 64)
        assert where % 64 == 0
        assert configuration[0] == 1, "the palette"
        assert not configuration[1:16].any(), "no row to begin with, and what is reserved"
        assert not configuration[32:48].any(), "of registers that there are not"
        assert not configuration[56:].any(), "of registers that there are not"
        row_bytes = configuration[16:32].view(np.uint16)
        rows = configuration[48:56]
        assert ((row_bytes > 0) & (row_bytes <= 64) & (row_bytes % 4 == 0)).all(), row_bytes
        assert ((rows > 0) & (rows <= 16)).all(), rows
        self._shapes = [*zip(rows.tolist(), row_bytes.tolist(), strict=True)]
        self._tiles = [np.zeros(shape, np.uint8) for shape in self._shapes]

    def tilerelease(self) -> None:
        self._shapes = None

    def tilezero(self, tile: int) -> None:
        self._tile(tile)[...] = 0

    def tileloadd64(self, tile: int, where: int, pitch: int) -> None:
        to = self._tile(tile)
        for row in range(len(to)):
            to[row] = _bytes_at(where + row * pitch, to.shape[1])

    def tilestored64(self, tile: int, where: int, pitch: int) -> None:
        for row, content in enumerate(self._tile(tile)):
            _bytes_at(where + row * pitch, content.size)[...] = content

    def tdpbssd(self, sums: int, a: int, b: int) -> None:
        self._add_bytes(sums, a, b, np.int8)

    def tdpbusd(self, sums: int, a: int, b: int) -> None:
        self._add_bytes(sums, a, b, np.uint8)

    def tdpbf16ps(self, sums: int, a: int, b: int) -> None:
        to, left, right = self._operands(sums, a, b)
        floats = [(tile.view(np.uint16).astype(np.uint32) << 16).view(np.float32) for tile in (left, right)]
        by_step, columns = (tile.reshape(len(tile), -1, 2) for tile in floats)
        # Even elements and odd ones are summed apart.
        parts = np.zeros((2, *to.view(np.float32).shape), np.float32)
        with np.errstate(all="ignore"):
            for step, element in itertools.product(range(len(columns)), range(2)):
                parts[element] += by_step[:, step, element, None] * columns[step, :, element]
            to.view(np.float32)[...] += parts[0] + parts[1]

    def _add_bytes(self, sums: int, a: int, b: int, kind: type) -> None:
        to, left, right = self._operands(sums, a, b)
        by_step = left.view(kind).reshape(len(left), -1, 4).astype(np.int32)
        columns = right.view(np.int8).reshape(len(right), -1, 4).astype(np.int32)
        total = to.view(np.int32)
        total += np.einsum("rse,sce->rc", by_step, columns, dtype=np.int32)

    def _operands(self, sums: int, a: int, b: int) -> tuple[Array, Array, Array]:
        assert len({sums, a, b}) == 3, "one register twice"
        tiles = self._tile(sums), self._tile(a), self._tile(b)
        (rows, row_bytes), (a_rows, a_bytes), (b_rows, b_bytes) = (tile.shape for tile in tiles)
        assert rows == a_rows
        assert row_bytes == b_bytes
        assert a_bytes == 4 * b_rows
        return tiles

    def _tile(self, number: int) -> Array:
        assert self._shapes is not None, "registers are not configured"
        self.calls += 1
        return self._tiles[number]


def _bytes_at(where: int, size: int) -> Array:
    return np.frombuffer((ctypes.c_uint8 * size).from_address(where), np.uint8)


# What an instruction is given: registers, and where memory is and its pitch.
_REGISTER, _ADDRESS, _PITCH = ("i8", ctypes.c_uint8), ("ptr", ctypes.c_void_p), ("i64", ctypes.c_int64)
_OPERANDS: dict[str, Sequence[tuple[str, Any]]] = {
    "ldtilecfg": [_ADDRESS],
    "tilerelease": [],
    "tilezero": [_REGISTER],
    "tileloadd64": [_REGISTER, _ADDRESS, _PITCH],
    "tilestored64": [_REGISTER, _ADDRESS, _PITCH],
    "tdpbssd": [_REGISTER] * 3,
    "tdpbusd": [_REGISTER] * 3,
    "tdpbf16ps": [_REGISTER] * 3,
}


class WithMatrices(Machine):
    """A machine whose instructions on matrix registers are those of `MatrixRegisters`."""

    def __init__(self, isa: Isa) -> None:
        super().__init__(isa)
        self.registers = MatrixRegisters()
        self._errors: list[BaseException] = []
        self._callbacks = {name: self._callback(name) for name in _OPERANDS}
        # Addresses of this process are in the code: it is not kept.
        self.library = _Library(isa, CodeCache(None))
        self.library.translate = self._translated

    def invoke(self, function: int, numbers: Sequence[int]) -> None:
        super().invoke(function, numbers)
        self.check()

    def check(self) -> None:
        """Raise what an instruction has raised first: nothing passes through the code that called it."""
        if self._errors:
            first, *_ = self._errors
            self._errors.clear()
            raise first

    def _callback(self, name: str) -> Any:
        method = getattr(self.registers, name)

        def call(*operands: int) -> None:
            try:
                method(*operands)
            except BaseException as error:
                self._errors.append(error)

        return ctypes.CFUNCTYPE(None, *[kind for _, kind in _OPERANDS[name]])(call)

    def _translated(self, text: str) -> str:
        for name, callback in self._callbacks.items():
            text = re.sub(rf'^declare .*@"?llvm\.x86\.{name}"?\(.*$', "", text, flags=re.MULTILINE)
            text = re.sub(rf'@"?llvm\.x86\.{name}"?\(', f"@{name}(", text)
            kinds = [kind for kind, _ in _OPERANDS[name]]
            named = ", ".join(f"{kind} %{i}" for i, kind in enumerate(kinds))
            given = ", ".join(f"{kind} {'zeroext ' * (kind == 'i8')}%{i}" for i, kind in enumerate(kinds))
            where = ctypes.cast(callback, ctypes.c_void_p).value
            text += f"""
define internal void @{name}({named}) noinline {{
  %where = inttoptr i64 {where} to ptr
  call void %where({given})
  ret void
}}
"""
        # What rows that are short for matrices are multiplied by.
        return by_plain_arithmetic(text, self.isa.lanes)


class _Library(Library):
    translate: Callable[[str], str]

    def emit(self, spec: KernelSpec) -> str:
        return self.translate(super().emit(spec))
