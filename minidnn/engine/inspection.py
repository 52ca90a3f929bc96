"""What inference runs on, and how long its steps take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, TypeVar

from minidnn import settings
from minidnn.engine.compiling import load_compiler
from minidnn.process_safe import uninterrupted
from minidnn.runtime.profile import Profile
from minidnn.runtime.recording import Recorder, start, stop
from minidnn.runtime.threads import get_num_threads
from minidnn_kernels.host import host_cpu, host_features

__all__ = ["check_settings", "info", "recording"]

_Profile = TypeVar("_Profile", bound=Profile)


@contextlib.contextmanager
def recording(profile: _Profile) -> Iterator[_Profile]:
    """While it is open, every run of this process is timed step by step, for `profile`, behind the runs it has.

    Raises:
        RuntimeError: another is open.
    """
    recorder = Recorder(profile.runs)
    try:
        start(recorder)
        yield profile
    finally:
        stop(recorder)


def check_settings() -> None:
    """Look at every setting that the environment has.

    Raises:
        SettingError: one has a value that it cannot have, or names an ISA that this machine does not have.
    """
    settings.check_settings()
    if settings.ISA.value():
        load_compiler()
        from minidnn.runtime.library import chosen_isa  # deferred: it loads the compiler

        chosen_isa()


def info() -> dict[str, Any]:
    """What inference runs on: CPU, ISA, threads, cache folder."""
    load_compiler()
    from minidnn.runtime.library import library  # deferred: it loads the compiler

    kernels = library()
    cache = kernels.cache
    return {
        "cpu": uninterrupted(host_cpu),
        "cpu_features": sorted(uninterrupted(host_features)),
        "isa": kernels.isa.name,
        "threads": get_num_threads(),
        "threading": "own helper threads, each with a share of each step",
        "cache_folder": f"off ({cache.why_off})" if cache.folder is None else str(cache.folder),
        "cache_limit_bytes": cache.limit,
        "settings": settings.in_environment(),
    }
