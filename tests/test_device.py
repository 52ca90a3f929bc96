"""Devices, and the parts of MXNet's API that stand there so that scripts run unchanged."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import minidnn as mx
from minidnn import autograd, device, util
from minidnn.errors import MXNetError
from minidnn.gluon import nn


def test_the_cpu_is_the_current_device() -> None:
    assert device.current_device() == device.cpu() == device.Device("cpu") == device.Device(device.cpu(0))
    assert device.current_context() == device.cpu()
    assert repr(device.cpu(1)) == "cpu(1)"
    assert len({device.cpu(), device.cpu(0), device.cpu(1), device.cpu_pinned()}) == 3
    assert device.num_gpus() == 0
    assert pickle.loads(pickle.dumps(device.cpu(2))) == device.cpu(2)  # noqa: S301


def test_a_device_is_a_context_of_its_own_thread() -> None:
    seen = []
    one = device.cpu(1)
    with one, device.cpu(2):
        assert device.current_device() == device.cpu(2)
        with one:
            thread = threading.Thread(target=lambda: seen.append(device.current_device()))
            thread.start()
            thread.join()
            assert device.current_device() == one
    assert seen == [device.cpu(0)]
    assert device.current_device() == device.cpu(0)


@pytest.mark.parametrize("make", [device.gpu, lambda: device.Device("gpu", 0), lambda: device.gpu_memory_info(0)])
def test_a_gpu_is_an_error_that_says_what_to_use(make: Callable[[], object]) -> None:
    with pytest.raises(MXNetError, match=r"no gpu\(0\); use mx.cpu\(\)"):
        make()


def test_an_unknown_device_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown device type 'tpu'"):
        device.Device("tpu")


def test_the_numpy_switches_change_nothing() -> None:
    class Layer:
        pass

    assert util.use_np(Layer) is Layer
    util.set_np(dtype=True)
    util.reset_np()
    assert util.is_np_array()
    assert util.is_np_shape()
    assert util.set_np_shape(False)
    assert not util.is_np_default_dtype()
    with util.np_shape(False), util.np_array(True):
        assert util.is_np_shape()

    @util.np_shape(True)
    def double(x: int) -> int:
        return 2 * x

    assert double(2) == 4


def test_pausing_what_never_runs_is_allowed() -> None:
    with autograd.pause(), autograd.predict_mode():
        assert not autograd.is_recording()
        assert not autograd.is_training()
    assert autograd.set_recording(False) is False
    assert autograd.set_training(False) is False


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("record", autograd.record),
        ("train_mode", autograd.train_mode),
        ("backward", autograd.backward),
        ("grad", autograd.grad),
        ("set_recording", lambda: autograd.set_recording(True)),
        ("set_training", lambda: autograd.set_training(True)),
        ("pause", lambda: autograd.pause(train_mode=True).__enter__()),
    ],
)
def test_training_is_refused(name: str, call: Callable[[], object]) -> None:
    with pytest.raises(MXNetError, match=rf"minidnn is for inference: autograd\.{name}"):
        call()


def test_ctx_is_another_name_of_device_wherever_scripts_of_mxnet_1_give_it(tmp_path: Path) -> None:
    net = nn.HybridSequential()
    net.add(nn.Dense(2, in_units=3))
    net.initialize(ctx=mx.cpu(1))
    assert net[0].weight.list_ctx() == [mx.cpu(1)]
    x = mx.np.ones((1, 3), ctx=mx.cpu())
    net.hybridize()
    wanted = net(x)
    net.reset_ctx(ctx=mx.cpu())
    assert (net[0].weight.data(ctx=mx.cpu()) == net[0].weight.data()).all()
    net.save_parameters(tmp_path / "net.params")
    net.load_parameters(tmp_path / "net.params", ctx=mx.cpu())
    net.load_dict({name: p.data() for name, p in net.collect_params().items()}, ctx=[mx.cpu()])
    files = net.export(tmp_path / "net")
    block = mx.gluon.SymbolBlock.imports(files[0], ["data"], files[1], ctx=mx.cpu())
    assert (block(x) == wanted).all()
    net[0].bias.initialize(ctx=mx.cpu(), force_reinit=True)
    net.collect_params().initialize(ctx=mx.cpu(), force_reinit=True)
    int8 = mx.contrib.quantization.quantize_net(net, calib_mode="naive", calib_data=[x], ctx=mx.cpu())
    assert int8(x).shape == (1, 2)
    with pytest.raises(TypeError, match=r"initialize\(\) got device and ctx"):
        net.initialize(device=mx.cpu(), ctx=mx.cpu())
    with pytest.raises(MXNetError, match="CPUs only"):
        net.initialize(ctx=mx.gpu())
