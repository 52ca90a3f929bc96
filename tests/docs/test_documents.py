"""The documents are true: names exist or do not, the stages are the compiler's, the site builds without a warning."""

from __future__ import annotations

import html
import importlib.util
import inspect
import pydoc
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from documents import DOCS, code_blocks

import minidnn as mx
from minidnn.errors import MXNetError

sys.path.append(str(DOCS))
from dump_stages import PAGE, filled

# Below this line of the page, instructions depend on the version of LLVM.
ASSEMBLY = "<!-- stage assembly -->"


def rows(section: str) -> list[str]:
    """The names in the first column of the table of a section of the page for MXNet's users."""
    (_, text) = (DOCS / "mxnet.md").read_text("utf-8").split(f"\n## {section}\n")
    cells = [line.split("|")[1] for line in text.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    assert cells
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def resolve(name: str) -> Any:
    """What ``mx.a.b`` is; None where it is not."""
    found: Any = mx
    for part in name.removeprefix("mx.").split("."):
        found = getattr(found, part, None)
    return found


@pytest.mark.parametrize("name", rows("The same") + rows("Different"))
def test_what_the_page_says_is_there_is_there(name: str) -> None:
    assert name.startswith("mx.")
    assert resolve(name) is not None


@pytest.mark.parametrize("name", rows("Missing"))
def test_what_the_page_says_is_missing_is_not_there(name: str) -> None:
    assert resolve(name) is None


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (mx.gpu, ()),
        (mx.device.gpu_memory_info, ()),
        (mx.autograd.record, ()),
        (mx.autograd.train_mode, ()),
        (mx.autograd.backward, ([],)),
        (mx.autograd.grad, ([], [])),
    ],
)
def test_what_the_page_says_raises_does(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    with pytest.raises(MXNetError):
        function(*arguments)


def test_the_page_for_mxnets_users_begins_with_code_that_runs() -> None:
    for code in code_blocks("mxnet.md"):
        exec(compile(code, "mxnet.md", "exec"), {})


def test_the_code_of_the_page_on_mxnets_files_runs_on_files_of_mxnets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, ours in [
        ("-symbol.json", "-symbol.json"),
        ("-0000.params", "-0000.params"),
        (".block.params", ".params"),
    ]:
        shutil.copy(Path(__file__).parents[1] / "assets" / "mxnet" / f"smallres{name}", tmp_path / f"net{ours}")
    monkeypatch.chdir(tmp_path)
    x = mx.np.ones((1, 3, 32, 32))
    block = mx.gluon.SymbolBlock.imports("net-symbol.json", ["data"])
    _, code = code_blocks("mxnet-files.md")  # the first one writes such files
    exec(compile(code, "mxnet-files.md", "exec"), {"mx": mx, "x": x, "block": block})
    again = mx.gluon.SymbolBlock.imports("again-symbol.json", ["data"], "again-0000.params")
    assert abs(again(x).asnumpy() - block(x).asnumpy()).max() < 1e-5
    assert (tmp_path / "arrays.params").is_file()


def test_the_stages_on_the_page_are_the_compilers() -> None:
    """If not: python docs/dump_stages.py."""
    page = PAGE.read_text("utf-8")
    shown, made = (text.split(ASSEMBLY) for text in (page, filled(page)))
    assert shown[0] == made[0]
    for text in (shown[1], made[1]):
        assert "u8_igemm_14x2v__multiply_multiply_scalar_u8" in text
        assert text.count("vpdpbusd") > 8


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site. A name that a docstring refers to and the reference lacks is a warning, too."""
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("mkdocstrings") is None:
        pytest.skip("the site is built by mkdocs: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=DOCS.parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def reference(site: Path) -> dict[str, str]:
    return {page.parent.name: page.read_text("utf-8") for page in site.glob("reference/*/index.html")}


def plain(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", markup))


def test_the_site_builds_without_a_warning(site: Path) -> None:
    pages = reference(site)
    for page, name in (("data", "DataLoader"), ("metric", "TopKAccuracy"), ("quantization", "quantize_net")):
        assert re.search(rf'id="[\w.]*\b{name}"', pages[page])


def test_every_class_and_function_of_the_reference_has_its_signature(site: Path) -> None:
    headings = re.compile(
        r'<div class="doc doc-object doc-(?:class|function)">\s*<h\d id="([\w.]+)"(.*?)</h\d>', re.DOTALL
    )
    found = [heading for text in reference(site).values() for heading in headings.findall(text)]
    assert len(found) > 500
    for name, markup in found:
        # What is made by Python's own constructor has none: exceptions, dictionaries, named tuples.
        constructed = not inspect.isclass(item := pydoc.locate(name)) or inspect.isfunction(item.__init__)
        assert ("(" in plain(markup)) == constructed, name
    texts = reference(site)
    assert "Conv2D(channels, kernel_size, strides=1," in plain(texts["nn"])


def test_no_markup_of_another_language_is_left_in_the_reference(site: Path) -> None:
    for page, text in reference(site).items():
        prose = re.sub(r"<script.*?</script>|<pre.*?</pre>|<code.*?</code>", "", text, flags=re.DOTALL)
        assert not re.findall(r".*(?:::$|\.\. \w+::|:\w+:`|``|\]\[).*", plain(prose), re.MULTILINE), page
        assert not re.findall(r"\b[Ss]ee <code>.*", text), page
