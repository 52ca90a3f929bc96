"""MXNet's nodes as ours: attributes translated, and the operators of MXNet 1 that take several of ours put together.

What MXNet 1 computed, these compute: ``sum`` over everything has the shape ``(1,)``, ``argmax`` gives floats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minidnn.errors import GraphError
from minidnn.interop.mxnet_fused import FUSED
from minidnn.interop.mxnet_node import MxnetNode, Upgrade
from minidnn.interop.mxnet_older import OLDER
from minidnn.interop.mxnet_operators import rule_for, translate_attrs
from minidnn.ir.control_flow import bodies_by_name, has_bodies
from minidnn.ir.graph import Entry, Graph
from minidnn.ir.json_format import Call, Inlined

__all__ = ["MXNET", "UPGRADES"]

# Notes to MXNet's own executor, written without underscores by its first versions.
_NOTES = frozenset({"ctx_group", "force_mirroring", "lr_mult", "mirror_stage", "wd_mult"})


class Dialect:
    """MXNet's names and attributes of operators, of its versions 1 and 2; see `minidnn.ir.json_format.Dialect`."""

    def expands(self, op: str) -> bool:
        return op in UPGRADES

    def has_subgraphs(self, op: str) -> bool:
        return op in FUSED or has_bodies(op)

    def translate(
        self, op: str, name: str, attrs: Mapping[str, str], inputs: Sequence[Entry], subgraphs: Sequence[Graph] = ()
    ) -> Call | Inlined:
        """What an operator of MXNet's, or one of ours, means.

        Raises:
            GraphError, OpError: attributes that do not fit or say what minidnn lacks.
        """
        attrs = {key: value for key, value in attrs.items() if key not in _NOTES}
        upgrade = UPGRADES.get(op)
        if upgrade is not None and (upgrade.key is None or upgrade.key in attrs):
            return upgrade.read(MxnetNode(op, name, attrs, inputs, subgraphs))
        rule = rule_for(op)
        if rule is None:
            raise GraphError(f"unknown operator {op[:80]!a}")
        ours: dict[str, Any] = dict(translate_attrs(op, rule, attrs))
        if has_bodies(op):
            # MXNet counts the subgraphs among the inputs, or does not.
            ours.pop("num_args", None)
            ours |= bodies_by_name(op, subgraphs)
        return Call(rule.op, ours, inputs)


MXNET = Dialect()


# ---- the operators of MXNet 1 ---------------------------------------------------------------------


def _softmax_output(node: MxnetNode) -> Call:
    """The loss layer of MXNet 1: at inference a softmax; the label is not read."""
    channels, keep = node.flag("multi_output"), node.flag("preserve_shape")
    node.drop("grad_scale", "ignore_label", "use_ignore", "normalization", "out_grad", "smooth_alpha")
    return _softmax_over(node, 1 if channels else -1, whole=not (channels or keep))


def _softmax_activation(node: MxnetNode) -> Call:
    mode = node.text("mode", "instance")
    if mode not in ("instance", "channel"):
        raise GraphError(f"{node.op}: mode must be instance or channel, got {mode[:80]!a}")
    return _softmax_over(node, 1 if mode == "channel" else -1, whole=mode == "instance")


def _softmax_over(node: MxnetNode, axis: int, whole: bool) -> Call:
    """A softmax along an axis, or over all that belongs to one element of the batch."""
    data = node.input()
    if not whole:
        return node.finish("softmax", {"axis": axis}, data)
    flat = node.before("flat", "flatten", {}, data)
    return node.finish("reshape_like", {}, node.before("softmax", "softmax", {"axis": -1}, flat), data)


def _reshape(node: MxnetNode) -> Call:
    """The codes 0, -1, -2, -3, -4 of MXNet 1 are -2, -1, -4, -5, -6 of npx.reshape."""
    codes = {0: -2, -1: -1, -2: -4, -3: -5, -4: -6}
    shape = node.ints("shape")
    reverse = node.flag("reverse")
    if any(n < -4 for n in shape) or not shape:
        raise GraphError(f"{node.op}: 'shape' must be numbers from -4 on, got {shape}")
    newshape: list[int] = []
    split = 0
    for n in shape:
        # The two numbers after -4 are sizes or -1.
        newshape.append(n if split else codes.get(n, n))
        split = 2 if n == -4 and not split else max(split - 1, 0)
    node.drop("keep_highest")
    if node.ints("target_shape") not in ((), (0, 0)):
        raise GraphError(f"{node.op}: attribute 'target_shape' is not supported")
    return node.finish("npx_reshape", {"newshape": tuple(newshape), "reverse": reverse}, node.input())


def _reduction(op: str) -> Callable[[MxnetNode], Call]:
    def read(node: MxnetNode) -> Call:
        axis, keepdims = node.ints("axis"), node.flag("keepdims")
        if node.flag("exclude") and axis:
            return node.finish("reduce_others", {"kind": op, "axis": axis, "keepdims": keepdims}, node.input())
        if axis or keepdims:
            return node.finish(op, {"axis": axis or None, "keepdims": keepdims}, node.input())
        return node.finish("reshape", {"newshape": (1,)}, node.before("all", op, {}, node.input()))

    return read


def _arg_reduction(op: str) -> Callable[[MxnetNode], Call]:
    def read(node: MxnetNode) -> Call:
        axis, keepdims = node.ints("axis"), node.flag("keepdims")
        if len(axis) > 1:
            raise GraphError(f"{node.op}: only one axis is supported, got {axis}")
        index = node.before("index", op, {"axis": axis[0] if axis else None, "keepdims": keepdims}, node.input())
        if not axis and not keepdims:
            index = node.before("all", "reshape", {"newshape": (1,)}, index)
        return node.finish("cast", {"dtype": "float32"}, index)

    return read


def _add_n(node: MxnetNode) -> Call:
    node.drop("num_args")
    total = node.input()
    for i, term in enumerate(node.inputs[1:-1], 1):
        total = node.before(str(i), "add", {}, total, term)
    if len(node.inputs) == 1:
        return node.finish("identity", {}, total)
    return node.finish("add", {}, total, node.inputs[-1])


def _slice_channel(node: MxnetNode) -> Call:
    sections = node.text("num_outputs", "1")
    axis, squeeze = node.text("axis", "1"), node.flag("squeeze_axis")
    return node.finish("split", {"sections": sections, "axis": axis, "squeeze_axis": squeeze}, node.input())


def _pad(node: MxnetNode) -> Call:
    width = node.ints("pad_width")
    if len(width) % 2:
        raise GraphError(f"{node.op}: 'pad_width' must be pairs, got {width}")
    pairs = tuple(zip(width[::2], width[1::2], strict=True))
    mode, value = node.text("mode", "constant"), node.text("constant_value", "0")
    return node.finish("pad", {"pad_width": pairs, "mode": mode, "constant_values": value}, node.input())


def _transpose(node: MxnetNode) -> Call:
    return node.finish("transpose", {"axes": node.ints("axes") or None}, node.input())


def _broadcast_to(node: MxnetNode) -> Call:
    shape = node.ints("shape")
    if 0 in shape:
        return node.finish("broadcast_kept", {"shape": shape}, node.input())
    return node.finish("broadcast_to", {"shape": shape}, node.input())


def _concat_parameters(node: MxnetNode) -> Call:
    """Of recurrent layers: vectors one after the other."""
    axis = node.text("dim", "1")
    node.drop("num_args")
    return node.finish("concatenate", {"num_args": len(node.inputs), "axis": axis}, *node.inputs)


def _filled(value: float) -> Callable[[MxnetNode], Call]:
    def read(node: MxnetNode) -> Call:
        node.drop("ctx")
        return node.finish(
            "full", {"shape": node.ints("shape"), "dtype": node.text("dtype", "float32"), "value": value}
        )

    return read


def _recurrent(node: MxnetNode) -> Call:
    """Layers whose states to begin with may be numbers for the batch that was traced, or an unknown one."""
    attrs = dict(node.attrs)
    node.drop(*attrs)
    data = node.input()
    states = [_for_any_batch(node, i, entry, data) for i, entry in enumerate(node.inputs[2:])]
    return node.finish("rnn", attrs, data, node.input(1), *states)


def _for_any_batch(node: MxnetNode, number: int, state: Entry, data: Entry) -> Entry:
    made = state.node
    if made.op_name != "full" or len(made.attrs.shape) != 3:
        return state
    count, _, size = made.attrs.shape
    one = node.before(f"state{number}_one", "full", {**made.attrs, "shape": (count, 1, size)})
    return node.before(f"state{number}", "broadcast_like", {"lhs_axes": (1,), "rhs_axes": (1,)}, one, data)


def _cast(node: MxnetNode) -> Call:
    return node.finish("cast", {"dtype": node.text("dtype", "")}, node.input())


def _reductions() -> dict[str, Upgrade]:
    names = {"sum_axis": "sum", "max_axis": "max", "min_axis": "min"}
    names |= {op: op for op in ("sum", "mean", "prod", "max", "min", "nansum")}
    return {name: Upgrade(_reduction(op), f"{op}, without axis of shape (1,)") for name, op in names.items()}


UPGRADES: dict[str, Upgrade] = {
    "SoftmaxOutput": Upgrade(_softmax_output, "softmax; the label is not read"),
    "Softmax": Upgrade(_softmax_output, "softmax; the label is not read"),
    "SoftmaxActivation": Upgrade(_softmax_activation, "softmax"),
    "Reshape": Upgrade(_reshape, "npx_reshape"),
    "reshape": Upgrade(_reshape, "npx_reshape", "shape"),
    **_reductions(),
    "argmax": Upgrade(_arg_reduction("argmax"), "argmax, cast to float32"),
    "argmin": Upgrade(_arg_reduction("argmin"), "argmin, cast to float32"),
    "add_n": Upgrade(_add_n, "add"),
    "ElementWiseSum": Upgrade(_add_n, "add"),
    "SliceChannel": Upgrade(_slice_channel, "split"),
    "split": Upgrade(_slice_channel, "split", "num_outputs"),
    "Pad": Upgrade(_pad, "pad"),
    "pad": Upgrade(_pad, "pad"),
    "transpose": Upgrade(_transpose, "transpose"),
    "broadcast_to": Upgrade(_broadcast_to, "broadcast_to"),
    **dict.fromkeys(("_npi_zeros", "_zeros"), Upgrade(_filled(0.0), "full")),
    **dict.fromkeys(("_npi_ones", "_ones"), Upgrade(_filled(1.0), "full")),
    **dict.fromkeys(("RNN", "_npx_rnn"), Upgrade(_recurrent, "rnn; states that are made are for any batch")),
    "_rnn_param_concat": Upgrade(_concat_parameters, "concatenate"),
    "amp_cast": Upgrade(_cast, "cast"),
    **OLDER,
    **FUSED,
}
