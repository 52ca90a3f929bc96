"""``minidnn quantize``: the files it writes, its report, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_network import export, write_samples

import minidnn as mx
from minidnn import serialization
from minidnn.cli import main
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import SymbolBlock, nn


def run(*arguments: Any) -> int:
    return main(["quantize", *map(str, arguments)])


@pytest.mark.parametrize("mode", ["naive", "entropy", "tuned"])
def test_the_files_are_the_network_that_quantize_net_gives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    net = export(tmp_path / "net")
    x, _ = write_samples(tmp_path / "data.npz", net, 32)
    arguments = ("--calib", tmp_path / "data.npz", "--batch", 16, "--mode", mode)
    assert run(tmp_path / "net", *arguments, "-o", tmp_path / "new" / "int8") == 0
    symbol, params = (tmp_path / "new" / "int8" / f"small-{ending}" for ending in ("symbol.json", "0000.params"))
    out = capsys.readouterr().out
    assert f"{symbol}: " in out
    assert f"{params}: " in out
    assert any(array.dtype == np.int8 for array in serialization.load(params).values())
    batches = [mx.np.array(x[:16]), mx.np.array(x[16:])]
    wanted = quantize_net(net, quantize_granularity="channel-wise", calib_mode=mode, calib_data=batches)
    written = SymbolBlock.imports(symbol, ["data"], params)
    np.testing.assert_array_equal(written(batches[0]).asnumpy(), wanted(batches[0]).asnumpy())


def test_calibration_needs_no_labels(tmp_path: Path) -> None:
    net = export(tmp_path / "net")
    x, _ = write_samples(tmp_path / "data.npz", net, 8)
    np.save(tmp_path / "x.npy", x)
    for data, folder in (("data.npz", "a"), ("x.npy", "b")):
        assert run(tmp_path / "net", "--calib", tmp_path / data, "-o", tmp_path / folder) == 0
    for name in ("small-symbol.json", "small-0000.params"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_report_shows_the_error_of_each_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = export(tmp_path / "net")
    write_samples(tmp_path / "data.npz", net, 8)
    assert run(tmp_path / "net", "--calib", tmp_path / "data.npz", "-o", tmp_path / "int8", "--report") == 0
    out = capsys.readouterr().out
    assert "signal to quantization noise, dB" in out
    for column in ("layer", "own", "accumulated"):
        assert column in out
    layers = re.findall(r"│ (\S+) +│ +(-?\d+\.\d) │ +(-?\d+\.\d) │", out)
    assert sum("conv" in name for name, *_ in layers) == 2
    own = [float(own) for _, own, _ in layers]
    assert own == sorted(own)


def test_the_network_itself_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = export(tmp_path / "net")
    write_samples(tmp_path / "data.npz", net, 4)
    before = {path: path.read_bytes() for path in (tmp_path / "net").iterdir()}
    assert run(tmp_path / "net", "--calib", tmp_path / "data.npz", "-o", tmp_path / "new" / ".." / "net") == 1
    assert "are the network that is to be quantized; give another folder" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "net").iterdir()} == before


def test_a_network_that_is_quantized_already_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = export(tmp_path / "net")
    write_samples(tmp_path / "data.npz", net, 4)
    assert run(tmp_path / "net", "--calib", tmp_path / "data.npz", "-o", tmp_path / "int8") == 0
    assert run(tmp_path / "int8", "--calib", tmp_path / "data.npz", "-o", tmp_path / "twice") == 1
    assert "small-symbol.json: the network is quantized already" in capsys.readouterr().err
    assert not (tmp_path / "twice").exists()


def test_a_network_with_nothing_to_quantize_stays_as_it_is(tmp_path: Path) -> None:
    net = nn.HybridSequential()
    net.add(nn.Activation("relu"))
    net.hybridize()
    net(mx.np.zeros((2, 3)))
    net.export(tmp_path / "relu")
    np.save(tmp_path / "x.npy", np.ones((4, 3), np.float32))
    assert run(tmp_path / "relu", "--calib", tmp_path / "x.npy", "-o", tmp_path / "int8") == 0
    (symbol,) = (tmp_path / "int8").glob("*-symbol.json")
    again = mx.gluon.SymbolBlock.imports(str(symbol), ["data"])
    assert again(mx.np.array([[-1.0, 2.0, 3.0]])).tolist() == [[0, 2, 3]]


@pytest.mark.parametrize(
    "x", [np.full((4, 3, 8, 8), np.nan), np.full((4, 3, 8, 8), np.inf), np.zeros((4, 1, 8, 8)), np.zeros((4, 9))]
)
def test_calibration_data_with_nan_infinity_or_a_wrong_shape_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], x: np.ndarray[Any, Any]
) -> None:
    export(tmp_path / "net")
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    assert run(tmp_path / "net", "--calib", tmp_path / "x.npy", "-o", tmp_path / "int8") == 1
    assert "minidnn: error: " in capsys.readouterr().err
    assert not (tmp_path / "int8").exists()


def test_missing_files_and_arguments_have_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(tmp_path / "net")
    assert run(tmp_path / "net", "--calib", tmp_path / "missing", "-o", tmp_path / "int8") == 1
    assert f"'{tmp_path / 'missing'}'" in capsys.readouterr().err
    for arguments, message in [
        (["--calib", "x.npy"], "the following arguments are required: -o/--output"),
        (["-o", "int8"], "the following arguments are required: --calib"),
        (["--calib", "x.npy", "-o", "int8", "--mode", "kl"], "invalid choice: 'kl'"),
    ]:
        with pytest.raises(SystemExit) as caught:
            run(tmp_path / "net", *arguments)
        assert caught.value.code == 2
        assert message in capsys.readouterr().err


def test_tuning_is_reported_layer_by_layer_and_keeps_what_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = export(tmp_path / "net")
    write_samples(tmp_path / "data.npz", net, 32)
    data = ("--calib", tmp_path / "data.npz", "--batch", 16)
    assert run(tmp_path / "net", *data, "-o", tmp_path / "int8", "--tuned", "--keep", "0", "--report") == 0
    out = capsys.readouterr().out
    rows = re.findall(r"│ (\S+) +│ ((?:equalized, )?second order) +│ +(-?\d+\.\d) │ +(-?\d+\.\d) │", out)
    assert sum("conv" in name for name, *_ in rows) == 2
    assert re.search(r"^outputs \d+\.\d dB, naive \d+\.\d dB, on 32 samples; a bound of 0 is finer", out, re.M)


def test_what_is_to_be_kept_belongs_to_tuning_and_is_in_points(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = export(tmp_path / "net")
    write_samples(tmp_path / "data.npz", net, 4)
    arguments = (tmp_path / "net", "--calib", tmp_path / "data.npz", "-o", tmp_path / "int8")
    assert run(*arguments, "--keep", "0.1") == 1
    assert "--keep belongs to --tuned" in capsys.readouterr().err
    for points in ("many", "-1", "101", "nan"):
        with pytest.raises(SystemExit):
            run(*arguments, "--tuned", "--keep", points)
        assert "percentage points" in capsys.readouterr().err
