"""A small decoder over cached keys: the same tokens as without a cache, and no compilation from step to step."""

from __future__ import annotations

from typing import Any

import numpy as onp

import minidnn as mx
from minidnn import np, npx
from minidnn.gluon import HybridBlock, nn

WIDTH, HEADS, KEY_HEADS, SIZE, WORDS, LAYERS, ROOM = 24, 4, 2, 6, 29, 2, 40


class Layer(HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Dense(HEADS * SIZE, flatten=False, in_units=WIDTH)
        self.key, self.value = (nn.Dense(KEY_HEADS * SIZE, flatten=False, in_units=WIDTH) for _ in range(2))
        self.out, self.norm = nn.Dense(WIDTH, flatten=False, in_units=WIDTH), nn.LayerNorm(in_channels=WIDTH)

    def forward(self, x: Any, keys: Any, values: Any, filled: Any) -> Any:
        def apart(y: Any, heads: int) -> Any:
            return y.reshape(y.shape[0], y.shape[1], heads, SIZE).transpose(0, 2, 1, 3)

        query = apart(self.query(x), HEADS)
        key, value = apart(self.key(x), KEY_HEADS), apart(self.value(x), KEY_HEADS)
        past = {} if keys is None else {"past_key": keys, "past_value": values, "past_length": filled}
        mixed = npx.attention(query, key, value, causal=True, **past)
        mixed = mixed.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[1], WIDTH)
        return self.norm(x + self.out(mixed)), key, value


class Decoder(HybridBlock):
    """Tokens and what is cached of those before to scores of the next token, and keys and values to be cached."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.layers = nn.HybridSequential()
        self.layers.add(*(Layer() for _ in range(LAYERS)))
        self.scores = nn.Dense(WORDS, flatten=False, in_units=WIDTH)

    def forward(self, tokens: Any, cache: Any = None, filled: Any = None) -> Any:
        x, made = self.words(tokens), []
        for number, layer in enumerate(self.layers):
            keys, values = (None, None) if cache is None else cache[number]
            x, key, value = layer(x, keys, values, filled)
            made.append((key, value))
        return self.scores(x), made


def decoder() -> Decoder:
    mx.npx.seed(3)
    net = Decoder()
    net.initialize(mx.init.Normal(0.4))
    return net


def generate(net: Decoder, prompts: onp.ndarray, count: int) -> tuple[onp.ndarray, list[int]]:
    """The tokens, and how many kernels there were behind each step."""
    batch = len(prompts)
    cache = [tuple(np.zeros((batch, KEY_HEADS, ROOM, SIZE)) for _ in range(2)) for _ in range(LAYERS)]
    filled, tokens, kernels = 0, prompts, []
    found = [prompts]
    for _ in range(count):
        length = np.array([filled] * batch, dtype="int32")
        scores, made = net(np.array(tokens, dtype="int32"), cache, length)
        for (keys, values), (key, value) in zip(cache, made, strict=True):
            keys[:, :, filled : filled + tokens.shape[1]] = key
            values[:, :, filled : filled + tokens.shape[1]] = value
        filled += tokens.shape[1]
        tokens = scores.asnumpy()[:, -1].argmax(-1)[:, None]
        found.append(tokens)
        stats = mx.runtime.stats()
        kernels.append(stats.kernels_compiled + stats.kernels_from_cache)
    return onp.concatenate(found, 1), kernels


def test_tokens_over_a_cache_are_those_of_the_whole_sequence() -> None:
    net, plain = decoder(), decoder()
    prompts = onp.random.default_rng(0).integers(0, WORDS, (2, 5))
    empty = [tuple(np.zeros((2, KEY_HEADS, ROOM, SIZE)) for _ in range(2)) for _ in range(LAYERS)]
    net.optimize_for(np.array(prompts, dtype="int32"), empty, np.zeros((2,), dtype="int32"))
    made, kernels = generate(net, prompts, 20)
    tokens = prompts
    for _ in range(20):
        scores, _ = plain(np.array(tokens, dtype="int32"))
        tokens = onp.concatenate([tokens, scores.asnumpy()[:, -1].argmax(-1)[:, None]], 1)
    onp.testing.assert_array_equal(made, tokens)
    assert len(set(kernels[1:])) == 1, "a step compiles nothing"
