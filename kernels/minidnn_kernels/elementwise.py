"""Elementwise kernels: one row of the output from one row of each operand, by an epilogue alone."""

from __future__ import annotations

from dataclasses import dataclass

from minidnn_kernels.arguments import WORD_BYTES, ArgumentRow, Field
from minidnn_kernels.conversions import convert
from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.epilogue import Epilogue, load_numbers
from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import Simd, Value, const, new_function
from minidnn_kernels.store import store_value

__all__ = ["ARGUMENTS", "ELEMENTWISE_ARGUMENTS", "MAX_OPERANDS", "MAX_OUTER", "TENSOR", "ElementwiseSpec"]

# context: address of [address of the output row, address of each operand's row]
# count:   elements in the row
# numbers: address of the epilogue's numbers
ARGUMENTS = ("context", "count", "numbers")

# Loops around the row.
MAX_OUTER = 4


# Operands of a kernel: the loop keeps the addresses of their rows, and the output's, on its stack.
MAX_OPERANDS = 32

# Of `elementwise_loop`.
ELEMENTWISE_ARGUMENTS = ArgumentRow(
    Field("kernel", "microkernel"),
    Field("tensors", "the output and the operands"),
    Field("inner", "elements of a row"),
    Field("chunk", "elements a call does at most"),
    Field("chunks", "calls for a row"),
    Field("outer", "rows in all"),
    Field("shape", "extents of the dimensions around the row, the outermost first", words=MAX_OUTER),
    Field("tensor", "for each tensor, the output first, as `TENSOR` has it", words=None),
    Field("numbers", "the epilogue's", words=None),
)
TENSOR = ArgumentRow(
    Field("address", "of its first element"),
    Field("strides", "bytes, of the dimensions around the row", words=MAX_OUTER),
    Field("step", "bytes from one element of the row to the next; 0 for one number"),
)


@dataclass(frozen=True)
class ElementwiseSpec:
    """Value 0 of the epilogue is operand 0 in float32. Operands are tensors (contiguous in the row) or scalars."""

    epilogue: Epilogue

    @property
    def name(self) -> str:
        first = self.epilogue.kinds[0].type.name if self.epilogue.kinds else "f32"
        return f"{first}_elementwise__{self.epilogue.name}"

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the row kernel, one function of `ARGUMENTS`."""
        module, function, builder = new_function(self.name, ARGUMENTS)
        s = Simd(builder, isa)
        context, count, numbers = function.args
        kinds, output_type = self.epilogue.kinds, self.epilogue.output_type
        output = s.load_i64(context)
        rows = [s.load_i64(s.add(context, const(WORD_BYTES * (i + 1)))) for i in range(len(kinds))]
        scalars = {i: kind.type.read_splat(s, rows[i]) for i, kind in enumerate(kinds) if kind.form == "scalar"}
        vectors = load_numbers(s, numbers, self.epilogue.number_types)

        def body(index: Value, mask: Value | None) -> None:
            def load(i: int) -> Value:
                if i in scalars:
                    return scalars[i]
                type = kinds[i].type
                return type.read(s, s.add(rows[i], s.mul(index, const(type.bytes))), mask)

            address = s.add(output, s.mul(index, const(output_type.bytes)))
            first = convert(s, load(0), kinds[0].type, FLOAT32)
            store_value(s, self.epilogue, first, load, vectors, address, mask)

        s.each_vector(count, body)
        builder.ret_void()
        return str(module)
