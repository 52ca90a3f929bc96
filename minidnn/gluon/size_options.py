"""What users say of the sizes of a network's inputs: names of axes, and sizes to prepare for."""

from __future__ import annotations

import itertools
import keyword
import numbers
import re
from collections.abc import Callable, Mapping
from typing import Any

from minidnn.ir.axes import Axes
from minidnn.ir.graph import Graph
from minidnn.ir.symbolic import example_sizes, variables_of
from minidnn.ops.registry import TensorType

__all__ = ["check_axes", "sizes_to_prepare", "want_axes_of"]

# More combinations of sizes than anybody waits for.
_MAX_PREPARED = 1024


def check_axes(axes: Any, inputs: str, is_input: Callable[[str], bool]) -> dict[str, dict[int, str]]:
    """Names of axes as users give them, ``{'data': {0: 'batch', 2: 'height'}}``.

    Args:
        axes: what is given.
        inputs: what inputs are called, in words.
        is_input: whether an input can have that name.

    Raises:
        TypeError: it is no such mapping.
        ValueError: no input can have such a name, or an axis cannot.
    """
    wanted = "axes must name axes of inputs by their number, as {'data': {0: 'batch', 2: 'height'}}"
    if not isinstance(axes, Mapping):
        raise TypeError(f"{wanted}, got {axes!r}")
    for input_, names in axes.items():
        if not isinstance(input_, str) or not is_input(input_):
            raise ValueError(f"axes: there is no input {input_!r}; inputs are called {inputs}")
        if not isinstance(names, Mapping):
            raise TypeError(f"{wanted}, got {names!r} for {input_!r}")
        for axis, name in names.items():
            if not _is_int(axis) or axis < 0:
                raise ValueError(f"axes: an axis of {input_!r} must be a number from 0 on, got {axis!r}")
            _check_name(input_, axis, name)
    return {input_: {int(axis): name for axis, name in names.items()} for input_, names in axes.items()}


def _check_name(input_: str, axis: int, name: Any) -> None:
    if not isinstance(name, str):
        raise TypeError(f"axes: the name of axis {axis} of {input_!r} must be a text, got {name!r}")
    # Names stand in the arithmetic that files hold.
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,63}", name) or keyword.iskeyword(name):
        raise ValueError(f"axes: the name of axis {axis} of {input_!r} must be an identifier, got {name!r:.80}")


def want_axes_of(axes: Axes, types: Mapping[str, TensorType]) -> None:
    """Check that inputs of these types have the axes that are named.

    Raises:
        ValueError: one is not there.
    """
    for input_, names in axes.items():
        if input_ not in types:
            raise ValueError(f"axes: there is no input {input_!r}; the inputs are {[*types]}")
        for axis, name in names.items():
            if axis >= types[input_].ndim:
                raise ValueError(
                    f"axes: {name!r} names axis {axis} of input {input_!r}, which has {types[input_].ndim} dimensions"
                )


def sizes_to_prepare(dynamic: Any, graph: Graph, axes: Axes) -> list[dict[str, int]]:
    """Combinations of sizes that a network is prepared for, each with a number for every symbol of the graph.

    Of a range these are its ends, and the powers of two between them with the other sizes as they were traced; of a
    list, what is in it. Ends and lists are combined with those of other names.

    Args:
        dynamic: by the name of a size, a tuple of the lowest and the highest number, or a list of numbers.
        graph: as it was traced.
        axes: names that users have given to axes.

    Raises:
        TypeError: it is no such mapping.
        ValueError: there is no such name, no such number, or there are too many combinations.
    """
    if not isinstance(dynamic, Mapping):
        raise TypeError(f"dynamic must say numbers for sizes by name, as {{'N': (1, 64)}}, got {dynamic!r}")
    traced = example_sizes(graph)
    for name in dynamic:
        if name not in traced:
            known = ", ".join(traced) or "all fixed"
            raise ValueError(f"dynamic: there is no size {name!r}{_what_is(name, graph, axes)}; the sizes are {known}")
    choices = {name: _choices(name, numbers_) for name, numbers_ in dynamic.items()}
    count = 1
    for chosen in choices.values():
        count *= len(chosen)
    if count > _MAX_PREPARED:
        raise ValueError(f"dynamic: there would be {count} combinations of sizes; at most {_MAX_PREPARED} are prepared")
    combined = [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]
    between = [
        {name: 1 << power}
        for name, chosen in choices.items()
        if isinstance(dynamic[name], tuple)
        for power in range(chosen[0].bit_length(), chosen[-1].bit_length())
    ]
    # Ends come first: what is too large is refused before anything is made for it.
    return [{**traced, **sizes} for sizes in (*combined, *between)] if dynamic else []


def _what_is(name: str, graph: Graph, axes: Axes) -> str:
    """What became of an axis with this name, if the graph says."""
    shapes = {v.name: v.hints.get("shape", ()) for v in variables_of(graph)}
    for input_, names in axes.items():
        for axis, other in names.items():
            if other == name and axis < len(shapes.get(input_, ())):
                return f" (axis {axis} of {input_!r} is {shapes[input_][axis]} in this network)"
    return ""


def _choices(name: str, given: Any) -> list[int]:
    wanted = f"dynamic: {name!r} must have a tuple of the lowest and the highest number, or a list of numbers"
    if not isinstance(given, (tuple, list)):
        raise TypeError(f"{wanted}, got {given!r}")
    if not given or not all(_is_int(n) and 0 <= n < 1 << 63 for n in given):
        raise ValueError(f"{wanted}, got {given!r:.200}")
    chosen = list(dict.fromkeys(map(int, given)))
    if isinstance(given, tuple) and (len(given) != 2 or given[0] > given[1]):
        raise ValueError(f"{wanted}, got {given!r:.200}")
    return chosen


def _is_int(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
