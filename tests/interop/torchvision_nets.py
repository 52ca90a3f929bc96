"""Networks of torchvision's structure and names, written anew over torch.nn: the tests' reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["NETWORKS", "densenet121", "inception_v3", "mobilenet_v2", "randomize", "resnet", "vgg11_bn"]


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, before: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsampling(before, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, before: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = downsampling(before, 4 * planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        return (self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x))).relu()


def downsampling(before: int, after: int, stride: int) -> nn.Module | None:
    if stride == 1 and before == after:
        return None
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))


class ResNet(nn.Module):
    def __init__(self, block: type[BasicBlock] | type[Bottleneck], layers: Sequence[int], classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        before = 64
        for i, depth in enumerate(layers):
            blocks = []
            for j in range(depth):
                blocks.append(block(before, 64 << i, 2 if i and not j else 1))
                before = (64 << i) * block.expansion
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        for i in range(4):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.fc(x.mean((2, 3)))


def resnet(depth: int, classes: int) -> nn.Module:
    block, layers = {18: (BasicBlock, (2, 2, 2, 2)), 34: (BasicBlock, (3, 4, 6, 3)), 50: (Bottleneck, (3, 4, 6, 3))}[
        depth
    ]
    return ResNet(block, layers, classes)


class Classifier(nn.Module):
    """``classifier`` of the flattened ``features``."""

    def __init__(self, features: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.features, self.classifier = features, classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


def vgg11_bn(classes: int, norm: bool = True) -> nn.Module:
    """For images of 32×32 pixels: in front of the classifier there is one pixel, not 7×7."""
    layers: list[nn.Module] = []
    before = 3
    for channels in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
        if channels == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers.append(nn.Conv2d(before, channels, 3, padding=1))
        layers += [nn.BatchNorm2d(channels)] if norm else []
        layers.append(nn.ReLU())
        before = channels
    wide = [nn.Linear(512, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout()]
    return Classifier(nn.Sequential(*layers), nn.Sequential(*wide, nn.Linear(4096, classes)))


def alexnet(classes: int) -> nn.Module:
    """For images of 64×64 pixels: in front of the classifier there is one pixel, not 6×6."""
    features: list[nn.Module] = [nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    features += [nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    for before, after in ((192, 384), (384, 256), (256, 256)):
        features += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
    features.append(nn.MaxPool2d(3, 2))
    wide = [nn.Dropout(), nn.Linear(256, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()]
    return Classifier(nn.Sequential(*features), nn.Sequential(*wide, nn.Linear(4096, classes)))


class Fire(nn.Module):
    def __init__(self, before: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(before, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)


def squeezenet(version: str, classes: int) -> nn.Module:
    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    fires = [Fire(128, 16, 64), Fire(128, 32, 128), Fire(256, 32, 128), Fire(256, 48, 192), Fire(384, 48, 192)]
    fires += [Fire(384, 64, 256), Fire(512, 64, 256)]
    if version == "1.0":
        layers = [nn.Conv2d(3, 96, 7, 2), nn.ReLU(), pool(), Fire(96, 16, 64), *fires[:2], pool(), *fires[2:6]]
        layers += [pool(), fires[6]]
    else:
        layers = [nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool(), Fire(64, 16, 64), fires[0], pool(), *fires[1:3], pool()]
        layers += fires[3:]
    head = nn.Sequential(nn.Dropout(), nn.Conv2d(512, classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    class SqueezeNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.classifier = nn.Sequential(*layers), head

        def forward(self, x: Tensor) -> Tensor:
            return self.classifier(self.features(x)).flatten(1)

    return SqueezeNet()


class DenseLayer(nn.Module):
    def __init__(self, before: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(before), nn.Conv2d(before, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv2(self.norm2(self.conv1(self.norm1(x).relu())).relu())], 1)


def densenet121(classes: int) -> nn.Module:
    layers: dict[str, nn.Module] = {"conv0": nn.Conv2d(3, 64, 7, 2, 3, bias=False), "norm0": nn.BatchNorm2d(64)}
    layers |= {"relu0": nn.ReLU(), "pool0": nn.MaxPool2d(3, 2, 1)}
    channels = 64
    for i, depth in enumerate((6, 12, 24, 16), 1):
        block = nn.Sequential()
        for j in range(depth):
            block.add_module(f"denselayer{j + 1}", DenseLayer(channels + 32 * j, 32))
        layers[f"denseblock{i}"] = block
        channels += 32 * depth
        if i < 4:
            transition = nn.Sequential()
            transition.add_module("norm", nn.BatchNorm2d(channels))
            transition.add_module("relu", nn.ReLU())
            transition.add_module("conv", nn.Conv2d(channels, channels // 2, 1, bias=False))
            transition.add_module("pool", nn.AvgPool2d(2))
            layers[f"transition{i}"] = transition
            channels //= 2
    layers |= {"norm5": nn.BatchNorm2d(channels), "relu5": nn.ReLU(), "pool5": nn.AdaptiveAvgPool2d(1)}
    features = nn.Sequential()
    for name, layer in layers.items():
        features.add_module(name, layer)
    return Classifier(features, nn.Linear(channels, classes))


def conv_norm(
    before: int,
    after: int,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    act: type[nn.Module] | None = nn.ReLU6,
    eps: float = 1e-5,
) -> nn.Module:
    conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after, eps), *([act()] if act else []))


class InvertedResidual(nn.Module):
    def __init__(self, before: int, after: int, stride: int, ratio: int) -> None:
        super().__init__()
        inner = before * ratio
        self.shortcut = stride == 1 and before == after
        expansion = [conv_norm(before, inner)] if ratio > 1 else []
        project = [nn.Conv2d(inner, after, 1, bias=False), nn.BatchNorm2d(after)]
        self.conv = nn.Sequential(*expansion, conv_norm(inner, inner, 3, stride, inner), *project)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


# ratio, channels, depth, stride of each stage
MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(classes: int) -> nn.Module:
    layers: list[nn.Module] = [conv_norm(3, 32, 3, 2)]
    before = 32
    for ratio, channels, depth, stride in MOBILENET_V2:
        for i in range(depth):
            layers.append(InvertedResidual(before, channels, 1 if i else stride, ratio))
            before = channels
    layers += [conv_norm(320, 1280), nn.AdaptiveAvgPool2d(1)]
    return Classifier(nn.Sequential(*layers), nn.Sequential(nn.Dropout(), nn.Linear(1280, classes)))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * nn.functional.hardsigmoid(self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()))


class InvertedResidualV3(nn.Module):
    def __init__(self, before: int, kernel: int, inner: int, after: int, squeeze: int, swish: int, stride: int) -> None:
        super().__init__()
        act = nn.Hardswish if swish else nn.ReLU
        self.shortcut = stride == 1 and before == after
        expansion = [conv_norm(before, inner, act=act, eps=1e-3)] if inner != before else []
        excitation = [SqueezeExcitation(inner, squeeze)] if squeeze else []
        depthwise = conv_norm(inner, inner, kernel, stride, inner, act, 1e-3)
        project = conv_norm(inner, after, act=None, eps=1e-3)
        self.block = nn.Sequential(*expansion, depthwise, *excitation, project)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.shortcut else self.block(x)


# kernel, channels inside, channels, channels of the squeezing, whether it is hard-swish, stride
MOBILENET_V3_SMALL = (
    (3, 16, 16, 8, 0, 2), (3, 72, 24, 0, 0, 2), (3, 88, 24, 0, 0, 1), (5, 96, 40, 24, 1, 2), (5, 240, 40, 64, 1, 1),
    (5, 240, 40, 64, 1, 1), (5, 120, 48, 32, 1, 1), (5, 144, 48, 40, 1, 1), (5, 288, 96, 72, 1, 2),
    (5, 576, 96, 144, 1, 1), (5, 576, 96, 144, 1, 1),
)  # fmt: skip


def mobilenet_v3_small(classes: int) -> nn.Module:
    layers: list[nn.Module] = [conv_norm(3, 16, 3, 2, act=nn.Hardswish, eps=1e-3)]
    before = 16
    for line in MOBILENET_V3_SMALL:
        layers.append(InvertedResidualV3(before, *line))
        before = line[2]
    layers += [conv_norm(96, 576, act=nn.Hardswish, eps=1e-3), nn.AdaptiveAvgPool2d(1)]
    head = nn.Sequential(nn.Linear(576, 1024), nn.Hardswish(), nn.Dropout(), nn.Linear(1024, classes))
    return Classifier(nn.Sequential(*layers), head)


class BasicConv(nn.Module):
    def __init__(
        self, before: int, after: int, kernel: int | tuple[int, int], stride: int = 1, pad: bool = True
    ) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if pad else 0
        self.conv = nn.Conv2d(before, after, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu()


class Mixed(nn.Module):
    """Convolutions by name, and a function that joins them."""

    def __init__(self, run: Callable[[nn.Module, Tensor], Sequence[Tensor]], **convolutions: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, convolution in convolutions.items():
            self.add_module(name, convolution)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([*self.run(self, x)], 1)


def _average(x: Tensor) -> Tensor:
    return nn.functional.avg_pool2d(x, 3, 1, 1)


def _largest(x: Tensor) -> Tensor:
    return nn.functional.max_pool2d(x, 3, 2)


def inception_a(before: int, pooled: int) -> nn.Module:
    return Mixed(
        lambda m, x: (
            m.branch1x1(x),
            m.branch5x5_2(m.branch5x5_1(x)),
            m.branch3x3dbl_3(m.branch3x3dbl_2(m.branch3x3dbl_1(x))),
            m.branch_pool(_average(x)),
        ),
        branch1x1=BasicConv(before, 64, 1),
        branch5x5_1=BasicConv(before, 48, 1),
        branch5x5_2=BasicConv(48, 64, 5),
        branch3x3dbl_1=BasicConv(before, 64, 1),
        branch3x3dbl_2=BasicConv(64, 96, 3),
        branch3x3dbl_3=BasicConv(96, 96, 3),
        branch_pool=BasicConv(before, pooled, 1),
    )


def inception_b() -> nn.Module:
    return Mixed(
        lambda m, x: (m.branch3x3(x), m.branch3x3dbl_3(m.branch3x3dbl_2(m.branch3x3dbl_1(x))), _largest(x)),
        branch3x3=BasicConv(288, 384, 3, 2, pad=False),
        branch3x3dbl_1=BasicConv(288, 64, 1),
        branch3x3dbl_2=BasicConv(64, 96, 3),
        branch3x3dbl_3=BasicConv(96, 96, 3, 2, pad=False),
    )


def inception_c(inner: int) -> nn.Module:
    def run(m: nn.Module, x: Tensor) -> Sequence[Tensor]:
        double = x
        for i in range(1, 6):
            double = getattr(m, f"branch7x7dbl_{i}")(double)
        return m.branch1x1(x), m.branch7x7_3(m.branch7x7_2(m.branch7x7_1(x))), double, m.branch_pool(_average(x))

    return Mixed(
        run,
        branch1x1=BasicConv(768, 192, 1),
        branch7x7_1=BasicConv(768, inner, 1),
        branch7x7_2=BasicConv(inner, inner, (1, 7)),
        branch7x7_3=BasicConv(inner, 192, (7, 1)),
        branch7x7dbl_1=BasicConv(768, inner, 1),
        branch7x7dbl_2=BasicConv(inner, inner, (7, 1)),
        branch7x7dbl_3=BasicConv(inner, inner, (1, 7)),
        branch7x7dbl_4=BasicConv(inner, inner, (7, 1)),
        branch7x7dbl_5=BasicConv(inner, 192, (1, 7)),
        branch_pool=BasicConv(768, 192, 1),
    )


def inception_d() -> nn.Module:
    return Mixed(
        lambda m, x: (
            m.branch3x3_2(m.branch3x3_1(x)),
            m.branch7x7x3_4(m.branch7x7x3_3(m.branch7x7x3_2(m.branch7x7x3_1(x)))),
            _largest(x),
        ),
        branch3x3_1=BasicConv(768, 192, 1),
        branch3x3_2=BasicConv(192, 320, 3, 2, pad=False),
        branch7x7x3_1=BasicConv(768, 192, 1),
        branch7x7x3_2=BasicConv(192, 192, (1, 7)),
        branch7x7x3_3=BasicConv(192, 192, (7, 1)),
        branch7x7x3_4=BasicConv(192, 192, 3, 2, pad=False),
    )


def inception_e(before: int) -> nn.Module:
    def run(m: nn.Module, x: Tensor) -> Sequence[Tensor]:
        single, double = m.branch3x3_1(x), m.branch3x3dbl_2(m.branch3x3dbl_1(x))
        return (
            m.branch1x1(x),
            m.branch3x3_2a(single),
            m.branch3x3_2b(single),
            m.branch3x3dbl_3a(double),
            m.branch3x3dbl_3b(double),
            m.branch_pool(_average(x)),
        )

    return Mixed(
        run,
        branch1x1=BasicConv(before, 320, 1),
        branch3x3_1=BasicConv(before, 384, 1),
        branch3x3_2a=BasicConv(384, 384, (1, 3)),
        branch3x3_2b=BasicConv(384, 384, (3, 1)),
        branch3x3dbl_1=BasicConv(before, 448, 1),
        branch3x3dbl_2=BasicConv(448, 384, 3),
        branch3x3dbl_3a=BasicConv(384, 384, (1, 3)),
        branch3x3dbl_3b=BasicConv(384, 384, (3, 1)),
        branch_pool=BasicConv(before, 192, 1),
    )


class Inception(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = BasicConv(3, 32, 3, 2, pad=False)
        self.Conv2d_2a_3x3 = BasicConv(32, 32, 3, pad=False)
        self.Conv2d_2b_3x3 = BasicConv(32, 64, 3)
        self.maxpool1 = nn.MaxPool2d(3, 2)
        self.Conv2d_3b_1x1 = BasicConv(64, 80, 1)
        self.Conv2d_4a_3x3 = BasicConv(80, 192, 3, pad=False)
        self.maxpool2 = nn.MaxPool2d(3, 2)
        for name, block in zip("bcd", (inception_a(192, 32), inception_a(256, 64), inception_a(288, 64)), strict=True):
            self.add_module(f"Mixed_5{name}", block)
        self.Mixed_6a = inception_b()
        for name, inner in zip("bcde", (128, 160, 160, 192), strict=True):
            self.add_module(f"Mixed_6{name}", inception_c(inner))
        self.Mixed_7a, self.Mixed_7b, self.Mixed_7c = inception_d(), inception_e(1280), inception_e(2048)
        self.fc = nn.Linear(2048, classes)

    def forward(self, x: Tensor) -> Tensor:
        for name, block in self.named_children():
            x = block(x) if name != "fc" else self.fc(x.mean((2, 3)))
        return x


def inception_v3(classes: int) -> nn.Module:
    return Inception(classes)


# Our name -> torch's network for so many classes, pixels a side
NETWORKS: dict[str, tuple[Callable[[int], nn.Module], int]] = {
    "resnet18_v1": (lambda classes: resnet(18, classes), 64),
    "resnet18_v1b": (lambda classes: resnet(18, classes), 64),
    "resnet34_v1b": (lambda classes: resnet(34, classes), 64),
    "resnet50_v1b": (lambda classes: resnet(50, classes), 64),
    "vgg11": (lambda classes: vgg11_bn(classes, norm=False), 32),
    "vgg11_bn": (vgg11_bn, 32),
    "alexnet": (alexnet, 64),
    "squeezenet1.0": (lambda classes: squeezenet("1.0", classes), 224),
    "squeezenet1.1": (lambda classes: squeezenet("1.1", classes), 224),
    "densenet121": (densenet121, 224),
    "inceptionv3": (inception_v3, 299),
    "mobilenetv2_1.0": (mobilenet_v2, 64),
    "mobilenetv3_small": (mobilenet_v3_small, 64),
}


def randomize(net: nn.Module, seed: int = 0) -> nn.Module:
    """Give every tensor random values that keep the activations' magnitude, running statistics included."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if tensor.ndim > 1:
            fan = tensor[0].numel()
            tensor.normal_(0, (2 / fan) ** 0.5, generator=generator)
        elif name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.1, generator=generator)
    return net.eval()
