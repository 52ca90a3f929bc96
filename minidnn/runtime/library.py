"""The kernels of this process: from a kernel's spec to its address, through memory, disk or the compiler."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import minidnn_kernels
from minidnn.runtime.code_cache import CodeCache, default_folder
from minidnn_kernels.isa import Isa, best_isa, get_isa, host_supports

__all__ = ["KernelSpec", "Library", "chosen_isa", "library"]


class KernelSpec(Protocol):
    """A microkernel that can be generated: a frozen dataclass whose `repr` says all there is to it."""

    @property
    def name(self) -> str: ...

    def emit(self, isa: Isa) -> str: ...


@cache
def chosen_isa() -> Isa:
    """The ISA kernels are made for: ``MINIDNN_ISA``, else the best this machine has.

    Raises:
        ValueError: ``MINIDNN_ISA`` names no ISA, or one this machine does not have.
    """
    wanted = os.environ.get("MINIDNN_ISA")
    if not wanted:
        return best_isa()
    isa = get_isa(wanted)
    if not host_supports(isa):
        raise ValueError(f"MINIDNN_ISA={wanted}: this machine does not have {sorted(isa.requires)} on {isa.arch}")
    return isa


@cache
def _sources_digest() -> str:
    """A hash over the generators' source: changed generators make other code."""
    digest = hashlib.sha256()
    folders = [Path(next(iter(minidnn_kernels.__path__))), Path(__file__).parent]
    for folder in folders:
        for path in sorted(folder.glob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


class Library:
    """Addresses of compiled kernels. Safe to use from many threads; what is compiled stays for good."""

    def __init__(self, isa: Isa, cache: CodeCache) -> None:
        from minidnn_kernels.codegen import Loader

        self.isa = isa
        self.cache = cache
        self.compiled = 0
        self._addresses: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._lock = threading.Lock()
        self._loader = Loader()

    def microkernel(self, spec: KernelSpec) -> int:
        """The address of the microkernel, compiled if it has never been."""
        return self._address(repr(spec), spec.name, lambda: spec.emit(self.isa))

    def loop(self, name: str) -> int:
        """The address of a loop of `LOOPS`."""

        def emit() -> str:
            from minidnn_kernels.numba_loops import loop_ir

            return loop_ir(_find_loop(name), name)

        return self._address(f"loop {name}", name, emit)

    def name_of(self, address: int) -> str:
        """The name of the kernel at `address`."""
        return self._names[address]

    def _address(self, key: str, symbol: str, emit: Callable[[], str]) -> int:
        address = self._addresses.get(key)
        if address is not None:
            return address
        with self._lock:
            if key not in self._addresses:
                address = self._loader.load(self._object(key, emit), symbol)
                self._addresses[key] = address
                self._names[address] = symbol
            return self._addresses[key]

    def _object(self, key: str, emit: Callable[[], str]) -> bytes:
        from minidnn_kernels.codegen import TOOLCHAIN, emit_object

        content = f"{TOOLCHAIN}\n{_sources_digest()}\n{self.isa!r}\n{key}"
        name = hashlib.sha256(content.encode()).hexdigest()
        found = self.cache.read(name)
        if found is None:
            found = emit_object(emit(), self.isa)
            self.compiled += 1
            self.cache.write(name, found)
        return found


# name: module and function; imported only when a loop must be compiled, because that imports Numba.
LOOPS = {
    "run_loop": "minidnn.runtime.driver",
    "help_loop": "minidnn.runtime.driver",
    "matmul_loop": "minidnn_kernels.matmul_loop",
    "elementwise_loop": "minidnn_kernels.elementwise_loop",
    "copy_loop": "minidnn_kernels.copy_loop",
    "depthwise_loop": "minidnn_kernels.depthwise_loop",
    "pool_loop": "minidnn_kernels.pooling_loop",
    "global_pool_loop": "minidnn_kernels.pooling_loop",
    "rows_loop": "minidnn_kernels.rows_loop",
    "winograd_loop": "minidnn_kernels.winograd_loop",
}


def _find_loop(name: str) -> Callable[..., Any]:
    import importlib

    return getattr(importlib.import_module(LOOPS[name]), name)  # type: ignore[no-any-return]


@cache
def library() -> Library:
    """The library of this process, for the chosen ISA and the user's cache folder."""
    return Library(chosen_isa(), CodeCache(default_folder()))
