"""Near-duplicate images by perceptual hash: what stands in the training images must not be tested.

A hash is 64 bits: the signs, about their median, of the 8 x 8 lowest frequencies of a discrete cosine transform of the
grey image, brought to 32 x 32 by area means (the DCT hash of Zauner, "Implementation and benchmarking of perceptual
image hash functions", 2010). Images that look alike differ in few bits. Of a turned or mirrored image the transform is
the same but for signs and a transposition, so that the hashes of all eight positions come from one transform.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError

Codes = NDArray[np.uint64]
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

GREY, LOW = 32, 8  # pixels that are transformed, and frequencies that are kept
POSITIONS = 8  # of a square: four quarter turns, and the same mirrored
FARTHEST = 16  # bits; unrelated images differ in 32 on average, with a standard deviation of 4
_FLAT = 1e-3  # grey levels (of 255): below it a frequency is rounding, not content
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Duplicates:
    """Near-duplicates of some images among others.

    Attributes:
        distance: (n,) bits to the nearest of the others; -1 where none is near enough.
        nearest: (n,) its row; -1 where there is none.
        pairs: how many pairs are near enough.
        compared: (n,) images that could be compared: a flat one has no hash.
    """

    distance: Rows
    nearest: Rows
    pairs: int
    compared: NDArray[np.bool_]

    @property
    def found(self) -> Rows:
        """The images that have a near-duplicate, the nearest first."""
        rows = np.flatnonzero(self.nearest >= 0)
        return rows[np.argsort(self.distance[rows], kind="stable")]

    @property
    def share(self) -> float:
        """Of all images, those that have one."""
        return len(self.found) / max(1, len(self.nearest))


def spectra(images: NDArray[Any]) -> Floats:
    """The low frequencies (n, 8, 8) of images (n, bands, h, w) of any size; three bands are red, green and blue.

    Raises:
        DataError: another shape.
    """
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise DataError(f"images of shape {images.shape}: a hash is made of (n, bands, height, width)")
    bands = images.shape[1]
    weights = _LUMA if bands == 3 else np.full(bands, 1.0 / bands)
    down, across = _low_frequencies(images.shape[2]), _low_frequencies(images.shape[3])
    out = np.empty((len(images), LOW, LOW))
    for row, image in enumerate(images):
        grey = np.tensordot(weights, image.astype(np.float64), axes=1)
        out[row] = down @ grey @ across.T
    out[np.abs(out) < _FLAT * GREY] = 0.0
    return out


def hashes(found: Floats) -> tuple[Codes, NDArray[np.bool_]]:
    """The hashes (n,) of spectra (n, 8, 8), and which are of images with any content at all."""
    flat = found.reshape(len(found), LOW * LOW)
    # The mean grey stands at place 0 and would count as content.
    middle = np.median(flat[:, 1:], axis=1, keepdims=True)
    bits = np.packbits(flat > middle, axis=1, bitorder="little")
    return np.ascontiguousarray(bits).view("<u8")[:, 0].astype(np.uint64), np.asarray(flat[:, 1:].any(axis=1))


def positions(found: Floats) -> Floats:
    """The spectra (8, n, 8, 8) of images in each position: turned by quarters, and mirrored.

    A mirror changes the sign of odd frequencies along its axis: cos(π (N - 1 - x + ½) k / N) = (-1)^k cos(π (x + ½)
    k / N).
    """
    sign = np.where(np.arange(LOW) % 2, -1.0, 1.0)
    out = []
    for base in (found, found.swapaxes(1, 2)):
        for down in (np.ones(LOW), sign):
            out += [base * down[:, None], base * down[:, None] * sign]
    return np.stack(out)


def near_duplicates(tested: Floats, others: Floats, within: int = 4, *, turned: bool = False) -> Duplicates:
    """Find near-duplicates of some images among others.

    Two hashes that differ in at most d bits agree entirely in one of d + 1 bands of bits: only images that share a
    band are compared, so that hundreds of thousands take seconds.

    Args:
        tested: (n, 8, 8) spectra of the images in question.
        others: (m, 8, 8) spectra of those that must not be among them.
        within: the most bits by which two near-duplicates differ.
        turned: whether turned and mirrored images count too.

    Raises:
        UsageError: `within` is out of range.
    """
    if not 0 <= within <= FARTHEST:
        raise UsageError(f"near-duplicates within {within} bits of 64: give 0 to {FARTHEST}")
    codes, there = hashes(others)
    rows = np.flatnonzero(there)
    # Each hash once: of n equal images there would be n² pairs.
    codes, first_of, sharing = np.unique(codes[rows], return_index=True, return_counts=True)
    compared = hashes(tested)[1]
    asked = np.flatnonzero(compared)
    shown = np.stack([hashes(spectrum)[0][asked] for spectrum in (positions(tested) if turned else tested[None])])
    shown, group, asking = np.unique(shown, axis=1, return_inverse=True, return_counts=True)
    distance, nearest = (np.full(shown.shape[1], -1, dtype=np.int64) for _ in range(2))
    met: list[Rows] = []
    for kinds in shown:
        query, item, bits = _within(kinds, codes, within)
        met.append(query * len(codes) + item)
        row = rows[first_of[item]]
        order = np.lexsort((row, bits, query))
        first = order[np.unique(query[order], return_index=True)[1]]
        nearer = first[(nearest[query[first]] < 0) | (bits[first] < distance[query[first]])]
        distance[query[nearer]], nearest[query[nearer]] = bits[nearer], row[nearer]
    pair = np.unique(np.concatenate(met))
    pairs = int((asking[pair // max(1, len(codes))] * sharing[pair % max(1, len(codes))]).sum())
    far, none = (np.full(len(tested), -1, dtype=np.int64) for _ in range(2))
    far[asked], none[asked] = distance[group.reshape(-1)], nearest[group.reshape(-1)]
    return Duplicates(far, none, pairs, compared)


def _within(asked: Codes, codes: Codes, within: int) -> tuple[Rows, Rows, Rows]:
    """All pairs (query, item, bits) of hashes that differ in at most `within` bits, each once."""
    edges = np.linspace(0, 64, within + 2).astype(int)
    masks = [np.uint64(((1 << int(high - low)) - 1) << int(low)) for low, high in pairwise(edges)]
    found: list[tuple[Rows, Rows, Rows]] = [(np.empty(0, np.int64),) * 3]
    for place, mask in enumerate(masks):
        order = np.argsort(codes & mask, kind="stable")
        band = (codes & mask)[order]
        wanted = asked & mask
        low, high = np.searchsorted(band, wanted, "left"), np.searchsorted(band, wanted, "right")
        for query, at in _spans(low, high):
            item = order[at]
            differ = asked[query] ^ codes[item]
            # A pair that agrees in an earlier band was met there.
            new = np.ones(len(query), dtype=bool)
            for earlier in masks[:place]:
                new &= (differ & earlier) != 0
            query, item, differ = query[new], item[new], differ[new]
            bits = _ones(differ)
            near = bits <= within
            found.append((query[near], item[near], bits[near]))
    query, item, bits = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return query, item, bits


def _spans(low: Rows, high: Rows) -> Iterator[tuple[Rows, Rows]]:
    """The pairs (query, place from low to high) of all queries, some at a time."""
    ends = np.cumsum(high - low)
    start = 0
    while start < len(low):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _AT_ONCE, "right")))
        length = (high - low)[start:stop]
        query = np.repeat(np.arange(start, stop), length)
        at = (
            np.arange(int(length.sum()))
            - np.repeat(np.cumsum(length) - length, length)
            + np.repeat(low[start:stop], length)
        )
        yield query, at
        start = stop


def _ones(values: Codes) -> Rows:
    """How many bits of each are 1: sums of two, four, eight neighbours (numpy before 2.0 has no `bitwise_count`)."""
    x = values.copy()
    x -= (x >> np.uint64(1)) & np.uint64(0x5555555555555555)
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    with np.errstate(over="ignore"):
        return np.asarray((x * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.int64)


def _low_frequencies(pixels: int) -> Floats:
    """(8, pixels): area means to 32, then the 8 lowest frequencies of the orthonormal DCT-II, as one product."""
    from scipy.fft import dct  # slow to import, and most who import this module compare nothing

    edge = np.linspace(0.0, pixels, GREY + 1)
    pixel = np.arange(pixels)
    overlap = np.minimum(edge[1:, None], pixel + 1) - np.maximum(edge[:-1, None], pixel)
    means = np.clip(overlap, 0.0, None) * (GREY / pixels)
    transform: Floats = dct(np.eye(GREY), axis=0, norm="ortho")[:LOW]
    return np.asarray(transform @ means)
