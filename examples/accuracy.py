"""The accuracy of a network in float32, fused, and in int8 by two kinds of calibration: the article's test_accuracy.

pip install '.[data,pretrained]' scikit-learn
python accuracy.py                # handwritten digits that scikit-learn brings
python accuracy.py val.rec        # EfficientNet-Lite0 on a record file of ImageNet
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import HybridBlock, nn
from minidnn.gluon.data import ArrayDataset, DataLoader
from minidnn.gluon.data.vision import ImageRecordDataset, transforms
from minidnn.gluon.model_zoo.vision import efficientnet_lite0


def imagenet(record: str, batch_size: int) -> tuple[HybridBlock, DataLoader]:
    """EfficientNet-Lite0 with its weights, and the images of a record file as it wants them."""
    transformer = transforms.Compose(
        [
            transforms.Resize(256, keep_ratio=True),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(mean=127 / 255, std=128 / 255),
        ]
    )
    dataset = ImageRecordDataset(record).transform_first(transformer)
    return efficientnet_lite0(pretrained=True), DataLoader(dataset, batch_size, shuffle=True)


def digits(batch_size: int) -> tuple[HybridBlock, DataLoader]:
    """A network that knows digits of 8 × 8 pixels, and 797 that it has not seen.

    Its convolutions are random. The last layer is fitted to what they give for 1000 other digits by least squares, so
    that no gradient is needed.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    images, labels = (data.images[:, None] / 16).astype(np.float32), data.target

    mx.random.seed(0)
    features = nn.HybridSequential()
    for channels in (32, 64):
        features.add(nn.Conv2D(channels, kernel_size=3, padding=1, use_bias=False), nn.BatchNorm())
        features.add(nn.Activation("relu"), nn.MaxPool2D(2, 2))
    features.add(nn.Flatten())
    last = nn.Dense(10, in_units=64 * 2 * 2)
    net = nn.HybridSequential()
    net.add(features, last)
    net.initialize(mx.init.MSRAPrelu())

    seen = features(mx.np.array(images[:1000])).asnumpy()
    seen = np.concatenate([seen, np.ones((len(seen), 1))], axis=1)
    wanted = 2 * np.eye(10)[labels[:1000]] - 1
    weights = np.linalg.solve(seen.T @ seen + 0.1 * np.eye(seen.shape[1]), seen.T @ wanted).astype(np.float32)
    last.weight.set_data(mx.np.array(weights[:-1].T))
    last.bias.set_data(mx.np.array(weights[-1]))
    return net, DataLoader(ArrayDataset(images[1000:], labels[1000:]), batch_size)


def test_accuracy(net: HybridBlock, data_loader: DataLoader, description: str) -> None:
    """Print one line: the share of images with the right class first, and among the first five."""
    top1, top5 = mx.gluon.metric.Accuracy(), mx.gluon.metric.TopKAccuracy(5)
    count, start = 0, time.perf_counter()
    for x, label in data_loader:
        count += 1
        output = net(x)
        top1.update(label, output)
        top5.update(label, output)
    seconds = time.perf_counter() - start
    print(
        f"{description:12} Top1 Accuracy: {top1.get()[1]:.4f} Top5 Accuracy: {top5.get()[1]:.4f} "
        f"from {count:4} batches in {seconds:8.2f}s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("record", nargs="?", metavar="FILE", help="a record file of ImageNet (default: digits)")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N")
    parser.add_argument("--calibrate", type=int, default=10, metavar="N", help="batches to calibrate on (default: 10)")
    arguments = parser.parse_args()

    size = arguments.batch_size
    net, data = imagenet(arguments.record, size) if arguments.record else digits(size)
    test_accuracy(net, data, "FP32")
    example, _ = next(iter(data))
    net.optimize_for(example, backend="ONEDNN")
    test_accuracy(net, data, "FP32 fused")
    for mode in ("naive", "entropy"):
        qnet = quantize_net(net, calib_mode=mode, calib_data=data, num_calib_batches=arguments.calibrate)
        test_accuracy(qnet, data, f"INT8 {mode.capitalize()}")


if __name__ == "__main__":
    main()
