"""A process for another CPU, run by QEMU: its memory is written and read, and what lies there is called.

The program is a static ELF file that is made here: a driver in LLVM's IR, placed by `minidnn_kernels.elf` like every
kernel, behind the one function that IR cannot say, a system call. It obeys commands from its standard input.
"""

from __future__ import annotations

import contextlib
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

from minidnn_kernels.codegen import emit_object
from minidnn_kernels.elf import ObjectFile, read_object
from minidnn_kernels.isa import get_isa

__all__ = ["INSTALL", "Guest", "GuestError", "missing"]

INSTALL = "apt-get install qemu-user"
_EMULATOR = "qemu-aarch64"
_ARCH = "aarch64"

# Far from where this process has its own memory, so that no address of one is an address of the other.
_BASE = 1 << 36
_MEMORY = 1 << 28
_PAGE = 4096

_HEADER = struct.Struct("<4s5B7xHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_EXECUTABLE, _AARCH64, _LOAD, _READ_WRITE_EXECUTE = 2, 183, 1, 7
# mov x8, x0; mov x0, x1; mov x1, x2; mov x2, x3; svc #0; ret
_SYSTEM_CALL = struct.pack("<6I", 0xAA0003E8, 0xAA0103E0, 0xAA0203E1, 0xAA0303E2, 0xD4000001, 0xD65F03C0)
_SYSTEM_CALL_OFFSET = 0x200

# A command is a number and eleven more. Number 0 calls what lies at the first, with nine arguments; any other is that
# system call (asm-generic/unistd.h), with three, and read and write go on until all is done.
_COMMAND = struct.Struct("<12q")
_CALL, _READ, _WRITE, _PROTECT = 0, 63, 64, 226
_ARGUMENTS = 9
_NOTHING_ALLOWED = 0

_DRIVER = f"""
declare i64 @system_call(i64, i64, i64, i64)

define void @start() {{
entry:
  %command = alloca [12 x i64], align 16
  %address = ptrtoint ptr %command to i64
  br label %next
next:
  call void @obey(i64 {_READ}, i64 0, i64 %address, i64 {_COMMAND.size})
  {" ".join(f"%p{i} = getelementptr i64, ptr %command, i64 {i}" + chr(10) for i in range(11))}
  {" ".join(f"%a{i} = load volatile i64, ptr %p{i}" + chr(10) for i in range(11))}
  %is_call = icmp eq i64 %a0, {_CALL}
  br i1 %is_call, label %call, label %system
call:
  %kernel = inttoptr i64 %a1 to ptr
  call void %kernel({", ".join(f"i64 %a{i}" for i in range(2, 2 + _ARGUMENTS))})
  br label %next
system:
  call void @obey(i64 %a0, i64 %a1, i64 %a2, i64 %a3)
  br label %next
}}

define internal void @obey(i64 %number, i64 %a, i64 %b, i64 %c) noinline {{
entry:
  %is_read = icmp eq i64 %number, {_READ}
  %is_write = icmp eq i64 %number, {_WRITE}
  %moves = or i1 %is_read, %is_write
  br i1 %moves, label %again, label %once
once:
  %ignored = call i64 @system_call(i64 %number, i64 %a, i64 %b, i64 %c)
  ret void
again:
  %where = phi i64 [ %b, %entry ], [ %further, %moved ]
  %left = phi i64 [ %c, %entry ], [ %less, %moved ]
  %is_done = icmp eq i64 %left, 0
  br i1 %is_done, label %done, label %move
move:
  %count = call i64 @system_call(i64 %number, i64 %a, i64 %where, i64 %left)
  %some = icmp sgt i64 %count, 0
  br i1 %some, label %moved, label %leave
moved:
  %further = add i64 %where, %count
  %less = sub i64 %left, %count
  br label %again
leave:
  %never = call i64 @system_call(i64 93, i64 0, i64 0, i64 0)
  br label %done
done:
  ret void
}}

define i64 @sched_yield() {{
  %result = call i64 @system_call(i64 124, i64 0, i64 0, i64 0)
  ret i64 %result
}}

define i64 @clock_gettime(i64 %clock, i64 %time) {{
  %result = call i64 @system_call(i64 113, i64 %clock, i64 %time, i64 0)
  ret i64 %result
}}
"""


def _bytewise(name: str, source: str, value: str, downwards: str) -> str:
    """A function of C's library on bytes; volatile, so that LLVM does not make a call of itself of it."""
    return f"""
define ptr @{name}(ptr %target, {source}, i64 %count) {{
entry:
  %some = icmp ne i64 %count, 0
  {downwards}
  br i1 %some, label %again, label %done
again:
  %i = phi i64 [ 0, %entry ], [ %next, %again ]
  %next = add i64 %i, 1
  %back = sub i64 %count, %next
  %place = select i1 %downwards, i64 %back, i64 %i
  {value}
  %to = getelementptr i8, ptr %target, i64 %place
  store volatile i8 %byte, ptr %to
  %more = icmp ult i64 %next, %count
  br i1 %more, label %again, label %done
done:
  ret ptr %target
}}
"""


_LOADED = "%from = getelementptr i8, ptr %source, i64 %place\n  %byte = load volatile i8, ptr %from"
_UPWARDS = "%downwards = icmp ne i64 0, 0"
_LIBRARY = (
    _bytewise("memcpy", "ptr %source", _LOADED, _UPWARDS)
    + _bytewise("memmove", "ptr %source", _LOADED, "%downwards = icmp ugt ptr %target, %source")
    + _bytewise("memset", "i32 %value", "%byte = trunc i32 %value to i8", _UPWARDS)
)


class GuestError(RuntimeError):
    """The process has come to its end: a kernel did what no CPU or no memory allows, or was stopped."""


def missing() -> list[str]:
    """What is not installed of what a guest needs."""
    return [] if shutil.which(_EMULATOR) else [_EMULATOR]


class Guest:
    """A process that does nothing until it is told to.

    Args:
        folder: for its program.
        cpu: the model, one of ``qemu-aarch64 -cpu help``.
    """

    def __init__(self, folder: Path, cpu: str = "max") -> None:
        self.cpu = cpu
        driver = read_object(emit_object(_DRIVER + _LIBRARY, get_isa("neon")), _ARCH)
        externals = {"system_call": _BASE + _SYSTEM_CALL_OFFSET}
        self._externals = {name: _BASE + _PAGE + offset for name, offset in driver.functions.items()}
        path = folder / f"guest-{cpu}"
        path.write_bytes(_program(driver, externals))
        path.chmod(0o700)
        self._end = _BASE + _PAGE + _whole_pages(driver.size)
        command = [_EMULATOR, "-cpu", cpu, str(path)]
        pipe = subprocess.PIPE
        self._process: Any = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)

    def load(self, object_code: bytes, symbol: str) -> int:
        """The address of a function of an object, which stays."""
        found = read_object(object_code, _ARCH)
        base = self.reserve(_whole_pages(found.size))
        self.write(base, found.image(base, {name: self._externals[name] for name in found.externals}))
        return base + found.functions[symbol]

    def reserve(self, size: int) -> int:
        """The address of so many bytes of zeros, whole pages, with one behind them that nobody may touch.

        Raises:
            MemoryError: the guest has no more.
        """
        begin, end = self._end, self._end + _whole_pages(size)
        if end + _PAGE > _BASE + _MEMORY:
            raise MemoryError(f"a guest has {_MEMORY} bytes of memory")
        self._end = end + _PAGE
        self._command(_PROTECT, end, _PAGE, _NOTHING_ALLOWED)
        return begin

    def write(self, address: int, content: bytes) -> None:
        self._command(_READ, 0, address, len(content))
        self._send(content)

    def call(self, function: int, *arguments: int) -> None:
        """Have it call a function of up to nine integers. It has returned when `read` does."""
        self._command(_CALL, function, *arguments)

    def read(self, address: int, size: int) -> bytes:
        """The bytes there, when all that was wanted before is done.

        Raises:
            GuestError: the process is no more.
        """
        self._command(_WRITE, 1, address, size)
        self._process.stdin.flush()
        content: bytes = self._process.stdout.read(size)
        if len(content) < size:
            raise self._error()
        return content

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._process.stderr.close()

    def _command(self, *numbers: int) -> None:
        self._send(_COMMAND.pack(*numbers, *[0] * (12 - len(numbers))))

    def _send(self, content: bytes) -> None:
        try:
            self._process.stdin.write(content)
        except OSError:
            raise self._error() from None

    def _error(self) -> GuestError:
        status = self._process.wait()
        text = self._process.stderr.read().decode(errors="replace").strip()
        return GuestError(f"the guest on {self.cpu} ended with {status}: {text}")


def _program(driver: ObjectFile, externals: dict[str, int]) -> bytes:
    """The executable: one segment, whose first page has the headers and the system call; behind the driver, memory."""
    image = driver.image(_BASE + _PAGE, externals)
    size = _PAGE + len(image)
    entry = _BASE + _PAGE + driver.functions["start"]
    # 64 bits, little-endian, version 1, of any system.
    kind = (b"\x7fELF", 2, 1, 1, 0, 0, _EXECUTABLE, _AARCH64, 1)
    header = _HEADER.pack(*kind, entry, _HEADER.size, 0, 0, _HEADER.size, _SEGMENT.size, 1, 0, 0, 0)
    segment = _SEGMENT.pack(_LOAD, _READ_WRITE_EXECUTE, 0, _BASE, _BASE, size, _MEMORY, _PAGE)
    first = (header + segment).ljust(_SYSTEM_CALL_OFFSET, b"\0") + _SYSTEM_CALL
    return first.ljust(_PAGE, b"\0") + image


def _whole_pages(size: int) -> int:
    return -(-size // _PAGE) * _PAGE
