"""How long each step of each inference takes, with the names of ``mx.profiler``:

    with mx.profiler.profile() as profile:
        net(x)
    print(profile)

While it runs, steps are run and timed one by one, in every thread of the process. Results stay the same.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minidnn import engine
from minidnn.errors import MXNetError
from minidnn.missing import raising
from minidnn.untrusted import printable
from minidnn.viz.timeline import profile_page

__all__ = ["Profile", "dump", "dumps", "pause", "profile", "resume", "set_config", "set_state"]

_TIMES = ("Time (ms)", "Min (ms)", "Max (ms)", "Avg (ms)")
_SORTS = ("total", "avg", "min", "max", "count")
# Of MXNet's options, those that say what to do here; the others say what MXNet's engine should watch.
_CONFIG: dict[str, Any] = {"filename": "profile.json"}
_WITHOUT_EFFECT = frozenset(
    {
        "profile_all",
        "profile_symbolic",
        "profile_imperative",
        "profile_memory",
        "profile_api",
        "continuous_dump",
        "dump_period",
        "aggregate_stats",
        "gpu_memory_profile_filename_prefix",
        "profile_process",
    }
)


class Profile(engine.Profile):
    """What was recorded: the times of the steps, as a table (``print``), as JSON, and as a page of HTML."""

    def to_html(self, sort: bool = False) -> str:
        """A page with the table and the timeline, which needs nothing beside it."""
        rows = [s.row for s in self.steps(sort)]
        notes = self.timeline_note(), self.footnotes()
        return profile_page(self.to_dict(sort), self.summary, self.HEADINGS, rows, *notes)


class _State:
    """What `set_state` started: the profile, and how to stop recording for it."""

    def __init__(self) -> None:
        self.profile: Profile | None = None
        self.open: contextlib.ExitStack | None = None


_state = _State()


@contextlib.contextmanager
def profile(title: str = "profile") -> Iterator[Profile]:
    """While it is open, time every step of every inference of the process.

    Args:
        title: of the table that ``print`` shows.

    Yields:
        The profile: ``steps()``, ``to_dict()``, ``to_json()``, ``to_html()``, and as text by ``str``.

    Raises:
        MXNetError: the profiler is running already.
    """
    with _recording() as made:
        made.title = title
        yield made


def set_config(**kwargs: Any) -> None:
    """Options; ``filename`` is where `dump` writes. MXNet's others are taken, and have no effect.

    Raises:
        MXNetError: an option that does not exist.
    """
    for name in kwargs:
        if name not in _CONFIG and name not in _WITHOUT_EFFECT:
            raise MXNetError(f"unknown option {name!r}; there are {sorted({*_CONFIG, *_WITHOUT_EFFECT})}")
    _CONFIG.update((name, value) for name, value in kwargs.items() if name in _CONFIG)


def set_state(state: str = "stop", profile_process: str = "worker") -> None:
    """``run`` starts a new profile, ``stop`` ends it; doing what is done already does nothing.

    Raises:
        ValueError: another state.
        MXNetError: a `profile` is open.
    """
    if state not in ("run", "stop"):
        raise ValueError(f"state must be 'run' or 'stop', got {state!r}")
    if state == "stop":
        pause()
    elif _state.open is None:
        _state.profile = None
        resume()


def pause(profile_process: str = "worker") -> None:
    """Time nothing until `resume`."""
    if _state.open is not None:
        _state.open.close()
        _state.open = None


def resume(profile_process: str = "worker") -> None:
    """Go on with the profile where `pause` left it.

    Raises:
        MXNetError: a `profile` is open.
    """
    if _state.open is not None:
        return
    opened = contextlib.ExitStack()
    _state.profile = opened.enter_context(_recording(_state.profile))
    _state.open = opened


def dumps(reset: bool = False, format: str = "table", sort_by: str = "total", ascending: bool = False) -> str:
    """What was timed since ``set_state('run')``.

    Args:
        reset: forget it afterwards.
        format: ``table`` or ``json``.
        sort_by: ``total``, ``avg``, ``min``, ``max`` or ``count``.
        ascending: the smallest first.

    Raises:
        ValueError: another format or order.
    """
    if format not in ("table", "json"):
        raise ValueError(f"format must be 'table' or 'json', got {format!r}")
    if sort_by not in _SORTS:
        raise ValueError(f"sort_by must be one of {list(_SORTS)}, got {sort_by!r}")
    made = _state.profile
    steps = [] if made is None else made.steps()
    table = [
        {
            "name": step.name,
            "kernel": step.kernel,
            "count": len(step.seconds),
            "total": sum(step.seconds) * 1e3,
            "min": step.minimum * 1e3,
            "max": max(step.seconds) * 1e3,
            "avg": sum(step.seconds) / len(step.seconds) * 1e3,
        }
        for step in steps
    ]
    table.sort(key=lambda row: row[sort_by], reverse=not ascending)  # type: ignore[arg-type, return-value]
    if reset and made is not None:
        made.clear()
    if format == "json":
        return json.dumps({"unit": "ms", "steps": table}, indent=1)
    lines = ["Profile Statistics:", f"{'Name':<44}{'Total Count':>12}" + "".join(f"{h:>14}" for h in _TIMES)]
    lines += [
        f"{printable(str(row['name'])):<44}{row['count']:>12}"
        + "".join(f"{row[key]:>14.4f}" for key in ("total", "min", "max", "avg"))
        for row in table
    ]
    return "\n".join(lines) + "\n"


def dump(finished: bool = True, profile_process: str = "worker") -> None:
    """Write the timeline to ``filename`` in the Trace Event Format, which trace viewers of browsers show.

    Args:
        finished: stop the profiler, too.
        profile_process: MXNet's; without effect.

    Raises:
        OSError: the file cannot be written.
    """
    if finished:
        set_state("stop")
    made = _state.profile
    steps = {} if made is None else {step.index: step for step in made.steps()}
    events = [
        {
            "name": steps[event["step"]].name,
            "cat": "step",
            "ph": "X",
            "ts": event["begin_ms"] * 1e3,
            "dur": (event["end_ms"] - event["begin_ms"]) * 1e3,
            "pid": 0,
            "tid": event["thread"],
            "args": {"kernel": steps[event["step"]].kernel},
        }
        for event in ([] if made is None else made.timeline())
    ]
    text = json.dumps({"displayTimeUnit": "ms", "traceEvents": events}, indent=1)
    Path(_CONFIG["filename"]).write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _recording(going_on: Profile | None = None) -> Iterator[Profile]:
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(engine.recording(going_on or Profile([], engine.get_num_threads())))
        except RuntimeError as error:
            raise MXNetError(str(error)) from None
        yield made


if not TYPE_CHECKING:  # with it, mypy would take every name for one that is there
    __getattr__ = raising(__name__)
