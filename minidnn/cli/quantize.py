"""``minidnn quantize MODEL --calib DATA -o DIR``: an int8 network, written to files."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
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
from minidnn.contrib.quantization import layer_errors, read_tuning
from minidnn.errors import DataError
from minidnn.gluon.metric import Accuracy

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
        choices=("naive", "entropy", "tuned"),
        default="naive",
        help="ranges: the smallest and largest values, or the thresholds that lose least information; tuned: as near "
        "to float32 as DATA can bring it, in a minute or some (default: naive)",
    )
    parser.add_argument("--tuned", dest="mode", action="store_const", const="tuned", help="the same as --mode tuned")
    parser.add_argument(
        "--keep",
        type=_points,
        metavar="POINTS",
        help="with --tuned and labelled DATA: lose at most so many percentage points of top-1 accuracy on it, such as "
        "0.1; layers that cost most stay float32",
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


def _points(text: str) -> float:
    try:
        points = float(text)
    except ValueError:
        points = -1
    if not 0 <= points <= 100:
        raise argparse.ArgumentTypeError(f"a number of percentage points from 0 to 100 is wanted, got {text!r}")
    return points


def run(arguments: argparse.Namespace) -> int:
    use_threads(arguments)
    source, folder = arguments.model, arguments.output
    if source.prefix is not None and source.prefix.resolve() == (folder / source.name).resolve():
        raise DataError(f"{folder}: the files there are the network that is to be quantized; give another folder")
    if is_quantized(source):
        raise DataError(f"{source.file}: the network is quantized already")
    if arguments.keep is not None and arguments.mode != "tuned":
        raise DataError("--keep belongs to --tuned")
    labelled = arguments.keep is not None
    net = load_network(source, arguments.params, arguments.key)
    samples: Samples | None = None
    ports = source.block.ports if source.model is not None else ()
    batches: Iterable[Any]
    if len(ports) > 1 or any(port.element is not None and not port.element.is_float for port in ports):
        if labelled:
            raise DataError("--keep: labels are for networks of one float input")
        names = {port.name: port.element.outside for port in ports if port.element is not None}
        batches = NamedBatches(arguments.calib, names, arguments.batch, arguments.batches)
    else:
        samples = open_samples(arguments.calib, get_preparation(arguments), labelled=labelled)
        batches = SpreadBatches(samples, fixed_batch(source) or arguments.batch, arguments.batches, labelled)
    accuracy = (Accuracy(), arguments.keep / 100) if labelled else None
    quantized = make_int8(net, batches, arguments.mode, accuracy)
    folder.mkdir(parents=True, exist_ok=True)
    files = [Path(file) for file in quantized.export(folder / source.name)]
    console = make_console()
    tuning = read_tuning(quantized)
    if tuning is not None and arguments.report:
        console.print(_table("tuning", ("layer", "what was done", "inputs dB", "sums dB"), tuning.rows()))
        console.print(
            "inputs: of a layer's sums with float32 weights, from what its inputs have lost; sums: with int8 weights.",
            soft_wrap=True,
        )
    if tuning is not None:
        console.print(tuning.summary(), soft_wrap=True, markup=False, highlight=False)
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
    rows = [(layer.name, f"{layer.own:.1f}", f"{layer.accumulated:.1f}") for layer in errors]
    return _table("signal to quantization noise, dB", ("layer", "own", "accumulated"), rows)


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table whose last two columns are numbers."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title)
    for number, column in enumerate(columns):
        is_number = number >= len(columns) - 2
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    return table
