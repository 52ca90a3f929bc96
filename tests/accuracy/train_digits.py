"""Train the network of digits.py with torch and write its weights: ``python tests/accuracy/train_digits.py``.

Takes about a minute on one core. The same seed on the same machine with the same version of torch gives the same
weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from digits import CLASSES, WEIGHTS, Digits, read_digits

from minidnn import serialization

Parameters = dict[str, torch.Tensor]

_EPOCHS = 30
_BATCH = 50
_RATE = 0.01
_DECAY = 1e-3
_EPSILON = 1e-5  # of batch normalization, as the layers of digits.py have it
_MOMENTUM = 0.1

# Layer -> (input channels of a group, channels, kernel).
_CONVOLUTIONS = {
    "stem": (1, 16, 3),
    "widen": (16, 24, 3),
    "inner": (24, 24, 3),
    "outer": (24, 24, 3),
    "depthwise": (1, 24, 3),
    "pointwise": (24, 48, 1),
    "last": (48, 64, 3),
}
_FEATURES = 64
_STATISTICS = ("running_mean", "running_var")


def initial_parameters(generator: torch.Generator) -> Parameters:
    """He's initialization: arXiv:1502.01852."""
    parameters: Parameters = {}
    for layer, (inputs, channels, kernel) in _CONVOLUTIONS.items():
        scale = math.sqrt(2 / (inputs * kernel**2))
        parameters[f"{layer}.conv.weight"] = scale * torch.randn(channels, inputs, kernel, kernel, generator=generator)
        for name, value in (("gamma", 1.0), ("beta", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            parameters[f"{layer}.bn.{name}"] = torch.full((channels,), value)
    parameters["output.weight"] = torch.randn(CLASSES, _FEATURES, generator=generator) / math.sqrt(_FEATURES)
    parameters["output.bias"] = torch.zeros(CLASSES)
    return parameters


def forward(parameters: Parameters, x: torch.Tensor, training: bool = False) -> torch.Tensor:
    """The network of digits.py in torch's functions; training updates the running statistics."""

    def conv(layer: str, x: torch.Tensor, stride: int = 1, groups: int = 1) -> torch.Tensor:
        weight = parameters[f"{layer}.conv.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
        mean, variance, gamma, beta = (parameters[f"{layer}.bn.{name}"] for name in (*_STATISTICS, "gamma", "beta"))
        return F.batch_norm(x, mean, variance, gamma, beta, training, _MOMENTUM, _EPSILON)

    x = F.relu(conv("widen", F.max_pool2d(F.relu(conv("stem", x)), 2)))
    x = F.relu(conv("outer", F.relu(conv("inner", x))) + x)
    x = F.relu(conv("depthwise", x, stride=2, groups=x.shape[1]))
    x = F.relu(conv("last", F.relu(conv("pointwise", x))))
    return F.linear(x.mean((2, 3)), parameters["output.weight"], parameters["output.bias"])


def _distort(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image turned, scaled and moved a little, at random."""
    count = len(images)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    angle, scale = uniform(-0.2, 0.2), uniform(0.9, 1.1)
    cosine, sine = scale * torch.cos(angle), scale * torch.sin(angle)
    right, down = uniform(-0.15, 0.15), uniform(-0.15, 0.15)  # of half a side: up to two pixels
    matrix = torch.stack([cosine, -sine, right, sine, cosine, down], 1).reshape(count, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _batches(digits: Digits, generator: torch.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    images, labels = torch.from_numpy(digits.images), torch.from_numpy(digits.labels)
    for rows in torch.randperm(len(digits), generator=generator).split(_BATCH):
        yield _distort(images[rows], generator), labels[rows]


def train(digits: Digits) -> Parameters:
    generator = torch.Generator().manual_seed(0)
    parameters = initial_parameters(generator)
    learned = [tensor.requires_grad_() for name, tensor in parameters.items() if not name.endswith(_STATISTICS)]
    optimizer = torch.optim.AdamW(learned, _RATE, weight_decay=_DECAY)
    steps = _EPOCHS * math.ceil(len(digits) / _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, steps)
    for epoch in range(_EPOCHS):
        total = 0.0
        for images, labels in _batches(digits, generator):
            loss = F.cross_entropy(forward(parameters, images, training=True), labels, label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(labels)
        print(f"epoch {epoch + 1:2}: loss {total / len(digits):.4f}", flush=True)
    return {name: tensor.detach() for name, tensor in parameters.items()}


def accuracy(parameters: Parameters, digits: Digits) -> float:
    with torch.inference_mode():
        predicted = forward(parameters, torch.from_numpy(digits.images)).argmax(1).numpy()
    return float(np.mean(predicted == digits.labels))


def main() -> None:
    torch.set_num_threads(1)  # sums in the same order everywhere
    torch.use_deterministic_algorithms(True)
    training, test = read_digits()
    parameters = train(training)
    print(f"training accuracy {accuracy(parameters, training):.4f}, test accuracy {accuracy(parameters, test):.4f}")
    serialization.save(WEIGHTS, {name: tensor.numpy() for name, tensor in parameters.items()})


if __name__ == "__main__":
    main()
