"""By which rule each operator is lowered; the module of a rule is imported when a graph has such an operator.

A network has few kinds of operators, and what the others need, their kernels among it, is half of the compiler.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from minidnn.deferred import import_safely
from minidnn.ir.graph import Node
from minidnn.lowering.anchor import Anchor
from minidnn.lowering.builder import Builder
from minidnn.lowering.values import Value
from minidnn.ops.registry import TensorType

__all__ = ["ANCHORS", "NETWORK_RULES", "RULES", "AnchorRule", "Rule", "anchor_rule", "rules_for"]

AnchorRule = Callable[[Builder, Anchor], Value | None]
# It gives None for what its kernel cannot do.
Rule = Callable[[Builder, Node, Sequence[Value], Sequence[TensorType]], list[Value] | None]

# Each is a module of `minidnn.lowering` and a function in it. First, operators whose kernel can carry an epilogue.
ANCHORS: dict[str, str] = {
    "convolution": "matmul.lower_convolution",
    "deconvolution": "deconvolution.lower_deconvolution",
    "deformable_sampling": "sampling.lower_deformable_sampling",
    "fully_connected": "matmul.lower_fully_connected",
    "fully_connected_int8_weight": "matmul.lower_by_int8_weight",
    "batch_dot": "matmul.lower_batch_dot",
    "matmul": "matmul.lower_matmul",
    "dot": "matmul.lower_dot",
    "convolution_bfloat16_weight": "matmul.lower_convolution",
    "deconvolution_bfloat16_weight": "deconvolution.lower_deconvolution",
    "fully_connected_bfloat16_weight": "matmul.lower_fully_connected",
    "quantized_batch_dot": "quantized.lower_quantized_batch_dot",
    "quantized_convolution": "matmul.lower_convolution",
    "quantized_fully_connected": "matmul.lower_fully_connected",
}

# The others.
RULES: dict[str, str] = {
    "attention": "attention.lower_attention",
    "pooling": "pooling.lower_pooling",
    "recurrent": "recurrent.lower_recurrent",
    "rnn": "recurrent.lower_rnn",
    "softmax": "rows.lower_softmax",
    "log_softmax": "rows.lower_softmax",
    "layer_norm": "rows.lower_layer_norm",
    "concatenate": "views.lower_concatenate",
    "stack": "views.lower_stack",
    "pad": "picks.lower_pad",
    "quantize": "dynamic.lower_dynamic_quantize",
    "dynamic_quantize_linear": "dynamic.lower_dynamic_quantize_linear",
    **dict.fromkeys(("sum", "mean", "max"), "pooling.lower_reduction"),
    **dict.fromkeys(
        ("reshape", "npx_reshape", "reshape_like", "flatten", "expand_dims", "squeeze"), "views.lower_view"
    ),
    **dict.fromkeys(
        ("transpose", "swapaxes", "moveaxis", "broadcast_to", "broadcast_like", "flip"), "views.lower_view"
    ),
    **dict.fromkeys(("slice", "slice_axis", "slice_like", "split", "identity", "dropout"), "views.lower_view"),
}

# Rules that only networks follow: a single call of these operators takes NumPy less time than planning it.
NETWORK_RULES: dict[str, str] = {
    "full": "constants.lower_full",
    "expect_values": "constraints.lower_expected",
    "constraint_check": "constraints.lower_constraint",
    "depend": "constraints.lower_depend",
    **dict.fromkeys(("arange", "eye", "arange_like", "shape_array", "multibox_prior"), "constants.lower_made"),
    "resample": "resampling.lower_resample",
    "pad": "resampling.lower_pad_by_sums",
    "non_max_suppression": "boxes.lower_non_max_suppression",
    "bipartite_matching": "boxes.lower_bipartite_matching",
    "box_nms": "boxes.lower_box_nms",
    "mark_overlaps": "boxes.lower_mark_overlaps",
    "grid_sample": "sampling.lower_grid_sample",
    "roi_align": "sampling.lower_roi_align",
    "max_roi_pool": "sampling.lower_max_roi_pool",
    **dict.fromkeys(("group_norm", "instance_norm"), "normalization.lower_group_norm"),
    "l2_normalization": "normalization.lower_l2_normalization",
    **dict.fromkeys(("masked_softmax", "masked_log_softmax"), "rows.lower_masked_softmax"),
    "columns_to_image": "resampling.lower_columns_to_image",
    "max_pool_indices": "reductions.lower_max_pool_indices",
    "diagonal": "views.lower_view",
    "view_bits": "views.lower_view_bits",
    "tree_ensemble": "trees.lower_tree_ensemble",
    "one_hot": "ordering.lower_one_hot",
    "searchsorted": "ordering.lower_searchsorted",
    "topk": "ordering.lower_topk",
    **dict.fromkeys(("sort", "argsort"), "ordering.lower_sort"),
    **dict.fromkeys(("cumsum", "cumprod"), "ordering.lower_cumulative"),
    "repeat": "picks.lower_repeat",
    "tile": "picks.lower_tile",
    "roll": "picks.lower_roll",
    "take": "indexing.lower_take",
    "embedding": "indexing.lower_embedding",
    "pick": "indexing.lower_pick",
    "gather_nd": "indexing.lower_gather_nd",
    "index": "indexing.lower_index",
    "take_along_axis": "indexing.lower_take_along_axis",
    "scatter_elements": "indexing.lower_scatter_elements",
    "scatter_points": "indexing.lower_scatter_points",
    **dict.fromkeys(("index_add", "index_update"), "indexing.lower_index_write"),
    **dict.fromkeys(
        ("sum", "mean", "max", "prod", "min", "var", "std", "any", "all", "argmax", "argmin"),
        "reductions.lower_any_reduction",
    ),
}


def anchor_rule(op_name: str) -> AnchorRule | None:
    """The rule of an operator whose kernel can carry an epilogue."""
    place = ANCHORS.get(op_name)
    rule: AnchorRule | None = None if place is None else _find(place)
    return rule


def rules_for(op_name: str) -> list[Rule]:
    """The other rules of an operator, in the order in which they are tried."""
    return [_find(rules[op_name]) for rules in (RULES, NETWORK_RULES) if op_name in rules]


@cache
def _find(place: str) -> Any:
    module, _, function = place.partition(".")
    name = f"{__package__}.{module}"
    import_safely([name])
    return getattr(sys.modules[name], function)
