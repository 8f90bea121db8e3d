"""Retrieval refinement: inside each candidate cell, move the hypothesis towards the training images that look alike."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import DataError
from placevec.geo.sphere import LonLat, chord_of

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Vectors = NDArray[np.floating[Any]]


class Refined(NamedTuple):
    """What the training images make of the hypotheses.

    Attributes:
        unit: (n, m, 3) the hypotheses, moved or as they were.
        weights: (n, m) their probabilities; each row adds up to what it did before.
        moved: (n, m) which ones moved; not those of cells without images, and not those that were vetoed.
        vetoed: (n, m) which ones would have moved too far, and were left as they were.
        similarity: (n, m) of the most similar image of the cell; NaN where it has none.
        neighbours: (n, m, k) rows of the gallery, the most similar first; −1 where there are fewer.
    """

    unit: Floats
    weights: Floats
    moved: NDArray[np.bool_]
    vetoed: NDArray[np.bool_]
    similarity: Floats
    neighbours: Rows


def refine(
    queries: ArrayLike,
    gallery: ArrayLike,
    gallery_cells: ArrayLike,
    gallery_lonlat: LonLat,
    rows: ArrayLike,
    unit: ArrayLike,
    weights: ArrayLike,
    *,
    k: int = 5,
    temperature: float = 0.05,
    weight: float = 0.5,
    rescore: float = 0.0,
    max_m: float = 100_000.0,
    exclude: ArrayLike | None = None,
) -> Refined:
    """Move each hypothesis along the great circle towards the mean of the most similar training images of its cell.

    The mean is spherical, weighted by the softmax of the cosines over `temperature`. The weight of a hypothesis is
    multiplied by exp(rescore · s / temperature), s the cosine of the most similar image of its cell, and the weights
    of a row are then scaled to their old sum; where a cell has no image, the hypothesis keeps its weight.

    Args:
        queries: (n, d) vectors of the images, of length 1.
        gallery: (g, d) vectors of the training images, of length 1.
        gallery_cells: (g,) the cell of each; −1 outside all cells.
        gallery_lonlat: g places.
        rows: (n, m) the cells of the hypotheses.
        unit: (n, m, 3) the hypotheses.
        weights: (n, m) their probabilities; those of weight 0 are left alone.
        k: images of a cell that are looked at, at most.
        temperature: of the softmax over cosines; the smaller, the more the nearest one counts.
        weight: how far towards the mean a hypothesis goes, from 0 (stays) to 1.
        rescore: how much similarity counts for the weights, from 0 (not at all) to 1.
        max_m: a hypothesis that would move farther than this stays where it is.
        exclude: (n,) a row of the gallery that a query must not find, itself for a training image; −1 for none.

    Raises:
        DataError: shapes that do not fit, or a setting out of its range.
    """
    q, g = np.asarray(queries), np.asarray(gallery)
    cells, where = np.asarray(rows, dtype=np.int64), np.asarray(unit, dtype=np.float64)
    w, own_cells = np.asarray(weights, dtype=np.float64), np.asarray(gallery_cells, dtype=np.int64)
    _check(q, g, own_cells, gallery_lonlat, cells, where, w)
    if k < 1 or not temperature > 0 or not 0 <= weight <= 1 or not 0 <= rescore <= 1 or not max_m >= 0:
        raise DataError(
            f"a refinement has k >= 1, temperature > 0, weight and rescore from 0 to 1 and max_m >= 0, not {k}, "
            f"{temperature}, {weight}, {rescore}, {max_m}"
        )
    hidden = np.full(len(q), -1) if exclude is None else np.asarray(exclude, dtype=np.int64)
    if hidden.shape != (len(q),):
        raise DataError(f"{hidden.shape} rows to exclude for {len(q)} queries; give one for each, -1 for none")
    found, cosines = _nearest(q, g, own_cells, cells, w > 0, hidden, k)
    has = found[:, :, 0] >= 0
    best = np.where(has, cosines[:, :, 0], np.nan)
    goal = _mean(gallery_lonlat, found, cosines, temperature, where)
    target, angle = _toward(where, goal, weight)
    vetoed = has & (2.0 * np.sin(angle / 2.0) > chord_of(max_m))
    moved = has & ~vetoed & (angle > 0)
    place = np.where(moved[:, :, None], target, where)
    return Refined(place, rescored(w, best, rescore / temperature), moved, vetoed, best, found)


def _check(
    queries: Vectors,
    gallery: Vectors,
    gallery_cells: Rows,
    lonlat: LonLat,
    rows: Rows,
    unit: Floats,
    weights: Floats,
) -> None:
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise DataError(f"queries (n, d) and a gallery (g, d) are wanted, not {queries.shape} and {gallery.shape}")
    if gallery_cells.shape != (len(gallery),) or len(lonlat) != len(gallery):
        raise DataError(
            f"{len(gallery)} training images have {gallery_cells.shape} cells and {len(lonlat)} places; give one each"
        )
    if rows.ndim != 2 or len(rows) != len(queries) or weights.shape != rows.shape or unit.shape != (*rows.shape, 3):
        raise DataError(
            f"hypotheses of {len(queries)} queries have rows and weights (n, m) and vectors (n, m, 3), not {rows.shape}"
            f", {weights.shape} and {unit.shape}"
        )


def _nearest(
    queries: Vectors,
    gallery: Vectors,
    gallery_cells: Rows,
    rows: Rows,
    live: NDArray[np.bool_],
    hidden: Rows,
    k: int,
) -> tuple[Rows, Floats]:
    """The k most similar images (n, m, k) of each hypothesis' cell with their cosines; −1 where there are fewer.

    Cell by cell: all queries that have the cell among their hypotheses against all its images, one product.
    """
    found = np.full((*rows.shape, k), -1, dtype=np.int64)
    cosines = np.full((*rows.shape, k), -np.inf)
    order = np.argsort(gallery_cells, kind="stable")
    sorted_cells = gallery_cells[order]
    query, slot = np.nonzero(live)
    wanted = rows[query, slot]
    by_cell = np.argsort(wanted, kind="stable")
    query, slot, wanted = query[by_cell], slot[by_cell], wanted[by_cell]
    names, first = np.unique(wanted, return_index=True)
    last = np.append(first[1:], len(wanted))
    low, high = np.searchsorted(sorted_cells, names), np.searchsorted(sorted_cells, names, side="right")
    for a, b, start, stop in zip(first, last, low, high, strict=True):
        if start == stop:
            continue
        images = order[start:stop]
        q, s = query[a:b], slot[a:b]
        cosine = np.asarray(queries[q] @ gallery[images].T, dtype=np.float64)
        cosine[images[None, :] == hidden[q][:, None]] = -np.inf
        top = min(k, len(images))
        # The largest cosines: the nearest images, not the farthest.
        column = np.argsort(-cosine, axis=1, kind="stable")[:, :top]
        value = np.take_along_axis(cosine, column, axis=1)
        found[q, s, :top] = np.where(np.isfinite(value), images[column], -1)
        cosines[q, s, :top] = value
    return found, cosines


def _mean(lonlat: LonLat, found: Rows, cosines: Floats, temperature: float, fallback: Floats) -> Floats:
    """The spherical means (n, m, 3) of the images found; the hypothesis itself where there is none."""
    most = np.where(np.isfinite(cosines[:, :, :1]), cosines[:, :, :1], 0.0)
    share = np.where(found >= 0, np.exp((cosines - most) / temperature), 0.0)
    places = np.concatenate([lonlat.unit(), np.zeros((1, 3))])
    mean = (share[..., None] * places[found]).sum(axis=2)
    length = np.linalg.norm(mean, axis=2, keepdims=True)
    lost = length < 1e-12
    goal: Floats = np.where(lost, fallback, mean / np.where(lost, 1.0, length))
    return goal


def _toward(start: Floats, goal: Floats, share: float) -> tuple[Floats, Floats]:
    """The points (n, m, 3) a share of the way along great circles, and the angles (n, m) gone."""
    along = (start * goal).sum(axis=2, keepdims=True)
    side = goal - along * start
    sine = np.linalg.norm(side, axis=2, keepdims=True)
    angle = share * np.arctan2(sine, along)
    target = np.cos(angle) * start + np.sin(angle) * side / np.maximum(sine, 1e-300)
    target /= np.linalg.norm(target, axis=2, keepdims=True)
    return target, np.where(sine[:, :, 0] > 0, angle[:, :, 0], 0.0)


def rescored(weights: Floats, similarity: Floats, gain: float) -> Floats:
    """Weights (n, m) multiplied by exp(gain · similarity), each row's known part scaled to its old sum.

    Args:
        weights: (n, m) probabilities.
        similarity: (n, m) cosines; a weight whose similarity is NaN stays as it is.
        gain: `rescore` / `temperature` of `refine`.
    """
    known = np.isfinite(similarity)
    most = np.max(np.where(known, similarity, -np.inf), axis=1, initial=-np.inf, keepdims=True)
    factor = np.exp(gain * np.where(known, similarity - np.where(np.isfinite(most), most, 0.0), 0.0))
    raised = np.where(known, weights * factor, 0.0)
    before, after = np.where(known, weights, 0.0).sum(axis=1), raised.sum(axis=1)
    scale = np.where(after > 0, before / np.where(after > 0, after, 1.0), 1.0)
    found: Floats = np.where(known, raised * scale[:, None], weights)
    return found
