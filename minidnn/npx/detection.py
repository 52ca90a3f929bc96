"""Boxes, anchors and regions of detectors.

A box is four numbers: ``corner`` is (xmin, ymin, xmax, ymax), ``center`` is (x, y, width, height). Signatures and
defaults are MXNet's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidnn.dispatch import invoke, invoke_one
from minidnn.errors import UnsupportedError
from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray

__all__ = [
    "bipartite_matching",
    "box_decode",
    "box_encode",
    "box_iou",
    "box_nms",
    "multibox_detection",
    "multibox_prior",
    "multibox_target",
    "roi_align",
    "roi_pooling",
]

Numbers = float | Sequence[float]


def box_iou(lhs: Any, rhs: Any, format: str = "corner") -> ndarray:
    """Intersection over union of all pairs of boxes; 0 where neither has an area.

    Args:
        lhs: ``(..., 4)``.
        rhs: ``(..., 4)``.
        format: of both, ``corner`` or ``center``.

    Returns:
        The leading dimensions of `lhs`, then those of `rhs`.
    """
    return invoke_one("box_iou", as_array(lhs), as_array(rhs), format=format)


def box_nms(
    data: Any,
    overlap_thresh: float = 0.5,
    valid_thresh: float = 0.0,
    topk: int = -1,
    coord_start: int = 2,
    score_index: int = 1,
    id_index: int = -1,
    background_id: int = -1,
    force_suppress: bool = False,
    in_format: str = "corner",
    out_format: str = "corner",
) -> ndarray:
    """Rows by falling score, without those whose box overlaps a better one; -1 fills the rest.

    Args:
        data: ``(..., boxes, width)``: in each row a box, its score and what else there is.
        overlap_thresh: boxes are left out that overlap one that is kept by more than this.
        valid_thresh: rows with a score of at most this are left out.
        topk: how many rows are looked at, the best first; -1 for all.
        coord_start, score_index, id_index: where box, score and class stand in a row; -1 for rows without a class.
        background_id: rows of this class are left out; -1 for none.
        force_suppress: whether boxes of different classes exclude each other.
        in_format, out_format: ``corner`` or ``center``.

    Returns:
        The shape of `data`.
    """
    return invoke_one(
        "box_nms",
        as_array(data),
        overlap_thresh=overlap_thresh,
        valid_thresh=valid_thresh,
        topk=topk,
        coord_start=coord_start,
        score_index=score_index,
        id_index=id_index,
        background_id=background_id,
        force_suppress=force_suppress,
        in_format=in_format,
        out_format=out_format,
    )


def bipartite_matching(data: Any, threshold: float, is_ascend: bool = False, topk: int = -1) -> list[ndarray]:
    """Pairs of rows and columns, the largest element first, none twice.

    Args:
        data: ``(..., N, M)``.
        threshold: only elements above it make a pair.
        is_ascend: the smallest first, and only those below the threshold.
        topk: how many pairs at most; -1 for all.

    Returns:
        The column of each row, ``(..., N)``, and the row of each column, ``(..., M)``; -1 for none.
    """
    return list(invoke("bipartite_matching", as_array(data), threshold=threshold, is_ascend=is_ascend, topk=topk))


def box_encode(samples: Any, matches: Any, anchors: Any, refs: Any, means: Any, stds: Any) -> list[ndarray]:
    """What a network learns of boxes: where the matched ones lie, seen from the anchors.

    Args:
        samples: ``(B, N)``: 1 of an anchor that matches, -1 or 0 of others.
        matches: ``(B, N)``: which of `refs`.
        anchors: ``(B, N, 4)`` or ``(1, N, 4)``, corners.
        refs: ``(B, M, 4)``, corners.
        means, stds: ``(4,)``, subtracted and divided by.

    Returns:
        Targets ``(B, N, 4)`` and their mask, 1 where a sample matches.
    """
    return list(invoke("box_encode", *map(as_array, (samples, matches, anchors, refs, means, stds))))


def box_decode(
    data: Any,
    anchors: Any,
    std0: float = 1.0,
    std1: float = 1.0,
    std2: float = 1.0,
    std3: float = 1.0,
    clip: float = -1.0,
    format: str = "center",
) -> ndarray:
    """Boxes from what a network has learned of them, as corners.

    Args:
        data: ``(B, N, 4)``, distances from the anchors.
        anchors: ``(1, N, 4)``.
        std0, std1, std2, std3: factors of the distances.
        clip: the largest logarithm of a size; 0 or less for none.
        format: of the anchors, ``corner`` or ``center``.

    Returns:
        ``(B, N, 4)``.
    """
    attrs = {"std0": std0, "std1": std1, "std2": std2, "std3": std3, "clip": clip, "format": format}
    return invoke_one("box_decode", as_array(data), as_array(anchors), **attrs)


def multibox_prior(
    data: Any,
    sizes: Numbers = (1.0,),
    ratios: Numbers = (1.0,),
    clip: bool = False,
    steps: Numbers = (-1.0, -1.0),
    offsets: Numbers = (0.5, 0.5),
) -> ndarray:
    """Anchors around each pixel of a feature map, as corners from 0 to 1.

    Args:
        data: ``(N, C, H, W)``, of which only the size is looked at.
        sizes: parts of the picture's height, each with the first ratio.
        ratios: width over height; the first size with each.
        clip: whether corners are kept within 0 and 1.
        steps: from pixel to pixel, down and to the right; -1 for one part of as many as there are pixels.
        offsets: of the center within a pixel, down and to the right.

    Returns:
        ``(1, H * W * (sizes + ratios - 1), 4)``.
    """
    attrs = {"sizes": sizes, "ratios": ratios, "clip": clip, "steps": steps, "offsets": offsets}
    return invoke_one("multibox_prior", as_array(data), **attrs)


def multibox_target(
    anchor: Any,
    label: Any,
    cls_pred: Any,
    overlap_threshold: float = 0.5,
    ignore_label: float = -1.0,
    negative_mining_ratio: float = -1.0,
    negative_mining_thresh: float = 0.5,
    minimum_negative_samples: int = 0,
    variances: Numbers = (0.1, 0.1, 0.2, 0.2),
) -> list[ndarray]:
    """What a single-shot detector learns.

    Args:
        anchor: ``(1, N, 4)``, corners.
        label: ``(B, M, 5 or more)``: class and corners of the objects; class -1 behind the last one.
        cls_pred: ``(B, classes, N)``, the background first.
        overlap_threshold: anchors that overlap an object by more get it, beside the best of each object.
        ignore_label: the class of anchors that are not learned.
        negative_mining_ratio: how many background anchors for each one with an object; -1 for all.
        negative_mining_thresh: only of those that overlap objects by less.
        minimum_negative_samples: and at least so many.
        variances: what distances and logarithms of sizes are divided by.

    Returns:
        Distances ``(B, 4 * N)``, their mask, and the classes ``(B, N)``, 0 of the background.
    """
    return list(
        invoke(
            "multibox_target",
            *map(as_array, (anchor, label, cls_pred)),
            overlap_threshold=overlap_threshold,
            ignore_label=ignore_label,
            negative_mining_ratio=negative_mining_ratio,
            negative_mining_thresh=negative_mining_thresh,
            minimum_negative_samples=minimum_negative_samples,
            variances=variances,
        )
    )


def multibox_detection(
    cls_prob: Any,
    loc_pred: Any,
    anchor: Any,
    clip: bool = True,
    threshold: float = 0.01,
    background_id: int = 0,
    nms_threshold: float = 0.5,
    force_suppress: bool = False,
    variances: Numbers = (0.1, 0.1, 0.2, 0.2),
    nms_topk: int = -1,
) -> ndarray:
    """Detections of a single-shot detector.

    Args:
        cls_prob: ``(B, classes, N)``.
        loc_pred: ``(B, 4 * N)``.
        anchor: ``(1, N, 4)``, corners.
        clip: whether corners are kept within 0 and 1.
        threshold: anchors whose best class has less are background.
        background_id: the class that is none; -1 where there is no such class.
        nms_threshold: boxes that overlap a better one of their class by so much are suppressed.
        force_suppress: whether classes make no difference there.
        variances: what `loc_pred` is multiplied by.
        nms_topk: how many boxes are looked at, the best first; -1 for all.

    Returns:
        ``(B, N, 6)``: class without the background, score and corners, the best first; class -1 of what is suppressed,
        -1 altogether in rows that are left.
    """
    return invoke_one(
        "multibox_detection",
        *map(as_array, (cls_prob, loc_pred, anchor)),
        clip=clip,
        threshold=threshold,
        background_id=background_id,
        nms_threshold=nms_threshold,
        force_suppress=force_suppress,
        variances=variances,
        nms_topk=nms_topk,
    )


def roi_pooling(data: Any, rois: Any, pooled_size: Sequence[int], spatial_scale: float) -> ndarray:
    """The largest pixel in each bin of each region (Girshick, Fast R-CNN, 2015).

    Args:
        data: ``(N, C, H, W)``.
        rois: ``(R, 5)``: sample, and corners in the picture.
        pooled_size: height and width of the result.
        spatial_scale: of `data` against the picture.

    Returns:
        ``(R, C, *pooled_size)``.
    """
    return invoke_one("max_roi_pool", as_array(data), as_array(rois), pooled=pooled_size, scale=spatial_scale)


def roi_align(
    data: Any,
    rois: Any,
    pooled_size: Sequence[int],
    spatial_scale: float,
    sample_ratio: int = -1,
    position_sensitive: bool = False,
    aligned: bool = False,
) -> ndarray:
    """Means of points between the pixels in each bin of each region (He et al., Mask R-CNN, 2017).

    Args:
        data, rois, pooled_size, spatial_scale: as of `roi_pooling`.
        sample_ratio: points of a bin along each axis; -1 for as many as there are pixels.
        position_sensitive: not supported.
        aligned: whether regions are moved by half a pixel, so that pixels are read at their centers.
    """
    if position_sensitive:
        raise UnsupportedError("roi_align: position_sensitive=True is not supported")
    regions = as_array(rois)
    return invoke_one(
        "roi_align",
        as_array(data),
        invoke_one("slice_axis", regions, axis=1, begin=1, end=5),
        invoke_one("cast", regions[:, 0], dtype="int64"),
        pooled=pooled_size,
        scale=spatial_scale,
        samples=max(sample_ratio, 0),
        aligned=aligned,
    )
