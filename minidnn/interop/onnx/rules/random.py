"""Numbers that are drawn: from the process's generator, whatever seed a file has."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.interop.onnx.call import Call, rule
from minidnn.interop.onnx.elements import Element, element_of
from minidnn.interop.onnx.values import Value

__all__: list[str] = []

_FLOAT32 = element_of("float32")


@rule("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
def _random(call: Call) -> Value:
    call.ignore("seed")
    if call.op.endswith("Like"):
        shape, like = tuple(call[0].shape), call[0].element
        element = call.element("dtype", like if like.is_float else _FLOAT32)
    else:
        shape, element = tuple(call.integers("shape")), call.element("dtype", _FLOAT32)
    if call.op.startswith("RandomNormal"):
        mean, scale = call.real("mean", 0.0), call.real("scale", 1.0)
        return _as(call, call.emit("random_normal", loc=mean, scale=scale, size=shape), element)
    low, high = call.real("low", 0.0), call.real("high", 1.0)
    return _as(call, call.emit("random_uniform", low=low, high=high, size=shape), element)


def _as(call: Call, x: Value, element: Element) -> Value:
    return call.cast(x, element.carrier).as_element(element)


@rule("Bernoulli")
def _bernoulli(call: Call) -> Value:
    call.ignore("seed")
    element = call.element("dtype", call[0].element)
    drawn = call.emit("random_uniform", low=0.0, high=1.0, size=tuple(call[0].shape))
    return _as(call, call.emit("less", drawn, call[0]), element)


@rule("Multinomial")
def _multinomial(call: Call) -> Value:
    """The largest of logits with Gumbel's noise, drawn again for each sample."""
    call.ignore("seed")
    count: Any = call.integer("sample_size", 1)
    element = call.element("dtype", element_of("int32"))
    batch, classes = call[0].shape
    noise = call.emit("random_gumbel", loc=0.0, scale=1.0, size=(batch, count, classes))
    noisy = call.emit("add", call.reshape(call[0], (batch, 1, classes)), call.cast(noise, np.float32))
    return _as(call, call.emit("argmax", noisy, axis=2), element)
