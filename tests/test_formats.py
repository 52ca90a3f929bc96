"""Files say which minidnn wrote them; older ones are read, and newer formats refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import minidnn as mx
from minidnn import serialization
from minidnn.errors import DataError
from minidnn.formats import FORMAT, NOTE_KEY
from minidnn.gluon import SymbolBlock, nn


@pytest.fixture
def exported(tmp_path: Path) -> tuple[Path, Path]:
    net = nn.Dense(2, in_units=3)
    net.initialize()
    net.hybridize()
    net(mx.np.ones((1, 3)))
    symbol, params = net.export(tmp_path / "net")
    return Path(symbol), Path(params)


def rewritten(path: Path, **attrs: Any) -> None:
    fields = json.loads(path.read_text())
    fields["attrs"] = {key: value for key, value in {**fields["attrs"], **attrs}.items() if value is not None}
    path.write_text(json.dumps(fields))


def test_exported_files_say_who_wrote_them(exported: tuple[Path, Path]) -> None:
    symbol, params = exported
    attrs = json.loads(symbol.read_text())["attrs"]
    assert attrs["minidnn_version"] == ["str", mx.__version__]
    assert attrs["minidnn_format"] == ["int", FORMAT]
    assert attrs["mxnet_version"] == ["int", 20000]
    with safetensors.safe_open(params, "numpy") as file:
        assert file.metadata() == {NOTE_KEY: f"format {FORMAT}, version {mx.__version__}"}


def test_files_of_before_are_read(exported: tuple[Path, Path]) -> None:
    symbol, params = exported
    rewritten(symbol, minidnn_version=None, minidnn_format=None)
    safetensors.numpy.save_file(safetensors.numpy.load_file(params), params)
    SymbolBlock.imports(symbol, "data", params)(mx.np.ones((1, 3)))


def test_a_newer_format_of_a_graph_is_refused(exported: tuple[Path, Path]) -> None:
    symbol, params = exported
    rewritten(symbol, minidnn_version=["str", "99.1"], minidnn_format=["int", FORMAT + 1])
    with pytest.raises(DataError, match=rf"format {FORMAT + 1} by minidnn '99.1'; .* up to {FORMAT}: install a newer"):
        SymbolBlock.imports(symbol, "data", params)


def test_a_newer_format_of_parameters_is_refused(exported: tuple[Path, Path]) -> None:
    symbol, params = exported
    arrays = safetensors.numpy.load_file(params)
    safetensors.numpy.save_file(arrays, params, {NOTE_KEY: "format 2, version 99.1"})
    with pytest.raises(DataError, match=r"net-0000\.params: written in format 2 by minidnn '99\.1'"):
        SymbolBlock.imports(symbol, "data", params)


@pytest.mark.parametrize("noted", [["int", 0], ["int", -1], ["int", 1.5], ["str", "x"], ["int", []], ["int", True]])
def test_a_format_that_cannot_be_is_refused(exported: tuple[Path, Path], noted: Any) -> None:
    rewritten(exported[0], minidnn_format=noted)
    with pytest.raises(DataError, match="minidnn_format must be a number"):
        mx.sym.load(exported[0])


def test_a_note_that_cannot_be_is_refused(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"x": np.ones(2)}, tmp_path / "x", {NOTE_KEY: "something else"})
    with pytest.raises(DataError, match="minidnn_format must be a number"):
        serialization.load(tmp_path / "x")


def test_texts_of_a_user_are_kept_as_they_are(tmp_path: Path) -> None:
    serialization.save(tmp_path / "x", {"x": np.ones(2)}, {"mine": "text"})
    assert serialization.metadata(tmp_path / "x") == {"mine": "text"}
    serialization.save(tmp_path / "y", {"x": np.ones(2)})
    assert serialization.metadata(tmp_path / "y") == {}
