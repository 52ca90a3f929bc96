"""Names of MXNet that are missing say why, and stay missing for `hasattr`."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import minidnn as mx
from minidnn.missing import MISSING

NAMES = [(module, name) for module, names in MISSING.items() for name in names]


@pytest.mark.parametrize("module, name", NAMES)
def test_a_missing_name_says_why(module, name):
    package = importlib.import_module(module)
    assert not hasattr(package, name)
    assert name not in package.__all__
    with pytest.raises(
        AttributeError, match=re.escape(f"has no attribute {name!r}: {MISSING[module][name]}")
    ) as raised:
        getattr(package, name)
    assert raised.value.name == name


@pytest.mark.parametrize("module", MISSING)
def test_a_misspelt_name_says_nothing_more(module):
    with pytest.raises(AttributeError, match=r"has no attribute 'mispelt'$"):
        importlib.import_module(module).mispelt  # noqa: B018


@pytest.mark.parametrize("module, name", NAMES)
def test_the_page_for_mxnets_users_lists_it(module, name):
    page = (Path(__file__).parents[1] / "docs" / "mxnet.md").read_text("utf-8")
    shown = module.replace("minidnn.symbol", "mx.sym").replace("minidnn.numpy", "mx.np").replace("minidnn", "mx", 1)
    assert f"`{shown}.{name}`" in page


def test_names_that_are_made_at_first_use_are_found():
    assert mx.__version__ and mx.gluon.model_zoo.vision
