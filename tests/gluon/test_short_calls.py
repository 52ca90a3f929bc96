"""A call that finds its plan does next to nothing beside the kernels, and still sees whatever makes it another call."""

from __future__ import annotations

import copy
import ctypes
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gluon_helpers import close, draw, fill

import minidnn as mx
from minidnn import engine, gluon
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import nn
from minidnn.runtime import threads as threads_module


class TwoInputs(gluon.HybridBlock):
    """A dense layer on a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(16, in_units=16)

    def forward(self, x: Any, y: Any) -> Any:
        return self.dense(x + y)


X = mx.np.array(draw(1, 16))


def dense() -> nn.Dense:
    net = nn.Dense(16, in_units=16)
    fill(net)
    return net


def ready() -> nn.Dense:
    """A layer that has run."""
    net = dense()
    net.optimize_for(X)
    return net


def expected(net: nn.Dense, x: Any = X) -> np.ndarray[Any, Any]:
    weight, bias = (p.data().asnumpy().astype(np.float64) for p in (net.weight, net.bias))
    result: np.ndarray[Any, Any] = x.asnumpy() @ weight.T + bias
    return result


def count_calls(function: Callable[[], object]) -> int:
    """How many functions of Python begin while it runs, its own included."""
    count = 0

    def note(_: Any, event: str, __: Any) -> None:
        nonlocal count
        count += event == "call"

    function()
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


def _dense(_: Path) -> Callable[[], Any]:
    net = ready()
    return lambda: net(X)


def _two_inputs(_: Path) -> Callable[[], Any]:
    net = TwoInputs()
    fill(net)
    net.optimize_for(X, X)
    return lambda: net(X, X)


def _deep(_: Path) -> Callable[[], Any]:
    net = nn.HybridSequential()
    net.add(*(dense() for _ in range(20)))
    net.optimize_for(X)
    return lambda: net(X)


def _quantized(_: Path) -> Callable[[], Any]:
    net = quantize_net(dense(), calib_mode="naive", calib_data=[X])
    return lambda: net(X)


def _imported(folder: Path) -> Callable[[], Any]:
    ready().export(folder / "net")
    net = gluon.SymbolBlock.imports(folder / "net-symbol.json", ["data"], folder / "net-0000.params")
    return lambda: net(X)


@pytest.mark.parametrize("make", [_dense, _two_inputs, _deep, _quantized, _imported])
def test_a_call_that_finds_its_plan_takes_few_calls_of_python(make: Callable[[Path], Any], tmp_path: Path) -> None:
    call = make(tmp_path)
    call()
    assert count_calls(call) <= 30


def test_a_write_to_the_input_does_not_make_the_next_call_look_at_the_tree() -> None:
    net = nn.HybridSequential()
    net.add(*(dense() for _ in range(20)))
    net.optimize_for(X)
    x = X.copy()

    def call() -> Any:
        x[:] = 1
        return net(x)

    assert count_calls(call) <= 45


def test_a_layer_of_one_task_wakes_no_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    net = ready()
    monkeypatch.setattr(threads_module.pool, "_wake", lambda _: pytest.fail("a helper was woken"))
    monkeypatch.setattr(threads_module.pool, "_asleep", {object()})
    close(net(X), expected(net))


# ---- what makes it another call -------------------------------------------------------------------


def _write_to_a_view(net: nn.Dense) -> None:
    net.weight.data()[3:5] = 7


def _set_data(net: nn.Dense) -> None:
    net.bias.set_data(mx.np.arange(16))


def _initialize_again(net: nn.Dense) -> None:
    net.initialize(mx.init.Constant(0.5), force_reinit=True)


def _load(net: nn.Dense) -> None:
    net.load_dict({"weight": draw(16, 16), "bias": draw(16)})


def _put_a_parameter_in_its_place(net: nn.Dense) -> None:
    net.weight = gluon.Parameter("weight", shape=(16, 16), init="ones")
    net.weight.initialize()


def _share(net: nn.Dense) -> None:
    net.share_parameters(dense().collect_params())


def _cast_back_and_forth(net: nn.Dense) -> None:
    net.cast("float64")
    net.weight.data()[:] *= 2
    net.cast("float32")


CHANGES = [_write_to_a_view, _set_data, _initialize_again, _load, _put_a_parameter_in_its_place, _share]


@pytest.mark.parametrize("change", [*CHANGES, _cast_back_and_forth])
def test_a_change_of_the_weights_is_seen_by_the_next_call(change: Callable[[nn.Dense], None]) -> None:
    net = ready()
    for _ in range(2):
        close(net(X), expected(net))
        change(net)
        close(net(X), expected(net))
        assert count_calls(lambda: net(X)) <= 30


def test_memory_of_weights_that_others_have_is_read_in_every_call() -> None:
    net = ready()
    weight = np.from_dlpack(_Capsule(net.weight.data().to_dlpack_for_write()))
    writable = np.ndarray(weight.shape, weight.dtype, _memory(weight))
    for value in (1, 2, 3):
        writable[...] = value
        close(net(X), expected(net))


class _Capsule:
    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def _memory(array: np.ndarray[Any, Any]) -> Any:
    """The memory of an array that NumPy takes for read-only."""
    return (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)


def test_a_child_in_the_place_of_another_is_seen() -> None:
    net = nn.HybridSequential()
    net.add(dense(), dense())
    net.optimize_for(X)
    net(X)
    net.register_child(dense(), "1")
    close(net(X), expected(net[1], net[0](X)))


def test_hooks_are_called_as_soon_as_they_are_there_and_no_longer() -> None:
    net, seen = ready(), []
    net(X)
    before = net.register_forward_pre_hook(lambda block, args: seen.append("before"))
    after = net.register_forward_hook(lambda block, args, output: seen.append("after"))
    net(X)
    before.detach()
    after.detach()
    net(X)
    assert seen == ["before", "after"]


def test_a_monitor_sees_the_arrays_as_soon_as_it_is_there_and_no_longer() -> None:
    net, seen = ready(), []
    net(X)
    net.register_op_hook(lambda name, operator, array: seen.append(name))
    net(X)
    count = len(seen)
    assert count > 0
    net.register_op_hook(None)
    net(X)
    assert len(seen) == count


def test_a_block_that_is_hybrid_no_longer_runs_its_forward() -> None:
    class Counting(gluon.HybridBlock):
        calls = 0

        def forward(self, x: Any) -> Any:
            Counting.calls += 1
            return x + 1

    net = Counting()
    net.optimize_for(X)
    net(X)
    assert Counting.calls == 1
    net.hybridize(False)
    net(X)
    net(X)
    assert Counting.calls == 3
    net.hybridize()
    close(net(X), X.asnumpy() + 1)
    net(X)
    assert Counting.calls == 4


def test_within_a_trace_its_operators_are_recorded() -> None:
    inner = ready()
    inner(X)
    outer = nn.HybridSequential()
    outer.add(inner, nn.Activation("relu"))
    outer.hybridize()
    close(outer(X), np.maximum(expected(inner), 0))
    assert any("fully_connected" in node.op_name for node in outer.export(None)[0].operations())


def test_within_a_trace_a_call_on_an_array_with_data_depends_on_the_weights() -> None:
    class OnConstant(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.inner = ready()

        def forward(self, x: Any) -> Any:
            return x + self.inner(X)

    net = OnConstant()
    net.inner(X)
    net.hybridize()
    close(net(X), X.asnumpy() + expected(net.inner))
    net.inner.bias.set_data(mx.np.ones(16))
    close(net(X), X.asnumpy() + expected(net.inner))


def test_a_summary_looks_into_a_compiled_network(capsys: pytest.CaptureFixture[str]) -> None:
    net = nn.HybridSequential()
    net.add(dense(), nn.Activation("relu"))
    net.optimize_for(X)
    net(X)
    net.summary(X)
    assert "Activation" in capsys.readouterr().out


def test_a_profile_has_every_call() -> None:
    net = ready()
    net(X)
    profile = engine.Profile([], 1)
    with engine.recording(profile):
        net(X)
        net(X)
    net(X)
    assert len(profile.runs) == 2


def test_the_environment_may_ask_for_finite_inputs_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    net, bad = ready(), X.copy()
    bad[0, 3] = np.nan
    assert np.isnan(net(bad).asnumpy()).any()
    monkeypatch.setenv("MINIDNN_CHECK_FINITE", "1")
    for _ in range(2):
        with pytest.raises(mx.MXNetError, match="must be finite"):
            net(bad)
    monkeypatch.delenv("MINIDNN_CHECK_FINITE")
    assert np.isnan(net(bad).asnumpy()).any()


# ---- what comes in and what goes out --------------------------------------------------------------


def _inputs() -> Iterator[tuple[str, Any]]:
    wide = mx.np.array(draw(16, 3))
    yield "a view with gaps", wide[:, 1].reshape(1, 16)
    yield "a transposed view", mx.np.array(draw(16, 1)).T
    yield "every other element", mx.np.array(draw(1, 32))[:, ::2]
    yield "backwards", mx.np.array(draw(1, 16))[:, ::-1]
    yield "NumPy's", draw(1, 16)
    yield "NumPy's, of the other byte order", draw(1, 16).astype(">f4")
    yield "another batch", mx.np.array(draw(5, 16))
    yield "an empty batch", mx.np.array(draw(0, 16))
    read_only = draw(1, 16)
    read_only.flags.writeable = False
    yield "read-only", mx.npx.from_numpy(read_only, zero_copy=False)


@pytest.mark.parametrize(("what", "x"), [*_inputs()], ids=lambda value: value if isinstance(value, str) else "")
def test_whatever_comes_in_the_result_is_the_same(what: str, x: Any) -> None:
    net = ready()
    given = np.asarray(x)
    for _ in range(3):
        close(net(x), expected(net, mx.np.array(given)) if given.size else np.empty((0, 16)))
        close(net(X), expected(net))


@pytest.mark.parametrize("args", [(mx.np.ones((1, 15)),), (mx.np.ones((16,)),), (X, X), (), (None,), (3,)])
def test_what_does_not_fit_is_refused_as_before_the_first_call(args: tuple[Any, ...]) -> None:
    net = ready()
    messages = []
    for _ in range(2):
        with pytest.raises((mx.MXNetError, TypeError)) as caught:
            net(*args)
        messages.append((type(caught.value), str(caught.value)))
        net(X)
    assert messages[0] == messages[1]


def test_results_are_arrays_of_their_own() -> None:
    net = ready()
    held = [net(X) for _ in range(10)]
    views = [net(X)[0, 2:5] for _ in range(10)]
    for y in held:
        y[:] = 0
    for view in views:
        close(view, expected(net)[0, 2:5])
    assert all(y.asnumpy().sum() == 0 for y in held)
    assert (held[0].shape, held[0].dtype) == ((1, 16), np.float32)
    held[0] += 1
    close(held[0], np.ones((1, 16)))


def test_several_outputs_are_nested_as_forward_nests_them() -> None:
    class Nested(gluon.HybridBlock):
        def forward(self, x: Any, y: Any) -> Any:
            return {"sum": x + y, "rest": [x, (y * 2,)]}

    net = Nested()
    net.optimize_for(X, X)
    for _ in range(2):
        out = net(X, X)
        close(out["sum"], X.asnumpy() * 2)
        out["rest"][0][:] = 0
        close(out["rest"][1][0], X.asnumpy() * 2)
    assert np.abs(X.asnumpy()).max() > 0


def test_an_input_that_is_not_used_may_have_any_values() -> None:
    class Second(gluon.HybridBlock):
        def forward(self, x: Any, y: Any) -> Any:
            return y + 1

    net = Second()
    with pytest.warns(UserWarning, match="0-th input"):
        net.optimize_for(X, X)
    for _ in range(2):
        close(net(X * 0, X), X.asnumpy() + 1)


def test_kinds_of_arguments_take_turns() -> None:
    class Either(gluon.HybridBlock):
        def forward(self, x: Any, y: Any = None) -> Any:
            return x if y is None else x - y

    net = Either()
    net.hybridize()
    for _ in range(3):
        close(net(X), X)
        close(net(X, X), X.asnumpy() * 0)
        close(net(X, None), X)
    pair = Pair()
    pair.hybridize()
    for _ in range(3):
        close(pair([X, X]), X.asnumpy() * 2)
        close(pair(X, X), X.asnumpy() * 0)


class Pair(gluon.HybridBlock):
    """The sum of a list, the difference of two arguments: the arrays are the same ones."""

    def forward(self, x: Any, y: Any = None) -> Any:
        return x[0] + x[1] if isinstance(x, list) else x - y


def test_an_input_that_forward_writes_to_is_written_to_in_every_call() -> None:
    class Adding(gluon.HybridBlock):
        def forward(self, x: Any) -> Any:
            x += 1
            return x * 2

    net, x = Adding(), mx.np.zeros((2, 3))
    net.hybridize()
    for i in range(1, 4):
        close(net(x), np.full((2, 3), 2.0 * i))
        close(x, np.full((2, 3), float(i)))


def _by_pickle(net: Any) -> Any:
    return pickle.loads(pickle.dumps(net))  # noqa: S301 # our own


@pytest.mark.parametrize("duplicate", [copy.deepcopy, _by_pickle])
def test_a_copy_runs_by_its_own_weights(duplicate: Callable[[Any], Any]) -> None:
    net = ready()
    other = duplicate(net)
    other.weight.set_data(mx.np.ones((16, 16)))
    close(other(X), expected(other))
    close(net(X), expected(net))


def test_the_network_tells_of_the_plan_that_ran_last() -> None:
    net = ready()
    for n in (1, 3, 1):
        net(mx.np.ones((n, 16)))
        assert net.steps()[-1].shape == (n, 16)
