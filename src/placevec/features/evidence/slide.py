"""Evidence from a transformer that reads squares of one size: windows over larger images, tokens over windows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from placevec.encoders.base import Vectors, unit_rows
from placevec.errors import UsageError
from placevec.features.evidence.crops import Windows, bump, windows
from placevec.features.evidence.field import Field, Image

DEBIAS = 0.3  # the share that Li et al. 2024 found best over eight remote sensing sets (SegEarth-OV)
BATCH = 16  # windows at once

Tokens = Callable[[Image], tuple[Vectors, Vectors]]
"""Squares (n, bands, s, s) to the vectors of their tokens (n, h, w, dims) and of themselves (n, dims)."""


def slide_field(
    tokens: Tokens, image: Image, whole: Vectors, *, unit: int = 0, overlap: float = 0.5, debias: float = DEBIAS
) -> Field:
    """The field of an image from the tokens of square windows over it.

    Of each token the direction is kept, less `debias` of the direction of its window: tokens of a model trained with a
    global token carry what is all over the window. A position has the mean of the tokens over it, each weighted by how
    central it is in its window.

    Args:
        tokens: the encoder.
        image: (bands, h, w).
        whole: (dims,) the vector of the image.
        unit: side of a window in pixels; 0: the shorter side of the image, so that a square image is one window.
        overlap: share of a window that the next one covers again.
        debias: share of the window's own unit vector that is taken from its tokens.
    """
    if not 0 <= debias <= 1:
        raise UsageError(f"debias = {debias}: give a share from 0 to 1")
    _, height, width = image.shape
    boxes = windows(height, width, unit or min(height, width), overlap)
    parts, each = [], (1, 1)
    for start in range(0, len(boxes), BATCH):
        cut = np.stack([image[:, y : y + h, x : x + w] for x, y, w, h in boxes[start : start + BATCH].tolist()])
        found, global_ = tokens(cut)
        each, dims = (found.shape[1], found.shape[2]), found.shape[3]
        unbiased = unit_rows(found.reshape(-1, dims)).reshape(found.shape)
        parts.append((unbiased - np.float32(debias) * unit_rows(global_)[:, None, None]).reshape(-1, dims))
    vectors = np.concatenate(parts)
    shape = round(height / boxes[0, 3] * each[0]), round(width / boxes[0, 2] * each[1])
    joined = _joined(boxes, each, shape, (height, width)) if len(boxes) > 1 else None
    return Field(vectors, shape, (height, width), unit_rows(whole[None])[0], joined)


def _joined(boxes: Windows, each: tuple[int, int], shape: tuple[int, int], size: tuple[int, int]) -> sparse.csr_array:
    """Weights (positions, windows·tokens): at each position the token that holds it, of every window over it."""
    y, x = ((np.arange(n) + 0.5) * pixels / n for n, pixels in zip(shape, size, strict=True))
    weights, rows, columns = [], [], []
    for at, (left, top, wide, tall) in enumerate(boxes.tolist()):
        down, row, weight_y = _axis(y, top, tall, each[0])
        across, column, weight_x = _axis(x, left, wide, each[1])
        weights.append(np.outer(weight_y, weight_x).ravel())
        rows.append((down[:, None] * shape[1] + across).ravel())
        columns.append((at * each[0] * each[1] + row[:, None] * each[1] + column).ravel())
    total = shape[0] * shape[1], len(boxes) * each[0] * each[1]
    found = sparse.csr_array((np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), shape=total)
    return sparse.csr_array(sparse.diags_array(1 / np.asarray(found.sum(axis=1)).ravel()) @ found)


def _axis(
    at: NDArray[np.float64], start: int, length: int, tokens: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Positions inside a window along one axis, the token that holds each, and its weight."""
    inside = np.flatnonzero((at >= start) & (at <= start + length))
    token = np.clip(((at[inside] - start) / length * tokens).astype(np.int64), 0, tokens - 1)
    centre = start + (token + 0.5) * length / tokens
    return inside, token, bump(centre, start, length)
