"""Operators that give elements another shape or order, or make arrays of sizes alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidnn.interop.onnx.call import Call, rule
from minidnn.interop.onnx.rules.integers import transposed
from minidnn.interop.onnx.values import Value, known
from minidnn.sizes import Size, has_sizes

__all__: list[str] = []


@rule("Shape")
def _shape(call: Call) -> Value:
    shape = call[0].shape
    return call.sizes(shape[_bound(call, "start", 0, len(shape)) : _bound(call, "end", len(shape), len(shape))])


def _bound(call: Call, name: str, default: int, ndim: int) -> int:
    value = int(call.integer(name, default))
    return min(max(value + ndim if value < 0 else value, 0), ndim)


@rule("Size")
def _size(call: Call) -> Value:
    return call.reshape(call.sizes([math.prod(call[0].shape)]), ())


@rule("Reshape")
def _reshape(call: Call) -> Value:
    call.ignore("consumed_inputs")
    x, allow_zero = call[0], call.flag("allowzero")
    shape = list(call.integers("shape") if call.opset < 5 else call.ints(1, "shape"))
    if not allow_zero:
        for i, n in enumerate(shape):
            if not isinstance(n, Size) and n == 0:
                if i >= x.ndim:
                    call.fail(f"0 at place {i} of {shape} stands for no dimension of {x.ndim}")
                shape[i] = x.dim(i)
    if any(not isinstance(n, Size) and n < -1 for n in shape):
        call.misfit(f"sizes must be at least -1, got {shape}")
    if allow_zero and -1 in shape and 0 in shape:
        call.misfit(f"with allowzero a shape cannot have 0 and -1, got {shape}")
    return call.reshape(x, shape)


@rule("Flatten")
def _flatten(call: Call) -> Value:
    x = call[0]
    axis = call.integer("axis", 1)
    if not -x.ndim <= axis <= x.ndim:
        call.fail(f"axis must lie in [{-x.ndim}, {x.ndim}], got {axis}")
    axis = axis + x.ndim if axis < 0 else axis
    if axis == 1 and x.ndim > 1:
        return call.emit("flatten", x)
    return call.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@rule("Squeeze")
def _squeeze(call: Call) -> Value:
    x, axes = call[0], call.integers("axes", None)
    if call.opset >= 13 and call.get(1) is not None:
        axes = call.plain_ints(1, "axes")
    if axes is None:
        axes = tuple(i for i, n in enumerate(x.shape) if n == 1)
    axes = call.axes(axes, x.ndim)
    return call.emit("squeeze", x, axis=axes) if axes else x


@rule("Unsqueeze")
def _unsqueeze(call: Call) -> Value:
    x = call[0]
    axes = call.integers("axes") if call.opset < 13 else call.plain_ints(1, "axes")
    return call.expand_dims(x, call.axes(axes, x.ndim + len(axes)))


@rule("Transpose")
def _transpose(call: Call) -> Value:
    x = call[0]
    axes = call.integers("perm", None) or tuple(reversed(range(x.ndim)))
    if sorted(axes) != list(range(x.ndim)):
        call.fail(f"attribute 'perm' must be a permutation of {x.ndim} axes, got {axes}")
    return transposed(call, x, axes)


@rule("Concat")
def _concat(call: Call) -> Value:
    inputs = call.all()
    axis = call.axis(call.integer("axis", 1) if call.opset < 4 else call.integer("axis"), inputs[0].ndim)
    return call.concatenate(inputs, axis)


@rule("Split")
def _split(call: Call) -> list[Value]:
    x, axis = call[0], call.axis(call.integer("axis", 0), call[0].ndim)
    sizes = call.integers("split", None)
    if call.opset >= 13 and call.get(1) is not None:
        sizes = call.ints(1, "split")
    size, count = x.dim(axis), call.num_outputs
    if call.integer("num_outputs", count) != count:
        call.fail(f"attribute 'num_outputs' must be the number of outputs, which is {count}")
    if sizes is None:
        each = -(-size // count)
        sizes = [each] * (count - 1) + [size - each * (count - 1)]
    elif sum(sizes) != size:
        call.misfit(f"the parts {list(sizes)} do not add up to {size}, the size of axis {axis}")
    starts: list[Any] = [0]
    for part in sizes[:-1]:
        starts.append(starts[-1] + part)
    if len(sizes) == 1:
        return [x]
    return list(call.emit_all("split", x, indices=tuple(starts), axis=axis))


@rule("Expand")
def _expand(call: Call) -> Value:
    x, wanted = call[0], call.ints(1, "shape")
    ndim = max(x.ndim, len(wanted))
    own = (1,) * (ndim - x.ndim) + tuple(x.shape)
    asked = (1,) * (ndim - len(wanted)) + tuple(wanted)
    shape = tuple(n if not isinstance(m, Size) and m == 1 else m for n, m in zip(own, asked, strict=True))
    # A size that is broadcast against another: where one of them is 1 in the call, the other one counts.
    shape = tuple(
        n if has_sizes(m) and not isinstance(n, Size) and n != 1 else m for n, m in zip(own, shape, strict=True)
    )
    return call.emit("broadcast_to", x, shape=shape) if shape != tuple(x.shape) else x


@rule("Tile")
def _tile(call: Call) -> Value:
    x = call[0]
    if call.opset < 6:
        reps: list[Any] = [1] * x.ndim
        reps[call.axis(int(call.number(2, "axis")), x.ndim)] = call.number(1, "tiles")
    else:
        reps = list(call.ints(1, "repeats"))
        if len(reps) != x.ndim:
            call.fail(f"repeats must have {x.ndim} numbers, got {len(reps)}")
    return call.emit("tile", x, reps=tuple(reps))


@rule("ConstantOfShape")
def _constant_of_shape(call: Call) -> Value:
    value = call.tensor("value", None)
    number = known(np.zeros((1,), np.float32)) if value is None else call.builder.constant(value)
    assert number.array is not None
    if number.array.size != 1:
        call.fail(f"attribute 'value' must be one number, got {number.array.size}")
    filled = call.filled(call.ints(0, "shape"), number.array.reshape(()).item(), number.dtype)
    return filled.as_element(number.element)


@rule("Range")
def _range(call: Call) -> Value:
    start, stop, step = (call.number(i, name) for i, name in enumerate(("start", "limit", "delta")))
    if not has_sizes(step) and step == 0:
        call.fail("delta must not be zero")
    call.want_numbers(step)
    if call[0].element.is_float and not has_sizes((start, stop)):
        count = max(math.ceil((stop - start) / step), 0)
        steps = call.emit("arange", start=0, stop=count, dtype=np.dtype(np.float64))
        return call.cast(call.binary("add", call.binary("multiply", steps, step), start), call[0].dtype).as_element(
            call[0].element
        )
    return call.emit("arange", start=start, stop=stop, step=step, dtype=call[0].dtype).as_element(call[0].element)


@rule("EyeLike")
def _eye_like(call: Call) -> Value:
    x = call[0]
    if x.ndim != 2:
        call.fail(f"the input must have 2 dimensions, got {x.ndim}")
    element = call.element("dtype", x.element)
    rows, columns = x.shape
    eye = call.emit("eye", N=rows, M=columns, k=call.integer("k", 0), dtype=element.carrier)
    return eye.as_element(element)


@rule("DepthToSpace")
def _depth_to_space(call: Call) -> Value:
    block, mode = call.integer("blocksize"), call.text("mode", "DCR", ("DCR", "CRD"))
    n, c, h, w = _four(call)
    if block < 1 or c % (block * block):
        call.misfit(f"{c} channels do not divide into blocks of {block} by {block}")
    depth = c // (block * block)
    if mode == "DCR":
        parts = call.reshape(call[0], (n, block, block, depth, h, w))
        moved = call.transpose(parts, (0, 3, 4, 1, 5, 2))
    else:
        parts = call.reshape(call[0], (n, depth, block, block, h, w))
        moved = call.transpose(parts, (0, 1, 4, 2, 5, 3))
    return call.reshape(moved, (n, depth, h * block, w * block))


@rule("SpaceToDepth")
def _space_to_depth(call: Call) -> Value:
    block = call.integer("blocksize")
    mode = call.text("mode", "DCR", ("DCR", "CRD"))
    n, c, h, w = _four(call)
    if block < 1 or h % block or w % block:
        call.misfit(f"a picture of {h} by {w} does not divide into blocks of {block} by {block}")
    parts = call.reshape(call[0], (n, c, h // block, block, w // block, block))
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    moved = call.transpose(parts, order)
    return call.reshape(moved, (n, c * block * block, h // block, w // block))


def _four(call: Call) -> tuple[Any, ...]:
    if call[0].ndim != 4:
        call.fail(f"the input must have 4 dimensions (N, C, H, W), got {call[0].ndim}")
    return tuple(call[0].shape)


@rule("Trilu")
def _trilu(call: Call) -> Value:
    k = 0 if call.get(1) is None else int(call.number(1, "k"))
    upper = call.flag("upper", True)
    x = call[0]
    if x.dtype == np.bool_:
        return call.cast(call.emit("triu" if upper else "tril", call.cast(x, np.uint8), k=k), np.bool_)
    return call.emit("triu" if upper else "tril", x, k=k)
