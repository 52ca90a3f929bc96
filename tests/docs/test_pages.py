"""Every code block of every page runs as it is printed, from an empty folder, and prints what the page shows.

The tutorial's are run by `test_tutorial`, which looks at what they leave.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from documents import DOCS, blocks, command_environment, run, unlike

import minidnn.cli
from minidnn_kernels.isa import ISAS

sys.path.append(str(DOCS))
from fill_tables import PAGES as TABLES
from fill_tables import commands, filled

PAGES = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]
CONSOLES = {page.name: [block for block in blocks(page) if block.language == "console"] for page in PAGES}


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "tutorial"], ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run_one_after_another(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    environment = command_environment(tmp_path)
    names: dict[str, Any] = {"__name__": page.stem}
    for block in blocks(page):
        run(block, names, folder, environment)


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_the_tables_are_those_of_what_they_describe(path: Path) -> None:
    """If not: python docs/fill_tables.py."""
    page = path.read_text("utf-8")
    assert filled(page) == page


def test_every_command_has_a_section_with_its_options_and_an_example() -> None:
    page = (DOCS / "command-line.md").read_text("utf-8")
    shown = [command for block in CONSOLES["command-line.md"] for command, _ in block.commands()]
    assert list(commands()) == list(minidnn.cli.COMMANDS)
    for name, parser in commands().items():
        assert f"\n## {name}\n" in page
        assert any(f"minidnn {name}" in command for command in shown)
        for option in parser._option_string_actions:
            assert option in ("-h", "--help") or f"`{option}" in page or f", {option}" in page


def test_the_page_names_every_instruction_set() -> None:
    *most, last = (f"`{isa.name}`" for isa in ISAS)
    assert f"{', '.join(most)} and {last}" in (DOCS / "command-line.md").read_text("utf-8")


def test_differences_between_a_page_and_what_is_printed_are_found() -> None:
    assert not unlike("a  1.25 ms\n", "b\na 3 ms\n")
    assert not unlike("┃ a ┃ 1 ┃\n...\n", "┃ a ┃ 22.5 ┃\n")
    assert not unlike("cpu  zen ...\n", "cpu zen avx\n")
    assert unlike("a 1 ms\nc\n", "a 2 ms\n") == ["c"]
    assert unlike("a 1 s\n", "a 1 ms\n") == ["a 1 s"]
