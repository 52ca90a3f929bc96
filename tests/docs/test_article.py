"""The article runs: its calls, in its order, on local data."""

from __future__ import annotations

import hashlib
import logging
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documents import write_record

import minidnn as mx
from minidnn.gluon.model_zoo.vision import resnet50_v1

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("article_script.py")
SIZE, BATCH_SIZE, IMAGES = 48, 4, 8


def put_where_mxnet_downloads(net: Any, folder: Path) -> None:
    """The parameters in MXNet's format, in a file named as MXNet names it: by the beginning of its SHA-1."""
    folder.mkdir()
    mx.npx.save(folder / "new", {key: p.data() for key, p in net.collect_params().items()}, format="mxnet1")
    checksum = hashlib.sha1((folder / "new").read_bytes(), usedforsecurity=False).hexdigest()
    (folder / "new").rename(folder / f"resnet50_v1-{checksum[:8]}.params")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The names that the script leaves, and what it printed as ``printed``."""
    folder = tmp_path_factory.mktemp("article")
    write_record(folder / "val.rec", IMAGES)
    weights = resnet50_v1()
    weights.initialize(mx.init.MSRAPrelu())
    weights.infer_shape(mx.np.zeros((1, 3, SIZE, SIZE)))
    put_where_mxnet_downloads(weights, folder / "models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MXNET_HOME", str(folder))
        patch.setenv("MINIDNN_HOME", str(folder / "empty"))
        patch.setattr(sys, "argv", [str(SCRIPT), str(folder / "val.rec"), str(SIZE), str(BATCH_SIZE)])
        printed: list[str] = []
        patch.setattr("builtins.print", lambda *words: printed.append(" ".join(map(str, words))))
        level = logging.getLogger().level
        try:
            yield {**runpy.run_path(str(SCRIPT)), "printed": printed}
        finally:
            logging.getLogger().setLevel(level)


def test_the_sample_block_becomes_two_nodes_and_a_picture(ran: dict[str, Any]) -> None:
    assert [node.op_name for node in ran["sym"].operations()] == ["fused", "fused"]
    assert [node.op_name for node in ran["optimized_symbol"].operations()] == ["fused", "fused"]
    assert ran["graph"].format == "png"
    for word in ("fused_conv_bn_act_0", "fused_conv_bn_add_act_1", "batch_norm"):
        assert word in ran["graph"].source


def test_both_networks_were_timed(ran: dict[str, Any]) -> None:
    assert sorted(ran["times"]) == ["float32", "int8"]
    assert all(seconds > 0 for seconds in ran["times"].values())


def test_four_lines_of_accuracy_were_printed_and_fusion_changed_none(ran: dict[str, Any]) -> None:
    line = r"(.{12}) Top1 Accuracy: (\d\.\d{4}) Top5 Accuracy: (\d\.\d{4}) from    2 batches in +\d+\.\d\ds"
    found = [re.fullmatch(line, text) for text in ran["printed"]]
    assert [match and match[1].strip() for match in found] == ["FP32", "FP32 fused", "INT8 Naive", "INT8 Entropy"]
    assert found[0] and found[1] and found[0].groups()[1:] == found[1].groups()[1:]


def test_the_articles_collector_finds_the_ranges_of_naive(ran: dict[str, Any]) -> None:
    collector = ran["my_collector"]
    assert collector.min_max_dict.keys() == set(collector.include_layers)
    assert len(collector.include_layers) > 50
    custom, naive = ran["qnet"](ran["dummy_data"]).asnumpy(), ran["naive"](ran["dummy_data"]).asnumpy()
    assert np.array_equal(custom, naive)
    wanted = ran["net"](ran["dummy_data"]).asnumpy()
    assert 0 < np.abs(custom - wanted).max() < 0.5 * np.abs(wanted).max()


def test_the_weights_that_the_article_downloads_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"resnet50_v1: .*put MXNet's file resnet50_v1-\*\.params into"):
        resnet50_v1(pretrained=True, root=tmp_path)
