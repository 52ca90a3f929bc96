"""``MINIDNN_DEBUG``: shows on standard error what the compiler did, stage by stage.

The variable holds a comma-separated list of topics: ``graph`` (what goes into and comes out of
optimization), ``passes`` (the graph after each pass), ``verify`` (shows nothing, but checks the graph between
passes), and those that later stages add; ``all`` means every one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

__all__ = ["debug_enabled", "debug_print"]


def debug_enabled(topic: str) -> bool:
    """Whether `topic` is asked for; the environment is read anew at each call."""
    wanted = {word.strip() for word in os.environ.get("MINIDNN_DEBUG", "").split(",")}
    return topic in wanted or "all" in wanted


def debug_print(topic: str, title: str, render: Callable[[], str]) -> None:
    """Prints ``render()`` under a headline when `topic` is asked for; otherwise costs nothing."""
    if debug_enabled(topic):
        print(f"[minidnn {topic}] {title}\n{render()}\n", file=sys.stderr, flush=True)
