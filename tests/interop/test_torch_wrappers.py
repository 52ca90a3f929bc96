"""State dicts are found behind the keys and prefixes that training scripts put in front of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import minidnn as mx
from minidnn.errors import DataError
from minidnn.gluon import nn
from minidnn.interop import load_torch, load_weights, read_torch_checkpoint


class Net(nn.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2D(4, 3, in_channels=3)
        self.fc = nn.Dense(2, in_units=4)

    def forward(self, x: Any) -> Any:
        return self.fc(mx.npx.pooling(self.conv(x), pool_type="avg", global_pool=True))


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    net = torch.nn.ModuleDict({"conv": torch.nn.Conv2d(3, 4, 3), "fc": torch.nn.Linear(4, 2)})
    return dict(net.state_dict())


def prefixed(prefix: str, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in weights.items()}


def assert_filled(net: nn.HybridBlock, weights: dict[str, torch.Tensor]) -> None:
    for name, tensor in weights.items():
        np.testing.assert_array_equal(net.collect_params()[name].data().asnumpy(), tensor.numpy())


PREFIXES = [
    "module.", "_orig_mod.", "model.", "net.", "module._orig_mod.", "_orig_mod.module.", "model.module.",
    "module.model._orig_mod.", "_forward_module.model.", "state_dict.", "ema.module.",
]  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("load", [load_torch, load_weights])
def test_prefixes_of_wrappers_are_left_out(tmp_path: Path, weights: Any, prefix: str, load: Any) -> None:
    torch.save(prefixed(prefix, weights), tmp_path / "w.pth")
    safetensors.torch.save_file(prefixed(prefix, weights), tmp_path / "w.safetensors")
    for name in ("w.pth", "w.safetensors"):
        net = Net()
        load(net, tmp_path / name)
        assert_filled(net, weights)


def test_a_compiled_part_of_the_network_keeps_its_place(tmp_path: Path, weights: Any) -> None:
    renamed = {name.replace("conv.", "conv._orig_mod."): tensor for name, tensor in weights.items()}
    torch.save(renamed, tmp_path / "w.pth")
    net = Net()
    load_torch(net, tmp_path / "w.pth")
    assert_filled(net, weights)


def test_a_network_whose_own_layers_have_such_names_keeps_them(tmp_path: Path) -> None:
    class Wrapped(nn.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.module = nn.Dense(2, in_units=2), nn.Dense(2, in_units=2)

    state = torch.nn.ModuleDict({"model": torch.nn.Linear(2, 2), "module": torch.nn.Linear(2, 2)}).state_dict()
    for prefix in ("", "module.", "model."):
        torch.save(prefixed(prefix, dict(state)), tmp_path / "w.pth")
        net = Wrapped()
        load_torch(net, tmp_path / "w.pth")
        assert_filled(net, dict(state))


def test_two_networks_behind_two_prefixes_are_refused_with_both(tmp_path: Path, weights: Any) -> None:
    torch.save({**prefixed("model.", weights), **prefixed("ema_model.", weights)}, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"w\.pth: 4 tensors each .* 'ema_model\.', 'model\.'"):
        load_torch(Net(), tmp_path / "w.pth")


KEYS = ["state_dict", "model", "model_state_dict", "ema", "net", "something"]


@pytest.mark.parametrize("key", KEYS)
def test_the_only_state_dict_is_found_whatever_its_key(tmp_path: Path, weights: Any, key: str) -> None:
    optimizer = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
    for inner in (weights, {"state_dict": weights}, {"model": prefixed("module.", weights)}):
        torch.save({"epoch": 1, "optimizer": optimizer, key: inner}, tmp_path / "w.pth")
        net = Net()
        load_torch(net, tmp_path / "w.pth")
        assert_filled(net, weights)
        load_torch(net, tmp_path / "w.pth", key=key)


def test_a_usual_key_is_preferred_to_other_tensors(tmp_path: Path, weights: Any) -> None:
    torch.save({"rng": torch.ones(3), "counts": {"seen": torch.ones(1)}, "model": weights}, tmp_path / "w.pth")
    assert list(read_torch_checkpoint(tmp_path / "w.pth")) == list(weights)
    assert list(read_torch_checkpoint(tmp_path / "w.pth", key="counts")) == ["seen"]


def test_several_state_dicts_are_refused_with_their_keys(tmp_path: Path, weights: Any) -> None:
    for one, other in (("model", "ema"), ("first", "second")):
        torch.save({one: weights, other: weights}, tmp_path / "w.pth")
        with pytest.raises(DataError, match=rf"several dicts .* key='{one}' has 4 .*; key='{other}' has 4"):
            load_torch(Net(), tmp_path / "w.pth")
        load_torch(Net(), tmp_path / "w.pth", key=other)


def test_what_is_missing_or_extra_is_listed_and_can_be_allowed(tmp_path: Path, weights: Any) -> None:
    extra = {**weights, "head.weight": torch.ones(2), "head.bias": torch.ones(2)}
    few = {name: tensor for name, tensor in weights.items() if not name.startswith("fc")}
    path = tmp_path / "w.pth"
    for load in (load_torch, load_weights):
        torch.save(prefixed("module.", {**extra}), path)
        with pytest.raises(DataError, match=r"2 tensors belong to no layer of Net: 'module.head.weight'"):
            load(Net(), path)
        net = Net()
        load(net, path, ignore_extra=True)
        assert_filled(net, weights)
        torch.save(few, path)
        with pytest.raises(DataError, match=r"2 tensors are missing: 'fc.weight' for parameter 'fc.weight', 'fc.bias'"):
            load(Net(), path, ignore_extra=True)
        net = Net()
        net.initialize(mx.init.One())
        load(net, path, allow_missing=True)
        assert_filled(net, few)
        assert (net.fc.weight.data().asnumpy() == 1).all()
        torch.save({"other": torch.ones(1)}, path)
        with pytest.raises(DataError, match=r"4 tensors are missing: .* 1 tensors belong to no layer of Net: 'other'"):
            load(Net(), path, allow_missing=True, ignore_extra=True)


@pytest.mark.filterwarnings("ignore")
def test_archives_of_torchscript_and_export_are_called_what_they_are(tmp_path: Path) -> None:
    net = torch.nn.Linear(2, 2)
    torch.jit.save(torch.jit.script(net), tmp_path / "net.pt")
    torch.export.save(torch.export.export(net, (torch.ones(1, 2),)), tmp_path / "net.pt2")
    for load in (lambda path: load_weights(Net(), path), lambda path: load_torch(Net(), path), read_torch_checkpoint):
        with pytest.raises(DataError, match=r"net\.pt: a TorchScript archive"):
            load(tmp_path / "net.pt")
        with pytest.raises(DataError, match=r"net\.pt2: a \.pt2 archive"):
            load(tmp_path / "net.pt2")


def test_the_tar_format_of_2016_is_called_what_it_is(tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "old.pth", "w") as tar:
        tar.addfile(tarfile.TarInfo("storages"))
    with pytest.raises(DataError, match=r"old\.pth: the tar format of PyTorch before"):
        load_torch(Net(), tmp_path / "old.pth")
