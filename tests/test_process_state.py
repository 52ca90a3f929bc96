"""Everything that belongs to the process, and not to an object that users hold, is listed in docs/processes.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidnn
import minidnn_kernels

ROOTS = {"minidnn": Path(minidnn.__file__).parent, "minidnn_kernels": Path(minidnn_kernels.__file__).parent}
PAGE = Path(__file__).parents[1] / "docs" / "processes.md"

# Calls of these, or of them as attributes, change an object; a name that only they are read from is a constant.
MUTATORS = frozenset(
    {
        "append",
        "add",
        "appendleft",
        "update",
        "setdefault",
        "pop",
        "popitem",
        "clear",
        "move_to_end",
        "insert",
        "remove",
        "discard",
        "extend",
        "put",
        "set",
    }
)
# What the standard library makes that is state whatever is done with it.
STATEFUL = frozenset(
    {
        "Lock",
        "RLock",
        "Condition",
        "Event",
        "Semaphore",
        "local",
        "ContextVar",
        "count",
        "SimpleQueue",
        "Queue",
        "deque",
        "defaultdict",
        "OrderedDict",
    }
)

# Classes whose instances are declared and never changed, though no decorator says so.
CONSTANT = frozenset({"ArgumentRow"})


def sources() -> Iterator[tuple[str, ast.Module]]:
    for package, root in ROOTS.items():
        for path in sorted(root.rglob("*.py")):
            parts = [p for p in path.relative_to(root).with_suffix("").parts if p != "__init__"]
            yield ".".join((package, *parts)), ast.parse(path.read_text(encoding="utf-8"))


def last_name(node: ast.expr) -> str:
    """``a.b.c(...)`` is called ``c``."""
    node = node.func if isinstance(node, ast.Call) else node
    node = node.value if isinstance(node, ast.Subscript) else node
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def is_frozen(class_: ast.ClassDef) -> bool:
    frozen = any("frozen=True" in ast.unparse(d) for d in class_.decorator_list)
    immutable = any(isinstance(m, ast.FunctionDef) and m.name == "__setattr__" for m in class_.body)
    return frozen or immutable or any(last_name(b) in {"NamedTuple", "Enum"} for b in class_.bases)


def mutable_classes(modules: list[ast.Module]) -> frozenset[str]:
    """Names of classes whose instances hold state."""
    classes = [node for module in modules for node in ast.walk(module) if isinstance(node, ast.ClassDef)]
    methods = {c.name for c in classes if any(isinstance(m, ast.FunctionDef) and m.name == "__init__" for m in c.body)}
    local = {c.name for c in classes if any(last_name(b) == "local" for b in c.bases)}
    return frozenset({c.name for c in classes if not is_frozen(c)} & methods | local) - CONSTANT


def globals_of(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Names that the module's top level assigns, also below ``if`` and ``try``."""
    for node in body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((target.id, node.value) for target in targets if isinstance(target, ast.Name))
        elif isinstance(node, (ast.If, ast.Try)):
            yield from globals_of(node.body)


def state_of(module: ast.Module, stateful: frozenset[str]) -> set[str]:
    """Names of the module's state: variables, caches, and classes that are written to."""
    assigned = dict(globals_of(module.body))
    classes = {node.name for node in module.body if isinstance(node, ast.ClassDef)}
    found = {name for name, value in assigned.items() if isinstance(value, ast.Call) and last_name(value) in stateful}
    for node in ast.walk(module):
        if isinstance(node, ast.Global):
            found.update(node.names)
        elif isinstance(node, ast.FunctionDef):
            if any(last_name(d) in {"cache", "lru_cache"} for d in node.decorator_list):
                found.add(node.name)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            found.update({last_name(node.func.value)} & assigned.keys())
        elif isinstance(node, (ast.Assign, ast.AugAssign, ast.Delete)):
            targets = [node.target] if isinstance(node, ast.AugAssign) else node.targets
            written = {last_name(t.value) for t in targets if isinstance(t, (ast.Subscript, ast.Attribute))}
            found.update(written & (assigned.keys() | classes))
    for class_ in (node for node in module.body if isinstance(node, ast.ClassDef)):
        writes = [n for n in ast.walk(class_) if isinstance(n, (ast.Assign, ast.AugAssign))]
        targets = [t for n in writes for t in (n.targets if isinstance(n, ast.Assign) else [n.target])]
        if any(isinstance(t, ast.Attribute) and last_name(t.value) == "cls" for t in targets):
            found.add(class_.name)
    return found


def all_state() -> set[str]:
    modules = dict(sources())
    stateful = STATEFUL | mutable_classes(list(modules.values()))
    return {f"{name}.{state}" for name, module in modules.items() for state in state_of(module, stateful)}


def listed() -> list[str]:
    return re.findall(r"^\| `(minidnn\w*\.[\w.]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)


def test_the_page_lists_all_state_of_the_process_and_nothing_else() -> None:
    assert sorted(listed()) == sorted(all_state())


@pytest.mark.parametrize(
    ("source", "state"),
    [
        ("x = {}\ndef f(): x[1] = 2", {"x"}),
        ("x = []\nx.append(1)", {"x"}),
        ("x = None\ndef f():\n    global x\n    x = 1", {"x"}),
        ("import threading\nx = threading.Lock()", {"x"}),
        ("x = Pool(1)", {"x"}),
        ("@functools.cache\ndef f(): ...", {"f"}),
        ("@lru_cache(maxsize=5)\ndef f(): ...", {"f"}),
        ("class C:\n    n = 0\n    @classmethod\n    def f(cls): cls.n += 1", {"C"}),
        ("class C:\n    n = 0\ndef f(): C.n = 1", {"C"}),
        ("try:\n    x = deque()\nexcept ImportError: ...", {"x"}),
        ("x = {1: 2}\ndef f(): return x[1]", set()),
        ("def f():\n    x = []\n    x.append(1)", set()),
        ("x = Frozen(1)", set()),
    ],
)
def test_state_is_found_in_source(source: str, state: set[str]) -> None:
    assert state_of(ast.parse(source), STATEFUL | {"Pool"}) == state
