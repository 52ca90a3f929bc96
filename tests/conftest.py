"""All tests check graphs between passes, as ``MINIDNN_DEBUG=verify`` does.

The files that `quick.txt` lists are marked ``quick``: some of every part of the project, together under a minute.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# How long a case takes depends on what else the machine does.
settings.register_profile("minidnn", deadline=None)
settings.load_profile("minidnn")

os.environ.setdefault("MINIDNN_DEBUG", "verify")
# What a test sees does not depend on what was measured; the tests of measuring switch it on.
os.environ.setdefault("MINIDNN_TUNE", "0")

# A shell's background jobs ignore Ctrl-C, and so would the processes that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent
QUICK = frozenset((TESTS / "quick.txt").read_text(encoding="utf-8").split())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        listed = item.path.is_relative_to(TESTS) and item.path.relative_to(TESTS).as_posix() in QUICK
        if listed and item.get_closest_marker("slow") is None:
            item.add_marker(pytest.mark.quick)
