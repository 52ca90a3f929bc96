"""``gluon.data``: data sets, samplers, and the `DataLoader` that makes batches of them."""

from __future__ import annotations

from minidnn.gluon.data import batchify, vision
from minidnn.gluon.data.dataloader import DataLoader
from minidnn.gluon.data.dataset import ArrayDataset, Dataset, RecordFileDataset, SimpleDataset
from minidnn.gluon.data.sampler import (
    BatchSampler,
    FilterSampler,
    IntervalSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SplitSampler,
)

__all__ = [
    "ArrayDataset",
    "BatchSampler",
    "DataLoader",
    "Dataset",
    "FilterSampler",
    "IntervalSampler",
    "RandomSampler",
    "RecordFileDataset",
    "Sampler",
    "SequentialSampler",
    "SimpleDataset",
    "SplitSampler",
    "batchify",
    "vision",
]
