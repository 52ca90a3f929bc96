"""The loop function of `minidnn_kernels.trees`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.element_words import load_double, load_float, store_double, store_float
from minidnn_kernels.loop_words import inlined, load, store
from minidnn_kernels.trees import AGGREGATES, COMPARISONS, TREE_ARGUMENTS, TREE_NODE

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
    rows, code, item = load(args + _T.rows), load(args + _T.code), load(args + _T.item)
    nodes, trees, targets = load(args + _T.nodes), load(args + _T.trees), load(args + _T.targets)
    goals, weights, aggregate = load(args + _T.goals), load(args + _T.weights), load(args + _T.aggregate)
    seen = memory + targets * _WORD
    for row in range(rows * part // parts, rows * (part + 1) // parts):
        source = load(args + _T.source) + row * load(args + _T.width) * item
        for i in range(targets):
            store_double(memory + i * _WORD, 0.0)
            store(seen + i * _WORD, 0)
        for tree in range(trees):
            node = nodes + load(load(args + _T.roots) + tree * _WORD)
            feature = load(node + _N.feature)
            while feature >= 0:
                is_true = _is_true(node, load_float(source + feature * item, code))
                node = nodes + load(node + (_N.true if is_true else _N.false))
                feature = load(node + _N.feature)
            for i in range(load(node + _N.true), load(node + _N.false)):
                goal, weight = load(goals + i * _WORD), load_double(weights + i * _WORD)
                old, is_first = load_double(memory + goal * _WORD), load(seen + goal * _WORD) == 0
                if aggregate < _MIN:
                    weight += old
                elif not is_first and (old < weight if aggregate == _MIN else old > weight):
                    weight = old
                store_double(memory + goal * _WORD, weight)
                store(seen + goal * _WORD, 1)
        target = load(args + _T.target) + row * targets * item
        for i in range(targets):
            number = load_double(memory + i * _WORD)
            store_float(target + i * item, code, number / trees if aggregate == _MEAN else number)
