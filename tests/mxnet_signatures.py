"""The arguments of MXNet 2's functions, methods and layers: those of python/mxnet in apache/mxnet as of 2023.

By place and by arguments in their order, the names of the functions that have them: only what minidnn has too, and
without ``**kwargs``.
"""

from __future__ import annotations

SIGNATURES: dict[str, dict[str, str]] = {
    "np": {
        "*arys": "atleast_1d atleast_2d atleast_3d",
        "*operands": "einsum",
        "A reps": "tile",
        "M dtype device": "blackman hamming hanning",
        "N M k dtype device": "eye tri",
        "a": "copy flatnonzero nonzero shape",
        "a a_min a_max out": "clip",
        "a axes": "permute_dims transpose",
        "a axis": "expand_dims",
        "a axis descending stable": "argsort sort",
        "a axis dtype out": "cumsum",
        "a axis dtype out correction keepdims": "std var",
        "a axis dtype out keepdims": "mean",
        "a axis dtype out keepdims initial": "prod",
        "a axis dtype out keepdims initial where": "sum",
        "a axis out keepdims": "all amax amin any argmax argmin max min",
        "a axis out overwrite_input keepdims": "median",
        "a axis start": "rollaxis",
        "a axis weights returned out": "average",
        "a axis1 axis2": "swapaxes",
        "a b": "inner kron outer vdot",
        "a b axes": "tensordot",
        "a b axisa axisb axisc axis": "cross",
        "a b max_work": "may_share_memory shares_memory",
        "a b out": "dot matmul",
        "a bins range normed weights density": "histogram",
        "a dtype order device out": "ones_like zeros_like",
        "a fill_value dtype order device out": "full_like",
        "a indices axis mode out": "take",
        "a n axis prepend append": "diff",
        "a new_shape": "resize",
        "a newshape order": "reshape",
        "a offset axis1 axis2": "diagonal",
        "a offset axis1 axis2 out": "trace",
        "a q axis out overwrite_input interpolation keepdims": "percentile quantile",
        "a repeats axis": "repeat",
        "a shift axis": "roll",
        "a source destination": "moveaxis",
        "a val wrap": "fill_diagonal",
        "ar return_index return_inverse return_counts axis": "unique",
        "arr": "diag_indices_from",
        "arr k": "triu_indices_from",
        "arr obj axis": "delete",
        "arr obj values axis": "insert",
        "arr values axis": "append",
        "array shape": "broadcast_to",
        "arrays": "dstack hstack row_stack",
        "arrays axis out": "stack",
        "arrays out": "vstack",
        "ary indices_or_sections": "dsplit hsplit vsplit",
        "ary indices_or_sections axis": "array_split split",
        "ary to_end to_begin": "ediff1d",
        "condition x y": "where",
        "dimensions dtype device": "indices",
        "indices shape order": "unravel_index",
        "m": "fliplr flipud",
        "m axis out": "flip",
        "m k": "tril triu",
        "m k axes": "rot90",
        "n dtype device": "identity",
        "n k m": "tril_indices",
        "n k m device": "triu_indices",
        "obj dtype device copy": "asarray",
        "object dtype device": "array",
        "p x": "polyval",
        "prototype dtype device order subok shape": "empty_like",
        "seq axis out": "concat concatenate",
        "shape dtype order device": "empty ones zeros",
        "shape fill_value dtype order device out": "full",
        "start stop num endpoint base dtype axis device": "logspace",
        "start stop num endpoint retstep dtype axis device": "linspace",
        "start stop step dtype device": "arange",
        "tup": "column_stack",
        "v k": "diag diagflat",
        "x": "from_dlpack",
        "x axis": "squeeze",
        "x copy nan posinf neginf": "nan_to_num",
        "x decimals out": "around round round_",
        "x order": "ravel",
        "x out": (
            "abs absolute arccos arccosh arcsin arcsinh arctan arctanh bitwise_invert bitwise_not cbrt ceil cos cosh "
            "deg2rad degrees exp expm1 fabs fix floor invert isfinite isinf isnan isneginf isposinf log log10 log1p "
            "log2 logical_not negative positive rad2deg radians reciprocal rint sign sin sinh sqrt square tan tanh "
            "trunc"
        ),
        "x pad_width mode": "pad",
        "x weights minlength": "bincount",
        "x xp fp left right period": "interp",
        "x1 x2 out": (
            "add arctan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign divide "
            "equal floor_divide fmax fmin fmod gcd greater greater_equal hypot lcm ldexp less less_equal logaddexp "
            "logical_and logical_or logical_xor maximum minimum mod multiply not_equal power remainder subtract "
            "true_divide"
        ),
    },
    "np.random": {
        "*size": "rand randn",
        "a b size dtype device": "beta",
        "a size device out": "pareto power weibull",
        "a size replace p device out": "choice",
        "df size dtype device": "chisquare",
        "dfnum dfden size device": "f",
        "loc scale size device out": "gumbel logistic",
        "loc scale size dtype device out": "laplace normal",
        "low high size dtype device out": "randint uniform",
        "mean cov size check_valid tol": "multivariate_normal",
        "mean sigma size dtype device out": "lognormal",
        "n pvals size": "multinomial",
        "scale size device out": "exponential rayleigh",
        "shape scale size dtype device out": "gamma",
        "x": "shuffle",
    },
    "np.linalg": {
        "M rtol hermitian": "matrix_rank",
        "a": "det eig eigvals inv matrix_transpose slogdet svd svdvals",
        "a b": "outer solve",
        "a b axes": "tensordot tensorsolve",
        "a b axis": "cross vecdot",
        "a b rcond": "lstsq",
        "a ind": "tensorinv",
        "a mode": "qr",
        "a offset": "diagonal trace",
        "a rtol hermitian": "pinv",
        "a upper": "cholesky eigh eigvalsh",
        "x ord axis keepdims": "matrix_norm norm vector_norm",
    },
    "npx": {
        "a b transpose_a transpose_b forward_stype": "batch_dot",
        "data act_type": "activation",
        "data axis k ret_typ is_ascend dtype": "topk",
        "data axis length temperature use_length dtype": "log_softmax",
        "data depth on_value off_value dtype": "one_hot",
        "data gamma act_type slope lower_bound upper_bound": "leaky_relu",
        "data gamma beta axis eps output_mean_var": "layer_norm",
        "data gamma beta num_groups eps output_mean_var": "group_norm",
        "data index axis mode keepdims": "pick",
        "data kernel stride pad pool_type pooling_convention global_pool cudnn_off p_value count_include_pad layout": (
            "pooling"
        ),
        "data length axis temperature use_length dtype": "softmax",
        "data mask axis temperature normalize": "masked_log_softmax masked_softmax",
        "data p mode axes cudnn_off": "dropout",
        "data start step repeat ctx axis": "arange_like",
        (
            "data weight bias kernel stride dilate pad adj target_shape num_filter num_group workspace no_bias "
            "cudnn_tune cudnn_off layout"
        ): "deconvolution",
        (
            "data weight bias kernel stride dilate pad num_filter num_group workspace no_bias cudnn_tune cudnn_off "
            "layout"
        ): "convolution",
        "data weight input_dim output_dim dtype sparse_grad": "embedding",
        "file": "load",
        "file *args **kwds": "savez",
        "file arr": "save",
        "lhs rhs lhs_axes rhs_axes": "broadcast_like",
        (
            "x gamma beta running_mean running_var eps momentum fix_gamma use_global_stats output_mean_var axis "
            "cudnn_off min_calib_range max_calib_range"
        ): "batch_norm",
        "x weight bias num_hidden no_bias flatten": "fully_connected",
    },
    "npx.random": {
        "loc scale batch_shape dtype device": "normal_n",
        "low high batch_shape dtype device": "uniform_n",
        "prob logit size dtype device out": "bernoulli",
        "seed device": "seed",
    },
    "gluon.nn": {
        "": "Flatten HybridSequential Identity SELU Sequential SiLU",
        "activation": "Activation",
        "alpha": "ELU LeakyReLU",
        "alpha_initializer in_channels": "PReLU",
        "approximation": "GELU",
        "axis": "Concatenate HybridConcatenate",
        "axis epsilon center scale beta_initializer gamma_initializer in_channels": "InstanceNorm LayerNorm",
        (
            "axis momentum epsilon center scale use_global_stats beta_initializer gamma_initializer "
            "running_mean_initializer running_variance_initializer in_channels"
        ): "BatchNorm",
        "beta": "Swish",
        (
            "channels kernel_size strides padding dilation groups layout activation use_bias weight_initializer "
            "bias_initializer in_channels"
        ): "Conv1D Conv2D Conv3D",
        (
            "channels kernel_size strides padding output_padding dilation groups layout activation use_bias "
            "weight_initializer bias_initializer in_channels"
        ): "Conv1DTranspose Conv2DTranspose Conv3DTranspose",
        "factor": "PixelShuffle1D PixelShuffle2D PixelShuffle3D",
        "function": "HybridLambda Lambda",
        (
            "in_channels num_devices momentum epsilon center scale use_global_stats beta_initializer "
            "gamma_initializer running_mean_initializer running_variance_initializer"
        ): "SyncBatchNorm",
        "input_dim output_dim dtype weight_initializer sparse_grad": "Embedding",
        "layout": "GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D",
        "num_groups epsilon center scale beta_initializer gamma_initializer in_channels": "GroupNorm",
        "padding": "ReflectionPad2D",
        "pool_size strides padding ceil_mode layout": "MaxPool3D",
        "pool_size strides padding ceil_mode layout count_include_pad": "AvgPool2D AvgPool3D",
        "pool_size strides padding layout ceil_mode": "MaxPool1D MaxPool2D",
        "pool_size strides padding layout ceil_mode count_include_pad": "AvgPool1D",
        "rate axes": "Dropout",
        "units activation use_bias flatten dtype weight_initializer bias_initializer in_units": "Dense",
    },
    "gluon.rnn": {
        "": "HybridSequentialRNNCell SequentialRNNCell",
        "base_cell": "ResidualCell",
        "base_cell drop_inputs drop_states drop_outputs": "VariationalDropoutCell",
        "base_cell zoneout_outputs zoneout_states": "ZoneoutCell",
        (
            "hidden_size activation i2h_weight_initializer h2h_weight_initializer i2h_bias_initializer "
            "h2h_bias_initializer input_size"
        ): "RNNCell",
        (
            "hidden_size i2h_weight_initializer h2h_weight_initializer i2h_bias_initializer h2h_bias_initializer "
            "input_size activation recurrent_activation"
        ): "GRUCell LSTMCell",
        (
            "hidden_size num_layers activation layout dropout bidirectional i2h_weight_initializer "
            "h2h_weight_initializer i2h_bias_initializer h2h_bias_initializer input_size dtype"
        ): "RNN",
        (
            "hidden_size num_layers layout dropout bidirectional input_size i2h_weight_initializer "
            "h2h_weight_initializer i2h_bias_initializer h2h_bias_initializer dtype"
        ): "GRU",
        (
            "hidden_size num_layers layout dropout bidirectional input_size i2h_weight_initializer "
            "h2h_weight_initializer i2h_bias_initializer h2h_bias_initializer projection_size "
            "h2r_weight_initializer state_clip_min state_clip_max state_clip_nan dtype"
        ): "LSTM",
        (
            "hidden_size projection_size i2h_weight_initializer h2h_weight_initializer h2r_weight_initializer "
            "i2h_bias_initializer h2h_bias_initializer input_size"
        ): "LSTMPCell",
        (
            "input_shape hidden_channels i2h_kernel h2h_kernel i2h_pad i2h_dilate h2h_dilate i2h_weight_initializer "
            "h2h_weight_initializer i2h_bias_initializer h2h_bias_initializer conv_layout activation"
        ): (
            "Conv1DGRUCell Conv1DLSTMCell Conv1DRNNCell Conv2DGRUCell Conv2DLSTMCell Conv2DRNNCell Conv3DGRUCell "
            "Conv3DLSTMCell Conv3DRNNCell"
        ),
        "l_cell r_cell": "BidirectionalCell",
        "rate axes": "DropoutCell",
    },
    "ndarray": {
        "": "as_nd_ndarray as_np_ndarray asscalar detach drop_grad nonzero tolist",
        "*axes": "transpose",
        "*shape": "reshape_view",
        "axis": "squeeze",
        "axis descending stable": "argsort sort",
        "axis dtype out": "cumsum",
        "axis dtype out correction keepdims": "std var",
        "axis dtype out keepdims": "mean prod sum",
        "axis out keepdims": "all any argmax argmin max min",
        "axis1 axis2": "swapaxes",
        "b out": "dot",
        "context": "as_in_context",
        "ctx": "as_in_ctx",
        "decimals out": "round",
        "device": "to_device",
        "dtype order casting subok copy": "astype",
        "grad_req": "attach_grad",
        "indices axis mode": "take",
        "k": "diag",
        "min max out": "clip",
        "offset axis1 axis2": "diagonal",
        "order": "copy flatten",
        "other": "broadcast_like copyto",
        "repeats axis": "repeat",
        "reps": "tile",
        "rhs begin end step": "slice_assign",
        "shape": "broadcast_to",
        "stype": "tostype",
        "value begin end step": "slice_assign_scalar",
    },
    "sym.Symbol": {
        "": (
            "as_nd_ndarray as_np_ndarray attr_dict debug_str get_children get_inputs get_internals list_arguments "
            "list_auxiliary_states list_inputs list_outputs"
        ),
        "*args": "infer_shape infer_shape_partial infer_type infer_type_partial",
        "backend args aux ctx shape_dict type_dict stype_dict skip_infer": "optimize_for",
        "ctx": "eval",
        "fname remove_amp_cast": "save",
        "key": "attr",
        "recursive": "list_attr",
        "remove_amp_cast": "tojson",
    },
    "sym": {
        "fname": "load",
        "json_str": "fromjson",
        "name attr shape lr_mult wd_mult dtype init stype profiler_scope": "var",
    },
    "contrib.quantization": {
        (
            "network quantized_dtype quantize_mode quantize_granularity exclude_layers exclude_layers_match "
            "exclude_operators calib_data data_shapes calib_mode num_calib_batches device LayerOutputCollector logger"
        ): "quantize_net",
        (
            "sym arg_params aux_params data_names device excluded_sym_names excluded_op_names calib_mode calib_data "
            "num_calib_batches quantized_dtype quantize_mode quantize_granularity logger"
        ): "quantize_model",
    },
    "amp": {
        (
            "block data_example target_dtype target_dtype_ops fp32_ops conditional_fp32_ops excluded_sym_names device "
            "cast_params_offline"
        ): "convert_hybrid_block",
        (
            "sym arg_params aux_params input_dtypes target_dtype target_dtype_ops fp32_ops conditional_fp32_ops "
            "excluded_sym_names cast_params_offline"
        ): "convert_model",
        "target_dtype target_precision_ops conditional_fp32_ops fp32_ops layout_optimization": "init",
        "target_dtype": "list_lp16_ops list_fp32_ops list_lp16_fp32_ops list_conditional_fp32_ops "
        "list_widest_type_cast list_loss_output_functions list_lp16_use_fp32_params",
    },
}
