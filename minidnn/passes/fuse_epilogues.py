"""An anchor swallows the elementwise operations behind it: its kernel applies them before the only store.

The tail is any set of elementwise operations that begins at the anchor's value and ends in one value: a chain
(``relu(conv(x) + y)``), or a chain that reads the value twice (``c * sigmoid(c)``). Other operands come in from
outside, broadcast or not, as long as the result keeps the shape of the anchor's.
"""

from __future__ import annotations

from collections.abc import Collection

from minidnn.ir.graph import Entry, Graph, Node
from minidnn.passes.fold_batch_norm import normalizes_channels
from minidnn.passes.naming import find_anchor
from minidnn.passes.regions import MAX_REGION, GraphView, Region, data_inputs, fuse_regions, reads_as_parameter

__all__ = ["fuse_epilogues"]


def fuse_epilogues(graph: Graph) -> Graph:
    """Grow every anchor by its elementwise tail.

    Where two anchors could have an operation (the sum of two convolutions) the later one gets it: the other's
    value is there by then.
    """
    view = GraphView(graph)
    taken: set[Node] = set()
    regions: list[Region] = []
    for node in reversed(view.operations):
        anchor = find_anchor(node)
        if anchor is None or node.num_outputs != 1:
            continue
        region = _grow(view, node, anchor, taken)
        if len(region) > 1:
            taken.update(region)
            regions.append(region)
    return fuse_regions(graph, regions) if regions else graph


def _grow(view: GraphView, start: Node, anchor: Node, taken: set[Node]) -> Region:
    """The largest region of `start` and elementwise operations behind it that ends in one value.

    Readers join in topological order. A value is open while something outside reads it; whenever only one is, the
    region could end there. It ends for good at a reader that cannot join; an output of the graph stays open.
    """
    value = start[0]
    region, complete = [start], 1
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
        unread[node[0]] = len(view.consumers(node[0]))
        pending.update(view.consumers(node[0]))
        if sum(count > 0 or view.is_output(entry) for entry, count in unread.items()) == 1:
            complete = len(region)
    return region[:complete]


def _can_follow(view: GraphView, node: Node, anchor: Node, value: Entry, inside: Collection[Entry]) -> bool:
    """Whether `node` is elementwise over values `inside` the region and others that broadcast to their shape."""
    if not view.can_join(node, value) or any(reads_as_parameter(node, e) for e in inside):
        return False
    assert node.op is not None
    if node.op.affine is not None and not normalizes_channels(node, anchor, view.ndim(value)):
        return False
    return all(e in inside for e in data_inputs(node)) or view.same_shape(node[0], value)
