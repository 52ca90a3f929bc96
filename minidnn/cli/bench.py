"""``minidnn bench MODEL``: a network, eager, fused and in int8."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import minidnn as mx
from minidnn.cli.arguments import add_threads, model_name, positive, use_threads
from minidnn.cli.console import make_console, make_progress
from minidnn.cli.networks import (
    Source,
    add_shape,
    add_source,
    difference,
    find_source,
    is_quantized,
    load_any_weights,
    make_bf16,
    make_inputs,
    make_int8,
    make_pair,
)
from minidnn.cli.timing import Timing, inference, interleave
from minidnn.errors import DataError
from minidnn.gluon.model_zoo import vision

__all__ = ["DESCRIPTION", "SUMMARY", "add_arguments", "run"]

SUMMARY = "time a network, eager, fused and in int8"
DESCRIPTION = (
    "Time a network on random numbers: eager (one kernel an operator), fused (optimize_for) and in int8 "
    "(quantize_net), in turns in one process. A network of the zoo has random weights unless --params gives others; "
    "one of a file is not timed eager. On a machine that others use too, trust the minimum and the ratio."
)
_WARMUP = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser, _find)
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="samples at a time (default: 1)")
    parser.add_argument("--rounds", type=positive, default=20, metavar="N", help="rounds of each (default: 20)")
    parser.add_argument("--bf16", action="store_true", help="time it with weights in bfloat16, too")
    add_shape(parser)
    add_threads(parser)


def _find(text: str) -> Source:
    """A network; where a plain word is none, the error lists those of the zoo."""
    try:
        return find_source(text)
    except argparse.ArgumentTypeError:
        if Path(text).name == text and Path(text).suffix.lower() not in (".onnx", ".pt2", ".json"):
            model_name(text)
        raise


def run(arguments: argparse.Namespace) -> int:
    use_threads(arguments)
    source: Source = arguments.model
    data = make_inputs(source, arguments)
    with make_progress() as progress:
        progress.add_task(f"{source.name}: compiling", total=None)
        nets = _make_networks(source, arguments, data)
    first = {name: _first(net(*data)) for name, net in nets.items()}
    with make_progress() as progress:
        task = progress.add_task(f"{source.name}: timing", total=arguments.rounds + _WARMUP)
        timings = interleave(
            {name: inference(net, *data) for name, net in nets.items()},
            arguments.rounds,
            _WARMUP,
            lambda: progress.advance(task),
        )
    title = f"{source.name}, batch {arguments.batch}, {mx.get_num_threads()} threads, {arguments.rounds} rounds"
    _print(title, arguments.batch, timings, first)
    return 0


def _make_networks(source: Source, arguments: argparse.Namespace, data: tuple[Any, ...]) -> dict[str, Any]:
    """The network in each form that is timed; one that was made of a graph is never eager."""
    if source.file is None and arguments.params is None and arguments.key is None:
        eager, fused = make_pair(lambda: vision.get_model(source.name), data[0])
        return {"eager": eager, "fused": fused, **_reduced(eager, data, arguments.bf16)}
    net = load_any_weights(source, arguments.params, arguments.key)
    if is_quantized(source):
        if arguments.bf16:
            raise DataError(f"{source.file}: the network is quantized already; leave --bf16 out")
        net.optimize_for(*data)
        return {"int8": net}
    reduced = _reduced(net, data, arguments.bf16)
    net.optimize_for(*data)
    return {"fused": net, **reduced}


def _reduced(net: Any, data: tuple[Any, ...], bf16: bool) -> dict[str, Any]:
    """The network in int8, and before that with weights in bfloat16 if that is wanted."""
    made = {"bf16": make_bf16(net, data)} if bf16 else {}
    return {**made, "int8": make_int8(net, [data if len(data) > 1 else data[0]])}


def _first(made: Any) -> np.ndarray[Any, Any]:
    """The first result of a network."""
    while isinstance(made, (dict, list, tuple)):
        made = next(iter(made.values() if isinstance(made, dict) else made))
    return np.asarray(made.asnumpy())


def _print(title: str, batch: int, timings: Mapping[str, Timing], first: Mapping[str, np.ndarray[Any, Any]]) -> None:
    from rich.table import Table

    console = make_console()
    table = Table(title=title)
    for heading in ("", "minimum ms", "median ms", "images/s"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, timing in timings.items():
        rate = batch / timing.minimum_ms * 1e3
        table.add_row(name, f"{timing.minimum_ms:.2f}", f"{timing.median_ms:.2f}", f"{rate:.1f}")
    console.print(table)
    names = list(timings)
    for slow, fast in itertools.pairwise(names):
        one, other = timings[slow], timings[fast]
        console.print(
            f"{fast} is {one.minimum_ms / other.minimum_ms:.2f} × as fast as {slow} by the minimum, "
            f"{one.median_ms / other.median_ms:.2f} × by the median; "
            f"its outputs differ from {names[0]}'s by {difference(first[names[0]], first[fast]):.1e} of the largest.",
            soft_wrap=True,
        )
