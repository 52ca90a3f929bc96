"""``minidnn demo``: real photos through a network with real weights, eager, fused and in int8."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import minidnn as mx
from minidnn.cli.arguments import add_threads, positive, use_threads
from minidnn.cli.console import make_console, make_progress
from minidnn.cli.networks import difference, make_int8
from minidnn.cli.photos import read_photos
from minidnn.cli.timing import Timing, inference, interleave
from minidnn.gluon.model_zoo import vision

__all__ = ["DESCRIPTION", "SUMMARY", "add_arguments", "run"]

SUMMARY = "classify real photos, eager, fused and in int8"
DESCRIPTION = (
    "Classify photos with EfficientNet-Lite0 and its ImageNet weights: eager (one kernel an operator), fused "
    "(optimize_for) and in int8 (quantize_net, calibrated on the photos). Shows the top classes, how far the outputs "
    "of eager and fused differ, and the time an image takes."
)
_MODEL = "efficientnet_lite0"
_TOP = 3
_WARMUP = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=positive, default=10, metavar="N", help="rounds a photo (default: 10)")
    add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    from rich.table import Table

    use_threads(arguments)
    photos = {name: mx.np.array(pixels) for name, pixels in read_photos(vision.get_image_size(_MODEL))}
    eager, fused = _make(vision), _make(vision)
    nets = {"eager": eager, "fused": fused, "int8": make_int8(eager, photos.values())}
    table = Table(title=f"{_MODEL}, ImageNet weights, {mx.get_num_threads()} threads")
    for heading in ("photo", "top classes", "top class in int8"):
        table.add_column(heading)
    for heading in ("difference", "eager ms", "fused ms", "int8 ms"):
        table.add_column(heading, justify="right")
    classes = vision.imagenet_classes()
    worst = 0.0
    timings: list[dict[str, Timing]] = []
    with make_progress() as progress:
        task = progress.add_task("compiling", total=len(photos) * (_WARMUP + arguments.rounds))
        fused.optimize_for(next(iter(photos.values())))
        for photo, data in photos.items():
            progress.update(task, description=photo)
            scores = {name: net(data).asnumpy()[0] for name, net in nets.items()}
            differ = difference(scores["eager"], scores["fused"])
            worst = max(worst, differ)
            timing = interleave(
                {name: inference(net, data) for name, net in nets.items()},
                arguments.rounds,
                _WARMUP,
                lambda: progress.advance(task),
            )
            timings.append(timing)
            table.add_row(
                photo,
                ", ".join(f"{classes[i]} {share:.0%}" for i, share in _top(scores["fused"], _TOP)),
                ", ".join(f"{classes[i]} {share:.0%}" for i, share in _top(scores["int8"], 1)),
                f"{differ:.1e}",
                *(f"{timing[name].median_ms:.1f}" for name in nets),
            )
    console = make_console()
    console.print(table)
    total = {name: sum(timing[name].median_ms for timing in timings) for name in nets}
    console.print(
        f"Largest difference between eager and fused: {worst:.1e} of the largest output. "
        f"Fused is {total['eager'] / total['fused']:.2f} × as fast as eager, "
        f"int8 {total['fused'] / total['int8']:.2f} × as fast as fused "
        f"(medians of {arguments.rounds} rounds, in turns).",
        soft_wrap=True,
    )
    return 0


def _make(vision: Any) -> Any:
    try:
        return vision.get_model(_MODEL, pretrained=True)
    except ImportError as error:
        raise ImportError(f"{error} or, with all that the demo needs, pip install 'minidnn[demo]'") from None


def _top(scores: np.ndarray[Any, Any], count: int) -> list[tuple[int, float]]:
    """The `count` likeliest classes and their probabilities, from scores ``(classes,)``."""
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    return [(int(i), float(shares[i])) for i in np.argsort(-shares)[:count]]
