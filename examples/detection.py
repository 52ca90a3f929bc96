"""Small networks that detect and segment, as Gluon users write them: in float32, fused, and in int8.

pip install .
python detection.py               # all three: a single-shot detector (SSD), YOLO, and a segmentation network
python detection.py ssd --size 96

Weights are random: the networks show what runs, and how far int8 is from float32, not what is in a picture.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

import minidnn as mx
from minidnn import npx
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import HybridBlock, nn
from minidnn.gluon.data import ArrayDataset, DataLoader


def down(channels: int) -> HybridBlock:
    """A convolution, normalized and rectified, that halves height and width."""
    block = nn.HybridSequential()
    block.add(nn.Conv2D(channels, 3, strides=2, padding=1, use_bias=False), nn.BatchNorm(), nn.Activation("relu"))
    return block


class SSD(HybridBlock):
    """Classes and boxes of anchors on two scales (Liu et al., 2016)."""

    def __init__(self, classes: int = 3, sizes: Sequence[float] = (0.2, 0.4), ratios: Sequence[float] = (1, 2)) -> None:
        super().__init__()
        self._classes, self._sizes, self._ratios = classes, sizes, ratios
        each = len(sizes) + len(ratios) - 1
        self.stem = nn.HybridSequential()
        self.stem.add(down(16), down(32))
        self.scales, self.kinds, self.boxes = (nn.HybridSequential() for _ in range(3))
        for _ in range(2):
            self.scales.add(down(32))
            self.kinds.add(nn.Conv2D(each * (classes + 1), 3, padding=1))
            self.boxes.add(nn.Conv2D(each * 4, 3, padding=1))

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        anchors, kinds, boxes = [], [], []
        for scale, (step, kind, box) in enumerate(zip(self.scales, self.kinds, self.boxes, strict=True)):
            x = step(x)
            sizes = [s * (scale + 1) for s in self._sizes]
            anchors.append(npx.multibox_prior(x, sizes=sizes, ratios=self._ratios))
            kinds.append(npx.reshape(kind(x).transpose((0, 2, 3, 1)), (-2, -1, self._classes + 1)))
            boxes.append(npx.batch_flatten(box(x).transpose((0, 2, 3, 1))))
        scores = npx.softmax(mx.np.concatenate(kinds, 1), axis=-1).transpose((0, 2, 1))
        moves = mx.np.concatenate(boxes, 1)
        return npx.multibox_detection(scores, moves, mx.np.concatenate(anchors, 1), nms_threshold=0.45)


class YOLO(HybridBlock):
    """Boxes of each cell of a grid, seen from anchors in pixels (Redmon and Farhadi, 2018)."""

    def __init__(self, classes: int = 3, anchors: Sequence[tuple[int, int]] = ((10, 13), (33, 23))) -> None:
        super().__init__()
        self._classes, self._count, self._stride = classes, len(anchors), 8
        self.anchors = mx.gluon.Constant(np.array(anchors, np.float32).reshape(1, -1, 2, 1, 1))
        self.body = nn.HybridSequential()
        self.body.add(down(16), down(32), down(32), nn.Conv2D(len(anchors) * (classes + 5), 1))

    def forward(self, x: Any) -> Any:
        y = npx.reshape(self.body(x), (-2, -6, self._count, self._classes + 5, -2, -2))
        columns = npx.arange_like(y, axis=4).reshape((1, 1, 1, 1, -1))
        rows = npx.arange_like(y, axis=3).reshape((1, 1, 1, -1, 1))
        center_x = (npx.sigmoid(y[:, :, 0:1]) + columns) * self._stride
        center_y = (npx.sigmoid(y[:, :, 1:2]) + rows) * self._stride
        sizes = mx.np.exp(y[:, :, 2:4]) * self.anchors.data()
        scores = npx.sigmoid(y[:, :, 4:5]) * npx.sigmoid(y[:, :, 5:])
        best, kind = scores.max(2, keepdims=True), scores.argmax(2).astype("float32")
        rows_of = mx.np.concatenate([mx.np.expand_dims(kind, 2), best, center_x, center_y, sizes], 2)
        boxes = npx.reshape(rows_of.transpose((0, 1, 3, 4, 2)), (-2, -1, 6))
        return npx.box_nms(boxes, 0.45, 0.01, topk=100, id_index=0, in_format="center", out_format="corner")


class Segmentation(HybridBlock):
    """A class for each pixel: means on several scales beside the features (Zhao et al., PSPNet, 2017)."""

    def __init__(self, classes: int = 4, bins: Sequence[int] = (1, 2, 3)) -> None:
        super().__init__()
        self._bins = bins
        self.body, self.reduced = nn.HybridSequential(), nn.HybridSequential()
        self.body.add(down(16), down(32), down(32))
        for _ in bins:
            self.reduced.add(nn.Conv2D(8, 1))
        self.head = nn.HybridSequential()
        self.head.add(nn.Conv2D(32, 3, padding=1), nn.Activation("relu"), nn.Conv2D(classes, 1))

    def forward(self, x: Any) -> Any:
        features = self.body(x)
        parts = [features]
        for size, reduce in zip(self._bins, self.reduced, strict=True):
            means = reduce(npx.adaptive_avg_pooling_2d(features, size))
            parts.append(npx.bilinear_resize_2d(means, features, mode="like"))
        return npx.bilinear_resize_2d(self.head(mx.np.concatenate(parts, 1)), x, mode="like")


NETWORKS = {"ssd": SSD, "yolo": YOLO, "segmentation": Segmentation}


def summary(name: str, result: np.ndarray) -> str:
    """What a network has found."""
    if name == "segmentation":
        return f"{len(np.unique(result.argmax(1)))} classes in {result.shape[2]} x {result.shape[3]} pixels"
    return f"{int((result[..., 0] >= 0).sum())} boxes, the best of score {result[..., 1].max():.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", choices=[*NETWORKS, []], help="which of them (default: all)")
    parser.add_argument("--size", type=int, default=64, metavar="PIXELS", help="height and width of the pictures")
    arguments = parser.parse_args()

    mx.random.seed(3)
    pictures = mx.np.random.uniform(-1.0, 1.0, (4, 3, arguments.size, arguments.size))
    for name in arguments.networks or NETWORKS:
        net = NETWORKS[name]()
        net.initialize(mx.init.Xavier(magnitude=2))
        eager = net(pictures).asnumpy()
        net.optimize_for(pictures)
        fused = net(pictures).asnumpy()
        # A score that is nearly another one's may change places with it: what is compared is not their order.
        apart = np.abs(np.sort(eager, None) - np.sort(fused, None)).max()
        loader = DataLoader(ArrayDataset(pictures, np.zeros(4, np.float32)), 2)
        int8 = quantize_net(net, calib_data=loader, calib_mode="naive")(pictures).asnumpy()
        print(f"{name:<13} float32  {summary(name, eager)}")
        print(f"{name:<13} fused    {summary(name, fused)}, at most {apart:.4f} away")
        print(f"{name:<13} int8     {summary(name, int8)}")


if __name__ == "__main__":
    main()
