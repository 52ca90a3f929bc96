"""Settings: what each may be, what is said of another value, and that every one is documented."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import minidnn as mx
from minidnn import engine, settings
from minidnn.cli import main
from minidnn.errors import SettingError
from minidnn.runtime import library
from minidnn.runtime.code_cache import CodeCache, default_folder

ROOT = Path(__file__).parents[1]

WRONG = {
    "MINIDNN_NUM_THREADS": ["x", "0", "-1", "1025", "9" * 5000, "1.5", " 2", "²"],
    "MINIDNN_ISA": ["foo", "AVX2", "a" * 5000, "sse,avx2", "neon" if "x86" in library.best_isa().arch else "avx2"],
    "MINIDNN_CACHE_BYTES": ["x", "-1", "1Q", "1.5G", "9" * 30, "G"],
    "MINIDNN_DEBUG": ["foo", "graph,foo", "graph passes", "ALL"],
    "MINIDNN_CHECK_FINITE": ["2", "maybe", "-1"],
    "MINIDNN_WINOGRAD": ["2", "never"],
    "MINIDNN_TUNE": ["2", "never"],
    "MINIDNN_MAX_TRIPS": ["0", "-1", "x", "1.5"],
    "MINIDNN_LOG": ["1", "loud", "info,debug"],
    "MINIDNN_NOTICES": ["2", "never"],
}
EVERY_WRONG = [(name, text) for name, texts in WRONG.items() for text in texts]


@pytest.fixture(autouse=True)
def _isa_is_chosen_again() -> None:
    library.chosen_isa.cache_clear()


@pytest.mark.parametrize(("name", "text"), EVERY_WRONG)
def test_a_wrong_value_is_one_line_on_the_command_line(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, text)
    assert main(["info"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"minidnn: error: {name}")
    assert err.count("\n") == 1
    assert len(err) < 300


def test_the_process_ends_with_that_code_and_no_traceback() -> None:
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}", "MINIDNN_ISA": "foo"}
    command = [sys.executable, "-m", "minidnn", "info"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("minidnn: error: MINIDNN_ISA: unknown ISA 'foo'; known: sse, ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("name", "text"), EVERY_WRONG)
def test_a_wrong_value_is_a_setting_error_in_python(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(SettingError, match=name) as caught:
        engine.check_settings()
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, mx.MXNetError)


@pytest.mark.parametrize("name", ["MINIDNN_CHECK_FINITE", "MINIDNN_DEBUG"])
def test_a_wrong_value_is_an_error_where_it_is_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "foo")
    net = mx.gluon.nn.Dense(2, in_units=3)
    net.initialize()
    net.hybridize()
    with pytest.raises(SettingError, match=name):
        net(mx.np.ones((1, 3)))


def test_too_many_threads_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "mobilenet0.25", "--threads", "5000"]) == 1
    assert capsys.readouterr().err == (
        "minidnn: error: the number of threads must be an integer from 1 to 1024, got 5000\n"
    )


@pytest.mark.parametrize(
    ("setting", "text", "value"),
    [
        (settings.NUM_THREADS, "", None),
        (settings.NUM_THREADS, "1024", 1024),
        (settings.CACHE_BYTES, "0", 0),
        (settings.CACHE_BYTES, "1000", 1000),
        (settings.CACHE_BYTES, "3k", 3 << 10),
        (settings.CACHE_BYTES, "2G", 2 << 30),
        (settings.DEBUG, "graph, plan,", {"graph", "plan"}),
        (settings.DEBUG, "all", set(settings.DEBUG_TOPICS)),
        (settings.WINOGRAD, "off", False),
        (settings.WINOGRAD, "", True),
        (settings.CHECK_FINITE, "1", True),
        (settings.CACHE_DIR, "/some/where", Path("/some/where")),
        (settings.CACHE_DIR, "~/here", Path.home() / "here"),
    ],
)
def test_values(setting: settings.Setting[object], text: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(setting.name, text)
    assert setting.value() == value
    monkeypatch.delenv(setting.name)
    assert setting.value() == setting.default


def test_info_shows_what_is_set_and_what_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MINIDNN_WINOGRAD", "1")
    monkeypatch.setenv("MINIDNN_NUM_THREAD", "3")
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "MINIDNN_WINOGRAD=1" in out
    assert "MINIDNN_NUM_THREAD=3 (not a setting)" in out


def test_the_page_lists_every_setting_with_its_meaning() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text("utf-8")
    rows = re.findall(r"^\| `(M\w+)` \| (.*) \| (.*) \| (.*) \|$", page, re.MULTILINE)
    assert [row[0] for row in rows] == [setting.name for setting in settings.SETTINGS]
    for (_, default, values, meaning), setting in zip(rows, settings.SETTINGS, strict=True):
        assert values == setting.values
        assert meaning == re.sub(r" \(default: .*\)$", "", setting.meaning)
        assert default and (default == "none" or f"(default: {default})" in setting.meaning)


def test_no_other_variable_is_read() -> None:
    known = {setting.name for setting in settings.SETTINGS}
    for folder in ("minidnn", "kernels"):
        for path in (ROOT / folder).rglob("*.py"):
            named = re.findall(r"\bMINIDNN_[A-Z_]+[A-Z]|MXNET_HOME", path.read_text("utf-8"))
            assert set(named) <= known, path


# --- without a home -------------------------------------------------------------------------------

_HOMELESS = """
import os, pathlib
def nowhere(*_): raise RuntimeError("Could not determine home directory.")
if "HOME" not in os.environ:
    pathlib.Path.home = classmethod(nowhere)
    pathlib.Path.expanduser = nowhere
import minidnn as mx
from minidnn import engine
from minidnn.gluon.data.vision import MNIST
from minidnn.gluon.model_zoo import vision
print(float((mx.np.ones(3) + 1).sum()), engine.info()["cache_folder"])
for call in (lambda: vision.get_model("resnet18_v1", pretrained=True), lambda: MNIST()):
    try:
        call()
    except (ValueError, OSError, ImportError) as error:
        print("HOME" in os.environ or "~/" in str(error))
"""


@pytest.mark.parametrize("home", [None, "relative", "/proc/none"])
def test_without_a_home_there_is_no_cache_on_disk_and_all_else_works(home: str | None, tmp_path: Path) -> None:
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}", **({} if home is None else {"HOME": home})}
    environment["HF_HUB_OFFLINE"] = "1"  # to find out that there is no connection takes long
    command = [sys.executable, "-W", "error", "-c", _HOMELESS]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["6.0 off (no private folder)", "True", "True"], done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("folder", ["~nobody-of-that-name/cache", "~nobody-of-that-name"])
def test_no_folder_is_made_for_a_user_who_does_not_exist(folder: str, tmp_path: Path) -> None:
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}", "MINIDNN_CACHE_DIR": folder}
    command = [sys.executable, "-c", "import minidnn; print(minidnn.engine.info()['cache_folder'])"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "off (no private folder)\n", done.stderr
    assert not list(tmp_path.iterdir())


def test_info_tells_a_cache_that_is_switched_off_from_one_without_a_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MINIDNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MINIDNN_CACHE_BYTES", "0")
    cache = CodeCache(default_folder(), settings.CACHE_BYTES.value())
    monkeypatch.setattr(library, "library", lambda: library.Library(library.chosen_isa(), cache))
    assert engine.info()["cache_folder"] == "off (MINIDNN_CACHE_BYTES=0)"


def test_a_variable_is_found_wherever_the_environment_is(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = settings.CHECK_FINITE
    monkeypatch.delenv(setting.name, raising=False)
    assert setting.value() is False
    monkeypatch.setenv(setting.name, "1")
    assert setting.value() is True
    monkeypatch.setenv(setting.name, "")
    assert setting.value() is False
    monkeypatch.setattr(os, "environ", {setting.name: "1"})
    assert setting.value() is True
    monkeypatch.setattr(os, "environ", {})
    assert setting.value() is False
