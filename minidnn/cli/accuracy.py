"""``minidnn accuracy MODEL DATA``: how often a network is right, in float32, fused, and in int8."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import minidnn as mx
from minidnn.cli.arguments import add_threads, positive, use_threads
from minidnn.cli.console import make_progress
from minidnn.cli.datasets import Samples, SpreadBatches, open_samples
from minidnn.cli.networks import (
    add_preparation,
    add_source,
    fixed_batch,
    get_preparation,
    is_quantized,
    load_network,
    make_bf16,
    make_int8,
)
from minidnn.errors import DataError
from minidnn.gluon.metric import Accuracy, TopKAccuracy

__all__ = ["DESCRIPTION", "SUMMARY", "add_arguments", "run"]

SUMMARY = "measure a network's accuracy in float32, fused, and in int8"
DESCRIPTION = (
    "Measure top-1 and top-5 accuracy on labelled data: in float32 (one kernel an operator), fused (optimize_for), and "
    "in int8 with ranges calibrated by minimum and maximum (naive) and by entropy. A network that is quantized already "
    "is measured as it is. The time is that of all batches, reading them included, compiling not."
)
_LINE = "{:12} Top1 Accuracy: {:.4f} Top5 Accuracy: {:.4f} from {:4} batches in {:8.2f}s"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    parser.add_argument(
        "data",
        type=Path,
        metavar="DATA",
        help="a folder with a folder of images for each class, in the order of the classes or named by their numbers; "
        "a .rec file of images, as MXNet and 'minidnn im2rec' write it; or an .npz file with samples x and class "
        "numbers y",
    )
    parser.add_argument("--batch", type=positive, default=64, metavar="N", help="samples at a time (default: 64)")
    parser.add_argument(
        "--calib",
        type=positive,
        default=10,
        metavar="N",
        help="batches to calibrate int8 on, spread evenly over DATA (default: 10)",
    )
    parser.add_argument("--bf16", action="store_true", help="measure it with weights in bfloat16, too")
    add_threads(parser)
    add_preparation(parser)


def run(arguments: argparse.Namespace) -> int:
    use_threads(arguments)
    samples = open_samples(arguments.data, get_preparation(arguments), labelled=True)
    net = load_network(arguments.model, arguments.params, arguments.key)
    batch = fixed_batch(arguments.model) or min(arguments.batch, len(samples))
    example = mx.np.array(samples.read(np.resize(np.arange(len(samples)), batch)))
    if is_quantized(arguments.model):
        if arguments.bf16:
            raise DataError(f"{arguments.model.file}: the network is quantized already; leave --bf16 out")
        variants = iter([("INT8", net)])
    else:
        variants = _variants(net, example, SpreadBatches(samples, batch, arguments.calib), arguments.bf16)
    for description, variant in variants:
        _check_output(variant(example), samples)
        print(_measure(variant, samples, batch, description), flush=True)
    return 0


def _variants(net: Any, example: Any, calibration: SpreadBatches, bf16: bool) -> Iterator[tuple[str, Any]]:
    """The network in each form; one is done with before the next is asked for, which may change it."""
    yield "FP32", net
    net.optimize_for(example)
    yield "FP32 fused", net
    if bf16:
        yield "BF16", make_bf16(net, (example,))
    for mode in ("naive", "entropy"):
        quantized = make_int8(net, calibration, mode)
        quantized.hybridize(static_alloc=True, static_shape=True)
        yield f"INT8 {mode.capitalize()}", quantized


def _check_output(scores: Any, samples: Samples) -> None:
    shape = getattr(scores, "shape", None)
    if shape is None or len(shape) != 2:
        got = f"{len(scores)} outputs" if shape is None else f"an output {shape}"
        raise DataError(f"scores (N, classes) are wanted; the network gives {got}")
    samples.check_classes(shape[1])


def _measure(net: Callable[[Any], Any], samples: Samples, batch: int, description: str) -> str:
    """The line of one network over all samples."""
    top1, top5 = Accuracy(), TopKAccuracy(5)
    labels = samples.labels
    assert labels is not None
    starts = range(0, len(samples), batch)
    with make_progress() as progress:
        tic = time.perf_counter()
        for start in progress.track(starts, description=description):
            rows = np.arange(start, min(start + batch, len(samples)))
            # The last batch is filled up: another shape would have to be compiled.
            filled = np.pad(rows, (0, batch - len(rows)), "edge")
            scores = net(mx.np.array(samples.read(filled))).asnumpy()[: len(rows)]
            for metric in (top1, top5):
                metric.update(labels[rows], scores)
        elapsed = time.perf_counter() - tic
    return _LINE.format(description, top1.get()[1], top5.get()[1], len(starts), elapsed)
