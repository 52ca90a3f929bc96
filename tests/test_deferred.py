"""Modules that `import minidnn` leaves for later are the same ones, whichever way they are asked for, and are safe."""

from __future__ import annotations

import subprocess
import sys

import pytest

import minidnn
from minidnn import gluon, interop

MODULES = [
    *("amp", "contrib", "image", "onnx", "profiler", "pytorch", "recordio", "viz"),
    *("gluon.data", "gluon.metric", "gluon.model_zoo", "gluon.rnn"),
]
FILES = ["load_torch", "load_weights", "read_torch_checkpoint", "torch_names", "from_torch", "torch_backend"]


def run(program: str) -> list[str]:
    """What a fresh process says to a program."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_minidnn_leaves_them_for_later() -> None:
    program = f"""
import sys, minidnn as mx
assert set({MODULES[:8]}) <= set(dir(mx)) and set({FILES}) <= set(dir(mx.interop))
assert {{"data", "metric", "model_zoo", "rnn", "nn"}} <= set(dir(mx.gluon))
names = [*(f"minidnn.{{name}}" for name in {MODULES}), "minidnn.interop.onnx", "minidnn.interop.torch_checkpoint"]
print(*(name for name in [*names, "multiprocessing", "tarfile"] if name in sys.modules))
"""
    assert run(program) == []


@pytest.mark.parametrize("way", ["attribute", "from", "import"])
def test_every_way_to_ask_gives_the_same_module(way: str) -> None:
    program = f"""
import importlib, operator, sys
import minidnn as mx
def attribute(package, last): return operator.attrgetter(f"{{package}}.{{last}}".partition(".")[2])(mx)
def from_import(package, last): return getattr(__import__(package, fromlist=[last]), last)
def plain_import(package, last): return importlib.import_module(f"{{package}}.{{last}}")
ways = {{"attribute": attribute, "from": from_import, "import": plain_import}}
for name in {MODULES}:
    package, _, last = f"minidnn.{{name}}".rpartition(".")
    first = ways[{way!r}](package, last)
    assert all(other(package, last) is first for other in ways.values())
    assert vars(sys.modules[package])[last] is first is sys.modules[f"minidnn.{{name}}"]
assert mx.visualization is mx.viz
from minidnn import *
from minidnn.gluon import *
print(onnx is mx.onnx, rnn is mx.gluon.rnn)
"""
    assert run(program) == ["True", "True"]


def test_a_submodule_can_be_imported_first() -> None:
    assert run("import minidnn.onnx, minidnn.gluon.data.vision as v; print(minidnn.onnx is minidnn.onnx)") == ["True"]
    assert run("from minidnn.gluon import rnn, nn, model_zoo; print(rnn.LSTM(3).__class__.__name__)") == ["LSTM"]


def test_other_names_stay_missing() -> None:
    for module in (minidnn, gluon):
        with pytest.raises(AttributeError, match=r"has no attribute 'mispelt'$"):
            module.mispelt  # noqa: B018
    with pytest.raises(AttributeError, match="for training"):
        gluon.Trainer  # noqa: B018


@pytest.mark.parametrize("name", FILES)
def test_readers_of_files_are_found_at_first_use(name: str) -> None:
    assert name in dir(interop) and callable(getattr(interop, name))


def test_threads_that_ask_at_once_get_one_module() -> None:
    program = """
import threading, minidnn as mx
gate, found = threading.Barrier(8), []
def ask(name):
    gate.wait()
    found.append((name, getattr(mx, name), mx.gluon.data.DataLoader, mx.onnx.import_model))
threads = [threading.Thread(target=ask, args=(name,)) for name in ("onnx", "contrib", "amp", "viz") * 2]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(found) == 8 and len({id(module) for _, module, *_ in found}) == 4
print(len({id(loader) for *_, loader, _ in found}), len({id(read) for *_, read in found}))
"""
    assert run(program) == ["1", "1"]


def test_a_deferred_module_is_found_when_the_process_ends() -> None:
    """Where the lock that imports take is held for good."""
    program = "import atexit\natexit.register(lambda: print(minidnn.viz.__name__))\nimport minidnn"
    assert run(program) == ["minidnn.viz"]


def test_a_child_forked_while_another_thread_imports_can_import_too() -> None:
    program = """
import os, threading, minidnn as mx
for name in ("onnx", "contrib", "pytorch"):
    thread = threading.Thread(target=getattr, args=(mx, name))
    thread.start()
    child = os.fork()
    if child == 0:
        import signal
        signal.alarm(60)
        mx.onnx.import_model, mx.contrib.quantization, mx.pytorch.from_torch
        os._exit(0)
    thread.join()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(program) == ["0", "0", "0"]


@pytest.mark.parametrize(
    "package, last",
    [
        ("minidnn.interop.onnx", "rules.slicing"),
        ("minidnn.interop.onnx.export", "shapes"),
        ("minidnn.interop.torch", "rules.shapes"),
        ("minidnn.gluon.metric", "values"),
    ],
)
def test_an_interrupted_import_fills_registries_once(package: str, last: str) -> None:
    program = f"""
import sys, warnings, minidnn
warnings.simplefilter("error")
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "{package}.{last}":
            sys.meta_path.remove(self)
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
try:
    import {package}
except KeyboardInterrupt:
    import {package}
    print("{package}.{last}" in sys.modules)
"""
    assert run(program) == ["True"]


def test_no_module_of_ours_asks_for_a_deferred_one_while_it_is_imported() -> None:
    """Another thread would import it, and wait for the lock of the module that waits for that thread."""
    program = """
import importlib, pkgutil, sys, traceback
import minidnn
from minidnn import deferred
inside = []
def note(modules, own=deferred._import):
    inside.append((modules, traceback.format_stack()))
    own(modules)
deferred._import = note
for module in pkgutil.walk_packages(minidnn.__path__, "minidnn."):
    if module.name not in ("minidnn.__main__", "minidnn.viz.digraph"):
        importlib.import_module(module.name)
print(*(f"{names} {stack}" for names, stack in inside))
"""
    assert run(program) == []
