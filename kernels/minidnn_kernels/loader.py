"""From object code to an address on this machine: by ourselves on Linux, by LLVM elsewhere.

LLVM takes 70 MB and a tenth of a second to be there, and a process whose kernels are all in the cache needs nothing
else of it. So it is asked only where an object is not one that `elf` reads.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from functools import cache
from typing import Any

from minidnn_kernels.elf import UnsupportedObjectError, read_object
from minidnn_kernels.fork_lock import FORK_LOCK
from minidnn_kernels.host import host_arch

__all__ = ["Loader", "map_object"]

# What kernels may call: LLVM makes the first three of loads and stores, SSE2 has no instruction for rounding.
_ROUNDING = ("floor", "ceil", "trunc", "rint")
_EXTERNALS = frozenset(
    ("memcpy", "memmove", "memset", "sched_yield", "clock_gettime", *_ROUNDING, *(f"{name}f" for name in _ROUNDING))
)


def map_object(object_code: bytes, symbol: str) -> int:
    """The address of `symbol` of an object in memory of its own, which stays for good: a thread may be in it.

    That memory is written, then executed, and never both.

    Raises:
        UnsupportedObjectError: it is not an object of a kernel, or the system does not let it be executed.
        RuntimeError: it has no such symbol.
    """
    system = _system()
    found = read_object(object_code, host_arch())
    if symbol not in found.functions:
        raise RuntimeError(f"object code has no symbol {symbol!r}")
    externals = {name: system.function(name) for name in found.externals}
    base = system.map(found.size)
    try:
        ctypes.memmove(base, found.image(base, externals), found.size)
        system.make_executable(base, found.size)
    except BaseException:
        system.unmap(base, found.size)
        raise
    return base + found.functions[symbol]


class _System:
    """Memory that can be executed, from the C library; all numbers are addresses and sizes."""

    def __init__(self) -> None:
        if not sys.platform.startswith("linux"):
            raise UnsupportedObjectError(f"the system is {sys.platform}")
        self._library: Any = ctypes.CDLL(None, use_errno=True)
        self._map = self._library.mmap
        self._map.restype = ctypes.c_void_p
        self._map.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        self._protect = self._library.mprotect
        self._protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self._unmap = self._library.munmap
        self._unmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self._clear_cache = self._instruction_cache()

    def _instruction_cache(self) -> Any:
        """What makes instructions that were written visible, ``(begin, end)``; on x86 they are so at once."""
        if host_arch() == "x86_64":
            return None
        try:
            clear = ctypes.CDLL("libgcc_s.so.1").__clear_cache
        except (OSError, AttributeError):
            raise UnsupportedObjectError("libgcc has no __clear_cache") from None
        clear.argtypes, clear.restype = [ctypes.c_void_p] * 2, None
        return clear

    def function(self, name: str) -> int:
        """The address of a function of the C library."""
        if name not in _EXTERNALS:
            raise UnsupportedObjectError(f"it calls {name!r}")
        try:
            return int(ctypes.cast(getattr(self._library, name), ctypes.c_void_p).value or 0)
        except AttributeError:
            raise UnsupportedObjectError(f"the C library has no {name!r}") from None

    def map(self, size: int) -> int:
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        address = self._map(None, size, mmap.PROT_READ | mmap.PROT_WRITE, private, -1, 0)
        if address in (None, ctypes.c_void_p(-1).value):
            raise UnsupportedObjectError(f"no memory for it (errno {ctypes.get_errno()})")
        return int(address)

    def make_executable(self, address: int, size: int) -> None:
        if self._protect(address, size, mmap.PROT_READ | mmap.PROT_EXEC) != 0:
            raise UnsupportedObjectError(f"memory cannot be made executable (errno {ctypes.get_errno()})")
        if self._clear_cache is not None:
            self._clear_cache(address, address + size)

    def unmap(self, address: int, size: int) -> None:
        self._unmap(address, size)


@cache
def _system() -> _System:
    return _System()


class Loader:
    """Object code in memory, ready to call. What is loaded stays loaded as long as the loader.

    `by_llvm` says which symbols LLVM has loaded, and why.
    """

    def __init__(self) -> None:
        self.by_llvm: dict[str, str] = {}
        self._engines: list[Any] = []

    def load(self, object_code: bytes, symbol: str) -> int:
        """The address of `symbol`.

        Raises:
            RuntimeError: the object cannot be loaded or has no such symbol.
        """
        try:
            return map_object(object_code, symbol)
        except UnsupportedObjectError as error:
            self.by_llvm[symbol] = str(error)
        with FORK_LOCK:
            from minidnn_kernels.codegen import load_object  # deferred: it loads LLVM

            engine, address = load_object(object_code, symbol)
            self._engines.append(engine)
        if not address:
            raise RuntimeError(f"object code has no symbol {symbol!r}")
        return address
