"""The CPU that this process runs on: its architecture, its features, its name."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Collection
from functools import cache
from typing import Any

from minidnn_kernels.fork_lock import FORK_LOCK

__all__ = ["host_arch", "host_cpu", "host_features", "missing_features"]

# Where CPUID says what the ISA table asks for, by LLVM's names: the leaf by glibc's number (sys/platform/x86.h), the
# register (eax, ebx, ecx, edx), the bit.
_LEAF_1, _LEAF_7, _LEAF_7_1 = 0, 1, 6
_X86_BITS = {
    "sse2": (_LEAF_1, 3, 26),
    "fma": (_LEAF_1, 2, 12),
    "avx2": (_LEAF_7, 1, 5),
    "bmi2": (_LEAF_7, 1, 8),
    "avx512f": (_LEAF_7, 1, 16),
    "avx512dq": (_LEAF_7, 1, 17),
    "avx512cd": (_LEAF_7, 1, 28),
    "avx512bw": (_LEAF_7, 1, 30),
    "avx512vl": (_LEAF_7, 1, 31),
    "avx512vnni": (_LEAF_7, 2, 11),
    "avxvnni": (_LEAF_7_1, 0, 4),
    "avx512bf16": (_LEAF_7_1, 0, 5),
    "avxvnniint8": (_LEAF_7_1, 3, 4),
    "amx-bf16": (_LEAF_7, 3, 22),
    "amx-tile": (_LEAF_7, 3, 24),
    "amx-int8": (_LEAF_7, 3, 25),
}
# Where in struct cpuid_feature the registers are that say what the CPU has, and those that say what can be used.
_PRESENT, _ACTIVE = 0, 4
# Features that a C library may be too old to know: they can be used where the CPU has them, and the other can be used,
# which has the same registers.
_X86_YOUNG = {"avxvnniint8": "avx2"}
# Linux's system call on x86-64 that asks for the use of registers (asm/prctl.h), and the number of AMX's tiles.
_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18
# The bits of Linux's AT_HWCAP and AT_HWCAP2 (asm/hwcap.h), by LLVM's names.
_AT_HWCAP, _AT_HWCAP2 = 16, 26
_ARM_BITS = {"dotprod": (_AT_HWCAP, 20), "i8mm": (_AT_HWCAP2, 13), "bf16": (_AT_HWCAP2, 14)}


def host_arch() -> str:
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


@cache
def host_cpu() -> str:
    """This CPU, by LLVM's name."""
    with FORK_LOCK:
        return str(_llvm().get_host_cpu_name())


@cache
def host_features() -> frozenset[str]:
    """Features of this CPU that the operating system lets programs use, by LLVM's names: all that LLVM knows."""
    with FORK_LOCK:
        return frozenset(name for name, on in _llvm().get_host_cpu_features().items() if on)


def missing_features(required: Collection[str]) -> list[str]:
    """Which of these features this CPU does not have, or the operating system does not let programs use.

    The C library is asked, which has looked already; LLVM, which takes 70 MB, where that does not know.
    """
    told = _told_by_c_library()
    if not told.keys() >= set(required):
        missing = set(required) - host_features()
    else:
        missing = {name for name in required if not told[name]}
    matrices = {name for name in required if name.startswith("amx-")}
    if matrices and not missing and not _may_use_matrices():
        missing = matrices
    return sorted(missing)


@cache
def _may_use_matrices() -> bool:
    """Whether the system lets this process, and its children, use AMX's registers, which it must be asked for.

    It says no where a thread has a stack for signals that is too small to keep them, and where a policy says so.
    """
    try:
        return bool(ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0)
    except (AttributeError, OSError, TypeError):  # no such function: not Linux
        return False


@cache
def _told_by_c_library() -> dict[str, bool]:
    """Whether there is each feature that it knows of; empty where it is not glibc."""
    try:
        library = ctypes.CDLL(None)
        return _of_x86(library) if host_arch() == "x86_64" else _of_arm(library)
    except (AttributeError, OSError, TypeError):  # no such function, or no such library: Windows, macOS, musl
        return {}


def _of_x86(library: Any) -> dict[str, bool]:
    # What CPUID says of a leaf in four registers, then the same for what can be used: struct cpuid_feature.
    leaf = library.__x86_get_cpuid_feature_leaf
    leaf.argtypes, leaf.restype = [ctypes.c_uint], ctypes.POINTER(ctypes.c_uint32 * 8)
    words = {number: leaf(number).contents[:] for number in (_LEAF_1, _LEAF_7, _LEAF_7_1)}

    def has(name: str, registers: int) -> bool:
        number, register, bit = _X86_BITS[name]
        return bool(words[number][registers + register] >> bit & 1)

    usable = {name: has(name, _ACTIVE) for name in _X86_BITS}
    return usable | {name: has(name, _PRESENT) and usable[other] for name, other in _X86_YOUNG.items()}


def _of_arm(library: Any) -> dict[str, bool]:
    library.getauxval.argtypes, library.getauxval.restype = [ctypes.c_ulong], ctypes.c_ulong
    return {name: bool(library.getauxval(word) >> bit & 1) for name, (word, bit) in _ARM_BITS.items()}


def _llvm() -> Any:
    import llvmlite.binding  # deferred: it loads LLVM

    return llvmlite.binding
