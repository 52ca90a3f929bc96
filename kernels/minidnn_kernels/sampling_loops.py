"""The loop functions of `minidnn_kernels.sampling`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.blend import TAP
from minidnn_kernels.element_words import floor, load_double, load_float, nearest, store_double, store_float, whole
from minidnn_kernels.loop_words import call4, inlined, load, scratch, store
from minidnn_kernels.sampling import DEFORM_ARGUMENTS, GRID_ARGUMENTS, GRID_MODES, GRID_PADDINGS, SPATIAL

__all__ = ["deform_loop", "grid_sample_loop"]

_G, _D, _T = GRID_ARGUMENTS.offsets, DEFORM_ARGUMENTS.offsets, TAP.offsets
_WORD, _TAP_BYTES, _TAP_WORDS = WORD_BYTES, TAP.words * WORD_BYTES, TAP.words
_NEAREST, _LINEAR = GRID_MODES.index("nearest"), GRID_MODES.index("linear")
_ZEROS, _BORDER, _REFLECTION = (GRID_PADDINGS.index(name) for name in ("zeros", "border", "reflection"))
# Taps along an axis at most, and as `TAP` has them.
_AXIS_TAPS = 4
_AXIS_BYTES = _AXIS_TAPS * _TAP_BYTES
_AXES_WORDS = SPATIAL * _AXIS_TAPS * _TAP_WORDS
_ALL_WORDS = _AXIS_TAPS**SPATIAL * _TAP_WORDS
_CUBIC = -0.75


@inlined
def _set_tap(taps: int, number: int, place: int, weight: float) -> None:
    store(taps + number * _TAP_BYTES + _T.address, place)
    store_double(taps + number * _TAP_BYTES + _T.weight, weight)


@inlined
def _remainder(x: float, period: float) -> float:
    """``x % period``, exact, as ``np.mod`` has it: the period times powers of two is taken off as often as it goes."""
    if x - x != 0:
        return x - x
    rest, step = abs(x), period
    while step <= rest / 2:
        step *= 2
    while step >= period:
        if rest >= step:
            rest -= step
        step /= 2
    return period - rest if x < 0 and rest > 0 else rest


@inlined
def _reflected(x: float, low: float, high: float) -> float:
    """A coordinate mirrored at both ends until it lies between them; NaN stays."""
    span = high - low
    if span <= 0:
        return low
    period = 2 * span
    folded = _remainder(x - low, period)
    if folded > span:
        folded = period - folded
    return folded + low


@inlined
def _cubic(distance: float) -> float:
    if distance <= 1:
        return ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance * distance + 1
    if distance < 2:
        return ((_CUBIC * distance - 5 * _CUBIC) * distance + 8 * _CUBIC) * distance - 4 * _CUBIC
    return 0.0


@inlined
def _axis_taps(at: float, n: int, mode: int, padding: int, align: int, taps: int) -> int:
    """Places along an axis of `n` pixels, all inside, and their weights; how many."""
    low = 0.0 if align != 0 else -0.5
    high = n - 1.0 if align != 0 else n - 0.5
    if mode <= _LINEAR and padding == _BORDER:
        at = 0.0 if at < 0 else (n - 1.0 if at > n - 1 else at)
    elif mode <= _LINEAR and padding == _REFLECTION:
        at = _reflected(at, low, high)
    base = nearest(at) if mode == _NEAREST else floor(at)
    ratio = at - base
    count = 1 if mode == _NEAREST else (2 if mode == _LINEAR else 4)
    first = whole(base) - (1 if count == 4 else 0)
    for t in range(count):
        if mode == _NEAREST:
            weight = 1.0
        elif mode == _LINEAR:
            weight = 1 - ratio if t == 0 else ratio
        else:
            weight = _cubic(abs(ratio - (t - 1)))
        place = first + t
        if padding == _REFLECTION:
            place = whole(nearest(_reflected(float(place), low, high)))
        elif padding == _ZEROS and (place < 0 or place >= n):
            weight *= 0.0
        _set_tap(taps, t, max(0, min(place, n - 1)), weight)
    return count


@inlined
def _all_taps(picture: int, axes: int, counts: int, shape: int, pitch: int, code: int, taps: int) -> int:
    """Products of the taps of three axes, those that count, as rows of channels; how many."""
    count = 0
    for i in range(load(counts)):
        a = axes + i * _TAP_BYTES
        for j in range(load(counts + _WORD)):
            b = axes + _AXIS_BYTES + j * _TAP_BYTES
            for k in range(load(counts + 2 * _WORD)):
                c = axes + 2 * _AXIS_BYTES + k * _TAP_BYTES
                weight = load_double(a + _T.weight) * load_double(b + _T.weight)
                weight *= load_double(c + _T.weight)
                if weight != 0:
                    place = load(a + _T.address) * load(shape + _WORD) + load(b + _T.address)
                    place = place * load(shape + 2 * _WORD) + load(c + _T.address)
                    store(taps + count * _TAP_BYTES + _T.address, picture + place * pitch)
                    store_float(taps + count * _TAP_BYTES + _T.weight, code, weight)
                    count += 1
    return count


def grid_sample_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the positions."""
    positions, channels, rank = load(args + _G.positions), load(args + _G.channels), load(args + _G.rank)
    code, item, kernel = load(args + _G.code), load(args + _G.item), load(args + _G.kernel)
    mode, padding, align = load(args + _G.mode), load(args + _G.padding), load(args + _G.align)
    shape, pitch = args + _G.shape, channels * item
    pixels = load(shape) * load(shape + _WORD) * load(shape + 2 * _WORD)
    axes, taps, counts = scratch(_AXES_WORDS), scratch(_ALL_WORDS), scratch(SPATIAL)
    total = load(args + _G.batch) * positions
    for number in range(total * part // parts, total * (part + 1) // parts):
        grid = load(args + _G.grid) + number * rank * item
        for axis in range(SPATIAL):
            n = load(shape + axis * _WORD)
            if axis < SPATIAL - rank:
                _set_tap(axes + axis * _AXIS_BYTES, 0, 0, 1.0)
                store(counts + axis * _WORD, 1)
            else:
                g = load_float(grid + (SPATIAL - 1 - axis) * item, code)
                at = (g + 1) / 2 * (n - 1) if align != 0 else ((g + 1) * n - 1) / 2
                made = _axis_taps(at, n, mode, padding, align, axes + axis * _AXIS_BYTES)
                store(counts + axis * _WORD, made)
        picture = load(args + _G.source) + number // positions * pixels * pitch
        count = _all_taps(picture, axes, counts, shape, pitch, code, taps)
        call4(kernel, load(args + _G.target) + number * pitch, taps, count, channels)


def deform_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the positions."""
    rows, columns, channels = load(args + _D.rows), load(args + _D.columns), load(args + _D.channels)
    code, item, kernel = load(args + _D.code), load(args + _D.item), load(args + _D.kernel)
    width, height = load(args + _D.kernel_width), load(args + _D.kernel_height)
    groups, offset_groups, piece = load(args + _D.groups), load(args + _D.offset_groups), load(args + _D.piece)
    taps, positions, pitch = width * height, rows * columns, channels * item
    own, each = channels // offset_groups, channels // groups
    shape, axes, found, counts = scratch(SPATIAL), scratch(_AXES_WORDS), scratch(_ALL_WORDS), scratch(SPATIAL)
    store(shape, 1)
    store(shape + _WORD, load(args + _D.height))
    store(shape + 2 * _WORD, load(args + _D.width))
    _set_tap(axes, 0, 0, 1.0)
    store(counts, 1)
    total = load(args + _D.batch) * positions
    for number in range(total * part // parts, total * (part + 1) // parts):
        sample, position = number // positions, number % positions
        picture = load(args + _D.source) + sample * load(args + _D.height) * load(args + _D.width) * pitch
        target = load(args + _D.target) + number * taps * pitch
        for group in range(offset_groups):
            for tap in range(taps):
                plane = (sample * offset_groups + group) * taps + tap
                for d in range(2):
                    result = position // columns if d == 0 else position % columns
                    step = tap // width if d == 0 else tap % width
                    start = result * load(args + _D.stride + d * _WORD) - load(args + _D.pad + d * _WORD)
                    moved = load(args + _D.offsets) + ((plane * 2 + d) * positions + position) * item
                    at = start + step * load(args + _D.dilate + d * _WORD) + load_float(moved, code)
                    n = load(shape + (d + 1) * _WORD)
                    made = _axis_taps(at, n, _LINEAR, _ZEROS, 0, axes + (d + 1) * _AXIS_BYTES)
                    store(counts + (d + 1) * _WORD, made)
                factor = 1.0
                if load(args + _D.factors) != 0:
                    factor = load_float(load(args + _D.factors) + (plane * positions + position) * item, code)
                count = _all_taps(picture, axes, counts, shape, pitch, code, found)
                for number_of_piece in range(own // piece):
                    first = group * own + number_of_piece * piece
                    to = target + (first // each * taps * each + tap * each + first % each) * item
                    _blend_piece(kernel, to, found, count, first * item, piece)
                    if factor != 1:
                        for c in range(piece):
                            store_float(to + c * item, code, load_float(to + c * item, code) * factor)


@inlined
def _blend_piece(kernel: int, target: int, taps: int, count: int, offset: int, piece: int) -> None:
    """Some channels, from an offset in bytes on, of the row that the taps of all channels give."""
    for t in range(count):
        address = taps + t * _TAP_BYTES + _T.address
        store(address, load(address) + offset)
    call4(kernel, target, taps, count, piece)
    for t in range(count):
        address = taps + t * _TAP_BYTES + _T.address
        store(address, load(address) - offset)
