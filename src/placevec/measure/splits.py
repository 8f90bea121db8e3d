"""Splits: which rows are tested together, so that no test row has a neighbour, or its own place, in training."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from placevec.errors import DataError, UsageError
from placevec.geo.cells import Cells, H3Cells, parse_cells
from placevec.geo.grids import GridCells
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat, chord_of
from placevec.measure.variogram import variogram_range_m

__all__ = [
    "Split",
    "block_split",
    "holdout",
    "random_split",
    "seen",
    "suggest_block",
    "variogram_range_m",
]

Rows: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
Keys: TypeAlias = Sequence[Any] | NDArray[Any]

# A slack of 6 micrometres on the ground, more than the rounding of unit vectors: the buffer never falls
# short.
_CHORD_SLACK = 1e-12


@dataclass(frozen=True, eq=False)
class Split:
    """The fold of each row, and the rule that gave it.

    Args:
        fold: (n,) fold 0 … k − 1 in which a row is tested; -1: the row is neither trained on nor tested.
        k: how many folds.
        spec: the rule, JSON-able and complete: `seen` finds the fold of any row from it.
        buffer_m: training rows within this many metres of a test row are left out of that pair.
        lonlat: where the rows are; needed only for a buffer.
    """

    fold: Rows
    k: int
    spec: dict[str, Any]
    buffer_m: float = 0.0
    lonlat: LonLat | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.fold)

    def pair(self, fold: int) -> tuple[Rows, Rows]:
        """The rows (train, test) when `fold` is tested, both ascending.

        Raises:
            UsageError: there is no such fold.
            DataError: the buffer leaves no training row.
        """
        if not 0 <= fold < self.k:
            raise UsageError(f"there is no fold {fold}; the split has the folds 0 to {self.k - 1}")
        test = np.flatnonzero(self.fold == fold)
        train = np.flatnonzero((self.fold >= 0) & (self.fold != fold))
        if self.buffer_m > 0.0 and len(test) and len(train):
            assert self.lonlat is not None
            xyz = self.lonlat.unit()
            limit = float(chord_of(self.buffer_m)) + _CHORD_SLACK
            gap, _ = cKDTree(xyz[test]).query(xyz[train], k=1, distance_upper_bound=np.nextafter(limit, 3.0))
            train = train[~(gap <= limit)]
            if not len(train):
                raise DataError(
                    f"fold {fold}: a buffer of {self.buffer_m:g} m leaves no training row; use a smaller buffer "
                    "(by default it is as wide as the vectors have looked), or a larger area"
                )
        return train.astype(np.int64), test.astype(np.int64)

    def pairs(self) -> Iterator[tuple[Rows, Rows]]:
        """The rows (train, test) of each fold in turn, training rows within the buffer of any test row left out."""
        return (self.pair(fold) for fold in range(self.k))


def random_split(places_keys: Keys, k: int = 5, seed: int = 0) -> Split:
    """Folds by a hash of each row's key: rows of one key share a fold, and any later row has its fold already.

    Args:
        places_keys: (n,) the key of each row, such as the column `place`, or `id`.
        k: how many folds, 2 or more; they are of about equal size, not exactly.
        seed: another seed, another shuffle.

    Raises:
        DataError: there are fewer keys than folds, or a fold stays empty.
    """
    _check_folds(k)
    spec = {"rule": "random", "k": int(k), "seed": int(seed), "hash": "blake2b-64 of seed:key"}
    fold = _hash_folds(places_keys, k, seed)
    empty = np.setdiff1d(np.arange(k), fold)
    if len(empty):
        raise DataError(
            f"{len(set(map(str, places_keys)))} keys leave fold {empty[0]} of {k} empty; "
            "use fewer folds or another seed"
        )
    return Split(fold, k, spec)


def block_split(
    lonlat: LonLat,
    cells_or_degrees: Cells | str | float,
    k: int = 5,
    seed: int = 0,
    buffer_m: float = 0.0,
    groups: Keys | None = None,
    strays: Literal["join", "drop"] = "join",
) -> Split:
    """Folds of whole spatial blocks: the blocks are shuffled, and each goes to the fold that is smallest so far.

    Args:
        lonlat: (n,) where the rows are.
        cells_or_degrees: the blocks: a partition (H3Cells(3)), its name ("h3:3", "grid:2.5"), or degrees of a
            grid.
        k: how many folds, 2 or more.
        seed: another seed, another shuffle of the blocks.
        buffer_m: training rows within this many metres of a test row are left out, pair by pair.
        groups: (n,) rows of one group (a place, user or sensor) stay in one fold.
        strays: what to do with groups that lie in several blocks. "join" makes one block of all blocks that a
            group connects. "drop" keeps the blocks, and takes the rows of a group that lie outside the fold
            of most of its rows out of all folds (fold -1): for groups that range far.

    Raises:
        DataError: there are fewer blocks than folds (the message names a size that would do), or lengths
            differ.
        UsageError: k, buffer or strays cannot be.
    """
    _check_folds(k)
    if not (np.isfinite(buffer_m) and buffer_m >= 0.0):
        raise UsageError(f"the buffer is {buffer_m} m; give a finite number >= 0")
    if strays not in ("join", "drop"):
        raise UsageError(f"strays is {strays!r}; choose join or drop")
    system = _system(cells_or_degrees)
    blocks, row_block = np.unique(system.assign(lonlat), return_inverse=True)
    if len(blocks) < k:
        raise DataError(_too_few(lonlat, system, len(blocks), k))
    group = _codes(groups, len(lonlat)) if groups is not None else None
    unit = np.arange(len(blocks))
    if group is not None and strays == "join":
        unit = _join(row_block, group, len(blocks))
        if unit.max() + 1 < k:
            raise DataError(
                f"the groups join {len(blocks)} blocks of {system.name} into {unit.max() + 1}, fewer than {k} folds; "
                'use fewer folds, or strays="drop"'
            )
    unit_fold = _balance(np.bincount(unit[row_block]), k, np.random.default_rng(seed))
    block_fold = unit_fold[unit]
    fold = block_fold[row_block]
    if group is not None and strays == "drop":
        votes = coo_array((np.ones(len(fold)), (group, fold)), shape=(group.max() + 1, k)).toarray()
        fold = np.where(fold == votes.argmax(axis=1)[group], fold, -1)
        empty = np.setdiff1d(np.arange(k), fold)
        if len(empty):
            raise DataError(f"the groups leave fold {empty[0]} of {k} empty; use fewer folds or another seed")
    spec = {
        "rule": "block",
        "cells": system.name,
        "k": int(k),
        "seed": int(seed),
        "buffer_m": float(buffer_m),
        "grouped": groups is not None,
        "strays": strays,
        "blocks": {f"{int(b):x}": int(f) for b, f in zip(blocks, block_fold, strict=True)},
    }
    return Split(fold.astype(np.int64), k, spec, float(buffer_m), lonlat)


def seen(spec: Mapping[str, Any], folds: Iterable[int], lonlat: LonLat | None, keys: Keys | None) -> Mask:
    """Which rows (n,) lie in the given folds of a split, found anew from its stored `spec`.

    Args:
        spec: `Split.spec`, also after a round through JSON.
        folds: the folds in question, such as those that a model was fitted on.
        lonlat: (n,) where the rows are; needed for blocks. A row in a block that the split never met is not
            seen.
        keys: (n,) the keys of the rows; needed for random splits.

    Raises:
        UsageError: the rule is unknown, or what it needs is absent.
    """
    wanted = np.array(sorted(int(f) for f in folds), dtype=np.int64)
    rule = spec.get("rule")
    if rule == "random":
        if keys is None:
            raise UsageError("the split went by keys; give the keys of the rows")
        return np.isin(_hash_folds(keys, int(spec["k"]), int(spec["seed"])), wanted)
    if rule == "block":
        if lonlat is None:
            raise UsageError(f"the split went by blocks of {spec['cells']}; give the coordinates of the rows")
        known = {int(b, 16): int(f) for b, f in spec["blocks"].items()}
        blocks = np.array([b for b, f in known.items() if f in set(wanted.tolist())], dtype=np.uint64)
        return np.isin(parse_cells(spec["cells"]).assign(lonlat), blocks)
    raise UsageError(f"unknown rule of a split: {rule!r}; this version knows random and block")


def holdout(split: Split, fold: int = 0) -> tuple[Mask, Mask]:
    """The masks (train, validation), each (n,), with one fold held out; rows within the buffer are in neither."""
    train, test = split.pair(fold)
    masks = np.zeros((2, len(split)), dtype=bool)
    masks[0, train] = masks[1, test] = True
    return masks[0], masks[1]


def _check_folds(k: int) -> None:
    if k < 2:
        raise UsageError(f"a split into {k} folds cannot be; give 2 or more")


def _system(cells_or_degrees: Cells | str | float) -> Cells:
    if isinstance(cells_or_degrees, str):
        return parse_cells(cells_or_degrees)
    if isinstance(cells_or_degrees, int | float | np.number):
        return GridCells(float(cells_or_degrees))
    return cells_or_degrees


def _codes(keys: Keys, n: int) -> Rows:
    codes: dict[Any, int] = {}
    numbered = np.array([codes.setdefault(key, len(codes)) for key in np.asarray(keys).tolist()], dtype=np.int64)
    if len(numbered) != n:
        raise DataError(f"{len(numbered)} groups for {n} rows; give one per row")
    return numbered


def _join(row_block: NDArray[np.intp], group: Rows, blocks: int) -> Rows:
    """The connected part (0 … m − 1) of each block, where blocks with a common group are connected."""
    nodes = blocks + int(group.max()) + 1
    graph = coo_array((np.ones(len(group)), (row_block, blocks + group)), shape=(nodes, nodes))
    _, part = connected_components(graph, directed=False)
    return np.unique(part[:blocks], return_inverse=True)[1].astype(np.int64)


def _balance(sizes: ArrayLike, k: int, rng: np.random.Generator) -> Rows:
    size = np.asarray(sizes)
    fold = np.empty(len(size), dtype=np.int64)
    load = [(0, f) for f in range(k)]
    for block in rng.permutation(len(size)):
        rows, smallest = load[0]
        fold[block] = smallest
        heapq.heapreplace(load, (rows + int(size[block]), smallest))
    return fold


def _hash_folds(keys: Keys, k: int, seed: int) -> Rows:
    folds: dict[str, int] = {}
    out = np.empty(len(keys), dtype=np.int64)
    for row, key in enumerate(np.asarray(keys).tolist()):
        text = str(key)
        if text not in folds:
            digest = hashlib.blake2b(f"{seed}:{text}".encode(), digest_size=8).digest()
            folds[text] = int.from_bytes(digest, "big") % k
        out[row] = folds[text]
    return out


def _too_few(lonlat: LonLat, system: Cells, found: int, k: int) -> str:
    message = f"{len(lonlat)} rows lie in {found} blocks of {system.name}, fewer than {k} folds"
    finer: Iterator[Cells]
    if isinstance(system, H3Cells):
        finer = (H3Cells(r) for r in range(system.resolution + 1, 16))
    elif isinstance(system, GridCells):
        finer = (GridCells(180.0 / (system.rows * 2**step)) for step in range(1, 17))
    else:
        finer = iter(())
    for other in finer:
        count = len(np.unique(other.assign(lonlat)))
        if count >= k:
            return f"{message}; use {other.name}, which gives {count} blocks"
    return f"{message}, and no finer blocks would do; use fewer folds or more places"


def suggest_block(
    lonlat: LonLat, values: ArrayLike, *, k: int = 5, per_fold: int = 8, seed: int = 0
) -> tuple[int, float]:
    """The H3 resolution for blocks of a target, and the range of its variogram in metres.

    The finest resolution whose edge is at least the range; finer still where that leaves fewer than
    `per_fold` x `k` blocks with rows in them, so that the folds can be balanced and shuffled.

    Args:
        lonlat: (n,) where the rows are.
        values: (n,) the target: numbers, or classes.
        k: folds that are wanted.
        per_fold: blocks that a fold should have at least.
        seed: of the pairs that the variogram draws.
    """
    range_m = variogram_range_m(lonlat, values, seed)
    edges = np.array([H3Cells(r).edge_m for r in range(16)])
    # Without any structure the range is 0: blocks need be no finer than the places are apart.
    apart = max(range_m, _spacing_m(lonlat))
    resolution = max(int(np.count_nonzero(edges >= apart)) - 1, 0)
    best, most = resolution, 0
    for finer in range(resolution, 16):
        count = len(np.unique(H3Cells(finer).assign(lonlat)))
        if count > most:
            best, most = finer, count
        if count >= per_fold * k:
            break
    return best, range_m


def _spacing_m(lonlat: LonLat) -> float:
    """The median distance from a place to the nearest other place, in metres; 0 where there is only one."""
    xyz = np.unique(lonlat.unit(), axis=0)
    if len(xyz) < 2:
        return 0.0
    gap = np.asarray(cKDTree(xyz).query(xyz, k=[2])[0])
    return float(2.0 * np.arcsin(min(float(np.median(gap)) / 2.0, 1.0)) * EARTH_RADIUS_M)
