"""Ensembles of decision trees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minidnn.ir.graph import Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.tiling import PARTS
from minidnn.lowering.values import PLAIN, Array, Value
from minidnn.ops.registry import TensorType
from minidnn.ops.trees import check_trees
from minidnn.plan.program import Cost
from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.elements import element_code
from minidnn_kernels.trees import AGGREGATES, BLOCK, TREE_ARGUMENTS, TREE_NODE

__all__ = ["lower_tree_ensemble"]

_PART_VISITS = 1024
_NODE_BYTES = TREE_NODE.words * WORD_BYTES


def lower_tree_ensemble(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``tree_ensemble`` of tables that are constants: each row by itself."""
    data, type, a = builder.as_layout(inputs[0], PLAIN), types[0], node.attrs
    tables = [v.array for v in inputs[1:] if v.array is not None]
    if len(tables) < len(inputs) - 1 or type.dtype.name not in ("float32", "float64"):
        return None
    rows, width = data.shape
    check_trees(a.targets, width, *tables)
    roots, weights = tables[0], tables[-1]
    result = builder.new(type)
    row = TREE_ARGUMENTS.fill(
        source=builder.address(data),
        rows=rows,
        width=width,
        code=element_code(type.dtype),
        item=type.dtype.itemsize,
        nodes=builder.constant(builder.share("tree nodes", tables[1:7], lambda: _nodes(*tables[1:7]))),
        roots=builder.constant(builder.share("tree roots", [roots], lambda: roots * _NODE_BYTES)),
        trees=len(roots),
        goals=builder.address(inputs[-2]),
        weights=builder.constant(builder.share("tree weights", [weights], lambda: weights.astype(np.float64))),
        targets=a.targets,
        aggregate=AGGREGATES.index(a.aggregate),
        target=result.address,
    )
    visits = rows * len(roots) * max(1, (len(tables[1]) // max(len(roots), 1)).bit_length())
    cost = Cost(visits, data.nbytes + result.nbytes)
    parts = max(1, min(PARTS, rows, visits // _PART_VISITS))
    scratch = 2 * WORD_BYTES * a.targets * BLOCK
    builder.native(node.name, "tree_loop", row, parts, cost, scratch)
    return [result]


def _nodes(features: Array, comparisons: Array, thresholds: Array, missing: Array, true: Array, false: Array) -> Array:
    """int64 [nodes][words of `TREE_NODE`]."""
    is_leaf = features < 0
    table = np.zeros((len(features), TREE_NODE.words), np.int64)
    columns = {
        "feature": features,
        "comparison": comparisons,
        "threshold": thresholds.astype(np.float64).view(np.int64),
        "missing": missing,
        "true": np.where(is_leaf, true, true * _NODE_BYTES),
        "false": np.where(is_leaf, false, false * _NODE_BYTES),
    }
    for name, column in columns.items():
        table[:, TREE_NODE.position(name)] = column
    return table
