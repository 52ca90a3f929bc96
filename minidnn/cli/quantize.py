"""``minidnn quantize MODEL --calib DATA -o DIR``: an int8 network, written to files."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minidnn.cli.arguments import add_threads, positive, use_threads
from minidnn.cli.console import make_console
from minidnn.cli.datasets import NamedBatches, Samples, SpreadBatches, open_samples
from minidnn.cli.networks import (
    add_preparation,
    add_source,
    fixed_batch,
    get_preparation,
    is_quantized,
    load_network,
    make_int8,
)
from minidnn.contrib.quantization import layer_errors
from minidnn.errors import DataError

if TYPE_CHECKING:
    from rich.table import Table

    from minidnn.contrib.quantization import LayerErrors

__all__ = ["DESCRIPTION", "SUMMARY", "add_arguments", "run"]

SUMMARY = "quantize a network to int8 and write it to files"
DESCRIPTION = (
    "Quantize a network to int8: weights with a scale for each output channel, activations with ranges calibrated on "
    "data. Writes the graph (NAME-symbol.json) and the parameters (NAME-0000.params, safetensors), which 'minidnn "
    "accuracy' and SymbolBlock.imports read."
)

_REPORT_SAMPLES = 8  # its layers are computed by their operators' references, which take their time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    parser.add_argument(
        "--calib",
        type=Path,
        required=True,
        metavar="DATA",
        help="what to calibrate on, with labels or without: a folder of images, a .rec file, an .npz file with "
        "samples x, or an .npy file; for a model with several inputs or integers, an .npz file with an array for each "
        "input, by its name",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where to write to")
    parser.add_argument(
        "--mode",
        choices=("naive", "entropy"),
        default="naive",
        help="ranges: the smallest and largest values, or the thresholds that lose least information (default: naive)",
    )
    parser.add_argument("--batch", type=positive, default=32, metavar="N", help="samples at a time (default: 32)")
    parser.add_argument(
        "--batches",
        type=positive,
        default=10,
        metavar="N",
        help="batches to calibrate on, spread evenly over DATA (default: 10)",
    )
    parser.add_argument("--report", action="store_true", help="show how far each layer is from float32")
    add_threads(parser)
    add_preparation(parser)


def run(arguments: argparse.Namespace) -> int:
    use_threads(arguments)
    source, folder = arguments.model, arguments.output
    if source.prefix is not None and source.prefix.resolve() == (folder / source.name).resolve():
        raise DataError(f"{folder}: the files there are the network that is to be quantized; give another folder")
    if is_quantized(source):
        raise DataError(f"{source.file}: the network is quantized already")
    net = load_network(source, arguments.params, arguments.key)
    samples: Samples | None = None
    ports = source.block.ports if source.model is not None else ()
    batches: Iterable[Any]
    if len(ports) > 1 or any(port.element is not None and not port.element.is_float for port in ports):
        names = {port.name: port.element.outside for port in ports if port.element is not None}
        batches = NamedBatches(arguments.calib, names, arguments.batch, arguments.batches)
    else:
        samples = open_samples(arguments.calib, get_preparation(arguments), labelled=False)
        batches = SpreadBatches(samples, fixed_batch(source) or arguments.batch, arguments.batches)
    quantized = make_int8(net, batches, arguments.mode)
    folder.mkdir(parents=True, exist_ok=True)
    files = [Path(file) for file in quantized.export(folder / source.name)]
    console = make_console()
    if arguments.report:
        few = fixed_batch(source) or _REPORT_SAMPLES
        errors = layer_errors(net, quantized, batches if samples is None else SpreadBatches(samples, few, 1))
        console.print(_report(errors))
        console.print(
            "own: of the layer's own error; accumulated: of the error at its output, with that of earlier layers.",
            soft_wrap=True,
        )
    for file in files:
        console.print(f"{file}: {file.stat().st_size / 1e6:.2f} MB", soft_wrap=True, markup=False, highlight=False)
    return 0


def _report(errors: LayerErrors) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="signal to quantization noise, dB")
    table.add_column("layer", overflow="fold")
    table.add_column("own", justify="right")
    table.add_column("accumulated", justify="right")
    for layer in errors:
        table.add_row(escape(layer.name), f"{layer.own:.1f}", f"{layer.accumulated:.1f}")
    return table
