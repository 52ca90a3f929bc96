"""Modules that are imported when somebody asks for them: `import minidnn` imports what most programs need.

`defer` makes names of a module for others that are not imported yet. Whichever way they are asked for (``mx.onnx``,
``from minidnn import onnx``, ``import minidnn.onnx``), they are the modules that Python would have imported at once.

Modules of ours import each other by their full names and never ask for a deferred one while they are imported
themselves: the work is done in another thread, which would wait for the lock of the module that asks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

from minidnn.missing import raising
from minidnn.process_safe import uninterrupted
from minidnn_kernels.fork_lock import FORK_LOCK, is_held_here

__all__ = ["defer", "import_safely"]


def defer(module: str, names: Mapping[str, str | Callable[[], Any]]) -> None:
    """Have names of a module found at their first use, and listed by `dir` before that.

    Any other name raises what `minidnn.missing` says of it.

    Args:
        module: the name of a module that is being imported, or has been.
        names: for each name another module, ``"minidnn.onnx"``, or what is in one, ``"minidnn.pytorch:from_torch"``, or
            a function that gives the value.
    """
    owner, otherwise = sys.modules[module], raising(module)

    def __getattr__(name: str) -> Any:  # noqa: N807
        target = names.get(name)
        if target is None:
            return otherwise(name)
        value = _imported(target) if isinstance(target, str) else target()
        setattr(owner, name, value)
        return value

    def __dir__() -> list[str]:  # noqa: N807
        return sorted({*vars(owner), *names})

    vars(owner).update(__getattr__=__getattr__, __dir__=__dir__)


def _imported(target: str) -> Any:
    module, _, name = target.partition(":")
    import_safely([module])
    return getattr(sys.modules[module], name) if name else sys.modules[module]


def import_safely(modules: Sequence[str]) -> None:
    """Import modules so that neither Ctrl-C nor a fork in another thread leaves one half imported."""
    work = partial(_import, modules)
    if is_held_here():  # another thread would wait for this one
        work()
    else:
        uninterrupted(work)


def _import(modules: Sequence[str]) -> None:
    with FORK_LOCK:
        for name in modules:
            import_module(name)
