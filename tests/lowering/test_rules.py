"""The table of lowering rules: every name in it is an operator, every place in it a rule, and no rule is left out."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import minidnn.lowering
from minidnn.lowering.rules import ANCHORS, NETWORK_RULES, RULES, anchor_rule, rules_for
from minidnn.ops import list_ops

FOLDER = Path(minidnn.lowering.__file__).parent
PLACES = sorted({*ANCHORS.values(), *RULES.values(), *NETWORK_RULES.values()})
MODULES = sorted({place.split(".")[0] for place in PLACES})


def run(program: str) -> list[str]:
    """What a fresh process says to a program."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_every_operator_finds_the_rules_that_the_table_names() -> None:
    for op_name in list_ops():
        anchor = anchor_rule(op_name)
        found = [*([] if anchor is None else [anchor]), *rules_for(op_name)]
        named = [table[op_name] for table in (ANCHORS, RULES, NETWORK_RULES) if op_name in table]
        assert [f"{rule.__module__.rpartition('.')[2]}.{rule.__name__}" for rule in found] == named


def test_every_name_in_the_table_is_an_operator() -> None:
    assert {*ANCHORS, *RULES, *NETWORK_RULES} <= {*list_ops()}


@pytest.mark.parametrize("place", PLACES)
def test_every_rule_takes_what_it_is_given(place: str) -> None:
    module, function = place.split(".")
    rule = getattr(importlib.import_module(f"minidnn.lowering.{module}"), function)
    given = ["builder", "anchor"] if place in ANCHORS.values() else ["builder", "node", "inputs", "types"]
    inspect.signature(rule).bind(*given)


def test_no_rule_is_left_out() -> None:
    """What a module of rules offers is in the table, unless lowering calls it by its name."""
    sources = {path.stem: ast.parse(path.read_text("utf-8")) for path in FOLDER.glob("*.py")}
    called = {node.id for tree in sources.values() for node in ast.walk(tree) if isinstance(node, ast.Name)}
    offered = [
        f"{module}.{node.name}"
        for module in MODULES
        for node in sources[module].body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("lower_") and node.name not in called
    ]
    assert sorted(offered) == [place for place in PLACES if place.split(".")[1] not in called]


def test_no_rule_imports_what_looks_for_rules() -> None:
    """The table adds to the import graph: with that, too, no module reaches itself."""
    program = f"""
import importlib, sys, minidnn.engine, minidnn.lowering
class Refusing:
    def find_spec(self, name, path=None, target=None):
        assert name not in looking, name
looking = ("minidnn.lowering.lower", "minidnn.lowering.rules")
for name in looking:
    del sys.modules[name]
sys.meta_path.insert(0, Refusing())
for name in {MODULES}:
    importlib.import_module(f"minidnn.lowering.{{name}}")
print("done")
"""
    assert run(program) == ["done"]


def test_a_network_imports_the_rules_that_it_needs() -> None:
    program = """
import sys, minidnn as mx
from minidnn.gluon import nn
net = nn.HybridSequential()
net.add(nn.Conv2D(8, 3, activation="relu"), nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dense(4))
net.initialize()
net.optimize_for(mx.np.ones((1, 3, 8, 8)))
net(mx.np.ones((1, 3, 8, 8))).asnumpy()
print(*(name.rpartition(".")[2] for name in sys.modules if name.startswith("minidnn.lowering.")))
"""
    assert {*run(program)} & {*MODULES} == {"matmul", "pooling", "views"}
