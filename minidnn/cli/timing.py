"""Fair timing on a machine that others use too: the candidates take turns, A B A B, in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Timing", "inference", "interleave"]


@dataclass(frozen=True)
class Timing:
    """Seconds of each round of one candidate."""

    seconds: tuple[float, ...]

    @property
    def minimum_ms(self) -> float:
        return min(self.seconds) * 1e3

    @property
    def median_ms(self) -> float:
        return statistics.median(self.seconds) * 1e3


def inference(net: Any, *data: Any) -> Callable[[], object]:
    """One inference on these inputs, waited for: what there is to time."""

    def run() -> None:
        made = net(*data)
        for result in made.values() if isinstance(made, dict) else made if isinstance(made, (list, tuple)) else [made]:
            result.wait_to_read()

    return run


def interleave(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int,
    warmup: int = 2,
    after_round: Callable[[], object] = lambda: None,
) -> dict[str, Timing]:
    """Time the candidates in turns.

    Args:
        candidates: name -> what to time; called without arguments.
        rounds: how often each is timed.
        warmup: rounds before that do not count.
        after_round: called behind every round, counted or not; a progress bar moves here.

    Returns:
        name -> its timing.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(warmup + rounds):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            elapsed = time.perf_counter() - start
            if number >= warmup:
                seconds[name].append(elapsed)
        after_round()
    return {name: Timing(tuple(times)) for name, times in seconds.items()}
