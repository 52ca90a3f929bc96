"""The kernels of this process: from a kernel's spec to its address, through memory, disk or the compiler."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import llvmlite

from minidnn import settings
from minidnn.errors import SettingError
from minidnn.plan.program import KernelSpec
from minidnn.process_safe import ForkSafeLock, uninterrupted
from minidnn.runtime.code_cache import CodeCache, default_folder
from minidnn.runtime.counters import COUNTERS
from minidnn.runtime.loops import compile_loops
from minidnn.runtime.messages import announce_compilation
from minidnn.runtime.ready_loops import read_loop, sources_digest
from minidnn_kernels.fork_lock import FORK_LOCK
from minidnn_kernels.host import host_arch, missing_features
from minidnn_kernels.isa import ISAS, Isa, best_isa, get_isa, host_supports
from minidnn_kernels.loader import Loader

__all__ = ["Library", "Prepared", "chosen_isa", "library"]

_log = logging.getLogger(__name__)


@cache
def chosen_isa() -> Isa:
    """The ISA kernels are made for: ``MINIDNN_ISA``, else the best this machine has.

    Raises:
        SettingError: ``MINIDNN_ISA`` names no ISA, or one this machine does not have.
    """
    return uninterrupted(_choose_isa)  # where LLVM must be asked, it is loaded


def _choose_isa() -> Isa:
    wanted = settings.ISA.value()
    if not wanted:
        return best_isa()
    try:
        isa = get_isa(wanted)
    except ValueError:
        names = ", ".join(isa.name for isa in ISAS)
        raise SettingError(f"{settings.ISA.name}: unknown ISA {settings.quoted(wanted)}; known: {names}") from None
    if not host_supports(isa):
        missing = missing_features(isa.requires) if isa.arch == host_arch() else [f"the CPU, {isa.arch}"]
        raise SettingError(f"{settings.ISA.name}={wanted}: this machine does not have {', '.join(missing)}")
    return isa


@cache
def _toolchain() -> str:
    """Object code is only good for the versions that made it: LLVM's is told by its library, without loading that."""
    binding = Path(llvmlite.__file__).parent / "binding"
    libraries = sorted(f"{path.name}-{path.stat().st_size}" for path in binding.glob("*llvmlite.*"))
    return f"llvmlite-{llvmlite.__version__} {' '.join(libraries)}"


class Prepared(NamedTuple):
    """Where kernels came from: how many were compiled, were in the cache on disk, or were loaded already."""

    compiled: int
    cached: int
    loaded: int


# Fewer kernels are compiled in less than half a second or so; a loop takes Numba, which takes longer.
_WORTH_SAYING = 4


class Library:
    """Addresses of compiled kernels. Safe to use from many threads; what is compiled stays for good.

    Compiling and loading are not interrupted: Ctrl-C ends the wait for them, and the next call finds them done.

    Args:
        isa: what is compiled for.
        cache: where compiled code is kept.
        loader: brings it to where it runs; by default into this process.
    """

    def __init__(self, isa: Isa, cache: CodeCache, loader: Loader | None = None) -> None:
        self.isa = isa
        self.cache = cache
        self.compiled = 0
        # Interrupted, `repr` of a dataclass would say ``...`` from then on: keys are made where no interrupt comes.
        self._isa_text = uninterrupted(lambda: repr(isa))
        self._addresses: dict[str, int] = {}
        self._microkernels: dict[KernelSpec, int] = {}
        self._names: dict[int, str] = {}
        self._loading = ForkSafeLock()
        self._loader = loader or Loader()

    def microkernel(self, spec: KernelSpec) -> int:
        """The address of the microkernel, compiled if it has never been."""
        address = self._microkernels.get(spec)
        return uninterrupted(lambda: self._load_microkernel(spec)) if address is None else address

    def loop(self, name: str) -> int:
        """The address of a loop of `loops.LOOPS`."""
        return self._address(_loop_key(name), name, lambda: self._loop_ir([name])[name], True)

    def prepare(self, loops: Iterable[str], specs: Iterable[KernelSpec]) -> Prepared:
        """Load these loops and microkernels, compiled if they have never been: `loop` and `microkernel` find them then.

        Where much is to be compiled, a terminal is told.

        Returns:
            Where they came from.
        """
        loops, specs = list(dict.fromkeys(loops)), list(dict.fromkeys(specs))
        new = [spec for spec in specs if spec not in self._microkernels]
        keys = [key for key in map(_loop_key, loops) if key not in self._addresses]
        keys += uninterrupted(lambda: [*map(repr, new)]) if new else []
        known = len(loops) + len(specs) - len(keys)
        if not keys:
            return Prepared(0, 0, known)
        missing = sum(not self.cache.has(self.entry(key)) for key in keys)
        if missing >= _WORTH_SAYING:
            folder = self.cache.folder
            later = f"later runs take them from {folder}" if folder else f"the cache is off ({self.cache.why_off})"
            announce_compilation(missing, self.isa.name, later)
        self._compile_loops(loops)
        for name in loops:
            self.loop(name)
        for spec in specs:
            self.microkernel(spec)
        return Prepared(missing, len(keys) - missing, known)

    def _compile_loops(self, names: Sequence[str]) -> None:
        """Compile those loops that were never compiled, together, which takes less time than one after the other."""
        unloaded = [name for name in sorted(set(names)) if _loop_key(name) not in self._addresses]
        missing = [name for name in unloaded if self.cache.read(self.entry(_loop_key(name))) is None]
        if len(missing) > 1:
            for name, ir_text in uninterrupted(lambda: self._loop_ir(missing)).items():
                self._address(_loop_key(name), name, lambda ir_text=ir_text: ir_text, True)  # type: ignore[misc]

    def _loop_ir(self, names: Sequence[str]) -> dict[str, str]:
        """LLVM IR of loops: what a build of the package has made, the others from Numba."""
        arch = self.isa.arch
        ready = {name: ir_text for name in names if (ir_text := read_loop(name, arch)) is not None}
        missing = [name for name in names if name not in ready]
        return ready | (compile_loops(missing, arch) if missing else {})

    def name_of(self, address: int) -> str:
        """The name of the kernel at `address`."""
        return self._names[address]

    def _address(self, key: str, symbol: str, emit: Callable[[], str], is_loop: bool = False) -> int:
        address = self._addresses.get(key)
        return uninterrupted(lambda: self._load(key, symbol, emit, is_loop)) if address is None else address

    def _load_microkernel(self, spec: KernelSpec) -> int:
        address = self._load(repr(spec), spec.name, lambda: spec.emit(self.isa))
        self._microkernels[spec] = address
        return address

    def _load(self, key: str, symbol: str, emit: Callable[[], str], is_loop: bool = False) -> int:
        with self._loading.here:
            if key not in self._addresses:
                address = self._loader.load(self._object(key, emit, symbol, is_loop), symbol)
                if symbol in self._loader.by_llvm:
                    _log.info("kernel %s: loaded by LLVM: %s", symbol, self._loader.by_llvm[symbol])
                self._names[address] = symbol
                self._addresses[key] = address
            return self._addresses[key]

    def entry(self, key: str) -> str:
        """The name of a cache entry: a hash of the key and of all that makes code what it is."""
        content = f"{_toolchain()}\n{sources_digest()}\n{self._isa_text}\n{key}"
        return hashlib.sha256(content.encode()).hexdigest()

    def _object(self, key: str, emit: Callable[[], str], symbol: str = "", is_loop: bool = False) -> bytes:
        name, begin = self.entry(key), time.perf_counter()
        found = self.cache.read(name)
        is_new = found is None
        if found is None:
            found = _compile(emit(), self.isa, is_loop)
            self.compiled += 1
            self.cache.write(name, found)
        (COUNTERS.kernels_compiled if is_new else COUNTERS.kernels_from_cache).add()
        COUNTERS.code_bytes.add(len(found))
        if _log.isEnabledFor(logging.DEBUG):
            how = "compiled" if is_new else "from the cache"
            _log.debug("kernel %s: %s, %d bytes, %.3f s", symbol, how, len(found), time.perf_counter() - begin)
        return found


def _compile(ir_text: str, isa: Isa, is_optimized: bool) -> bytes:
    with FORK_LOCK:
        from minidnn_kernels.codegen import emit_object  # deferred: it loads LLVM

        return emit_object(ir_text, isa, is_optimized)


def _loop_key(name: str) -> str:
    return f"loop {name} by numba {_numba()}"


@cache
def _numba() -> str:
    """Which Numba is installed, by the file that says so: importing it takes long, and so does `importlib.metadata`."""
    spec = find_spec("numba")
    version = Path(spec.origin).with_name("_version.py") if spec is not None and spec.origin else None
    return hashlib.sha256(version.read_bytes()).hexdigest() if version is not None and version.is_file() else ""


@cache
def library() -> Library:
    """The library of this process, for the chosen ISA and the user's cache folder."""
    made = Library(chosen_isa(), CodeCache(default_folder(), settings.CACHE_BYTES.value()))
    if _log.isEnabledFor(logging.INFO):
        why = f"as {settings.ISA.name} says" if settings.ISA.value() else "the best that this CPU has"
        _log.info(
            "kernels are made for %s, %s; code cache: %s", made.isa.name, why, made.cache.folder or made.cache.why_off
        )
    return made
