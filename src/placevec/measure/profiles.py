"""Clusters in words: "dense, transit-rich, many shops", from the means of named columns and a documented lexicon.

Columns of one concept (`measure.lexicon`) are standardised and averaged to one value per place, which is standardised
again. A cluster is told by the mean of its places: from `SAID` standard deviations on by the concept's word, from
`STRONG` on by "very". No two clusters get the same words as long as a concept tells them apart by `APART` standard
deviations, and by more than chance; those that really do not differ are told apart by their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import DataError
from placevec.measure.lexicon import LEXICON, Concept, concept_of
from placevec.measure.nested import Floats

SAID = 0.5
STRONG = 1.5
APART = 0.25
MOST = 4
"""So many words are said of a cluster, the most telling first; more only to tell it from another."""

ORDINARY = "near the average"
_CHANCE = 3.0


@dataclass(frozen=True, eq=False)
class Profile:
    """What one cluster is like.

    Attributes:
        cluster: its number.
        words: such as "dense, transit-rich, many shops"; no other cluster of the level has the same.
        rows: how many places it has.
        known: of how many of them the columns say anything.
        z: (concepts) its mean in standard deviations over all places; NaN where nothing is known.
        strongest: names of columns with their z, the most telling first.
    """

    cluster: int
    words: str
    rows: int
    known: int
    z: Floats
    strongest: tuple[tuple[str, float], ...]


@dataclass(frozen=True, eq=False)
class Profiles:
    """The clusters of one level in words.

    Attributes:
        concepts: names of the concepts, in the order of `Profile.z`.
        columns: by concept, the columns it was made of.
        clusters: one for each number, from 0.
    """

    concepts: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    clusters: tuple[Profile, ...]

    @property
    def words(self) -> list[str]:
        """The words of each cluster, by its number."""
        return [one.words for one in self.clusters]

    def to_records(self) -> list[dict[str, Any]]:
        """One JSON object per cluster, the largest first."""
        return [
            {
                "cluster": one.cluster,
                "words": one.words,
                "rows": one.rows,
                "known": one.known,
                "concepts": {
                    name: round(float(z), 4) for name, z in zip(self.concepts, one.z, strict=True) if np.isfinite(z)
                },
                "columns": {name: round(z, 4) for name, z in one.strongest},
            }
            for one in sorted(self.clusters, key=lambda one: -one.rows)
        ]


def profiles(
    labels: ArrayLike,
    columns: ArrayLike,
    names: Sequence[str],
    *,
    lexicon: Sequence[Concept] = LEXICON,
    most: int = MOST,
    columns_told: int = 8,
) -> Profiles:
    """Describe clusters in words.

    Args:
        labels: (n,) the cluster of each place, from 0.
        columns: (n, p) named columns; NaN where nothing is known, which is left out of the means.
        names: (p) of the columns.
        lexicon: the words; the first concept that fits a column counts.
        most: words for a cluster.
        columns_told: how many columns `Profile.strongest` has.

    Raises:
        DataError: the lengths differ, or no column says anything.
    """
    codes = np.asarray(labels, dtype=np.int64)
    values = np.asarray(columns, dtype=np.float64)
    if values.shape != (len(codes), len(names)) or not len(codes):
        raise DataError(f"columns of the shape {values.shape} for {len(codes)} labels and {len(names)} names")
    z = _standard(values)
    moving = np.isfinite(z).any(axis=0) & (np.nan_to_num(z) != 0.0).any(axis=0)
    if not moving.any():
        raise DataError("no column varies over the places; profile by others")
    found: dict[str, tuple[Concept, list[int]]] = {}
    for column in np.flatnonzero(moving).tolist():
        concept = concept_of(names[column], lexicon)
        found.setdefault(concept.name, (concept, []))[1].append(column)
    concepts = [concept for concept, _ in found.values()]
    members = [held for _, held in found.values()]
    values_of = _standard(np.column_stack([_mean(z[:, held], axis=1) for held in members]))
    count = int(codes.max()) + 1
    means, errors = _means(values_of, codes, count)
    by_column = _means(z, codes, count)[0]
    words = _told_apart(_words(concepts, means, most), concepts, means, errors)
    known = np.bincount(codes, np.isfinite(values_of).any(axis=1), minlength=count)
    return Profiles(
        tuple(concept.name for concept in concepts),
        tuple(tuple(names[column] for column in held) for held in members),
        tuple(
            Profile(
                cluster,
                words[cluster],
                int((codes == cluster).sum()),
                int(known[cluster]),
                means[cluster],
                _strongest(by_column[cluster], names, columns_told),
            )
            for cluster in range(count)
        ),
    )


def _standard(values: Floats) -> Floats:
    """Columns of mean 0 and variance 1 over what is known; 0 where a column is constant."""
    middle = _mean(values, axis=0)
    centred = values - middle
    sd = np.sqrt(_mean(centred**2, axis=0))
    flat = ~(sd > 1e-9 * np.maximum(np.abs(middle), 1e-300))
    return np.asarray(np.where(flat, np.where(np.isnan(values), np.nan, 0.0), centred / np.where(flat, 1.0, sd)))


def _mean(values: Floats, axis: int) -> Floats:
    """The mean over what is known; NaN where nothing is."""
    there = np.isfinite(values)
    count = there.sum(axis=axis)
    return np.where(count > 0, np.where(there, values, 0.0).sum(axis=axis) / np.maximum(count, 1), np.nan)


def _means(values: Floats, codes: NDArray[np.int64], count: int) -> tuple[Floats, Floats]:
    """The mean (count, p) of each cluster over what is known, and the standard error of that mean."""
    means = np.full((count, values.shape[1]), np.nan)
    errors = np.full_like(means, np.nan)
    for cluster in range(count):
        own = values[codes == cluster]
        there = np.isfinite(own).sum(axis=0)
        means[cluster] = _mean(own, axis=0)
        spread = np.sqrt(_mean((own - means[cluster]) ** 2, axis=0))
        errors[cluster] = spread / np.sqrt(np.maximum(there, 1))
    return means, errors


def _words(concepts: Sequence[Concept], means: Floats, most: int) -> list[str]:
    told = []
    for z in means:
        words: list[str] = []
        for c in np.argsort(-np.abs(np.nan_to_num(z)), kind="stable").tolist():
            if len(words) == most or not abs(z[c]) >= SAID:
                break
            word = concepts[c].word(float(z[c]), STRONG)
            if word:
                words.append(word)
        told.append(", ".join(words) or ("nothing known" if not np.isfinite(z).any() else ORDINARY))
    return told


def _told_apart(words: list[str], concepts: Sequence[Concept], means: Floats, errors: Floats) -> list[str]:
    """The words of all clusters, those of several made different by "more" and "less" of what parts them most."""
    out = list(words)
    for same in dict.fromkeys(words):
        group = [cluster for cluster, word in enumerate(words) if word == same]
        _part(out, group, concepts, means, errors)
    return out


def _part(out: list[str], group: list[int], concepts: Sequence[Concept], means: Floats, errors: Floats) -> None:
    if len(group) < 2:
        return
    z, error = means[group], errors[group]
    full = np.isfinite(z).all(axis=0)
    gap = np.where(full, np.nan_to_num(z).max(axis=0) - np.nan_to_num(z).min(axis=0), 0.0)
    highest, lowest = np.nan_to_num(z).argmax(axis=0), np.nan_to_num(z).argmin(axis=0)
    each = np.arange(z.shape[1])
    chance = np.sqrt(np.nan_to_num(error)[highest, each] ** 2 + np.nan_to_num(error)[lowest, each] ** 2)
    gap = np.where((gap >= APART) & (gap > _CHANCE * chance), gap, 0.0)
    best = int(np.argmax(gap))
    if gap[best] == 0.0:
        for cluster in group:
            out[cluster] += f" (cluster {cluster})"
        return
    middle = (z[:, best].max() + z[:, best].min()) / 2
    upper = [cluster for cluster, value in zip(group, z[:, best], strict=True) if value > middle]
    lower = [cluster for cluster in group if cluster not in upper]
    for part, sign in ((upper, "more"), (lower, "less")):
        for cluster in part:
            out[cluster] += f", {sign} {concepts[best].noun}"
        _part(out, part, concepts, means, errors)


def _strongest(z: Floats, names: Sequence[str], count: int) -> tuple[tuple[str, float], ...]:
    order = np.argsort(-np.abs(np.nan_to_num(z)), kind="stable")[:count]
    return tuple((names[column], float(z[column])) for column in order.tolist() if np.isfinite(z[column]))
