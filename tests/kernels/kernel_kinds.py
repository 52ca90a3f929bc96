"""A microkernel of every kind, for any instruction set."""

from __future__ import annotations

from minidnn.runtime.library import KernelSpec
from minidnn_kernels.attention import ADD_EPILOGUE, FinishSpec, PackSpec, WeightsSpec
from minidnn_kernels.blend import BlendSpec
from minidnn_kernels.copy import InterleaveSpec, TransposeSpec
from minidnn_kernels.depthwise import DepthwiseSpec, DepthwiseTileSpec
from minidnn_kernels.epilogue import Epilogue, Instruction
from minidnn_kernels.isa import Isa
from minidnn_kernels.panels import PanelSpec, TransformedPanelSpec
from minidnn_kernels.pooling import PoolSpec
from minidnn_kernels.recurrent import GatesSpec
from minidnn_kernels.reduce import FoldSpec, ResultSpec
from minidnn_kernels.row_products import RowByRowsSpec, RowBySumSpec
from minidnn_kernels.rows import RowSpec
from minidnn_kernels.state_levels import StateLevelsSpec
from minidnn_kernels.tile import TileSpec
from minidnn_kernels.winograd import F2X3, F4X3, InputTransform, OutputTransform, schemes_for


def every_kind(isa: Isa) -> list[KernelSpec]:
    epilogue = Epilogue((Instruction("load", operand=0), Instruction("add", (0, 1))), ("channel",))
    specs: list[KernelSpec] = [
        TileSpec(2, 1, epilogue, masked=True),
        TileSpec(2, 1, epilogue, scattered=True),
        DepthwiseTileSpec(2, 1, epilogue, masked=True),
        DepthwiseSpec(3, 3, 1, 1, 4, epilogue),
        PoolSpec("max"),
        PoolSpec("sum", strided=True),
        RowSpec("softmax"),
        RowSpec("log_softmax"),
        RowSpec("masked_softmax"),
        RowSpec("masked_log_softmax"),
        RowSpec("layer_norm"),
        RowSpec("quantize", "s8"),
        RowSpec("quantize", "u8"),
        StateLevelsSpec("rows"),
        GatesSpec("gru", ("sigmoid", "tanh"), has_bias=True, scaled=True, levels="batch"),
        TransposeSpec(),
        InterleaveSpec(3, 1),
        InterleaveSpec(2, 4),
        WeightsSpec(),
        WeightsSpec("add", softcap=True, online=True),
        WeightsSpec("keep", online=True),
        PackSpec(2),
        FinishSpec(),
        RowByRowsSpec(),
        RowBySumSpec(),
        TileSpec(2, 1, ADD_EPILOGUE),
        FoldSpec("sum", "float32", "real", across=True),
        FoldSpec("argmax", "int8", "whole", across=False),
        ResultSpec("float32", "real", divides=True, root=True),
        BlendSpec(),
        BlendSpec("float64"),
        PanelSpec(4, scaled=True),
        PanelSpec(1),
        PanelSpec(2, inputs_first=True),
        TransformedPanelSpec(F4X3, scaled=True),
        TransformedPanelSpec(F2X3, data="bf16"),
        InputTransform(),
        OutputTransform(epilogue=epilogue),
    ]
    for data in ("u8", "s8"):
        specs += [InputTransform(scheme, data) for scheme in schemes_for(isa, data)]
        specs += [TileSpec(2, 1, epilogue, True, data)]
    return specs + [OutputTransform(scheme, epilogue) for scheme in schemes_for(isa, "u8")]
