"""A small network on disk, and data it gets right by construction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import minidnn as mx
from minidnn.gluon import nn

__all__ = ["CLASSES", "SHAPE", "export", "write_samples"]

CLASSES = 7
SHAPE = (3, 8, 8)


def export(folder: Path, name: str = "small") -> Any:
    """Write a convolutional network with random weights to `folder` and return it."""
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(8, 3, 1, 1, use_bias=False, in_channels=SHAPE[0]),
        nn.BatchNorm(in_channels=8),
        nn.Activation("relu"),
        nn.MaxPool2D(2, 2),
        nn.Conv2D(12, 3, in_channels=8),
        nn.Activation("relu"),
        nn.GlobalAvgPool2D(),
        nn.Dense(CLASSES, in_units=12),
    )
    random = np.random.default_rng(0)
    net.load_dict(
        {
            key: mx.np.array(
                np.abs(random.standard_normal(p.shape)) if key.endswith("var") else random.standard_normal(p.shape)
            )
            for key, p in net.collect_params().items()
        }
    )
    net.hybridize()
    net(mx.np.zeros((1, *SHAPE)))
    folder.mkdir(parents=True, exist_ok=True)
    net.export(folder / name)
    return net


def write_samples(
    path: Path, net: Any, count: int, wrong: int = 0
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Write an array file of random samples, all but the last `wrong` of which the network gets right.

    The wrong labels are the least likely classes, which are not among the five likeliest.
    """
    x = np.random.default_rng(1).standard_normal((count, *SHAPE)).astype(np.float32)
    order = np.argsort(net(mx.np.array(x)).asnumpy(), 1)
    y = np.where(np.arange(count) < count - wrong, order[:, -1], order[:, 0])
    np.savez(path, x=x, y=y)
    return x, y
