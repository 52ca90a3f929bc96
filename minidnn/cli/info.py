"""``minidnn info``: what this machine is, and what minidnn makes of it."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from minidnn import engine
from minidnn.cli.console import make_console

__all__ = ["DESCRIPTION", "SUMMARY", "add_arguments", "run"]

SUMMARY = "show versions, CPU, instruction set, threads and cache"
DESCRIPTION = "Show what a report of a fault or of a speed should say about the machine."
_PACKAGES = ("minidnn", "numpy", "numba", "llvmlite")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(arguments: argparse.Namespace) -> int:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name in _PACKAGES:
        table.add_row(name, version(name))
    table.add_row("Python", f"{platform.python_version()} on {platform.platform()}")
    for name, value in _flat(engine.info()):
        table.add_row(name, value)
    make_console().print(table)
    return 0


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and printable values; a mapping inside gives one line for each of its items."""
    for key, value in values.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}: ")
        elif isinstance(value, (list, tuple, set, frozenset)):
            yield name, " ".join(sorted(map(str, value)))
        else:
            yield name, str(value)
