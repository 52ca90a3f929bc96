"""Networks that classify images, by MXNet's names and with MXNet's parameter names.

AlexNet, VGG, SqueezeNet, DenseNet, Inception v3, ResNet v1, v1b and v2, MobileNet v1, v2 and v3, EfficientNet-Lite.
Input is ``(N, 3, H, W)``, float32, RGB; output is ``(N, classes)``. They want pixels scaled to 0..1, then normalized
with mean ``(0.485, 0.456, 0.406)`` and deviation ``(0.229, 0.224, 0.225)``; but EfficientNet-Lite wants
``(x - 127) / 128`` of 0..255, and Inception v3 with the weights of the hub a mean and a deviation of 0.5.
"""

from __future__ import annotations

from minidnn.gluon.model_zoo.vision.alexnet import (
    AlexNet,
    alexnet,
)
from minidnn.gluon.model_zoo.vision.densenet import (
    DenseNet,
    densenet121,
    densenet161,
    densenet169,
    densenet201,
    get_densenet,
)
from minidnn.gluon.model_zoo.vision.efficientnet_lite import (
    EfficientNetLite,
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
    get_efficientnet_lite,
)
from minidnn.gluon.model_zoo.vision.inception import (
    Inception3,
    inception_v3,
)
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
from minidnn.gluon.model_zoo.vision.mobilenet_v3 import (
    MobileNetV3,
    get_mobilenet_v3,
    mobilenet_v3_large,
    mobilenet_v3_small,
)
from minidnn.gluon.model_zoo.vision.models import (
    get_image_size,
    get_model,
    list_models,
)
from minidnn.gluon.model_zoo.vision.pretrained import (
    imagenet_classes,
)
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
from minidnn.gluon.model_zoo.vision.resnet_v1b import (
    BasicBlockV1b,
    BottleneckV1b,
    ResNetV1b,
    get_resnet_v1b,
    resnet18_v1b,
    resnet34_v1b,
    resnet50_v1b,
    resnet101_v1b,
    resnet152_v1b,
)
from minidnn.gluon.model_zoo.vision.squeezenet import (
    SqueezeNet,
    get_squeezenet,
    squeezenet1_0,
    squeezenet1_1,
)
from minidnn.gluon.model_zoo.vision.vgg import (
    VGG,
    get_vgg,
    vgg11,
    vgg11_bn,
    vgg13,
    vgg13_bn,
    vgg16,
    vgg16_bn,
    vgg19,
    vgg19_bn,
)

__all__ = [
    "VGG",
    "AlexNet",
    "BasicBlockV1",
    "BasicBlockV1b",
    "BasicBlockV2",
    "BottleneckV1",
    "BottleneckV1b",
    "BottleneckV2",
    "DenseNet",
    "EfficientNetLite",
    "Inception3",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3",
    "ResNetV1",
    "ResNetV1b",
    "ResNetV2",
    "SqueezeNet",
    "alexnet",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "get_densenet",
    "get_efficientnet_lite",
    "get_image_size",
    "get_mobilenet",
    "get_mobilenet_v2",
    "get_mobilenet_v3",
    "get_model",
    "get_resnet",
    "get_resnet_v1b",
    "get_squeezenet",
    "get_vgg",
    "imagenet_classes",
    "inception_v3",
    "list_models",
    "mobilenet0_5",
    "mobilenet0_25",
    "mobilenet0_75",
    "mobilenet1_0",
    "mobilenet_v2_0_5",
    "mobilenet_v2_0_25",
    "mobilenet_v2_0_75",
    "mobilenet_v2_1_0",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "resnet18_v1",
    "resnet18_v1b",
    "resnet18_v2",
    "resnet34_v1",
    "resnet34_v1b",
    "resnet34_v2",
    "resnet50_v1",
    "resnet50_v1b",
    "resnet50_v2",
    "resnet101_v1",
    "resnet101_v1b",
    "resnet101_v2",
    "resnet152_v1",
    "resnet152_v1b",
    "resnet152_v2",
    "squeezenet1_0",
    "squeezenet1_1",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
]
