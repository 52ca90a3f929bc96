"""Running kernels on a CPU that this machine is not: bare metal in the emulator Bochs. See README.md."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from guest_memory import INPUT, MEMORY, OUTPUT, PAYLOAD, GuestMemory
from guest_program import Builder, Program, find_tool

__all__ = ["CPU", "INSTALL", "BochsError", "BochsMachine", "GuestTrapError", "Outcome", "missing"]

INSTALL = "apt-get install bochs bochsbios gcc binutils"

# The one CPU model with AVX-512 VNNI whose other features are those of x86-64-v4.
CPU = "corei7_icelake_u"

_TOOLS = ("gcc", "ld", "objcopy", "nm")
# Bochs wants a VGA BIOS even where there is nothing to see.
_VGA_BIOS = Path("/usr/share/bochs/VGABIOS-lgpl-latest")

# No disk, and a screen that nobody need look at: Debian has no build without one. Debian's build aborts without the
# sound line, and where the devices switched off by plugin_ctrl are on.
_CONFIGURATION = """\
display_library: rfb, options="timeout=0"
config_interface: textconfig
cpu: model={cpu}, count=1, ips=100000000, reset_on_triple_fault=0
memory: guest={mebibytes}, host={mebibytes}
romimage: file=rom.bin
vgaromimage: file={vga_bios}
optramimage1: file=image.bin, address={payload:#x}
boot: disk
port_e9_hack: enabled=1
magic_break: enabled=1
clock: sync=none, time0=local
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
plugin_ctrl: speaker=0, gameport=0, parallel=0, serial=0, extfpuirq=0
panic: action=fatal
error: action=report
info: action=ignore
debug: action=ignore
log: bochs.log
"""

# What the debugger does: run to the magic breakpoint, write the memory to files, leave.
_COMMANDS = """\
continue
writemem "output.bin" {output:#x} {output_bytes}
writemem "input.bin" {input:#x} {input_bytes}
quit
"""

_COMPLAINT = re.compile(r"^\d+[ep]\[.*", re.MULTILINE)  # errors and panics in Bochs's log
_TRAP = re.compile(r"@@ TRAP vector=(\w+) instruction=(\w+) address=(\w+) job=(\w+)")
_EXCEPTIONS = {
    0: "division error",
    6: "invalid opcode",
    7: "device not available",
    8: "double fault",
    13: "general protection fault",
    14: "page fault",
    19: "SIMD floating-point exception",
}


class BochsError(RuntimeError):
    """The emulator did not do what it should; its complaints are in the message."""


class GuestTrapError(RuntimeError):
    """A kernel made the CPU trap.

    Attributes:
        vector: the exception's number, 6 for an instruction that this CPU does not have.
        symbol: the kernel that was called.
    """

    def __init__(self, vector: int, symbol: str, message: str) -> None:
        super().__init__(message)
        self.vector = vector
        self.symbol = symbol


@dataclass(frozen=True)
class Outcome:
    """What a run left behind: the bytes at `OUTPUT`, and how many instructions it took with the boot."""

    output: bytes
    instructions: int

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes that `GuestMemory.reserve` gave."""
        begin = address - OUTPUT
        if begin < 0 or begin + size > len(self.output):
            raise IndexError(f"{size} bytes at {address:#x} are not of the output")
        return self.output[begin : begin + size]


def missing() -> list[str]:
    """What is not installed of what a run needs."""
    absent = [tool for tool in _TOOLS if find_tool(tool) is None]
    if shutil.which("bochs") is None:
        absent.append("bochs")
    if not _VGA_BIOS.exists():
        absent.append("bochsbios")
    return absent


class BochsMachine:
    """Links kernels and runs them, in folders below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._builder = Builder(folder)

    def link(self, objects: Mapping[str, tuple[bytes, str]]) -> Program:
        """A program of kernels, see `Builder.link`."""
        return self._builder.link(objects)

    def run(self, program: Program, memory: GuestMemory, cpu: str = CPU, timeout: float = 300) -> Outcome:
        """Run the jobs in `memory`, in their order.

        Args:
            cpu: the model, one of ``bochs --help cpu``.
            timeout: seconds after which a guest that has not finished is stopped.

        Raises:
            GuestTrapError: a kernel trapped.
            BochsError: the emulator failed, or a kernel wrote over its input or did not return in time.
        """
        image = memory.image(dict(program.symbols))
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            folder = Path(name)
            log = self._emulate(folder, program, memory, image, cpu, timeout)
            trap = _TRAP.search(log)
            if trap:
                raise _trap(program, memory, cpu, *(int(number, 16) for number in trap.groups()))
            output, back = folder / "output.bin", folder / "input.bin"
            if "@@ DONE" not in log or not back.exists():
                raise BochsError(f"the guest did not come to its end on {cpu}: {_complaints(log, folder)}")
            if back.read_bytes() != image:
                raise BochsError("the input is not what it was: a kernel wrote over it, or it was not loaded intact")
            ticks = re.findall(r"Next at t=(\d+)", log)
            return Outcome(output.read_bytes()[: memory.output_bytes], int(ticks[-1]) if ticks else 0)

    def _emulate(
        self, folder: Path, program: Program, memory: GuestMemory, image: bytes, cpu: str, timeout: float
    ) -> str:
        """Bochs's own words and the guest's."""
        shutil.copy(self._builder.rom, folder / "rom.bin")
        (folder / "image.bin").write_bytes(program.payload.ljust(INPUT - PAYLOAD, b"\0") + image)
        settings = {"cpu": cpu, "mebibytes": MEMORY >> 20, "vga_bios": _VGA_BIOS, "payload": PAYLOAD}
        (folder / "configuration").write_text(_CONFIGURATION.format(**settings))
        sizes = {"output_bytes": max(1, memory.output_bytes), "input_bytes": len(image)}
        (folder / "commands").write_text(_COMMANDS.format(output=OUTPUT, input=INPUT, **sizes))
        command = ["bochs", "-q", "-f", "configuration", "-rc", "commands"]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env={**os.environ, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as error:
            raise BochsError(f"the guest was still running after {timeout:g} s") from error
        return done.stdout.decode(errors="replace")


def _trap(
    program: Program, memory: GuestMemory, cpu: str, vector: int, instruction: int, address: int, job: int
) -> GuestTrapError:
    if job >= len(memory.jobs):
        return GuestTrapError(vector, "", f"exception {vector} before the first job, at {program.where(instruction)}")
    symbol = memory.jobs[job]
    what = _EXCEPTIONS.get(vector, "exception")
    where = f"at {program.where(instruction)}" + (f", address {address:#x}" if vector == 14 else "")
    return GuestTrapError(vector, symbol, f"job {job}, {symbol}, trapped on {cpu}: {what} (vector {vector}) {where}")


def _complaints(log: str, folder: Path) -> str:
    """The errors in the log, or where there are none, its end."""
    own = folder / "bochs.log"
    text = log + (own.read_text(errors="replace") if own.exists() else "")
    return "; ".join(_COMPLAINT.findall(text)) or text[-1500:]
