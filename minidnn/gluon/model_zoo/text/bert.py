"""BERT (Devlin et al., 2018) and encoders of the same structure, with the parameter names of Hugging Face's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from minidnn import npx
from minidnn.errors import DataError, ShapeError
from minidnn.gluon import nn
from minidnn.gluon._hybrid_block import HybridBlock

__all__ = ["BertConfig", "BertModel", "first_tokens"]

# Names that configurations have for activations: the activation, and the form of a GELU.
_ACTIVATIONS: dict[str, Any] = {"gelu": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "relu": ""}


@dataclass(frozen=True)
class BertConfig:
    """Sizes of an encoder, by the names of Hugging Face's ``config.json``.

    Raises:
        DataError: a size is not positive, the heads do not divide the width, or the activation is unknown.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            kinds: tuple[type, ...] = (int, float) if field.type == "float" else (int,)
            if field.type != "str" and (type(value) not in kinds or not value > 0):
                raise DataError(f"BertConfig: {field.name} must be a positive {field.type}, got {value!r}")
        if self.hidden_size % self.num_attention_heads:
            raise DataError(
                f"BertConfig: hidden_size={self.hidden_size} must be a multiple of "
                f"num_attention_heads={self.num_attention_heads}"
            )
        if self.hidden_act not in _ACTIVATIONS:
            raise DataError(f"BertConfig: hidden_act must be one of {sorted(_ACTIVATIONS)}, got {self.hidden_act!r}")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> BertConfig:
        """The configuration in a ``config.json``; what says nothing of the structure is passed over.

        Raises:
            DataError: the file describes another kind of network, or a value is invalid.
        """
        wanted = {"model_type": "bert", "position_embedding_type": "absolute"}
        for key, value in wanted.items():
            if values.get(key, value) != value:
                raise DataError(f"BertConfig: {key} must be {value!r}, got {values[key]!r}")
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})


def _dense(units: int, inputs: int) -> nn.Dense:
    return nn.Dense(units, flatten=False, in_units=inputs)


def _norm(config: BertConfig) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=config.layer_norm_eps, in_channels=config.hidden_size)


class _Embeddings(HybridBlock):
    """Of words, positions and types of tokens, added up and normalized."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, width)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = _norm(config)
        self._most = config.max_position_embeddings

    def forward(self, inputs: Any, token_types: Any = None, positions: Any = None) -> Any:
        types = self.token_type_embeddings
        kinds = types.weight.data()[0] if token_types is None else types(token_types)
        places = self._first(inputs.shape[1]) if positions is None else self.position_embeddings(positions)
        return self.LayerNorm(self.word_embeddings(inputs) + places + kinds)

    def _first(self, length: Any) -> Any:
        if length > self._most:
            raise ShapeError(
                f"BertModel: inputs must have at most {self._most} tokens, as many as positions, got {int(length)}"
            )
        return self.position_embeddings.weight.data()[:length]


class _SelfAttention(HybridBlock):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.query, self.key, self.value = (_dense(width, width) for _ in range(3))
        self._heads, self._size = config.num_attention_heads, width // config.num_attention_heads

    def _apart(self, x: Any) -> Any:
        return x.reshape(x.shape[0], x.shape[1], self._heads, self._size).transpose(0, 2, 1, 3)

    def forward(self, x: Any, length: Any = None, packed: bool = False) -> Any:
        query, key, value = (self._apart(layer(x)) for layer in (self.query, self.key, self.value))
        mixed = npx.attention(query, key, value, length=length, packed=packed)
        return mixed.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[1], self._heads * self._size)


class _Output(HybridBlock):
    """A dense layer, what went around it, and a normalization."""

    def __init__(self, config: BertConfig, inputs: int) -> None:
        super().__init__()
        self.dense, self.LayerNorm = _dense(config.hidden_size, inputs), _norm(config)

    def forward(self, x: Any, around: Any) -> Any:
        return self.LayerNorm(self.dense(x) + around)


class _Attention(HybridBlock):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.self, self.output = _SelfAttention(config), _Output(config, config.hidden_size)

    def forward(self, x: Any, length: Any = None, packed: bool = False) -> Any:
        return self.output(self.self(x, length, packed), x)


class _Intermediate(HybridBlock):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = _dense(config.intermediate_size, config.hidden_size)
        form = _ACTIVATIONS[config.hidden_act]
        self._activation = nn.GELU(approximation=form) if form else nn.Activation(config.hidden_act)

    def forward(self, x: Any) -> Any:
        return self._activation(self.dense(x))


class _Layer(HybridBlock):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention, self.intermediate = _Attention(config), _Intermediate(config)
        self.output = _Output(config, config.intermediate_size)

    def forward(self, x: Any, length: Any = None, packed: bool = False) -> Any:
        x = self.attention(x, length, packed)
        return self.output(self.intermediate(x), x)


class _Encoder(HybridBlock):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.layer = nn.HybridSequential()
        self.layer.add(*(_Layer(config) for _ in range(config.num_hidden_layers)))

    def forward(self, x: Any, length: Any = None, packed: bool = False) -> Any:
        for layer in self.layer:
            x = layer(x, length, packed)
        return x


class _Pooler(HybridBlock):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = _dense(config.hidden_size, config.hidden_size)

    def forward(self, x: Any) -> Any:
        return npx.activation(self.dense(x), "tanh")


class BertModel(HybridBlock):
    """The encoder: contextual embeddings of tokens, and of the whole by the first token.

    Its parameters have the names of Hugging Face's ``BertModel``, so that `mx.interop.load_weights` fills it from such
    a file; `load_gluonnlp` takes GluonNLP's.

    Args:
        config: its sizes.
        use_pooler: whether the pooled output is computed.
    """

    def __init__(self, config: BertConfig | None = None, use_pooler: bool = True) -> None:
        super().__init__()
        self.config = BertConfig() if config is None else config
        self.embeddings, self.encoder = _Embeddings(self.config), _Encoder(self.config)
        self.pooler = _Pooler(self.config) if use_pooler else None

    def forward(self, inputs: Any, token_types: Any = None, valid_length: Any = None, positions: Any = None) -> Any:
        """
        Args:
            inputs: ``(batch, length)``, numbers of tokens; the vocabulary's nearest where one is out of range.
            token_types: ``(batch, length)``, 0 by default.
            valid_length: int32 or int64 ``(batch,)``, how many tokens of each count, from the first on; None: all. What
                the result holds behind them has no meaning.
            positions: ``(1, length)``, of each token in its sequence. With these, sequences are packed: they lie one
                behind the other in a batch of 1, and `valid_length` ``(sequences,)`` says how many tokens each has, so
                that unequal lengths cost nothing.

        Returns:
            ``(batch, length, hidden_size)``; with a pooler a tuple of that and ``(batch, hidden_size)``, or
            ``(sequences, hidden_size)`` where they are packed.

        Raises:
            ShapeError: there are more tokens than positions.
            ValueError: there are positions, but no lengths.
        """
        packed = positions is not None
        if packed and valid_length is None:
            raise ValueError("BertModel: packed sequences, which have positions, need valid_length")
        x = self.encoder(self.embeddings(inputs, token_types, positions), valid_length, packed)
        if self.pooler is None:
            return x
        return x, self.pooler(first_tokens(x, valid_length) if packed else x[:, 0])


def first_tokens(x: Any, length: Any) -> Any:
    """Of packed sequences ``(1, tokens, width)`` with so many tokens each: ``(sequences, width)``."""
    return x[0].take(length.cumsum() - length, axis=0, mode="clip")
