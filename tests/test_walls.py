"""The walls of the house: which package may import which, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidnn
import minidnn_kernels

ROOTS = {"minidnn": Path(minidnn.__file__).parent, "minidnn_kernels": Path(minidnn_kernels.__file__).parent}

# Room -> what it must not import, directly. A room is a package or a module.
WALLS = {
    "minidnn.ops": ["minidnn_kernels", "minidnn.runtime", "minidnn.lowering", "minidnn.engine", "minidnn.gluon"],
    "minidnn.passes": ["minidnn_kernels", "minidnn.runtime", "minidnn.lowering", "minidnn.engine", "minidnn.gluon"],
    "minidnn.symbol": ["minidnn_kernels", "minidnn.runtime", "minidnn.lowering", "minidnn.gluon"],
    "minidnn.viz": ["minidnn_kernels", "minidnn.runtime", "minidnn.lowering", "minidnn.engine", "minidnn.gluon"],
    "minidnn.contrib": ["minidnn_kernels", "minidnn.runtime", "minidnn.lowering"],
    "minidnn.interop": ["minidnn_kernels", "minidnn.runtime", "minidnn.lowering"],
    "minidnn.gluon": ["minidnn_kernels", "minidnn.runtime", "minidnn.lowering"],
    "minidnn.numpy": ["minidnn_kernels", "minidnn.runtime", "minidnn.lowering", "minidnn.gluon"],
    "minidnn.npx": ["minidnn_kernels", "minidnn.runtime", "minidnn.lowering", "minidnn.gluon"],
    "minidnn.runtime": ["minidnn.gluon", "minidnn.numpy", "minidnn.npx", "minidnn.passes"],
    "minidnn.lowering": ["minidnn.gluon", "minidnn.numpy", "minidnn.npx"],
    "minidnn_kernels": ["minidnn"],
}


def modules() -> Iterator[tuple[str, Path]]:
    for package, root in ROOTS.items():
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            yield ".".join((package, *(p for p in parts if p != "__init__"))), path


def imports(name: str, path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, at the top or inside a function, for types or to run; and the line.

    ``from a import b`` counts as importing a.b: b may be a module.
    """
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((f"{source}.{alias.name}", node.lineno) for alias in node.names)


def is_in(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def breaches(room: str, forbidden: list[str]) -> list[str]:
    return [
        f"{path}:{line} imports {imported}"
        for name, path in modules()
        if is_in(name, room)
        for imported, line in imports(name, path)
        if any(is_in(imported, wall) for wall in forbidden)
    ]


@pytest.mark.parametrize("room", WALLS)
def test_room_imports_nothing_from_behind_its_walls(room: str) -> None:
    assert any(is_in(name, room) for name, _ in modules()), f"{room} has gone: take its wall down or name it anew"
    assert breaches(room, WALLS[room]) == []


def test_a_breach_would_be_found() -> None:
    assert breaches("minidnn.symbol", ["minidnn.passes"])
    assert breaches("minidnn.passes", ["minidnn.ops"])


def test_relative_imports_are_read_too(tmp_path: Path) -> None:
    source = tmp_path / "deep.py"
    source.write_text("from ..lowering import plan\nfrom . import near\nimport minidnn.runtime.driver as d\n")
    found = [module for module, _ in imports("minidnn.gluon.deep", source)]
    assert found == ["minidnn.lowering.plan", "minidnn.gluon.near", "minidnn.runtime.driver"]


def test_only_the_engine_opens_the_door_to_lowering_and_runtime() -> None:
    inner = ("minidnn.engine", "minidnn.lowering", "minidnn.runtime", "minidnn.cli")
    found = [
        f"{path}:{line} imports {imported}"
        for name, path in modules()
        if name.startswith("minidnn.") and not any(is_in(name, room) for room in inner)
        for imported, line in imports(name, path)
        if is_in(imported, "minidnn.lowering") or is_in(imported, "minidnn.runtime")
    ]
    assert found == []


def test_no_text_becomes_code() -> None:
    found = []
    for _, path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Name) and called.id in {"eval", "exec", "compile"}:
                found.append(f"{path}:{called.lineno} calls {called.id}")
    assert found == []


def test_importing_minidnn_imports_nothing_heavy() -> None:
    heavy = ["numba", "llvmlite", "torch", "onnx", "PIL", "skimage", "rich", "graphviz", "matplotlib"]
    code = f"import sys, minidnn; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
