"""Networks that classify images, by MXNet's names and with MXNet's parameter names.

ResNet v1 and v2, MobileNet v1 and v2, EfficientNet-Lite. Input is ``(N, 3, H, W)``, float32, RGB; output is
``(N, classes)``. The ResNets and MobileNets want pixels scaled to 0..1, then normalized with mean
``(0.485, 0.456, 0.406)`` and deviation ``(0.229, 0.224, 0.225)``; EfficientNet-Lite wants ``(x - 127) / 128`` of
0..255.
"""

from __future__ import annotations

from minidnn.gluon.model_zoo.vision.efficientnet_lite import (
    EfficientNetLite,
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
    get_efficientnet_lite,
)
from minidnn.gluon.model_zoo.vision.imagenet import imagenet_classes
from minidnn.gluon.model_zoo.vision.mobilenet import (
    MobileNet,
    MobileNetV2,
    get_mobilenet,
    get_mobilenet_v2,
    mobilenet0_5,
    mobilenet0_25,
    mobilenet0_75,
    mobilenet1_0,
    mobilenet_v2_0_5,
    mobilenet_v2_0_25,
    mobilenet_v2_0_75,
    mobilenet_v2_1_0,
)
from minidnn.gluon.model_zoo.vision.models import get_image_size, get_model, list_models
from minidnn.gluon.model_zoo.vision.resnet import (
    BasicBlockV1,
    BasicBlockV2,
    BottleneckV1,
    BottleneckV2,
    ResNetV1,
    ResNetV2,
    get_resnet,
    resnet18_v1,
    resnet18_v2,
    resnet34_v1,
    resnet34_v2,
    resnet50_v1,
    resnet50_v2,
    resnet101_v1,
    resnet101_v2,
    resnet152_v1,
    resnet152_v2,
)

__all__ = [
    "BasicBlockV1",
    "BasicBlockV2",
    "BottleneckV1",
    "BottleneckV2",
    "EfficientNetLite",
    "MobileNet",
    "MobileNetV2",
    "ResNetV1",
    "ResNetV2",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "get_efficientnet_lite",
    "get_image_size",
    "get_mobilenet",
    "get_mobilenet_v2",
    "get_model",
    "get_resnet",
    "imagenet_classes",
    "list_models",
    "mobilenet0_5",
    "mobilenet0_25",
    "mobilenet0_75",
    "mobilenet1_0",
    "mobilenet_v2_0_5",
    "mobilenet_v2_0_25",
    "mobilenet_v2_0_75",
    "mobilenet_v2_1_0",
    "resnet18_v1",
    "resnet18_v2",
    "resnet34_v1",
    "resnet34_v2",
    "resnet50_v1",
    "resnet50_v2",
    "resnet101_v1",
    "resnet101_v2",
    "resnet152_v1",
    "resnet152_v2",
]
