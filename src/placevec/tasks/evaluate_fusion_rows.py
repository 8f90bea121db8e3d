"""The rows of `evaluate fusion`: every baseline, every modality alone, every plain fusion, and what was learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from placevec.geo.sphere import LonLat
from placevec.measure.baselines import Estimator, FeatureSet, coordinate_features
from placevec.measure.fusion.baselines import plain_of
from placevec.measure.fusion.blocks import Block, concatenated, standardised
from placevec.measure.fusion.coordinates import rbf_coordinates, rbf_width_m
from placevec.measure.fusion.fold_tables import FoldTable
from placevec.measure.fusion.protocol import FusionRow
from placevec.measure.fusion.rings import every_ring_mean, resolution_of

Rows = NDArray[np.int64]
Floats32 = NDArray[np.float32]

INSIDE = "rings, k chosen inside"
BEST_INSIDE = "plain fusion, chosen inside"
STACKS = (1, 3)
COMPONENTS = (16, 64)
BESIDE = ("ring-stack:1", "ring-stack:1+rbf")
"""What fused vectors are laid beside, to see what they add."""


@dataclass(frozen=True, eq=False)
class PlainRows:
    """All that is made without learning, at the cells of an area.

    Attributes:
        cells: (m,) of the area.
        lonlat: (m,) their centres.
        modalities: each alone, standardised: (m, d) by name.
        plain: plain fusions: (m, d) by method.
        rbf: bases of the coordinates (m, b).
    """

    cells: NDArray[np.uint64]
    lonlat: LonLat
    modalities: Mapping[str, Floats32]
    plain: Mapping[str, Floats32]
    rbf: NDArray[np.float64]


def plain_rows(
    blocks: Mapping[str, Block], cells: NDArray[np.uint64], lonlat: LonLat, rings: int, seed: int
) -> PlainRows:
    """Make them all; neighbours are all cells of the area, those without a target too."""
    values, names = concatenated(blocks)
    rbf = rbf_coordinates(lonlat, rbf_width_m(resolution_of(cells)), seed=seed)
    plain: dict[str, Floats32] = {"concat": values}
    components = [count for count in COMPONENTS if count < values.shape[1]]
    for method in (*(f"pca:{count}" for count in components), *(f"ring-stack:{steps}" for steps in STACKS)):
        plain[method] = plain_of(method, values, names, cells, seed=seed)[0]
    flat = every_ring_mean(values, cells, rings)
    plain |= {f"rings:{k}": means for k, means in flat.items()}
    plain[f"rings:{rings}:exponential"] = every_ring_mean(values, cells, rings, "exponential")[rings]
    for method in ("concat", "ring-stack:1", "ring-stack:3"):
        plain[f"{method}+rbf"] = np.concatenate([plain[method], rbf.astype(np.float32)], axis=1)
    return PlainRows(cells, lonlat, {name: standardised(block)[0] for name, block in blocks.items()}, plain, rbf)


def fusion_rows(
    made: PlainRows,
    at: Rows,
    fused: Mapping[str, Floats32],
    folded: Mapping[str, Sequence[FoldTable]],
    untrained: Mapping[str, Floats32],
    *,
    nested: bool = True,
    knn: bool = False,
) -> list[FusionRow]:
    """The rows for the cells `at` (n,) of an area; baselines first.

    Args:
        made: what is made without learning.
        at: rows of the area's cells that are measured.
        fused: learned vectors (n, d) at these cells.
        folded: the same fold by fold.
        untrained: vectors (n, d) of untrained networks.
        nested: with rows that choose inside their training folds, and a Gaussian process.
        knn: also kNN on fused and untrained vectors and on concat.
    """
    lonlat = made.lonlat[at]
    rows = [
        FusionRow("mean", features=FeatureSet("mean", None, ("mean",)), estimator="mean"),
        _ridge("sin/cos of coordinates", coordinate_features(lonlat)),
        FusionRow("coordinates · kNN", features=FeatureSet("coordinates", lonlat, ("knn",)), estimator="knn"),
    ]
    if nested:
        features = FeatureSet("coordinates", lonlat, ("gp",))
        rows.append(FusionRow("coordinates · GP", features=features, estimator="gp"))
    rows.append(_ridge("RBF of coordinates", made.rbf[at]))
    rows += [_ridge(f"{name} alone", values[at]) for name, values in made.modalities.items()]
    plain = [_ridge(name, values[at]) for name, values in made.plain.items()]
    rows += plain
    if nested:
        means = tuple(name for name in made.plain if name.startswith("rings:") and name.count(":") == 1)
        rows += [FusionRow(INSIDE, among=means), FusionRow(BEST_INSIDE, among=tuple(made.plain))]
    rows += [_ridge(f"untrained {name}", vectors) for name, vectors in untrained.items()]
    for name, vectors in fused.items():
        rows.append(_ridge(name, vectors, learned=True))
        rows += [
            _ridge(f"{name} + {method}", np.concatenate([vectors, made.plain[method][at]], axis=1), learned=True)
            for method in BESIDE
        ]
    for name, tables in folded.items():
        rows.append(FusionRow(name, "learned", fold_tables=tuple(tables)))
        rows += [
            FusionRow(f"{name} + {method}", "learned", fold_tables=tuple(tables), extra=made.plain[method][at])
            for method in BESIDE
        ]
    near = ("concat", *(f"untrained {name}" for name in untrained), *fused) if knn else ()
    return rows + [_knn(row) for row in rows if row.name in near]


def _ridge(name: str, values: NDArray[np.floating], *, learned: bool = False) -> FusionRow:
    features = FeatureSet(name, values, ("ridge",), learned=learned, metric="euclidean")
    return FusionRow(name, "learned" if learned else "baseline", features=features)


def _knn(row: FusionRow) -> FusionRow:
    assert row.features is not None
    estimator: Estimator = "knn"
    features = replace(row.features, estimators=(estimator,))
    return replace(row, name=f"{row.name} · kNN", features=features, estimator=estimator)
