"""Hybrid blocks: compiled, they give what they give op by op, and notice whatever changes."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections import namedtuple
from typing import Any

import gluon_helpers
import numpy as np
import pytest
from gluon_helpers import Residual, close, draw, residual

import minidnn as mx
from minidnn import gluon
from minidnn.errors import GraphError, MXNetError, ShapeError, TypeMismatchError
from minidnn.gluon import nn
from minidnn.gluon import program as programs


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The graphs that are compiled while a test runs; plans for other sizes do not count."""
    compiled: list[Any] = []
    network = programs.engine.Network

    def note(graph: Any, *args: Any) -> Any:
        compiled.append(graph)
        return network(graph, *args)

    monkeypatch.setattr(programs.engine, "Network", note)
    return compiled


def array(*shape: int) -> Any:
    return mx.np.array(draw(*shape))


# ---- compiling ------------------------------------------------------------------------------------


def test_hybridize_compiles_what_was_traced_without_fusing(compilations: list[Any]) -> None:
    net, x = residual(), array(1, 4, 6, 7)
    expected = net(x)
    net.hybridize(static_alloc=True, static_shape=True)
    close(net(x), expected)
    close(net(x), expected)
    assert len(compilations) == 1
    assert [node.op_name for node in compilations[0].operations()].count("fused") == 0
    assert len(compilations[0].operations()) == 7
    net.hybridize(False)
    close(net(x), expected)
    assert len(compilations) == 1


@pytest.mark.parametrize("backend", [None, "ONEDNN", "MKLDNN", "MINIDNN"])
def test_optimize_for_leaves_two_nodes_of_the_residual_block(backend: str | None, compilations: list[Any]) -> None:
    net, x = residual(), array(2, 4, 6, 7)
    expected = net(x)
    assert net.optimize_for(mx.np.zeros(x.shape), backend=backend, static_alloc=True) is None
    assert [node.op_name for node in compilations[0].operations()] == ["fused", "fused"]
    close(net(x), expected)
    assert len(compilations) == 1


def test_optimize_for_completes_shapes_and_shows_hooks_nothing() -> None:
    net, seen = Residual(), []
    net.initialize()
    net.register_op_hook(lambda *args: seen.append(args))
    net.register_forward_hook(lambda *args: seen.append(args))
    with pytest.warns(UserWarning, match="still having forward hook"):
        net.optimize_for(np.zeros((1, 4, 6, 7), np.float32))
    assert net.bn1.gamma.data().shape == (4,)
    assert not seen


def test_hybridize_can_fuse_at_the_first_call(compilations: list[Any]) -> None:
    net, x = residual(), array(1, 4, 6, 7)
    expected = net(x)
    net.hybridize(backend="MINIDNN")
    close(net(x), expected)
    assert len(compilations[0].operations()) == 2


def test_an_unknown_backend_is_an_error_and_changes_nothing(compilations: list[Any]) -> None:
    net, x = residual(), array(1, 4, 6, 7)
    with pytest.raises(GraphError, match=r"unknown backend 'TVM'; it must be one of"):
        net.optimize_for(x, backend="TVM")
    net(x)
    assert not compilations
    with pytest.raises(TypeError, match="level"):
        net.optimize_for(x, level=3)


def test_all_sizes_share_one_program(compilations: list[Any]) -> None:
    net = residual()
    inputs = [array(1, 4, 6, 7), array(3, 4, 5, 5), array(1, 4, 6, 7)]
    expected = [net(x) for x in inputs]
    net.optimize_for(inputs[0])
    for x, y in zip(inputs, expected, strict=True):
        close(net(x), y)
    assert len(compilations) == 1


def test_the_number_of_programs_is_bounded(compilations: list[Any]) -> None:
    class Deciding(gluon.HybridBlock):
        def forward(self, x: Any) -> Any:
            return x * int(x.shape[0])

    net = Deciding()
    net.hybridize()
    for n in range(1, 40):
        assert net(mx.np.ones((n,))).shape == (n,)
    assert sum(map(len, net._programs.values())) == net._max_programs
    assert len(compilations) == 39


def test_programs_of_all_signatures_share_packed_weights_and_memory() -> None:
    net = residual()
    inputs = [array(1, 4, 5 + n, 7) for n in range(6)]
    expected = [net(x) for x in inputs]
    net.optimize_for(inputs[0])
    for x, y in zip(inputs, expected, strict=True):
        close(net(x), y)
    ((program,),) = net._programs.values()
    compiled = [plan.program for x in inputs if (plan := program.find_plan((x._type,))) is not None]
    assert len(compiled) == 6
    lent = {id(c): c.nbytes for p in compiled for i, c in enumerate(p.constants) if i in p.lent}
    once = sum(compiled[0].constants[i].nbytes for i in compiled[0].lent)
    # As many packings as a tile has widths, not one for each signature.
    assert sum(lent.values()) <= 4 * once
    assert len(net._arenas._idle) == 1


@pytest.mark.parametrize("fused", [False, True])
def test_shared_weights_follow_what_is_written_to_them(fused: bool) -> None:
    net, sizes = residual(), range(5, 10)
    net.hybridize(backend="MINIDNN" if fused else None)
    for n in sizes:
        net(array(1, 4, n, 7))
        for i, parameter in enumerate(net.collect_params().values()):
            if i % 2:
                parameter.data()[:] = parameter.data() * 0.9 + 0.05
            else:
                parameter.set_data(parameter.data() * 1.1)
        x = array(1, 4, n + 1, 7)
        y = net(x)
        net.hybridize(False)
        close(y, net(x))
        net.hybridize(backend="MINIDNN" if fused else None)


def test_a_child_alone_has_its_own_program(compilations: list[Any]) -> None:
    net, x = residual(), array(1, 4, 6, 7)
    expected = net.conv1(x)
    net.hybridize()
    close(net.conv1(x), expected)
    net(x)
    assert [len(graph.operations()) for graph in compilations] == [1, 7]


def test_compiled_blocks_under_an_ordinary_block(compilations: list[Any]) -> None:
    net, inner, x = nn.Sequential(), residual(), array(1, 4, 6, 7)
    net.add(inner, nn.Lambda(lambda y: y * float(y.max())))
    expected = net(x)
    net.hybridize()
    close(net(x), expected)
    assert len(compilations) == 1


def test_a_sequence_of_hybrid_blocks_is_better_hybrid_itself() -> None:
    net = nn.Sequential()
    net.add(nn.Activation("relu"))
    with pytest.warns(UserWarning, match="Consider using HybridSequential"):
        net.hybridize()


# ---- what makes a program out of date -------------------------------------------------------------


def change_in_place(net: Residual) -> None:
    net.conv1.weight.data()[:] = 0.25


def change_by_a_view(net: Residual) -> None:
    net.conv2.weight.data()[1][2] = 3


def change_by_an_operator(net: Residual) -> None:
    weight = net.conv1.weight.data()
    weight *= 2


def set_data(net: Residual) -> None:
    net.bn2.running_var.set_data(mx.np.full((4,), 9))


def reinitialize(net: Residual) -> None:
    net.initialize(mx.init.Xavier(), force_reinit=True)


def load(net: Residual) -> None:
    net.load_dict({"bn1.gamma": mx.np.array([1, 2, 3, 4])}, allow_missing=True)


def replace_a_child(net: Residual) -> None:
    net.conv1 = nn.Conv2D(4, 1, in_channels=4)
    net.conv1.initialize()


def share(net: Residual) -> None:
    net.conv2.share_parameters(net.conv1.collect_params())


def recast(net: Residual) -> None:
    net.cast("float64")
    net.cast("float32")
    net.bn1.beta.set_data(mx.np.ones(4))


CHANGES = [
    change_in_place,
    change_by_a_view,
    change_by_an_operator,
    set_data,
    reinitialize,
    load,
    replace_a_child,
    share,
    recast,
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("fused", [False, True])
def test_a_change_of_parameters_or_blocks_is_noticed(change: Any, fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not any numbers: what changes must not be multiplied by zeros.
    monkeypatch.setattr(gluon_helpers, "RNG", np.random.default_rng(1))
    net, x = residual(), array(1, 4, 6, 7)
    if fused:
        net.optimize_for(x)
    else:
        net.hybridize()
    before = net(x).asnumpy()
    change(net)
    after = net(x).asnumpy()
    net.hybridize(False)
    expected = net(x).asnumpy()
    close(after, expected)
    assert np.abs(before - after).max() > 1e-3 * np.abs(after).max()


def test_nothing_is_compiled_again_without_a_change(compilations: list[Any]) -> None:
    net, x = residual(), array(1, 4, 6, 7)
    net.optimize_for(x)
    net(x)
    Residual()  # some other tree changes
    net.conv1.weight.data()[:2].asnumpy()[:] = 0
    net(x)
    assert len(compilations) == 1


def test_a_program_takes_parameters_without_a_copy_and_drops_the_kernels_of_eager_calls() -> None:
    net, x = residual(), array(1, 4, 6, 7)
    net(x)
    assert net.conv1.weight.data()._compiled
    net.optimize_for(x)
    assert not net.conv1.weight.data()._compiled
    ((program,),) = net._programs.values()
    assert all(a is net.collect_params()[name].data() for name, a in program.graph.arrays().items())


def test_outdated_programs_are_let_go_before_the_next_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = residual(), array(1, 4, 6, 7)
    net.optimize_for(x)
    net(array(2, 4, 5, 5))
    old = [weakref.ref(program) for programs in net._programs.values() for program in programs]
    net.conv1.weight.set_data(mx.np.zeros((4, 4, 3, 3)))
    seen = []
    network = programs.engine.Network

    def note(*args: Any) -> Any:
        gc.collect()
        seen.extend(program() for program in old)
        return network(*args)

    monkeypatch.setattr(programs.engine, "Network", note)
    net(x)
    assert seen == [None]


# ---- inputs and outputs ---------------------------------------------------------------------------

Pair = namedtuple("Pair", "left right")


class Nested(gluon.HybridBlock):
    def forward(self, a: Any, more: Any, scale: Any = None, flag: Any = True) -> Any:
        b, pair = more["b"], more["pair"]
        total = a + b * pair.left - pair.right
        if scale is not None:
            total = total * scale
        return {"total": total, "rest": [a if flag else b, (pair, None)], "name": "out"}


@pytest.mark.parametrize("fused", [False, True])
def test_nested_inputs_and_outputs(fused: bool) -> None:
    net, a, b, c, d = Nested(), *(array(2, 3) for _ in range(4))
    more = {"b": b, "pair": Pair(c, d)}
    if fused:
        net.optimize_for(a, more)
    else:
        net.hybridize()
    for extra in ((), (2.5,), (None, False), (2, False), (2, True), (np.float32(2),)):
        out = net(a, more, *extra)
        scale = float(extra[0]) if extra and extra[0] is not None else 1.0
        close(out["total"], scale * (a + b * c - d).asnumpy())
        flag = extra[1] if len(extra) > 1 else True
        close(out["rest"][0], a if flag else b, 0)
        assert type(out["rest"]) is list
        pair, nothing = out["rest"][1]
        assert type(pair) is Pair
        close(pair.right, d, 0)
        assert nothing is None
        assert out["name"] == "out"


def test_outputs_own_their_memory() -> None:
    class Through(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.weight = gluon.Parameter("weight", shape=(2,), init="ones")

        def forward(self, x: Any) -> Any:
            return x, self.weight.data(), mx.np.array([1.0, 2.0]), x.reshape((2, 1))

    net, x = Through(), mx.np.array([3.0, 4.0])
    net.initialize()
    net.hybridize()
    for _ in range(2):
        outputs = net(x)
        assert [y.tolist() for y in outputs] == [[3, 4], [1, 1], [1, 2], [[3], [4]]]
        for y in outputs:
            y[:] = 0
    assert x.tolist() == [3, 4]
    assert net.weight.data().tolist() == [1, 1]


@pytest.mark.parametrize("compiled", [False, True])
def test_numpy_arrays_are_taken_as_they_come(compiled: bool) -> None:
    net, x = residual(), draw(1, 4, 6, 8)
    expected = net(mx.np.array(x))
    net.hybridize(compiled)
    frozen = x.copy()
    frozen.flags.writeable = False
    wide = np.zeros((1, 4, 6, 16), np.float32)
    wide[..., ::2] = x
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for form in (x, frozen, x.astype(">f4"), x.astype(np.float64), wide[..., ::2], last, x[::-1][::-1]):
        close(net(form), expected)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("text",), "Residual: there must be at least one mx.np.ndarray among the inputs, got str"),
        ((), "Residual: there must be at least one mx.np.ndarray among the inputs, got none"),
        ((None, None), "Residual: there must be at least one mx.np.ndarray among the inputs, got NoneType, NoneType"),
        (([1.0, 2.0],), "Residual: there must be at least one mx.np.ndarray among the inputs, got list"),
        ((object(),), "Residual: inputs must be mx.np.ndarray, or nested lists, tuples or dicts of them, got object"),
        ((mx.sym.var("data"),), "Residual: inputs must be .* got Symbol"),
        (({1, 2},), "Residual: inputs must be .* got set"),
    ],
)
def test_what_is_no_array_is_refused_at_the_door(args: tuple[Any, ...], message: str, compiled: bool) -> None:
    net = residual()
    net.hybridize(compiled)
    with pytest.raises(TypeError, match=message) as raised:
        net(*args)
    assert isinstance(raised.value, ValueError), "as MXNet's"
    if args:
        with pytest.raises(TypeError, match=message):
            net.optimize_for(*args)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("x", "kind", "message"),
    [
        (mx.np.ones((1, 3, 5, 5)), ShapeError, "^conv1: convolution: data has 3 channels but weight"),
        (mx.np.ones((4, 5, 5)), ShapeError, r"^conv1: convolution: data must have 4 dimensions \(N, C, H, W\), got 3"),
        (mx.np.ones((1, 4, 0, 5)), ShapeError, "^conv1: convolution: data must not be empty, got dimension 2"),
        (mx.np.ones((1, 4, 5, 5), dtype="int32"), TypeMismatchError, "^conv1: convolution: data must be float"),
        (mx.np.ones((1, 4, 5, 5), dtype="float64"), TypeMismatchError, "^conv1: convolution: weight must be float64"),
    ],
)
def test_inputs_that_do_not_fit_name_the_layer(x: Any, kind: type[Exception], message: str, compiled: bool) -> None:
    net = residual()
    net.hybridize(compiled)
    with pytest.raises(kind, match=message):
        net(x)


def test_forward_must_give_arrays() -> None:
    class Odd(gluon.HybridBlock):
        def __init__(self, output: Any) -> None:
            super().__init__()
            self.output = output

        def forward(self, x: Any) -> Any:
            return self.output

    for output in (None, {3}, object()):
        net = Odd(output)
        net.hybridize()
        with pytest.raises(TypeError, match=r"Odd: forward\(\) must give arrays"):
            net(mx.np.ones(1))
    with pytest.raises(NotImplementedError, match=r"HybridBlock has no forward\(\)"):
        gluon.HybridBlock()(mx.np.ones(1))


def test_asking_a_traced_array_for_values_is_said() -> None:
    class Peek(gluon.HybridBlock):
        def forward(self, x: Any) -> Any:
            return x * float(x.sum())

    net = Peek()
    assert net(mx.np.ones(2)).tolist() == [2, 2]
    net.hybridize()
    with pytest.raises(MXNetError, match="is being traced and only shapes are known"):
        net(mx.np.ones(2))
    assert mx.np.ones(2).sum() == 2


def test_a_parameter_of_nobody_is_refused() -> None:
    stray = gluon.Parameter("stray", shape=(2,), init="ones")
    stray.initialize()

    class Thief(gluon.HybridBlock):
        def forward(self, x: Any) -> Any:
            return x + stray.data()

    net = Thief()
    assert net(mx.np.ones(2)).tolist() == [2, 2]
    net.hybridize()
    with pytest.raises(MXNetError, match="Unknown input to HybridBlock: parameter 'stray'"):
        net(mx.np.ones(2))


def test_what_is_not_used_is_warned_of() -> None:
    class Lazy(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Dense(3, in_units=2, use_bias=False)

        def forward(self, x: Any, y: Any) -> Any:
            return y * 2

    net = Lazy()
    net.initialize()
    net.hybridize()
    with (
        pytest.warns(UserWarning, match="The 0-th input to HybridBlock is not used"),
        pytest.warns(UserWarning, match=r"Parameter dense.weight is not used"),
    ):
        assert net(mx.np.zeros(2), mx.np.ones(2)).tolist() == [2, 2]


def test_constants_met_on_the_way_are_part_of_the_graph() -> None:
    class Shift(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.mean = mx.np.array([1.0, 2.0])
            self.fixed = gluon.Constant([10.0, 20.0])

        def forward(self, x: Any) -> Any:
            return x - self.mean + self.fixed.data() + np.array([100, 200], np.float32)

    net = Shift()
    net.initialize()
    eager = net(mx.np.zeros(2))
    net.optimize_for(mx.np.zeros(2))
    assert net(mx.np.zeros(2)).tolist() == eager.tolist() == [109, 218]


# ---- hooks, shapes, threads -----------------------------------------------------------------------


def test_hooks_of_the_block_itself_see_arrays_and_those_inside_rest() -> None:
    net, x = residual(), array(1, 4, 5, 5)
    seen: list[Any] = []
    net.register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0].asnumpy()))
    net.register_forward_hook(lambda block, inputs, output: seen.append(output.asnumpy()))
    net.conv1.register_forward_hook(lambda block, inputs, output: seen.append("inside"))
    with pytest.warns(UserWarning, match="being hybridized while still having forward hook"):
        net.hybridize()
    y = net(x)
    close(seen[0], x, 0)
    close(seen[1], y, 0)
    assert len(seen) == 2


def test_infer_shape_completes_a_whole_net_before_it_is_initialized() -> None:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(6, 3), nn.BatchNorm(), nn.Flatten(), nn.Dense(5), nn.LayerNorm())
    net.infer_shape(mx.np.zeros((2, 3, 8, 8)))
    shapes = {name: p.shape for name, p in net.collect_params().items()}
    assert shapes["0.weight"] == (6, 3, 3, 3)
    assert shapes["1.running_var"] == (6,)
    assert shapes["3.weight"] == (5, 216)
    assert shapes["4.gamma"] == (5,)
    net.initialize()
    assert net[3].weight.data().shape == (5, 216)


def test_many_threads_share_one_first_call(compilations: list[Any]) -> None:
    net, x = Residual(), array(1, 4, 9, 9)
    net.initialize()
    net.hybridize(backend="ONEDNN")
    start, results = threading.Barrier(6), []
    interval = sys.getswitchinterval()

    def run() -> None:
        start.wait()
        results.append(net(x).asnumpy())

    threads = [threading.Thread(target=run) for _ in range(6)]
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(compilations) == 1
    assert len(results) == 6
    for result in results:
        close(result, results[0], 0)


def test_many_threads_run_while_parameters_change() -> None:
    net = nn.Dense(3, in_units=4, use_bias=False)
    net.initialize(mx.init.One())
    net.hybridize()
    x, errors = mx.np.ones((2, 4)), []

    def run() -> None:
        try:
            for _ in range(30):
                values = set(net(x).asnumpy().ravel().tolist())
                assert len(values) == 1, values
        except BaseException as error:
            errors.append(error)

    def change() -> None:
        for i in range(5):
            net.initialize(mx.init.Constant(i), force_reinit=True)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    change()
    for thread in threads:
        thread.join()
    assert not errors
    assert net(x).tolist() == [[16] * 3] * 2


def test_steps_show_the_plan() -> None:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(8, 3, in_channels=4), nn.BatchNorm(in_channels=8), nn.Activation("relu"))
    net.initialize()
    with pytest.raises(RuntimeError, match=r"HybridSequential: there is no plan; call optimize_for\(data\)"):
        net.steps()
    net.optimize_for(mx.np.ones((2, 4, 9, 9)))
    (convolution,) = [step for step in net.steps() if step.name not in ("pad", "reorder")]
    assert convolution.name == "fused_conv_bn_act_0"
    assert convolution.kernel.startswith("matmul")
    assert not convolution.on_host
    assert convolution.shape == (2, 8, 7, 7)
    assert convolution.dtype == np.float32


def test_steps_tell_what_numpy_runs() -> None:
    class Unwrapped(nn.HybridBlock):
        def forward(self, x: mx.np.ndarray) -> mx.np.ndarray:
            return mx.np.unwrap(mx.np.exp(x))

    net = Unwrapped()
    net.hybridize()
    net(mx.np.ones((2, 3)))
    assert [(step.name, step.kernel, step.on_host) for step in net.steps() if step.on_host] == [
        ("unwrap", "NumPy", True)
    ]


def test_a_dropped_network_goes_at_once_with_all_its_memory() -> None:
    """Its parameters may be large, and a collection may be long in coming."""
    net = nn.HybridSequential()
    net.add(nn.Dense(4, in_units=3), nn.Dense(2, in_units=4))
    net.initialize()
    net.hybridize()
    net(mx.np.ones((1, 3)))
    references = [weakref.ref(net), weakref.ref(net[0]), weakref.ref(net[0].weight)]
    gc.collect()
    gc.disable()
    try:
        del net
        assert [reference() for reference in references] == [None, None, None]
    finally:
        gc.enable()
