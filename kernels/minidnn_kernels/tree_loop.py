"""The loop function of `minidnn_kernels.trees`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.element_words import load_double, load_float, store_double, store_float
from minidnn_kernels.loop_words import inlined, load, store
from minidnn_kernels.trees import AGGREGATES, BLOCK, COMPARISONS, TREE_ARGUMENTS, TREE_NODE

__all__ = ["tree_loop"]

_T, _N = TREE_ARGUMENTS.offsets, TREE_NODE.offsets
_WORD = WORD_BYTES
_LEQ, _LT, _GTE, _GT, _EQ = (COMPARISONS.index(name) for name in ("<=", "<", ">=", ">", "=="))
_MEAN, _MIN = AGGREGATES.index("mean"), AGGREGATES.index("min")


@inlined
def _is_true(node: int, value: float) -> bool:
    if value != value and load(node + _N.missing) != 0:
        return True
    comparison: int = load(node + _N.comparison)
    threshold: float = load_double(node + _N.threshold)
    if comparison == _LEQ:
        return value <= threshold
    if comparison == _LT:
        return value < threshold
    if comparison == _GTE:
        return value >= threshold
    if comparison == _GT:
        return value > threshold
    return value == threshold if comparison == _EQ else value != threshold


def tree_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the rows."""
    code, item, rows = load(args + _T.code), load(args + _T.item), load(args + _T.rows)
    trees, targets = load(args + _T.trees), load(args + _T.targets)
    is_mean, pitch = load(args + _T.aggregate) == _MEAN, load(args + _T.width) * item
    end = rows * (part + 1) // parts
    for begin in range(rows * part // parts, end, BLOCK):
        count = min(BLOCK, end - begin)
        for i in range(count * targets):
            store_double(memory + i * 2 * _WORD, 0.0)
            store(memory + i * 2 * _WORD + _WORD, 0)
        for tree in range(trees):
            root = load(args + _T.nodes) + load(load(args + _T.roots) + tree * _WORD)
            for i in range(count):
                source = load(args + _T.source) + (begin + i) * pitch
                _add_leaf(args, _leaf(args, root, source, code, item), memory + i * targets * 2 * _WORD)
        target = load(args + _T.target) + begin * targets * item
        for i in range(count * targets):
            number = load_double(memory + i * 2 * _WORD)
            store_float(target + i * item, code, number / trees if is_mean else number)


@inlined
def _leaf(args: int, root: int, source: int, code: int, item: int) -> int:
    """Where a row comes to in a tree."""
    node, nodes, feature = root, load(args + _T.nodes), load(root + _N.feature)
    while feature >= 0:
        is_true = _is_true(node, load_float(source + feature * item, code))
        node = nodes + load(node + (_N.true if is_true else _N.false))
        feature = load(node + _N.feature)
    return node


@inlined
def _add_leaf(args: int, node: int, sums: int) -> None:
    goals, weights, aggregate = load(args + _T.goals), load(args + _T.weights), load(args + _T.aggregate)
    for i in range(load(node + _N.true), load(node + _N.false)):
        place, weight = sums + load(goals + i * _WORD) * 2 * _WORD, load_double(weights + i * _WORD)
        old, is_first = load_double(place), load(place + _WORD) == 0
        if aggregate < _MIN:
            weight += old
        elif not is_first and (old < weight if aggregate == _MIN else old > weight):
            weight = old
        store_double(place, weight)
        store(place + _WORD, 1)
