"""The kernels of this process: from a kernel's spec to its address, through memory, disk or the compiler."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
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
        text = uninterrupted(lambda: repr(isa))
        self._digest = hashlib.sha256(f"{_toolchain()}\n{sources_digest()}\n{text}\n".encode())
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
        address = self._addresses.get(_loop_key(name))
        return uninterrupted(lambda: self._load_loop(name)) if address is None else address

    def prepare(self, loops: Iterable[str], specs: Iterable[KernelSpec]) -> Prepared:
        """Load these loops and microkernels, compiled if they have never been: `loop` and `microkernel` find them then.

        Where much is to be compiled, a terminal is told.

        Returns:
            Where they came from.
        """
        loops, specs = [*dict.fromkeys(loops)], [*dict.fromkeys(specs)]
        new_loops = [name for name in loops if _loop_key(name) not in self._addresses]
        new_specs = [spec for spec in specs if spec not in self._microkernels]
        new, known = len(new_loops) + len(new_specs), len(loops) + len(specs)
        if not new:
            return Prepared(0, 0, known)
        new_loops, new_specs = uninterrupted(partial(self._load_cached, new_loops, new_specs))
        missing = len(new_loops) + len(new_specs)
        if missing >= _WORTH_SAYING:
            folder = self.cache.folder
            later = f"later runs take them from {folder}" if folder else f"the cache is off ({self.cache.why_off})"
            announce_compilation(missing, self.isa.name, later)
        # Together they take less time than one after the other.
        if new_loops:
            for name, ir_text in uninterrupted(partial(self._loop_ir, sorted(new_loops))).items():
                uninterrupted(partial(self._compile, _loop_key(name), name, partial(str, ir_text), True))
        for spec in new_specs:
            uninterrupted(partial(self._compile_microkernel, spec))
        return Prepared(missing, new - missing, known - new)

    def _load_cached(self, loops: Sequence[str], specs: Sequence[KernelSpec]) -> tuple[list[str], list[KernelSpec]]:
        """Load what is in the cache; what is not, and is to be compiled."""
        missing_loops = [name for name in loops if self._load_entry(_loop_key(name), name) is None]
        missing_specs = []
        for spec in specs:
            address = self._load_entry(repr(spec), spec.name)
            if address is None:
                missing_specs.append(spec)
            else:
                self._microkernels[spec] = address
        return missing_loops, missing_specs

    def _loop_ir(self, names: Sequence[str]) -> dict[str, str]:
        """LLVM IR of loops: what a build of the package has made, the others from Numba."""
        arch = self.isa.arch
        ready = {name: ir_text for name in names if (ir_text := read_loop(name, arch)) is not None}
        missing = [name for name in names if name not in ready]
        return ready | (compile_loops(missing, arch) if missing else {})

    def emit(self, spec: KernelSpec) -> str:
        """LLVM IR of a microkernel."""
        return spec.emit(self.isa)

    def name_of(self, address: int) -> str:
        """The name of the kernel at `address`."""
        return self._names[address]

    def _load_microkernel(self, spec: KernelSpec) -> int:
        address = self._load_entry(repr(spec), spec.name)
        if address is None:
            return self._compile_microkernel(spec)
        self._microkernels[spec] = address
        return address

    def _compile_microkernel(self, spec: KernelSpec) -> int:
        address = self._microkernels[spec] = self._compile(repr(spec), spec.name, partial(self.emit, spec))
        return address

    def _load_loop(self, name: str) -> int:
        address = self._load_entry(_loop_key(name), name)
        if address is None:
            return self._compile(_loop_key(name), name, lambda: self._loop_ir([name])[name], True)
        return address

    def _load_entry(self, key: str, symbol: str) -> int | None:
        """The address of code that is loaded or in the cache."""
        with self._loading.here:
            if key not in self._addresses:
                begin = time.perf_counter()
                code = self.cache.read(self.entry(key))
                if code is None:
                    return None
                COUNTERS.kernels_from_cache.add()
                self._load(key, symbol, code, "from the cache", begin)
            return self._addresses[key]

    def _compile(self, key: str, symbol: str, emit: Callable[[], str], is_loop: bool = False) -> int:
        with self._loading.here:
            if key not in self._addresses:
                begin = time.perf_counter()
                code = _compile(emit(), self.isa, is_loop)
                self.compiled += 1
                self.cache.write(self.entry(key), code)
                COUNTERS.kernels_compiled.add()
                self._load(key, symbol, code, "compiled", begin)
            return self._addresses[key]

    def _load(self, key: str, symbol: str, code: bytes, how: str, begin: float) -> None:
        COUNTERS.code_bytes.add(len(code))
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("kernel %s: %s, %d bytes, %.3f s", symbol, how, len(code), time.perf_counter() - begin)
        address = self._loader.load(code, symbol)
        if symbol in self._loader.by_llvm:
            _log.info("kernel %s: loaded by LLVM: %s", symbol, self._loader.by_llvm[symbol])
        self._names[address] = symbol
        self._addresses[key] = address

    def entry(self, key: str) -> str:
        """The name of a cache entry: a hash of the key and of all that makes code what it is."""
        digest = self._digest.copy()
        digest.update(key.encode())
        return digest.hexdigest()


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
