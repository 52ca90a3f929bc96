"""What runs: programs (tables of native steps), the driver that walks them, threads, the code cache.

Under MXNet's names for it, `Features` and `feature_list` say what this installation can do; `stats`
says what this process has compiled and keeps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidnn.missing import raising
from minidnn.runtime.counters import Stats, stats
from minidnn.runtime.features import Feature, Features, feature_list

__all__ = ["Feature", "Features", "Stats", "feature_list", "stats"]


if not TYPE_CHECKING:  # with it, mypy would take every name for one that is there
    __getattr__ = raising(__name__)
