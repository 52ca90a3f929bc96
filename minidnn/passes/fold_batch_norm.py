"""conv -> batch_norm becomes one node; likewise for deconvolution and dense.

The fused node keeps the parameters of both as inputs: their numbers are folded into the weights when those are
packed for a kernel. Only a batch normalization behind the anchor folds, never one before it: there, zero padding
would have to become a padding with the shift.
"""

from __future__ import annotations

from minidnn.ir.graph import Graph, Node
from minidnn.passes.regions import GraphView, Region, fuse_regions, parameters_are_variables

__all__ = ["fold_batch_norm", "normalizes_channels"]

_FOLDABLE = frozenset({"convolution", "deconvolution", "fully_connected"})


def fold_batch_norm(graph: Graph) -> Graph:
    """Make one fused node of every anchor and the batch normalization that alone reads it."""
    view = GraphView(graph)
    regions: list[Region] = []
    for anchor in view.operations:
        if anchor.op_name not in _FOLDABLE or not parameters_are_variables(anchor):
            continue
        norm = view.only_consumer(anchor[0])
        if norm is None or norm.op_name != "batch_norm" or norm.inputs[0] != anchor[0]:
            continue
        if view.can_join(norm, anchor[0]) and normalizes_channels(norm, anchor, view.ndim(anchor[0])):
            regions.append([anchor, norm])
    return fuse_regions(graph, regions) if regions else graph


def normalizes_channels(norm: Node, anchor: Node, ndim: int | None) -> bool:
    """Whether the axis of `norm` is the axis of the anchor's output that has one column of weights each.

    Args:
        norm: a batch normalization.
        anchor: the matrix product or convolution whose output it is about.
        ndim: rank of that output, where it is known.
    """
    axis = -1
    if anchor.op_name in {"convolution", "deconvolution"}:
        axis, ndim = 1, len(anchor.attrs.kernel) + 2
    elif anchor.op_name == "fully_connected" and anchor.attrs.flatten:
        ndim = 2
    if ndim is None:
        return bool(norm.attrs.axis == axis)
    return bool(norm.attrs.axis % ndim == axis % ndim)
