"""The data sets of images under MXNet's name for their module."""

from __future__ import annotations

from minidnn.gluon.data.vision.pictures import ImageFolderDataset, ImageListDataset, ImageRecordDataset
from minidnn.gluon.data.vision.published import CIFAR10, CIFAR100, MNIST, FashionMNIST

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "MNIST",
    "FashionMNIST",
    "ImageFolderDataset",
    "ImageListDataset",
    "ImageRecordDataset",
]
