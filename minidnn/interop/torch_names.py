"""Which tensor of a PyTorch state dict is which of our parameters, for the networks of the zoo.

A family is a function that gives, for a network, a table: a layer's name in torchvision or timm -> its name here. A
layer that torchvision and timm call by different names has a line for each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from minidnn.errors import DataError

__all__ = ["is_unused", "shift_of_variances", "strip_wrappers", "torch_names"]

_Layers = dict[str, str]
_NORM = {"weight": "gamma", "bias": "beta"}


def torch_names(net: Any) -> dict[str, str]:
    """Name of a tensor in the state dict of torchvision or timm -> name of our parameter.

    Args:
        net: a network of the zoo, or any block whose layers have the names they have in PyTorch.

    Raises:
        DataError: the network's structure is MXNet's alone, so that no PyTorch weights fit; the message says which
            network to take instead.
    """
    family = next((_FAMILIES[base.__name__] for base in type(net).__mro__ if base.__name__ in _FAMILIES), _same_names)
    ours: dict[str, list[str]] = {}
    for name in net.collect_params():
        layer, _, leaf = name.rpartition(".")
        ours.setdefault(layer, []).append(leaf)
    names = {}
    for theirs, layer in family(net).items():
        leaves = ours.get(layer, [])
        torch_leaves = {value: key for key, value in _NORM.items()} if "gamma" in leaves else {}
        for leaf in leaves:
            names[f"{theirs}.{torch_leaves.get(leaf, leaf)}".removeprefix(".")] = f"{layer}.{leaf}".removeprefix(".")
    return names


# What timm's MobileNetV3 adds to a variance less than torchvision's and ours, which add 1e-3.
_TIMM_LESS = 1e-3 - 1e-5


def shift_of_variances(net: Any, names: Collection[str]) -> float:
    """What is to be taken from the running variances of a state dict with these names, so that the network computes
    the same: frameworks add other numbers to variances, to divide by no zero.
    """
    is_timms = "conv_stem.weight" in names and any(base.__name__ == "MobileNetV3" for base in type(net).__mro__)
    return _TIMM_LESS if is_timms else 0.0


def is_unused(name: str) -> bool:
    """Whether a tensor is no weight: counters of batches, numbers of positions, Inception's auxiliary classifier."""
    return name.endswith(("num_batches_tracked", "embeddings.position_ids")) or name.startswith("AuxLogits.")


def _same_names(net: Any) -> _Layers:
    layers = {name.rpartition(".")[0] for name in net.collect_params()}
    return {layer: layer for layer in layers}


def _alexnet(net: Any) -> _Layers:
    numbers = {"features.0": 0, "features.3": 2, "features.6": 4, "features.8": 5, "features.10": 6}
    numbers |= {"classifier.1": 9, "classifier.4": 11}
    return {theirs: f"features.{i}" for theirs, i in numbers.items()} | {"classifier.6": "output"}


def _vgg(net: Any) -> _Layers:
    last = len(net.features) - 4  # two dense layers with their dropouts end the features
    layers = {f"features.{i}": f"features.{i}" for i in range(last)}
    first, second = f"features.{last}", f"features.{last + 2}"
    torchvision = {"classifier.0": first, "classifier.3": second, "classifier.6": "output"}
    timm = {"pre_logits.fc1": first, "pre_logits.fc2": second, "head.fc": "output"}
    return layers | torchvision | timm


def _squeezenet(net: Any) -> _Layers:
    layers = {"features.0": "features.0", "classifier.1": "output.0"}
    for i in range(len(net.features)):
        fire = f"features.{i}"
        layers |= {f"{fire}.squeeze": f"{fire}.0.0"}
        layers |= {f"{fire}.expand1x1": f"{fire}.1.0.0", f"{fire}.expand3x3": f"{fire}.1.1.0"}
    return layers


def _densenet(net: Any) -> _Layers:
    last = len(net.features) - 4  # normalization, activation, pooling and flattening end the features
    layers = {"features.conv0": "features.0", "features.norm0": "features.1"}
    layers |= {"features.norm5": f"features.{last}", "classifier": "output"}
    for block, at in enumerate(range(4, last, 2), 1):
        for i in range(len(net.features[at])):
            theirs, ours = f"features.denseblock{block}.denselayer{i + 1}", f"features.{at}.{i}.1"
            for number, (norm, conv) in {1: (0, 2), 2: (3, 5)}.items():
                # The checkpoints of torchvision's first versions have a dot in front of the number.
                for dot in ("", "."):
                    layers[f"{theirs}.norm{dot}{number}"] = f"{ours}.{norm}"
                    layers[f"{theirs}.conv{dot}{number}"] = f"{ours}.{conv}"
        transition = f"features.transition{block}"
        layers |= {f"{transition}.norm": f"features.{at + 1}.0", f"{transition}.conv": f"features.{at + 1}.2"}
    return layers


# Inception's blocks: name of a convolution -> where it is among our branches.
_INCEPTION_A = {"branch1x1": "0.0", "branch5x5_1": "1.0", "branch5x5_2": "1.1", "branch_pool": "3.1"}
_INCEPTION_A |= {f"branch3x3dbl_{i + 1}": f"2.{i}" for i in range(3)}
_INCEPTION_B = {"branch3x3": "0.0", **{f"branch3x3dbl_{i + 1}": f"1.{i}" for i in range(3)}}
_INCEPTION_C = {"branch1x1": "0.0", "branch_pool": "3.1"}
_INCEPTION_C |= {f"branch7x7_{i + 1}": f"1.{i}" for i in range(3)}
_INCEPTION_C |= {f"branch7x7dbl_{i + 1}": f"2.{i}" for i in range(5)}
_INCEPTION_D = {"branch3x3_1": "0.0", "branch3x3_2": "0.1", **{f"branch7x7x3_{i + 1}": f"1.{i}" for i in range(4)}}
_INCEPTION_E = {"branch1x1": "0.0", "branch_pool": "3.1", "branch3x3dbl_1": "2.0.0", "branch3x3dbl_2": "2.0.1"}
_INCEPTION_E |= {"branch3x3_1": "1.0.0", "branch3x3_2a": "1.1.0.0", "branch3x3_2b": "1.1.1.0"}
_INCEPTION_E |= {"branch3x3dbl_3a": "2.1.0.0", "branch3x3dbl_3b": "2.1.1.0"}
_INCEPTION_STEM = {"1a_3x3": 0, "2a_3x3": 1, "2b_3x3": 2, "3b_1x1": 4, "4a_3x3": 5}
_INCEPTION_BLOCKS = {
    **{f"Mixed_5{letter}": (7 + i, _INCEPTION_A) for i, letter in enumerate("bcd")},
    "Mixed_6a": (10, _INCEPTION_B),
    **{f"Mixed_6{letter}": (11 + i, _INCEPTION_C) for i, letter in enumerate("bcde")},
    "Mixed_7a": (15, _INCEPTION_D),
    **{f"Mixed_7{letter}": (16 + i, _INCEPTION_E) for i, letter in enumerate("bc")},
}


def _inception(net: Any) -> _Layers:
    convolutions = {f"Conv2d_{name}": f"features.{at}" for name, at in _INCEPTION_STEM.items()}
    for name, (at, branches) in _INCEPTION_BLOCKS.items():
        convolutions |= {f"{name}.{theirs}": f"features.{at}.{ours}" for theirs, ours in branches.items()}
    layers = {"fc": "output"}
    for theirs, ours in convolutions.items():
        layers |= {f"{theirs}.conv": f"{ours}.0", f"{theirs}.bn": f"{ours}.1"}
    return layers


def _resnet_v1(net: Any) -> _Layers:
    layers = {"conv1": "features.0", "bn1": "features.1", "fc": "output"}
    for stage in range(4):
        for i, block in enumerate(net.features[4 + stage]):
            if len(block.body) != 5:
                raise DataError(
                    "ResNetV1's bottleneck has its stride on the first 1×1 convolution, PyTorch's on the 3×3: its "
                    "weights fit resnet50_v1b, resnet101_v1b and resnet152_v1b"
                )
            theirs, ours = f"layer{stage + 1}.{i}", f"features.{4 + stage}.{i}"
            names = {"conv1": "body.0", "bn1": "body.1", "conv2": "body.3", "bn2": "body.4"}
            names |= {"downsample.0": "downsample.0", "downsample.1": "downsample.1"}
            layers |= {f"{theirs}.{key}": f"{ours}.{value}" for key, value in names.items()}
    return layers


def _timm_blocks(depths: tuple[int, ...]) -> Iterator[str]:
    """timm's names of the blocks of a MobileNet, in order."""
    return (f"blocks.{stage}.{i}" for stage, depth in enumerate(depths) for i in range(depth))


def _stage_depths(blocks: Iterable[Any]) -> tuple[int, ...]:
    """How many blocks each stage has: its first one has another shape behind it than before, and so no shortcut."""
    depths: list[int] = []
    for block in blocks:
        if depths and block.use_shortcut:
            depths[-1] += 1
        else:
            depths.append(1)
    return tuple(depths)


def _mobilenet_v2(net: Any) -> _Layers:
    if not net.torchvision:
        raise DataError(
            "MXNet's MobileNetV2 has an expansion in the first bottleneck and no bias in the classifier, PyTorch's the "
            "contrary: its weights fit a network made with torchvision=True"
        )
    layers = {"features.0.0": "features.0", "features.0.1": "features.1", "classifier.1": "output.0"}
    layers |= {"features.18.0": "features.20", "features.18.1": "features.21"}
    layers |= {"conv_stem": "features.0", "bn1": "features.1", "classifier": "output.0"}
    layers |= {"conv_head": "features.20", "bn2": "features.21"}
    for i, timm in enumerate(_timm_blocks((1, 2, 3, 4, 3, 3, 1))):
        theirs, ours = f"features.{i + 1}.conv", f"features.{i + 3}.out"
        torchvision = ["0.0", "0.1", "1", "2"] if i == 0 else ["0.0", "0.1", "1.0", "1.1", "2", "3"]
        parts = ["dw", "pw"] if i == 0 else ["pw", "dw", "pwl"]
        for j, part in enumerate(parts):
            conv, norm = f"{ours}.{3 * j}", f"{ours}.{3 * j + 1}"
            layers |= {f"{theirs}.{torchvision[2 * j]}": conv, f"{theirs}.{torchvision[2 * j + 1]}": norm}
            layers |= {f"{timm}.conv_{part}": conv, f"{timm}.bn{j + 1}": norm}
    return layers


def _mobilenet_v3(net: Any) -> _Layers:
    last = len(net.features) - 7  # the head's convolution, normalization, ..., dropout
    layers = {"features.0.0": "features.0", "features.0.1": "features.1"}
    layers |= {f"features.{last - 2}.0": f"features.{last}", f"features.{last - 2}.1": f"features.{last + 1}"}
    layers |= {"classifier.0": f"features.{last + 4}", "classifier.3": "output.0"}
    for at in range(3, last):
        unit, number = net.features[at], 0
        for part in ("expand", "conv1", "se", "conv2"):
            if getattr(unit, part) is None:
                continue
            theirs, ours = f"features.{at - 2}.block.{number}", f"features.{at}.{part}"
            names = {"fc1": "conv1", "fc2": "conv2"} if part == "se" else {"0": "conv", "1": "bn"}
            layers |= {f"{theirs}.{key}": f"{ours}.{value}" for key, value in names.items()}
            number += 1
    return layers | _timm_mobilenet_v3(net, last)


def _timm_mobilenet_v3(net: Any, last: int) -> _Layers:
    depths = _stage_depths(net.features[3:last])
    head = f"blocks.{len(depths)}.0"
    layers = {"conv_stem": "features.0", "bn1": "features.1", "classifier": "output.0"}
    layers |= {f"{head}.conv": f"features.{last}", f"{head}.bn1": f"features.{last + 1}"}
    layers |= {"conv_head": f"features.{last + 4}"}
    for at, theirs in enumerate(_timm_blocks(depths), 3):
        unit, ours = net.features[at], f"features.{at}"
        parts = [part for part in ("expand", "conv1", "conv2") if getattr(unit, part) is not None]
        layers |= _timm_unit(theirs, ours, parts)
        if unit.se is not None:
            layers |= {f"{theirs}.se.conv_reduce": f"{ours}.se.conv1", f"{theirs}.se.conv_expand": f"{ours}.se.conv2"}
    return layers


def _timm_unit(theirs: str, ours: str, parts: Sequence[str]) -> _Layers:
    """A block of timm's whose convolutions are these of ours: without an expansion they are called otherwise."""
    names = ("conv_pw", "conv_dw", "conv_pwl") if len(parts) == 3 else ("conv_dw", "conv_pw")
    layers: _Layers = {}
    for number, (conv, part) in enumerate(zip(names, parts, strict=True), 1):
        layers |= {f"{theirs}.{conv}": f"{ours}.{part}.conv", f"{theirs}.bn{number}": f"{ours}.{part}.bn"}
    return layers


def _efficientnet_lite(net: Any) -> _Layers:
    head = len(net.features) - 4  # pooling, flattening and dropout are behind it
    parts = {"_expand_conv": "expand.conv", "_bn0": "expand.bn", "_depthwise_conv": "depthwise.conv"}
    parts |= {"_bn1": "depthwise.bn", "_project_conv": "project.conv", "_bn2": "project.bn"}
    layers = {"_conv_stem": "features.0.conv", "_bn0": "features.0.bn", "_fc": "output"}
    layers |= {"_conv_head": f"features.{head}.conv", "_bn1": f"features.{head}.bn"}
    for i in range(1, head):
        layers |= {f"_blocks.{i - 1}.{theirs}": f"features.{i}.{ours}" for theirs, ours in parts.items()}
    layers |= {"conv_stem": "features.0.conv", "bn1": "features.0.bn", "classifier": "output"}
    layers |= {"conv_head": f"features.{head}.conv", "bn2": f"features.{head}.bn"}
    for i, theirs in enumerate(_timm_blocks(_stage_depths(net.features[1:head])), 1):
        parts_of_unit = [p for p in ("expand", "depthwise", "project") if getattr(net.features[i], p) is not None]
        layers |= _timm_unit(theirs, f"features.{i}", parts_of_unit)
    return layers


# A layer's parts in version 5 of Hugging Face's transformers -> as the files of its hub have them.
_VIT_PARTS = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
    "layernorm_before": "layernorm_before",
    "layernorm_after": "layernorm_after",
}


def _vision_transformer(net: Any) -> _Layers:
    layers = _same_names(net)
    for i in range(len(net.vit.encoder.layer)):
        layers |= {f"vit.layers.{i}.{theirs}": f"vit.encoder.layer.{i}.{ours}" for theirs, ours in _VIT_PARTS.items()}
    return layers


def _refuse(net: Any) -> _Layers:
    raise DataError(f"{type(net).__name__} has MXNet's structure: no weights of torchvision or timm fit it")


# Class of the network -> its family. The ResNets v1b, and what is not here, have PyTorch's names.
_FAMILIES: Mapping[str, Callable[[Any], _Layers]] = {
    "AlexNet": _alexnet,
    "DenseNet": _densenet,
    "EfficientNetLite": _efficientnet_lite,
    "Inception3": _inception,
    "MobileNet": _refuse,
    "MobileNetV2": _mobilenet_v2,
    "MobileNetV3": _mobilenet_v3,
    "ResNetV1": _resnet_v1,
    "ResNetV2": _refuse,
    "SqueezeNet": _squeezenet,
    "VGG": _vgg,
    "VisionTransformer": _vision_transformer,
}


# torch.compile, and in front of a part of the network only.
_COMPILED = "_orig_mod"
# DataParallel, DistributedDataParallel and FSDP; Lightning, timm and training scripts; Hugging Face's heads.
_WRAPPERS = frozenset(
    {"_forward_module", "_fsdp_wrapped_module", "_orig_mod", "auto_model", "backbone", "bert", "ema", "ema_model",
     "model", "module", "net", "network", "state_dict"}
)  # fmt: skip


def strip_wrappers(names: Iterable[str], wanted: Collection[str]) -> dict[str, str]:
    """The names without the prefix behind which most of the wanted ones are.

    Args:
        names: of the tensors in a file.
        wanted: names that the network knows.

    Returns:
        Name in the file -> name without wrappers; names that lack the prefix keep theirs.

    Raises:
        DataError: the wanted names are equally many behind several prefixes.
    """
    plain = _without_compiled([*names])
    hits: Counter[str] = Counter()
    for name in plain.values():
        hits.update(prefix for prefix in _wrapping(name) if name[len(prefix) :] in wanted)
    most = max(hits.values(), default=0)
    best = [prefix for prefix, count in hits.items() if count == most]
    if not best or "" in best:
        return plain
    if len(best) > 1:
        listed = ", ".join(repr(prefix) for prefix in sorted(best))
        raise DataError(f"{most} tensors each have the network's names behind the prefixes {listed}: keep those of one")
    return {name: short.removeprefix(best[0]) for name, short in plain.items()}


def _without_compiled(names: list[str]) -> dict[str, str]:
    plain = {name: ".".join(part for part in name.split(".") if part != _COMPILED) for name in names}
    return plain if len({*plain.values()}) == len(names) else {name: name for name in names}


def _wrapping(name: str) -> Iterable[str]:
    """The prefixes of a name that only wrappers make, the empty one first."""
    prefix = ""
    yield prefix
    for part in name.split("."):
        if part not in _WRAPPERS:
            return
        prefix += f"{part}."
        yield prefix
