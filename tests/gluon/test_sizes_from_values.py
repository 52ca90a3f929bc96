"""Networks with results whose size depends on values: compiled in stages, for the sizes that each call finds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as onp
import pytest

from minidnn import init, npx
from minidnn import numpy as np
from minidnn.contrib.quantization import quantize_net
from minidnn.errors import MXNetError, OpError, SizeError
from minidnn.gluon import HybridBlock, SymbolBlock, nn
from minidnn.ops import TensorType, get_op


class Network(HybridBlock):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


def batch(count: int, rows: int = 8, columns: int = 4) -> onp.ndarray[Any, Any]:
    """Ones in the first `count` rows and zeros below, plus something to tell the elements apart."""
    x = onp.arange(rows * columns, dtype=onp.float32).reshape(rows, columns) / 100
    return onp.where(onp.arange(rows)[:, None] < count, x + 1, -x - 1)


def kept(x: Any) -> Any:
    return x[x[:, 0] > 0]


@pytest.mark.parametrize("mode", ["hybridize", "optimize_for"])
def test_each_call_has_its_own_size(mode: str) -> None:
    net = Network(lambda x: (npx.relu(kept(x) * 2 - 2.1), kept(x).sum(axis=0), x + 1))
    x = np.array(batch(3))
    net.hybridize() if mode == "hybridize" else net.optimize_for(x)
    for count in (3, 5, 0, 8, 1, 5, 3, *range(8), 2):
        x = np.array(batch(count))
        for actual, expected in zip(net(x), net.function(x), strict=True):
            assert actual.shape == expected.shape
            onp.testing.assert_allclose(actual.asnumpy(), expected.asnumpy(), rtol=1e-6)
    assert len(net._programs) == 1


def test_layers_run_on_what_was_selected() -> None:
    class Selecting(HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.before = nn.Dense(4, activation="relu", flatten=False)
            self.after = nn.Dense(3)

        def forward(self, x: Any) -> Any:
            y = self.before(x)
            return self.after(y[x[:, 0] > 0])

    net = Selecting()
    net.initialize(init.Xavier())
    expected = [net(np.array(batch(count))).asnumpy() for count in (2, 6)]
    net.optimize_for(np.array(batch(4)))
    for count, wanted in zip((2, 6), expected, strict=True):
        onp.testing.assert_allclose(net(np.array(batch(count))).asnumpy(), wanted, rtol=1e-5, atol=1e-6)
    assert net(np.array(batch(0))).shape == (0, 3)


def test_what_cannot_be_computed_from_nothing_says_so_when_nothing_is_found() -> None:
    net = Network(lambda x: kept(x).max(axis=0))
    net.hybridize()
    assert net(np.array(batch(2))).shape == (4,)
    with pytest.raises(OpError, match="node 'max': zero-size reduction"):
        net(np.array(batch(0)))
    assert net(np.array(batch(3))).shape == (4,)


def test_sizes_that_follow_from_sizes() -> None:
    net = Network(lambda x: np.unique(np.round(kept(kept(x) - 1.05), 1), return_counts=True))
    net.hybridize()
    for count in (8, 3, 5):
        data = batch(count)
        rows = data[data[:, 0] > 0] - onp.float32(1.05)
        values, counts = onp.unique(onp.round(rows[rows[:, 0] > 0], 1), return_counts=True)
        actual = net(np.array(data))
        onp.testing.assert_allclose(actual[0].asnumpy(), values, rtol=1e-6)
        assert actual[1].tolist() == counts.tolist()


READS: dict[str, Callable[[Any], Any]] = {
    "shape": lambda x: kept(x).sum() / kept(x).shape[0],
    "len": lambda x: kept(x) * len(kept(x)),
    "size": lambda x: kept(x).reshape(kept(x).size),
    "rank": lambda x: kept(x).squeeze() + kept(x).squeeze().ndim,
    "iteration": lambda x: sum(row * (i + 1) for i, row in enumerate(kept(x))),
    "a decision": lambda x: x * 2 if kept(x).shape[0] > 4 else kept(x),
    "a composition": lambda x: np.kron(kept(x), np.array([1, 2])),
    "a later size": lambda x: kept(kept(x) - 1.1) * kept(kept(x) - 1.1).shape[0],
    "a slice": lambda x: kept(x)[:3] * kept(x)[:3].shape[0],
}


@pytest.mark.parametrize("name", READS)
def test_what_forward_decides_by_a_size_is_decided_for_each_size(name: str) -> None:
    net = Network(READS[name])
    net.hybridize()
    for count in (5, 4, 5, 8, 1, 2):
        x = np.array(batch(count))
        onp.testing.assert_allclose(net(x).asnumpy(), net.function(x).asnumpy(), rtol=1e-6)


def test_a_shape_that_does_not_depend_on_the_size_fixes_nothing(tmp_path: Path) -> None:
    net = Network(lambda x: kept(x).sum(axis=0).reshape(kept(x).mean(0).shape[0], 1) * kept(x).ndim)
    net.hybridize()
    net(np.array(batch(5)))
    block = SymbolBlock.imports(net.export(str(tmp_path / "net"))[0], ["data"])
    for count in (2, 7):
        x = np.array(batch(count))
        onp.testing.assert_allclose(block(x).asnumpy(), net.function(x).asnumpy(), rtol=1e-6)


def test_an_exported_network_refuses_another_size_than_forward_has_decided_by(tmp_path: Path) -> None:
    net = Network(lambda x: kept(x) * len(kept(x)))
    net.hybridize()
    net(np.array(batch(5)))
    block = SymbolBlock.imports(net.export(str(tmp_path / "net"))[0], ["data"])
    assert block(np.array(batch(5))).shape == (5, 4)
    with pytest.raises(SizeError, match="argwhere: 3 elements were found, but the graph was traced for 5"):
        block(np.array(batch(3)))


def test_a_quantized_network_selects_too() -> None:
    class Selecting(HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Dense(16, activation="relu", flatten=False)
            self.second = nn.Dense(16, flatten=False)

        def forward(self, x: Any) -> Any:
            y = self.second(self.first(x))
            return np.sort(y[x[:, 0] > 0], axis=-1)

    net = Selecting()
    net.initialize(init.Xavier())
    data = np.array(batch(5, columns=8))
    expected = net(data).asnumpy()
    quantized = quantize_net(net, calib_data=data, calib_mode="naive")
    actual = quantized(data).asnumpy()
    assert actual.shape == expected.shape
    assert onp.abs(actual - expected).max() < 0.05 * onp.abs(expected).max()
    assert quantized(np.array(batch(2, columns=8))).shape == (2, 16)


def test_steps_and_monitors_see_all_stages() -> None:
    net = Network(lambda x: npx.relu(kept(x)) * 2)
    net.hybridize()
    x = np.array(batch(5))
    net(x)
    assert any(step.name == "argwhere" and step.on_host for step in net.steps())
    assert any(step.name == "relu" and step.shape == (5, 4) for step in net.steps())
    seen: dict[str, tuple[int, ...]] = {}
    net.register_op_hook(lambda name, op, array: seen.update({name: array.shape}))
    net(x)
    assert seen["argwhere_output"] == (5, 1)
    net(np.array(batch(2)))
    assert seen["argwhere_output"] == (2, 1)


def test_many_threads_find_many_sizes() -> None:
    net = Network(lambda x: kept(x) * 3)
    net.hybridize()
    net(np.array(batch(1)))
    wrong: list[int] = []

    def run(count: int) -> None:
        data = batch(count)
        expected = data[data[:, 0] > 0] * onp.float32(3)
        wrong.extend(count for _ in range(20) if not onp.array_equal(net(np.array(data)).asnumpy(), expected))

    threads = [threading.Thread(target=run, args=(count,)) for count in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_symbols_know_what_does_not_depend_on_values(tmp_path: Path) -> None:
    net = Network(lambda x: (kept(x), x + 1))
    net.hybridize()
    net(np.array(batch(5)))
    symbol, _ = net.export(None)
    _, outputs, _ = symbol.infer_shape_partial(data=(8, 4))
    assert outputs[1] == (8, 4)
    assert not outputs[0]
    assert [a.shape for a in symbol.eval(data=np.array(batch(2)))] == [(2, 4), (8, 4)]


@pytest.mark.parametrize(
    ("name", "attrs", "data", "message"),
    [
        ("bincount", {}, onp.array([1, -2]), "no negative elements, got -2"),
        ("bincount", {}, onp.ones((2, 2), onp.int64), "1 dimension"),
        ("bincount", {}, onp.ones(2, onp.float32), "integer"),
        ("unique", {"axis": 2}, onp.ones((2, 2)), r"axis must lie in \[-2, 2\)"),
    ],
)
def test_bad_inputs_are_refused(name: str, attrs: dict[str, Any], data: Any, message: str) -> None:
    op = get_op(name)
    with pytest.raises(OpError, match=message):
        op.compute(op.make_attrs(attrs), data)


def test_inference_checks_inputs_before_it_says_that_the_size_is_unknown() -> None:
    op = get_op("bincount")
    with pytest.raises(SizeError, match="the size of the result depends on values"):
        op.infer_types(op.make_attrs({}), [TensorType((3,), onp.dtype(onp.int64))])
    with pytest.raises(OpError, match="integer"):
        op.infer_types(op.make_attrs({}), [TensorType((3,), onp.dtype(onp.float32))])


def test_what_cannot_be_traced_says_which_function_and_which_line() -> None:
    net = Network(lambda x: np.shares_memory(x, x))
    net.hybridize()
    with pytest.raises(MXNetError, match=rf"shares_memory\(\).*\(at {__file__}:\d+\)"):
        net(np.array(batch(1)))


class Residual(HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Dense(4, activation="relu")
        self.second = nn.Dense(4)
        self.count = 0

    def forward(self, x: Any) -> Any:
        self.count += 1
        y = kept(x) if len(x) == 8 else x
        z = self.first(y)
        return npx.relu(self.second(z) + y * 2) - z


def test_what_follows_is_fused_as_if_the_size_had_been_known(tmp_path: Path) -> None:
    plain = Residual()
    plain.initialize(init.Xavier())
    plain.optimize_for(np.ones((5, 4)))
    net = Residual()
    net.initialize(init.Xavier())
    expected = {count: net(np.array(batch(count))).asnumpy() for count in (2, 5)}
    net.optimize_for(np.array(batch(5)))
    net(np.array(batch(5)))
    kernels = [step.kernel for step in net.steps() if step.kernel != "NumPy"]
    assert [step.kernel for step in plain.steps()] == kernels[-len(plain.steps()) :]
    symbol, params = net.export(str(tmp_path / "net"))
    block = SymbolBlock.imports(symbol, ["data"], params)
    block.hybridize()
    for count, wanted in expected.items():
        for run in (net, block):
            onp.testing.assert_allclose(run(np.array(batch(count))).asnumpy(), wanted, rtol=1e-5, atol=1e-6)
    assert [step.kernel for step in block.steps() if step.kernel != "NumPy"] == kernels


def test_without_fusion_what_follows_is_not_fused_either() -> None:
    net = Network(lambda x: npx.relu(kept(x) * 2 + 1) - kept(x))
    net.hybridize()
    net(np.array(batch(3)))
    assert {"multiply_scalar", "add_scalar", "relu", "subtract"} <= {step.name for step in net.steps()}


def test_shapes_of_parameters_do_not_fix_sizes() -> None:
    net = Residual()
    net.initialize(init.Xavier())
    net.hybridize()
    for count in (3, 5, 2):
        assert net(np.array(batch(count))).shape == (count, 4)
    assert net.count == 1


def test_programs_of_the_sizes_that_forward_decides_by_are_kept() -> None:
    traced: list[int] = []

    def forward(x: Any) -> Any:
        traced.append(1)
        return kept(x) * len(kept(x))

    net = Network(forward)
    net.hybridize()
    for count in (2, 5, 2, 5, 3, 2):
        onp.testing.assert_allclose(net(np.array(batch(count))).asnumpy(), (count * batch(count))[:count], rtol=1e-6)
    assert len(traced) == 3
    for count in range(8):
        net(np.array(batch(count, rows=10)))
        net(np.array(batch(count + 1, rows=10)))
    # One for each number of elements, whatever the number of rows.
    assert len(traced) == 9
