"""Answers for places of the bank itself, from the other folds of it; and banks that are made anew of training rows.

To leave a place out of its own answer forbids that it finds itself, not that it shows. The mean of all others is
(total - own) / (n - 1): a regression on such means reads the own value out of the small difference, with the wrong
sign, and finds nothing of the kind at new places. Answered from the other folds, a place shares its mean with the
thousands of its fold, and what is its own in it drowns (cross-fitting: Chernozhukov et al., 2018, section 3).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.features.retrieval.bank import Bank, Vectors
from placevec.features.retrieval.blocks import Augmented, Augmenter
from placevec.features.retrieval.masks import Masks
from placevec.features.retrieval.modes import Concat, Mode
from placevec.geo.sphere import LonLat
from placevec.provenance import Space
from placevec.table import Places

FOLDS = 5


class Folded:
    """An augmenter that answers places of its bank from the bank's other folds, and all others from the whole bank.

    Args:
        augmenter: of the whole bank; widths, frame and scales of all folds are its own.
        folds: how many, from 2; rows of one place share a fold, by a hash of their key.

    Raises:
        UsageError: fewer than 2 folds, or the place's own row is asked for: the mode concat, or kernels as a context.
        DataError: all places of the bank fall into one fold.
    """

    def __init__(self, augmenter: Augmenter, folds: int = FOLDS) -> None:
        if folds < 2:
            raise UsageError(f"a bank in {folds} folds cannot answer for itself: give 2 or more")
        if isinstance(augmenter.mode, Concat):
            raise UsageError("concat takes the bank's row of the place itself: it knows no folds")
        if augmenter.context:
            raise UsageError("a context includes the place itself, folds leave it out: take one of them")
        self.whole = augmenter
        self.folds = folds
        bank = augmenter.bank
        fold = fold_of(bank.places.keys, folds)
        self._parts: dict[int, Augmenter] = {}
        for one in np.unique(fold).tolist():
            rest = np.flatnonzero(fold != one)
            if not len(rest):
                raise DataError(f"all places of {bank.name} fall into one of {folds} folds: it has too few of them")
            self._parts[one] = Augmenter(bank.take(rest), augmenter.mode, augmenter.masks, like=augmenter)

    def rows(
        self,
        lonlat: LonLat | tuple[NDArray[np.float64], NDArray[np.float64]],
        vectors: Vectors,
        *,
        ids: NDArray[np.object_],
        keys: NDArray[np.object_] | None = None,
    ) -> Augmented:
        """See `Augmenter.rows`; whether a row is in the bank is known by its id or key."""
        names = ids if keys is None else keys
        lon, lat = (lonlat.lon, lonlat.lat) if isinstance(lonlat, LonLat) else lonlat
        by_id, by_key = self.whole.bank.groups
        inside = (by_id.of(ids) >= 0) | (by_key.of(names) >= 0)
        fold = np.where(inside, fold_of(names, self.folds), -1)
        whole = self.whole
        n = len(vectors)
        out = Augmented(
            np.zeros((n, whole.dims), dtype=np.float32),
            np.zeros(n),
            np.zeros(n),
            np.zeros(n),
            np.full(n, "", dtype=object),
        )
        for one in np.unique(fold).tolist():
            some = np.flatnonzero(fold == one)
            augmenter = self._parts.get(one, whole) if one >= 0 else whole
            found = augmenter.rows((lon[some], lat[some]), vectors[some], ids=ids[some], keys=names[some])
            for to, part in (
                (out.vectors, found.vectors),
                (out.support, found.support),
                (out.bank_m, found.bank_m),
                (out.left_out, found.left_out),
                (out.reason, found.reason),
            ):
                to[some] = part
        return out


def fold_of(keys: NDArray[np.object_], folds: int) -> NDArray[np.int64]:
    """The fold (n,) of each key, by a hash of its text: the same in whatever table it stands."""
    return np.array([zlib.crc32(str(key).encode()) % folds for key in keys.tolist()], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class CrossFit:
    """Augmented features as a function of the training rows.

    A bank of the very places that are tested would hand a probe their neighbours' values, or their own. So the bank
    is made of the training rows alone, anew for each set of them, and training rows are answered from its
    other folds.

    Attributes:
        places: the rows (n): ids, coordinates and, where several observe one place, `place`.
        vectors: (n, s) the queries, which are the keys of the training rows too; with s = 0 the place alone is known,
            and only the mode geo goes.
        values: (n, v) what is looked up: image vectors, or numbers of the training rows (never of others).
        mode: how it is looked up.
        masks: which training rows count for a row.
        folds: of the training rows, see `Folded`.
    """

    places: Places
    vectors: Vectors
    values: Vectors
    mode: Mode
    masks: Masks = field(default_factory=Masks)
    folds: int = FOLDS

    def __post_init__(self) -> None:
        n = len(self.places)
        if len(self.vectors) != n or len(self.values) != n:
            raise DataError(
                f"{n} places, {len(self.vectors)} vectors and {len(self.values)} values: give as many of each"
            )

    def __call__(self, train_rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Features (n, d) of all rows from a bank of `train_rows`; see `parts`."""
        return self.parts(train_rows)[0]

    def parts(self, train_rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], tuple[tuple[str, int, int], ...]]:
        """Features (n, d) of all rows from a bank of `train_rows`, and the (name, start, stop) of their blocks.

        A row for which no training row is left after masking gets the mean of those that have some in the columns
        that are looked up: it says nothing about them.

        Raises:
            DataError: no training rows, or none that counts for any row.
        """
        rows = np.asarray(train_rows, dtype=np.int64)
        if not len(rows):
            raise DataError("a bank of no training rows has nothing to be looked up")
        bank = Bank(
            self.places.take(rows),
            np.ascontiguousarray(self.values[rows], dtype=np.float32),
            Space.unknown(self.values.shape[1]),
            name="the bank of training rows",
        )
        if self.vectors.shape[1]:
            keys = np.ascontiguousarray(self.vectors[rows], dtype=np.float32)
            bank = replace(bank, keys=keys, key_space=Space.unknown(keys.shape[1]))
        whole = Augmenter(bank, self.mode, self.masks, sample=self.vectors[rows])
        found = Folded(whole, self.folds).rows(
            (self.places.lon, self.places.lat), self.vectors, ids=self.places.ids, keys=self.places.keys
        )
        good = found.usable
        if not good.any():
            raise DataError(
                f"empty bank after masking: no training row is left for any row ({self.masks} do not count)"
            )
        out = found.vectors
        if not good.all():
            out[~good] = out[good].mean(axis=0)
            query = whole.blocks[0]
            out[~good, query.start : query.stop] = self.vectors[~good] * np.float32(query.weight)
        return out, tuple((one.name, one.start, one.stop) for one in whole.blocks if one.stop > one.start)
