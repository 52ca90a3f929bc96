"""ResNet and MobileNet: MXNet's structure and names, and what torch computes on the same weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch_nets

import minidnn as mx
from minidnn.gluon.model_zoo import vision

# Parameters and running statistics together, as the table of MXNet's model zoo page counts them.
PARAMETERS = {
    "resnet18_v1": 11_699_112,
    "resnet34_v1": 21_814_696,
    "resnet50_v1": 25_629_032,
    "resnet101_v1": 44_695_144,
    "resnet152_v1": 60_404_072,
    "resnet18_v2": 11_695_796,
    "resnet34_v2": 21_811_380,
    "resnet50_v2": 25_595_060,
    "resnet101_v2": 44_639_412,
    "resnet152_v2": 60_329_140,
    "mobilenet1.0": 4_253_864,
    "mobilenet0.75": 2_601_976,
    "mobilenet0.5": 1_342_536,
    "mobilenet0.25": 475_544,
    "mobilenetv2_1.0": 3_539_136,
    "mobilenetv2_0.75": 2_653_864,
    "mobilenetv2_0.5": 1_983_104,
    "mobilenetv2_0.25": 1_526_856,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_number_of_parameters_is_the_published_one(name: str) -> None:
    net = vision.get_model(name)
    net.initialize(mx.init.Zero())
    net.infer_shape(mx.np.zeros((1, 3, 64, 64)))
    assert sum(int(np.prod(p.shape)) for p in net.collect_params().values()) == PARAMETERS[name]


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (
            "resnet50_v1",
            ["features.0.weight", "features.1.gamma", "features.4.0.body.0.weight", "features.4.0.body.0.bias",
             "features.4.0.body.3.weight", "features.4.0.body.7.running_var", "features.4.0.downsample.0.weight",
             "features.4.0.downsample.1.running_mean", "features.7.2.body.6.bias", "output.weight", "output.bias"],
        ),
        ("resnet18_v1", ["features.4.0.body.0.weight", "features.5.0.downsample.1.beta", "features.7.1.body.4.gamma"]),
        (
            "resnet50_v2",
            ["features.0.running_mean", "features.1.weight", "features.5.0.bn1.gamma", "features.5.0.conv3.weight",
             "features.5.0.downsample.weight", "features.9.beta", "output.weight"],
        ),
        ("mobilenet1.0", ["features.0.weight", "features.3.weight", "features.79.gamma", "output.bias"]),
        (
            "mobilenetv2_1.0",
            ["features.3.out.0.weight", "features.3.out.7.gamma", "features.20.weight", "output.0.weight"],
        ),
    ],
)  # fmt: skip
def test_parameters_have_mxnets_names(model: str, names: list[str]) -> None:
    ours = vision.get_model(model).collect_params()
    assert not [name for name in names if name not in ours]


@pytest.mark.parametrize(
    ("model", "absent"),
    [("resnet50_v1", "features.4.0.body.3.bias"), ("resnet18_v1", "features.4.0.body.0.bias"),
     ("resnet18_v1", "features.4.0.downsample.0.weight"), ("mobilenetv2_1.0", "output.0.bias")],
)  # fmt: skip
def test_layers_without_bias_and_blocks_without_downsampling_are_as_in_mxnet(model: str, absent: str) -> None:
    assert absent not in vision.get_model(model).collect_params()


NETWORKS: dict[str, Callable[[torch_nets.Params, torch.Tensor], torch.Tensor]] = {
    "resnet18_v1": lambda p, x: torch_nets.resnet(p, x, version=1, bottleneck=False),
    "resnet50_v1": lambda p, x: torch_nets.resnet(p, x, version=1, bottleneck=True),
    "resnet34_v2": lambda p, x: torch_nets.resnet(p, x, version=2, bottleneck=False),
    "resnet50_v2": lambda p, x: torch_nets.resnet(p, x, version=2, bottleneck=True),
    "mobilenet1.0": torch_nets.mobilenet,
    "mobilenet0.25": torch_nets.mobilenet,
    "mobilenetv2_1.0": torch_nets.mobilenet_v2,
    "mobilenetv2_0.5": torch_nets.mobilenet_v2,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_eager_and_fused_agree_with_torch_on_the_same_weights(name: str) -> None:
    net = vision.get_model(name, classes=10)
    data = np.random.default_rng(1).standard_normal((2, 3, 72, 56)).astype(np.float32)
    torch_nets.randomize(net, mx.np.array(data))
    with torch.inference_mode():
        wanted = NETWORKS[name](torch_nets.parameters_of(net), torch.from_numpy(data)).numpy()
    bound = 1e-4 * np.abs(wanted).max()
    np.testing.assert_allclose(net(mx.np.array(data)).asnumpy(), wanted, rtol=0, atol=bound)
    net.optimize_for(mx.np.array(data))
    np.testing.assert_allclose(net(mx.np.array(data)).asnumpy(), wanted, rtol=0, atol=bound)


@pytest.mark.parametrize("name", ["resnet18_v1", "resnet18_v2"])
def test_the_thumbnail_stem_keeps_the_size_of_small_images(name: str) -> None:
    net = vision.get_model(name, classes=7, thumbnail=True)
    net.initialize()
    assert net(mx.np.zeros((1, 3, 16, 16))).shape == (1, 7)
    assert net.features[0 if name.endswith("v1") else 1](mx.np.zeros((1, 3, 16, 16))).shape == (1, 64, 16, 16)


@pytest.mark.parametrize("name", ["resnet18_v1", "MobileNet1.0", "mobilenet_v2_0_25", "mobilenetv2_0.25"])
def test_get_model_knows_every_name_in_any_case(name: str) -> None:
    assert vision.get_model(name, classes=3) is not None


def test_get_model_makes_every_network_of_the_list() -> None:
    for name in vision.list_models():
        assert vision.get_model(name, pretrained=False, device=mx.cpu(), root="unused").collect_params()


def test_an_unknown_model_is_an_error_that_names_close_ones() -> None:
    with pytest.raises(
        ValueError, match=r"model 'resnet50_v3' is not in the zoo; did you mean resnet50_v.*It has .*mobilenet1\.0"
    ):
        vision.get_model("resnet50_v3")
    with pytest.raises(ValueError, match="model 'qqq' is not in the zoo; It has"):
        vision.get_model("qqq")


@pytest.mark.parametrize("name", ["resnet50_v1", "resnet18_v2", "mobilenet1.0", "mobilenetv2_0.5"])
def test_pretrained_without_weights_says_what_to_do(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: pretrained weights are not available offline.*load_parameters"):
        vision.get_model(name, pretrained=True)


def test_resnet_refuses_versions_depths_and_channels_there_are_not() -> None:
    with pytest.raises(ValueError, match="versions 1 and 2, got 3"):
        vision.get_resnet(3, 50)
    with pytest.raises(ValueError, match=r"\[18, 34, 50, 101, 152\] layers, got 51"):
        vision.get_resnet(1, 51)
    with pytest.raises(ValueError, match=r"layers \[2, 2\] want 3 channels, got \[64, 64\]"):
        vision.ResNetV1(vision.BasicBlockV1, [2, 2], [64, 64])


def test_the_1000_classes_of_imagenet_have_distinct_names() -> None:
    names = vision.imagenet_classes()
    assert len(names) == len(set(names)) == 1000
    assert (names[0], names[281], names[504], names[999]) == ("tench", "tabby", "coffee mug", "toilet tissue")
