"""Loops that a build of the package has compiled: their LLVM IR, so that no machine's first network waits for Numba.

A file for each loop and architecture, whose first line says what it was made of. In a checkout whose sources have
changed since, and with another version of LLVM, it is not used, and Numba compiles the loop at its first use.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import llvmlite

import minidnn_kernels
from minidnn.plan import layout
from minidnn.replacing import replacing
from minidnn.runtime.loops import LOOPS, compile_here
from minidnn_kernels.isa import ISAS

__all__ = ["FOLDER", "read_loop", "sources_digest", "write_loops"]

FOLDER = Path(__file__).with_name("ready")


@cache
def sources_digest() -> str:
    """A hash over the generators' source: changed generators make other code."""
    digest = hashlib.sha256()
    folders = [Path(next(iter(minidnn_kernels.__path__))), Path(__file__).parent]
    sources = [path for folder in folders for path in sorted(folder.glob("*.py"))]
    for path in [*sources, Path(layout.__file__)]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _origin() -> str:
    """What is written above a loop; IR is good for the version of LLVM that wrote it."""
    return f"; sources {sources_digest()}, llvmlite {llvmlite.__version__}\n"


def read_loop(name: str, arch: str, folder: Path = FOLDER) -> str | None:
    """LLVM IR of a loop for that architecture; None: there is none that was made of these very sources."""
    try:
        with (folder / arch / f"{name}.ll").open(encoding="ascii") as file:
            return file.read() if file.readline() == _origin() else None
    except (OSError, ValueError):
        return None


def write_loops(names: Sequence[str] = tuple(LOOPS), folder: Path = FOLDER) -> None:
    """Compile loops for every architecture in this process, as a build of the package does.

    Raises:
        RuntimeError: a loop is not one that kernels can be made of.
        ImportError: there is no Numba.
    """
    for arch in sorted({isa.arch for isa in ISAS}):
        missing = [name for name in names if read_loop(name, arch, folder) is None]
        (folder / arch).mkdir(parents=True, exist_ok=True)
        for name, ir_text in compile_here(missing, arch).items():
            with replacing(folder / arch / f"{name}.ll") as file:
                file.write_text(_origin() + ir_text, encoding="ascii")
