"""Writing to arrays in `forward`: elements, views, inputs and new arrays, compiled as eagerly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as onp
import pytest

from minidnn import init, npx
from minidnn import numpy as np
from minidnn.contrib.quantization import quantize_net
from minidnn.errors import MXNetError, OpError, ShapeError
from minidnn.gluon import HybridBlock, Parameter, SymbolBlock, nn
from minidnn.ops import get_op

RNG = onp.random.default_rng(3)
X = RNG.uniform(0.1, 0.9, (3, 4)).astype(onp.float32)
N = RNG.integers(0, 3, (3, 4)).astype(onp.int64)
HERE = __file__


class Network(HybridBlock):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


def change(*keys: Any, value: Any = 7) -> Callable[..., Any]:
    """Write to elements of a copy, and of the input itself."""

    def forward(x: Any, n: Any) -> Any:
        y = x * 2
        for key in keys:
            y[key(n) if callable(key) else key] = value(x, n) if callable(value) else value
            x[key(n) if callable(key) else key] = value(x, n) if callable(value) else value
        return y, x + n

    return forward


def views(x: Any, n: Any) -> Any:
    y = x * 2
    row, column, both = y[1], y[:, 2], y[1][2:]
    before = row + 1
    row += 1
    column[:2] = -1
    both[...] = both * 10
    y[0] = row
    return y, row, column, both, before, n


def views_of_views(x: Any, n: Any) -> Any:
    y = x.reshape(2, 6) * 1
    inner = y[None, 1:, ::2][0][..., None]
    inner[0, 1] = 5
    y *= 2
    inner -= 1
    return y, inner, inner[0], n


def input_and_its_views(x: Any, n: Any) -> Any:
    last = x[-1]
    x += 1
    last[0] = 0
    x[0] = last
    return x, last * n


def filled(x: Any, n: Any) -> Any:
    out = np.zeros((4, 3))
    part = out[1:, :2]
    first = out + 0
    out[:, 0] = x[0]
    part[0] = 8
    part += x[:, :2]
    return out, part, first, n


def iterated(x: Any, n: Any) -> Any:
    y = x * 1
    for i, row in enumerate(y):
        row *= i
        row[i] = n[i, 0]
    return y


def copies(x: Any, n: Any) -> Any:
    y = x * 1
    z = y
    w = y.copy()
    v = y.reshape(-1)
    u = y[[0, 1]]
    z[0] = 3
    return y, z, w, v, u, n


def swapped(x: Any, n: Any) -> Any:
    y = x * 1
    y[0], y[1] = y[1] + 0, y[0] + 0
    z = x * 1
    z[...] = x
    z += 1
    return y, z, x + n


def methods(x: Any, n: Any) -> Any:
    y, z, w = x * 1, x * 2, np.zeros((3, 4))
    y.fill(4)
    z.slice_assign(x[:2, :2], (0, 1), (2, 3), ())
    z.slice_assign_scalar(9, (2,), (3,), ())
    x.copyto(w)
    np.exp(x, out=w[1:] if False else w)
    np.fill_diagonal(z, -1)
    return y, z, w, n


def dtypes(x: Any, n: Any) -> Any:
    m, b = n + 0, n > 0
    m[0] = x[0] * 5.7
    b[:, 1] = n[:, 2]
    m[1] = [1, 2, 3, 4]
    m[2, :2] = [x[0, 0] * 9, 5]
    return m, b, x


FORWARDS: dict[str, Callable[..., Any]] = {
    "an integer": change(1),
    "a slice": change((slice(None), slice(1, 3)), value=lambda x, n: x[:, :2] * 3),
    "a broadcast value": change((slice(1, None), 2), value=lambda x, n: n[:1, 0]),
    "a value with more dimensions": change(0, value=lambda x, n: x[None, None, 1]),
    "a step": change((slice(None, None, -2), Ellipsis)),
    "a new axis": change((0, None), value=lambda x, n: x[2:]),
    "a list": change(([0, 2],), value=lambda x, n: x[:2]),
    "several keys": change(0, (1, 1), (slice(None), -1)),
    "a mask": change(lambda n: n > 0, value=-1),
    "a mask and values": change((onp.asarray(N) > 0,), value=lambda x, n: x.sum()),
    "a mask of rows": change(lambda n: n[:, 0] > 0, value=lambda x, n: n[0]),
    "positions": change(lambda n: (n[0], [0, 1, 2, 3]), value=5),
    "positions and a slice": change(lambda n: (slice(None), n[0]), value=2),
    "what a mask has selected": change(lambda n: n > 0, value=lambda x, n: x[n > 0] * 2),
    **{f.__name__.replace("_", " "): f for f in (views, views_of_views, input_and_its_views, filled, iterated)},
    **{f.__name__: f for f in (copies, swapped, methods, dtypes)},
}


def flat(value: Any) -> list[Any]:
    parts = value if isinstance(value, (list, tuple)) else [value]
    return [onp.asarray(part) for part in parts]


def same(actual: Any, expected: Any) -> None:
    for a, e in zip(flat(actual), flat(expected), strict=True):
        assert (a.shape, a.dtype) == (e.shape, e.dtype)
        onp.testing.assert_allclose(a, e, rtol=1e-6)


@pytest.mark.parametrize("name", FORWARDS)
def test_writes_are_compiled_as_eagerly(name: str, tmp_path: Path) -> None:
    forward = FORWARDS[name]
    x, n = np.array(X), np.array(N)
    expected, written = forward(x, n), x.asnumpy()
    for mode in ("hybridize", "optimize_for"):
        net = Network(forward)
        x = np.array(X)
        net.hybridize() if mode == "hybridize" else net.optimize_for(x, n)
        onp.testing.assert_array_equal(x.asnumpy(), X)
        same(net(x, n), expected)
        onp.testing.assert_allclose(x.asnumpy(), written, rtol=1e-6)
    block = SymbolBlock.imports(
        net.export(str(tmp_path / "net"))[0], ["data0", "data1"], str(tmp_path / "net-0000.params")
    )
    x = np.array(X)
    same(block(x, n), expected)
    onp.testing.assert_array_equal(x.asnumpy(), X)


def test_writes_are_numpys() -> None:
    x, n = X.copy(), N.copy()
    for name in ("views", "views of views", "input and its views", "iterated", "a mask", "positions", "a new axis"):
        net = Network(FORWARDS[name])
        net.hybridize()
        for a, e in zip(net(np.array(X), np.array(N)), FORWARDS[name](x.copy(), n.copy()), strict=True):
            assert a.shape == e.shape
            onp.testing.assert_allclose(a.asnumpy(), e, rtol=1e-6)


def test_children_write_to_what_they_are_given() -> None:
    class Clear(HybridBlock):
        def forward(self, x: Any) -> Any:
            x[:, 0] = 0
            return x.sum()

    class Parent(HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.clear = Clear()

        def forward(self, x: Any) -> Any:
            y = x + 1
            total = self.clear(y)
            return y, total

    net = Parent()
    expected = net(np.array(X))
    net.hybridize()
    same(net(np.array(X)), expected)


def test_a_size_that_depends_on_values_is_checked_in_every_run() -> None:
    def forward(x: Any) -> Any:
        y = x[x > 0]
        y += 1
        y[:2] = 0
        y *= x[:1].repeat(1)
        return y

    net = Network(forward)
    net.hybridize()
    for count in (3, 5, 2):
        data = onp.where(onp.arange(6) < count, 1.5, -1.0).astype(onp.float32)
        same(net(np.array(data)), forward(np.array(data)))

    def grown(x: Any) -> Any:
        y = x[x > 0]
        y += x[x < 0]
        return y

    net = Network(grown)
    net.hybridize()
    same(net(np.array([1.0, -2.0])), grown(np.array([1.0, -2.0])))
    with pytest.raises(ShapeError):
        net(np.array([1.0, -2.0, -3.0]))


def test_two_inputs_of_one_memory_cannot_be_written_to() -> None:
    net = Network(lambda x, y: (x[0].fill(1), x + y)[1])
    net.hybridize()
    x = np.array(X)
    with pytest.raises(MXNetError, match="input 0, which shares memory with another input"):
        net(x, x)
    same(net(x, np.array(X)), onp.concatenate([X[:1] + 1, X[1:] * 2]))


OUTSIDE = np.zeros((3, 4))
HOST = onp.zeros((3, 4), onp.float32)


def held_elements(x: Any) -> None:
    OUTSIDE[0] = x[0]


def held_whole(x: Any) -> None:
    global OUTSIDE
    OUTSIDE += x


def numpys(x: Any) -> None:
    HOST[0] = x[0]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (held_elements, "into an array that exists outside of it cannot be traced: make the array in forward"),
        (held_whole, "into an array that exists outside of it cannot be traced"),
        (numpys, "only shapes are known"),
    ],
)
def test_writing_outside_of_the_network_names_the_line(function: Callable[..., Any], message: str) -> None:
    net = Network(lambda x: (function(x), x)[1])
    net.hybridize()
    line = function.__code__.co_firstlineno + (2 if function is held_whole else 1)
    with pytest.raises(MXNetError, match=rf"{message}.*\(at {HERE}:{line}\)"):
        net(np.array(X))
    assert not OUTSIDE.any()


def test_writing_to_a_parameter_names_it_and_the_line() -> None:
    class Counting(HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.count = Parameter("count", shape=(3,), init="zeros")

        def forward(self, x: Any) -> Any:
            count = self.count.data()
            count += 1
            return x + count

    net = Counting()
    net.initialize()
    net.hybridize()
    with pytest.raises(MXNetError, match=rf"writing to the parameter 'count' cannot be traced.*\(at {HERE}:\d+\)"):
        net(np.ones(3))


def test_what_was_traced_cannot_be_written_to_later() -> None:
    kept: list[Any] = []
    net = Network(lambda x: (kept.append(x * 1), x + 1)[1])
    net.hybridize()
    net(np.array(X))
    with pytest.raises(MXNetError, match="used outside the trace it belongs to"):
        kept[0][0] = 1
    with pytest.raises(MXNetError, match="used outside the trace it belongs to"):
        kept[0] += 1


def test_a_quantized_network_writes() -> None:
    class Masked(HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Dense(16, activation="relu", flatten=False)
            self.second = nn.Dense(16, flatten=False)

        def forward(self, x: Any) -> Any:
            y = self.first(x)
            y[:, :4] = 0
            y[y > 0.9] = 0.9
            return npx.relu(self.second(y))

    net = Masked()
    net.initialize(init.Xavier())
    data = np.random.uniform(-1, 1, size=(8, 8))
    expected = net(data).asnumpy()
    actual = quantize_net(net, calib_data=data, calib_mode="naive")(data).asnumpy()
    assert onp.abs(actual - expected).max() < 0.05 * onp.abs(expected).max()


@pytest.mark.parametrize("key", ["text", (1.5,), ((1, 2),), ("none",), (True,), (((1, 2, "x")),)])
def test_bad_keys_of_files_are_refused(key: Any) -> None:
    with pytest.raises(OpError, match="key must have integers, slices"):
        get_op("index_assign").make_attrs({"key": key})


@pytest.mark.parametrize(
    ("key", "value"), [((5,), (1,)), ((0,), (3,)), (("rest",), (2, 3, 4)), (((None, 2, None),), (3, 4))]
)
def test_writes_that_do_not_fit_are_refused(key: Any, value: tuple[int, ...]) -> None:
    op = get_op("index_assign")
    with pytest.raises((OpError, IndexError)):
        op.compute(op.make_attrs({"key": key}), X, onp.zeros(value, onp.float32))
