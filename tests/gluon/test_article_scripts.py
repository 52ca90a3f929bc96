"""The first half of the article, and the names it takes from the package."""

from __future__ import annotations

from typing import Any

import minidnn as mx
from minidnn.gluon import nn


class SampleBlock(nn.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(channels=8, kernel_size=3, strides=1, padding=1, use_bias=False, in_channels=8)
        self.bn1 = nn.BatchNorm()
        self.conv2 = nn.Conv2D(channels=8, kernel_size=3, strides=1, padding=1, use_bias=False, in_channels=8)
        self.bn2 = nn.BatchNorm()

    def forward(self, x: Any) -> Any:
        out = mx.npx.activation(self.bn1(self.conv1(x)), "relu")
        out = self.bn2(self.conv2(out))
        return mx.npx.activation(out + x, "relu")


def test_two_nodes_are_left_of_the_articles_block() -> None:
    mx.npx.set_np()
    net = SampleBlock()
    net.initialize()
    data = mx.np.zeros(shape=(1, 8, 12, 12))
    net.optimize_for(data, backend="ONEDNN")
    sym, _ = net.export(None)
    assert [node.name for node in sym.operations()] == ["fused_conv_bn_act_0", "fused_conv_bn_add_act_1"]
    attrs = sym.attr_dict()
    assert attrs["fused_conv_bn_act_0"]["with_bn"] == attrs["fused_conv_bn_act_0"]["with_act"] == "true"
    assert attrs["fused_conv_bn_add_act_1"]["with_sum"] == "true"
    unfused = SampleBlock()
    unfused.initialize()
    unfused.hybridize()
    unfused(data)
    assert [n.op_name for n in unfused.export(None)[0].optimize_for(backend="ONEDNN").operations()] == ["fused"] * 2


def test_the_package_has_mxnets_names() -> None:
    assert mx.np is mx.numpy
    assert mx.sym is mx.symbol
    assert mx.init is mx.initializer
    assert mx.context is mx.device
    assert mx.viz is mx.visualization
    assert mx.cpu() == mx.current_device() == mx.current_context() == mx.Context("cpu", 0) == mx.Device("cpu")
    assert mx.num_gpus() == 0
    assert mx.gluon.nn.HybridBlock is mx.gluon.HybridBlock is mx.gluon.block.HybridBlock
    assert mx.gluon.parameter.Parameter is mx.gluon.Parameter
    assert mx.__version__.split(".")[0].isdigit()
    assert issubclass(mx.gluon.DeferredInitializationError, mx.MXNetError)
    mx.set_num_threads(mx.get_num_threads())
    mx.random.seed(1)
    for module in (mx, mx.gluon, nn):
        assert all(hasattr(module, name) for name in module.__all__)
    assert not hasattr(mx, "nd")
