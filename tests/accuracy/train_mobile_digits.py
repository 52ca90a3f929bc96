"""Train the network of mobile_digits.py with torch: ``python -m tests.accuracy.train_mobile_digits``.

Takes some minutes on one core. The same seed on the same machine with the same version of torch gives the same weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from minidnn import serialization
from tests.accuracy.digits import CLASSES, read_digits
from tests.accuracy.mobile_digits import BLOCKS, HEAD, STEM, WEIGHTS

_EPOCHS = 20
_BATCH = 50
_RATE = 0.01
_DECAY = 1e-4


def _unit(inputs: int, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


class MobileDigits(nn.Module):
    """The network of mobile_digits.py in torch's layers, with the same names of its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _unit(1, STEM, 3, 2)
        self.blocks = nn.ModuleList()
        inputs = STEM
        for channels, stride in BLOCKS:
            wide = 6 * inputs
            layers = {
                "expand": _unit(inputs, wide, 1),
                "depthwise": _unit(wide, wide, 3, stride, wide),
                "project": _unit(wide, channels, 1),
            }
            self.blocks.append(nn.ModuleDict(layers))
            inputs = channels
        self.head = _unit(inputs, HEAD, 1)
        self.output = nn.Linear(HEAD, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self.stem(x))
        for block in self.blocks:
            y = F.relu6(block["expand"](x))
            y = block["project"](F.relu6(block["depthwise"](y)))
            x = x + y if x.shape == y.shape else y
        return self.output(F.relu6(self.head(x)).mean((2, 3)))


def train() -> MobileDigits:
    """The network after all epochs, its digits moved by up to two pixels at random."""
    torch.manual_seed(0)
    net = MobileDigits()
    training = read_digits()[0]
    images, labels = torch.from_numpy(training.images), torch.from_numpy(training.labels)
    optimizer = torch.optim.AdamW(net.parameters(), _RATE, weight_decay=_DECAY)
    steps = _EPOCHS * len(labels) // _BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    for epoch in range(_EPOCHS):
        for rows in torch.randperm(len(labels)).split(_BATCH):
            dx, dy = torch.randint(-2, 3, (2,)).tolist()
            loss = F.cross_entropy(net(images[rows].roll((dy, dx), (2, 3))), labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.4f}", flush=True)
    return net.eval()


def main() -> None:
    net, test = train(), read_digits()[1]
    with torch.inference_mode():
        found = torch.cat([net(part) for part in torch.from_numpy(test.images).split(500)]).argmax(1).numpy()
    print(f"accuracy on the test set: {(found == test.labels).mean():.4f}")
    parameters = {name: value.numpy() for name, value in net.state_dict().items() if "num_batches" not in name}
    serialization.save(WEIGHTS, parameters)


if __name__ == "__main__":
    main()
