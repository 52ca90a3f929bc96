"""Sentences to vectors, as sentence-transformers does: an encoder, the mean over its tokens, a norm of 1."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minidnn import npx
from minidnn.errors import DataError, ShapeError
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.gluon.model_zoo.text.bert import BertConfig, BertModel, first_tokens
from minidnn.interop.weights import load_weights
from minidnn.numpy import array, zeros

__all__ = ["SentenceEncoder"]

_Array = np.ndarray[Any, Any]

_POOLING = ("mean", "cls")
# Tokens computed together, if they are not those of one sentence: more are not faster.
_MOST_TOKENS = 1024


class SentenceEncoder(HybridBlock):
    """A BERT, the mean over the tokens of a sentence or its first one, and vectors of norm 1.

    Args:
        config: of the BERT.
        tokenizer: of the package tokenizers; None: sentences can be given as numbers of tokens only.
        max_length: tokens of a sentence that are read, the first ones.
        pooling: ``mean`` or ``cls``.
        normalize: whether vectors have norm 1.

    Raises:
        DataError: another pooling, or more tokens than positions.
    """

    def __init__(
        self,
        config: BertConfig,
        tokenizer: Any = None,
        max_length: int | None = None,
        pooling: str = "mean",
        normalize: bool = True,
    ) -> None:
        super().__init__()
        most = config.max_position_embeddings
        if pooling not in _POOLING:
            raise DataError(f"SentenceEncoder: pooling must be one of {list(_POOLING)}, got {pooling!r}")
        if max_length is not None and not 2 <= max_length <= most:
            raise DataError(f"SentenceEncoder: max_length must lie in [2, {most}], got {max_length}")
        self.bert = BertModel(config, use_pooler=False)
        self.tokenizer = tokenizer
        self.max_length = max_length or most
        self.pooling, self.normalize = pooling, normalize
        self._is_fused = False

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str]) -> SentenceEncoder:
        """The model in a folder of sentence-transformers, with its weights and its tokenizer.

        Args:
            folder: with ``config.json``, ``model.safetensors`` and ``tokenizer.json``; also read are
                ``sentence_bert_config.json``, ``1_Pooling/config.json`` and ``modules.json``, where they are.

        Raises:
            DataError: a file is damaged, or describes what is not supported.
            OSError: a file is missing.
            ImportError: the package tokenizers is not installed.
        """
        folder = Path(folder)
        config = BertConfig.of(_read(folder / "config.json"))
        longest = _read(folder / "sentence_bert_config.json", optional=True).get("max_seq_length")
        if longest is not None and type(longest) is not int:
            raise DataError(f"{folder / 'sentence_bert_config.json'}: max_seq_length must be an int, got {longest!r}")
        modules = _read(folder / "modules.json", optional=True, kind=list)
        names = [str(m.get("type", "")).rpartition(".")[2] for m in modules if isinstance(m, dict)]
        pooled = _read(folder / "1_Pooling" / "config.json", optional=True)
        pooling = "cls" if pooled.get("pooling_mode_cls_token") else "mean"
        other = [key for key in ("pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens") if pooled.get(key)]
        unknown = [name for name in names if name not in ("Transformer", "Pooling", "Normalize")]
        if other or unknown:
            raise DataError(f"{folder}: not supported: {', '.join([*other, *unknown])}")
        tokenizer = _read_tokenizer(folder / "tokenizer.json")
        net = cls(config, tokenizer, longest, pooling, not names or "Normalize" in names)
        load_weights(net.bert, folder / "model.safetensors", ignore_extra=True)
        return net

    def forward(self, inputs: Any, valid_length: Any, positions: Any = None) -> Any:
        """
        Args:
            inputs: ``(batch, length)``, numbers of tokens.
            valid_length: int32 or int64 ``(batch,)``, how many of them are the sentence's. One without tokens has a
                vector of zeros.
            positions: ``(1, length)``, for packed sentences, as `BertModel` has it.

        Returns:
            ``(batch, hidden_size)``; ``(sentences, hidden_size)`` where they are packed.
        """
        x = self.bert(inputs, None, valid_length, positions)
        packed = positions is not None
        if self.pooling == "mean":
            x = _means(x, valid_length, packed)
        pooled = first_tokens(x, valid_length) if packed else x[:, 0]
        if packed or self.pooling == "cls":
            pooled = pooled * (valid_length > 0).astype("float32").expand_dims(1)
        return npx.l2_normalization(pooled, eps=1e-24) if self.normalize else pooled

    def tokenize(self, sentences: Iterable[str]) -> list[list[int]]:
        """Numbers of the tokens of each sentence, with those that mark its ends.

        Raises:
            TypeError: a sentence is no string.
            ImportError: there is no tokenizer.
        """
        if isinstance(sentences, str):
            raise TypeError("sentences must be a list of strings, got one string")
        texts = [*sentences]
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"sentence {i} must be a string, got {type(text).__name__}")
        if self.tokenizer is None:
            raise ImportError("SentenceEncoder: it was made without a tokenizer; pip install 'minidnn[text]'")
        found = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        # The last token marks the end, also of what was cut off.
        return [ids if len(ids) <= self.max_length else [*ids[: self.max_length - 1], ids[-1]] for ids in found]

    def encode(self, sentences: Iterable[str], batch_size: int = 32) -> Any:
        """The vectors of sentences.

        Sentences are computed one behind the other, so that unequal lengths cost nothing.

        Args:
            sentences: any number of strings; an empty one has its marks alone.
            batch_size: how many are computed together, at most.

        Returns:
            ``(sentences, hidden_size)``, float32, in their order.

        Raises:
            TypeError: a sentence is no string.
            ValueError: `batch_size` is less than 1.
        """
        return self.encode_tokens(self.tokenize(sentences), batch_size)

    def encode_tokens(self, tokens: Iterable[Sequence[int]], batch_size: int = 32) -> Any:
        """As `encode`, of sentences that are numbers of tokens.

        Args:
            tokens: of each sentence; the vocabulary's nearest where one is out of range. One without tokens has a
                vector of zeros.
            batch_size: as `encode` has it.

        Returns:
            ``(sentences, hidden_size)``, float32, in their order.

        Raises:
            ShapeError: a sentence has more tokens than there are positions.
            ValueError: `batch_size` is less than 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        given = list(tokens)
        lengths, most = [len(ids) for ids in given], self.bert.config.max_position_embeddings
        for i, length in enumerate(lengths):
            if length > most:
                raise ShapeError(f"sentence {i} must have at most {most} tokens, as many as positions, got {length}")
        made = [self._compute(given[begin:end]) for begin, end in _groups(lengths, batch_size)]
        return array(np.concatenate(made)) if made else zeros((0, self.bert.config.hidden_size))

    def _compute(self, tokens: Sequence[Sequence[int]]) -> _Array:
        lengths, words = np.zeros(_rounded(len(tokens)), np.int32), self.bert.config.vocab_size
        lengths[: len(tokens)] = [len(ids) for ids in tokens]
        total = int(lengths.sum())
        ids, positions = np.zeros((2, 1, _rounded(max(1, total))), np.int32)
        ids[0, :total] = np.clip(np.concatenate(tokens), 0, words - 1)
        positions[0, :total] = np.concatenate([np.arange(n) for n in lengths])
        if not self._is_fused:
            self.optimize_for(*(array(x, dtype="int32") for x in (np.zeros((1, 16)), [8, 8], np.zeros((1, 16)))))
            self._is_fused = True
        made: _Array = self(*(array(x, dtype="int32") for x in (ids, lengths, positions))).asnumpy()
        return made[: len(tokens)]


def _groups(lengths: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Ranges of sentences to be computed together: at most so many, and no more tokens than a cache likes."""
    result, begin, tokens = [], 0, 0
    for i, length in enumerate(lengths):
        if i > begin and (i - begin == most or tokens + length > _MOST_TOKENS):
            result.append((begin, i))
            begin, tokens = i, 0
        tokens += length
    return [*result, (begin, len(lengths))] if lengths else []


def _rounded(count: int) -> int:
    """A few more, by at most an eighth beyond 8: each size has a plan of its own."""
    step = 1 << max(0, count.bit_length() - 4)
    return -(-count // step) * step


def _means(x: Any, length: Any, packed: bool) -> Any:
    """Of each sequence, for its first token or all: queries of zeros see all keys alike."""
    return npx.attention((x if packed else x[:, :1]) * 0, x, x, length=length, packed=packed)


def _read(path: Path, optional: bool = False, kind: type = dict) -> Any:
    if optional and not path.is_file():
        return kind()
    try:
        made = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: no valid JSON: {error}") from None
    if not isinstance(made, kind):
        raise DataError(f"{path}: a JSON {kind.__name__} is wanted, got {type(made).__name__}")
    return made


def _read_tokenizer(path: Path) -> Any:
    try:
        import tokenizers  # deferred: an extra
    except ImportError as error:
        raise ImportError("sentences are split by the package tokenizers; pip install 'minidnn[text]'") from error
    text = path.read_text("utf-8")
    try:
        made = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # what the package raises for a damaged file has no class of its own
        raise DataError(f"{path}: not a tokenizer: {error}") from None
    made.no_padding()
    made.no_truncation()
    return made
