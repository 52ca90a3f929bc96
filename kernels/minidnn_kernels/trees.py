"""Ensembles of decision trees: each row of numbers falls through every tree to a leaf, whose weights are summed up."""

from __future__ import annotations

from minidnn_kernels.arguments import ArgumentRow, Field

__all__ = ["AGGREGATES", "BLOCK", "COMPARISONS", "TREE_ARGUMENTS", "TREE_NODE"]

# By their places.
COMPARISONS = ("<=", "<", ">=", ">", "==", "!=")
AGGREGATES = ("sum", "mean", "min", "max")

# Rows that fall through a tree one after the other, while it is in the cache.
BLOCK = 64

# Of `tree_loop`. Scratch memory has two words for each target of a block: its number, and whether a leaf had one.
TREE_ARGUMENTS = ArgumentRow(
    Field("source", "[rows][width]"),
    Field("rows", "how many"),
    Field("width", "numbers of a row"),
    Field("code", "float32 or float64, of source and target"),
    Field("item", "bytes of an element"),
    Field("nodes", "as `TREE_NODE` has them, without a cycle"),
    Field("roots", "int64 [trees]: in the nodes, in bytes"),
    Field("trees", "how many"),
    Field("goals", "int64: targets of the weights"),
    Field("weights", "float64"),
    Field("targets", "numbers of a result"),
    Field("aggregate", "its place in `AGGREGATES`"),
    Field("target", "[rows][targets]"),
)
# A node, or with feature -1 a leaf, whose weights are those from `true` to before `false`.
TREE_NODE = ArgumentRow(
    Field("feature", "which number of a row is compared; -1: it is a leaf"),
    Field("comparison", "its place in `COMPARISONS`"),
    Field("threshold", "a float64"),
    Field("missing", "whether NaN goes where what is true goes"),
    Field("true", "a node, in bytes"),
    Field("false", "a node, in bytes"),
)
