"""Photos that stand in a list twice: files of the same bytes, and photos that look alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from placevec.measure.phash import hashes, near_duplicates

Rows = NDArray[np.int64]

_AT_ONCE = 1024


def same_bytes(digests: Sequence[str]) -> Rows:
    """For each of n files the row of the first with the same digest; -1 where it is the first itself."""
    first: dict[str, int] = {}
    found = np.full(len(digests), -1, dtype=np.int64)
    for row, digest in enumerate(digests):
        before = first.setdefault(digest, row)
        if before != row:
            found[row] = before
    return found


def look_alikes(spectra: NDArray[np.float64], within: int) -> Rows:
    """For each of n photos the row of an earlier one that is kept and looks like it; -1 where it is kept itself.

    The photos are taken in their order: one is kept unless its hash differs in at most `within` bits from that of a
    photo kept before. Photos are compared with what is kept only, so that a series that changes little by little is not
    taken for one photo.

    Args:
        spectra: (n, 8, 8), see `measure.phash.spectra`. Those without any content have no hash and are kept.
        within: bits of 64.
    """
    found = np.full(len(spectra), -1, dtype=np.int64)
    bits, there = _bits(spectra)
    kept = np.empty(0, dtype=np.int64)
    for start in range(0, len(spectra), _AT_ONCE):
        part = np.arange(start, min(start + _AT_ONCE, len(spectra)))
        if len(kept):
            near = near_duplicates(spectra[part], spectra[kept], within).nearest
            found[part[near >= 0]] = kept[near[near >= 0]]
        own = part[(found[part] < 0) & there[part]]
        # Bits that differ: |a| + |b| - 2 a·b.
        count = bits[own].sum(axis=1)
        close = count[:, None] + count[None, :] - 2.0 * (bits[own] @ bits[own].T) <= within
        alive = np.ones(len(own), dtype=bool)
        for at in range(len(own)):
            earlier = np.flatnonzero(close[at, :at] & alive[:at])
            if len(earlier):
                alive[at] = False
                found[own[at]] = own[earlier[0]]
        kept = np.concatenate([kept, own[alive]])
    return found


def _bits(spectra: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The bits (n, 64) of all hashes as 0 and 1, and which photos have one."""
    codes, there = hashes(spectra)
    octets = codes.astype("<u8").view(np.uint8).reshape(len(codes), 8)
    return np.unpackbits(octets, axis=1, bitorder="little").astype(np.float32), there
