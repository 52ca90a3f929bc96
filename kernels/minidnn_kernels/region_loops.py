"""The loop functions of regions in `minidnn_kernels.sampling`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.blend import MAX_TAPS, TAP
from minidnn_kernels.element_words import (
    floor,
    larger,
    load_double,
    load_float,
    load_whole,
    store_double,
    store_float,
    whole,
)
from minidnn_kernels.loop_words import call4, copy_item, inlined, load, scratch, store
from minidnn_kernels.sampling import LARGEST_REGION, MAX_COUNT, REGION_ARGUMENTS, REGION_STATUS

__all__ = ["max_roi_pool_loop", "roi_align_loop"]

_R, _S, _T = REGION_ARGUMENTS.offsets, REGION_STATUS.offsets, TAP.offsets
_WORD, _TAP_BYTES = WORD_BYTES, TAP.words * WORD_BYTES
_TAP_WORDS = TAP.words * MAX_TAPS
_STATUS_BYTES = REGION_STATUS.words * WORD_BYTES
_LARGEST = float(LARGEST_REGION)


@inlined
def _begin_status(args: int, part: int) -> int:
    status: int = load(args + _R.status) + part * _STATUS_BYTES
    store(status + _S.least, 0)
    store(status + _S.most, 0)
    store(status + _S.region, -1)
    return status


@inlined
def _refuse(args: int, status: int, region: int) -> None:
    """Note a region that cannot be pooled, unless there was one before."""
    if load(status + _S.region) >= 0:
        return
    store(status + _S.region, region)
    roi, item = load(args + _R.rois) + region * load(args + _R.roi_pitch), load(args + _R.item)
    for i in range(4):
        store_double(status + _S.roi + i * _WORD, load_float(roi + i * item, load(args + _R.code)))


@inlined
def _picture(args: int, status: int, region: int) -> int:
    """Where the region's picture begins; 0 if there is no such picture."""
    sample: int = load_whole(
        load(args + _R.samples) + region * load(args + _R.sample_pitch), load(args + _R.sample_code)
    )
    store(status + _S.least, min(sample, load(status + _S.least)))
    store(status + _S.most, max(sample, load(status + _S.most)))
    if sample < 0 or sample >= load(args + _R.batch):
        return 0
    pixels = load(args + _R.height) * load(args + _R.width)
    place: int = load(args + _R.source) + sample * pixels * load(args + _R.channels) * load(args + _R.item)
    return place


@inlined
def _clear(target: int, channels: int, code: int, item: int) -> None:
    for c in range(channels):
        store_float(target + c * item, code, 0.0)


@inlined
def _corner(args: int, region: int, number: int) -> float:
    """Left, top, right or bottom in pixels, as real numbers."""
    roi, item = load(args + _R.rois) + region * load(args + _R.roi_pitch), load(args + _R.item)
    pixels: float = load_float(roi + number * item, load(args + _R.code)) * load_double(args + _R.scale)
    return pixels


@inlined
def _low(at: float, n: int) -> int:
    """The pixel on the lower side of a point, inside."""
    return max(0, min(whole(floor(at)), n - 1))


@inlined
def _ratio(at: float, n: int) -> float:
    """How far the point is from that pixel."""
    low = _low(at, n)
    return 0.0 if at <= 0 or low == n - 1 else at - low


@inlined
def _counts(at: float, n: int) -> float:
    return 1.0 if at >= -1 and at <= n else 0.0


@inlined
def _point(start: float, size: float, bin: int, number: int, count: int) -> float:
    return start + (bin + (number + 0.5) / count) * size


@inlined
def _add_weight(weights: int, count: int, place: int, weight: float) -> int:
    """Add a weight to that of a pixel among the last three, or a pixel behind them; how many there are then."""
    for back in range(1, 4):
        entry = weights + (count - back) * _TAP_BYTES
        if back <= count and load(entry + _T.address) == place:
            store_double(entry + _T.weight, load_double(entry + _T.weight) + weight)
            return count
    store(weights + count * _TAP_BYTES + _T.address, place)
    store_double(weights + count * _TAP_BYTES + _T.weight, weight)
    return count + 1


@inlined
def _bin_weights(start: float, size: float, bin: int, points: int, n: int, weights: int) -> int:
    """The pixels along an axis that the mean of a bin's points is made of, by rising number, each once; how many."""
    count = 0
    for i in range(points):
        at = _point(start, size, bin, points - 1 - i if size < 0 else i, points)
        low, ratio, counts = _low(at, n), _ratio(at, n), _counts(at, n) / points
        count = _add_weight(weights, count, low, (1 - ratio) * counts)
        count = _add_weight(weights, count, min(low + 1, n - 1), ratio * counts)
    return count


def roi_align_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the regions."""
    height, width, channels = load(args + _R.height), load(args + _R.width), load(args + _R.channels)
    rows, columns, item, code = (
        load(args + _R.rows),
        load(args + _R.columns),
        load(args + _R.item),
        load(args + _R.code),
    )
    regions, pitch = load(args + _R.regions), channels * item
    is_max, is_aligned = load(args + _R.is_max) != 0, load(args + _R.aligned) != 0
    by_row, by_column = memory, memory + (height + 2) * _TAP_BYTES
    status, taps = _begin_status(args, part), scratch(_TAP_WORDS)
    shift = 0.5 if is_aligned else 0.0
    for region in range(regions * part // parts, regions * (part + 1) // parts):
        target = load(args + _R.target) + region * rows * columns * pitch
        picture = _picture(args, status, region)
        left, top = _corner(args, region, 0) - shift, _corner(args, region, 1) - shift
        extent_x, extent_y = _corner(args, region, 2) - shift - left, _corner(args, region, 3) - shift - top
        if not is_aligned:
            extent_x, extent_y = larger(extent_x, 1.0), larger(extent_y, 1.0)
        size_x, size_y = extent_x / columns, extent_y / rows
        count_x = count_y = load(args + _R.points)
        if count_x == 0:
            count_x, count_y = max(1, whole(-floor(-size_x))), max(1, whole(-floor(-size_y)))
        end_x, end_y = left + extent_x, top + extent_y
        if end_x - end_x != 0 or end_y - end_y != 0 or max(count_x, count_y) > MAX_COUNT:
            _refuse(args, status, region)
            picture = 0
        for bin in range(rows * columns):
            row, column, to = bin // columns, bin % columns, target + bin * pitch
            if picture == 0:
                _clear(to, channels, code, item)
            elif is_max:
                first = True
                for point in range(count_x * count_y):
                    y = _point(top, size_y, row, point // count_x, count_y)
                    x = _point(left, size_x, column, point % count_x, count_x)
                    counts = _counts(y, height) * _counts(x, width)
                    for corner in range(4):
                        down, right = corner // 2, corner % 2
                        ratio_y, ratio_x = _ratio(y, height), _ratio(x, width)
                        weight = (ratio_y if down != 0 else 1 - ratio_y) * (ratio_x if right != 0 else 1 - ratio_x)
                        place_y, place_x = (
                            min(_low(y, height) + down, height - 1),
                            min(_low(x, width) + right, width - 1),
                        )
                        source = picture + (place_y * width + place_x) * pitch
                        for c in range(channels):
                            value = load_float(source + c * item, code) * (weight * counts)
                            if not first:
                                value = larger(load_float(to + c * item, code), value)
                            store_float(to + c * item, code, value)
                        first = False
            else:
                if column == 0:
                    count_rows = _bin_weights(top, size_y, row, count_y, height, by_row)
                count_columns = _bin_weights(left, size_x, column, count_x, width, by_column)
                _blend_bin(args, to, picture, by_row, count_rows, by_column, count_columns, taps)


@inlined
def _blend_bin(
    args: int, target: int, picture: int, by_row: int, rows: int, by_column: int, columns: int, taps: int
) -> None:
    """The sum of pixels in some rows and columns, times the weights of both."""
    kernel, code, item = load(args + _R.kernel), load(args + _R.code), load(args + _R.item)
    channels, width = load(args + _R.channels), load(args + _R.width)
    count = 0
    for i in range(rows):
        entry = by_row + i * _TAP_BYTES
        row, weight = load(entry + _T.address) * width, load_double(entry + _T.weight)
        for j in range(columns):
            if count == MAX_TAPS:
                # What there is so far is one of the taps of what is added to it.
                call4(kernel, target, taps, count, channels)
                store(taps + _T.address, target)
                store_float(taps + _T.weight, code, 1.0)
                count = 1
            other = by_column + j * _TAP_BYTES
            place = row + load(other + _T.address)
            store(taps + count * _TAP_BYTES + _T.address, picture + place * channels * item)
            store_float(taps + count * _TAP_BYTES + _T.weight, code, weight * load_double(other + _T.weight))
            count += 1
    call4(kernel, target, taps, count, channels)


@inlined
def _pixel(corner: float) -> int:
    """The pixel that a corner lies in."""
    return whole(max(-_LARGEST, min(floor(corner + 0.5), _LARGEST)))


@inlined
def _edge(start: int, end: int, bins: int, number: int, n: int, is_upper: bool) -> int:
    """Where the pixels of a bin begin, or end, inside."""
    at = number * (max(end - start + 1, 1) / bins)
    edge = whole(-floor(-at)) if is_upper else whole(floor(at))
    return max(0, min(edge + start, n))


def max_roi_pool_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the regions."""
    height, width, channels = load(args + _R.height), load(args + _R.width), load(args + _R.channels)
    rows, columns, item, code = (
        load(args + _R.rows),
        load(args + _R.columns),
        load(args + _R.item),
        load(args + _R.code),
    )
    regions, pitch = load(args + _R.regions), channels * item
    status = _begin_status(args, part)
    for region in range(regions * part // parts, regions * (part + 1) // parts):
        target = load(args + _R.target) + region * rows * columns * pitch
        picture = _picture(args, status, region)
        x, y = _corner(args, region, 0), _corner(args, region, 1)
        end_x, end_y = _corner(args, region, 2), _corner(args, region, 3)
        if x - x != 0 or y - y != 0 or end_x - end_x != 0 or end_y - end_y != 0:
            _refuse(args, status, region)
            picture = 0
        left, top, right, bottom = 0, 0, 0, 0
        if picture != 0:
            left, top, right, bottom = _pixel(x), _pixel(y), _pixel(end_x), _pixel(end_y)
        for bin in range(rows * columns):
            row, column, to = bin // columns, bin % columns, target + bin * pitch
            _clear(to, channels, code, item)
            if picture == 0:
                continue
            begin_y, end = _edge(top, bottom, rows, row, height, False), _edge(top, bottom, rows, row + 1, height, True)
            begin_x = _edge(left, right, columns, column, width, False)
            count = _edge(left, right, columns, column + 1, width, True) - begin_x
            for number in range(max(0, end - begin_y) * max(0, count)):
                place = (begin_y + number // count) * width + begin_x + number % count
                source = picture + place * pitch
                for c in range(channels):
                    if number == 0:
                        copy_item(to + c * item, source + c * item, item)
                    else:
                        value = larger(load_float(to + c * item, code), load_float(source + c * item, code))
                        store_float(to + c * item, code, value)
