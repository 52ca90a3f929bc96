"""Mark: which operations multiply int8, and which values there are in int8.

An operation of a float32 graph after the fusion passes is one of these kinds:

- a *product* (convolution, dense, batch_dot, fused or not): it multiplies int8 and gives float32 to its epilogue; a
  recurrent layer multiplies int8 data and states, and gives float32;
- it *carries* int8: it moves or compares values, so it does the same with the integers (max pooling, reshape, ...);
- it *joins* int8 values whose scales have been made one (concatenate, stack): it carries them too;
- anything else computes in float32, from whatever its inputs are dequantized to.

A product reads its data in int8. Mode ``smart`` leaves it at that. Mode ``full`` also has those operations read
int8 that MXNet has in int8 beside the products (pooling, sums, ReLUs, batch normalization, joins), wherever what they
read comes out of a product. Tuned, further ones do (products of tensors, other activations), if what they make is read
in int8, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import numpy as np

from minidnn.ir.graph import Entry, Graph, Node
from minidnn.ir.roles import input_roles
from minidnn.ops.quantization import largest_depth
from minidnn.ops.recurrent import MATRICES
from minidnn.passes.naming import find_anchor
from minidnn.passes.quantize_weights import MAX_DEPTH
from minidnn.passes.quantized_graph import ROWS, SAMPLES, find_batch_axes, layer_output, operand_axes
from minidnn.passes.regions import GraphView, data_inputs

__all__ = ["Marks", "find_quantized", "mark", "product_operands", "recurrent_data"]

_FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True)
class Marks:
    """What `insert` has to make.

    Args:
        products: the operations that multiply int8.
        recurrent: recurrent layers, which multiply int8 data and states.
        tables: embeddings whose table becomes int8.
        transparent: the operations that pass int8 on, joins included.
        int8: the float32 values of which there is an int8 form.
        origins: for each of those the values it consists of that are quantized: itself, or what it was carried from.
        group: for each quantized value the values that have one scale with it, itself included.
        signed: quantized values that have to be int8, not uint8.
        calibrated: whether calibration gives ranges; else they are found at run time.
        batch_axes: for each quantized value whose range is found at run time the attribute of its quantization.
    """

    products: frozenset[Node]
    recurrent: frozenset[Node]
    tables: frozenset[Node]
    transparent: frozenset[Node]
    int8: frozenset[Entry]
    origins: dict[Entry, tuple[Entry, ...]]
    group: dict[Entry, tuple[Entry, ...]]
    signed: frozenset[Entry]
    calibrated: bool = True
    batch_axes: dict[Entry, int] = field(default_factory=dict)


def mark(
    graph: Graph,
    known: Collection[str],
    mode: str,
    excluded: Collection[Node] = (),
    joins: bool = True,
    tuned: bool = False,
) -> Marks:
    """What is to be quantized.

    Args:
        graph: a float32 graph, after the fusion passes.
        known: names of the variables whose values are known: parameters.
        mode: ``full`` or ``smart``.
        excluded: operations that stay as they are.
        joins: whether joins carry int8; they need ranges from calibration. Without it ranges are found at run time,
            for each sample, and only what leaves samples by themselves carries int8.
        tuned: whether operations carry int8 that MXNet has in float32, and ranges are found at run time nevertheless,
            for each row, of what dense layers alone read in int8, and which has rows.
    """
    view = GraphView(graph)
    products = frozenset(n for n in view.operations if n not in excluded and _is_product(view, n, known))
    recurrent = frozenset(n for n in view.operations if n not in excluded and _is_recurrent(view, n, known))
    able = {n for n in view.operations if n not in excluded and _carries(n, joins, tuned)}
    tables = {n for n in view.operations if n not in excluded and _is_table(n, known)}
    required = {e for node in products for e in product_operands(node)} | {recurrent_data(n) for n in recurrent}
    if mode == "full":
        required |= _required_by_full(view, products, able, excluded)
    required = {e for e in required if _may_be_int8(view, e)}
    rows: dict[Entry, bool] = _read_by_rows(view, products, recurrent, tables) if tuned else {}
    listed = _find_listed(view, products, excluded, _is_when_tuned) if tuned and mode == "full" else set()
    computed = _find_computed(view, products, able, listed)
    for node in reversed(view.operations):
        wanted = [node[i] for i in range(node.num_outputs) if node[i] in required]
        if wanted and all(rows.get(e, False) for e in wanted):
            # What only dense layers read, row by row, is quantized where they read it.
            able.discard(node)
        elif wanted and node in able:
            required.update(data_inputs(node))
            rows.update(dict.fromkeys(data_inputs(node), False))
        elif wanted and node in listed:
            required.update(e for e in data_inputs(node) if e in computed and _may_be_int8(view, e))
    transparent: set[Node] = set()
    for node in view.operations:
        if node in able and all(e in required for e in data_inputs(node)):
            transparent.add(node)
            required.update(node[i] for i in range(node.num_outputs))
    used_tables = {n for n in tables if n[0] in required}
    origins = _origins(view, required, transparent)
    group = _groups(transparent, origins)
    # A table has the scale of its own weights; one that would have to share it with others stays float32.
    used_tables = {n for n in used_tables if len(group[n[0]]) == 1}
    signed = {o for n in products for e in _right_operand(n) for o in origins[e]}
    signed |= {member for e in signed for member in group[e]}
    batch_axes: dict[Entry, int] = {}
    if tuned or not joins:
        batch_axes = find_batch_axes(_readers(products, recurrent, transparent), origins)
    if joins:
        batch_axes = {e: axes for e, axes in batch_axes.items() if axes == ROWS and _has_rows(view, e, used_tables)}
    return Marks(
        products,
        recurrent,
        frozenset(used_tables),
        frozenset(transparent),
        frozenset(required),
        origins,
        group,
        frozenset(signed),
        joins,
        batch_axes,
    )


def find_quantized(marks: Marks) -> list[str]:
    """The names, as collectors see them, of the values whose ranges calibration has to find; parameters included."""
    quantized = dict.fromkeys(o for found in marks.origins.values() for o in found if o not in marks.batch_axes)
    return [layer_output(e) for e in quantized if e.node not in marks.tables]


def _read_by_rows(
    view: GraphView, products: Collection[Node], recurrent: Collection[Node], tables: Collection[Node]
) -> dict[Entry, bool]:
    """What products read, and whether all of them take a range for each row of it."""
    found: dict[Entry, bool] = {}
    for entry, axes in _readers(products, recurrent, ()):
        found[entry] = axes == ROWS and _has_rows(view, entry, tables) and found.get(entry, True)
    return found


def _has_rows(view: GraphView, entry: Entry, tables: Collection[Node]) -> bool:
    return entry in view.types and view.types[entry].ndim > 2 and entry.node not in tables


def _readers(
    products: Collection[Node], recurrent: Collection[Node], transparent: Collection[Node]
) -> Iterator[tuple[Entry, int]]:
    for node in products:
        anchor = find_anchor(node)
        assert anchor is not None
        yield from zip(product_operands(node), operand_axes(anchor), strict=True)
    for node in recurrent:
        yield recurrent_data(node), ROWS
    for node in transparent:
        yield from ((entry, SAMPLES) for entry in data_inputs(node))


def product_operands(node: Node) -> list[Entry]:
    """What a product multiplies, beside its weights: its data, or both factors of a batch_dot."""
    anchor = find_anchor(node)
    assert anchor is not None
    assert anchor.op is not None and anchor.op.anchor is not None
    return [_outer(node, e) for e in anchor.inputs[: anchor.op.anchor.factors]]


def recurrent_data(node: Node) -> Entry:
    """What a recurrent layer multiplies beside its states."""
    return node.inputs[0]


def _outer(node: Node, entry: Entry) -> Entry:
    """What an input of an operation inside a fused node is outside; itself where nothing is fused."""
    return entry if node.subgraph is None else node.bind_inside(node.inputs)[entry]


def _right_operand(node: Node) -> list[Entry]:
    return product_operands(node)[1:]


def _is_product(view: GraphView, node: Node, known: Collection[str]) -> bool:
    anchor = find_anchor(node)
    if anchor is None or anchor.op is None or anchor.op.anchor is None or node.num_outputs != 1:
        return False
    if not anchor.op.anchor.integer:
        return False
    if node is not anchor and not all(e.node.is_variable for e in anchor.inputs):
        return False
    weights = [e for e, role in zip(node.inputs, input_roles(node), strict=True) if role.is_parameter]
    if not all(e.node.is_variable and e.node.name in known for e in weights):
        return False
    if not all(view.types[e].dtype == _FLOAT32 for e in (*product_operands(node), *weights) if e in view.types):
        return False
    return _sums_fit_int32(view, anchor, node)


def _is_recurrent(view: GraphView, node: Node, known: Collection[str]) -> bool:
    if node.op is None or node.op_name != "recurrent" or node.attrs.int8_weight or node.attrs.state_levels != "none":
        return False
    given = dict(zip(node.op.input_names(node.attrs), node.inputs, strict=True))
    if not all(e.node.is_variable and e.node.name in known for n, e in given.items() if n in node.op.parameters):
        return False
    floats = [e for name, e in given.items() if name != "sequence_length"]
    if not all(view.types[e].dtype == _FLOAT32 for e in floats if e in view.types):
        return False
    return all(view.types[given[n]].shape[-1] <= MAX_DEPTH for n in MATRICES if given.get(n) in view.types)


def _sums_fit_int32(view: GraphView, anchor: Node, node: Node) -> bool:
    """Whether int8 sums cannot wrap around: both factors of a batch_dot may be the largest numbers throughout."""
    if anchor.op_name == "batch_dot":
        left = product_operands(node)[0]
        depth = view.types[left].shape[-2 if anchor.attrs.transpose_a else -1] if left in view.types else 0
        return depth <= largest_depth("uint8", "int8")
    weight = _outer(node, anchor.inputs[1])
    return weight not in view.types or math.prod(view.types[weight].shape[1:]) <= MAX_DEPTH


def _carries(node: Node, joins: bool, tuned: bool) -> bool:
    op = node.op
    if op is None or not (joins or op.holds(op.keeps_samples, node.attrs)):
        return False
    if tuned and op.kind == "shape" and op.holds(op.int8_when_tuned, node.attrs):
        return True
    return op.holds(op.scale_transparent, node.attrs) or (joins and op.shares_scale)


def _is_table(node: Node, known: Collection[str]) -> bool:
    table = _table(node)
    if table is None:
        return False
    return table.is_variable and table.name in known


def _table(node: Node) -> Node | None:
    """What the operation gives rows of; None if it is no look-up in a table."""
    if node.op is None or not node.op.table:
        return None
    return node.inputs[node.op.input_names(node.attrs).index(node.op.table)].node


def _may_be_int8(view: GraphView, entry: Entry) -> bool:
    return entry not in view.types or view.types[entry].dtype == _FLOAT32


def _is_in_full_mode(node: Node) -> bool:
    return node.op is not None and node.op.int8_in_full_mode


def _is_when_tuned(node: Node) -> bool:
    return _is_in_full_mode(node) or (node.op is not None and node.op.holds(node.op.int8_when_tuned, node.attrs))


def _find_listed(
    view: GraphView, products: Collection[Node], excluded: Collection[Node], is_listed: Callable[[Node], bool]
) -> set[Node]:
    """The operations all of whose parts, but for a product, are of a list."""
    listed = set()
    for node in view.operations:
        inner = node.subgraph.operations() if node.subgraph is not None else (node,)
        anchor = find_anchor(node)
        fits = node not in excluded and all(is_listed(n) or n is anchor for n in inner)
        if fits and (anchor is None or node in products):
            listed.add(node)
    return listed


def _find_computed(
    view: GraphView, products: Collection[Node], able: Collection[Node], listed: Collection[Node]
) -> set[Entry]:
    """What comes out of products, directly or through operations that carry int8 or are listed."""
    computed: set[Entry] = set()
    for node in view.operations:
        read = any(e in computed for e in data_inputs(node))
        if node in products or (read and (node in listed or node in able)):
            computed.update(node[i] for i in range(node.num_outputs))
    return computed


def _required_by_full(
    view: GraphView, products: Collection[Node], able: Collection[Node], excluded: Collection[Node]
) -> set[Entry]:
    """What comes out of products, directly or through operations of the list, and is read by those of the list."""
    listed = _find_listed(view, products, excluded, _is_in_full_mode)
    computed = _find_computed(view, products, able, listed)
    return {e for node in listed for e in data_inputs(node) if e in computed}


def _origins(view: GraphView, int8: Collection[Entry], transparent: Collection[Node]) -> dict[Entry, tuple[Entry, ...]]:
    origins: dict[Entry, tuple[Entry, ...]] = {}

    def find(entry: Entry) -> tuple[Entry, ...]:
        if entry not in origins:
            carried = entry.node in transparent
            origins[entry] = (
                tuple(dict.fromkeys(o for e in data_inputs(entry.node) for o in find(e))) if carried else (entry,)
            )
        return origins[entry]

    # Inputs before users, so that the recursion is one step deep.
    for entry in sorted(int8, key=lambda e: (view.position[e.node], e.index)):
        find(entry)
    return origins


def _groups(transparent: Collection[Node], origins: dict[Entry, tuple[Entry, ...]]) -> dict[Entry, tuple[Entry, ...]]:
    """The values whose scales have to be one: those that meet in a join, and so on from join to join."""
    group: dict[Entry, tuple[Entry, ...]] = {o: (o,) for found in origins.values() for o in found}
    for node in transparent:
        met = dict.fromkeys(o for e in data_inputs(node) for o in origins[e])
        together = tuple(dict.fromkeys(member for o in met for member in group[o]))
        if len(together) > 1:
            group.update(dict.fromkeys(together, together))
    return group
