"""The kernels of this process: from a kernel's spec to its address, through memory, disk or the compiler."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

import minidnn_kernels
from minidnn import settings
from minidnn.errors import SettingError
from minidnn.plan import layout
from minidnn.plan.program import KernelSpec
from minidnn.process_safe import ForkSafeLock, uninterrupted
from minidnn.runtime.code_cache import CodeCache, default_folder
from minidnn.runtime.loops import compile_loops
from minidnn_kernels.codegen import TOOLCHAIN, Loader, emit_object
from minidnn_kernels.isa import ISAS, Isa, best_isa, get_isa, host_arch, host_features, host_supports

__all__ = ["Library", "chosen_isa", "library"]


@cache
def chosen_isa() -> Isa:
    """The ISA kernels are made for: ``MINIDNN_ISA``, else the best this machine has.

    Raises:
        SettingError: ``MINIDNN_ISA`` names no ISA, or one this machine does not have.
    """
    wanted = settings.ISA.value()
    if not wanted:
        return best_isa()
    try:
        isa = get_isa(wanted)
    except ValueError:
        names = ", ".join(isa.name for isa in ISAS)
        raise SettingError(f"{settings.ISA.name}: unknown ISA {settings.quoted(wanted)}; known: {names}") from None
    if not host_supports(isa):
        missing = sorted({*isa.requires} - host_features()) if isa.arch == host_arch() else [f"the CPU, {isa.arch}"]
        raise SettingError(f"{settings.ISA.name}={wanted}: this machine does not have {', '.join(missing)}")
    return isa


@cache
def _sources_digest() -> str:
    """A hash over the generators' source: changed generators make other code."""
    digest = hashlib.sha256()
    folders = [Path(next(iter(minidnn_kernels.__path__))), Path(__file__).parent]
    sources = [path for folder in folders for path in sorted(folder.glob("*.py"))]
    for path in [*sources, Path(layout.__file__)]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


class Library:
    """Addresses of compiled kernels. Safe to use from many threads; what is compiled stays for good.

    Compiling and loading are not interrupted: Ctrl-C ends the wait for them, and the next call finds them done.
    """

    def __init__(self, isa: Isa, cache: CodeCache) -> None:
        self.isa = isa
        self.cache = cache
        self.compiled = 0
        self._addresses: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._loading = ForkSafeLock()
        self._loader = Loader()

    def microkernel(self, spec: KernelSpec) -> int:
        """The address of the microkernel, compiled if it has never been."""
        return self._address(repr(spec), spec.name, lambda: spec.emit(self.isa))

    def loop(self, name: str) -> int:
        """The address of a loop of `loops.LOOPS`."""
        return self._address(_loop_key(name), name, lambda: compile_loops([name])[name])

    def prepare_loops(self, names: Iterable[str]) -> None:
        """Compile those loops that were never compiled, together: `loop` finds them from then on."""
        unloaded = [name for name in sorted(set(names)) if _loop_key(name) not in self._addresses]
        missing = [name for name in unloaded if self.cache.read(self._entry(_loop_key(name))) is None]
        if len(missing) > 1:
            for name, ir_text in uninterrupted(lambda: compile_loops(missing)).items():
                self._address(_loop_key(name), name, lambda ir_text=ir_text: ir_text)  # type: ignore[misc]

    def name_of(self, address: int) -> str:
        """The name of the kernel at `address`."""
        return self._names[address]

    def _address(self, key: str, symbol: str, emit: Callable[[], str]) -> int:
        address = self._addresses.get(key)
        return uninterrupted(lambda: self._load(key, symbol, emit)) if address is None else address

    def _load(self, key: str, symbol: str, emit: Callable[[], str]) -> int:
        with self._loading.here:
            if key not in self._addresses:
                address = self._loader.load(self._object(key, emit), symbol)
                self._names[address] = symbol
                self._addresses[key] = address
            return self._addresses[key]

    def _entry(self, key: str) -> str:
        """The name of a cache entry: a hash of all that the code depends on."""
        content = f"{TOOLCHAIN}\n{_sources_digest()}\n{self.isa!r}\n{key}"
        return hashlib.sha256(content.encode()).hexdigest()

    def _object(self, key: str, emit: Callable[[], str]) -> bytes:
        name = self._entry(key)
        found = self.cache.read(name)
        if found is None:
            found = emit_object(emit(), self.isa)
            self.compiled += 1
            self.cache.write(name, found)
        return found


@cache
def _loop_key(name: str) -> str:
    return f"loop {name} by numba {metadata.version('numba')}"


@cache
def library() -> Library:
    """The library of this process, for the chosen ISA and the user's cache folder."""
    return Library(chosen_isa(), CodeCache(default_folder(), settings.CACHE_BYTES.value()))
