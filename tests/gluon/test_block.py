"""The tree of blocks: children, names, parameters, hooks, files, pictures in text."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from gluon_helpers import Residual, close, draw, residual

import minidnn as mx
from minidnn import gluon
from minidnn.errors import DataError, ShapeError
from minidnn.gluon import nn


class Model(gluon.Block):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Dense(3, in_units=2)
        self.rest = nn.Sequential()
        self.rest.add(nn.Dense(4, in_units=3, use_bias=False), nn.Dense(1))
        self.scale = gluon.Parameter("scale", shape=(1,), init="ones")

    def forward(self, x: Any) -> Any:
        return self.rest(mx.npx.relu(self.first(x))) * self.scale.data()


def test_parameters_have_structural_names() -> None:
    net = Model()
    assert list(net.collect_params()) == [
        "scale",
        "first.weight",
        "first.bias",
        "rest.0.weight",
        "rest.1.weight",
        "rest.1.bias",
    ]
    assert list(net.collect_params(".*weight|scale")) == ["scale", "first.weight", "rest.0.weight", "rest.1.weight"]
    assert list(net.collect_params("weight")) == []
    assert list(net.params) == ["scale"]


def test_a_block_shows_its_tree() -> None:
    assert repr(Model()) == (
        "Model(\n"
        "  (first): Dense(2 -> 3, linear)\n"
        "  (rest): Sequential(\n"
        "    (0): Dense(3 -> 4, linear)\n"
        "    (1): Dense(None -> 1, linear)\n"
        "  )\n"
        ")"
    )


def test_a_block_of_any_kind_runs() -> None:
    net = Model()
    net.initialize(mx.init.Xavier())
    assert net(mx.np.ones((5, 2))).shape == (5, 1)


def test_sequences_are_indexed_sliced_and_counted() -> None:
    net = nn.HybridSequential()
    net.add(nn.Dense(2), nn.Activation("relu"), nn.Dense(3))
    assert len(net) == 3
    assert [type(layer).__name__ for layer in net] == ["Dense", "Activation", "Dense"]
    assert net[-1] is net[2]
    tail = net[1:]
    assert isinstance(tail, nn.HybridSequential)
    assert tail[1] is net[2]
    assert list(tail.collect_params()) == ["1.weight", "1.bias"]
    with pytest.raises(IndexError):
        net[3]


def test_outputs_of_one_block_are_the_inputs_of_the_next() -> None:
    net = nn.Sequential()
    net.add(nn.Lambda(lambda x: (x, x + 1)), nn.Lambda(lambda a, b: (a + b, a, b)))
    assert [a.tolist() for a in net(mx.np.array([1.0]))] == [[3], [1], [2]]


def test_what_is_no_block_cannot_be_a_child() -> None:
    with pytest.raises(ValueError, match=r"Children of HybridBlock must also be HybridBlock, but Lambda"):
        nn.HybridSequential().add(nn.Lambda(lambda x: x))
    with pytest.raises(TypeError, match=r"a child must be a Block, got str"):
        nn.Sequential().add("relu")  # type: ignore[arg-type]


def test_attributes_keep_their_kind() -> None:
    net = Model()
    net.first = nn.Dense(3, in_units=7)
    assert net.collect_params()["first.weight"].shape == (3, 7)
    with pytest.raises(TypeError, match=r"Changing attribute type for first from .*Dense.* to .*NoneType"):
        net.first = None  # type: ignore[assignment]
    with pytest.raises(TypeError, match=r"Changing attribute type for scale"):
        net.scale = 3  # type: ignore[assignment]


def test_forgetting_super_init_is_said() -> None:
    class Forgetful(gluon.HybridBlock):
        def __init__(self) -> None:
            self.layer = nn.Dense(3)

    with pytest.raises(RuntimeError, match=r"call super\(\).__init__\(\) before assigning 'layer' in Forgetful"):
        Forgetful()


def test_a_list_of_blocks_is_warned_of() -> None:
    class Listed(gluon.Block):
        def __init__(self) -> None:
            super().__init__()
            self.layers = {"all": [nn.Dense(3)]}

    with pytest.warns(UserWarning, match=r'"Listed.layers" is an unregistered container with Blocks'):
        assert not Listed().collect_params()


def test_blocks_in_a_list_beside_the_tree_are_fine() -> None:
    net = Model()
    net.order = [net.rest, net.rest[0]]  # type: ignore[attr-defined]
    assert len(net.collect_params()) == 6


def test_apply_visits_children_first() -> None:
    seen: list[str] = []
    net = Model()
    assert net.apply(lambda block: seen.append(type(block).__name__)) is net
    assert seen == ["Dense", "Dense", "Dense", "Sequential", "Model"]


def test_shared_parameters_are_one() -> None:
    one, two = nn.Dense(3, in_units=2), nn.Dense(3, in_units=2)
    assert two.share_parameters(one.collect_params()) is two
    assert two.weight is one.weight
    net = nn.HybridSequential()
    net.add(one, two)
    net.initialize()  # without a warning of a second initialization
    one.weight.set_data(mx.np.ones((3, 2)))
    assert two.weight.data().tolist() == [[1, 1]] * 3
    with pytest.warns(UserWarning, match=r"Parameter name gamma is not in the current model!"):
        one.share_parameters({"gamma": gluon.Parameter("gamma")})
    with pytest.raises(ValueError, match=r"'shared' should be in type of Dict"):
        one.share_parameters([])  # type: ignore[arg-type]
    assert one.share_parameters(None) is one


def test_initialize_deferred_then_again() -> None:
    net = nn.Dense(3)
    net.initialize()
    net(mx.np.ones((2, 5)))
    before = net.weight.data().asnumpy()
    with pytest.warns(UserWarning, match=r"already initialized"):
        net.initialize()
    np.testing.assert_array_equal(net.weight.data().asnumpy(), before)
    net.initialize(mx.init.One(), force_reinit=True)
    assert net.weight.data().tolist() == [[1] * 5] * 3


def test_uninitialized_layers_are_named() -> None:
    net = Residual()
    with pytest.raises(RuntimeError, match=r"^conv1: Parameter 'weight' has not been initialized"):
        net(mx.np.ones((1, 4, 5, 5)))
    net.hybridize()
    with pytest.raises(RuntimeError, match=r"^conv1: Parameter 'weight' has not been initialized"):
        net(mx.np.ones((1, 4, 5, 5)))


def test_unknown_shapes_without_infer_shape_are_said() -> None:
    class Layer(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.weight = gluon.Parameter("weight", shape=(3, 0), allow_deferred_init=True)

        def forward(self, x: Any) -> Any:
            return x * self.weight.data()

    layer = Layer()
    layer.initialize()
    with pytest.raises(RuntimeError, match=r"Layer has parameters with unknown shape. .* are weight \(\(3, -1\)\)"):
        layer(mx.np.ones((3, 3)))


def test_hooks_see_inputs_and_outputs_until_they_are_detached() -> None:
    net = nn.Dense(3, in_units=2)
    net.initialize()
    seen: list[Any] = []
    before = net.register_forward_pre_hook(lambda block, inputs: seen.append(("before", block, inputs)))
    with net.register_forward_hook(lambda block, inputs, output: seen.append(("after", block, inputs, output))):
        x = mx.np.ones((1, 2))
        y = net(x)
    assert seen == [("before", net, (x,)), ("after", net, (x,), y)]
    before.detach()
    before.detach()
    net(x)
    assert len(seen) == 2


def test_cast_reaches_all_parameters_but_those_of_batch_norm() -> None:
    net = residual()
    net.cast("float64")
    assert {p.data().dtype for p in net.collect_params().values()} == {np.dtype("float64")}
    net.cast("float16")
    kinds = {name: str(p.dtype) for name, p in net.collect_params().items()}
    assert {kind for name, kind in kinds.items() if "bn" in name} == {"float32"}
    assert {kind for name, kind in kinds.items() if "conv" in name} == {"float16"}


def test_setattr_and_devices_reach_all_parameters() -> None:
    net = residual()
    net.setattr("grad_req", "null")
    net.zero_grad()
    net.reset_ctx(mx.cpu())
    net.reset_device(mx.cpu())
    assert {p.grad_req for p in net.collect_params().values()} == {"null"}


# ---- files ----------------------------------------------------------------------------------------


def test_parameters_survive_a_file(tmp_path: Path) -> None:
    net, x = residual(), mx.np.array(draw(1, 4, 6, 6))
    net.save_parameters(tmp_path / "net.params")
    assert set(safetensors.numpy.load_file(tmp_path / "net.params")) == set(net.collect_params())
    other = Residual()
    other.load_parameters(tmp_path / "net.params")
    close(other(x), net(x), 0)
    third = Residual()
    third.initialize()
    third.load_parameters(str(tmp_path / "net.params"), device=mx.cpu())
    close(third(x), net(x), 0)


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "net.params"
    residual().save_parameters(file)
    with pytest.raises(DataError, match=r"'conv1.weight'.* expected \(5, 5, 3, 3\) vs saved \(4, 4, 3, 3\)"):
        Residual(5).load_parameters(file)
    with pytest.raises(DataError, match=r"Parameter '0.weight' is missing in 'file: .*net.params'"):
        net = nn.HybridSequential()
        net.add(nn.Dense(3))
        net.load_parameters(file)
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"net.params: record .* truncated"):
        Residual().load_parameters(file)
    with pytest.raises(FileNotFoundError, match=r"missing.params"):
        Residual().load_parameters(tmp_path / "missing.params")


def test_a_complex_parameter_is_refused(tmp_path: Path) -> None:
    mx.npx.save(tmp_path / "ok", {"weight": mx.np.ones(2)})
    safetensors.numpy.save_file({"weight": np.ones((3, 2), np.complex64)}, tmp_path / "net.params")
    with pytest.raises(DataError, match=r"record 'weight': a parameter cannot be complex64"):
        nn.Dense(3, use_bias=False).load_parameters(tmp_path / "net.params", cast_dtype=True)


def test_shared_parameters_are_saved_once_where_that_is_asked_for(tmp_path: Path) -> None:
    net = nn.HybridSequential()
    net.add(nn.Dense(2, in_units=2), nn.Dense(2, in_units=2))
    net[1].share_parameters(net[0].collect_params())
    net.initialize()
    net.save_parameters(tmp_path / "all")
    net.save_parameters(tmp_path / "once", deduplicate=True)
    assert len(safetensors.numpy.load_file(tmp_path / "all")) == 4
    assert set(safetensors.numpy.load_file(tmp_path / "once")) == {"1.weight", "1.bias"}
    net.load_parameters(tmp_path / "once")
    net.load_parameters(tmp_path / "all")


def test_what_is_not_initialized_cannot_be_saved(tmp_path: Path) -> None:
    net = nn.Dense(3)
    net.initialize()
    with pytest.raises(gluon.DeferredInitializationError, match=r"Parameter 'weight'"):
        net.save_parameters(tmp_path / "net.params")
    assert not list(tmp_path.iterdir())


def test_save_and_load_check_the_outline(tmp_path: Path) -> None:
    net, x = residual(), mx.np.array(draw(1, 4, 5, 5))
    net.save(tmp_path / "net")
    other = Residual()
    other.load(tmp_path / "net")
    close(other(x), net(x), 0)
    with pytest.raises(DataError, match=r"net-model.json: the outline of another block than this Dense"):
        nn.Dense(3).load(tmp_path / "net")
    (tmp_path / "net-model.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"net-model.json: not the outline of a block"):
        other.load(tmp_path / "net")


def test_blocks_copy_and_pickle(tmp_path: Path) -> None:
    net, x = residual(), mx.np.array(draw(1, 4, 5, 5))
    net.optimize_for(x)
    expected = net(x)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):  # noqa: S301
        close(other(x), expected, 0)
        other.conv1.weight.set_data(mx.np.zeros((4, 4, 3, 3)))
        close(net(x), expected, 0)


# ---- summary --------------------------------------------------------------------------------------

SUMMARY = """\
--------------------------------------------------------------------------------
        Layer (type)                                Output Shape         Param #
================================================================================
               Input                                (1, 4, 5, 5)               0
            Conv2D-1                                (1, 4, 5, 5)             144
         BatchNorm-2                                (1, 4, 5, 5)              16
            Conv2D-3                                (1, 4, 5, 5)             144
         BatchNorm-4                                (1, 4, 5, 5)              16
          Residual-5                                (1, 4, 5, 5)               0
================================================================================
Parameters in forward computation graph, duplicate included
   Total params: 320
   Trainable params: 304
   Non-trainable params: 16
Shared params in forward computation graph: 0
Unique parameters in model: 320
--------------------------------------------------------------------------------
"""


@pytest.mark.parametrize("compiled", [False, True])
def test_summary_lists_the_layers(capsys: pytest.CaptureFixture[str], compiled: bool) -> None:
    net = residual()
    net.hybridize(compiled)
    net.summary(mx.np.ones((1, 4, 5, 5)))
    assert capsys.readouterr().out == SUMMARY


def test_summary_counts_shared_parameters_and_several_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    class Two(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Dense(3, in_units=2)

        def forward(self, a: Any, b: Any) -> Any:
            return {"sum": self.dense(a) + self.dense(b), "first": a}

    net = Two()
    net.initialize()
    net.summary(mx.np.ones((1, 2)), mx.np.ones((1, 2)))
    out = capsys.readouterr().out
    assert "(1, 2), (1, 2)" in out
    assert "sum: (1, 3), first: (1, 2)" in out
    assert "Shared params in forward computation graph: 9" in out
    assert "Unique parameters in model: 9" in out


def test_errors_name_the_layer_wherever_it_stands() -> None:
    class Deep(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.HybridSequential()
            self.features.add(nn.Identity(), Residual())

        def forward(self, x: Any) -> Any:
            return self.features(x)

    net = Deep()
    net.initialize()
    for _ in range(2):
        with pytest.raises(ShapeError, match=r"^features\.1\.conv1: convolution: data has 3 channels"):
            net(mx.np.ones((1, 3, 5, 5)))
        net.hybridize()


def test_a_layer_called_past_its_parent_has_its_path() -> None:
    class Past(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.HybridSequential()
            self.features.add(nn.Dense(3, in_units=2))
            self.own = [nn.Dense(3, in_units=7)]

        def forward(self, x: Any) -> Any:
            return self.own[0](self.features[0](x))

    net = Past()
    net.features.initialize()
    net.own[0].initialize()
    with pytest.raises(ShapeError, match=r"^features\.0: fully_connected"):
        net(mx.np.ones((1, 3)))
    with pytest.raises(ShapeError, match=r"^dense: fully_connected"):
        net(mx.np.ones((1, 2)))
