"""``MINIDNN_DEBUG``: shows on standard error what the compiler did, stage by stage.

The variable holds a comma-separated list of topics: ``graph`` (what goes into and comes out of optimization),
``passes`` (the graph after each pass), ``verify`` (shows nothing, but checks the graph between passes), ``plan`` (the
program), ``asm`` (its kernels); ``all`` means every one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from minidnn import settings

__all__ = ["debug_enabled", "debug_print"]


def debug_enabled(topic: str) -> bool:
    """Whether `topic` is asked for; the environment is read again at each call.

    Raises:
        SettingError: the variable names a topic that does not exist.
    """
    return topic in settings.DEBUG.value()


def debug_print(topic: str, title: str, render: Callable[[], str]) -> None:
    """Prints ``render()`` under a headline when `topic` is asked for; otherwise costs nothing."""
    if debug_enabled(topic):
        print(f"[minidnn {topic}] {title}\n{render()}\n", file=sys.stderr, flush=True)
