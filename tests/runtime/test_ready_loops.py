"""Loops that a build has compiled are used where they were made of the very sources that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidnn.runtime import library, ready_loops
from minidnn.runtime.code_cache import CodeCache
from minidnn.runtime.library import Library
from minidnn.runtime.loops import LOOPS
from minidnn_kernels.isa import ISAS, best_isa


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as a build makes it, with one loop in it."""
    ready_loops.write_loops(["rows_loop"], tmp_path)
    return tmp_path


def test_a_build_writes_each_loop_for_every_architecture(folder: Path) -> None:
    archs = {isa.arch for isa in ISAS}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.ll")}
    assert files == {f"{arch}/rows_loop.ll" for arch in archs}
    for arch in archs:
        ir_text = ready_loops.read_loop("rows_loop", arch, folder)
        assert ir_text is not None
        assert "define void @rows_loop(" in ir_text


def test_a_second_build_compiles_only_what_has_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def note(names: list[str], arch: str) -> dict[str, str]:
        compiled.extend(f"{arch} {name}" for name in names)
        return dict.fromkeys(names, "")

    monkeypatch.setattr(ready_loops, "compile_here", note)
    ready_loops.write_loops(["rows_loop"], folder)
    assert compiled == []
    ready_loops.write_loops(["rows_loop", "copy_loop"], folder)
    assert {name.split()[1] for name in compiled} == {"copy_loop"}


def test_every_loop_is_built_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready_loops, "compile_here", lambda names, _: dict.fromkeys(names, "text"))
    ready_loops.write_loops(folder=tmp_path)
    assert {path.stem for path in tmp_path.rglob("*.ll")} == set(LOOPS)


def test_a_build_that_ends_early_leaves_no_half_loops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready_loops, "compile_here", lambda names, _: dict.fromkeys(names, "text that is no ASCII: ×"))
    with pytest.raises(UnicodeEncodeError):
        ready_loops.write_loops(["rows_loop"], tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("change", ["sources", "llvmlite", "text", "nothing", "letters"])
def test_a_loop_of_other_sources_is_not_used(change: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = folder.glob(f"{best_isa().arch}/*.ll")
    if change == "sources":
        monkeypatch.setattr(ready_loops, "sources_digest", lambda: "0" * 64)
    elif change == "llvmlite":
        monkeypatch.setattr(ready_loops.llvmlite, "__version__", "0.1")
    else:
        path.write_bytes({"text": b"; something\n", "nothing": b"", "letters": b"\xff\xfe"}[change])
    assert ready_loops.read_loop("rows_loop", best_isa().arch, folder) is None
    assert ready_loops.read_loop("../rows_loop", best_isa().arch, folder) is None


def test_a_library_takes_what_is_ready_and_has_the_rest_compiled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def compile_others(names: list[str], arch: str) -> dict[str, str]:
        asked.append(names)
        return {name: f"define void @{name}(i64 %0, i64 %1, i64 %2, i64 %3) {{\n  ret void\n}}\n" for name in names}

    monkeypatch.setattr(library, "read_loop", lambda name, arch: ready_loops.read_loop(name, arch, folder))
    monkeypatch.setattr(library, "compile_loops", compile_others)
    made = Library(best_isa(), CodeCache(None))
    made.prepare(["rows_loop", "copy_loop", "pool_loop"], [])
    assert asked == [["copy_loop", "pool_loop"]]
    assert made.loop("rows_loop")
    assert asked == [["copy_loop", "pool_loop"]]
    assert len({made.loop(name) for name in ("rows_loop", "copy_loop", "pool_loop")}) == 3
