"""The loops are compiled in a child process, or here where there can be none; either way they are the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from processes import environment, python

from minidnn.runtime import loops
from minidnn.runtime.code_cache import CodeCache
from minidnn.runtime.library import Library
from minidnn_kernels.host import host_arch
from minidnn_kernels.isa import best_isa


def test_the_process_that_runs_does_not_import_the_compiler() -> None:
    program = """
import sys
from processes import network
run, x, expected = network()
run([x])
print("numba" in sys.modules)
"""
    python(program)  # so that everything is in the cache
    done = python(program)
    assert done.stdout == "False\n", done.stderr


def test_where_no_child_can_be_started_the_loops_are_compiled_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for refused in (OSError("no process"), subprocess.TimeoutExpired("python", 1)):

        def refuse(*_: object, error: Exception = refused, **__: object) -> None:
            raise error

        monkeypatch.setattr(subprocess, "run", refuse)
        made = loops.compile_loops(["rows_loop"])
        assert made.keys() == {"rows_loop"}
        assert "define void @rows_loop(" in made["rows_loop"]


@pytest.mark.parametrize("output", [b"", b"[]", b"{}", b'{"other": ""}', b"\xff", b"null"])
def test_a_child_that_answers_rubbish_is_not_believed(output: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = subprocess.CompletedProcess([], 0, output, b"")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    assert loops._compile_in_child(["rows_loop"], host_arch()) is None


def test_a_program_that_is_not_python_is_not_run_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it was run"))
    for executable in ("/usr/bin/blender", "", None):
        monkeypatch.setattr(sys, "executable", executable)
        assert loops._compile_in_child(["rows_loop"], host_arch()) is None


def test_an_unknown_loop_is_an_error() -> None:
    with pytest.raises(KeyError, match="endless_loop"):
        Library(best_isa(), CodeCache(None)).loop("endless_loop")


def test_files_in_the_working_folder_are_not_imported(tmp_path: Path) -> None:
    """A program that runs in a downloaded folder must not run what lies in it."""
    trap = "from pathlib import Path; Path('imported').touch(); raise SystemExit(1)\n"
    for name in ("numba", "json", "llvmlite", "minidnn_kernels"):
        (tmp_path / f"{name}.py").write_text(trap)
    program = "from minidnn.runtime.loops import _compile_in_child; print(*_compile_in_child(['copy_loop'], 'x86_64'))"
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.stdout == "copy_loop\n", done.stderr
    assert not (tmp_path / "imported").exists()
