"""conv -> batch_norm becomes one node; likewise for deconvolution and dense.

The fused node keeps the parameters of both as inputs: their numbers are folded into the weights when those are
packed for a kernel. Only a batch normalization behind the anchor folds, never one before it: there, zero padding
would have to become a padding with the shift.
"""

from __future__ import annotations

from minidnn.ir.graph import Graph, Node
from minidnn.passes.regions import GraphView, Region, fuse_regions, parameters_are_variables

__all__ = ["fold_batch_norm", "normalizes_channels"]


def fold_batch_norm(graph: Graph) -> Graph:
    """Make one fused node of every anchor and the batch normalization that alone reads it."""
    view = GraphView(graph)
    regions: list[Region] = []
    for anchor in view.operations:
        if not _has_weights(anchor) or not parameters_are_variables(anchor):
            continue
        norm = view.only_consumer(anchor[0])
        if norm is None or norm.op is None or norm.op.affine is None or norm.inputs[0] != anchor[0]:
            continue
        if view.can_join(norm) and normalizes_channels(norm, anchor, view.ndim(anchor[0])):
            regions.append([anchor, norm])
    return fuse_regions(graph, regions) if regions else graph


def _has_weights(node: Node) -> bool:
    """Whether the operation is an anchor on floats into whose weights a factor per channel can go."""
    op = node.op
    return op is not None and op.anchor is not None and not op.anchor.is_integer and bool(op.parameters)


def normalizes_channels(norm: Node, anchor: Node, ndim: int | None) -> bool:
    """Whether the axis of `norm` is the axis of the anchor's output that has one column of weights each.

    Args:
        norm: a batch normalization.
        anchor: the matrix product or convolution whose output it is about.
        ndim: rank of that output, where it is known.
    """
    assert norm.op is not None and norm.op.affine is not None and anchor.op is not None
    assert anchor.op.anchor is not None
    axis, ndim = anchor.op.anchor.axis_of_channels(anchor.attrs, ndim)
    normalized = norm.op.affine.axis(norm.attrs)
    return normalized == axis if ndim is None else normalized % ndim == axis % ndim
