"""A token of a small decoder-only network over cached keys, beside PyTorch with the same weights, in turns.

The cache has room for so many tokens, of which some are there: the time of a token depends on these. Weights of the
network are read once for each token, so at batch 1 it waits for memory; the note says at which rate the float32 network
reads weights, keys and values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import HybridBlock, nn

torch: Any = pytest.importorskip("torch", reason="torch is missing: pip install '.[bench]'")

WIDTH, HEADS, WORDS, LAYERS, ROOM = 512, 8, 8000, 6, 1024
SIZE = WIDTH // HEADS


class Layer(HybridBlock):
    """Attention over cached keys and a feed-forward part, each behind its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.LayerNorm(in_channels=WIDTH) for _ in range(2))
        self.joint = nn.Dense(3 * WIDTH, flatten=False, in_units=WIDTH)
        self.out = nn.Dense(WIDTH, flatten=False, in_units=WIDTH)
        self.wide, self.narrow = (
            nn.Dense(units, flatten=False, in_units=inputs)
            for units, inputs in ((4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH))
        )

    def forward(self, x: Any, keys: Any, values: Any, filled: Any) -> Any:
        joint = self.joint(self.first(x)).reshape(x.shape[0], x.shape[1], 3, HEADS, SIZE).transpose(2, 0, 3, 1, 4)
        query, key, value = joint[0], joint[1], joint[2]
        past = {"past_key": keys, "past_value": values, "past_length": filled}
        mixed = mx.npx.attention(query, key, value, causal=True, **past)
        x = x + self.out(mixed.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[1], WIDTH))
        return x + self.narrow(mx.npx.gelu(self.wide(self.second(x)))), key, value


class Decoder(HybridBlock):
    """Tokens and the cache to scores of the next token, and keys and values to be cached."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.layers = nn.HybridSequential()
        self.layers.add(*(Layer() for _ in range(LAYERS)))
        self.norm, self.scores = nn.LayerNorm(in_channels=WIDTH), nn.Dense(WORDS, flatten=False, in_units=WIDTH)

    def forward(self, tokens: Any, cache: Any, filled: Any) -> Any:
        x, made = self.words(tokens), []
        for number, layer in enumerate(self.layers):
            x, key, value = layer(x, *cache[number], filled)
            made.append((key, value))
        return self.scores(self.norm(x)), made


class Tokens:
    """A network that is asked for one token after the other; what it caches stays where it is."""

    def __init__(self, net: Any) -> None:
        self._net = net
        self.cache = [tuple(mx.np.zeros((1, HEADS, ROOM, SIZE)) for _ in range(2)) for _ in range(LAYERS)]

    def step(self, token: int, filled: int) -> int:
        """The most likely token behind this one, of which so many come before."""
        length = mx.np.array([filled], dtype="int32")
        scores, made = self._net(mx.np.array([[token]], dtype="int32"), self.cache, length)
        for stored, new in zip(self.cache, made, strict=True):
            for into, part in zip(stored, new, strict=True):
                into[:, :, filled] = part[:, :, 0]
        return int(scores.asnumpy()[0, 0].argmax())


class TorchTokens:
    """The same in PyTorch, with those weights."""

    def __init__(self, net: Decoder) -> None:
        self._w = {name: torch.from_numpy(p.data().asnumpy().copy()) for name, p in net.collect_params().items()}
        self._cache = [[torch.zeros(1, HEADS, ROOM, SIZE) for _ in range(2)] for _ in range(LAYERS)]

    def _norm(self, x: Any, name: str) -> Any:
        return torch.nn.functional.layer_norm(x, (WIDTH,), self._w[f"{name}.gamma"], self._w[f"{name}.beta"])

    def _dense(self, x: Any, name: str) -> Any:
        return torch.nn.functional.linear(x, self._w[f"{name}.weight"], self._w[f"{name}.bias"])

    def step(self, token: int, filled: int) -> int:
        with torch.inference_mode():
            x = self._w["words.weight"][torch.tensor([[token]])]
            for number, (keys, values) in enumerate(self._cache):
                name = f"layers.{number}"
                joint = self._dense(self._norm(x, f"{name}.first"), f"{name}.joint")
                query, key, value = joint.reshape(1, 1, 3, HEADS, SIZE).permute(2, 0, 3, 1, 4)
                keys[:, :, filled], values[:, :, filled] = key[:, :, 0], value[:, :, 0]
                seen = keys[:, :, : filled + 1], values[:, :, : filled + 1]
                mixed = torch.nn.functional.scaled_dot_product_attention(query, *seen)
                x = x + self._dense(mixed.permute(0, 2, 1, 3).reshape(1, 1, WIDTH), f"{name}.out")
                wide = torch.nn.functional.gelu(self._dense(self._norm(x, f"{name}.second"), f"{name}.wide"))
                x = x + self._dense(wide, f"{name}.narrow")
            return int(self._dense(self._norm(x, "norm"), "scores")[0, 0].argmax())


@pytest.fixture(scope="module")
def candidates() -> dict[str, Any]:
    mx.npx.seed(0)
    net = Decoder()
    net.initialize(mx.init.Normal(0.05))
    example = mx.np.zeros((1, 1), dtype="int32"), Tokens(net).cache, mx.np.array([3], dtype="int32")
    theirs = TorchTokens(net)
    net(*example)
    small = quantize_net(net, quantize_mode="weight-only", calib_data=[list(example)])
    net.optimize_for(*example)
    return {"float32": Tokens(net), "int8 weights": Tokens(small), "torch": theirs}


@pytest.mark.parametrize("filled", [0, 100, 1000])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_token(candidates: dict[str, Any], take_turns: Any, filled: int, threads: int) -> None:
    before = mx.get_num_threads(), torch.get_num_threads()
    mx.set_num_threads(threads)
    torch.set_num_threads(threads)

    def step(tokens: Any) -> Callable[[], object]:
        return lambda: tokens.step(7, filled)

    try:
        first = [tokens.step(7, 0) for tokens in candidates.values()]
        assert first[0] == first[2], "they compute the same"
        compiled = mx.runtime.stats().kernels_compiled
        weights = WIDTH * (LAYERS * 12 * WIDTH + WORDS) * np.dtype(np.float32).itemsize
        seen = 2 * LAYERS * WIDTH * filled * np.dtype(np.float32).itemsize
        take_turns(
            {name: step(tokens) for name, tokens in candidates.items()},
            rounds=40,
            note=lambda timings: f"{(weights + seen) / timings['float32'].minimum_ms / 1e6:.1f} GB/s",
        )
        assert mx.runtime.stats().kernels_compiled == compiled, "a step compiles nothing"
    finally:
        mx.set_num_threads(before[0])
        torch.set_num_threads(before[1])
