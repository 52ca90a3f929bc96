"""Time a network of the zoo eager, fused and in int8: the article's benchmark_net.

    pip install .
    python benchmark.py resnet50_v1 --batch-size 8 --batches 20

Weights are random: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import time

import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import HybridBlock
from minidnn.gluon.model_zoo.vision import get_model


def benchmark_net(net: HybridBlock, data: mx.np.ndarray, batches: int, warmup_batches: int = 2) -> float:
    """Seconds for `batches` batches; those of the warm-up, which compile, do not count."""
    for i in range(batches + warmup_batches):
        if i == warmup_batches:
            start = time.perf_counter()
        net(data).wait_to_read()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?", default="resnet50_v1", help="a network of the zoo (default: resnet50_v1)")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N")
    parser.add_argument("--batches", type=int, default=20, metavar="N", help="how many are timed")
    parser.add_argument("--size", type=int, default=224, metavar="PIXELS", help="height and width of the images")
    arguments = parser.parse_args()

    data = mx.np.random.uniform(-1.0, 1.0, (arguments.batch_size, 3, arguments.size, arguments.size))
    net = get_model(arguments.model)
    net.initialize(mx.init.MSRAPrelu())
    images = arguments.batch_size * arguments.batches

    def report(description: str, net: HybridBlock) -> None:
        seconds = benchmark_net(net, data, arguments.batches)
        print(f"{description:8} {seconds / arguments.batches * 1e3:9.2f} ms a batch {images / seconds:9.1f} images/s")

    report("eager", net)
    int8 = quantize_net(net, calib_mode="naive", calib_data=[data])
    net.optimize_for(data, backend="ONEDNN")
    report("fused", net)
    report("int8", int8)


if __name__ == "__main__":
    main()
