"""The tutorial runs from its first line to its last, from an empty folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documents import DOCS, blocks, command_environment, run

import minidnn as mx

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names that the page's code leaves, and what it printed as ``printed``."""
    folder = tmp_path_factory.mktemp("tutorial")
    environment = command_environment(tmp_path_factory.mktemp("environment"))
    names: dict[str, Any] = {"__name__": "tutorial"}
    printed: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("builtins.print", lambda *words: printed.append(" ".join(map(str, words))))
        for block in blocks(DOCS / "tutorial.md"):
            run(block, names, folder, environment)
    return {**names, "printed": printed, "folder": folder}


def test_fusion_leaves_two_nodes_and_the_same_numbers(ran: dict[str, Any]) -> None:
    assert [node.op_name for node in ran["symbol"].operations()] == ["fused", "fused"]
    assert [node.op_name for node in ran["optimized"].operations()] == ["fused", "fused"]
    wanted = ran["eager"].asnumpy()
    np.testing.assert_allclose(ran["fused"].asnumpy(), wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_every_network_was_timed_and_its_accuracy_printed(ran: dict[str, Any]) -> None:
    assert list(ran["seconds"]) == ["eager", "fused", "int8"]
    lines = [line for line in ran["printed"] if re.fullmatch(r".{12} top 1 \d\.\d{4}  top 5 \d\.\d{4}", line)]
    assert [line[:12].strip() for line in lines] == ["fused", "int8 naive", "int8 entropy", "int8 custom"]
    # The photos are turned, and of four classes.
    assert all(float(line.split()[-4]) > 0.5 and float(line.split()[-1]) > 0.8 for line in lines)


def test_the_three_calibrations_differ_and_agree_with_float32(ran: dict[str, Any]) -> None:
    images = ran["images"]
    wanted = ran["net"](images).asnumpy()
    found = [ran[f"int8_{mode}"](images).asnumpy() for mode in ("naive", "entropy", "custom")]
    for scores in found:
        assert np.corrcoef(scores.reshape(-1), wanted.reshape(-1))[0, 1] > 0.9
    assert not np.array_equal(found[0], found[2])


def test_the_network_that_was_saved_gives_the_same_bits(ran: dict[str, Any]) -> None:
    images = ran["images"]
    assert np.array_equal(ran["loaded"](images).asnumpy(), ran["int8_naive"](images).asnumpy())


def test_the_custom_collector_was_asked_for_every_layer(ran: dict[str, Any]) -> None:
    collector = ran["QuantileCollector"](share=0.9)
    collector.include_layers = ["a"]
    for values in ([0.0, 1, 2, 3, 100], [-100.0, 0, 1, 1, 1]):
        collector.collect("a", "Convolution", mx.np.array(values))
        collector.collect("b", "Convolution", mx.np.array(values))
    low, high = collector.post_collect()["a"]
    assert -100 < low < 0 < 3 < high < 100
    assert collector.post_collect().keys() == {"a"}


def test_the_report_names_layers(ran: dict[str, Any]) -> None:
    assert any("fused_conv" in line for line in ran["printed"])
    assert Path(ran["folder"] / "efficientnet-int8-0000.params").is_file()
