"""Commands on models of other frameworks: any inputs, integers too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from minidnn.cli import main


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """A model that looks up rows by integers and multiplies them by floats, for sequences of any length."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("ReduceMean", ["rows", "axis"], ["mean"], keepdims=0),
        helper.make_node("Add", ["mean", "more"], ["sum"]),
        helper.make_node("Gemm", ["sum", "weight"], ["scores"]),
    ]
    rng = np.random.default_rng(0)
    constants = {
        "table": rng.normal(size=(9, 4)).astype(np.float32),
        "axis": np.array([1]),
        "weight": rng.normal(size=(4, 3)).astype(np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "net",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "length"]),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, ["batch", 4]),
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_a_model_with_two_inputs_is_timed_profiled_drawn_and_quantized(
    classifier: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = classifier.parent
    assert main(["bench", str(classifier), "--rounds", "1", "--batch", "2", "--dim", "length=5"]) == 0
    assert main(["profile", str(classifier), "--rounds", "1", "-o", str(folder / "steps.txt")]) == 0
    assert main(["viz", str(classifier), "-o", str(folder / "net.svg")]) == 0
    np.savez(folder / "calib.npz", ids=np.zeros((6, 5), np.int64), more=np.ones((6, 4), np.float32))
    assert main(["quantize", str(classifier), "--calib", str(folder / "calib.npz"), "-o", str(folder / "int8")]) == 0
    shown = capsys.readouterr().out
    assert "int8 is" in shown
    assert (folder / "int8" / "net-symbol.json").is_file()


def test_what_a_model_does_not_have_is_refused(classifier: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option, message in (
        ("--dim=width=3", "no size is called 'width'"),
        ("--shape=3x4", "--shape is for one input"),
    ):
        assert main(["profile", str(classifier), option]) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["bench", str(classifier.with_name("other.onnx"))])
    assert "there is no file" in capsys.readouterr().err


def test_an_exported_program_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
    torch.export.save(torch.export.export(module, (torch.ones(2, 3, 2, 2),)), tmp_path / "net.pt2")
    x = np.random.default_rng(0).normal(size=(4, 3, 2, 2)).astype(np.float32)
    labels = module(torch.from_numpy(x)).argmax(1).numpy()
    np.savez(tmp_path / "data.npz", x=x, y=labels)
    assert main(["accuracy", str(tmp_path / "net.pt2"), str(tmp_path / "data.npz"), "--calib", "1"]) == 0
    assert "Top1 Accuracy: 1.0000" in capsys.readouterr().out.splitlines()[0]
