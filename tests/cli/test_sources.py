"""Networks for the command line: of the zoo, exported, and those that are refused."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import minidnn as mx
from minidnn.cli.networks import (
    add_preparation,
    add_source,
    get_preparation,
    is_quantized,
    load_network,
)
from minidnn.errors import DataError
from minidnn.gluon import nn
from minidnn.gluon.model_zoo import vision
from minidnn.interop import torch_names


def parse(*arguments: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_source(parser)
    add_preparation(parser)
    return parser.parse_args(list(map(str, arguments)))


def load(*arguments: Any) -> Any:
    parsed = parse(*arguments)
    return load_network(parsed.model, parsed.params)


@pytest.fixture
def exported(tmp_path: Path) -> tuple[Any, Path]:
    """A network and the beginning of the names of its files, in a folder of its own."""
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, in_channels=2), nn.BatchNorm(in_channels=4), nn.GlobalAvgPool2D(), nn.Dense(3, in_units=4))
    net.initialize()
    net.hybridize()
    net(DATA)
    folder = tmp_path / "exported"
    folder.mkdir()
    net.export(folder / "small")
    return net, folder / "small"


DATA = mx.np.array(np.random.default_rng(0).standard_normal((2, 2, 5, 5)).astype(np.float32))


@pytest.mark.parametrize("named", [lambda p: p.parent, lambda p: p, lambda p: f"{p}-symbol.json"])
def test_an_exported_network_is_found_by_its_folder_its_prefix_or_its_symbol_file(named: Any, exported: Any) -> None:
    net, prefix = exported
    model = parse(named(prefix)).model
    assert (model.name, model.prefix) == ("small", prefix)
    assert not is_quantized(model)
    np.testing.assert_array_equal(load(named(prefix))(DATA).asnumpy(), net(DATA).asnumpy())


def test_the_parameters_are_those_of_the_highest_epoch_or_those_that_are_named(exported: Any) -> None:
    net, prefix = exported
    before = net(DATA).asnumpy()
    net[3].bias.set_data(mx.np.ones(3))
    net(DATA)
    net.export(prefix, epoch=12)
    np.testing.assert_array_equal(load(prefix)(DATA).asnumpy(), net(DATA).asnumpy())
    np.testing.assert_array_equal(load(prefix, "--params", f"{prefix}-0000.params")(DATA).asnumpy(), before)


def test_a_network_without_parameters_needs_no_file_of_them(tmp_path: Path) -> None:
    net = nn.HybridSequential()
    net.add(nn.Activation("relu"), nn.Flatten())
    net.hybridize()
    net(DATA)
    net.export(tmp_path / "none")
    np.testing.assert_array_equal(load(tmp_path)(DATA).asnumpy(), net(DATA).asnumpy())


def test_a_network_of_the_zoo_takes_its_weights_from_a_file(tmp_path: Path) -> None:
    net = vision.mobilenet0_25()
    net.initialize()
    data = mx.np.zeros((1, 3, 32, 32))
    wanted = net(data).asnumpy()
    net.save_parameters(tmp_path / "weights")
    np.testing.assert_array_equal(load("MobileNet0.25", "--params", tmp_path / "weights")(data).asnumpy(), wanted)
    with pytest.raises(DataError):
        load("resnet18_v1", "--params", tmp_path / "weights")


@pytest.mark.parametrize("name", ["resnet18_v1b", "mobilenetv2_1.0"])
def test_a_network_of_the_zoo_takes_the_weights_of_torchvision(tmp_path: Path, name: str) -> None:
    net = vision.get_model(name, **({"torchvision": True} if name.startswith("mobilenetv2") else {}))
    net.initialize(mx.init.MSRAPrelu())
    data = mx.np.ones((1, 3, 32, 32))
    wanted = net(data).asnumpy()
    parameters = net.collect_params()
    theirs = {ours: name for name, ours in reversed([*torch_names(net).items()])}  # the first name is torchvision's
    tensors = {theirs[name]: parameter.data().asnumpy() for name, parameter in parameters.items()}
    safetensors.numpy.save_file(tensors, tmp_path / "weights.safetensors")
    loaded = load(name, "--params", tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(loaded(data).asnumpy(), wanted)


def test_a_network_of_the_zoo_without_weights_says_which_file_goes_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIDNN_HOME", str(tmp_path))
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    with pytest.raises(
        DataError, match=r"resnet18_v2: .*resnet18_v2-\*\.params into .*; or give them by --params FILE"
    ):
        load("resnet18_v2")


def refused(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    with pytest.raises(SystemExit) as caught:
        parse(*arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_a_name_that_is_neither_of_the_zoo_nor_of_a_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, "resnet50_v3")
    assert "no model is named 'resnet50_v3', and there is no file resnet50_v3-symbol.json; did you mean resn" in error
    assert f"there is no file {tmp_path / 'zzz-symbol.json'}\n" in refused(capsys, tmp_path / "zzz")


def test_a_folder_with_no_network_or_several_is_refused(exported: Any, capsys: pytest.CaptureFixture[str]) -> None:
    net, prefix = exported
    assert "a folder with one *-symbol.json is wanted" in refused(capsys, prefix.parent.parent)
    net.export(prefix.with_name("other"))
    assert "has other-symbol.json, small-symbol.json" in refused(capsys, prefix.parent)


def test_parameters_that_are_missing_superfluous_or_damaged_are_refused(exported: Any) -> None:
    _, prefix = exported
    params = Path(f"{prefix}-0000.params")
    whole = params.read_bytes()
    params.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"small-0000\.params"):
        load(prefix)
    params.unlink()
    with pytest.raises(DataError, match=r"one input is wanted; with no file small-.*\.params beside it these are left"):
        load(prefix)
    with pytest.raises(FileNotFoundError):
        load(prefix, "--params", params)
    arrays = mx.np.ones(3), mx.np.ones(2)
    mx.npx.save(params, list(arrays))
    with pytest.raises(DataError, match="the arrays have no names"):
        load(prefix)


def test_a_symbol_file_that_is_none_is_refused(exported: Any) -> None:
    _, prefix = exported
    Path(f"{prefix}-symbol.json").write_text("{}")
    with pytest.raises(DataError, match=r"small-symbol\.json: symbol JSON: 'nodes' is missing"):
        load(prefix)


def test_a_network_with_several_inputs_is_refused(tmp_path: Path) -> None:
    total = mx.sym.var("a") + mx.sym.var("b")
    total.save(tmp_path / "two-symbol.json")
    with pytest.raises(DataError, match=r"a network with one input is wanted; .* these are left: \['a', 'b'\]"):
        load(tmp_path)


def test_images_become_what_the_network_was_trained_on(exported: Any) -> None:
    lite = get_preparation(parse("efficientnet_lite1"))
    assert lite.size == 240
    np.testing.assert_allclose([lite.mean, lite.deviation], [[127] * 3, [128] * 3], rtol=1e-12)
    resnet = get_preparation(parse("resnet50_v1", "--size", 32))
    assert resnet.size == 32
    np.testing.assert_allclose(np.array(resnet.mean) / 255, (0.485, 0.456, 0.406))
    np.testing.assert_allclose(np.array(resnet.deviation) / 255, (0.229, 0.224, 0.225))
    own = get_preparation(parse(exported[1], "--mean", 0, 0, 0, "--std", 1, 0.5, 1))
    assert (own.size, own.mean, own.deviation) == (224, (0, 0, 0), (255, 127.5, 255))


@pytest.mark.parametrize("arguments", [("--size", 0), ("--std", 1, 0, 1)])
def test_a_size_or_a_deviation_of_zero_is_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(DataError, match="a size of at least 1 and deviations other than 0"):
        get_preparation(parse("resnet50_v1", *arguments))


def test_a_part_of_a_checkpoint_is_taken_by_its_key(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    net = vision.get_model("squeezenet1.1")
    net.initialize()
    net.infer_shape(mx.np.zeros((1, 3, 224, 224)))
    weights = {
        "module." + name: torch.from_numpy(np.array(net.collect_params()[parameter].data().asnumpy()))
        for name, parameter in torch_names(net).items()
    }
    other = {name: tensor + 1 for name, tensor in weights.items()}
    torch.save({"student": weights, "teacher": other}, tmp_path / "both.pth")
    with pytest.raises(DataError, match="student"):
        load("squeezenet1.1", "--params", tmp_path / "both.pth")
    parsed = parse("squeezenet1.1", "--params", tmp_path / "both.pth", "--key", "student")
    loaded = load_network(parsed.model, parsed.params, parsed.key)
    for name, parameter in loaded.collect_params().items():
        np.testing.assert_array_equal(parameter.data().asnumpy(), net.collect_params()[name].data().asnumpy())


def test_a_key_is_for_checkpoints_of_the_zoos_networks(exported: Any, tmp_path: Path) -> None:
    net, prefix = exported
    for arguments in (("resnet18_v1", "--key", "ema"), (prefix, "--key", "ema")):
        parsed = parse(*arguments)
        with pytest.raises(DataError, match="--key names a part of a checkpoint"):
            load_network(parsed.model, parsed.params, parsed.key)
    net.save_parameters(tmp_path / "weights")
    with pytest.raises(DataError, match="not a PyTorch checkpoint, so it has no part 'ema'"):
        load_network(parse("resnet18_v1").model, tmp_path / "weights", "ema")
