"""Where pretrained weights come from: a file in the folder, the hub, or an error that says which file goes where."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import minidnn as mx
from minidnn.errors import DataError
from minidnn.gluon.model_zoo import hub, vision
from minidnn.interop import torch_names

NAME, REPOSITORY = "resnet18_v1b", "timm/resnet18.tv_in1k"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of our own, so that nothing on this machine matters."""
    monkeypatch.setenv("MINIDNN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MXNET_HOME", str(tmp_path / "mxnet"))
    return tmp_path / "home"


def write_weights(path: Path, value: float, name: str = NAME, **options: Any) -> None:
    """A file of torch's names in which every element has that value."""
    net = vision.get_model(name, **options)
    size = vision.get_image_size(name)
    net.infer_shape(mx.np.zeros((1, 3, size, size)))
    shapes = {key: p.shape for key, p in net.collect_params().items()}
    # The first of a tensor's names is torchvision's.
    theirs = {ours: key for key, ours in reversed([*torch_names(net).items()])}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({theirs[key]: np.full(shape, value, np.float32) for key, shape in shapes.items()}, path)


class FakeHub(ModuleType):
    """huggingface_hub with a cache of its own: files by checksum, and links to them."""

    def __init__(self, folder: Path) -> None:
        super().__init__("huggingface_hub")
        self.folder, self.asked = folder, list[tuple[str, str]]()

    def publish(self, source: Path) -> Path:
        blob = self.folder / "blobs" / hashlib.sha256(source.read_bytes()).hexdigest()
        blob.parent.mkdir(parents=True)
        source.rename(blob)
        (self.folder / "model.safetensors").symlink_to(blob)
        return blob

    def hf_hub_download(self, repo_id: str, filename: str) -> str:
        self.asked.append((repo_id, filename))
        return str(self.folder / filename)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    module = FakeHub(tmp_path / "cache")
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return module


def test_weights_come_from_the_hub(tmp_path: Path, fake: FakeHub) -> None:
    write_weights(tmp_path / "new", 0.25)
    fake.publish(tmp_path / "new")
    net = vision.get_model(NAME, pretrained=True)
    assert fake.asked == [(REPOSITORY, "model.safetensors")]
    assert (net.layer4[1].bn2.gamma.data().asnumpy() == 0.25).all()


def test_a_damaged_file_in_the_hubs_cache_is_an_error(tmp_path: Path, fake: FakeHub) -> None:
    write_weights(tmp_path / "new", 0.25)
    blob = fake.publish(tmp_path / "new")
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    with pytest.raises(DataError, match=rf"model\.safetensors: the file is damaged.*delete .*{blob.name}"):
        vision.get_model(NAME, pretrained=True)


def test_a_cache_without_links_is_taken_as_it_is(tmp_path: Path, fake: FakeHub) -> None:
    write_weights(tmp_path / "cache" / "model.safetensors", 0.5)
    net = vision.get_model(NAME, pretrained=True)
    assert (net.fc.bias.data().asnumpy() == 0.5).all()


def test_a_file_in_the_folder_comes_before_the_hub(tmp_path: Path, home: Path, fake: FakeHub) -> None:
    write_weights(home / "models" / f"{NAME}.safetensors", 1)
    write_weights(tmp_path / "root" / f"{NAME}.safetensors", 2)
    assert float(vision.get_model(NAME, pretrained=True).fc.bias.data()[0]) == 1
    assert float(vision.get_model(NAME, pretrained=True, root=tmp_path / "root").fc.bias.data()[0]) == 2
    assert fake.asked == []


def test_without_a_connection_the_error_says_which_file_goes_where(
    home: Path, fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: str) -> str:
        raise FileNotFoundError("Cannot find the requested files in the disk cache.\nMore of it.")

    monkeypatch.setattr(fake, "hf_hub_download", offline)
    with pytest.raises(ConnectionError) as caught:
        vision.get_model(NAME, pretrained=True)
    message = str(caught.value)
    assert message.startswith(f"{NAME}: the pretrained weights cannot be had from the Hugging Face hub (Cannot find")
    assert f"put the file model.safetensors of the hub's repository {REPOSITORY}" in message
    assert f"at {home / 'models' / NAME}.safetensors" in message
    assert f"or MXNet's file {NAME}-*.params into {home / 'models'}" in message
    assert "load_weights(net, 'FILE')" in message
    assert "\n" not in message


def test_without_the_package_the_error_says_how_to_get_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'minidnn\[hub\]', or put the file .*resnet18_v1b\.safetensors"):
        vision.get_model(NAME, pretrained=True)


@pytest.mark.parametrize("name", ["alexnet", "squeezenet1.0", "squeezenet1.1", "mobilenetv3_small"])
def test_networks_without_a_repository_say_which_file_to_put_where(home: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: no repository .*checkpoint of torchvision's at .*{name}\.pth"):
        vision.get_model(name, pretrained=True)
    write_weights(home / "models" / f"{name}.pth", 3, name)  # known as safetensors by its content
    assert (next(iter(vision.get_model(name, pretrained=True).collect_params().values())).data().asnumpy() == 3).all()


@pytest.mark.parametrize("name", sorted({*vision.list_models()} - {*hub.REPOSITORIES}))
def test_every_other_network_says_which_file_to_put_where(
    home: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "files", lambda name: [])
    with pytest.raises((ValueError, ImportError)) as caught:
        vision.get_model(name, pretrained=True)
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert str(home / "models") in message
    assert f"{name}-*.params" in message or f"{name}.pth" in message


def write_mxnets(folder: Path, name: str, value: float) -> Path:
    """A file by our and MXNet's names, in MXNet 1's format, named by its checksum as MXNet names what it downloads."""
    net = vision.get_model(name)
    net.infer_shape(mx.np.zeros((1, 3, 224, 224)))
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {key: mx.np.full(p.shape, value) for key, p in net.collect_params().items()}
    mx.npx.save(folder / "new", arrays, format="mxnet1")
    checksum = hashlib.sha1((folder / "new").read_bytes(), usedforsecurity=False).hexdigest()
    return (folder / "new").rename(folder / f"{name}-{checksum[:8]}.params")


@pytest.mark.parametrize("name", ["resnet50_v1", "resnet18_v2", "mobilenet0.25", "mobilenetv2_0.25", "squeezenet1.1"])
def test_what_mxnet_downloaded_is_found_where_mxnet_keeps_it(tmp_path: Path, name: str) -> None:
    write_mxnets(tmp_path / "mxnet" / "models", name, 0.5)
    for net in (vision.get_model(name, pretrained=True), vision.get_model(name, pretrained=True, root=None)):
        assert all((p.data().asnumpy() == 0.5).all() for p in net.collect_params().values())
    with pytest.raises(ValueError, match="no repository"):
        vision.get_model(name, pretrained=True, root=tmp_path / "elsewhere")


def test_mxnets_own_weights_keep_mxnets_structure_and_go_before_the_hub(tmp_path: Path, fake: FakeHub) -> None:
    write_mxnets(tmp_path / "root", "mobilenetv2_1.0", 1)
    net = vision.mobilenet_v2_1_0(pretrained=True, root=tmp_path / "root")
    assert not net.torchvision
    assert fake.asked == []


def test_a_damaged_file_of_mxnets_is_an_error(tmp_path: Path) -> None:
    path = write_mxnets(tmp_path / "root", "mobilenet0.25", 1)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(DataError, match=rf"{path.name}: the file is damaged, its SHA-1 [0-9a-f]+ does not begin"):
        vision.mobilenet0_25(pretrained=True, root=tmp_path / "root")


def test_a_pretrained_mobilenet_v2_has_torchvisions_structure(home: Path) -> None:
    write_weights(home / "models" / "mobilenetv2_1.0.safetensors", 1, "mobilenetv2_1.0", torchvision=True)
    net = vision.mobilenet_v2_1_0(pretrained=True)
    assert net.torchvision
    assert net.output[0].bias is not None


@pytest.mark.parametrize("name", hub.REPOSITORIES)
def test_networks_of_the_table_ask_for_their_repository(fake: FakeHub, name: str) -> None:
    class AskedError(Exception):
        pass

    def ask(repository: str, file: str) -> str:
        raise AskedError(repository, file)

    fake.hf_hub_download = ask  # type: ignore[method-assign]
    with pytest.raises(AskedError) as caught:
        vision.get_model(name, pretrained=True)
    assert caught.value.args == (hub.REPOSITORIES[name], "model.safetensors")


def test_pretrained_weights_are_for_a_thousand_classes_and_full_width() -> None:
    with pytest.raises(ValueError, match="the pretrained weights are for 1000 classes, got classes=10"):
        vision.vgg16(pretrained=True, classes=10)
    with pytest.raises(ValueError, match=r"for a multiplier of 1, got multiplier=0\.5"):
        vision.mobilenet_v3_large(pretrained=True, multiplier=0.5)
    with pytest.raises(ValueError, match=r"resnet18_v1: the pretrained weights are for large images"):
        vision.resnet18_v1(pretrained=True, thumbnail=True)
