"""``minidnn viz MODEL -o FILE``: a picture of a network, at any stage on its way to int8."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minidnn import symbol
from minidnn.cli.arguments import positive
from minidnn.cli.networks import (
    Source,
    add_shape,
    add_source,
    find_params,
    input_shape,
    is_quantized,
    load_any_weights,
    make_inputs,
    weight_names,
)
from minidnn.contrib.quantization import quantization_stages
from minidnn.errors import DataError, OpError
from minidnn.ir.roles import parameter_variables
from minidnn.viz.picture import make_picture
from minidnn.viz.plot import draw_digraph
from minidnn.viz.svg import draw_page, draw_svg
from minidnn.viz.types import given_types

if TYPE_CHECKING:
    from minidnn.ir.graph import Graph
    from minidnn.symbol.symbol import Symbol

__all__ = ["DESCRIPTION", "SUMMARY", "add_arguments", "run"]

SUMMARY = "draw a network as SVG, HTML or for Graphviz"
DESCRIPTION = (
    "Draw the graph of a network, inputs at the bottom: as it is written, fused, or at a stage of quantization, "
    "calibrated on random numbers. Needs no other program for .svg and .html; .pdf and .png are Graphviz's."
)
_QUANTIZED = ("inserted", "calibrated", "quantized")
_STAGES = ("traced", "fused", *_QUANTIZED)
_DOT = (".dot", ".gv")
_GRAPHVIZ = (".pdf", ".png")


@dataclass(frozen=True)
class _Drawing:
    """A graph; `hidden` are the names of parameters beside those that operators name so."""

    graph: Graph
    hidden: Collection[str] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=_picture_file,
        required=True,
        metavar="FILE",
        help="where to write to; its ending says what: .svg, .html, .dot, or with Graphviz installed .pdf, .png",
    )
    stage = parser.add_mutually_exclusive_group()
    stage.add_argument(
        "--stage",
        choices=_STAGES,
        default="traced",
        help="the graph as it was traced or exported, after fusion, or on its way to int8: with quantize and "
        "dequantize inserted, with ranges calibrated, or with them fused (default: traced)",
    )
    stage.add_argument("--fused", dest="stage", action="store_const", const="fused", help="the same as --stage fused")
    stage.add_argument(
        "--quantized", dest="stage", action="store_const", const="quantized", help="the same as --stage quantized"
    )
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="samples at a time (default: 1)")
    parser.add_argument("--weights", action="store_true", help="show the parameters, too")
    parser.add_argument(
        "--title", metavar="TEXT", help="what stands above it (default: the network's name and the stage)"
    )
    add_shape(parser)


def run(arguments: argparse.Namespace) -> int:
    source, output, stage = arguments.model, arguments.output, arguments.stage
    if stage in _QUANTIZED and is_quantized(source):
        raise DataError(f"{source.file}: the network is quantized already; --stage traced draws it")
    drawing, shape = _get_drawing(source, arguments, stage)
    data = _data_name(drawing.graph, drawing.hidden)
    known = {data: shape} if data is not None and (source.symbol is None or arguments.shape) else None
    types = given_types(drawing.graph, known)
    hidden = () if arguments.weights else drawing.hidden
    picture = make_picture(drawing.graph, types, hide_weights=not arguments.weights, hidden=hidden)
    title = f"{source.name}, {stage}" if arguments.title is None else arguments.title
    ending = output.suffix.lower()
    if ending == ".svg":
        output.write_text(draw_svg(picture, title), encoding="utf-8")
    elif ending == ".html":
        output.write_text(draw_page(picture, title), encoding="utf-8")
    elif ending in _DOT:
        output.write_text(draw_digraph(picture, title, "svg").source, encoding="utf-8")
    else:
        output.write_bytes(draw_digraph(picture, title, ending.removeprefix(".")).pipe())
    print(f"{output}: {len(picture.boxes)} nodes")
    return 0


def _picture_file(text: str) -> Path:
    path = Path(text)
    endings = (".svg", ".html", *_DOT, *_GRAPHVIZ)
    if path.suffix.lower() not in endings:
        raise argparse.ArgumentTypeError(f"a file that ends in one of {' '.join(endings)} is wanted, got {text!r}")
    return path


def _fuse(graph: Symbol, shape: tuple[int, ...], weights: Collection[str], given: bool) -> Symbol:
    """The graph as it is fused for inputs of that shape; where it was not given and does not fit, for any."""
    data = _data_name(graph, weights)
    try:
        return graph.optimize_for("MINIDNN", shape_dict={} if data is None else {data: shape})
    except OpError:
        if given:
            raise
        return graph.optimize_for("MINIDNN")


def _get_drawing(source: Source, arguments: argparse.Namespace, stage: str) -> tuple[_Drawing, tuple[int, ...]]:
    """The graph, and the shape of its first input."""
    params = arguments.params
    if source.symbol is not None and stage not in _QUANTIZED:
        shape = (arguments.batch, *input_shape(source, arguments.shape, params))
        graph = symbol.load(source.symbol)
        weights = weight_names(find_params(source, params))
        fused = _fuse(graph, shape, weights, given=arguments.shape is not None) if stage == "fused" else graph
        return _Drawing(fused, weights), shape
    net = load_any_weights(source, params, arguments.key)
    data = make_inputs(source, arguments)
    shape = data[0].shape if data else ()
    if stage not in _QUANTIZED:
        net.hybridize()
        net(*data)
        graph, arrays = net.export(None)
        hidden = {name.removeprefix("arg:").removeprefix("aux:") for name in arrays} if source.model else ()
        return _Drawing(graph.optimize_for("MINIDNN") if stage == "fused" else graph, hidden), shape
    made = getattr(quantization_stages(net, calib_mode="naive", calib_data=[data if len(data) > 1 else data[0]]), stage)
    return _Drawing(made.graph, made.parameters), shape


def _data_name(graph: Graph, hidden: Collection[str]) -> str | None:
    """The one input of the graph; None if there are several."""
    parameters = set(parameter_variables(graph))
    names = [v.name for v in graph.variables() if v not in parameters and v.name not in hidden]
    return names[0] if len(names) == 1 else None
