"""The article's accuracy script: its lines, a smaller network and a record file of twelve photos."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from data_helpers import PHOTOS

import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import nn
from minidnn.gluon.data.vision import transforms


def small_network() -> nn.HybridSequential:
    mx.random.seed(0)
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(8, 3, 4, in_channels=3),
        nn.BatchNorm(in_channels=8),
        nn.Activation("relu"),
        nn.GlobalAvgPool2D(),
        nn.Dense(10, in_units=8),
    )
    net.initialize(mx.init.Xavier())
    return net


@pytest.fixture
def path_to_imagenet(tmp_path: Path) -> Path:
    photos = mx.recordio.MXIndexedRecordIO(PHOTOS.with_suffix(".idx"), PHOTOS, "r")
    with mx.recordio.MXIndexedRecordIO(tmp_path / "val.idx", tmp_path / "val.rec", "w") as packed:
        for key in photos.keys:
            _, encoded = mx.recordio.unpack(photos.read_idx(key))
            packed.write_idx(key, mx.recordio.pack(mx.recordio.IRHeader(0, key % 10, key, 0), encoded))
    return tmp_path


@pytest.mark.parametrize("workers", [{}, {"num_workers": 2}, {"num_workers": 2, "thread_pool": True}])
def test_the_accuracy_script_runs(
    path_to_imagenet: Path, capsys: pytest.CaptureFixture[str], workers: dict[str, Any]
) -> None:
    def test_accuracy(net: Any, data_loader: Any, description: str) -> tuple[float, float]:
        acc_top1 = mx.gluon.metric.Accuracy()
        acc_top5 = mx.gluon.metric.TopKAccuracy(5)
        count = 0
        tic = time.time()
        for x, label in data_loader:
            count += 1
            output = net(x)
            acc_top1.update(label, output)
            acc_top5.update(label, output)
        time_spend = time.time() - tic
        _, top1 = acc_top1.get()
        _, top5 = acc_top5.get()
        accuracy = f"Top1 Accuracy: {top1:.4f} Top5 Accuracy: {top5:.4f}"
        print(f"{description:12} {accuracy} from {count:4} batches in {time_spend:8.2f}s")
        return top1, top5

    rgb_mean = (0.485, 0.456, 0.406)
    rgb_std = (0.229, 0.224, 0.225)
    batch_size = 8

    dataset = mx.gluon.data.vision.ImageRecordDataset(path_to_imagenet / "val.rec")
    transformer = transforms.Compose(
        [
            transforms.Resize(48),
            transforms.CenterCrop(40),
            transforms.ToTensor(),
            transforms.Normalize(mean=rgb_mean, std=rgb_std),
        ]
    )
    val_data = mx.gluon.data.DataLoader(dataset.transform_first(transformer), batch_size, shuffle=True, **workers)

    net = small_network()
    net.hybridize(static_alloc=True, static_shape=True)
    plain = test_accuracy(net, val_data, "FP32")

    dummy_data = mx.np.random.uniform(-1.0, 1.0, (batch_size, 3, 40, 40))
    net.optimize_for(dummy_data, backend="ONEDNN", static_alloc=True, static_shape=True)
    assert test_accuracy(net, val_data, "FP32 fused") == plain

    for mode in ("naive", "entropy"):
        qnet = quantize_net(net, calib_mode=mode, calib_data=val_data, num_calib_batches=10)
        qnet.hybridize(static_alloc=True, static_shape=True)
        test_accuracy(qnet, val_data, f"INT8 {mode}")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" Top1")[0].strip() for line in lines] == ["FP32", "FP32 fused", "INT8 naive", "INT8 entropy"]
    assert all("from    2 batches" in line for line in lines)
