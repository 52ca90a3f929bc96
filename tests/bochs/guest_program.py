"""From object code to what the emulator loads: the reset ROM and the payload, built with the system's compiler."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from guest_memory import INPUT, MEMORY, PAYLOAD

__all__ = ["Builder", "Program", "find_tool"]

_SOURCES = Path(__file__).with_name("guest")
_FREESTANDING = [
    *("-O2", "-ffreestanding", "-fno-builtin", "-fno-pic", "-mno-red-zone"),
    *("-fno-stack-protector", "-fcf-protection=none", "-fno-tree-loop-distribute-patterns"),
    *("-Wall", "-Wextra", "-Werror"),
]
_ADDRESSES = {"PAYLOAD": PAYLOAD, "INPUT": INPUT, "MEMORY": MEMORY}
_SYMBOL = re.compile(r"[A-Za-z_]\w*")


def find_tool(name: str) -> str | None:
    """A compiler's tool that makes x86-64 code: under its plain name on that architecture, else a cross tool."""
    if platform.machine().lower() in ("x86_64", "amd64"):
        return shutil.which(name)
    return shutil.which(f"x86_64-linux-gnu-{name}")


@dataclass(frozen=True)
class Program:
    """A payload, to be loaded at `PAYLOAD`, and the addresses of its functions."""

    payload: bytes
    symbols: Mapping[str, int]

    def where(self, address: int) -> str:
        """The function at that address, for messages: ``tile+0x12``."""
        before = [(start, name) for name, start in self.symbols.items() if start <= address]
        if not before:
            return f"{address:#x}"
        start, name = max(before)
        return f"{name}+{address - start:#x}"


class Builder:
    """Builds programs in a folder; what all of them share is built once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        addresses = [f"-D{name}={value:#x}" for name, value in _ADDRESSES.items()]
        for source in ("rom.S", "start.S", "main.c"):
            target = folder / Path(source).with_suffix(".o").name
            self._run("gcc", *_FREESTANDING, *addresses, "-c", _SOURCES / source, "-o", target)
        self._run("ld", "-Ttext", "0", "--oformat", "binary", "-e", "0", "-o", folder / "rom.bin", folder / "rom.o")

    @property
    def rom(self) -> Path:
        return self._folder / "rom.bin"

    def link(self, objects: Mapping[str, tuple[bytes, str]]) -> Program:
        """A program with these kernels.

        Args:
            objects: for the name each kernel is to have: relocatable x86-64 ELF, and the symbol it has there.
                Freestanding: all it may ask for is memcpy, memmove and memset.

        Raises:
            ValueError: a name that is no symbol.
            RuntimeError: the objects cannot be linked; the linker's words are in the message.
        """
        self._count += 1
        folder = self._folder / f"program{self._count}"
        folder.mkdir()
        files = []
        for number, (name, (code, symbol)) in enumerate(objects.items()):
            if not _SYMBOL.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a function")
            file = folder / f"kernel{number}.o"
            file.write_bytes(code)
            if name != symbol:
                self._run("objcopy", "--redefine-sym", f"{symbol}={name}", file)
            files.append(file)
        linked, flat = folder / "payload.elf", folder / "payload.bin"
        addresses = [f"--defsym={name}={value:#x}" for name, value in _ADDRESSES.items()]
        shared = [self._folder / "start.o", self._folder / "main.o"]
        options = ["-nostdlib", "-static", "-no-pie", "--no-warn-rwx-segments", *addresses]
        self._run("ld", *options, "-T", _SOURCES / "link.ld", "-o", linked, *shared, *files)
        self._run("objcopy", "-O", "binary", linked, flat)
        symbols = {}
        for line in self._run("nm", "--defined-only", linked).splitlines():
            address, kind, name = line.split()
            if kind in "Tt":
                symbols[name] = int(address, 16)
        missing = [name for name in objects if name not in symbols]
        if missing:
            raise RuntimeError(f"object code without its symbol: {', '.join(objects[name][1] for name in missing)}")
        program = Program(flat.read_bytes(), symbols)
        shutil.rmtree(folder)
        return program

    def _run(self, tool: str, *arguments: str | Path) -> str:
        command = find_tool(tool)
        if command is None:
            raise RuntimeError(f"{tool} is not installed")
        done = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise RuntimeError(f"{tool} failed: {done.stderr.strip()[-2000:]}")
        return done.stdout
