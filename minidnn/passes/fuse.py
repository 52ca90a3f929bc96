"""Fusion: an anchor takes in the elementwise operations behind it; those without one become one pass over memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from minidnn.ir.graph import Entry, Graph, Node
from minidnn.passes.fold_batch_norm import normalizes_channels
from minidnn.passes.legality import result_dtype
from minidnn.passes.naming import find_anchor
from minidnn.passes.regions import (
    MAX_REGION,
    GraphView,
    Region,
    data_inputs,
    fuse_regions,
    is_float32,
    reads_as_parameter,
)

__all__ = ["fuse_elementwise", "fuse_epilogues"]

_FLOAT32 = np.dtype(np.float32)


def fuse_epilogues(graph: Graph) -> Graph:
    """Grow every anchor by its elementwise epilogue.

    Where two anchors could have an operation (the sum of two convolutions) the later one gets it: the other's
    value is there by then.
    """
    view = GraphView(graph)
    taken: set[Node] = set()
    regions: list[Region] = []
    for node in reversed(view.operations):
        anchor = find_anchor(node)
        start = [node] if anchor is not None else _integer_start(view, node)
        if not start or node.num_outputs != 1 or not is_float32(view.types.get(start[-1][0])):
            continue
        region = _grow(view, start, anchor or node, taken)
        if len(region) > 1:
            taken.update(region)
            regions.append(region)
    return fuse_regions(graph, regions) if regions else graph


def _integer_start(view: GraphView, node: Node) -> Region:
    """A bare product of integers and the dequantization of its sums, from where on everything is float32."""
    if node.op is None or node.op.anchor is None or not node.op.anchor.is_integer:
        return []
    reader = view.only_consumer(node[0])
    return [node, reader] if reader is not None and reader.op_name == "dequantize" else []


def _grow(view: GraphView, start: Region, anchor: Node, taken: set[Node]) -> Region:
    """The largest region of `start` and elementwise operations behind it that ends in one value.

    Readers join in topological order. A value is open while something outside reads it; whenever only one is, the
    region could end there, unless that value's type is unknown and may be another than float32. It ends for good at a
    reader that cannot join; an output of the graph stays open.
    """
    value = start[-1][0]
    region, complete = list(start), len(start)
    dtypes: dict[Entry, np.dtype[Any] | None] = {value: _FLOAT32}
    unread = {value: len(view.consumers(value))}
    pending = set(view.consumers(value))
    while pending and len(region) < MAX_REGION:
        node = min(pending, key=view.position.__getitem__)
        pending.remove(node)
        if node in taken or not _can_follow(view, node, anchor, value, unread.keys()):
            break
        for entry in unread.keys() & node.inputs:
            unread[entry] -= 1
        region.append(node)
        dtypes[node[0]] = _probable_dtype(view, node, dtypes)
        unread[node[0]] = len(view.consumers(node[0]))
        pending.update(view.consumers(node[0]))
        is_exit = sum(count > 0 or view.is_output(entry) for entry, count in unread.items()) == 1
        if is_exit and (node[0] in view.types or dtypes[node[0]] == _FLOAT32):
            complete = len(region)
    return region[:complete]


def _probable_dtype(view: GraphView, node: Node, dtypes: Mapping[Entry, np.dtype[Any] | None]) -> np.dtype[Any] | None:
    """The dtype of a result where inputs of which nothing is known are float32; None where there is none."""
    if node[0] in view.types:
        return view.types[node[0]].dtype
    inputs = [view.types[e].dtype if e in view.types else dtypes.get(e, _FLOAT32) for e in node.inputs]
    known = [d for d in inputs if d is not None]
    return result_dtype(node, known) if len(known) == len(inputs) else None


def _can_follow(view: GraphView, node: Node, anchor: Node, value: Entry, inside: Collection[Entry]) -> bool:
    """Whether `node` is elementwise over values `inside` the region and others that broadcast to their shape."""
    if not view.can_join(node) or any(reads_as_parameter(node, e) for e in inside):
        return False
    assert node.op is not None
    if node.op.affine is not None and not normalizes_channels(node, anchor, view.ndim(value)):
        return False
    return all(e in inside for e in data_inputs(node)) or view.same_shape(node[0], value)


def fuse_elementwise(graph: Graph) -> Graph:
    """Make one fused node of every region of two or more elementwise operations of one shape with one exit.

    Batch normalizations count as elementwise; those of one region normalize the same axis.
    """
    view = GraphView(graph)
    taken: set[Node] = set()
    regions: list[Region] = []
    for node in reversed(view.operations):
        if node in taken or not view.can_join(node):
            continue
        region = _grow_backwards(view, node, taken)
        if len(region) > 1:
            taken.update(region)
            regions.append(region)
    return fuse_regions(graph, regions) if regions else graph


def _grow_backwards(view: GraphView, exit_: Node, taken: set[Node]) -> Region:
    """The operations all of whose readers belong to the region, from its exit on backwards.

    Candidates are looked at from the last to the first, so all readers of one have been decided before it.
    """
    region = {exit_}
    axes = _normalized_axes(view, exit_)
    candidates = {e.node for e in data_inputs(exit_)}
    while candidates and len(region) < MAX_REGION:
        node = max(candidates, key=view.position.__getitem__)
        candidates.remove(node)
        together = axes | _normalized_axes(view, node)
        if node in taken or len(together) > 1 or not _can_precede(view, node, exit_, region):
            continue
        axes = together
        region.add(node)
        candidates.update(e.node for e in data_inputs(node))
    return sorted(region, key=view.position.__getitem__)


def _can_precede(view: GraphView, node: Node, exit_: Node, region: set[Node]) -> bool:
    """Whether `node` is elementwise, of the shape of the exit, and read by the region alone."""
    if not view.can_join(node) or view.is_output(node[0]):
        return False
    readers = view.consumers(node[0])
    if any(reader not in region or reads_as_parameter(reader, node[0]) for reader in readers):
        return False
    if view.same_shape(node[0], exit_[0]):
        return True
    # A reader of this value alone keeps its shape, and has that of the exit.
    return any(set(data_inputs(reader)) == {node[0]} for reader in readers)


def _normalized_axes(view: GraphView, node: Node) -> set[int]:
    if node.op is None or node.op.affine is None:
        return set()
    axis, ndim = node.op.affine.axis(node.attrs), view.ndim(node[0])
    return {axis if ndim is None else axis % ndim}
