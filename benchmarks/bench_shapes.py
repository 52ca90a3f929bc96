"""What a further size of the inputs costs: the first call with it against the next ones, memory, and speed after it."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import pytest

import minidnn as mx
from minidnn.gluon import HybridBlock, nn
from minidnn.gluon.model_zoo import vision

_PAGE = 4096


def _resident() -> float:
    """MB of resident memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE / 1e6


def _seconds(net: Any, x: Any) -> float:
    start = time.perf_counter()
    net(x)
    return time.perf_counter() - start


class _Layer(HybridBlock):
    """A layer of an encoder: attention with four heads, and two dense layers."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Dense(width, flatten=False) for _ in range(4))
        self.norm, self.other_norm = nn.LayerNorm(), nn.LayerNorm()
        self.grow, self.shrink = nn.Dense(4 * width, flatten=False, activation="relu"), nn.Dense(width, flatten=False)

    def _split(self, x: Any) -> Any:
        n, length, width = x.shape
        x = x.reshape(n, length, self.heads, width // self.heads).transpose(0, 2, 1, 3)
        return x.reshape(-1, length, width // self.heads)

    def forward(self, x: Any) -> Any:
        n, length, width = x.shape
        query, key, value = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        scores = mx.npx.batch_dot(query, key, transpose_b=True) * (width // self.heads) ** -0.5
        mixed = mx.npx.batch_dot(mx.npx.softmax(scores), value)
        mixed = mixed.reshape(n, self.heads, length, -1).transpose(0, 2, 1, 3).reshape(n, length, width)
        x = self.norm(x + self.out(mixed))
        return self.other_norm(x + self.shrink(self.grow(x)))


def _encoder(width: int = 128, layers: int = 4, length: int = 7) -> Any:
    net = nn.HybridSequential()
    net.add(*(_Layer(width) for _ in range(layers)))
    net.initialize(mx.init.Xavier())
    net.optimize_for(mx.np.ones((1, length, width)))
    return net


def _fastest(nets: list[Any], x: Any, rounds: int = 40) -> list[float]:
    """Seconds of the fastest call of each net, which take turns."""
    for net in nets:
        net(x)
    times = [[_seconds(net, x) for net in nets] for _ in range(rounds)]
    return [min(column) for column in zip(*times, strict=True)]


def test_batches_of_resnet50(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    net = vision.get_model("resnet50_v1")
    net.initialize(mx.init.MSRAPrelu())
    net.optimize_for(mx.np.ones((1, 3, 224, 224)))
    lines: list[str] = []

    def run() -> None:
        for n in (2, 3, 4, 5, 6, 7, 8):
            x, before = mx.np.ones((n, 3, 224, 224)), _resident()
            first = _seconds(net, x)
            following = statistics.median(_seconds(net, x) for _ in range(5))
            lines.append(
                f"batch {n}: first call {1e3 * (first - following):.0f} ms more than {1e3 * following:.0f} ms, "
                f"{_resident() - before:+.0f} MB"
            )

    benchmark.pedantic(run, rounds=1)
    with capsys.disabled():
        print("", *lines, sep="\n")


def test_lengths_of_an_encoder(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    net, lengths = _encoder(), range(1, 65)
    inputs = [mx.np.ones((1, length, 128)) for length in lengths]
    rounds: list[float] = []

    def run() -> None:
        rounds.append(statistics.median(_seconds(net, x) for x in inputs))

    benchmark.pedantic(run, rounds=3)
    with capsys.disabled():
        print("\nms a call, median over 64 lengths:", ", ".join(f"{1e3 * r:.2f}" for r in rounds))


def test_lengths_against_encoders_of_one_length(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    net = _encoder()
    ratios: dict[int, float] = {}

    def run() -> None:
        for length in (*range(1, 33), 40, 48, 56, 64):
            many, one = _fastest([net, _encoder(length=length)], mx.np.ones((1, length, 128)))
            ratios[length] = many / one

    benchmark.pedantic(run, rounds=1)
    worst = max(ratios, key=lambda length: ratios[length])
    with capsys.disabled():
        print(
            f"\none network for all lengths / one for each: median {statistics.median(ratios.values()):.2f}, "
            f"most {ratios[worst]:.2f} (length {worst})"
        )


def test_ten_thousand_shapes(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    net, lines = _encoder(64, 2), []

    def run() -> None:
        for first in range(1, 101, 10):
            begin = time.perf_counter()
            for batch in range(first, first + 10):
                for length in range(1, 101):
                    net(mx.np.ones((batch, length, 64)))
            lines.append(
                f"{1000 * (first // 10 + 1)} shapes: {time.perf_counter() - begin:.0f} ms each of the last 1000,"
                f" {_resident():.0f} MB"
            )

    benchmark.pedantic(run, rounds=1)
    with capsys.disabled():
        print("", *lines, sep="\n")
