"""``minidnn bench MODEL``: a network of the zoo, eager, fused and in int8."""

from __future__ import annotations

import argparse

import numpy as np

import minidnn as mx
from minidnn.cli.arguments import add_threads, model_name, positive, use_threads
from minidnn.cli.console import make_console, make_progress
from minidnn.cli.networks import difference, make_int8, make_pair
from minidnn.cli.timing import inference, interleave
from minidnn.gluon.model_zoo import vision

__all__ = ["DESCRIPTION", "SUMMARY", "add_arguments", "run"]

SUMMARY = "time a network of the zoo, eager, fused and in int8"
DESCRIPTION = (
    "Time a network of the zoo with random weights: eager (one kernel an operator), fused (optimize_for) and in int8 "
    "(quantize_net), in turns in one process. On a machine that others use too, trust the minimum and the ratio."
)
_WARMUP = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=model_name, metavar="MODEL", help="a network of the zoo, such as resnet50_v1")
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="images at a time (default: 1)")
    parser.add_argument("--rounds", type=positive, default=20, metavar="N", help="rounds of each (default: 20)")
    add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    from rich.table import Table

    use_threads(arguments)
    size = vision.get_image_size(arguments.model)
    data = mx.np.array(np.random.default_rng(0).standard_normal((arguments.batch, 3, size, size), np.float32))
    console = make_console()
    with make_progress() as progress:
        progress.add_task(f"{arguments.model}: compiling", total=None)
        eager, fused = make_pair(lambda: vision.get_model(arguments.model), data)
    nets = {"eager": eager, "fused": fused, "int8": make_int8(eager, [data])}
    outputs = {name: net(data).asnumpy() for name, net in nets.items()}
    with make_progress() as progress:
        task = progress.add_task(f"{arguments.model}: timing", total=arguments.rounds + _WARMUP)
        timings = interleave(
            {name: inference(net, data) for name, net in nets.items()},
            arguments.rounds,
            _WARMUP,
            lambda: progress.advance(task),
        )
    table = Table(
        title=f"{arguments.model}, batch {arguments.batch}, {mx.get_num_threads()} threads, {arguments.rounds} rounds"
    )
    for heading in ("", "minimum ms", "median ms", "images/s"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, timing in timings.items():
        rate = arguments.batch / timing.minimum_ms * 1e3
        table.add_row(name, f"{timing.minimum_ms:.2f}", f"{timing.median_ms:.2f}", f"{rate:.1f}")
    console.print(table)
    for slow, fast in (("eager", "fused"), ("fused", "int8")):
        one, other = timings[slow], timings[fast]
        console.print(
            f"{fast} is {one.minimum_ms / other.minimum_ms:.2f} × as fast as {slow} by the minimum, "
            f"{one.median_ms / other.median_ms:.2f} × by the median; "
            f"its outputs differ from eager's by {difference(outputs['eager'], outputs[fast]):.1e} of the largest.",
            soft_wrap=True,
        )
    return 0
