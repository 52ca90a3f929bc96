"""``minidnn demo``: real photos through a network with real weights, eager and fused."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from minidnn.cli.arguments import add_threads, positive
from minidnn.cli.console import make_console, make_progress
from minidnn.cli.pairs import difference
from minidnn.cli.photos import read_photos
from minidnn.cli.timing import Timing, inference, interleave

__all__ = ["DESCRIPTION", "SUMMARY", "add_arguments", "run"]

SUMMARY = "classify real photos, eager and fused"
DESCRIPTION = (
    "Classify photos with EfficientNet-Lite0 and its ImageNet weights: eager (one kernel an operator) and fused "
    "(optimize_for). Shows the top classes, how far the two outputs differ, and the time an image takes."
)
_MODEL = "efficientnet_lite0"
_TOP = 3
_WARMUP = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=positive, default=10, metavar="N", help="rounds a photo (default: 10)")
    add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    from rich.table import Table

    import minidnn as mx
    from minidnn.gluon.model_zoo import vision

    if arguments.threads is not None:
        mx.set_num_threads(arguments.threads)
    photos = {name: mx.np.array(pixels) for name, pixels in read_photos(vision.get_image_size(_MODEL))}
    nets = {"eager": _make(vision), "fused": _make(vision)}
    table = Table(title=f"{_MODEL}, ImageNet weights, {mx.get_num_threads()} threads")
    for heading in ("photo", "top classes", "difference", "eager ms", "fused ms"):
        table.add_column(heading, justify="left" if heading in ("photo", "top classes") else "right")
    classes = vision.imagenet_classes()
    worst = 0.0
    timings: list[dict[str, Timing]] = []
    with make_progress() as progress:
        task = progress.add_task("compiling", total=len(photos) * (_WARMUP + arguments.rounds))
        nets["fused"].optimize_for(next(iter(photos.values())))
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
                ", ".join(f"{classes[i]} {share:.0%}" for i, share in _top(scores["fused"])),
                f"{differ:.1e}",
                f"{timing['eager'].median_ms:.1f}",
                f"{timing['fused'].median_ms:.1f}",
            )
    console = make_console()
    console.print(table)
    ratio = sum(t["eager"].median_ms for t in timings) / sum(t["fused"].median_ms for t in timings)
    console.print(
        f"Largest difference between eager and fused: {worst:.1e} of the largest output. "
        f"Fused is {ratio:.2f} × as fast (medians of {arguments.rounds} rounds, in turns).",
        soft_wrap=True,
    )
    return 0


def _make(vision: Any) -> Any:
    try:
        return vision.get_model(_MODEL, pretrained=True)
    except ImportError as error:
        raise ImportError(f"{error} or, with all that the demo needs, pip install 'minidnn[demo]'") from None


def _top(scores: np.ndarray[Any, Any]) -> list[tuple[int, float]]:
    """The likeliest classes and their probabilities, from scores ``(classes,)``."""
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    return [(int(i), float(shares[i])) for i in np.argsort(-shares)[:_TOP]]
