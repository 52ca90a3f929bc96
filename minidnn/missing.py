"""MXNet's names that inference has no use for: asking for one says why it is missing and what to use instead.

`hasattr` stays False for them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

__all__ = ["MISSING", "raising"]

_TRAINING = "it is for training, and minidnn is for inference: train elsewhere and load the weights"
_OLD = "it belongs to the API of MXNet 1; arrays are mx.np, operators mx.npx, networks mx.gluon"
_GPU = "it is for GPUs, and minidnn runs on CPUs"
_PLUMBING = "it belongs to MXNet's own machinery, which minidnn does not have"
_TRACE = "graphs come from tracing a block (HybridBlock.export) or from files (mx.sym.load)"
_AUGMENT = "use the transforms of mx.gluon.data.vision.transforms and mx.gluon.data.DataLoader"
_FINANCE = "NumPy has removed it; the package numpy-financial has it"
_FILES = "arrays are saved and loaded by mx.npx.save and mx.npx.load"
_MARKS = "only mx.profiler.profile, set_config, start, stop, dumps and their like are offered"
_STAGES = "quantization_stages returns the graph of every stage"

MISSING: dict[str, dict[str, str]] = {
    "minidnn": {
        "callback": _TRAINING,
        "cuda": _GPU,
        "executor": _OLD,
        "io": f"{_OLD}; data come from mx.gluon.data",
        "kv": _TRAINING,
        "kvstore": _TRAINING,
        "library": _PLUMBING,
        "lr_scheduler": _TRAINING,
        "mod": _OLD,
        "model": _OLD,
        "module": _OLD,
        "nd": _OLD,
        "ndarray": _OLD,
        "operator": "operators in Python are written as blocks; custom ones are registered in minidnn.ops",
        "optimizer": _TRAINING,
        "rtc": _GPU,
        "test_utils": "numpy.testing compares arrays; ours become NumPy's by asnumpy()",
        "tvmop": _PLUMBING,
    },
    "minidnn.amp": {
        "LossScaler": _TRAINING,
        "convert_symbol": "weights are rounded when they are converted: use convert_model, which has their values",
        "init_trainer": _TRAINING,
        "scale_loss": _TRAINING,
        "unscale": _TRAINING,
    },
    "minidnn.autograd": {
        "Function": _TRAINING,
        "get_symbol": _TRAINING,
        "mark_variables": _TRAINING,
    },
    "minidnn.contrib": {
        "tensorboard": _TRAINING,
        "text": "use a package of its own for vocabularies and embeddings, and mx.gluon.nn.Embedding for the network",
    },
    "minidnn.contrib.quantization": {"calib_graph": _STAGES, "quantize_graph": _STAGES},
    "minidnn.gluon": {
        "Trainer": _TRAINING,
        "contrib": "its layers and estimators are for training",
        "loss": _TRAINING,
        "probability": "mx.np.random and mx.npx.random draw from distributions",
    },
    "minidnn.gluon.metric": {"Torch": "it is mx.gluon.metric.Loss by another name"},
    "minidnn.image": {
        "Augmenter": _AUGMENT,
        "CreateAugmenter": _AUGMENT,
        "CreateDetAugmenter": _AUGMENT,
        "DetAugmenter": _AUGMENT,
        "ImageDetIter": _AUGMENT,
        "ImageIter": _AUGMENT,
    },
    "minidnn.npx": {
        "contrib_calibrate_entropy": "mx.contrib.quantization.quantize_net(calib_mode='entropy') finds thresholds",
        "get_cuda_compute_capability": _GPU,
        "scalar_poisson": "use numpy.random.Generator.poisson, and mx.np.array of its result",
        "tensor_poisson": "use numpy.random.Generator.poisson, and mx.np.array of its result",
        "ctc_loss": _TRAINING,
    },
    "minidnn.npx.image": {
        f"random_{what}": f"use mx.gluon.data.vision.transforms.Random{transform}"
        for what, transform in (
            ("brightness", "Brightness"),
            ("color_jitter", "ColorJitter"),
            ("contrast", "Contrast"),
            ("hue", "Hue"),
            ("lighting", "Lighting"),
            ("resized_crop", "ResizedCrop"),
            ("saturation", "Saturation"),
        )
    },
    "minidnn.numpy": {
        "fft": "complex arrays are not supported; use numpy.fft on x.asnumpy()",
        "genfromtxt": "use numpy.genfromtxt, and mx.np.array of its result",
        "load": _FILES,
        "save": _FILES,
        "savez": _FILES,
        "set_printoptions": "arrays are printed by NumPy; use numpy.set_printoptions",
        **dict.fromkeys(("mirr", "npv", "pmt", "ppmt", "pv", "rate"), _FINANCE),
    },
    "minidnn.profiler": dict.fromkeys(("Counter", "Domain", "Event", "Frame", "Marker", "Task", "scope"), _MARKS),
    "minidnn.runtime": {"get_branch": _PLUMBING, "get_commit_hash": _PLUMBING},
    "minidnn.symbol": {
        **dict.fromkeys(("contrib", "linalg", "np", "npx", "numpy"), _TRACE),
        **dict.fromkeys(("Activation", "BatchNorm", "Concat", "Convolution", "Flatten"), _TRACE),
        **dict.fromkeys(("FullyConnected", "Pooling", "SoftmaxOutput"), _TRACE),
        **dict.fromkeys(("hypot", "maximum", "minimum", "pow", "power", "split_v2"), _TRACE),
        **dict.fromkeys(("arange", "eye", "full", "histogram", "linspace", "ones", "zeros"), _TRACE),
    },
}


def raising(module: str) -> Callable[[str], NoReturn]:
    """The ``__getattr__`` of a module: an AttributeError that says more for a name of `MISSING`."""

    def __getattr__(name: str) -> NoReturn:  # noqa: N807
        reason = MISSING.get(module, {}).get(name)
        message = f"module {module!r} has no attribute {name!r}" + (f": {reason}" if reason else "")
        raise AttributeError(message, name=name, obj=sys.modules.get(module))

    return __getattr__
