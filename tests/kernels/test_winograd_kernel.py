"""Winograd's schemes: the algorithm is a convolution, edges are not written, channels of every number, exact int8."""

from __future__ import annotations

import itertools
from functools import reduce

import numpy as np
import pytest
from microkernels import Array, Machine, Watched, address, words
from tile_problem import DTYPES

from minidnn_kernels.epilogue import Epilogue, Instruction, number_word
from minidnn_kernels.isa import ISAS
from minidnn_kernels.winograd import (
    F2X3,
    F2X3_INT,
    F4X3,
    F4X3_INT,
    InputTransform,
    OutputTransform,
    Scheme,
    largest_sum,
    schemes_for,
    start_of_sums,
)

TAIL = Epilogue(
    (
        Instruction("load", operand=0),
        Instruction("add", (0, 1)),
        Instruction("load", operand=1),
        Instruction("add", (2, 3)),
        Instruction("relu", (4,)),
    ),
    ("channel", "tensor"),
)
SUMS = Epilogue(output="s32")

NAMES = {F4X3: "f4x3", F2X3: "f2x3", F4X3_INT: "f4x3-int", F2X3_INT: "f2x3-int"}
every_scheme = pytest.mark.parametrize("scheme", NAMES, ids=NAMES.values())
every_integer_scheme = pytest.mark.parametrize("scheme", [F4X3_INT, F2X3_INT], ids=["f4x3", "f2x3"])
every_byte = pytest.mark.parametrize("data", ["u8", "s8"])

# The matrices of the article, Bᵀ, G and Aᵀ, by the edge of a block of outputs.
_ARTICLE = {
    2: (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]],
    ),
    4: (
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    ),
}


def _product(stages: tuple[tuple[tuple[float, ...], ...], ...]) -> Array:
    """The matrix that the stages are, the one applied first in front."""
    return reduce(lambda made, stage: np.array(stage) @ made, stages[1:], np.array(stages[0]))


def _convolution(block: Array, weights: Array, edge: int) -> Array:
    """Of (input edge, input edge, channels) with (filters, channels, 3, 3): (edge, edge, filters), in their type."""
    rows = [[np.einsum("yxc,fcyx->f", block[y : y + 3, x : x + 3], weights) for x in range(edge)] for y in range(edge)]
    return np.array(rows)


def _numbers(rng: np.random.Generator, shape: tuple[int, ...], data: str, ends: bool) -> Array:
    """Pixels or weights of that type, over the whole range or only its ends."""
    if data == "f32":
        return rng.standard_normal(shape).astype(np.float32)
    limits = np.iinfo(DTYPES[data])
    chosen = [limits.min, limits.max] if ends else np.arange(limits.min, limits.max + 1)
    return rng.choice(np.array(chosen, DTYPES[data]), shape)


def _input_transform(machine: Machine, scheme: Scheme, data: str, block: Array) -> Array:
    """(input, input, channels) to (products, channels)."""
    channels = block.shape[-1]
    pointers = address(block) + np.arange(scheme.products) * channels * block.itemsize
    target = Watched((scheme.products, channels + 1), scheme.element, fill=-77)
    machine.call(InputTransform(scheme, data), pointers, target.address, target.array.strides[0], channels)
    target.assert_untouched_around()
    assert (target.array[:, -1] == -77).all()
    return np.ascontiguousarray(target.array[:, :-1])


def _output_transform(
    machine: Machine,
    scheme: Scheme,
    products: Array,
    table: Array,
    epilogue: Epilogue = TAIL,
    operands: tuple[Array, ...] = (),
    numbers: tuple[float, ...] = (),
    begin: int = 0,
) -> Array:
    """(products, filters) to the pixels of a larger output, at the rows that `table` gives, from row 2 on.

    Filters before `begin` are left out.
    """
    filters = products.shape[-1]
    dtype = DTYPES[epilogue.output]
    target = Watched((scheme.output**2 + 4, filters), dtype, fill=77)
    context = [target.address, filters * target.array.itemsize]
    for operand in operands:
        context += [address(operand), operand.strides[0] if operand.ndim > 1 else 0]
    context += map(number_word, numbers)
    kernel = OutputTransform(scheme, epilogue)
    machine.call(kernel, words(*context), products, products.strides[0], table, 2, begin, filters)
    target.assert_untouched_around()
    return target.array


def _whole(scheme: Scheme) -> Array:
    """The table of a block all of whose pixels exist."""
    return np.arange(scheme.output**2, dtype=np.int32)


def _any_data(scheme: Scheme) -> str:
    return "u8" if scheme.integer else "f32"


def _plain(scheme: Scheme) -> Epilogue:
    return SUMS if scheme.integer else Epilogue()


def _random_products(scheme: Scheme, rng: np.random.Generator, filters: int) -> Array:
    """Products as they come: integers are such that the output has its factor."""
    if not scheme.integer:
        return rng.standard_normal((scheme.products, filters)).astype(np.float32)
    block = rng.integers(0, 256, (scheme.input, scheme.input, 3))
    return _products(scheme, block, rng.integers(-128, 128, (filters, 3, 3, 3)))


def _products(scheme: Scheme, block: Array, weights: Array) -> Array:
    """What the tile makes of the transformed numbers, as int32 that wraps; in int64 on the way."""
    matrix = _product(scheme.input_stages)
    made = np.einsum("ij,jkc,lk->ilc", matrix, block.astype(np.int64), matrix).reshape(scheme.products, -1)
    transformed = scheme.transform_weights(weights).astype(np.int64)
    return np.einsum("pc,pcf->pf", made, transformed).astype(np.int32)


@every_scheme
def test_the_matrices_are_the_articles_times_the_factor(scheme: Scheme) -> None:
    """Each element of the transformed block may have its own factor in G if A has the rest of it."""
    b, g, a = (np.array(matrix) for matrix in _ARTICLE[scheme.output])
    np.testing.assert_array_equal(_product(scheme.input_stages), b)
    own_g, own_a = np.array(scheme.weight_matrix), _product(scheme.output_stages)
    whole = np.einsum("oi,ik->oik", a, g)
    scale = round(scheme.factor**0.5)
    assert scale**2 == scheme.factor
    np.testing.assert_allclose(np.einsum("oi,ik->oik", own_a, own_g), scale * whole, rtol=1e-15)


@every_scheme
def test_the_schemes_are_convolutions_times_their_factor(scheme: Scheme) -> None:
    rng = np.random.default_rng(0)
    b, a = _product(scheme.input_stages).astype(object), _product(scheme.output_stages).astype(object)
    # Rational numbers as integers: of F(4x4, 3x3), 24 G is whole.
    times = 1 if scheme.integer else 24
    g = np.rint(np.array(scheme.weight_matrix) * times).astype(int)
    np.testing.assert_allclose(g, np.array(scheme.weight_matrix) * times, rtol=1e-14)
    for _ in range(20):
        d = rng.integers(-(2**40), 2**40, (scheme.input, scheme.input)).astype(object)
        kernel = rng.integers(-(2**40), 2**40, (3, 3)).astype(object)
        made = a @ ((g.astype(object) @ kernel @ g.T.astype(object)) * (b @ d @ b.T)) @ a.T
        sums = [[(d[y : y + 3, x : x + 3] * kernel).sum() for x in range(scheme.output)] for y in range(scheme.output)]
        assert (made == scheme.factor * times**2 * np.array(sums, object)).all()


@every_integer_scheme
def test_transformed_numbers_fit_int16(scheme: Scheme) -> None:
    b = np.kron(_product(scheme.input_stages), _product(scheme.input_stages))
    g = np.kron(np.array(scheme.weight_matrix), np.array(scheme.weight_matrix))
    for matrix, ends in ((b, (0, 255)), (b, (-128, 127)), (g, (-128, 127))):
        assert matrix.dtype.kind == "i"
        greatest = np.maximum(matrix * ends[0], matrix * ends[1]).sum(1)
        least = np.minimum(matrix * ends[0], matrix * ends[1]).sum(1)
        assert greatest.max() < 2**15
        assert least.min() >= -(2**15)


@every_integer_scheme
def test_weights_are_transformed_exactly(scheme: Scheme) -> None:
    rng = np.random.default_rng(3)
    matrix = np.array(scheme.weight_matrix)
    for ends in (False, True):
        weights = _numbers(rng, (7, 5, 3, 3), "s8", ends)
        made = scheme.transform_weights(weights)
        assert made.dtype == np.int16
        expected = [[matrix @ weights[f, c].astype(np.int64) @ matrix.T for f in range(7)] for c in range(5)]
        np.testing.assert_array_equal(made, np.array(expected).reshape(5, 7, -1).transpose(2, 0, 1))


@every_scheme
def test_the_algorithm_is_a_convolution(machine: Machine, scheme: Scheme) -> None:
    rng = np.random.default_rng(0)
    data = _any_data(scheme)
    channels, filters = (2 * machine.isa.lanes + 5 if scheme.integer else 5), 7
    block = _numbers(rng, (scheme.input, scheme.input, channels), data, False)
    weights = _numbers(rng, (filters, channels, 3, 3), "s8" if scheme.integer else "f32", False)
    transformed = _input_transform(machine, scheme, data, block)
    wide = np.int64 if scheme.integer else np.float64
    products = np.einsum("pc,pcf->pf", transformed.astype(wide), scheme.transform_weights(weights).astype(wide))
    products = products.astype(np.int32 if scheme.integer else np.float32)
    actual = _output_transform(machine, scheme, products, _whole(scheme), _plain(scheme))[2:-2]
    expected = _convolution(block.astype(wide), weights.astype(wide), scheme.output).reshape(-1, filters)
    if scheme.integer:
        np.testing.assert_array_equal(actual, expected)
    else:
        np.testing.assert_allclose(actual, expected, atol=5e-6 * np.abs(expected).max())


def test_every_number_of_channels(machine: Machine) -> None:
    whole = np.random.default_rng(0).standard_normal((6, 6, 70)).astype(np.float32)
    reference = _input_transform(machine, F4X3, "f32", whole)
    # 36 impulses give the transform's matrix, exactly.
    impulses = np.eye(36, dtype=np.float32).reshape(6, 6, 36)
    matrix = _input_transform(machine, F4X3, "f32", impulses).astype(np.float64)
    np.testing.assert_allclose(reference, matrix @ whole.reshape(36, -1), atol=1e-4)
    for channels in range(1, 70):
        part = np.ascontiguousarray(whole[..., :channels])
        np.testing.assert_array_equal(_input_transform(machine, F4X3, "f32", part), reference[:, :channels])


@every_byte
@every_integer_scheme
def test_every_number_of_channels_of_integers(machine: Machine, scheme: Scheme, data: str) -> None:
    rng = np.random.default_rng(0)
    matrix = np.kron(_product(scheme.input_stages), _product(scheme.input_stages))
    width = 2 * machine.isa.lanes
    for channels in range(width, 3 * width + 2):
        block = _numbers(rng, (scheme.input, scheme.input, channels), data, bool(channels % 2))
        expected = matrix @ block.reshape(scheme.products, channels).astype(np.int64)
        assert abs(expected).max() < 2**15
        np.testing.assert_array_equal(_input_transform(machine, scheme, data, block), expected)


@every_byte
@every_integer_scheme
def test_the_input_that_is_transformed_to_the_largest_numbers(machine: Machine, scheme: Scheme, data: str) -> None:
    """For each element of the transform, the block that makes it as great as can be, and as small."""
    matrix = np.kron(_product(scheme.input_stages), _product(scheme.input_stages))
    limits = np.iinfo(DTYPES[data])
    greatest = np.where(matrix > 0, limits.max, limits.min)
    columns = np.concatenate([greatest, np.where(matrix < 0, limits.max, limits.min)]).T.astype(DTYPES[data])
    block = np.ascontiguousarray(columns).reshape(scheme.input, scheme.input, -1)
    expected = matrix @ columns.astype(np.int64)
    np.testing.assert_array_equal(_input_transform(machine, scheme, data, block), expected)


def _tables(scheme: Scheme) -> list[Array]:
    """Blocks at the right edge, at the lower one, and in the corner: of any number of pixels that exist."""
    edge = scheme.output
    rows, columns = np.divmod(np.arange(edge**2), edge)
    return [
        np.where((rows < high) & (columns < wide), np.arange(edge**2), -1).astype(np.int32)
        for high, wide in itertools.product(range(1, edge + 1), repeat=2)
    ]


@every_scheme
def test_pixels_beyond_the_edge_are_not_written(machine: Machine, scheme: Scheme) -> None:
    products = _random_products(scheme, np.random.default_rng(1), 11)
    whole = _output_transform(machine, scheme, products, _whole(scheme), _plain(scheme)).copy()
    for table in _tables(scheme):
        actual = _output_transform(machine, scheme, products, table, _plain(scheme))
        kept = table[table >= 0] + 2
        np.testing.assert_array_equal(actual[kept], whole[kept])
        rest = np.setdiff1d(np.arange(len(actual)), kept)
        assert (actual[rest] == 77).all()


@every_scheme
def test_the_tail_reads_its_operands_where_the_output_lies(machine: Machine, scheme: Scheme) -> None:
    for filters in range(1, 3 * machine.isa.lanes + 2):
        rng = np.random.default_rng(filters)
        products = _random_products(scheme, rng, filters)
        bias = rng.standard_normal((filters,)).astype(np.float32)
        residual = rng.standard_normal((scheme.output**2 + 4, filters)).astype(np.float32)
        table = rng.permutation(scheme.output**2).astype(np.int32)
        plain = _output_transform(machine, scheme, products, table, _plain(scheme)).astype(np.float32)
        actual = _output_transform(machine, scheme, products, table, TAIL, (bias, residual))
        expected = np.maximum(plain + bias + residual, 0)
        np.testing.assert_allclose(actual[2:-2], expected[2:-2], atol=1e-5)
        assert (actual[[0, 1, -2, -1]] == 77).all()


@every_scheme
def test_filters_from_any_vector_on(machine: Machine, scheme: Scheme) -> None:
    lanes = machine.isa.lanes
    for filters in (lanes + 1, 3 * lanes, 3 * lanes + 2):
        products = _random_products(scheme, np.random.default_rng(filters), filters)
        whole = _output_transform(machine, scheme, products, _whole(scheme), _plain(scheme)).copy()
        for begin in range(lanes, filters, lanes):
            actual = _output_transform(machine, scheme, products, _whole(scheme), _plain(scheme), begin=begin)
            np.testing.assert_array_equal(actual[:, begin:], whole[:, begin:])
            assert (actual[:, :begin] == 77).all()


@pytest.mark.parametrize("output", ["s8", "u8"])
@every_integer_scheme
def test_integer_tails(machine: Machine, scheme: Scheme, output: str) -> None:
    ends = {"s8": (-127.0, 127.0), "u8": (0.0, 255.0)}[output]
    program = (Instruction("load", operand=0), Instruction("multiply", (0, 1)))
    tail = Epilogue((*program, Instruction("multiply_scalar", (2,))), ("channel",), output)
    for filters in (1, machine.isa.lanes, 2 * machine.isa.lanes + 3):
        rng = np.random.default_rng(filters)
        products = _random_products(scheme, rng, filters)
        scale = (rng.random(filters) * 0.01).astype(np.float32)
        sums = _output_transform(machine, scheme, products, _whole(scheme), SUMS)[2:-2].astype(np.float32)
        actual = _output_transform(machine, scheme, products, _whole(scheme), tail, (scale,), (0.5,))[2:-2]
        np.testing.assert_array_equal(actual, np.clip(np.rint(sums * scale * np.float32(0.5)), *ends))


@every_integer_scheme
def test_sums_start_such_that_the_bias_is_in_every_output(machine: Machine, scheme: Scheme) -> None:
    most = 2**31 >> scheme.shift
    bias = np.array([0, 1, -1, 12345, -54321, most - 1, 1 - most, -most], np.int32)
    start = start_of_sums(scheme, bias)
    assert start.dtype == np.int32
    actual = _output_transform(machine, scheme, start, _whole(scheme), SUMS)[2:-2]
    np.testing.assert_array_equal(actual, np.tile(bias, (scheme.output**2, 1)))


def _at_the_limit(scheme: Scheme, data: str, sign: int) -> tuple[Array, int, Array]:
    """Weights of one filter, the bias with which its extreme output is the greatest number that is exact, and the
    block of input for which it is that in all of its pixels.

    The input's numbers are the same in every pixel, one for each channel.
    """
    low, high = np.iinfo(DTYPES[data]).min, np.iinfo(DTYPES[data]).max
    rng = np.random.default_rng(2)
    channels = 75
    weights = np.repeat(rng.integers(-128, 128, (1, channels, 1)), 9, axis=2).reshape(1, channels, 3, 3)
    pixels = np.where(sign * weights[0, :, 0, 0] > 0, high, low)
    extreme = int((weights[0].sum((1, 2)) * pixels).sum())
    most = (2**31 >> scheme.shift) - 1
    block = np.tile(pixels, (scheme.input, scheme.input, 1)).astype(DTYPES[data])
    return weights.astype(np.int8), sign * most - extreme, block


@every_byte
@every_integer_scheme
@pytest.mark.parametrize("sign", [1, -1])
def test_what_just_fits_is_exact_and_what_just_does_not_is_refused(
    machine: Machine, scheme: Scheme, data: str, sign: int
) -> None:
    weights, bias, block = _at_the_limit(scheme, data, sign)
    ends = (0, 255) if data == "u8" else (-128, 127)
    assert scheme.fits(largest_sum(weights, np.array([bias], np.int32), ends))
    assert not scheme.fits(largest_sum(weights, np.array([bias + sign], np.int32), ends))
    # With one filter that does not fit, none does.
    both = np.concatenate([np.zeros_like(weights), weights])
    assert scheme.fits(largest_sum(both, np.array([0, bias], np.int32), ends))
    assert not scheme.fits(largest_sum(both, np.array([0, bias + sign], np.int32), ends))

    transformed = _input_transform(machine, scheme, data, block).astype(np.int64)
    made = np.einsum("pc,pcf->pf", transformed, scheme.transform_weights(weights).astype(np.int64))
    products = (made + start_of_sums(scheme, np.array([bias]))).astype(np.int32)
    actual = _output_transform(machine, scheme, products, _whole(scheme), SUMS)[2:-2]
    most = (2**31 >> scheme.shift) - 1
    np.testing.assert_array_equal(actual, np.full((scheme.output**2, 1), sign * most))


@every_integer_scheme
def test_what_does_not_fit_would_be_wrong(machine: Machine, scheme: Scheme) -> None:
    bias = np.array([2**31 >> scheme.shift], np.int32)
    assert not scheme.fits(largest_sum(np.zeros((1, 1, 3, 3), np.int8), bias, (0, 255)))
    actual = _output_transform(machine, scheme, start_of_sums(scheme, bias), _whole(scheme), SUMS)[2:-2]
    assert (actual != bias).all()


def test_schemes_by_isa() -> None:
    for isa in ISAS:
        assert schemes_for(isa, "f32") == (F4X3, F2X3)
        for data in ("u8", "s8"):
            assert set(schemes_for(isa, data)) == ({F4X3_INT, F2X3_INT} if isa.arch == "x86_64" else set())


@every_scheme
def test_many_filters_are_transformed(scheme: Scheme) -> None:
    weights = (
        np.random.default_rng(0).integers(-127, 128, (37, 5, 3, 3)).astype(np.int8 if scheme.integer else np.float32)
    )
    g = np.array(scheme.weight_matrix, np.float64)
    expected = np.einsum("yi,fcij,xj->yxcf", g, weights.astype(np.float64), g).reshape(-1, 5, 37)
    np.testing.assert_allclose(scheme.transform_weights(weights), expected, rtol=1e-6, atol=1e-4)
