"""MXNet's loops and branches as operators: ``foreach``, ``while_loop`` and ``cond``, whose bodies are graphs.

Attributes say which input of the node, or of the body, is which, as MXNet's symbol files do; the inputs of a body are
its variables, depth first from its outputs. Kernels compute what is written out for the number of iterations that the
sizes of the inputs give: `Op.expansion`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.errors import GraphError, OpError, ShapeError
from minidnn.ir.bodies import GraphBody, body_names
from minidnn.ir.graph import Entry, Graph, Node, make_node, make_variable
from minidnn.ops.registry import Attr, Attrs, Body, Op, TensorType, get_op, register
from minidnn.ops.traits import Part
from minidnn.settings import MAX_TRIPS

__all__ = ["bodies_by_name", "has_bodies", "is_control_flow", "written_out"]

Array = np.ndarray[Any, Any]
Types = Sequence[TensorType]

# As many operations are written out for one node, those of loops inside of loops counted as often as they run.
_MAX_OPERATIONS = 1 << 17


def has_bodies(op: str) -> bool:
    """Whether an operator, by any of its names, has attributes that are graphs."""
    try:
        return bool(body_names(get_op(op)))
    except GraphError:
        return False


def bodies_by_name(op: str, subgraphs: Sequence[Graph]) -> dict[str, GraphBody]:
    """The subgraphs of a node as the attributes that they are.

    Raises:
        GraphError: there are more, or fewer.
    """
    names = body_names(get_op(op))
    if len(subgraphs) != len(names):
        raise GraphError(f"{op}: it must have {len(names)} subgraphs, {', '.join(names)}, got {len(subgraphs)}")
    return {name: GraphBody(graph) for name, graph in zip(names, subgraphs, strict=True)}


# ---- what all have in common --------------------------------------------------------------------------


def _want_locations(op: str, label: str, locations: Sequence[int], count: int, of: str, unique: bool = False) -> None:
    for location in locations:
        if not 0 <= location < count:
            raise OpError(f"{op}: {label} must be from 0 to below {count}, {of}, got {location}")
    if unique and len(set(locations)) != len(locations):
        raise OpError(f"{op}: {label} must be different from each other, got {tuple(locations)[:20]}")


def _want_outputs(op: str, label: str, body: GraphBody, count: int) -> None:
    if len(body.graph.outputs) != count:
        raise OpError(f"{op}: {label} has {len(body.graph.outputs)} outputs, {count} are wanted")


def _want_bodies(op: str, attrs: Attrs) -> None:
    for value in attrs.values():
        if isinstance(value, Body) and not isinstance(value, GraphBody):
            raise OpError(f"{op}: its bodies must be graphs")


def _want_kept(op: str, label: str, new: Types, old: Types) -> None:
    for i, (a, b) in enumerate(zip(new, old, strict=True)):
        if a.shape != b.shape or a.dtype != b.dtype:
            raise ShapeError(f"{op}: {label} {i} must stay {b}, got {a}")


def _want_few(op: str, rounds: Any, count: Callable[[], Any]) -> None:
    most = MAX_TRIPS.value()
    if rounds > most:
        raise OpError(f"{op}: {rounds} iterations would be written out, {MAX_TRIPS.name} allows {most}")
    operations = count()
    if operations > _MAX_OPERATIONS:
        raise OpError(f"{op}: {operations} operations would be written out, at most {_MAX_OPERATIONS} are")


def _count(body: GraphBody, types: Types) -> Any:
    """How many operations a body is where loops inside of it are written out."""
    inside = body.types_inside(types)
    total: Any = 0
    for node in body.graph.operations():
        count = _COUNTS.get(node.op_name)
        total += 1 if count is None else count(node.attrs, [inside[e] for e in node.inputs])
    return total


def _picked(values: Sequence[Any], locations: Sequence[int]) -> list[Any]:
    return [values[location] for location in locations]


def _want_number(op: str, types: Types) -> None:
    if types[0].size != 1:
        raise ShapeError(f"{op}: the condition must be one number, got {types[0]}")


class _Writer:
    """Names the nodes of what is written out."""

    def __init__(self) -> None:
        self._number = 0

    def __call__(self, op: str, *inputs: Entry, **attrs: Any) -> Entry:
        self._number += 1
        return make_node(op, f"{op}{self._number}", inputs, attrs)[0]

    def stack(self, values: Sequence[Entry]) -> Entry:
        return self("stack", *values, num_args=len(values), axis=0)

    def condition(self, value: Entry) -> Entry:
        return self("cast", self("reshape", value, newshape=()), dtype=np.bool_)


Written = Callable[[Attrs, Types, Sequence[Entry]], Sequence[Entry]]


def _expansion(write: Written) -> Callable[[Attrs, Types], tuple[list[Part], list[int]]]:
    """The parts of what is written out, for the field of that name."""

    def expansion(attrs: Attrs, types: Types) -> tuple[list[Part], list[int]]:
        inputs = [make_variable(f"in{i}") for i in range(len(types))]
        graph = Graph(write(attrs, types, inputs))
        numbers = {entry: i for i, entry in enumerate(inputs)}
        parts = []
        for node in graph.operations():
            parts.append(Part(node.op_name, tuple(numbers[e] for e in node.inputs), node.attrs, node.name))
            for i in range(node.num_outputs):
                numbers[node[i]] = len(numbers)
        return parts, [numbers[e] for e in graph.outputs]

    return expansion


def is_control_flow(node: Node) -> bool:
    return node.op_name in _WRITTEN


def written_out(node: Node, types: Types, inputs: Sequence[Entry]) -> Graph:
    """What a loop or a branch computes for inputs of these types, without it."""
    return Graph(_WRITTEN[node.op_name](node.attrs, types, inputs))


# ---- foreach ------------------------------------------------------------------------------------------


def _foreach_inputs(attrs: Attrs) -> tuple[str, ...]:
    counts = {"data": attrs.in_data_locs, "state": attrs.in_state_locs, "remain": attrs.remain_locs}
    return tuple(f"{name}{i}" for name, locations in counts.items() for i in range(len(locations)))


def _check_foreach(attrs: Attrs) -> Attrs:
    op = "foreach"
    _want_bodies(op, attrs)
    body: GraphBody = attrs.body
    _want_outputs(op, "its body", body, attrs.num_outputs)
    if attrs.num_out_data > attrs.num_outputs:
        raise OpError(f"{op}: num_out_data is {attrs.num_out_data}, but there are {attrs.num_outputs} outputs")
    if not attrs.in_data_locs:
        raise OpError(f"{op}: in_data_locs must not be empty")
    locations = (*attrs.in_data_locs, *attrs.in_state_locs, *attrs.remain_locs)
    count = len(body.names)
    _want_locations(op, "locations", locations, count, "the inputs of its body", unique=True)
    if len(locations) != count:
        raise OpError(f"{op}: its body has {count} inputs, the locations name {len(locations)}")
    states = attrs.num_outputs - attrs.num_out_data
    index = attrs.in_state_index
    index = tuple(range(len(attrs.in_state_locs))) if index is None else index
    if len(index) != len(attrs.in_state_locs):
        raise OpError(f"{op}: in_state_index has {len(index)} numbers for {len(attrs.in_state_locs)} states")
    _want_locations(op, "in_state_index", index, states, "the states that its body makes")
    return attrs.replace(in_state_index=index)


def _split_foreach(attrs: Attrs, values: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    data, states = len(attrs.in_data_locs), len(attrs.in_state_locs)
    return list(values[:data]), list(values[data : data + states]), list(values[data + states :])


def _feed_foreach(attrs: Attrs, elements: Sequence[Any], states: Sequence[Any], rest: Sequence[Any]) -> list[Any]:
    """Inputs of the body, in order."""
    found = dict(zip(attrs.in_data_locs, elements, strict=True))
    found |= dict(zip(attrs.in_state_locs, states, strict=True))
    found |= dict(zip(attrs.remain_locs, rest, strict=True))
    return [found[i] for i in range(len(found))]


def _element(t: TensorType) -> TensorType:
    # MXNet has a vector's elements as vectors of one number.
    return TensorType(t.shape[1:] or (1,), t.dtype)


def _body_types(attrs: Attrs, types: Types) -> list[TensorType]:
    data, states, rest = _split_foreach(attrs, types)
    return _feed_foreach(attrs, [_element(t) for t in data], states, rest)


def _infer_foreach(attrs: Attrs, types: Types) -> list[TensorType]:
    op = "foreach"
    data, states, _ = _split_foreach(attrs, types)
    for i, t in enumerate(data):
        if t.ndim < 1 or t.shape[0] != data[0].shape[0] or not t.shape[0]:
            raise ShapeError(f"{op}: data {i} must have elements along axis 0, as many as data 0: {data[0]}, got {t}")
    length = data[0].shape[0]
    inside = _body_types(attrs, types)
    _want_few(op, length, lambda: _count_foreach(attrs, types))
    made = attrs.body.infer(inside)
    last = made[attrs.num_out_data :]
    _want_kept(op, "state", _picked(last, attrs.in_state_index), states)
    return [*(TensorType((length, *t.shape), t.dtype) for t in made[: attrs.num_out_data]), *last]


def _count_foreach(attrs: Attrs, types: Types) -> Any:
    return types[0].shape[0] * (_count(attrs.body, _body_types(attrs, types)) + 2 * len(attrs.in_data_locs))


def _foreach(attrs: Attrs, *arrays: Array) -> tuple[Array, ...]:
    data, states, rest = _split_foreach(attrs, arrays)
    collected: list[Sequence[Array]] = []
    last: Sequence[Array] = ()
    for i in range(len(data[0])):
        elements = [a[i] if a.ndim > 1 else a[i : i + 1] for a in data]
        made = attrs.body.compute(_feed_foreach(attrs, elements, states, rest))
        collected.append(made[: attrs.num_out_data])
        last = made[attrs.num_out_data :]
        states = _picked(last, attrs.in_state_index)
    return (*(np.stack(values) for values in zip(*collected, strict=True)), *last)


def _write_foreach(attrs: Attrs, types: Types, inputs: Sequence[Entry]) -> list[Entry]:
    write = _Writer()
    data, states, rest = _split_foreach(attrs, inputs)
    collected: list[list[Entry]] = []
    last: list[Entry] = []
    for i in range(types[0].shape[0]):
        elements = [write("slice_axis", entry, axis=0, begin=i, end=i + 1) for entry in data]
        elements = [
            write("squeeze", entry, axis=(0,)) if t.ndim > 1 else entry
            for entry, t in zip(elements, types[: len(data)], strict=True)
        ]
        made = attrs.body.inline(_feed_foreach(attrs, elements, states, rest), f"{i}/")
        collected.append(made[: attrs.num_out_data])
        last = made[attrs.num_out_data :]
        states = _picked(last, attrs.in_state_index)
    return [*(write.stack(values) for values in zip(*collected, strict=True)), *last]


# ---- while_loop ---------------------------------------------------------------------------------------


def _inputs_of(*keys: str) -> Callable[[Attrs], tuple[str, ...]]:
    """As many as the locations name."""

    def inputs(attrs: Attrs) -> tuple[str, ...]:
        return tuple(f"data{i}" for i in range(1 + max((n for key in keys for n in attrs[key]), default=-1)))

    return inputs


# More inputs than any node has; the names of so many are listed without harm.
_MAX_INPUTS = 1 << 16


def _want_feed(op: str, label: str, body: GraphBody, key: str, locations: Sequence[int]) -> None:
    _want_locations(op, key, locations, _MAX_INPUTS, "the inputs of the node")
    if len(body.names) != len(locations):
        raise OpError(f"{op}: {label} has {len(body.names)} inputs, {key} names {len(locations)}")


def _check_while(attrs: Attrs) -> None:
    op = "while_loop"
    _want_bodies(op, attrs)
    _want_feed(op, "its condition", attrs.cond, "cond_input_locs", attrs.cond_input_locs)
    _want_feed(op, "its body", attrs.func, "func_input_locs", attrs.func_input_locs)
    _want_outputs(op, "its condition", attrs.cond, 1)
    _want_outputs(op, "its body", attrs.func, attrs.num_outputs)
    _want_locations(
        op, "func_var_locs", attrs.func_var_locs, len(attrs.func_input_locs), "the inputs of its body", unique=True
    )
    if attrs.num_outputs - attrs.num_out_data != len(attrs.func_var_locs):
        raise OpError(
            f"{op}: of {attrs.num_outputs} outputs {attrs.num_out_data} are collected, "
            f"which leaves no {len(attrs.func_var_locs)} variables"
        )


def _variables_of(attrs: Attrs) -> list[int]:
    """Which inputs of the node are its variables."""
    return _picked(attrs.func_input_locs, attrs.func_var_locs)


def _replaced(attrs: Attrs, values: Sequence[Any], new: Sequence[Any]) -> list[Any]:
    changed = list(values)
    for place, value in zip(_variables_of(attrs), new, strict=True):
        changed[place] = value
    return changed


def _infer_while(attrs: Attrs, types: Types) -> list[TensorType]:
    op = "while_loop"
    _want_number(op, attrs.cond.infer(_picked(types, attrs.cond_input_locs)))
    made = attrs.func.infer(_picked(types, attrs.func_input_locs))
    outputs, variables = made[: attrs.num_out_data], made[attrs.num_out_data :]
    _want_kept(op, "variable", variables, _picked(types, _variables_of(attrs)))
    _want_few(op, attrs.max_iterations, lambda: _count_while(attrs, types))
    return [*(TensorType((attrs.max_iterations, *t.shape), t.dtype) for t in outputs), *variables]


def _count_while(attrs: Attrs, types: Types) -> Any:
    bodies = (attrs.cond, attrs.cond_input_locs), (attrs.func, attrs.func_input_locs)
    inside = sum(_count(body, _picked(types, locations)) for body, locations in bodies)
    return attrs.max_iterations * (inside + 3 + 2 * attrs.num_outputs)


def _while_loop(attrs: Attrs, *arrays: Array) -> tuple[Array, ...]:
    values: list[Array] = list(arrays)
    types = _infer_while(attrs, [TensorType.of(a) for a in arrays])
    outputs = [np.zeros(t.shape, t.dtype) for t in types[: attrs.num_out_data]]
    for i in range(attrs.max_iterations):
        if not attrs.cond.compute(_picked(values, attrs.cond_input_locs))[0].reshape(()):
            break
        made = attrs.func.compute(_picked(values, attrs.func_input_locs))
        for output, value in zip(outputs, made, strict=False):
            output[i] = value
        values = _replaced(attrs, values, made[attrs.num_out_data :])
    return (*outputs, *_picked(values, _variables_of(attrs)))


def _write_while(attrs: Attrs, types: Types, inputs: Sequence[Entry]) -> list[Entry]:
    """All iterations; behind the last one that its condition allows nothing changes, and zeros are collected."""
    write, values, going = _Writer(), list(inputs), None
    collected: list[list[Entry]] = []
    for i in range(attrs.max_iterations):
        (holds,) = attrs.cond.inline(_picked(values, attrs.cond_input_locs), f"{i}/cond/")
        holds = write.condition(holds)
        going = holds if going is None else write("logical_and", going, holds)
        made = attrs.func.inline(_picked(values, attrs.func_input_locs), f"{i}/")
        outputs, new = made[: attrs.num_out_data], made[attrs.num_out_data :]
        collected.append([write("where", going, e, write("full_like", e, fill_value=0)) for e in outputs])
        old = _picked(values, _variables_of(attrs))
        new = [write("where", going, a, b) for a, b in zip(new, old, strict=True)]
        values = _replaced(attrs, values, new)
    stacked = [write.stack(column) for column in zip(*collected, strict=True)]
    return [*stacked, *_picked(values, _variables_of(attrs))]


# ---- cond ---------------------------------------------------------------------------------------------

_BRANCHES = (("cond", "cond_input_locs"), ("then_branch", "then_input_locs"), ("else_branch", "else_input_locs"))


def _check_cond(attrs: Attrs) -> None:
    op = "cond"
    _want_bodies(op, attrs)
    for label, key in _BRANCHES:
        _want_feed(op, label, attrs[label], key, attrs[key])
        _want_outputs(op, label, attrs[label], 1 if label == "cond" else attrs.num_outputs)


def _infer_cond(attrs: Attrs, types: Types) -> list[TensorType]:
    holds, yes, no = (attrs[label].infer(_picked(types, attrs[key])) for label, key in _BRANCHES)
    _want_number("cond", holds)
    _want_kept("cond", "the other branch's result", no, yes)
    _want_few("cond", 1, lambda: _count_cond(attrs, types))
    return list(yes)


def _count_cond(attrs: Attrs, types: Types) -> Any:
    counts = [_count(attrs[label], _picked(types, attrs[key])) for label, key in _BRANCHES]
    return sum(counts) + 2 + attrs.num_outputs


def _cond(attrs: Attrs, *arrays: Array) -> tuple[Array, ...]:
    holds = attrs.cond.compute(_picked(arrays, attrs.cond_input_locs))[0].reshape(())
    label, key = _BRANCHES[1 if holds else 2]
    results: tuple[Array, ...] = attrs[label].compute(_picked(arrays, attrs[key]))
    return results


def _write_cond(attrs: Attrs, types: Types, inputs: Sequence[Entry]) -> list[Entry]:
    """Both branches, and of each result the one that is wanted."""
    write = _Writer()
    (holds,), yes, no = (attrs[label].inline(_picked(inputs, attrs[key]), f"{label}/") for label, key in _BRANCHES)
    holds = write.condition(holds)
    return [write("where", holds, a, b) for a, b in zip(yes, no, strict=True)]


# ---- their records ------------------------------------------------------------------------------------

_NUM_OUTPUTS = Attr("num_outputs", "int", low=1)
_NUM_OUT_DATA = Attr("num_out_data", "int", low=0)
_WRITTEN: Mapping[str, Written] = {"foreach": _write_foreach, "while_loop": _write_while, "cond": _write_cond}
_COUNTS: Mapping[str, Callable[[Attrs, Types], Any]] = {
    "foreach": _count_foreach,
    "while_loop": _count_while,
    "cond": _count_cond,
}


def _locations(name: str) -> Attr:
    return Attr(name, "ints", low=0)


register(
    Op(
        "foreach",
        _infer_foreach,
        _foreach,
        _foreach_inputs,
        attrs=(
            Attr("body", "graph"),
            *(_NUM_OUTPUTS, _NUM_OUT_DATA),
            *map(_locations, ("in_state_locs", "in_data_locs", "remain_locs")),
            # Which of the states that the body makes each state is afterwards; the same one, where it is None.
            Attr("in_state_index", "ints", None, low=0),
        ),
        mxnet=("_foreach", "_npx_foreach"),
        outputs=lambda attrs: attrs.num_outputs,
        check=_check_foreach,
        expansion=_expansion(_write_foreach),
    )
)
register(
    Op(
        "while_loop",
        _infer_while,
        _while_loop,
        _inputs_of("cond_input_locs", "func_input_locs"),
        attrs=(
            *(Attr("cond", "graph"), Attr("func", "graph")),
            *(_NUM_OUTPUTS, _NUM_OUT_DATA, Attr("max_iterations", "int", low=1)),
            *map(_locations, ("cond_input_locs", "func_input_locs", "func_var_locs")),
        ),
        mxnet=("_while_loop", "_npx_while_loop"),
        outputs=lambda attrs: attrs.num_outputs,
        check=_check_while,
        expansion=_expansion(_write_while),
    )
)
register(
    Op(
        "cond",
        _infer_cond,
        _cond,
        _inputs_of(*(key for _, key in _BRANCHES)),
        attrs=(
            *(Attr(label, "graph") for label, _ in _BRANCHES),
            _NUM_OUTPUTS,
            *(_locations(key) for _, key in _BRANCHES),
        ),
        mxnet=("_cond", "_npx_cond"),
        outputs=lambda attrs: attrs.num_outputs,
        check=_check_cond,
        expansion=_expansion(_write_cond),
    )
)
