"""What a picture of a graph shows, before anything is drawn: boxes, arrows, a legend."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from minidnn.ir.graph import Entry, Graph, Node
from minidnn.ir.printing import describe_attrs
from minidnn.ir.roles import parameter_variables
from minidnn.ops.registry import TensorType
from minidnn.untrusted import printable

__all__ = ["Arrow", "Box", "Picture", "make_picture"]

# ColorBrewer's Set3, which MXNet's pictures use too: one colour a family of operators.
_INPUT, _ANCHOR, _ACTIVATION, _NORMALIZATION, _POOLING, _SHAPE, _REDUCTION, _OTHER = (
    "#8dd3c7",
    "#fb8072",
    "#ffffb3",
    "#bebada",
    "#80b1d3",
    "#fdb462",
    "#b3de69",
    "#fccde5",
)
_COLOUR_OF_KIND = {
    "anchor": _ANCHOR,
    "elementwise": _ACTIVATION,
    "normalization": _NORMALIZATION,
    "pooling": _POOLING,
    "shape": _SHAPE,
    "reduction": _REDUCTION,
}
# Dark ones of ColorBrewer's Paired: of edges and outlines, by what flows there.
_COLOUR_OF_DTYPE = {"float32": "#444444", "int8": "#1f78b4", "uint8": "#e31a1c", "int32": "#33a02c"}
_OTHER_DTYPE = "#6a3d9a"
_PLAIN = "float32"
_MAX_LINE = 60
_LONG_NUMBER = re.compile(r"\d+\.\d{5,}(e[+-]?\d+)?")


@dataclass(frozen=True)
class Box:
    """A node.

    Args:
        name: of the node, whole.
        lines: its text: the name, then what it computes, then for a fused node what else.
        fill: the colour of its family.
        dtype: of what it makes; None where that is not known.
        outline: the colour of that dtype.
        is_variable: whether it is drawn as an oval.
    """

    name: str
    lines: tuple[str, ...]
    fill: str
    dtype: str | None
    outline: str
    is_variable: bool


@dataclass(frozen=True)
class Arrow:
    """What flows from one box to another.

    Args:
        source, reader: places of the boxes in the picture.
        label: the shape; empty where it is not shown.
        dtype: of it; None where that is not known.
        colour: of that dtype.
    """

    source: int
    reader: int
    label: str
    dtype: str | None
    colour: str


@dataclass(frozen=True)
class Picture:
    """All of it; boxes stand behind those that they read.

    Args:
        boxes, arrows: what is drawn.
        legend: dtypes and their colours; empty where all is float32.
    """

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    legend: tuple[tuple[str, str], ...]


def make_picture(
    graph: Graph,
    types: Mapping[Entry, TensorType],
    labels: bool = True,
    hide_weights: bool = True,
    hidden: Collection[str] = (),
) -> Picture:
    """The picture of a graph.

    Args:
        graph: what to draw.
        types: what is known of its entries.
        labels: whether arrows say the shape.
        hide_weights: whether to leave out the parameters.
        hidden: names of variables to leave out besides.
    """
    left_out = set(parameter_variables(graph)) if hide_weights else set()
    left_out |= {node for node in graph.variables() if node.name in hidden}
    shown = {node: i for i, node in enumerate(n for n in graph.nodes() if n not in left_out)}
    boxes, arrows = [], []
    for node, place in shown.items():
        dtype = _dtype(types.get(node[0]))
        boxes.append(Box(node.name, _lines(node), _fill(node), dtype, _colour(dtype), node.is_variable))
        read: dict[Node, list[Entry]] = {}
        for entry in dict.fromkeys(node.inputs):
            if entry.node in shown:
                read.setdefault(entry.node, []).append(entry)
        for source, entries in read.items():
            # A quantized tensor and its scale are one arrow.
            entries = entries if len(entries) == 1 else [e for e in entries if not _is_scale(e, types)]
            said = ("scale" if _is_scale(e, types) else _shape(types.get(e)) for e in entries)
            label = ", ".join(filter(None, said)) if labels else ""
            dtype = _dtype(types.get(entries[0]))
            arrows.append(Arrow(shown[source], place, label, dtype, _colour(dtype)))
    seen = {d for d in (*(b.dtype for b in boxes), *(a.dtype for a in arrows)) if d is not None}
    legend = tuple((dtype, _colour(dtype)) for dtype in sorted(seen)) if seen - {_PLAIN} else ()
    return Picture(tuple(boxes), tuple(arrows), legend)


def _is_scale(entry: Entry, types: Mapping[Entry, TensorType]) -> bool:
    first = types.get(entry.node[0])
    return entry.index == 1 and first is not None and first.dtype.kind in "iu" and entry.node.num_outputs == 2


def _lines(node: Node) -> tuple[str, ...]:
    lines = [node.name]
    if node.subgraph is not None:
        lines += [_operation(inner) for inner in node.subgraph.operations()]
    elif not node.is_variable:
        lines.append(_operation(node))
    return tuple(_clip(printable(line)) for line in lines)


def _operation(node: Node) -> str:
    """The operator in the words of its field: ``convolution 3x3/2, 64``."""
    attrs = node.attrs
    name = node.op_name
    if name in {"convolution", "deconvolution", "quantized_convolution"}:
        groups = f", {attrs.num_group} groups" if attrs.num_group > 1 else ""
        return f"{name} {_window(node)}, {attrs.num_filter}{groups}"
    if name == "pooling":
        return f"pooling {attrs.pool_type}, {'global' if attrs.global_pool else _window(node)}"
    if name in {"fully_connected", "quantized_fully_connected"}:
        return f"{name} {attrs.num_hidden}"
    if name in {"activation", "leaky_relu"}:
        return f"{name} {attrs.act_type}"
    if name in {"quantize", "requantize"}:
        low, high = attrs.min_calib_range, attrs.max_calib_range
        return f"{name} {attrs.out_type}" + ("" if low is None or high is None else f" [{low:.3g}, {high:.3g}]")
    if name == "dequantize":
        return f"{name}{' per channel' if attrs.per_channel else ''}"
    if node.op is not None and node.op.kind == "normalization":
        return name
    return _LONG_NUMBER.sub(lambda digits: f"{float(digits[0]):.4g}", f"{name} {describe_attrs(node)}".rstrip())


def _window(node: Node) -> str:
    """Kernel and stride, one number for equal strides: ``3x3/2``."""
    kernel, stride = node.attrs.kernel, node.attrs.stride
    return f"{_by(kernel)}/{_by(stride[:1] if len(set(stride)) == 1 else stride)}"


def _fill(node: Node) -> str:
    if node.op is None:
        return _INPUT
    if node.subgraph is not None:
        inside = [_fill(inner) for inner in node.subgraph.operations()]
        return _ANCHOR if _ANCHOR in inside else inside[0]
    return _COLOUR_OF_KIND.get(node.op.kind, _OTHER)


def _colour(dtype: str | None) -> str:
    return _COLOUR_OF_DTYPE[_PLAIN] if dtype is None else _COLOUR_OF_DTYPE.get(dtype, _OTHER_DTYPE)


def _dtype(known: TensorType | None) -> str | None:
    return None if known is None else str(known.dtype)


def _shape(known: TensorType | None) -> str:
    return "" if known is None else _by(known.shape) or "scalar"


def _by(numbers: Sequence[int]) -> str:
    return "x".join(map(str, numbers))


def _clip(line: str) -> str:
    return line if len(line) <= _MAX_LINE else line[: _MAX_LINE - 1] + "…"
