"""``minidnn bench MODEL``: a network of the zoo, eager against fused."""

from __future__ import annotations

import argparse

import numpy as np

from minidnn.cli.arguments import add_threads, model_name, positive
from minidnn.cli.console import make_console, make_progress
from minidnn.cli.pairs import difference, make_pair
from minidnn.cli.timing import inference, interleave

__all__ = ["DESCRIPTION", "SUMMARY", "add_arguments", "run"]

SUMMARY = "time a network of the zoo, eager against fused"
DESCRIPTION = (
    "Time a network of the zoo with random weights: eager (one kernel an operator) against fused (optimize_for), "
    "in turns in one process. On a machine that others use too, trust the minimum and the ratio."
)
_WARMUP = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=model_name, metavar="MODEL", help="a network of the zoo, such as resnet50_v1")
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="images at a time (default: 1)")
    parser.add_argument("--rounds", type=positive, default=20, metavar="N", help="rounds of each (default: 20)")
    add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    from rich.table import Table

    import minidnn as mx
    from minidnn.gluon.model_zoo import vision

    if arguments.threads is not None:
        mx.set_num_threads(arguments.threads)
    size = vision.get_image_size(arguments.model)
    data = mx.np.array(np.random.default_rng(0).standard_normal((arguments.batch, 3, size, size), np.float32))
    console = make_console()
    with make_progress() as progress:
        task = progress.add_task(f"{arguments.model}: compiling", total=arguments.rounds + _WARMUP)
        eager, fused = make_pair(lambda: vision.get_model(arguments.model), data)
        differ = difference(eager(data).asnumpy(), fused(data).asnumpy())
        progress.update(task, description=f"{arguments.model}: timing")
        timings = interleave(
            {"eager": inference(eager, data), "fused": inference(fused, data)},
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
    console.print(
        f"fused is {timings['eager'].minimum_ms / timings['fused'].minimum_ms:.2f} × as fast by the minimum, "
        f"{timings['eager'].median_ms / timings['fused'].median_ms:.2f} × by the median; "
        f"the outputs differ by {differ:.1e} of the largest.",
        soft_wrap=True,
    )
    return 0
