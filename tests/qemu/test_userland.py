"""The whole package in an AArch64 userland: the demo's network, fused and in int8, beside this machine's results."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from userland import INSTALL, Userland, missing

import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon.model_zoo import vision

pytestmark = pytest.mark.slow

# What it is told: the folder of the files. It imports each network and runs it, optimized and eager.
_PROGRAM = """
import json, pathlib, platform, sys
import numpy as np
import minidnn as mx
from minidnn_kernels.isa import best_isa
folder = pathlib.Path(sys.argv[1])
x = mx.np.array(np.load(folder / "input.npy"))
for name in ("int8", "float32"):
    net = mx.gluon.SymbolBlock.imports(f"{folder}/{name}-symbol.json", ["data"], f"{folder}/{name}-0000.params")
    net.optimize_for(x)
    np.save(folder / f"{name}-there.npy", net(x).asnumpy())
print(json.dumps([platform.machine(), best_isa().arch]))
"""


@pytest.fixture(scope="module")
def userland(tmp_path_factory: pytest.TempPathFactory) -> Userland:
    absent = missing()
    if absent:
        reason = f"{', '.join(absent)} missing, for an AArch64 userland: {INSTALL}"
        if os.environ.get("MINIDNN_REQUIRE_QEMU") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return Userland(tmp_path_factory.mktemp("aarch64"))


def test_demo_network(userland: Userland, tmp_path: Path) -> None:
    net = vision.get_model("efficientnet_lite0", pretrained=True)
    pixels = np.random.default_rng(0).uniform(-1, 1, (1, 3, 224, 224)).astype(np.float32)
    data = mx.np.array(pixels)
    int8 = quantize_net(net, calib_mode="naive", calib_data=[data])
    net.optimize_for(data)
    here = {"float32": net(data).asnumpy(), "int8": int8(data).asnumpy()}
    np.save(tmp_path / "input.npy", pixels)
    net.export(str(tmp_path / "float32"))
    int8.export(str(tmp_path / "int8"))
    assert userland.run(_PROGRAM, [str(tmp_path)]).split() == ['["aarch64",', '"aarch64"]']
    there = {name: np.load(tmp_path / f"{name}-there.npy") for name in here}
    np.testing.assert_array_equal(there["int8"], here["int8"])
    np.testing.assert_allclose(there["float32"], here["float32"], atol=1e-4 * np.abs(here["float32"]).max())
