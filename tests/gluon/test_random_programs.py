"""Programs of functions chosen at random: what they compute eagerly they compute compiled, fused and as NumPy does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as onp
import pytest

from minidnn import numpy as np
from minidnn.errors import OpError
from minidnn.gluon import HybridBlock

Step = tuple[str, Callable[..., Any]]


def _unary(name: str) -> Step:
    return name, lambda mod, r, x: getattr(mod, name)(x)


def _binary(name: str) -> Step:
    return name, lambda mod, r, x, y: getattr(mod, name)(x, y)


def _axis(r: Any, x: Any) -> int:
    return int(r.integers(-x.ndim, x.ndim)) if x.ndim else 0


def _along(name: str) -> Step:
    return name, lambda mod, r, x: getattr(mod, name)(x, axis=_axis(r, x)) if x.ndim else x


def _reduce(name: str) -> Step:
    def run(mod: Any, r: Any, x: Any) -> Any:
        return getattr(mod, name)(x, axis=_axis(r, x), keepdims=bool(r.integers(2))) if x.ndim else x

    return name, run


def _write(mod: Any, r: Any, x: Any) -> Any:
    y = x * 1
    if y.ndim and y.shape[0]:
        y[int(r.integers(y.shape[0]))] = 1
        y += y[:1]
    return y


def _mask(mod: Any, r: Any, x: Any) -> Any:
    return x[x > 0.3] if x.ndim == 1 else mod.where(x > 0.3, x, 0)


def _swap(mod: Any, r: Any, x: Any) -> Any:
    return mod.swapaxes(x, _axis(r, x), _axis(r, x)) if x.ndim else x


def _slice(mod: Any, r: Any, x: Any) -> Any:
    return x[..., :: int(r.choice([-1, 1]))] if x.ndim else x


def _pick(mod: Any, r: Any, x: Any) -> Any:
    return mod.take(x, [0, -1], axis=_axis(r, x)) if x.ndim and x.size else x


def _halves(mod: Any, r: Any, x: Any) -> Any:
    return mod.array_split(x, 2, axis=_axis(r, x))[0] if x.ndim else x


def _outer(mod: Any, r: Any, x: Any, y: Any) -> Any:
    return mod.outer(x.reshape(-1)[:3], y.reshape(-1)[:2])


def _matmul(mod: Any, r: Any, x: Any, y: Any) -> Any:
    return mod.matmul(x, y) if x.ndim and y.ndim and x.shape[-1] == y.shape[max(y.ndim - 2, 0)] else x


UNARY: list[Step] = [
    *map(_unary, ("abs", "negative", "square", "tanh", "sin", "arctan", "floor", "sign", "exp", "ravel", "squeeze")),
    *map(_unary, ("nan_to_num", "transpose", "atleast_2d", "isfinite", "ediff1d", "i0", "unwrap", "trim_zeros")),
    *map(_along, ("cumsum", "sort", "argsort", "flip", "diff", "expand_dims", "nancumsum")),
    *map(_reduce, ("sum", "mean", "max", "min", "any", "prod", "argmax", "nanmedian", "nanargmin")),
    ("write", _write),
    ("mask", _mask),
    ("swap", _swap),
    ("slice", _slice),
    ("pick", _pick),
    ("halves", _halves),
    ("clip", lambda mod, r, x: mod.clip(x, -1, 1)),
    ("scale", lambda mod, r, x: x * float(r.integers(1, 4)) - 1),
    ("reflected", lambda mod, r, x: onp.float32(2) - x),
    ("unique", lambda mod, r, x: mod.unique(mod.round(x, 1))),
    ("quantile", lambda mod, r, x: mod.quantile(x * 1.0, [0.25, 0.5]) if x.size else x),
]
BINARY: list[Step] = [
    *map(_binary, ("add", "multiply", "subtract", "maximum", "minimum", "arctan2", "greater", "copysign", "hypot")),
    ("outer", _outer),
    ("matmul", _matmul),
]
# What a step raises that its input does not fit.
REFUSALS = (OpError, ValueError, TypeError, IndexError)


def program(seed: int) -> Callable[..., Any]:
    """Five or six steps on two inputs; a step that an input does not fit is left out, by everybody alike."""

    def run(mod: Any, a: Any, b: Any) -> tuple[Any, ...]:
        r = onp.random.default_rng(seed)
        values = [a, b]
        for _ in range(int(r.integers(5, 7))):
            chosen, state = int(r.integers(len(UNARY) + len(BINARY))), int(r.integers(1 << 30))
            operands = [values[int(r.integers(len(values)))] for _ in range(2)]
            step = (UNARY + BINARY)[chosen][1]
            inner = onp.random.default_rng(state)
            try:
                result = step(mod, inner, *operands[: 1 if chosen < len(UNARY) else 2])
            except REFUSALS:
                continue
            values.append(result)
        return tuple(values[2:]) or (a + b,)

    return run


class Network(HybridBlock):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.run = program(seed)

    def forward(self, a: Any, b: Any) -> Any:
        return *self.run(np, a, b), a + b


def inputs(seed: int, dtype: str) -> tuple[Any, Any]:
    r = onp.random.default_rng(1000 + seed)
    shape = [(3, 4), (5,), (2, 3, 2), (4, 4)][seed % 4]
    arrays = [r.uniform(-2, 2, shape) if dtype == "float32" else r.integers(-3, 4, shape) for _ in range(2)]
    return tuple(a.astype(dtype) for a in arrays)


DTYPES = ("float32", "int32", "bool", "float32")


@pytest.mark.parametrize("seed", range(240))
def test_a_random_program_is_compiled_as_eagerly(seed: int) -> None:
    hosts = inputs(seed, DTYPES[seed % 4])
    with onp.errstate(all="ignore"):
        eager = Network(seed)(*map(np.array, hosts))
        net = Network(seed)
        net.hybridize(backend="MINIDNN" if seed % 2 else None)
        compiled = net(*map(np.array, hosts))
    assert len(compiled) == len(eager)
    for actual, expected in zip(compiled, eager, strict=True):
        assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
        onp.testing.assert_allclose(actual.asnumpy(), expected.asnumpy(), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("seed", [s for s in range(60) if DTYPES[s % 4] == "float32"])
def test_a_random_program_is_numpys(seed: int) -> None:
    hosts = inputs(seed, "float32")
    with onp.errstate(all="ignore"):
        wanted = program(seed)(onp, *hosts)
        net = Network(seed)
        net.hybridize()
        compiled = net(*map(np.array, hosts))[:-1]
    assert len(compiled) == len(wanted)
    for actual, expected in zip(compiled, wanted, strict=True):
        assert actual.shape == expected.shape
        onp.testing.assert_allclose(actual.asnumpy(), expected, rtol=1e-4, atol=1e-4)
