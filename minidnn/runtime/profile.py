"""What a recording says: each step's time, what it did in it, and how near to the machine's limits that is."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from minidnn.ops.registry import TensorType
from minidnn.plan.program import Cost, HostStep, NativeStep, describe_step
from minidnn.process_safe import uninterrupted
from minidnn.runtime.recording import Run
from minidnn.untrusted import html_table, html_text, printable

__all__ = ["EXCESSES", "Peaks", "Profile", "StepProfile", "measure_peaks"]


@dataclass(frozen=True)
class Peaks:
    """The machine's limits.

    Args:
        operations: float32 operations a second, two per multiply-add.
        bandwidth: bytes a second from main memory.
    """

    operations: float
    bandwidth: float


@cache
def measure_peaks(threads: int) -> Peaks:
    """The limits with that many threads, measured at the first call, which takes about a second."""
    from minidnn_kernels.peak import measure_bandwidth, measure_fma_peak  # deferred: it loads the compiler

    return uninterrupted(lambda: Peaks(measure_fma_peak(threads), measure_bandwidth(threads)))


# Why a step may come out above the machine's limits.
EXCESSES = {
    "winograd": "Winograd's convolutions count the operations of the direct convolution, of which they do fewer",
    "int8": "int8 instructions do more operations at once than those of float32, by which the peak is measured",
    "cache": "the data came from a cache, which is faster than memory, by which the peak is measured",
    "noise": "the peak was measured while the machine was busier than it was in the fastest round of this step",
}
_MARKS = "¹²³⁴"


@dataclass(frozen=True)
class StepProfile:
    """One step of a program.

    Args:
        index: its place among all steps of the profile.
        name: of the node it computes, or what it does between nodes: ``reorder``, ``pad``, ``copy``. Where blocks run
            operator by operator, the block's name stands in front: ``features.0_convolution``.
        kernel: the loop and the microkernels it calls, or ``NumPy``.
        result: the type of what it makes; None where that is not known.
        cost: the operations and bytes it needs at least.
        seconds: of each round.
        share: of the time of all steps, by medians; they add up to 1.
        peaks: the machine's limits.
        operator: what NumPy runs, because no kernel does; empty where one does.
        reason: why, where that is known.
    """

    index: int
    name: str
    kernel: str
    result: TensorType | None
    cost: Cost
    seconds: tuple[float, ...]
    share: float
    peaks: Peaks
    operator: str = ""
    reason: str = ""

    @property
    def on_host(self) -> bool:
        """Whether NumPy runs it."""
        return bool(self.operator)

    @property
    def row(self) -> tuple[str, ...]:
        """The cells of a table below `Profile.HEADINGS`."""
        return (
            str(self.index),
            printable(self.name),
            f"NumPy: {self.operator}" if self.on_host else self.kernel,
            "" if self.result is None else " ".join([_by(self.result.shape), str(self.result.dtype)]).lstrip(),
            str(len(self.seconds)),
            f"{self.minimum * 1e3:.3f}",
            f"{self.median * 1e3:.3f}",
            self.rate,
            "" if self.share_of_peak is None else f"{self.share_of_peak:.0%}{self.mark}",
            f"{self.share:.1%}",
        )

    @property
    def minimum(self) -> float:
        return min(self.seconds)

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def operations_per_second(self) -> float:
        """Of the fastest round."""
        return self.cost.operations / max(self.minimum, 1e-9)

    @property
    def bytes_per_second(self) -> float:
        """Of the fastest round."""
        return self.cost.bytes / max(self.minimum, 1e-9)

    @property
    def limit(self) -> str | None:
        """What a perfect kernel would wait for, by the roofline model: ``compute`` or ``memory``; None: unknown.

        S. Williams, A. Waterman, D. Patterson: Roofline: an insightful visual performance model for multicore
        architectures. Communications of the ACM 52 (4), 2009.
        """
        if not (self.cost.operations or self.cost.bytes):
            return None
        compute = self.cost.operations / self.peaks.operations
        return "compute" if compute >= self.cost.bytes / self.peaks.bandwidth else "memory"

    @property
    def share_of_peak(self) -> float | None:
        """How near it comes to its limit.

        More than 1 where data comes from a cache and not from memory, in int8, whose instructions do more than
        float32's, and in Winograd's convolutions, which are credited with the multiplications they save.
        """
        if self.limit == "compute":
            return self.operations_per_second / self.peaks.operations
        return None if self.limit is None else self.bytes_per_second / self.peaks.bandwidth

    @property
    def excess(self) -> str | None:
        """Why it comes out above the limit, as `EXCESSES` calls it; None where it does not."""
        if self.share_of_peak is None or self.share_of_peak <= 1:
            return None
        if self.limit == "memory":
            return "cache"
        return "winograd" if "winograd" in self.kernel else "int8" if self.is_integer else "noise"

    @property
    def mark(self) -> str:
        """The number of the footnote that says why it comes out above the limit."""
        return "" if self.excess is None else _MARKS[[*EXCESSES].index(self.excess)]

    @property
    def is_integer(self) -> bool:
        """Whether its kernel multiplies int8."""
        return self.kernel.partition(": ")[2].startswith(("u8_", "s8_"))

    @property
    def rate(self) -> str:
        """``12.3 GFLOP/s`` (``GOP/s`` in int8) or ``4.5 GB/s``, whichever its limit is measured in."""
        if self.limit is None:
            return ""
        if self.limit == "memory":
            return f"{self.bytes_per_second / 1e9:.1f} GB/s"
        return f"{self.operations_per_second / 1e9:.1f} {'GOP/s' if self.is_integer else 'GFLOP/s'}"

    def to_dict(self) -> dict[str, Any]:
        """What is known as plain data; times in milliseconds, rates in billions a second."""
        return {
            "index": self.index,
            "name": self.name,
            "kernel": self.kernel,
            "numpy_operator": self.operator or None,
            "numpy_reason": self.reason or None,
            "shape": None if self.result is None else list(self.result.shape),
            "dtype": None if self.result is None else str(self.result.dtype),
            "calls": len(self.seconds),
            "minimum_ms": self.minimum * 1e3,
            "median_ms": self.median * 1e3,
            "share": self.share,
            "operations": self.cost.operations,
            "bytes": self.cost.bytes,
            "gflops": self.operations_per_second / 1e9,
            "gbytes_per_second": self.bytes_per_second / 1e9,
            "limit": self.limit,
            "share_of_peak": self.share_of_peak,
        }


class Profile:
    """The times of the steps of all runs in a list, which may grow. ``print`` shows them as a table.

    Args:
        runs: what was recorded; whoever records adds to it.
        threads: that worked on it.
        title: of the table.

    Attributes:
        HEADINGS: of the table's columns.
        TEXT_COLUMNS: those that do not hold numbers.
    """

    HEADINGS = ("step", "name", "kernel", "shape", "calls", "min ms", "median ms", "rate", "of peak", "share")
    TEXT_COLUMNS = ("name", "kernel", "shape")

    def __init__(self, runs: list[Run], threads: int, title: str = "profile") -> None:
        self.runs = runs
        self.threads = threads
        self.title = title

    @property
    def peaks(self) -> Peaks:
        """The machine's limits with as many threads; the first look measures them."""
        return measure_peaks(self.threads)

    def steps(self, sort: bool = False) -> list[StepProfile]:
        """All steps, each program's together, in the order of their first run; or the slowest first."""
        peaks = self.peaks if self.runs else Peaks(1.0, 1.0)
        timed = [
            (step, runs[0].scope, tuple(run.spans[i][1] - run.spans[i][0] for run in runs))
            for runs in _by_program(self.runs).values()
            for i, step in enumerate(runs[0].program.steps)
        ]
        weights = [float(np.median(seconds)) * len(seconds) for _, _, seconds in timed]
        total = math.fsum(weights) or 1.0
        made = [
            StepProfile(
                index,
                _name(step, scope),
                describe_step(step).kernel,
                _result(step),
                _cost(step),
                seconds,
                weight / total,
                peaks,
                (step.operator or step.name) if isinstance(step, HostStep) else "",
                describe_step(step).reason,
            )
            for index, ((step, scope, seconds), weight) in enumerate(zip(timed, weights, strict=True))
        ]
        return sorted(made, key=lambda s: -s.share) if sort else made

    def timeline(self) -> list[dict[str, Any]]:
        """When each step ran, in milliseconds: the fastest run of one program, or all runs of several."""
        groups = _by_program(self.runs)
        ran = [run for runs in groups.values() for run in runs if run.spans]
        if len(groups) == 1:
            ran = sorted(ran, key=lambda run: run.spans[-1][1] - run.spans[0][0])[:1]
        steps = itertools.accumulate((len(runs[0].program.steps) for runs in groups.values()), initial=0)
        first = dict(zip(groups, steps, strict=False))
        zero = min((run.spans[0][0] for run in ran), default=0.0)
        threads = {thread: i for i, thread in enumerate(dict.fromkeys(run.thread for run in ran))}
        return [
            {
                "step": first[run.key] + i,
                "thread": threads[run.thread],
                "begin_ms": (begin - zero) * 1e3,
                "end_ms": (end - zero) * 1e3,
            }
            for run in ran
            for i, (begin, end) in enumerate(run.spans)
        ]

    def timeline_note(self) -> str:
        """What the timeline shows, and how that belongs to the times of the table."""
        events = self.timeline()
        span = max((event["end_ms"] for event in events), default=0.0)
        if len(_by_program(self.runs)) == 1:
            return (
                f"The fastest of {len(self.runs)} runs: {span:.3f} ms from its first step to the end of its last, with "
                "the time between steps; the table and the sum above it have the medians of all runs"
            )
        return f"All runs: {span:.3f} ms with the time between them; the table and the sum above it have medians"

    def footnotes(self) -> list[str]:
        """Why steps come out above the machine's limits, each with its mark; and which run on NumPy, and why."""
        steps = self.steps()
        met = {step.excess: step.mark for step in steps}
        return [f"{met[excess]} {text}" for excess, text in EXCESSES.items() if excess in met] + _on_numpy(steps)

    def _repr_html_(self) -> str:
        rows = [step.row for step in self.steps()]
        numbers = [i for i, heading in enumerate(self.HEADINGS) if heading not in self.TEXT_COLUMNS]
        below = "".join(f"<p>{html_text(text)}</p>" for text in ([*self.footnotes(), self.summary] if rows else ()))
        return f"<p>{html_text(printable(self.title))}</p>\n{html_table(self.HEADINGS, rows, numbers)}\n{below}"

    def to_dict(self, sort: bool = False) -> dict[str, Any]:
        """Everything as plain data."""
        steps = self.steps(sort)
        return {
            "title": self.title,
            "threads": self.threads,
            "peak": {"gflops": self.peaks.operations / 1e9, "gbytes_per_second": self.peaks.bandwidth / 1e9},
            "runs": len(self.runs),
            "total_ms": math.fsum(s.median * len(s.seconds) for s in steps) * 1e3,
            "steps": [s.to_dict() for s in steps],
            "timeline": self.timeline(),
        }

    def clear(self) -> None:
        """Forget what was recorded."""
        self.runs.clear()

    def to_json(self, sort: bool = False) -> str:
        return json.dumps(self.to_dict(sort), indent=1, allow_nan=False)

    @property
    def summary(self) -> str:
        """What stands below the table."""
        steps = self.steps()
        total = math.fsum(s.median * len(s.seconds) for s in steps) * 1e3
        time = f"{total:.3f} ms in all"
        if len(_by_program(self.runs)) == 1:
            time = f"{total / len(self.runs):.3f} ms each"
        return (
            f"{len(steps)} steps, {len(self.runs)} runs, {time}, by medians; the machine's peak with "
            f"{self.threads} threads: {self.peaks.operations / 1e9:.1f} GFLOP/s in float32, "
            f"{self.peaks.bandwidth / 1e9:.1f} GB/s from memory"
        )

    def format(self, sort: bool = False) -> str:
        """The table as text."""
        rows = [self.HEADINGS, *(s.row for s in self.steps(sort))]
        if len(rows) == 1:
            return f"{self.title}: nothing ran"
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if heading in self.TEXT_COLUMNS else cell.rjust(width)
                for cell, width, heading in zip(row, widths, self.HEADINGS, strict=True)
            ).rstrip()
            for row in rows
        ]
        rule = "-" * max(map(len, lines))
        return "\n".join([self.title, lines[0], rule, *lines[1:], rule, *self.footnotes(), self.summary])

    def __str__(self) -> str:
        return self.format()


def _by_program(runs: Sequence[Run]) -> dict[tuple[int, str], list[Run]]:
    """Runs by the identity of their programs, and by block; a copy, for other threads may be adding some."""
    groups: dict[tuple[int, str], list[Run]] = {}
    for run in list(runs):
        groups.setdefault(run.key, []).append(run)
    return groups


def _name(step: NativeStep | HostStep, scope: str) -> str:
    """As the node would be called in the whole network's graph."""
    return f"{scope}_{step.name}" if scope else step.name


def _on_numpy(steps: Sequence[StepProfile]) -> list[str]:
    """The steps that NumPy runs, a line each, below a line that counts them."""
    found = [step for step in steps if step.on_host]
    if not found:
        return []
    share = math.fsum(step.share for step in found)
    count = f"{len(found)} of {len(steps)} steps" if len(steps) > 1 else "the step"
    lines = [f"NumPy runs {count}, {share:.1%} of the time:"]
    for step in found:
        reason = f": {step.reason}" if step.reason else ""
        lines.append(f"  step {step.index}, {printable(step.name)} ({printable(step.operator)}){reason}")
    return lines


def _result(step: NativeStep | HostStep) -> TensorType | None:
    if isinstance(step, NativeStep):
        return step.result
    return step.outputs[0].type if step.outputs else None


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _cost(step: NativeStep | HostStep) -> Cost:
    return step.cost if isinstance(step, NativeStep) else Cost()
