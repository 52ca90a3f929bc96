"""`load_torch` gives our networks what torch computes with the same weights, and refuses weights that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision_nets

import minidnn as mx
from minidnn.errors import DataError
from minidnn.gluon import nn
from minidnn.gluon.model_zoo import vision
from minidnn.interop import load_torch, torch_names

Tensors = dict[str, torch.Tensor]


def make(name: str, **options: Any) -> Any:
    if name.startswith("mobilenetv2"):
        options["torchvision"] = True
    return vision.get_model(name, classes=10, **options)


def assert_same_outputs(net: Any, reference: torch.nn.Module, size: int) -> None:
    data = np.random.default_rng(5).standard_normal((1, 3, size, size)).astype(np.float32)
    with torch.inference_mode():
        wanted = reference(torch.from_numpy(data)).numpy()
    np.testing.assert_allclose(net(mx.np.array(data)).asnumpy(), wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


@pytest.fixture(scope="module")
def resnet() -> torch.nn.Module:
    return torchvision_nets.randomize(torchvision_nets.resnet(18, 10))


@pytest.mark.parametrize("name", torchvision_nets.NETWORKS)
def test_networks_compute_what_torch_computes_with_the_same_weights(tmp_path: Path, name: str) -> None:
    build, size = torchvision_nets.NETWORKS[name]
    reference = torchvision_nets.randomize(build(10))
    path = tmp_path / f"{name}.safetensors"
    safetensors.torch.save_file(reference.state_dict(), path)
    net = make(name)
    load_torch(net, path)
    assert_same_outputs(net, reference, size)


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_checkpoints_of_torch_are_read_whatever_their_suffix(
    tmp_path: Path, resnet: torch.nn.Module, options: dict[str, bool]
) -> None:
    path = tmp_path / "weights.bin"
    torch.save(resnet.state_dict(), path, **options)
    net = make("resnet18_v1b")
    load_torch(net, path)
    assert_same_outputs(net, resnet, 48)


def test_a_state_dict_inside_a_checkpoint_is_chosen_by_its_key(tmp_path: Path, resnet: torch.nn.Module) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in resnet.state_dict().items()}}, path)
    net = make("resnet18_v1b")
    with pytest.raises(DataError, match=r"checkpoint\.pth: .*key='state_dict' has 122 tensors"):
        load_torch(net, path, key="weights")
    load_torch(net, path, key="state_dict")
    assert_same_outputs(net, resnet, 48)
    net = make("resnet18_v1b")
    load_torch(net, path)
    assert_same_outputs(net, resnet, 48)


def test_a_safetensors_file_without_its_suffix_is_known_by_its_content(tmp_path: Path, resnet: torch.nn.Module) -> None:
    path = tmp_path / "blob"
    safetensors.torch.save_file(resnet.state_dict(), path)
    net = make("resnet18_v1b")
    load_torch(net, path)
    assert_same_outputs(net, resnet, 48)
    with pytest.raises(DataError, match=r"blob: a safetensors file holds one state dict; key='model' was given"):
        load_torch(net, path, key="model")


def test_half_precision_is_widened(tmp_path: Path, resnet: torch.nn.Module) -> None:
    path = tmp_path / "half.safetensors"
    safetensors.torch.save_file({k: v.half() for k, v in resnet.state_dict().items()}, path)
    net = make("resnet18_v1b")
    load_torch(net, path)
    weight = net.conv1.weight.data().asnumpy()
    np.testing.assert_array_equal(weight, resnet.state_dict()["conv1.weight"].half().float().numpy())


def _timm_mobilenet_v2(tensors: Tensors) -> Tensors:
    """timm's names of torchvision's tensors."""
    stages = [
        f"blocks.{s}.{i}" for s, (_, _, depth, _) in enumerate(torchvision_nets.MOBILENET_V2) for i in range(depth)
    ]
    first = {"0.0": "conv_dw", "0.1": "bn1", "1": "conv_pw", "2": "bn2"}
    others = {"0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2", "2": "conv_pwl", "3": "bn3"}
    layers = {"features.0.0": "conv_stem", "features.0.1": "bn1", "features.18.0": "conv_head", "features.18.1": "bn2"}
    layers["classifier.1"] = "classifier"
    for i, stage in enumerate(stages):
        for theirs, timm in (first if i == 0 else others).items():
            layers[f"features.{i + 1}.conv.{theirs}"] = f"{stage}.{timm}"
    return {f"{layers[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": x for name, x in tensors.items()}


def _timm_mobilenet_v3(tensors: Tensors) -> Tensors:
    """timm's names of torchvision's tensors of the small network; timm adds another number to the variances."""
    stages = [f"blocks.{s}.{i}" for s, depth in enumerate((1, 2, 3, 2, 3)) for i in range(depth)]
    layers = {"features.0.0": "conv_stem", "features.0.1": "bn1", "classifier.0": "conv_head"}
    layers |= {"features.12.0": "blocks.5.0.conv", "features.12.1": "blocks.5.0.bn1", "classifier.3": "classifier"}
    for i, stage in enumerate(stages, 1):
        kinds = ["dw", "se", "pw"] if i == 1 else ["pw", "dw", *(["se"] if i > 3 else []), "pwl"]
        convs = [kind for kind in kinds if kind != "se"]
        for j, kind in enumerate(kinds):
            block = f"features.{i}.block.{j}"
            if kind == "se":
                layers |= {f"{block}.fc1": f"{stage}.se.conv_reduce", f"{block}.fc2": f"{stage}.se.conv_expand"}
            else:
                layers |= {f"{block}.0": f"{stage}.conv_{kind}", f"{block}.1": f"{stage}.bn{convs.index(kind) + 1}"}
    renamed = {f"{layers[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": x for name, x in tensors.items()}
    return {name: x + (1e-3 - 1e-5) if name.endswith("running_var") else x for name, x in renamed.items()}


def _timm_vgg(tensors: Tensors) -> Tensors:
    """timm's names of torchvision's tensors; timm's dense layers are convolutions."""
    layers = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}
    renamed = {}
    for name, x in tensors.items():
        layer, _, leaf = name.rpartition(".")
        wide = layer in ("classifier.0", "classifier.3") and leaf == "weight"
        renamed[f"{layers.get(layer, layer)}.{leaf}"] = x[:, :, None, None] if wide else x
    return renamed


def _old_densenet(tensors: Tensors) -> Tensors:
    """The names of torchvision's first DenseNets: ``denselayer1.norm.1``."""
    dotted = {f"{part}{n}.": f"{part}.{n}." for part in ("norm", "conv") for n in (1, 2)}
    renamed = {}
    for name, x in tensors.items():
        for new, old in dotted.items():
            name = name.replace(new, old) if "denselayer" in name else name
        renamed[name] = x
    return renamed


@pytest.mark.parametrize(
    ("name", "rename"),
    [
        ("mobilenetv2_1.0", _timm_mobilenet_v2),
        ("mobilenetv3_small", _timm_mobilenet_v3),
        ("vgg11_bn", _timm_vgg),
        ("densenet121", _old_densenet),
    ],
)
def test_other_names_of_the_same_tensors_give_the_same_network(
    tmp_path: Path, name: str, rename: Callable[[Tensors], Tensors]
) -> None:
    tensors = torchvision_nets.randomize(torchvision_nets.NETWORKS[name][0](10)).state_dict()
    one, other = make(name), make(name)
    safetensors.torch.save_file(tensors, tmp_path / "one.safetensors")
    renamed = rename(dict(tensors))
    assert set(renamed) != set(tensors)
    safetensors.torch.save_file(renamed, tmp_path / "other.safetensors")
    load_torch(one, tmp_path / "one.safetensors")
    load_torch(other, tmp_path / "other.safetensors")
    parameters = other.collect_params()
    for key, parameter in one.collect_params().items():
        np.testing.assert_allclose(parameter.data().asnumpy(), parameters[key].data().asnumpy(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("name", "blocks"), [("efficientnet_lite0", 16), ("efficientnet_lite1", 21)])
def test_efficientnets_have_timms_names(name: str, blocks: int) -> None:
    net = make(name)
    names = torch_names(net)
    timm = {theirs: ours for theirs, ours in names.items() if not theirs.startswith("_")}
    assert set(timm.values()) == set(net.collect_params())
    assert timm["blocks.0.0.conv_dw.weight"] == "features.1.depthwise.conv.weight"
    assert timm["blocks.6.0.bn3.bias"] == f"features.{blocks}.project.bn.beta"
    assert timm["conv_head.weight"] == f"features.{blocks + 1}.conv.weight"


def test_the_auxiliary_classifier_of_inception_is_passed_over() -> None:
    net = make("inceptionv3")
    assert "AuxLogits.fc.weight" not in torch_names(net)
    assert {*torch_names(net).values()} == {*net.collect_params()}


OTHER_STRUCTURE = ("resnet50_v1", "resnet101_v1", "resnet152_v1", "mobilenet0", "mobilenet1")


@pytest.mark.parametrize("name", vision.list_models())
def test_every_parameter_has_a_name_in_torch_where_the_structure_is_torchs(name: str) -> None:
    net = make(name)
    if name.endswith("_v2") or (name.startswith(OTHER_STRUCTURE) and not name.endswith("v1b")):
        with pytest.raises(DataError, match=r"MXNet's structure|weights fit resnet50_v1b"):
            torch_names(net)
    else:
        assert {*torch_names(net).values()} == {*net.collect_params()}


def test_a_network_of_ones_own_is_filled_where_its_names_are_torchs(tmp_path: Path) -> None:
    class Ours(mx.gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.fc = nn.Conv2D(4, 3), nn.BatchNorm(), nn.Dense(5)

        def forward(self, x: Any) -> Any:
            return self.fc(self.norm(self.conv(x)))

    class Theirs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
            self.fc = torch.nn.Linear(4 * 6 * 6, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.norm(self.conv(x)).flatten(1))

    reference = torchvision_nets.randomize(Theirs())
    torch.save(reference.state_dict(), tmp_path / "own.pt")
    net = Ours()
    load_torch(net, tmp_path / "own.pt")
    assert_same_outputs(net, reference, 8)


def _lacks(tensors: Tensors) -> None:
    del tensors["layer1.0.bn1.weight"], tensors["fc.bias"]


def _has_more(tensors: Tensors) -> None:
    tensors["layer5.0.conv1.weight"] = torch.zeros(1)


def _has_other_classes(tensors: Tensors) -> None:
    tensors["fc.weight"] = torch.zeros(1000, 512)


def _has_integers(tensors: Tensors) -> None:
    tensors["fc.bias"] = torch.zeros(10, dtype=torch.int64)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_lacks, r"not the weights of this ResNetV1b: 2 tensors are missing: 'layer1\.0\.bn1\.weight' for parameter "
                 r"'layer1\.0\.bn1\.gamma', 'fc\.bias' for parameter 'fc\.bias'"),
        (_has_more, r"1 tensors belong to no layer of ResNetV1b: 'layer5\.0\.conv1\.weight'"),
        (_has_other_classes, r"tensor 'fc\.weight' has shape \(1000, 512\), parameter 'fc\.weight' wants \(10, 512\)"),
        (_has_integers, r"tensor 'fc\.bias' is int64, parameter 'fc\.bias' wants floating point"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_named_and_change_nothing(
    tmp_path: Path, resnet: torch.nn.Module, damage: Callable[[Tensors], None], message: str
) -> None:
    tensors = dict(resnet.state_dict())
    damage(tensors)
    safetensors.torch.save_file(tensors, tmp_path / "other.safetensors")
    net = make("resnet18_v1b")
    net.initialize(mx.init.Zero())
    with pytest.raises(DataError, match=r"other\.safetensors: .*" + message):
        load_torch(net, tmp_path / "other.safetensors")
    assert not net.conv1.weight.data().asnumpy().any()


def test_one_parameter_by_two_names_is_refused(tmp_path: Path) -> None:
    net = make("mobilenetv2_1.0")
    twice = {"classifier.bias": torch.zeros(10), "classifier.1.bias": torch.zeros(10)}
    safetensors.torch.save_file(twice, tmp_path / "twice.safetensors")
    with pytest.raises(DataError, match=r"tensors .*bias' and .*bias' are both for parameter 'output\.0\.bias'"):
        load_torch(net, tmp_path / "twice.safetensors")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet50_v1", "its weights fit resnet50_v1b"),
        ("resnet50_v2", "ResNetV2 has MXNet's structure: no weights of torchvision or timm fit it"),
        ("mobilenetv2_1.0", "its weights fit a network made with torchvision=True"),
    ],
)
def test_networks_of_another_structure_than_torchs_say_which_to_take(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_torch(vision.get_model(name), "there-is-no-such.pth")


def test_files_that_are_none_are_refused_by_name(tmp_path: Path) -> None:
    net = make("resnet18_v1b")
    (tmp_path / "text.pth").write_text("hello, this is no checkpoint")
    with pytest.raises(DataError, match=r"text\.pth: not a PyTorch checkpoint"):
        load_torch(net, tmp_path / "text.pth")
    (tmp_path / "text.safetensors").write_text("hello, this is no checkpoint")
    with pytest.raises(DataError, match=r"text\.safetensors: .*not a safetensors file"):
        load_torch(net, tmp_path / "text.safetensors")
    with pytest.raises(FileNotFoundError, match=r"absent\.pth"):
        load_torch(net, tmp_path / "absent.pth")
