"""`load_weights` knows from the content whose names a file has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision_nets

import minidnn as mx
from minidnn.errors import DataError
from minidnn.gluon.model_zoo import vision
from minidnn.interop import load_weights


def make(name: str) -> Any:
    return vision.get_model(name, classes=10, **({"torchvision": True} if name.startswith("mobilenetv2") else {}))


@pytest.mark.parametrize("name", ["resnet18_v1b", "resnet18_v1", "squeezenet1.1", "mobilenetv2_1.0"])
@pytest.mark.parametrize("ending", [".pth", ".safetensors", ".params"])
def test_every_kind_of_file_fills_the_network_whatever_it_is_called(tmp_path: Path, name: str, ending: str) -> None:
    build, size = torchvision_nets.NETWORKS[name]
    reference = torchvision_nets.randomize(build(10))
    data = np.random.default_rng(5).standard_normal((1, 3, size, size)).astype(np.float32)
    with torch.inference_mode():
        wanted = reference(torch.from_numpy(data)).numpy()

    torch.save(reference.state_dict(), tmp_path / f"zip{ending}")
    torch.save(reference.state_dict(), tmp_path / f"legacy{ending}", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(reference.state_dict(), tmp_path / f"tensors{ending}")
    net = make(name)
    load_weights(net, tmp_path / f"zip{ending}")
    net.save_parameters(tmp_path / f"own{ending}")
    arrays = {key: p.data() for key, p in net.collect_params().items()}
    for format in ("mxnet", "mxnet1"):
        mx.npx.save(
            tmp_path / f"{format}{ending}", {f"arg:{key}": array for key, array in arrays.items()}, format=format
        )

    for path in sorted(tmp_path.iterdir()):
        net = make(name)
        load_weights(net, path)
        found = net(mx.np.array(data)).asnumpy()
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max(), err_msg=str(path))


def test_a_header_whose_length_looks_like_a_pickle_is_none(tmp_path: Path) -> None:
    net = vision.squeezenet1_1(classes=10)
    net.initialize()
    net.infer_shape(mx.np.zeros((1, 3, 224, 224)))
    for length in range(32):  # padded to a multiple of eight bytes
        path = tmp_path / "padded"
        safetensors.torch.save_file(
            {name: torch.from_numpy(p.data().asnumpy()) for name, p in net.collect_params().items()},
            path,
            {"pad": "x" * 8 * length},
        )
        if path.read_bytes()[:1] == b"\x80":
            break
    else:
        pytest.fail("no length made the first byte 0x80")
    load_weights(vision.squeezenet1_1(classes=10), path)


def test_what_fits_under_no_names_is_refused(tmp_path: Path) -> None:
    torch.save(torchvision_nets.resnet(18, 10).state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(DataError, match=r"resnet18\.pth: not the weights of this VGG: .* missing"):
        load_weights(vision.vgg11(classes=10), tmp_path / "resnet18.pth")
    with pytest.raises(DataError, match="ResNetV2 has MXNet's structure"):
        load_weights(vision.resnet18_v2(classes=10), tmp_path / "resnet18.pth")
    (tmp_path / "broken").write_bytes(b"PK\x03\x04 and no archive")
    with pytest.raises(DataError, match="broken: a damaged archive"):
        load_weights(vision.vgg11(), tmp_path / "broken")
    (tmp_path / "text").write_text("weights")
    with pytest.raises(DataError, match="text"):
        load_weights(vision.vgg11(), tmp_path / "text")
