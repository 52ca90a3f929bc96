"""The networks that the package onnx carries: light versions of classic ones, and what PyTorch once exported."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_models import Array, by_references, run

import minidnn as mx

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
# Strings, sequences and gradients.
_OTHERS = re.compile("test_(sequence_|strnorm_|gradient_).*")
FOLDERS = [
    path
    for kind in ("simple", "pytorch-operator", "pytorch-converted")
    for path in sorted((DATA / kind).iterdir())
    if not _OTHERS.fullmatch(path.name)
]
LIGHT = sorted(path.name for path in (DATA / "light").glob("*.onnx"))


def read_tensor(path: Path) -> Array:
    proto = onnx.TensorProto()
    proto.ParseFromString(path.read_bytes())
    return onnx.numpy_helper.to_array(proto)


def numbered(folder: Path, kind: str) -> list[Array]:
    files = sorted(folder.glob(f"{kind}_*.pb"), key=lambda path: int(path.stem.rpartition("_")[2]))
    return list(map(read_tensor, files))


def what_is_wrong(folder: Path, compute: Any) -> str | None:
    try:
        net = mx.onnx.import_model(folder / "model.onnx")
        for data in sorted(folder.glob("test_data_set_*")):
            results = compute(net, *numbered(data, "input"))
            for got, wanted in zip(results, numbered(data, "output"), strict=True):
                np.testing.assert_allclose(got, wanted, 1e-3, 1e-5)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    return None


def test_the_rules_do_what_pytorch_exported() -> None:
    assert len(FOLDERS) > 120
    assert {f.name: wrong for f in FOLDERS if (wrong := what_is_wrong(f, by_references)) is not None} == {}


def test_compiled_networks_do_a_sample_of_it() -> None:
    assert {f.name: wrong for f in FOLDERS[::6] if (wrong := what_is_wrong(f, run)) is not None} == {}


def check_light(name: str) -> None:
    """Outputs for the input that ONNX's own tests use: a ramp from 0 to 1."""
    net = mx.onnx.import_model(DATA / "light" / name)
    ramps = []
    for port in net._model.inputs:
        shape = [n if isinstance(n, int) else 1 for n in port.shape or ()]
        ramps.append((np.arange(np.prod(shape)) / np.prod(shape)).astype(np.float32).reshape(shape))
    net.hybridize(backend="MINIDNN")
    (wanted,) = (read_tensor(path) for path in (DATA / "light").glob(f"{Path(name).stem}_output_*.pb"))
    np.testing.assert_allclose(run(net, *ramps)[0], wanted, 1e-3, 1e-5)


def test_a_light_network() -> None:
    check_light("light_squeezenet.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT)
def test_light_networks(name: str) -> None:
    check_light(name)
