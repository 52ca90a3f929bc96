"""Files with ImageNet weights on the Hugging Face hub, as PyTorch's networks of the same structure have them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from minidnn.errors import DataError

__all__ = ["FILE", "REPOSITORIES", "download"]

FILE = "model.safetensors"
# Network -> repository that holds `FILE`. All of them are timm's; those with `tv` are torchvision's weights.
REPOSITORIES = {
    "resnet18_v1": "timm/resnet18.tv_in1k",
    "resnet34_v1": "timm/resnet34.tv_in1k",
    "resnet18_v1b": "timm/resnet18.tv_in1k",
    "resnet34_v1b": "timm/resnet34.tv_in1k",
    "resnet50_v1b": "timm/resnet50.tv_in1k",
    "resnet101_v1b": "timm/resnet101.tv_in1k",
    "resnet152_v1b": "timm/resnet152.tv_in1k",
    "vgg11": "timm/vgg11.tv_in1k",
    "vgg13": "timm/vgg13.tv_in1k",
    "vgg16": "timm/vgg16.tv_in1k",
    "vgg19": "timm/vgg19.tv_in1k",
    "vgg11_bn": "timm/vgg11_bn.tv_in1k",
    "vgg13_bn": "timm/vgg13_bn.tv_in1k",
    "vgg16_bn": "timm/vgg16_bn.tv_in1k",
    "vgg19_bn": "timm/vgg19_bn.tv_in1k",
    "densenet121": "timm/densenet121.tv_in1k",
    "densenet161": "timm/densenet161.tv_in1k",
    "densenet169": "timm/densenet169.tv_in1k",
    "densenet201": "timm/densenet201.tv_in1k",
    "inceptionv3": "timm/inception_v3.tv_in1k",
    "mobilenetv2_1.0": "timm/mobilenetv2_100.ra_in1k",
}


def download(repository: str) -> Path:
    """`FILE` of a repository, from the hub's cache on this machine or else from the hub.

    Raises:
        ImportError: the package huggingface_hub is not installed.
        OSError: there is no connection, no such file, or no home for the hub's cache.
        DataError: the file in the cache is not the one that the hub announced.
    """
    import huggingface_hub

    try:
        path = Path(huggingface_hub.hf_hub_download(repository, FILE))
    except RuntimeError as error:  # of pathlib, which finds no home
        raise OSError(str(error)) from error
    _verify(path)
    return path


def _verify(path: Path) -> None:
    """Compare the file with its checksum.

    The cache links each file to one that is named by the hub's entity tag, which for large files is their SHA-256.
    Where the cache does without links (on Windows, mostly) there is nothing to compare with.

    Raises:
        DataError: they differ.
    """
    blob = path.resolve()
    if re.fullmatch("[0-9a-f]{64}", blob.name):
        with blob.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != blob.name:
            raise DataError(f"{path}: the file is damaged, its SHA-256 is {found}; delete {blob} and try again")
