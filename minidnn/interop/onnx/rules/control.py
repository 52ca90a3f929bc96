"""``If``, ``Loop`` and ``Scan``, written out for what is known of their conditions and counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.interop.onnx.call import Call, rule
from minidnn.interop.onnx.model import ModelGraph
from minidnn.interop.onnx.values import Value, known

__all__: list[str] = []


@rule("OptionalHasElement")
def _has_element(call: Call) -> Value:
    """Of a tensor, or of nothing."""
    return known(np.bool_(call.get(0) is not None))


@rule("OptionalGetElement")
def _get_element(call: Call) -> Value:
    return call[0]


@rule("If")
def _if(call: Call) -> list[Value]:
    """The branch of the condition: known, decided by sizes, or what it is in this call."""
    branches = call.graph("then_branch"), call.graph("else_branch")
    chosen = branches[0] if call.one_of(call[0], "the condition") else branches[1]
    return call.graphs.run_graph(chosen, [])


@rule("Loop")
def _loop(call: Call) -> list[Value]:
    body = call.graph("body")
    limit = None if call.get(0) is None else int(call.number(0, "the number of rounds"))
    going = True if call.get(1) is None else bool(call.number(1, "the condition"))
    carried = [call[i] for i in range(2, len(call.inputs))]
    if len(body.inputs) != 2 + len(carried) or len(body.outputs) < 1 + len(carried):
        call.fail(
            f"its body has {len(body.inputs)} inputs and {len(body.outputs)} outputs, "
            f"which do not fit {len(carried)} values that are carried on"
        )
    collected: list[list[Value]] = [[] for _ in body.outputs[1 + len(carried) :]]
    count = 0
    while going and (limit is None or count < limit):
        if count >= call.graphs.max_trips:
            call.fail(f"it goes on for more than {call.graphs.max_trips} rounds, which max_trips allows")
        condition, *values = call.graphs.run_graph(body, [known(np.int64(count)), known(np.bool_(going)), *carried])
        carried = values[: len(carried)]
        for list_, value in zip(collected, values[len(carried) :], strict=True):
            list_.append(value)
        count += 1
        if limit is None or count < limit:
            going = bool(call.one_of(condition, "the condition"))
    scanned = [_stacked(call, values, body, 1 + len(carried) + i) for i, values in enumerate(collected)]
    return [*carried, *scanned]


def _stacked(call: Call, values: list[Value], body: ModelGraph, index: int, axis: int = 0) -> Value:
    if values:
        return call.emit("stack", *values, num_args=len(values), axis=axis)
    # Of no rounds: of the shape that the file says, as far as it does.
    port = body.outputs[index]
    shape = [n if isinstance(n, int) else 0 for n in port.shape or ()]
    return known(np.zeros((0, *shape), np.float32 if port.element is None else port.element.carrier))


@rule("Scan")
def _scan(call: Call) -> list[Value]:
    body, count = call.graph("body"), call.integer("num_scan_inputs")
    if call.opset < 9:
        return _batched_scan(call, body, count)
    states = len(call.inputs) - count
    if count < 1 or states < 0 or len(body.inputs) != states + count:
        call.fail(f"its body takes {len(body.inputs)} inputs, which do not fit {states} states and {count} sequences")
    scans = [call[states + i] for i in range(count)]
    outputs = len(body.outputs) - states
    axes = [call.axis(a, scans[i].ndim) for i, a in enumerate(call.integers("scan_input_axes", (0,) * count))]
    reverse = call.integers("scan_input_directions", (0,) * count)
    out_axes = call.integers("scan_output_axes", (0,) * outputs)
    out_reverse = call.integers("scan_output_directions", (0,) * outputs)
    for name, numbers, wanted in (
        ("scan_input_axes", axes, count),
        ("scan_input_directions", reverse, count),
        ("scan_output_axes", out_axes, outputs),
        ("scan_output_directions", out_reverse, outputs),
    ):
        if len(numbers) != wanted:
            call.fail(f"attribute {name!r} must have {wanted} numbers, got {len(numbers)}")
    state, collected = _run_scan(call, body, [call[i] for i in range(states)], scans, (axes, reverse))
    results = []
    for i, values in enumerate(collected):
        values = values[::-1] if out_reverse[i] else values
        rank = values[0].ndim + 1 if values else 1
        results.append(_stacked(call, values, body, states + i, call.axis(out_axes[i], rank)))
    return [*state, *results]


def _run_scan(
    call: Call, body: ModelGraph, state: list[Value], scans: list[Value], ways: tuple[Any, Any]
) -> tuple[list[Value], list[list[Value]]]:
    axes, reverse = ways
    lengths = {int(scan.dim(axis)) for scan, axis in zip(scans, axes, strict=True)}
    if len(lengths) != 1:
        call.misfit(f"its sequences must be of one length, got {sorted(lengths)}")
    (length,) = lengths
    if length > call.graphs.max_trips:
        call.misfit(f"it has {length} rounds, max_trips allows {call.graphs.max_trips}")
    collected: list[list[Value]] = [[] for _ in body.outputs[len(state) :]]
    for step in range(length):
        parts = []
        for scan, axis, backward in zip(scans, axes, reverse, strict=True):
            place = length - 1 - step if backward else step
            part = call.emit("slice_axis", scan, axis=axis, begin=place, end=place + 1)
            parts.append(call.emit("squeeze", part, axis=(axis,)))
        values = call.graphs.run_graph(body, [*state, *parts])
        state = values[: len(state)]
        for list_, value in zip(collected, values[len(state) :], strict=True):
            list_.append(value)
    return state, collected


def _batched_scan(call: Call, body: ModelGraph, count: int) -> list[Value]:
    """Version 8: each sample of a batch is a sequence of its own, along the second axis."""
    if call.get(0) is not None:
        call.refuse("sequence_lens is not supported")
    call.ignore("directions")
    states = len(call.inputs) - 1 - count
    scans = [call[1 + states + i] for i in range(count)]
    batch = int(scans[0].shape[0])
    per_sample: list[list[Value]] = []
    for sample in range(batch):

        def of_sample(value: Value, sample: int = sample) -> Value:
            part = call.emit("slice_axis", value, axis=0, begin=sample, end=sample + 1)
            return call.emit("squeeze", part, axis=(0,))

        state = [of_sample(call[1 + i]) for i in range(states)]
        inner = [of_sample(scan) for scan in scans]
        state, collected = _run_scan(call, body, state, inner, ((0,) * count, (0,) * count))
        per_sample.append([*state, *(_stacked(call, v, body, states + i) for i, v in enumerate(collected))])
    return [call.emit("stack", *values, num_args=batch, axis=0) for values in zip(*per_sample, strict=True)]
