"""The README is true: its example runs, its commands are those that .ci/run runs, its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
# Their fastest tests take seconds: whole networks, emulators.
SLOW_PARTS = ("accuracy", "bochs", "model_zoo", "qemu")
COMMANDS = ["pip install '.[demo]' && minidnn demo", "pip install '.[test]' && python -m pytest"]


def test_the_examples_run_and_leave_two_nodes(capsys: Any) -> None:
    fusing, quantizing = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(fusing, "README.md", "exec"), names)
    symbol, _ = names["net"].export(None)
    assert [node.op_name for node in symbol.operations()] == ["fused", "fused"]
    assert names["out"].shape == (1, 64, 56, 56)
    eager = names["SampleBlock"]()
    eager.load_dict({name: p.data() for name, p in names["net"].collect_params().items()})
    wanted = eager(names["data"]).asnumpy()
    np.testing.assert_allclose(names["out"].asnumpy(), wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
    assert capsys.readouterr().out
    exec(compile(quantizing, "README.md", "exec"), names)
    error = names["out"].asnumpy() - wanted
    assert (error**2).sum() < 1e-3 * (wanted**2).sum()


def test_the_two_commands_stand_in_the_readme_and_are_run_by_ci() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    for command in COMMANDS:
        assert f"\n    {command}\n" in README
        for part in command.split(" && "):
            assert part in script


def test_every_link_of_readme_and_contributing_leads_to_a_file() -> None:
    texts = {name: (ROOT / name).read_text("utf-8") for name in ("README.md", "CONTRIBUTING.md")}
    links = [link for text in texts.values() for link in re.findall(r"\]\(([^)#:]+)\)", text)]
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


def test_every_file_that_the_map_names_is_there() -> None:
    """A name stands for a path from the top, in `minidnn/`, or in the folder of the name before it."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rows = [line for line in text.split("## Which file to open")[1].split("\n## ")[0].splitlines() if "`" in line]
    assert len(rows) > 15
    for row in rows:
        folder = Path()
        for name in re.findall(r"`([\w/]+(?:\.py|/))`", row):
            found = [place / name for place in (Path(), Path("minidnn"), folder) if (ROOT / place / name).exists()]
            assert found, f"{name} in: {row}"
            folder = found[-1].parent if name.endswith(".py") else found[-1]


def test_the_quick_tests_are_of_every_part() -> None:
    tests = ROOT / "tests"
    quick = [tests / name for name in (tests / "quick.txt").read_text("utf-8").split()]
    assert not [path for path in quick if not path.is_file()]
    folders = {path.parent for path in tests.rglob("test_*.py")} - {tests / name for name in SLOW_PARTS}
    assert {path.parent for path in quick} >= folders
