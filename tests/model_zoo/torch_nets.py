"""The zoo's networks written once more, as functions of torch over a dict of parameters: the tests' reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

__all__ = ["efficientnet_lite", "mobilenet", "mobilenet_v2", "parameters_of", "randomize", "resnet"]

Params = Mapping[str, torch.Tensor]


def parameters_of(net: Any) -> dict[str, torch.Tensor]:
    """Our network's parameters, by our names."""
    return {name: torch.from_numpy(p.data().asnumpy()) for name, p in net.collect_params().items()}


def _conv(p: Params, name: str, x: torch.Tensor, stride: int = 1, groups: int = 1) -> torch.Tensor:
    weight = p[f"{name}.weight"]
    return F.conv2d(x, weight, p.get(f"{name}.bias"), stride, weight.shape[-1] // 2, groups=groups)


def _bn(p: Params, name: str, x: torch.Tensor) -> torch.Tensor:
    mean, var = p[f"{name}.running_mean"], p[f"{name}.running_var"]
    return F.batch_norm(x, mean, var, p.get(f"{name}.gamma"), p.get(f"{name}.beta"), eps=1e-5)


def _dense(p: Params, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x.flatten(1), p[f"{name}.weight"], p.get(f"{name}.bias"))


def _blocks(p: Params, stage: str) -> int:
    return 1 + max(int(name.split(".")[2]) for name in p if name.startswith(f"{stage}."))


def resnet(p: Params, x: torch.Tensor, version: int, bottleneck: bool) -> torch.Tensor:
    start = version - 1  # version 2 normalizes its input
    if version == 2:  # without a scale; the offset of a layer made with center=False is a constant, 0 unless it is set
        x = _bn({**p, "features.0.gamma": torch.ones(3)}, "features.0", x)
    x = _bn(p, f"features.{start + 1}", _conv(p, f"features.{start}", x, 2)).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    for i in range(4):
        stage = f"features.{start + 4 + i}"
        for j in range(_blocks(p, stage)):
            block = _block_v1 if version == 1 else _block_v2
            x = block(p, f"{stage}.{j}", x, 2 if i and j == 0 else 1, bottleneck)
    if version == 2:
        x = _bn(p, "features.9", x).relu()
    return _dense(p, "output", x.mean((2, 3)))


def _block_v1(p: Params, name: str, x: torch.Tensor, stride: int, bottleneck: bool) -> torch.Tensor:
    y = _bn(p, f"{name}.body.1", _conv(p, f"{name}.body.0", x, stride)).relu()
    y = _bn(p, f"{name}.body.4", _conv(p, f"{name}.body.3", y))
    if bottleneck:
        y = _bn(p, f"{name}.body.7", _conv(p, f"{name}.body.6", y.relu()))
    if f"{name}.downsample.0.weight" in p:
        x = _bn(p, f"{name}.downsample.1", _conv(p, f"{name}.downsample.0", x, stride))
    return (x + y).relu()


def _block_v2(p: Params, name: str, x: torch.Tensor, stride: int, bottleneck: bool) -> torch.Tensor:
    y = _bn(p, f"{name}.bn1", x).relu()
    shortcut = _conv(p, f"{name}.downsample", y, stride) if f"{name}.downsample.weight" in p else x
    strides = (1, stride, 1) if bottleneck else (stride, 1)
    for i, s in enumerate(strides, 1):
        y = _conv(p, f"{name}.conv{i}", y if i == 1 else _bn(p, f"{name}.bn{i}", y).relu(), s)
    return y + shortcut


_V1_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


def mobilenet(p: Params, x: torch.Tensor) -> torch.Tensor:
    x = _bn(p, "features.1", _conv(p, "features.0", x, 2)).relu()
    for i, stride in enumerate(_V1_STRIDES):
        at = 3 + 6 * i
        x = _bn(p, f"features.{at + 1}", _conv(p, f"features.{at}", x, stride, groups=x.shape[1])).relu()
        x = _bn(p, f"features.{at + 4}", _conv(p, f"features.{at + 3}", x)).relu()
    return _dense(p, "output", x.mean((2, 3)))


_V2_STRIDES = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)


def mobilenet_v2(p: Params, x: torch.Tensor) -> torch.Tensor:
    x = F.relu6(_bn(p, "features.1", _conv(p, "features.0", x, 2)))
    for i, stride in enumerate(_V2_STRIDES, 3):
        out = f"features.{i}.out"
        y = F.relu6(_bn(p, f"{out}.1", _conv(p, f"{out}.0", x)))
        y = F.relu6(_bn(p, f"{out}.4", _conv(p, f"{out}.3", y, stride, groups=y.shape[1])))
        y = _bn(p, f"{out}.7", _conv(p, f"{out}.6", y))
        x = x + y if x.shape == y.shape else y
    x = F.relu6(_bn(p, "features.21", _conv(p, "features.20", x)))
    return _conv(p, "output.0", x.mean((2, 3), keepdim=True)).flatten(1)


# stride of each block of EfficientNet-Lite0
_LITE0_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)


def efficientnet_lite(p: Params, x: torch.Tensor) -> torch.Tensor:
    """EfficientNet-Lite0 over the names of the published checkpoint, with TensorFlow's "same" padding."""
    x = _tf_norm(p, "_bn0", _tf_conv(p, "_conv_stem", x, 2)).clamp(0, 6)
    for i, stride in enumerate(_LITE0_STRIDES):
        block, y = f"_blocks.{i}", x
        if f"{block}._expand_conv.weight" in p:
            y = _tf_norm(p, f"{block}._bn0", _tf_conv(p, f"{block}._expand_conv", y)).clamp(0, 6)
        y = _tf_conv(p, f"{block}._depthwise_conv", y, stride, groups=y.shape[1])
        y = _tf_norm(p, f"{block}._bn1", y).clamp(0, 6)
        y = _tf_norm(p, f"{block}._bn2", _tf_conv(p, f"{block}._project_conv", y))
        x = x + y if x.shape == y.shape else y
    x = _tf_norm(p, "_bn1", _tf_conv(p, "_conv_head", x)).clamp(0, 6)
    return F.linear(x.mean((2, 3)), p["_fc.weight"], p["_fc.bias"])


def _tf_conv(p: Params, name: str, x: torch.Tensor, stride: int = 1, groups: int = 1) -> torch.Tensor:
    weight = p[f"{name}.weight"]
    pads = []
    for size in reversed(x.shape[2:]):
        total = max((math.ceil(size / stride) - 1) * stride + weight.shape[-1] - size, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), weight, None, stride, groups=groups)


def _tf_norm(p: Params, name: str, x: torch.Tensor) -> torch.Tensor:
    q = {part: p[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")}
    return F.batch_norm(x, q["running_mean"], q["running_var"], q["weight"], q["bias"], eps=1e-3)


def randomize(net: Any, data: Any, seed: int = 0) -> None:
    """Give every parameter random values that keep the activations' magnitude, running statistics included."""
    rng = np.random.default_rng(seed)
    net.initialize()
    net.infer_shape(data)
    for name, parameter in net.collect_params().items():
        leaf, shape = name.rpartition(".")[2], parameter.shape
        if leaf == "weight":
            value = rng.standard_normal(shape) * math.sqrt(2 / np.prod(shape[1:]))
        elif leaf in ("running_var", "gamma"):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.standard_normal(shape) * 0.1
        parameter.set_data(value.astype(np.float32))
