"""Ensembles of decision trees, as tables of nodes (Breiman et al., Classification and Regression Trees, 1984)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.ops.checks import want_dtype, want_float, want_rank, want_shape
from minidnn.ops.elementwise import INT64
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register

__all__ = ["check_trees"]

Array = np.ndarray[Any, Any]

_COMPARES = (np.less_equal, np.less, np.greater_equal, np.greater, np.equal, np.not_equal)
# Of each node.
_NODE = ("features", "comparisons", "thresholds", "missing", "true", "false")


def check_trees(targets: int, width: int, roots: Array, *tables: Array) -> None:
    """Refuse tables that lead out of themselves, or round and round.

    Args:
        targets: numbers of a result.
        width: numbers of a row of the data.
        roots: the first node of each tree.
        tables: the other inputs of the operator, in order.

    Raises:
        OpError: what does not fit.
    """
    features, comparisons, _, _, true, false, goals, weights = tables
    is_leaf, count = features < 0, len(features)
    if features.max(initial=-1) >= width:
        raise OpError(f"tree_ensemble: features must lie in [0, {width}) like those of data, got {features.max()}")
    if comparisons.size and not 0 <= comparisons.min() <= comparisons.max() < len(_COMPARES):
        raise OpError(f"tree_ensemble: comparisons must lie in [0, {len(_COMPARES)})")
    met = np.concatenate([roots, true[~is_leaf], false[~is_leaf]])
    if met.size and not 0 <= met.min() <= met.max() < count:
        raise OpError(f"tree_ensemble: nodes must lie in [0, {count}), got {met.min()}..{met.max()}")
    # What is met once at most, roots included, is no cycle.
    if np.bincount(met, minlength=1).max() > 1:
        raise OpError(f"tree_ensemble: node {int(np.bincount(met).argmax())} is met more than once")
    begin, end = true[is_leaf], false[is_leaf]
    if ((begin < 0) | (end < begin) | (end > len(weights))).any():
        raise OpError(f"tree_ensemble: leaves must have weights of the {len(weights)} that there are")
    if goals.size and not 0 <= goals.min() <= goals.max() < targets:
        raise OpError(f"tree_ensemble: targets must lie in [0, {targets}), got {goals.min()}..{goals.max()}")


def _infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (data, roots, *nodes, goals, weights) = "tree_ensemble", types
    want_rank(op, "data", data, 2, "(rows, features)")
    want_float(op, "data", data)
    want_rank(op, "roots", roots, 1)
    for name, table in zip(_NODE, nodes, strict=True):
        want_shape(op, name, table, nodes[0].shape, "those of features")
        if name != "thresholds":
            want_dtype(op, name, table, INT64, "every index")
    want_rank(op, "features", nodes[0], 1)
    want_rank(op, "goals", goals, 1)
    want_shape(op, "weights", weights, goals.shape, "one for each goal")
    for name, table in (("roots", roots), ("goals", goals)):
        want_dtype(op, name, table, INT64, "every index")
    return [TensorType((data.shape[0], attrs.targets), data.dtype)]


def _ensemble(attrs: Attrs, x: Array, roots: Array, *tables: Array) -> Array:
    check_trees(attrs.targets, x.shape[1], roots, *tables)
    features, comparisons, thresholds, missing, true, false, goals, weights = tables
    at = np.repeat(roots[None], len(x), 0)
    while at.size and (features[at] >= 0).any():
        feature = features[at]
        value = np.take_along_axis(x, np.maximum(feature, 0), 1)
        results = np.stack([compare(value, thresholds[at]) for compare in _COMPARES])
        is_true = np.take_along_axis(results, comparisons[at][None], 0)[0] | ((value != value) & (missing[at] != 0))
        at = np.where(feature < 0, at, np.where(is_true, true[at], false[at]))
    leaves, lengths = at.reshape(-1), (false - true)[at].reshape(-1)
    rows = np.repeat(np.repeat(np.arange(len(x)), len(roots)), lengths)
    firsts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    chosen = np.repeat(true[leaves], lengths) + np.arange(len(rows)) - firsts
    add = {"min": np.minimum, "max": np.maximum}.get(attrs.aggregate, np.add)
    result = np.full((len(x), attrs.targets), {"min": np.inf, "max": -np.inf}.get(attrs.aggregate, 0.0))
    add.at(result, (rows, goals[chosen]), weights[chosen].astype(np.float64))
    has_one = np.zeros(result.shape, np.bool_)
    has_one[rows, goals[chosen]] = True
    return np.where(has_one, result, 0) / (len(roots) if attrs.aggregate == "mean" else 1)


register(
    Op(
        "tree_ensemble",
        _infer,
        _ensemble,
        ("data", "roots", *_NODE, "goals", "weights"),
        attrs=(
            Attr("targets", "int", low=1),
            Attr("aggregate", "str", "sum", choices=("sum", "mean", "min", "max")),
        ),
    )
)
