"""A call of every operator of the registry on a batch: shapes of its inputs, and its attributes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidnn.ir.bodies import GraphBody
from minidnn.ir.graph import Graph, make_node, make_variable
from minidnn.ops import get_op, list_ops

__all__ = ["LEFT_OUT", "SAMPLES", "Sample"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Sample:
    """Inputs of one call.

    Args:
        op: the operator.
        data: shapes of the inputs that have a batch, without the batch, which is their first axis.
        others: shapes of the other inputs, which follow.
        attrs: the attributes; ``batch`` stands for the size of the batch.
        dtypes: of the inputs; float32 where nothing is said.
        low, high: integers are at least `low` and below `high`.
    """

    op: str
    data: tuple[tuple[int, ...], ...] = ((4, 6),)
    others: tuple[tuple[int, ...], ...] = ()
    attrs: dict[str, Any] = field(default_factory=dict)
    dtypes: tuple[str, ...] = ()
    low: int = 0
    high: int = 4

    def arrays(self, batch: int) -> list[Array]:
        """The inputs for a batch; those of a smaller batch are the first of a larger one's."""
        rng = np.random.default_rng(1)
        shapes = [(8, *shape) for shape in self.data] + list(self.others)
        result = []
        for i, shape in enumerate(shapes):
            dtype = np.dtype(self.dtypes[i] if i < len(self.dtypes) else "float32")
            values = rng.uniform(0.1, 0.9, shape) if dtype.kind == "f" else rng.integers(self.low, self.high, shape)
            result.append(np.asarray(values[:batch] if i < len(self.data) else values, dtype))
        return result

    def attributes(self, batch: int) -> dict[str, Any]:
        def filled(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(filled, value))
            return batch if value == "batch" else value

        return {name: filled(value) for name, value in self.attrs.items()}


_IMAGE, _SCALE = ((4, 6, 6),), ((1,),)
_PAIR = ((4, 6), (4, 6))
_CONVOLUTION: dict[str, Any] = {"kernel": (3, 3), "num_filter": 8}
_BYTES = ("uint8", "int8", "int32")
_BITS = ("float32", "uint16", "float32")

_OTHERS = [
    Sample("activation", attrs={"act_type": "relu"}),
    Sample("leaky_relu", attrs={"act_type": "leaky"}),
    Sample("leaky_relu", ((4, 6),), ((4,),), {"act_type": "prelu"}),
    Sample("where", (*_PAIR, (4, 6))),
    Sample("cast", attrs={"dtype": "int32"}),
    Sample("clip", attrs={"a_min": 0.2, "a_max": 0.5}),
    Sample("arccosh", attrs={}),
    *(Sample(f"bitwise_{op}", _PAIR, dtypes=("int32", "int32")) for op in ("and", "or", "xor")),
    *(Sample(f"bitwise_{op}_scalar", attrs={"scalar": 3}, dtypes=("int32",)) for op in ("and", "or", "xor")),
    Sample("bitwise_not", dtypes=("int32",)),
    Sample("convolution", _IMAGE, ((8, 4, 3, 3), (8,)), _CONVOLUTION),
    Sample("convolution", _IMAGE, ((8, 4, 1, 1),), {"kernel": (1, 1), "num_filter": 8, "no_bias": True}),
    Sample(
        "convolution", _IMAGE, ((4, 1, 3, 3),), {"kernel": (3, 3), "num_filter": 4, "num_group": 4, "no_bias": True}
    ),
    Sample("convolution", ((4, 9),), ((8, 4, 3),), {"kernel": (3,), "num_filter": 8, "no_bias": True}),
    Sample("deconvolution", _IMAGE, ((4, 8, 3, 3),), {**_CONVOLUTION, "stride": (2, 2)}),
    Sample("quantized_convolution", _IMAGE, ((8, 4, 3, 3), (8,)), _CONVOLUTION, _BYTES),
    Sample("fully_connected", ((4, 6),), ((5, 24), (5,)), {"num_hidden": 5}),
    Sample("fully_connected", ((4, 6),), ((5, 6),), {"num_hidden": 5, "flatten": False, "no_bias": True}),
    Sample(
        "fully_connected_int8_weight",
        ((4, 6),),
        ((5, 24), (5,), (5,)),
        {"num_hidden": 5},
        ("float32", "int8", "float32", "float32"),
    ),
    *(
        Sample(
            f"{op}_bfloat16_weight",
            data,
            (weight, (8,)),
            attrs,
            ("float32", "uint16", "float32"),
            low=0x3F00,
            high=0x3F80,
        )
        for op, data, weight, attrs in (
            ("convolution", _IMAGE, (8, 4, 3, 3), _CONVOLUTION),
            ("deconvolution", _IMAGE, (4, 8, 3, 3), {**_CONVOLUTION, "stride": (2, 2), "no_bias": False}),
            ("fully_connected", ((4, 6),), (8, 24), {"num_hidden": 8}),
        )
    ),
    Sample("quantized_fully_connected", ((4, 6),), ((5, 24), (5,)), {"num_hidden": 5}, _BYTES),
    Sample("batch_dot", ((4, 6), (6, 5))),
    Sample("batch_dot", ((6, 4), (5, 6)), attrs={"transpose_a": True, "transpose_b": True}),
    Sample("quantized_batch_dot", ((4, 6), (6, 5)), dtypes=("uint8", "int8")),
    Sample("matmul", ((4, 6),), ((6, 5),)),
    Sample("dot", ((4, 6),), ((6, 5),)),
    *(Sample("pooling", _IMAGE, attrs={"kernel": (2, 2), "pool_type": kind}) for kind in ("max", "avg", "sum")),
    *(Sample("pooling", _IMAGE, attrs={"global_pool": True, "pool_type": kind}) for kind in ("max", "avg", "sum")),
    Sample("batch_norm", _IMAGE, ((4,),) * 4),
    Sample("layer_norm", ((4, 6),), ((6,), (6,))),
    Sample("layer_norm", ((4, 6),), ((4,), (4,)), {"axis": 1}),
    Sample("group_norm", _IMAGE, ((4,), (4,)), {"num_groups": 2}),
    Sample("instance_norm", _IMAGE, ((4,), (4,))),
    *(Sample("l2_normalization", _IMAGE, attrs={"mode": mode}) for mode in ("instance", "channel", "spatial")),
    *(Sample(name, attrs={"axis": axis}) for name in ("softmax", "log_softmax") for axis in (-1, 1)),
    Sample("softmax", ((4,), ()), attrs={"use_length": True}, dtypes=("float32", "int32")),
    *(Sample(name, _PAIR, dtypes=("float32", "bool")) for name in ("masked_softmax", "masked_log_softmax")),
    Sample("attention", ((4, 3, 6), (2, 5, 6), (2, 5, 7)), attrs={"causal": "last"}),
    Sample("attention", ((3, 6), (5, 6), (5, 7), ()), attrs={"use_length": True}, dtypes=("float32",) * 3 + ("int32",)),
    Sample("div_sqrt_dim"),
    *(
        Sample(name, attrs={"axis": axis, "keepdims": keep})
        for name in (
            *("sum", "prod", "mean", "var", "std", "max", "min", "any", "all", "argmax", "argmin", "median"),
            *("nansum", "nanmean", "nanmax", "nanmin"),
        )
        for axis, keep in ((1, False), (-1, True))
    ),
    Sample("sum", _IMAGE, attrs={"axis": (2, 3)}),
    Sample("arange_like", attrs={"axis": 1}),
    Sample("full", (), attrs={"shape": ("batch", 3), "value": 2.0}),
    Sample("arange", (), attrs={"start": 0, "stop": "batch"}),
    Sample("eye", (), attrs={"N": "batch", "M": 3}),
    Sample("quantize"),
    Sample("quantize", attrs={"min_calib_range": 0.0, "max_calib_range": 1.0, "out_type": "uint8"}),
    Sample("dequantize", ((4, 6),), _SCALE, dtypes=("int8",)),
    Sample("dequantize", ((4, 6),), ((1,), (4,)), {"per_channel": True}, ("int32",)),
    Sample("requantize", ((4, 6),), _SCALE, dtypes=("int32",)),
    Sample("quantize_linear", ((4, 6),), ((6,), (6,)), {"axis": -1}),
    Sample("dequantize_linear", ((4, 6),), ((1,), (1,)), dtypes=("uint8",)),
    Sample("dynamic_quantize_linear", ((4, 6),)),
    Sample("embedding", ((4,),), ((7, 3),), {"input_dim": 7, "output_dim": 3}, ("int32",)),
    Sample("gather_nd", ((4, 6),), ((1, 0),), dtypes=("float32", "int32")),
    Sample("one_hot", ((4,),), attrs={"depth": 5}, dtypes=("int32",)),
    Sample("pick", ((4,), ()), dtypes=("float32", "int32")),
    Sample("take", ((4, 6),), ((3,),), {"axis": 1}, ("float32", "int32")),
    *(Sample("topk", attrs={"k": 2, "ret_typ": kind}) for kind in ("value", "indices", "mask", "both")),
    Sample("sequence_mask", ((4, 6), ()), attrs={"use_sequence_length": True, "axis": 1}),
    # Time is their first axis.
    Sample("rnn", ((2, 4),), ((81,), (1, 2, 3)), {"mode": "gru", "state_size": 3, "num_layers": 1}),
    Sample("recurrent", ((2, 4),), ((1, 3, 4), (1, 3, 3), (1, 2, 3)), {"mode": "rnn", "state_size": 3}),
    Sample("shape_array"),
    Sample("broadcast_to", ((1, 6),), attrs={"shape": ("batch", 4, 6)}),
    Sample("broadcast_like", ((1, 6), (4, 6))),
    Sample("concatenate", _PAIR, attrs={"num_args": 2, "axis": 1}),
    Sample("stack", _PAIR, attrs={"num_args": 2, "axis": 1}),
    Sample("expand_dims", attrs={"axis": 1}),
    Sample("flip", attrs={"axis": 1}),
    Sample("moveaxis", attrs={"source": (2,), "destination": (1,)}),
    Sample("npx_reshape", attrs={"newshape": (-2, -1)}),
    Sample("npx_reshape", _IMAGE, attrs={"newshape": (-2, -1, -2, -2)}),
    Sample("npx_reshape", _IMAGE, attrs={"newshape": (-2, -6, 2, -1, -5)}),
    Sample("npx_reshape", _IMAGE, attrs={"newshape": (-5, -1)}),
    Sample("npx_reshape", _IMAGE, attrs={"newshape": (-1, 6), "reverse": True}),
    Sample("reshape", attrs={"newshape": ("batch", -1)}),
    Sample("reshape", attrs={"newshape": (-1, 3, 2)}),
    Sample("reshape", attrs={"newshape": (6, "batch", -1)}),
    Sample("reshape_like", ((4, 6), (6, 4))),
    Sample("pad", attrs={"pad_width": ((0, 0), (1, 2), (0, 0))}),
    *(Sample("pad", attrs={"pad_width": ((0, 0), (1, 2), (0, 1)), "mode": mode}) for mode in ("edge", "reflect")),
    Sample("repeat", attrs={"repeats": 2, "axis": 1}),
    Sample("tile", attrs={"reps": (1, 2, 1)}),
    Sample("roll", attrs={"shift": (1,), "axis": (1,)}),
    Sample("slice", attrs={"begin": (None, 1), "end": (None, 3), "step": (None, None)}),
    Sample("slice_axis", attrs={"axis": 1, "begin": 1, "end": 3}),
    Sample("slice_like", ((4, 6), (2, 6))),
    Sample("split", attrs={"sections": 2, "axis": 1}),
    Sample("squeeze", ((1, 6),), attrs={"axis": (1,)}),
    Sample("swapaxes", attrs={"dim1": 1, "dim2": 2}),
    Sample("transpose", attrs={"axes": (0, 2, 1)}),
    *(Sample(name, attrs={"kth": 1, "axis": 1}) for name in ("partition", "argpartition")),
    Sample("lexsort", _PAIR, attrs={"num_args": 2}),
    Sample("searchsorted", (), ((3,), (4,))),
    Sample("digitize", ((4,),), ((2,),)),
    Sample("isin", ((4, 6),), ((3,),)),
    *(Sample(name, attrs={"q": (0.25, 0.5), "axis": (1,)}) for name in ("percentile", "quantile")),
    *(Sample(name, attrs={"axis": 1}) for name in ("cumsum", "cumprod")),
    *(Sample(name, (), ((4, 6),)) for name in ("diag", "diagflat", "cov", "corrcoef")),
    Sample("diagonal", attrs={"axis1": 1, "axis2": 2}),
    Sample("take_along_axis", ((4,), (2,)), attrs={"axis": 1}, dtypes=("float32", "int32")),
    Sample("choose", ((4,), (4,), (4,)), attrs={"num_args": 2}, dtypes=("int32",), high=2),
    Sample("resize", attrs={"new_shape": ("batch", 3)}),
    Sample("index", ((4, 6),), ((3,),), {"axes": (1,)}, ("float32", "int32")),
    Sample("unravel_index", ((4,),), attrs={"shape": (2, 2)}, dtypes=("int32",)),
    Sample("histogram", (), ((5,),), {"bins": 4}),
    Sample("polyval", (), ((3,), (4,))),
    Sample("interp", ((4,),), ((3,), (3,))),
    Sample("cross", ((3,), (3,))),
    Sample("depend", _PAIR, attrs={"num_args": 2}),
    Sample("random_choice", (), attrs={"a": 5, "size": ("batch", 3)}),
    Sample("random_multinomial", (), ((1,),), {"n": 3, "size": ("batch",)}),
    Sample("random_multivariate_normal", (), ((1,), (1, 1)), {"size": ("batch",)}),
    Sample("random_randint", (), attrs={"low": 0, "high": 5, "size": ("batch", 3)}),
    Sample("random_uniform", ((3,),), attrs={"low": 0.0, "size": ("batch", 3)}),
    Sample("random_uniform_n", (), ((3,),), {"low": 0.0, "size": ("batch",)}),
    Sample("random_normal_n", (), ((3,),), {"loc": 0.0, "size": ("batch",)}),
    Sample("random_bernoulli", ((3,),)),
    Sample("random_shuffle"),
]
# Operators of integers alone.
_WHOLE = ("bitwise_left_shift", "bitwise_right_shift", "gcd", "lcm")
_OTHERS += [Sample(name, _PAIR, dtypes=("int32", "int32")) for name in _WHOLE]
_OTHERS += [Sample(f"{name}_scalar", attrs={"scalar": 2}, dtypes=("int32",)) for name in _WHOLE]
_OTHERS += [Sample(f"r{name}_scalar", attrs={"scalar": 2}, dtypes=("int32",)) for name in _WHOLE[:2]]
_OTHERS += [
    Sample(name, ((4, 6), (), (4, 6)), dtypes=("float32", "int32"), high=1) for name in ("index_add", "index_update")
]
_OTHERS += [
    Sample("constraint_check", dtypes=("bool",), low=1),
    Sample("sequence_reverse", others=((4,),), attrs={"use_sequence_length": True}),
    Sample("sequence_reverse"),
]
_MATRICES = ((2, 2),)
_OTHERS += [
    *(Sample(name, attrs={"axis": 1}) for name in ("nancumsum", "nancumprod", "nanargmax", "nanargmin", "nanmedian")),
    *(Sample(name, attrs={"q": (0.25, 0.5), "axis": (1,)}) for name in ("nanpercentile", "nanquantile")),
    Sample("quantile", ((4, 6),), ((3,),), {"q": None, "axis": (1,)}),
    Sample("packbits", attrs={"axis": 2}, dtypes=("bool",)),
    Sample("unpackbits", attrs={"axis": 1, "count": 9}, dtypes=("uint8",)),
    Sample("index_assign", ((4, 6),), ((6,),), {"key": ((None, None, None), 1)}),
    Sample("index_assign", ((4, 6),), ((), (2,)), {"key": ("rest", "array")}, ("float32", "float32", "int32")),
    Sample("correlate", (), ((5,), (3,)), {"mode": "full"}),
    Sample("histogram_bin_edges", (), ((5,),)),
    Sample("histogramdd", (), ((5, 2),), {"bins": (2, 3)}),
    *(Sample(name, (), ((3,),)) for name in ("poly", "polyint", "vander")),
    *(Sample(name, (), ((3,), (2,))) for name in ("polyadd", "polysub")),
    Sample("polyfit", (), ((5,), (5,)), {"deg": 2}),
    *(Sample(f"linalg_{name}", _MATRICES) for name in ("inv", "det", "slogdet", "qr", "svd", "svdvals", "cond")),
    *(Sample(f"linalg_{name}", _MATRICES) for name in ("eig", "eigvals", "eigh", "eigvalsh", "singular_norm")),
    Sample("linalg_cholesky", ((1, 1),)),
    *(Sample(f"linalg_{name}", ((2, 3),), ((),)) for name in ("pinv", "matrix_rank")),
    Sample("linalg_solve", ((2, 2), (2, 3))),
    Sample("linalg_tensorinv", (), ((4, 2, 2),), {"ind": 1}),
    Sample("linalg_tensorsolve", (), ((4, 2, 2), (4,))),
]
_WINDOWS: dict[str, Any] = {"stride": (1, 1), "dilate": (1, 1), "pad": (0, 0, 0, 0)}
_OTHERS += [
    *(Sample("resample", _IMAGE, attrs={"axis": 2, "size": 9, "scale": 1.5, "mode": m}) for m in ("nearest", "cubic")),
    *(Sample("grid_sample", ((4, 6, 6), (3, 5, 2)), attrs={"mode": mode}) for mode in ("linear", "nearest")),
    Sample("deformable_sampling", (), ((1, 4, 6, 6), (8, 4, 3, 3), (1, 18, 4, 4)), _WINDOWS),
    Sample("columns_to_image", ((8, 9),), attrs={**_WINDOWS, "image": (4, 4), "kernel": (2, 2)}),
    Sample("max_pool_indices", _IMAGE, attrs={**_WINDOWS, "kernel": (2, 2)}),
    Sample("scatter_elements", ((4, 6), (2, 6), (2, 6)), attrs={"axis": 1}, dtypes=("float32", "int32")),
    Sample("scatter_points", (), ((4, 6), (3, 1), (3, 6)), dtypes=("float32", "int32")),
    Sample("roi_align", (), ((1, 4, 6, 6), (3, 4), (3,)), {"pooled": (2, 2)}, ("float32", "float32", "int32"), high=1),
    Sample("max_roi_pool", (), ((1, 4, 6, 6), (3, 5)), {"pooled": (2, 2)}),
    Sample("round_float", attrs={"kind": "bfloat16"}),
    Sample("view_bits", attrs={"dtype": "int32"}),
    Sample("truncate_divide", _PAIR, dtypes=("int32", "int32")),
    Sample("truncate_divide_scalar", attrs={"scalar": 2}, dtypes=("int32",)),
]
_TREE_TYPES = ("float32", *("int64",) * 3, "float32", *("int64",) * 4, "float32")
_OTHERS += [
    # Without trees: numbers that are drawn make none.
    Sample("tree_ensemble", ((3,),), ((0,), *((0,),) * 6, (0,), (0,)), {"targets": 2}, _TREE_TYPES),
]
_DEFORMED: dict[str, Any] = {**_CONVOLUTION, "no_bias": True}
_OTHERS += [
    Sample("box_iou", (), ((3, 4), (5, 4))),
    Sample("box_encode", ((4,), (4,), (4, 4), (2, 4)), ((4,), (4,))),
    Sample("box_decode", ((4, 4),), ((1, 4, 4),)),
    Sample("box_nms", ((4, 6),)),
    Sample("bipartite_matching", ((4, 6),), attrs={"threshold": 0.2}),
    Sample("multibox_prior", (), ((1, 4, 3, 3),), {"sizes": (0.5, 0.25)}),
    Sample("multibox_target", (), ((1, 4, 4), (2, 3, 5), (2, 3, 4))),
    Sample("multibox_detection", ((3, 4), (16,)), ((1, 4, 4),)),
    Sample("mark_overlaps", ((5, 6),)),
    Sample("non_max_suppression", ((8, 4), (2, 8)), attrs={"max_boxes": 3}),
    Sample("bilinear_resize_2d", _IMAGE, attrs={"height": 9, "width": 4}),
    Sample("upsampling", _IMAGE, attrs={"scale": 2, "sample_type": "nearest"}),
    Sample("adaptive_avg_pooling_2d", _IMAGE, attrs={"output_size": (4, 2)}),
    Sample("spatial_crop", _IMAGE, attrs={"h_w": (2, 3)}),
    *(Sample(name, _IMAGE, attrs={"block_size": 2}) for name in ("depth_to_space", "space_to_depth")),
    Sample("lrn", _IMAGE, attrs={"nsize": 3}),
    Sample("grid_generator", ((6,),), attrs={"transform_type": "affine", "target_shape": (3, 4)}),
    Sample("bilinear_sampler", ((4, 6, 6), (2, 3, 4))),
    Sample("spatial_transformer", ((4, 6, 6), (6,)), attrs={"transform_type": "affine", "sampler_type": "bilinear"}),
    Sample("deformable_convolution", (), ((1, 4, 6, 6), (1, 18, 4, 4), (8, 4, 3, 3)), _DEFORMED),
    Sample(
        "modulated_deformable_convolution", (), ((1, 4, 6, 6), (1, 18, 4, 4), (1, 9, 4, 4), (8, 4, 3, 3)), _DEFORMED
    ),
    Sample("full_like", attrs={"fill_value": 2}),
    Sample("cast_like", _PAIR, dtypes=("float32", "int32")),
    Sample("reduce_others", attrs={"kind": "mean", "axis": (0,)}),
    Sample("broadcast_axis", ((1, 6),), attrs={"axis": (1,), "size": (3,)}),
    Sample("broadcast_kept", ((1, 6),), attrs={"shape": (0, 3, 0)}),
    Sample("dot_transposed", ((6,),), ((6, 3),)),
    Sample("sequence_last", ((4, 6), ()), attrs={"use_sequence_length": True, "axis": 1}),
]
_RANGE = ((1,), (1,))
_OTHERS += [
    Sample("mxnet_quantize", others=_RANGE),
    Sample("mxnet_quantize_v2", attrs={"min_calib_range": 0.0, "max_calib_range": 1.0}),
    Sample("mxnet_dequantize", others=_RANGE, dtypes=("int8",)),
    Sample("mxnet_requantize", others=_RANGE, attrs={"min_calib_range": 0, "max_calib_range": 1}, dtypes=("int32",)),
    Sample("mxnet_quantized_act", others=_RANGE, attrs={"act_type": "relu"}, dtypes=("int8",)),
    Sample("mxnet_quantized_pooling", _IMAGE, _RANGE, {"kernel": (2, 2)}, ("int8",)),
    Sample("mxnet_quantized_flatten", others=_RANGE, dtypes=("int8",)),
    Sample("mxnet_quantized_transpose", others=_RANGE, attrs={"axes": (0, 2, 1)}, dtypes=("int8",)),
    Sample("mxnet_quantized_reshape", others=_RANGE, attrs={"newshape": (-2, -1)}, dtypes=("int8",)),
    Sample(
        "mxnet_quantized_conv",
        _IMAGE,
        ((8, 4, 3, 3), (8,), *_RANGE, *_RANGE, *_RANGE),
        _CONVOLUTION,
        ("uint8", "int8", "int8"),
    ),
    Sample(
        "mxnet_quantized_fully_connected",
        ((4, 6),),
        ((5, 24), *_RANGE, *_RANGE),
        {"num_hidden": 5, "no_bias": True},
        ("int8", "int8"),
    ),
    Sample("mxnet_quantized_add", _PAIR, (*_RANGE, *_RANGE), dtypes=("int8", "int8")),
    Sample("mxnet_quantized_concat", _PAIR, (*_RANGE, *_RANGE), {"num_args": 2}, ("int8", "uint8")),
]
_SLIDING: dict[str, Any] = {"w": 1, "symmetric": True}
_OTHERS += [
    Sample("interleaved_matmul_selfatt_qk", (), ((4, 2, 12),), {"heads": 2}),
    Sample("interleaved_matmul_selfatt_valatt", (), ((4, 2, 12), (4, 4, 4)), {"heads": 2}),
    Sample("interleaved_matmul_encdec_qk", (), ((3, 2, 4), (4, 2, 8)), {"heads": 2}),
    Sample("interleaved_matmul_encdec_valatt", (), ((4, 2, 8), (4, 3, 4)), {"heads": 2}),
    Sample("sldwin_atten_score", ((5, 2, 3), (5, 2, 3)), ((2,),), _SLIDING, ("float32", "float32", "int32")),
    Sample("sldwin_atten_context", ((5, 2, 3), (5, 2, 3)), ((2,),), _SLIDING, ("float32", "float32", "int32")),
]
_X, _H = make_variable("x"), make_variable("h")
_SUM = make_node("add", "sum", [_X, _H])
_LESS = make_node("less_scalar", "less", [make_node("sum", "total", [_H])[0]], {"scalar": 3})
_STEP = GraphBody(Graph([make_node("tanh", "step", [_SUM[0]])[0], make_node("negative", "next", [_SUM[0]])[0]]))
_TEST, _PLUS, _MINUS = (
    GraphBody(Graph([node[0]])) for node in (_LESS, _SUM, make_node("subtract", "difference", [_X, _H]))
)
_COUNTS: dict[str, Any] = {"num_outputs": 2, "num_out_data": 1}
_BOTH = {"then_input_locs": (0, 1), "else_input_locs": (0, 1), "cond_input_locs": (1,)}
_OTHERS += [
    Sample("mxnet_level", others=_RANGE, dtypes=("int8",)),
    Sample("mxnet_as_sums", others=((1,),)),
    Sample("mxnet_real_bias", (), ((6,), *_RANGE, (1,)), dtypes=("int8",)),
    Sample(
        "foreach", (), ((3, 6), (6,)),
        {"body": _STEP, **_COUNTS, "in_data_locs": (0,), "in_state_locs": (1,), "remain_locs": ()},
    ),
    Sample(
        "while_loop", others=((6,),),
        attrs={
            "cond": _TEST, "func": _STEP, **_COUNTS, "max_iterations": 3,
            "cond_input_locs": (0,), "func_input_locs": (0, 1), "func_var_locs": (0,),
        },
    ),
    Sample(
        "cond", others=((6,),),
        attrs={"cond": _TEST, "then_branch": _PLUS, "else_branch": _MINUS, "num_outputs": 1, **_BOTH},
    ),
]  # fmt: skip
# What has no meaning by itself, or for certain values only, and sizes that do not follow from the batch's.
LEFT_OUT = frozenset(
    {"fused", "expect_values", "sldwin_atten_mask_like", *(name for name in list_ops() if get_op(name).is_dynamic)}
)


def _sampled_by_form() -> list[Sample]:
    """One call of each elementwise operator and each distribution that is not listed."""
    listed = {sample.op for sample in _OTHERS} | LEFT_OUT
    found = []
    for op in map(get_op, list_ops()):
        scalar = {"scalar": 2} if any(a.name == "scalar" for a in op.attrs) else {}
        if op.name not in listed:
            found.append(Sample(op.name, ((4, 6),) * len(op.input_names(op.make_attrs(scalar))), (), scalar))
    return found


SAMPLES = [*_OTHERS, *_sampled_by_form()]
