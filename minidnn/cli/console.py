"""Where commands write: results to standard output, progress to standard error, and only to a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["make_console", "make_progress"]

_PLAIN_WIDTH = 120  # of a pipe or a file, where no terminal says how wide it is


def make_console() -> Console:
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, _PLAIN_WIDTH)
    return console


def make_progress() -> Progress:
    """A bar that vanishes when it is done, and that there is only on a terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
