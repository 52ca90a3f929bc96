"""Trees of the domain ``ai.onnx.ml``: what scikit-learn's, LightGBM's and XGBoost's converters write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.interop.onnx.call import Call, rule
from minidnn.interop.onnx.values import Value, known

__all__ = ["DOMAIN", "as_floats", "class_labels", "label_of", "post_transform"]

Array = np.ndarray[Any, Any]
DOMAIN = "ai.onnx.ml"

_COMPARISONS = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
_AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
_OURS = {"AVERAGE": "mean", "SUM": "sum", "MIN": "min", "MAX": "max"}
_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
# What is no further from zero counts as zero.
_NEARLY_ZERO = 1e-7


def as_floats(call: Call, x: Value) -> Value:
    """Integers as float32."""
    return x if x.element.is_float else call.cast(x, np.float32)


def post_transform(call: Call, scores: Value, kind: str) -> Value:
    """Scores as probabilities, or as they are."""
    if kind == "LOGISTIC":
        return call.emit("sigmoid", scores)
    if kind == "SOFTMAX":
        return call.emit("softmax", scores, axis=-1)
    if kind == "SOFTMAX_ZERO":
        high = call.emit("max", scores, axis=(-1,), keepdims=True)
        grown = call.emit("exp", call.binary("subtract", scores, high))
        small = call.binary("multiply", scores, call.emit("exp", call.emit("negative", high)))
        is_some = call.binary("greater", call.emit("abs", scores), _NEARLY_ZERO)
        parts = call.emit("where", is_some, grown, small)
        return call.binary("true_divide", parts, call.emit("sum", parts, axis=(-1,), keepdims=True))
    if kind == "PROBIT":
        call.refuse("attribute 'post_transform' of 'PROBIT' is not supported")
    return scores


def class_labels(call: Call, name: str) -> Array:
    """The attribute of that name, of integers; strings are refused."""
    if call.has("classlabels_strings") and call.texts("classlabels_strings"):
        call.refuse("labels that are strings are not supported: convert the model with integers")
    return np.array(call.integers(name), np.int64)


def label_of(call: Call, scores: Value, labels: Array) -> Value:
    """The label of the first largest score of each row."""
    return call.emit("take", known(labels), call.emit("argmax", scores, axis=1), axis=0, mode="clip")


# ---- tables ----------------------------------------------------------------------------------------------


def _reals(call: Call, name: str) -> Array:
    """Numbers, which later versions may give as a tensor."""
    found = call.tensor(f"{name}_as_tensor", None)
    return np.array(call.reals(name, ()), np.float32) if found is None else found.array.reshape(-1)


def _find(call: Call, places: dict[tuple[int, int], int], tree: int, node: int) -> int:
    found = places.get((tree, node))
    if found is None:
        call.fail(f"tree {tree} has no node {node}")
    return found


def _equally_long(call: Call, columns: dict[str, Sequence[Any] | Array]) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        call.fail(f"attributes must have as many elements as each other, got {lengths}")


def _read_trees(call: Call, kind: str) -> tuple[list[Array], Array, Array]:
    """Tables of `tree_ensemble`, and targets and weights of all leaves.

    Args:
        call: the node.
        kind: what attributes of leaves begin with.
    """
    trees, numbers = call.integers("nodes_treeids"), call.integers("nodes_nodeids")
    modes, values = call.texts("nodes_modes"), _reals(call, "nodes_values")
    columns = {name: call.integers(f"nodes_{name}") for name in ("featureids", "truenodeids", "falsenodeids")}
    missing = call.integers("nodes_missing_value_tracks_true", None) or (0,) * len(trees)
    call.ignore("nodes_hitrates", "nodes_hitrates_as_tensor")
    named = {"nodes_treeids": trees, "nodes_nodeids": numbers, "nodes_modes": modes, "nodes_values": values}
    _equally_long(call, {**named, **columns, "nodes_missing_value_tracks_true": missing})
    places = {key: i for i, key in enumerate(zip(trees, numbers, strict=True))}
    if len(places) < len(trees):
        call.fail("nodes of a tree must have numbers of their own")
    unknown = set(modes) - {*_COMPARISONS, "LEAF"}
    if unknown:
        call.refuse(f"attribute 'nodes_modes' of {sorted(unknown)[0]!r} is not supported")
    is_leaf = np.array([mode == "LEAF" for mode in modes], np.bool_)
    true, false = np.zeros((2, len(trees)), np.int64)
    for i in np.flatnonzero(~is_leaf):
        true[i] = _find(call, places, trees[i], columns["truenodeids"][i])
        false[i] = _find(call, places, trees[i], columns["falsenodeids"][i])
    owners = [
        _find(call, places, tree, node)
        for tree, node in zip(call.integers(f"{kind}_treeids"), call.integers(f"{kind}_nodeids"), strict=True)
    ]
    goals, weights = np.array(call.integers(f"{kind}_ids"), np.int64), _reals(call, f"{kind}_weights")
    _equally_long(call, {f"{kind}_treeids": owners, f"{kind}_ids": goals, f"{kind}_weights": weights})
    order = np.argsort(np.array(owners, np.int64), kind="stable")
    ordered = np.array(owners, np.int64)[order]
    leaves = np.flatnonzero(is_leaf)
    true[leaves] = np.searchsorted(ordered, leaves, "left")
    false[leaves] = np.searchsorted(ordered, leaves, "right")
    met = {int(i) for i in (*true[~is_leaf], *false[~is_leaf])}
    roots = [place for place in range(len(trees)) if place not in met]
    if sorted(trees[place] for place in roots) != sorted(set(trees)):
        call.fail("each tree must have one node that no other leads to")
    features = np.where(is_leaf, -1, np.array(columns["featureids"], np.int64))
    comparisons = np.array([0 if mode == "LEAF" else _COMPARISONS.index(mode) for mode in modes], np.int64)
    tables = [np.array(roots, np.int64), features, comparisons, values, np.array(missing, np.int64)]
    return [*tables, true, false], goals[order], weights[order]


def _ensemble(
    call: Call, x: Value, targets: int, aggregate: str, tables: Sequence[Array], goals: Array, weights: Array
) -> Value:
    data = as_floats(call, x)
    inputs = [known(table) for table in (*tables, goals, weights)]
    made = call.emit("tree_ensemble", data, *inputs, targets=targets, aggregate=_OURS[aggregate])
    return call.cast(made, np.float32)


def _with_base(call: Call, scores: Value, base: Array) -> Value:
    return call.emit("add", scores, known(base.astype(np.float32))) if base.size else scores


def _without_sets(
    call: Call, values: Array, features: Array, modes: Array, splits: Array, missing: Array, true: Array, false: Array
) -> list[Array]:
    """Nodes that ask whether a number is one of several, as one node for each of these."""
    asking = np.flatnonzero(modes == len(_COMPARISONS))
    ends = np.flatnonzero(np.isnan(values))
    if len(ends) != len(asking) or modes.max(initial=0) > len(_COMPARISONS):
        call.fail(f"attribute 'membership_values' must have {len(asking)} sets, got {len(ends)}")
    rows = [list(column) for column in (features, modes, splits, missing, true, false)]
    for node, begin, end in zip(asking, [0, *(ends + 1)][: len(ends)], ends, strict=True):
        inside, outside = int(true[node]), int(false[node])
        if not 0 <= inside < len(features) or features[inside] >= 0:
            call.refuse("set membership that leads to anything but a leaf is not supported")
        at = int(node)
        rows[1][at], rows[2][at] = _COMPARISONS.index("BRANCH_EQ"), values[begin]
        for value in values[begin + 1 : end]:
            # Each of them has the leaf for itself.
            leaf = len(rows[0])
            for column, own in zip(rows, (-1, 0, 0, 0, true[inside], false[inside]), strict=True):
                column.append(own)
            rows[5][at] = leaf + 1
            for column, own in zip(rows, (features[node], rows[1][at], value, 0, leaf, outside), strict=True):
                column.append(own)
            at = leaf + 1
    return [
        np.array(row, column.dtype)
        for row, column in zip(rows, (features, modes, splits, missing, true, false), strict=True)
    ]


# ---- operators -------------------------------------------------------------------------------------------


@rule("TreeEnsembleRegressor", domain=DOMAIN)
def _regressor(call: Call) -> Value:
    tables, goals, weights = _read_trees(call, "target")
    aggregate = call.text("aggregate_function", "SUM", _AGGREGATES)
    targets, base = call.integer("n_targets", 1), _reals(call, "base_values")
    kind = call.text("post_transform", "NONE", _TRANSFORMS)
    scores = _ensemble(call, call[0], targets, aggregate, tables, goals, weights)
    return post_transform(call, _with_base(call, scores, base), kind)


@rule("TreeEnsembleClassifier", domain=DOMAIN)
def _classifier(call: Call) -> list[Value]:
    """Labels and scores. Of two classes there may be weights for one alone: the other has what is left."""
    tables, goals, weights = _read_trees(call, "class")
    labels, base = class_labels(call, "classlabels_int64s"), _reals(call, "base_values")
    kind = call.text("post_transform", "NONE", _TRANSFORMS)
    if len(labels) < 2:
        call.refuse("an ensemble of one class is not supported")
    scores = _ensemble(call, call[0], len(labels), "SUM", tables, goals, weights)
    if len(labels) > 2 or len(set(goals.tolist())) != 1:
        scores = _with_base(call, scores, base)
        return [label_of(call, scores, labels), post_transform(call, scores, kind)]
    only, limit = int(goals[0]), 0.5 if (weights >= 0).all() else 0.0
    score = _with_base(call, call.emit("slice_axis", scores, axis=1, begin=only, end=only + 1), base[only:][:1])
    opposite = call.emit("negative", score)
    if only == 1:
        other = call.binary("multiply", score, 0.0)
    else:
        other = call.binary("add", opposite, 1.0) if limit and kind == "NONE" else opposite
    place = call.cast(call.reshape(call.binary("greater", score, limit), (-1,)), np.int64)
    label = call.emit("take", known(labels), place, axis=0, mode="clip")
    return [label, post_transform(call, call.concatenate([other, score], 1), kind)]


@rule("TreeEnsemble", domain=DOMAIN)
def _tree_ensemble(call: Call) -> Value:
    """Version 5: branches and leaves have tables of their own; ours come one behind the other."""
    splits, modes = call.tensor("nodes_splits"), call.tensor("nodes_modes")
    leaf_weights = call.tensor("leaf_weights")
    assert splits is not None and modes is not None and leaf_weights is not None
    count, leaves = splits.array.size, leaf_weights.array.size
    names = ("featureids", "truenodeids", "falsenodeids", "trueleafs", "falseleafs")
    columns = {name: np.array(call.integers(f"nodes_{name}"), np.int64) for name in names}
    missing = np.array(call.integers("nodes_missing_value_tracks_true", None) or (0,) * count, np.int64)
    call.ignore("nodes_hitrates")
    goals, roots = np.array(call.integers("leaf_targetids"), np.int64), np.array(call.integers("tree_roots"), np.int64)
    _equally_long(call, {"nodes_splits": splits.array, "nodes_modes": modes.array, **columns, "missing": missing})
    _equally_long(call, {"leaf_targetids": goals, "leaf_weights": leaf_weights.array})
    sets = call.tensor("membership_values", None)
    if roots.size and not 0 <= roots.min() <= roots.max() < count:
        call.fail(f"attribute 'tree_roots' must lie in [0, {count}), got {roots.min()}..{roots.max()}")
    aggregate = _AGGREGATES[call.integer("aggregate_function", 1)]
    kind, targets = _TRANSFORMS[call.integer("post_transform", 0)], call.integer("n_targets")
    true = columns["truenodeids"] + count * (columns["trueleafs"] != 0)
    false = columns["falsenodeids"] + count * (columns["falseleafs"] != 0)
    # A tree that is a leaf is written as a node whose branches are both that leaf.
    single = (columns["trueleafs"] != 0) & (columns["falseleafs"] != 0) & (true == false)
    roots = np.where(single[roots], true[roots], roots)
    own = np.arange(leaves)
    zeros = np.zeros(leaves, np.int64)
    features = np.where(single, -1, columns["featureids"])
    true, false = np.where(single, 0, true), np.where(single, 0, false)
    tables = [
        roots,
        np.concatenate([features, zeros - 1]),
        np.concatenate([modes.array.reshape(-1).astype(np.int64), zeros]),
        np.concatenate([splits.array.reshape(-1), np.zeros(leaves, splits.array.dtype)]),
        np.concatenate([missing, zeros]),
        np.concatenate([true, own]),
        np.concatenate([false, own + 1]),
    ]
    data = as_floats(call, call[0])
    tables[1:] = _without_sets(call, np.zeros(0) if sets is None else sets.array.reshape(-1), *tables[1:])
    inputs = [known(table) for table in (*tables, goals, leaf_weights.array.reshape(-1))]
    scores = call.emit("tree_ensemble", data, *inputs, targets=targets, aggregate=_OURS[aggregate])
    return post_transform(call, scores, kind)
