"""The networks: MXNet's structure and names, and for ResNet and MobileNet what torch computes on the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_874_344,
    "vgg13_bn": 133_059_624,
    "vgg16_bn": 138_374_440,
    "vgg19_bn": 143_689_256,
    "alexnet": 61_100_840,
    "densenet121": 8_062_504,
    "densenet161": 28_900_936,
    "densenet169": 14_307_880,
    "densenet201": 20_242_984,
    "squeezenet1.0": 1_248_424,
    "squeezenet1.1": 1_235_496,
    "inceptionv3": 23_869_000,
    "mobilenet1.0": 4_253_864,
    "mobilenet0.75": 2_601_976,
    "mobilenet0.5": 1_342_536,
    "mobilenet0.25": 475_544,
    "mobilenetv2_1.0": 3_539_136,
    "mobilenetv2_0.75": 2_653_864,
    "mobilenetv2_0.5": 1_983_104,
    "mobilenetv2_0.25": 1_526_856,
}


# Parameters without running statistics, as torchvision counts them.
WEIGHTS = {
    "resnet18_v1b": 11_689_512,
    "resnet34_v1b": 21_797_672,
    "resnet50_v1b": 25_557_032,
    "resnet101_v1b": 44_549_160,
    "resnet152_v1b": 60_192_808,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "mobilenetv2_1.0": 3_504_872,
    "mobilenetv3_large": 5_483_032,
    "mobilenetv3_small": 2_542_856,
    "vit_tiny_patch16_224": 5_717_416,
    "vit_small_patch16_224": 22_050_664,
    "vit_base_patch16_224": 86_567_656,
}


def sizes(name: str, **options: bool) -> dict[str, int]:
    net = vision.get_model(name, **options)
    side = vision.get_image_size(name)
    net.infer_shape(mx.np.zeros((1, 3, side, side)))
    return {key: int(np.prod(parameter.shape)) for key, parameter in net.collect_params().items()}


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_number_of_parameters_is_the_published_one(name: str) -> None:
    assert sum(sizes(name).values()) == PARAMETERS[name]


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_number_of_weights_is_the_one_torchvision_publishes(name: str) -> None:
    options = {"torchvision": True} if name.startswith("mobilenetv2") else {}
    assert sum(size for key, size in sizes(name, **options).items() if "running" not in key) == WEIGHTS[name]


def test_every_network_of_the_list_is_counted() -> None:
    counted = {*PARAMETERS, *WEIGHTS}
    assert [name for name in vision.list_models() if name not in counted and "efficientnet" not in name] == []


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (
            "resnet50_v1",
            ["features.0.weight", "features.1.gamma", "features.4.0.body.0.weight", "features.4.0.body.0.bias",
             "features.4.0.body.3.weight", "features.4.0.body.7.running_var", "features.4.0.downsample.0.weight",
             "features.4.0.downsample.1.running_mean", "features.7.2.body.6.bias", "output.weight", "output.bias"],
        ),
        (
            "resnet50_v1b",
            ["conv1.weight", "bn1.running_var", "layer1.0.conv3.weight", "layer1.0.bn3.gamma",
             "layer4.2.conv2.weight", "layer2.0.downsample.0.weight", "layer2.0.downsample.1.beta", "fc.bias"],
        ),
        ("alexnet", ["features.0.bias", "features.6.weight", "features.9.weight", "features.11.bias", "output.weight"]),
        ("vgg11", ["features.0.weight", "features.18.bias", "features.21.weight", "features.23.bias", "output.bias"]),
        ("vgg11_bn", ["features.1.gamma", "features.25.weight", "features.29.weight", "features.31.bias"]),
        (
            "squeezenet1.0",
            ["features.0.weight", "features.3.0.0.weight", "features.3.1.0.0.bias", "features.12.1.1.0.weight",
             "output.0.weight"],
        ),
        ("squeezenet1.1", ["features.3.0.0.weight", "features.6.1.0.0.bias", "features.12.1.1.0.weight"]),
        (
            "densenet121",
            ["features.0.weight", "features.1.gamma", "features.4.0.1.0.beta", "features.4.5.1.5.weight",
             "features.5.0.gamma", "features.5.2.weight", "features.10.15.1.3.running_mean", "features.11.beta",
             "output.weight"],
        ),
        (
            "inceptionv3",
            ["features.0.0.weight", "features.5.1.gamma", "features.7.1.1.0.weight", "features.7.3.1.1.beta",
             "features.10.0.0.0.weight", "features.14.2.4.0.weight", "features.15.1.3.1.running_var",
             "features.16.1.1.0.0.0.weight", "features.17.2.0.1.0.weight", "features.17.2.1.1.0.1.gamma"],
        ),
        (
            "mobilenetv3_large",
            ["features.0.weight", "features.1.gamma", "features.3.conv1.conv.weight", "features.4.expand.bn.beta",
             "features.6.se.conv1.bias", "features.6.se.conv2.weight", "features.17.conv2.bn.running_mean",
             "features.18.weight", "features.22.bias", "output.0.bias"],
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
     ("resnet18_v1", "features.4.0.downsample.0.weight"), ("mobilenetv2_1.0", "output.0.bias"),
     ("resnet18_v1b", "layer1.0.downsample.0.weight"), ("densenet121", "features.0.bias"),
     ("inceptionv3", "features.0.0.bias"), ("mobilenetv3_large", "features.3.expand.conv.weight"),
     ("mobilenetv3_large", "features.3.se.conv1.weight")],
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


@pytest.mark.parametrize(
    "name",
    [
        "resnet18_v1",
        "MobileNet1.0",
        "mobilenet_v2_0_25",
        "mobilenetv2_0.25",
        "VGG11_bn",
        "squeezenet1_1",
        "inception_v3",
        "mobilenet_v3_small",
    ],
)
def test_get_model_knows_every_name_in_any_case(name: str) -> None:
    assert vision.get_model(name, classes=3) is not None


def test_get_model_makes_every_network_of_the_list() -> None:
    for name in vision.list_models():
        assert vision.get_model(name, pretrained=False, device=mx.cpu(), root="unused").collect_params()


def test_an_unknown_model_is_an_error_that_names_close_ones() -> None:
    with pytest.raises(
        ValueError,
        match=r"model 'resnet50_v3' is not in the zoo; did you mean resnet50_v.*It has\n(.*\n)*.*mobilenet1",
    ):
        vision.get_model("resnet50_v3")
    with pytest.raises(ValueError, match="model 'qqq' is not in the zoo; It has"):
        vision.get_model("qqq")


@pytest.mark.parametrize("name", ["resnet50_v1", "resnet18_v2", "mobilenet1.0", "mobilenetv2_0.5"])
def test_pretrained_without_weights_says_what_to_do(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"{name}: .* put MXNet's file {name}-\*.params into .*load_parameters"):
        vision.get_model(name, pretrained=True, root=tmp_path)


def test_resnet_refuses_versions_depths_and_channels_there_are_not() -> None:
    with pytest.raises(ValueError, match="versions 1 and 2, got 3"):
        vision.get_resnet(3, 50)
    with pytest.raises(ValueError, match=r"\[18, 34, 50, 101, 152\] layers, got 51"):
        vision.get_resnet(1, 51)
    with pytest.raises(ValueError, match=r"layers \[2, 2\] want 3 channels, got \[64, 64\]"):
        vision.ResNetV1(vision.BasicBlockV1, [2, 2], [64, 64])


def test_depths_versions_and_sizes_there_are_not_are_refused() -> None:
    with pytest.raises(ValueError, match=r"ResNetV1b has \[18, 34, 50, 101, 152\] layers, got 51"):
        vision.get_resnet_v1b(51)
    with pytest.raises(ValueError, match=r"four stages, got layers=\[2, 2\]"):
        vision.ResNetV1b(vision.BasicBlockV1b, [2, 2])
    with pytest.raises(ValueError, match=r"VGG has \[11, 13, 16, 19\] layers, got 12"):
        vision.get_vgg(12)
    with pytest.raises(ValueError, match=r"layers \[1, 1\] want 2 numbers of filters, got \[64\]"):
        vision.VGG([1, 1], [64])
    with pytest.raises(ValueError, match=r"DenseNet has \[121, 161, 169, 201\] layers, got 264"):
        vision.get_densenet(264)
    with pytest.raises(ValueError, match=r"SqueezeNet has versions \['1\.0', '1\.1'\], got '2\.0'"):
        vision.get_squeezenet("2.0")
    with pytest.raises(ValueError, match=r"MobileNetV3 has sizes \['large', 'small'\], got 'medium'"):
        vision.get_mobilenet_v3("medium")


def test_the_1000_classes_of_imagenet_have_distinct_names() -> None:
    names = vision.imagenet_classes()
    assert len(names) == len(set(names)) == 1000
    assert (names[0], names[281], names[504], names[999]) == ("tench", "tabby", "coffee mug", "toilet tissue")


@pytest.mark.parametrize("name", ["resnet51_v1", "resnet50v1", "mobilenet2_1.0", "squeezenet_1", "RESNET50_V3"])
def test_close_names_are_of_different_networks(name: str) -> None:
    with pytest.raises(ValueError, match="did you mean") as caught:
        vision.get_model(name)
    first, *lines = str(caught.value).splitlines()
    close = first.split("did you mean ")[1].split("?")[0].split(" or ")
    assert len(close) == len(set(close)) <= 3
    assert set(close) <= {*vision.list_models()}
    listed = [model for line in lines for model in line.strip(" ,").split(", ")]
    assert sorted(listed) == sorted(vision.list_models())
    assert max(map(len, lines)) <= 120
