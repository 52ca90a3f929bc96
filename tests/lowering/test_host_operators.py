"""Which operators no kernel computes, whatever the inputs are: those that the documentation names."""

from __future__ import annotations

import re
from pathlib import Path

from op_samples import SAMPLES, Sample
from small_graphs import compiled

from minidnn.ir.graph import Graph, make_node, make_variable
from minidnn.ops import get_op, list_ops
from minidnn.plan.program import HostStep

PAGE = Path(__file__).parents[2] / "docs" / "compiler.md"


def documented() -> set[str]:
    """Operators of the table, where ``name_*`` are all whose names begin so."""
    section = PAGE.read_text().partition("## What runs on NumPy")[2]
    cells = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    found: set[str] = set()
    for name in re.findall(r"`([a-z0-9_*]+)`", " ".join(cells)):
        found.update(op for op in list_ops() if re.fullmatch(name.replace("*", ".*"), op))
    return found


def on_host(sample: Sample) -> set[str]:
    """Operators of one call's steps that NumPy computes as there is no kernel."""
    arrays = sample.arrays(3)
    if not all(a.size for a in arrays):
        return set()
    feed = {f"x{i}": a for i, a in enumerate(arrays)}
    made = make_node(sample.op, sample.op, [make_variable(name) for name in feed], sample.attributes(3))
    program = compiled(Graph([made[i] for i in range(made.num_outputs)]), feed)
    reason = "no kernel computes this operator"
    return {s.operator for s in program.steps if isinstance(s, HostStep) and s.reason == reason}


def test_the_documentation_names_them() -> None:
    found = set().union(*map(on_host, SAMPLES))
    assert found == {name for name in documented() if not get_op(name).is_dynamic}
