"""What users are told without asking: the logger ``minidnn``, and one line on a terminal before much is compiled.

Modules log to children of that logger, named like themselves. It has no output of its own until a program configures
`logging` or ``MINIDNN_LOG`` is set.
"""

from __future__ import annotations

import logging
import sys
from functools import cache

from minidnn import settings

__all__ = ["announce_compilation", "start_logging"]

LOGGER = "minidnn"


@cache
def start_logging() -> None:
    """Show the logger's messages on standard error if ``MINIDNN_LOG`` asks for it; the first call decides.

    Raises:
        SettingError: the variable names no level.
    """
    level = settings.LOG.value()
    if level is None:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.setLevel(level.upper())
    logger = logging.getLogger(LOGGER)
    logger.addHandler(handler)
    logger.setLevel(level.upper())


class _Said:
    """Whether the line about compilation has been said in this process."""

    compilation = False


def announce_compilation(count: int, isa: str, later: str) -> None:
    """Say once, if standard error is a terminal, that kernels are being compiled, which takes seconds.

    Args:
        count: of kernels, so far as is known.
        isa: what they are compiled for.
        later: what becomes of them, such as ``later runs take them from ~/.cache/minidnn``.
    """
    if _Said.compilation or not settings.NOTICES.value():
        return
    if sys.stderr is None or not sys.stderr.isatty():
        return
    _Said.compilation = True
    print(f"minidnn: compiling {count} kernels for {isa}, once; {later}", file=sys.stderr, flush=True)
