"""The columns of a table of points of interest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import UsageError
from placevec.features.modality import log1p_columns
from placevec.features.poi.measures import entropy, kinds, per_km2, rarity, tf_idf
from placevec.geo.cells import CellArray

Form = Literal["counts", "density", "tfidf"]
FORMS: tuple[str, ...] = get_args(Form)

_ROWS = 1 << 15  # cells at a time: a country's columns in float64 would take gigabytes


def poi_columns(
    counts: NDArray[np.float32],
    names: Sequence[str],
    cells: ArrayLike,
    form: Form,
    present: NDArray[np.bool_] | None = None,
) -> tuple[tuple[str, ...], Any]:
    """Names and values (n, k + 3) of the columns that describe counts (n, k) of named categories.

    Of each category there is a column, by `form`: ln(1 + count), ln(1 + count per km2), or the TF-IDF weight. Beside
    them stand ln(1 + all points), the entropy of the categories in nats, and ln(1 + kinds of them).

    Args:
        counts: (n, k).
        names: (k) of the categories.
        cells: (n,) H3 cells, for their areas.
        form: what is told of each category.
        present: (n,) the cells of which anything is known, for the rarity of categories; all where absent.

    Raises:
        UsageError: there is no such form.
    """
    if form not in FORMS:
        raise UsageError(f"form = {form!r}: give {', '.join(FORMS)}")
    own = np.asarray(cells, dtype=np.uint64)
    idf = rarity(counts if present is None else counts[present])
    total = "points_per_km2" if form == "density" else "points"
    labels = tuple({"counts": name, "density": f"{name}_per_km2", "tfidf": f"tfidf_{name}"}[form] for name in names)
    plain = (*(labels if form == "tfidf" else ()), "entropy_nats")
    told: tuple[str, ...] = ()
    values = np.empty((len(counts), len(names) + 3), dtype=np.float32)
    for start in range(0, max(len(counts), 1), _ROWS):  # once round also without cells: their columns have names
        some = slice(start, start + _ROWS)
        block = _block(counts[some], own[some], form, idf)
        told, values[some] = log1p_columns((*labels, total, "entropy_nats", "kinds"), block, plain)
    return told, values


def _block(counts: NDArray[np.float32], cells: CellArray, form: Form, idf: ArrayLike) -> NDArray[np.float64]:
    """The columns of some cells, before logarithms are taken."""
    total = counts.sum(axis=1, dtype=np.float64)[:, None]
    own = {"counts": counts, "density": per_km2(counts, cells), "tfidf": tf_idf(counts, idf)}[form]
    points = per_km2(total, cells) if form == "density" else total
    return np.concatenate([own, points, entropy(counts)[:, None], kinds(counts)[:, None]], axis=1)
