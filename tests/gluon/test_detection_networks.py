"""Detectors and a segmentation network give the same eagerly, fused and for other sizes, and nearly so in int8."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import SymbolBlock
from minidnn.gluon.data import ArrayDataset, DataLoader

EXAMPLE = Path(__file__).parents[2] / "examples" / "detection.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("detection_example", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def first_rows(result: np.ndarray) -> np.ndarray:
    """Of detections the three best of each sample, which rounding does not make others."""
    return result[:, :3] if result.ndim == 3 else result


@pytest.mark.parametrize("name", ["ssd", "yolo", "segmentation"])
def test_a_network_runs_three_ways_and_exported(name: str, example: ModuleType, tmp_path: Path) -> None:
    mx.random.seed(5)
    net = example.NETWORKS[name]()
    net.initialize(mx.init.Xavier(magnitude=2))
    pictures = mx.np.random.uniform(-1, 1, (2, 3, 48, 48))
    wide = mx.np.random.uniform(-1, 1, (1, 3, 32, 64))
    eager = [first_rows(net(x).asnumpy()) for x in (pictures, wide)]
    net.optimize_for(pictures)
    fused = [first_rows(net(x).asnumpy()) for x in (pictures, wide)]
    for a, b in zip(fused, eager, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
    net.export(tmp_path / "net")
    again = SymbolBlock.imports(tmp_path / "net-symbol.json", ["data"], tmp_path / "net-0000.params")
    np.testing.assert_allclose(first_rows(again(wide).asnumpy()), eager[1], rtol=1e-3, atol=1e-3)
    loader = DataLoader(ArrayDataset(pictures, np.zeros(2, np.float32)), 2)
    int8 = quantize_net(net, calib_data=loader, calib_mode="naive")(pictures).asnumpy()
    assert int8.shape[0] == 2
    if name == "segmentation":
        assert np.abs(int8 - eager[0]).max() < 0.1 * np.abs(eager[0]).max()
    else:
        np.testing.assert_allclose(int8[:, 0, 1], eager[0][:, 0, 1], atol=0.02)
