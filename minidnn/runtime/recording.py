"""Who is told how long each step of each run takes: nobody, as a rule."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from minidnn.plan.program import HostStep, Program
from minidnn.runtime.counters import COUNTERS
from minidnn.scope import current_scope

__all__ = ["Recorder", "Run", "Span", "is_recording", "run_on_host", "start", "stop"]

Span = tuple[float, float]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Run:
    """One run of a program.

    Args:
        program: what ran.
        spans: when each step began and ended, in seconds of `time.perf_counter`.
        thread: the Python thread that ran it.
        scope: the block that was being called, as ``features.0``; empty where a whole network ran.
    """

    program: Program
    spans: tuple[Span, ...]
    thread: int
    scope: str = ""

    @property
    def key(self) -> tuple[int, str]:
        """What runs of the same thing have in common: blocks share the programs of operators."""
        return id(self.program), self.scope


class Recorder:
    """Collects runs, from any number of threads.

    Args:
        runs: gets them, in the order in which they end; a new list if None.
    """

    def __init__(self, runs: list[Run] | None = None) -> None:
        self.runs: list[Run] = [] if runs is None else runs
        self._idle: dict[object, list[Any]] = {}
        self._host: dict[str, Program] = {}

    def add(self, program: Program, spans: tuple[Span, ...]) -> None:
        self.runs.append(Run(program, spans, threading.get_ident(), current_scope()))

    def idle(self, executor: object) -> list[Any]:
        """Contexts of that executor which no run is using; the executor fills the list and takes from it."""
        return self._idle.setdefault(executor, [])

    def add_host(self, name: str, span: Span) -> None:
        """An operator that ran as its NumPy reference, outside any program."""
        if name not in self._host:
            self._host[name] = Program((HostStep(name, _nothing, (), ()),), (), 0, (), ())
        self.add(self._host[name], (span,))

    def release(self) -> None:
        """Give the contexts' memory back."""
        self._idle.clear()


# A run looks here once, at its beginning.
current: Recorder | None = None


def is_recording() -> bool:
    """Whether somebody is told of runs."""
    return current is not None


def start(recorder: Recorder) -> None:
    """Tell `recorder` of every run of this process from now on.

    Raises:
        RuntimeError: another is being told already.
    """
    global current
    if current is not None:
        raise RuntimeError("the profiler is running already")
    current = recorder


def stop(recorder: Recorder) -> None:
    """Tell it no more; nothing happens where it was not being told."""
    global current
    if current is recorder:
        current = None
        recorder.release()


def run_on_host(name: str, compute: Callable[[], Result], operator: str = "") -> Result:
    """An operator that runs as its NumPy reference, recorded under `name` if there is somebody to tell.

    Args:
        name: of the node, or of the operator.
        compute: the reference.
        operator: its name, where it is another.
    """
    COUNTERS.count_numpy(operator or name)
    recorder = current
    if recorder is None:
        return compute()
    begin = time.perf_counter()
    result = compute()
    recorder.add_host(name, (begin, time.perf_counter()))
    return result


def _nothing(_: Any) -> tuple[()]:
    return ()
