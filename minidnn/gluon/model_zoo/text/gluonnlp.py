"""Filling a BERT with weights that have GluonNLP's names, where a layer's projections are one matrix."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from minidnn import serialization
from minidnn.errors import DataError
from minidnn.gluon.model_zoo.text.bert import BertModel

__all__ = ["load_gluonnlp"]

_Array = np.ndarray[Any, Any]

_EMBEDDINGS = {
    "word_embed": "word_embeddings",
    "token_type_embed": "token_type_embeddings",
    "token_pos_embed._embed": "position_embeddings",
    "embed_layer_norm": "LayerNorm",
}
_LAYER = {
    "attention_proj": "attention.output.dense",
    "layer_norm": "attention.output.LayerNorm",
    "ffn.ffn_1": "intermediate.dense",
    "ffn.ffn_2": "output.dense",
    "ffn.layer_norm": "output.LayerNorm",
}
_PROJECTIONS = ("query", "key", "value")


def load_gluonnlp(net: BertModel, path: str | os.PathLike[str]) -> None:
    """Fill a BERT from a file of parameters by the names of GluonNLP 1's ``BertModel``.

    Args:
        net: the network; nothing of it changes unless all of the file fits.
        path: a file of MXNet's, or safetensors.

    Raises:
        DataError: the file is damaged, or does not fit; the message names the parameter.
        OSError: the file cannot be read.
    """
    found = serialization.load(path)
    translated = (_translated(name, array) for name, array in found.items())
    arrays = {ours: part for parts in translated for ours, part in parts.items()}
    if net.pooler is None:
        arrays = {name: array for name, array in arrays.items() if not name.startswith("pooler.")}
    try:
        net.load_dict(arrays, cast_dtype=True)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _translated(name: str, array: _Array) -> dict[str, _Array]:
    """What a tensor is here; names that are not GluonNLP's stay."""
    layer, _, leaf = name.removeprefix("arg:").removeprefix("aux:").rpartition(".")
    if layer in _EMBEDDINGS:
        return {f"embeddings.{_EMBEDDINGS[layer]}.{leaf}": array}
    if layer == "pooler":
        return {f"pooler.dense.{leaf}": array}
    head, _, rest = layer.removeprefix("encoder.all_layers.").partition(".")
    if not layer.startswith("encoder.all_layers.") or not head.isdecimal():
        return {name: array}
    ours = f"encoder.layer.{head}"
    if rest == "attn_qkv" and len(array) % len(_PROJECTIONS) == 0:
        parts = np.split(array, len(_PROJECTIONS))
        return {f"{ours}.attention.self.{n}.{leaf}": part for n, part in zip(_PROJECTIONS, parts, strict=True)}
    return {f"{ours}.{_LAYER[rest]}.{leaf}": array} if rest in _LAYER else {name: array}
