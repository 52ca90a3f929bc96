"""Modules of PyTorch as blocks: sizes, nesting, files, parameters, int8, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch_checks import close, flat

import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from minidnn.errors import DataError, GraphError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.rnn = nn.GRU(8, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.out = nn.Linear(8, 4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = torch.relu_(self.norm(self.conv(x))).flatten(2).transpose(1, 2)
        return {"classes": self.out(self.drop(self.layer(y))), "states": self.rnn(y)[1]}


def test_a_module_runs_for_any_batch_fused_and_not() -> None:
    torch.manual_seed(0)
    module = Net()
    module.norm.running_mean.uniform_()
    net = mx.interop.from_torch(module, (torch.randn(2, 3, 4, 5),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert module.training
    module.eval()
    assert set(net.collect_params()) >= {"conv.weight", "layer.self_attn.in_proj_weight", "out.bias"}
    assert "x: (batch, 3, 4, 5)" in net.explain_shapes()
    for size in (2, 3):
        x = torch.randn(size, 3, 4, 5)
        made = net(mx.np.array(x.numpy()))
        wanted = module(x)
        assert list(made) == list(wanted)
        for name, tensor in wanted.items():
            close(made[name].asnumpy(), tensor, 2e-5, name)
    net.optimize_for(mx.np.array(x.numpy()))
    close(net(mx.np.array(x.numpy()))["classes"].asnumpy(), wanted["classes"], 2e-5)


def test_a_file_is_read_quantized_and_written_as_onnx(tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()
    x = torch.randn(2, 3, 6, 6)
    torch.export.save(torch.export.export(module, (x,)), tmp_path / "net.pt2")
    net = mx.interop.from_torch(tmp_path / "net.pt2")
    data, wanted = mx.np.array(x.numpy()), module(x).detach().numpy()
    np.testing.assert_allclose(net(data).asnumpy(), wanted, rtol=1e-5, atol=1e-6)
    quantized = quantize_net(net, calib_mode="naive", calib_data=[data])
    np.testing.assert_allclose(quantized(data).asnumpy(), wanted, atol=0.05 * np.abs(wanted).max())
    back = mx.onnx.import_model(mx.onnx.export_model(net, tmp_path / "net.onnx"))
    np.testing.assert_allclose(back(data).asnumpy(), wanted, rtol=1e-5, atol=1e-6)


def test_what_is_not_supported_is_named() -> None:
    class Inner(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.inv(x)

    with pytest.raises(GraphError, match=r"node 'linalg_inv.*\(linalg_inv.*\) in '0': the operator is not supported"):
        mx.interop.from_torch(nn.Sequential(Inner()), (torch.eye(3),))


def test_what_is_no_module_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.pt2").write_bytes(b"nothing")
    (tmp_path / "zip.pt2").write_bytes(b"PK\x03\x04" + bytes(40))
    for name in ("no.pt2", "zip.pt2"):
        with pytest.raises(DataError, match=name):
            mx.interop.from_torch(tmp_path / name)
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        mx.interop.from_torch(3)
    with pytest.raises(ValueError, match="'auto'"):
        mx.interop.from_torch(nn.ReLU(), (torch.ones(2),), dynamic_shapes="any")


def test_compiled_modules_follow_sizes_and_weights_and_leave_the_rest_to_pytorch() -> None:
    mx.interop.register_torch_backend()
    torch._dynamo.reset()

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 5), nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = self.first(x).relu()
            return self.last(torch.mode(y, 1, keepdim=True).values.expand(3, 3)), y.t()

    torch.manual_seed(2)
    module = Mixed().eval()
    fast = torch.compile(module, backend="minidnn")
    x = torch.randn(3, 4)
    with torch.no_grad(), pytest.warns(UserWarning, match=r"PyTorch computes .*mode"):
        made = fast(x)
    for one, other in zip(flat(made), flat(module(x)), strict=True):
        close(one, other, 1e-5)
        assert one.stride() == other.stride()

    plain = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 2)).eval()
    fast = torch.compile(plain, backend="minidnn", dynamic=True)
    for size in (2, 5):
        x = torch.randn(size, 4)
        close(fast(x).detach(), plain(x), 1e-5)
    with torch.no_grad():
        plain[0].weight.mul_(2)
        close(fast(x), plain(x), 1e-5)
