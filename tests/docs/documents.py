"""What the tests of the documents share: the folder, code blocks, and a record file of images."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minidnn import recordio

DOCS = Path(__file__).parents[2] / "docs"


def code_blocks(page: str) -> list[str]:
    """The Python of a page, block by block."""
    return re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)


def write_record(path: Path, images: int, seed: int = 0) -> None:
    """A record file of noise of different sizes, labelled 0, 100, 200, ..."""
    generator = np.random.default_rng(seed)
    with recordio.MXIndexedRecordIO(path.with_suffix(".idx"), path, "w") as record:
        for i in range(images):
            pixels = generator.integers(0, 256, (7 + i % 5, 9, 3), np.uint8).repeat(10, 0).repeat(10, 1)
            record.write_idx(i, recordio.pack_img(recordio.IRHeader(0, i * 100 % 1000, i, 0), pixels))


@dataclass(frozen=True)
class Block:
    """A code block of a page: the page and its line, the language, the text."""

    place: str
    language: str
    text: str

    def commands(self) -> list[tuple[str, str]]:
        """The command lines of a console, which stand behind ``$ ``, each with the output that the page shows."""
        found = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", self.text, re.MULTILINE)
        return [(command, shown) for command, shown in found]


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page, in their order, whatever their language."""
    text = page.read_text("utf-8")
    found = re.finditer(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [Block(f"{page.name}:{text.count(chr(10), 0, match.start()) + 2}", match[1], match[2]) for match in found]


def command_environment(folder: Path) -> dict[str, str]:
    """An environment in which ``minidnn`` is the command of this checkout, whatever is installed, with no settings but
    the folder of compiled code."""
    binaries = folder / "bin"
    binaries.mkdir(parents=True)
    script = binaries / "minidnn"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m minidnn "$@"\n', "utf-8")
    script.chmod(0o755)
    places = os.pathsep.join([str(DOCS.parent), str(DOCS.parent / "kernels")])
    kept = {k: v for k, v in os.environ.items() if k == "MINIDNN_CACHE_DIR" or not k.startswith("MINIDNN_")}
    return {**kept, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": places}


def unlike(shown: str, printed: str) -> list[str]:
    """The lines of a page that are none of the lines printed: numbers, the unit of a rate, and spaces may differ,
    and ``...`` is anything."""

    def plain(line: str) -> str:
        line = re.sub(r"[─━┏┓┗┛┡┩┳┻┴┬╇┼└┘├┤-]+", "-", line).replace("GFLOP/s", "GB/s")
        return " ".join(re.sub(r"\d+(\.\d+)?(e[-+]?\d+)?", "0", line).split())

    found = [plain(line) for line in printed.splitlines()]
    patterns = [(line, re.escape(plain(line)).replace(r"\.\.\.", ".*")) for line in shown.splitlines()]
    return [line for line, pattern in patterns if not any(re.fullmatch(pattern, other) for other in found)]


def run(block: Block, names: dict[str, Any], folder: Path, environment: dict[str, str]) -> None:
    """Run a block; commands must print what is shown below them."""
    if block.language == "python":
        exec(compile(block.text, block.place, "exec"), names)
    elif block.language == "console":
        for command, shown in block.commands():
            done = subprocess.run(
                command,
                shell=True,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
            assert done.returncode == 0, f"{block.place}: {command}\n{done.stderr}"
            assert not unlike(shown, done.stdout), f"{block.place}: {command}\n{done.stdout}"
    else:
        assert block.language == "text", f"{block.place}: no test runs {block.language}"
