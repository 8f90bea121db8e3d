"""The baselines of `evaluate geolocation`: what a locator has to beat, made of its own training photos alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from placevec.geo.regions import Regions
from placevec.geo.sphere import LonLat
from placevec.measure.geolocation import (
    Law,
    Method,
    PlaceDensity,
    alike,
    chance_km,
    distances,
    fit_density,
    fold_numbers,
    middle_of,
)
from placevec.measure.knn import Metric
from placevec.tasks.evaluate_geolocation_answers import Looks

Rows = NDArray[np.int64]

PRIOR, CHANCE = "train prior", "chance"
NEAREST, NEIGHBOURS = "nearest image", "k-nearest mean"


@dataclass(frozen=True, eq=False)
class Training:
    """The photos that were learned from.

    Attributes:
        rows: (g,) rows of the source.
        where: where they were taken.
        blocks: (g,) the block of each, so that choices inside the training never ask a neighbour.
        buffer_m: between photos that such a choice is made for and those that it is made with, as around tested ones.
    """

    rows: Rows
    where: LonLat
    blocks: NDArray[np.generic]
    buffer_m: float = 0.0

    @property
    def folds(self) -> Rows:
        """Folds (g,) of whole blocks."""
        return fold_numbers(self.blocks)


@dataclass(frozen=True, eq=False)
class Rivals:
    """The baselines on n tested photos.

    Attributes:
        methods: each with its errors.
        points: by name, the points of those that have one point for each photo.
        law: of the density of training places.
        density: that density.
    """

    methods: tuple[Method, ...]
    points: dict[str, LonLat] = field(default_factory=dict)
    law: Law | None = None
    density: PlaceDensity | None = None

    def nearest(self) -> str | None:
        """The name of the nearest-image row with the smallest median error."""
        found = [one for one in self.methods if one.name.startswith(NEAREST)]
        return min(found, key=lambda one: float(np.median(one.km))).name if found else None


def rivals_of(
    truth: LonLat,
    rows: Rows,
    training: Training,
    looks: Looks | None,
    regions: Regions,
    levels: Sequence[float],
) -> Rivals:
    """Chance, the middle of the training places, and for each way of looking the most similar training photos.

    Args:
        truth: n tested places; the answers are compared with them, and made without them.
        rows: (n,) their rows in the source.
        training: what was learned from.
        looks: what all photos look like; None: no photos are compared.
        regions: in which all photos lie, and so the density.
        levels: of the regions of the density.
    """
    n = len(truth)
    middle = middle_of(training.where)
    prior = LonLat(np.repeat(middle.lon, n), np.repeat(middle.lat, n))
    density = fit_density(
        training.where,
        training.folds,
        float(np.sum(regions.areas_m2)) / 1e6,
        inside=lambda p: np.asarray(regions.assign(p)) >= 0,
        buffer_m=training.buffer_m,
    )
    law = density.law(truth, levels)
    points = {PRIOR: prior}
    about = f"the point nearest to {len(training.where):,} training places in the mean"
    methods = [
        Method(CHANCE, "baseline", chance_km(truth, training.where), about="a random training place, in expectation"),
        Method(PRIOR, "baseline", distances(truth, prior), about=about),
    ]
    for name in looks.vectors if looks is not None else ():
        assert looks is not None
        asked, known = looks.of(rows), looks.of(training.rows)
        if (asked < 0).any() or not (known >= 0).any():
            continue
        usable = np.flatnonzero(known >= 0)
        where = training.where[usable]
        metric: Metric = "cosine" if looks.metric[name] == "cosine" else "euclidean"
        found = alike(
            looks.vectors[name][asked],
            looks.vectors[name][known[usable]],
            where,
            training.folds[usable],
            metric=metric,
            buffer_m=training.buffer_m,
        )
        first = where[found.nearest]
        points[f"{NEAREST}, {name}"] = first
        points[f"{NEIGHBOURS}, {name}"] = found.mean
        methods += [
            Method(
                f"{NEAREST}, {name}",
                "baseline",
                distances(truth, first),
                about=f"the place of the most similar of {len(where):,} training photos",
            ),
            Method(
                f"{NEIGHBOURS}, {name}",
                "baseline",
                distances(truth, found.mean),
                about=f"the spherical mean of {found.k}, chosen inside the training",
            ),
        ]
    return Rivals(tuple(methods), points, law, density)
