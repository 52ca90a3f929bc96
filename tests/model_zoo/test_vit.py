"""Vision transformers against transformers, by the names of both of its versions; what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidnn as mx
from minidnn import serialization
from minidnn.errors import ShapeError
from minidnn.gluon.model_zoo import vision
from minidnn.interop import load_weights

# From the names of transformers 5 to those of files on the hub.
OLDER = {
    "vit.layers.": "vit.encoder.layer.",
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


def small() -> Any:
    return vision.VisionTransformer(24, 2, 3, classes=7, image=16, patch=8)


@pytest.mark.filterwarnings("ignore")
def test_it_computes_what_transformers_does(tmp_path: Path) -> None:
    import torch
    import transformers

    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96}
    config = transformers.ViTConfig(**sizes, image_size=16, patch_size=8, num_labels=7)
    model = transformers.ViTForImageClassification(config).eval()
    x = np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(np.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
        wanted = model(torch.from_numpy(x)).logits.numpy()
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    older = {}
    for name, value in state.items():
        for new, old in OLDER.items():
            name = name.replace(new, old)
        older[name] = value
    for number, arrays in enumerate((state, older)):
        serialization.save(tmp_path / f"{number}.safetensors", arrays)
        net = small()
        load_weights(net, tmp_path / f"{number}.safetensors")
        np.testing.assert_allclose(net(mx.np.array(x)).asnumpy(), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    net.optimize_for(mx.np.array(x))
    np.testing.assert_allclose(net(mx.np.array(x)).asnumpy(), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert sum(step.kernel.startswith("attention") for step in net.steps()) == 2


def test_what_does_not_fit_is_refused() -> None:
    net = small()
    net.initialize()
    with pytest.raises(ShapeError, match=r"images must be \(N, 3, 16, 16\), got \(1, 3, 24, 16\)"):
        net(mx.np.zeros((1, 3, 24, 16)))
    with pytest.raises(ValueError, match="heads=5 must divide width=24"):
        vision.VisionTransformer(24, 2, 5)
    with pytest.raises(ValueError, match=r"sizes .* got 'huge'"):
        vision.get_vit("huge")
