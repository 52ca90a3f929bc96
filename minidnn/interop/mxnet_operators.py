"""The table of MXNet's operators: their names and attributes in a symbol JSON, and ours.

Most operators have the same attributes in both and need no row here: the registry knows their names. A `Rule` says
what differs. An operator of MXNet 1 that means several of ours is in `minidnn.interop.mxnet_upgrade`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from minidnn.errors import GraphError
from minidnn.ops.random import DISTRIBUTIONS
from minidnn.ops.registry import get_op, list_ops

__all__ = ["RULES", "Rule", "rule_for", "rule_of_op", "supported", "translate_attrs"]


@dataclass(frozen=True)
class Rule:
    """How one of our operators stands in MXNet's JSON.

    Args:
        op: our operator.
        name: the name that is written; by default the registry's first.
        renamed: MXNet's name of an attribute -> ours.
        backend: attributes that only steer MXNet's backends, and the value that is written. Any value is read.
        absent: attributes we lack, and the value that is written for them, which says that they are not used. No
            value that says otherwise is read.
        defaults: values that an attribute (ours) has when it is not there, by MXNet's name of the operator, where
            our default is another one.
        written: values that are written where ours is None.
        extra_outputs: outputs beside the first that MXNet counts and nobody can ask for here.
    """

    op: str
    name: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    backend: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    written: Mapping[str, str] = field(default_factory=dict)
    extra_outputs: int = 0


_CUDNN = {"cudnn_off": "0"}
_CONVOLUTION = {"cudnn_off": "0", "cudnn_tune": "None", "workspace": "1024"}
_SOFTMAX = {"dtype": "None", "temperature": "None"}
_INITIAL = {"initial": "None"}
_AXIS = {"axis": "None"}
_DEVICE = {"ctx": "cpu"}
# The texts by which MXNet says that an attribute is not used.
_UNUSED = frozenset({"None", "()", "[]", "", "0", "False"})

RULES = {
    rule.op: rule
    for rule in (
        Rule("convolution", backend=_CONVOLUTION),
        Rule("deconvolution", backend=_CONVOLUTION, written={"target_shape": "None"}),
        Rule(
            "batch_norm",
            backend={"cudnn_off": "0", "max_calib_range": "None", "min_calib_range": "None"},
            extra_outputs=2,
        ),
        Rule("layer_norm", extra_outputs=2),
        Rule("group_norm", extra_outputs=2),
        Rule("instance_norm", extra_outputs=2),
        Rule("pooling", backend=_CUDNN, absent={"output_size": "None", "p_value": "None"}),
        Rule("dropout", backend=_CUDNN, extra_outputs=1),
        Rule("batch_dot", backend={"forward_stype": "default"}),
        Rule("softmax", written=_SOFTMAX),
        Rule("log_softmax", written=_SOFTMAX),
        Rule(
            "concatenate",
            "Concat",
            renamed={"dim": "axis"},
            defaults={"Concat": {"axis": "1"}, "concat": {"axis": "1"}},
        ),
        Rule("sum", absent=_INITIAL, written={"dtype": "None", **_AXIS}),
        Rule("mean", absent=_INITIAL, written={"dtype": "None", **_AXIS}),
        Rule("prod", absent=_INITIAL, written={"dtype": "None", **_AXIS}),
        Rule("max", absent=_INITIAL, written=_AXIS),
        Rule("min", absent=_INITIAL, written=_AXIS),
        Rule("npx_reshape", "_npx_reshape"),
        # MXNet's np.reshape is its npx.reshape; numbers from -1 on mean the same in both.
        Rule("reshape", "_npx_reshape", absent={"reverse": "0"}),
        Rule("clip", written={"a_min": "-inf", "a_max": "inf"}),
        Rule("transpose", written={"axes": "None"}),
        Rule("dot", "_npi_dot"),
        Rule("log_sigmoid", "log_sigmoid"),
        Rule("mish", "mish"),
        Rule("hard_sigmoid", "hard_sigmoid"),
        Rule("l2_normalization", "L2Normalization"),
        Rule("max_roi_pool", renamed={"pooled_size": "pooled", "spatial_scale": "scale"}),
        Rule("upsampling", backend={"workspace": "512"}),
        Rule("bilinear_sampler", backend=_CUDNN),
        Rule("spatial_transformer", backend=_CUDNN),
        Rule("lrn", extra_outputs=1),
        Rule("box_nms", extra_outputs=1),
        Rule("deformable_convolution", backend={"workspace": "1024"}),
        Rule("modulated_deformable_convolution", backend={"workspace": "1024", "im2col_step": "64"}),
        *(
            Rule(
                f"random_{name}",
                backend=_DEVICE,
                written=dict.fromkeys(parameters, "None"),
                defaults={mxnet: {"scale": "1.0"}} if name in ("exponential", "rayleigh") else {},
            )
            for name, (parameters, mxnet) in DISTRIBUTIONS.items()
        ),
        *(
            Rule(f"random_{name}_n", backend=_DEVICE, written=dict.fromkeys(DISTRIBUTIONS[name][0], "None"))
            for name in ("uniform", "normal")
        ),
        Rule("random_bernoulli", backend=_DEVICE, written={"prob": "None", "logit": "None"}),
        Rule(
            "random_randint",
            backend=_DEVICE,
            renamed={"shape": "size"},
            defaults={name: {"dtype": "int32"} for name in ("_npi_random_randint", "_random_randint")},
        ),
        Rule("random_multinomial", absent={"pvals": "None"}),
        Rule("random_choice", backend=_DEVICE, written={"size": "None"}),
    )
}


def rule_of_op(op: str) -> Rule:
    """The rule of one of our operators."""
    return RULES.get(op) or Rule(op)


def rule_for(name: str) -> Rule | None:
    """The rule of an operator by MXNet's name, or ours; None if there is no such operator."""
    try:
        return rule_of_op(get_op(name).name)
    except GraphError:
        return None


def supported() -> dict[str, str]:
    """MXNet's names of all operators that are read one to one -> our operator."""
    return {name: op for op in list_ops() for name in get_op(op).mxnet}


def translate_attrs(name: str, rule: Rule, attrs: Mapping[str, str]) -> dict[str, str]:
    """MXNet's attributes of an operator as ours.

    Raises:
        GraphError: an attribute says something that minidnn lacks.
    """
    result: dict[str, str] = {}
    for key, value in attrs.items():
        if key in rule.backend:
            continue
        if key in rule.absent:
            if value not in _UNUSED:
                raise GraphError(f"{name}: attribute {key!r} is not supported, got {value[:80]!a}")
            continue
        result[rule.renamed.get(key, key)] = value
    return {**rule.defaults.get(name, {}), **result}
