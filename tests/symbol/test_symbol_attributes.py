"""Whatever an attribute of a node in a symbol file says, it is understood, or refused by the node's name."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

import minidnn as mx
from minidnn.errors import DataError, MXNetError
from minidnn.gluon import SymbolBlock

ASSETS = Path(__file__).parent.parent / "assets" / "mxnet"
FILES = [*sorted((ASSETS / "ops").glob("*-symbol.json")), ASSETS / "smallconv-symbol.json"]
TEXTS = [
    "", "None", "()", "(1, 2)", "[1,2]", "-1", "0", "7", "64", "65536", "100000000000", "9" * 5000, "1e999", "nan",
    "True", "abc", "(None,)", "((1,2),(3,4))", "(-1,-1)", "(9999999999,9999999999)", "(100000,100000,100000)", "'x'",
    "object", "S5", "M8", ">f4", "f4,f4", "(", "(" * 300, "-" * 1000, "(1.5,)", "\x00", "{'a':1}", "lambda: 0",
    '["normal", {"sigma": "x"}]', '["constant", {"value": [1, 2, 3]}]', '["nope", {}]', '["xavier", [1]]', "[",
    "[[1],{}]",
    '["zero", {"a": 1}]', '["msraprelu", {"slope": 1e200}]', '["orthogonal", {"scale": []}]',
]  # fmt: skip
VALUES = [
    None, True, -1, 10**30, 1.5, "x", [], {}, [[0, 0, 0]], [[-1, 0, 0]], [[10**6, 0, 0]], [[0, 5, 0]], [["a", 0]],
    [None], {"a": 1}, {"a": "1"}, [[]], [[0]], [[True, 0, 0]],
]  # fmt: skip
HINTS = ["__shape__", "__dtype__", "__init__", "__lr_mult__", "__wd_mult__", "__storage_type__"]


def try_out(path: Path, fields: Any) -> None:
    """Read a symbol, make a block of it, and initialize that."""
    path.write_text(json.dumps(fields))
    symbol = mx.sym.load(path)
    inputs = [name for name in symbol.list_inputs() if name.startswith("data")] or symbol.list_inputs()[:1]
    SymbolBlock.imports(path, inputs).initialize()


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name.removesuffix("-symbol.json"))
def test_any_text_of_any_attribute_is_understood_or_refused_by_node(tmp_path: Path, file: Path) -> None:
    fields, draw = json.loads(file.read_text()), random.Random(11)
    for number, node in enumerate(fields["nodes"]):
        for key in [*node.get("attrs", {}), *HINTS]:
            for text in draw.sample(TEXTS, 3):
                changed = copy.deepcopy(fields)
                changed["nodes"][number].setdefault("attrs", {})[key] = text
                try:
                    try_out(tmp_path / "x.json", changed)
                except MXNetError as error:
                    assert f"{node['name']!r}" in str(error), (key, text)
                except (TypeError, ValueError, MemoryError) as error:  # an initializer's
                    assert key in ("__init__", "__shape__"), (key, text)
                    assert f"Parameter {node['name']!r}" in str(error), (key, text)


@pytest.mark.parametrize("file", FILES[::4], ids=lambda path: path.name.removesuffix("-symbol.json"))
def test_any_value_of_any_field_is_understood_or_refused(tmp_path: Path, file: Path) -> None:
    fields = json.loads(file.read_text())
    for number, node in enumerate(fields["nodes"]):
        for key in ("op", "inputs", "attrs", "subgraphs"):
            for value in VALUES:
                changed = copy.deepcopy(fields)
                changed["nodes"][number][key] = value
                try:
                    try_out(tmp_path / "x.json", changed)
                except MXNetError as error:
                    assert f"{node['name']!r}" in str(error), (key, value)


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({"__init__": "(1, 2)"}, "'__init__' must be the name of an initializer"),
        ({"__init__": "7"}, "'__init__' must be the name of an initializer"),
        ({"__dtype__": "S5"}, "'__dtype__' must be a dtype"),
        ({"__dtype__": "("}, "'__dtype__' must be a dtype"),
        ({"__dtype__": "8"}, "'__dtype__' must be a dtype"),
        ({"__shape__": "(4294967296, 4294967296)"}, "'__shape__' must be a possible shape"),
        ({"__lr_mult__": "fast"}, "'__lr_mult__' must be a number"),
        ({"__wd_mult__": "(1,)"}, "'__wd_mult__' must be a number"),
    ],
)
def test_a_bad_hint_is_refused_by_variable_and_attribute(attrs: dict[str, str], message: str) -> None:
    nodes = [{"op": "null", "name": "weight", "attrs": attrs, "inputs": []}]
    with pytest.raises(DataError, match=rf"'weight'\): {message}"):
        mx.sym.fromjson(json.dumps({"nodes": nodes, "arg_nodes": [0], "heads": [[0, 0, 0]]}))


@pytest.mark.parametrize(
    ("init", "error", "message"),
    [
        ("nope", ValueError, "no initializer 'nope'"),
        ("[1]", ValueError, "not an initializer's JSON"),
        ('["normal", {"a": 1}]', TypeError, "unexpected keyword"),
        ('["constant", {"value": [1, 2]}]', ValueError, "Constant: could not broadcast"),
        ('["normal", {"sigma": "x"}]', TypeError, "Normal: "),
    ],
)
def test_an_initializer_that_fails_names_its_parameter(
    tmp_path: Path, init: str, error: type[Exception], message: str
) -> None:
    nodes: list[dict[str, Any]] = [
        {"op": "null", "name": "data", "inputs": []},
        {"op": "null", "name": "w", "attrs": {"__shape__": "(3, 3)", "__init__": init}, "inputs": []},
        {"op": "_npi_dot", "name": "d", "inputs": [[0, 0, 0], [1, 0, 0]]},
    ]
    (tmp_path / "i.json").write_text(json.dumps({"nodes": nodes, "arg_nodes": [0, 1], "heads": [[2, 0, 0]]}))
    block = SymbolBlock.imports(tmp_path / "i.json", ["data"])
    with pytest.raises(error, match=rf"Parameter 'w' of shape \(3, 3\): .*{message}"):
        block.initialize()


def test_tens_of_thousands_of_nodes_are_read() -> None:
    count = 50_000
    nodes: list[dict[str, Any]] = [{"op": "null", "name": "data", "inputs": []}]
    nodes += [{"op": "tanh", "name": f"t{i}", "inputs": [[i, 0, 0]]} for i in range(count)]
    symbol = mx.sym.fromjson(json.dumps({"nodes": nodes, "arg_nodes": [0], "heads": [[count, 0, 0]]}))
    assert len(symbol.operations()) == count
