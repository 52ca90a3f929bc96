"""The layering rules: which package may import which, read from the source."""

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

# The layers, each with those it stands on, directly. What a layer reaches through them it may import too.
# A layer is a package or a module; `minidnn.interop` holds the readers of files.
LAYERS = {
    "minidnn_kernels": [],
    "minidnn.errors": [],
    "minidnn.untrusted": [],
    "minidnn.process_safe": [],
    "minidnn.settings": ["minidnn.errors"],
    "minidnn.scope": [],
    "minidnn.generator": [],
    "minidnn.user_code": [],
    "minidnn.sizes": ["minidnn.user_code"],
    "minidnn.ops": ["minidnn.errors", "minidnn.generator", "minidnn.sizes"],
    "minidnn.ir": ["minidnn.ops", "minidnn.scope", "minidnn.settings", "minidnn.untrusted"],
    "minidnn.passes": ["minidnn.ir"],
    "minidnn.interop": ["minidnn.ir", "minidnn.process_safe", "minidnn.replacing", "minidnn.serialization"],
    "minidnn.plan": ["minidnn_kernels", "minidnn.ops"],
    "minidnn.lowering": ["minidnn.plan", "minidnn.passes", "minidnn.deferred"],
    "minidnn.runtime": [
        *("minidnn.plan", "minidnn.scope", "minidnn.untrusted"),
        *("minidnn.settings", "minidnn.process_safe", "minidnn.replacing"),
    ],
    "minidnn.deferred": ["minidnn_kernels", "minidnn.process_safe"],
    "minidnn.engine": ["minidnn.lowering", "minidnn.runtime", "minidnn.deferred"],
    "minidnn.numpy": ["minidnn.engine", "minidnn.device", "minidnn.dispatch", "minidnn.random"],
    "minidnn.npx": ["minidnn.numpy", "minidnn.serialization", "minidnn.interop"],
    "minidnn.symbol": ["minidnn.numpy", "minidnn.interop"],
    "minidnn.gluon": ["minidnn.symbol", "minidnn.npx", "minidnn.image", "minidnn.recordio", "minidnn.initializer"],
    "minidnn.onnx": ["minidnn.gluon"],
    "minidnn.pytorch": ["minidnn.onnx"],
    "minidnn.contrib": ["minidnn.gluon", "minidnn.onnx"],
    "minidnn.amp": ["minidnn.contrib"],
    "minidnn.viz": ["minidnn.ir"],
}

# What must stay true whatever the layers above come to: these reach neither kernels nor what runs them.
MACHINE_FREE = ("minidnn.ops", "minidnn.ir", "minidnn.passes", "minidnn.interop", "minidnn.viz")
MACHINE = ("minidnn_kernels", "minidnn.plan", "minidnn.lowering", "minidnn.runtime", "minidnn.engine")

# A marker on the line of an import inside a function, with the reason: it spares the start something slow.
DEFERRED = "# deferred: "


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


def is_in(module: str, layer: str) -> bool:
    return module == layer or module.startswith(layer + ".")


def graph() -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports; importing from a package counts as importing it."""
    paths = dict(modules())
    found: dict[str, set[str]] = {}
    for name, path in paths.items():
        found[name] = set()
        for imported, _ in imports(name, path):
            known = imported if imported in paths else imported.rpartition(".")[0]
            if known in paths and known != name:
                found[name].add(known)
    return found


def reachable(edges: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    pending = [start]
    while pending:
        for imported in edges.get(pending.pop(), set()) - seen:
            seen.add(imported)
            pending.append(imported)
    return seen


def layer_of(module: str) -> str | None:
    return next((layer for layer in LAYERS if is_in(module, layer)), None)


def breaches(layers: dict[str, list[str]]) -> list[str]:
    """Imports of a layer by one that does not stand on it."""
    below = {layer: {layer, *reachable({k: set(v) for k, v in layers.items()}, layer)} for layer in layers}
    return [
        f"{name} imports {imported}"
        for name, targets in graph().items()
        for imported in sorted(targets)
        if (layer := layer_of(name)) in layers and (other := layer_of(imported)) is not None
        if other not in below[layer or ""]
    ]


def circles(edges: dict[str, set[str]]) -> list[str]:
    """Modules that reach themselves."""
    return sorted(module for module in edges if module in reachable(edges, module))


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_is_there(layer: str) -> None:
    assert any(is_in(name, layer) for name, _ in modules()), f"{layer} is gone: take it out of the table"


def test_no_module_reaches_itself() -> None:
    """Whether it imports at its top, inside a function, or for types alone."""
    assert circles(graph()) == []


def test_a_layer_imports_only_what_it_stands_on() -> None:
    assert breaches(LAYERS) == []


@pytest.mark.parametrize("layer", MACHINE_FREE)
def test_the_machine_is_out_of_reach(layer: str) -> None:
    edges = graph()
    reached = {r for module in edges if is_in(module, layer) for r in reachable(edges, module)}
    assert [r for r in sorted(reached) if any(is_in(r, machine) for machine in MACHINE)] == []


def test_the_loader_of_plans_needs_no_compiler() -> None:
    edges = graph()
    reached = reachable(edges, "minidnn.runtime.executor")
    compiler = ("minidnn.passes", "minidnn.lowering", "minidnn.gluon", "minidnn.ir", "minidnn.symbol")
    assert [r for r in sorted(reached) if any(is_in(r, layer) for layer in compiler)] == []


def test_imports_inside_functions_say_why() -> None:
    found = []
    for name, path in modules():
        lines = path.read_text(encoding="utf-8").splitlines()
        for function in ast.walk(ast.parse("\n".join(lines))):
            if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            for node in ast.walk(function):
                inner = [f"{node.module}."] if isinstance(node, ast.ImportFrom) else []
                inner += [f"{alias.name}." for alias in node.names] if isinstance(node, ast.Import) else []
                own = any(module.startswith(("minidnn.", "minidnn_kernels.")) for module in inner)
                if own and DEFERRED not in lines[node.lineno - 1]:
                    found.append(f"{path}:{node.lineno}: {name} imports inside a function without a reason")
    assert sorted(set(found)) == []


def test_a_breach_would_be_found() -> None:
    assert breaches({**LAYERS, "minidnn.passes": ["minidnn.errors"]})
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]


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
        if name.startswith("minidnn.") and not any(is_in(name, layer) for layer in inner)
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
