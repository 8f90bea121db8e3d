"""`cluster`: groups of places by their vectors, in words by the columns of other tables, and on maps."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import SchemaError, UsageError
from placevec.files import write_text
from placevec.measure.clusters import ClusterLevel, Clusters, Method
from placevec.measure.clusters import cluster as cluster_vectors
from placevec.measure.profiles import Profiles, profiles
from placevec.table import EmbeddingTable, StoredTable, open_table, write_table

Table = str | Path | StoredTable | EmbeddingTable


@dataclass(frozen=True, eq=False)
class Described:
    """Clusters with their words.

    Attributes:
        clusters: as they were found.
        profiles: of each level, the finest first; empty without tables to profile by.
    """

    clusters: Clusters
    profiles: tuple[Profiles, ...]

    def to_records(self) -> list[dict[str, Any]]:
        """One JSON object per level and cluster, the largest first, with its words where there are any."""
        records = self.clusters.to_records()
        if not self.profiles:
            return records
        told = {
            (level.resolution, record["cluster"]): record
            for level, one in zip(self.clusters.levels, self.profiles, strict=True)
            for record in one.to_records()
        }
        return [{**record, **_words(told[record["resolution"], record["cluster"]])} for record in records]


def cluster(
    table: Table,
    out: str | Path | None = None,
    *,
    k: int = 8,
    method: Method = "kmeans",
    resolutions: Sequence[int] | None = None,
    seed: int = 0,
) -> Clusters:
    """Divide the rows of a table into k clusters; see `measure.clusters.cluster`.

    Args:
        table: the table.
        out: where to write it again with the column `cluster` (for a hierarchy also `cluster_RES`).
        k: how many clusters.
        method: "kmeans" or "hierarchical".
        resolutions: H3 resolutions of a hierarchy, coarse to fine.
        seed: of k-means.
    """
    return describe(table, out, k=k, method=method, resolutions=resolutions, seed=seed).clusters


def describe(
    table: Table,
    out: str | Path | None = None,
    *,
    profile: Sequence[Table] = (),
    map: str | Path | None = None,
    k: int = 8,
    method: Method = "kmeans",
    resolutions: Sequence[int] | None = None,
    seed: int = 0,
    said: Callable[[str], None] | None = None,
) -> Described:
    """Divide the rows of a table into k clusters, and describe them by the columns of other tables.

    Args:
        table: the table.
        out: where to write it again with the column `cluster` (for a hierarchy also `cluster_RES`), and with profiles
            `cluster_words`; the profiles stand beside it as ``NAME.profiles.json``.
        profile: tables with named columns, such as those of modalities; rows are matched by id, and what a table does
            not hold is not known. See `measure.profiles`.
        map: a PNG of the clusters, for a hierarchy of all resolutions side by side; with profiles a second one, of what
            each cluster is like, stands beside it as ``NAME-profiles.png``.
        k: how many clusters.
        method: "kmeans" or "hierarchical".
        resolutions: H3 resolutions of a hierarchy, coarse to fine.
        seed: of k-means.
        said: told what was written besides.

    Raises:
        SchemaError: a profile table shares no id with the table, or has no named columns.
        UsageError: as `measure.clusters.cluster`, or a map is asked of places that are no cells.
        MissingExtra: a map is asked for and matplotlib is not installed.
    """
    found = _read(table)
    cells = found.column("h3").astype(np.uint64) if found.has("h3") else None
    if map is not None and cells is None:
        raise UsageError(
            "a map of landscapes is of H3 cells, of which the rows have none; use placevec map --by cluster"
        )
    columns, names = _columns(profile, found)
    clusters = cluster_vectors(found.vectors(), k, seed, method, h3=cells, resolutions=resolutions)
    told = tuple(profiles(level.labels, columns, names) for level in clusters.levels) if names else ()
    described = Described(clusters, told)
    tell = said or (lambda text: None)
    if out is not None:
        _write(found, Path(out), described, tell)
    if map is not None and cells is not None:
        _draw(Path(map), cells, described, found, tell)
    return described


def _columns(profile: Sequence[Table], table: EmbeddingTable) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The named columns (n, p) of all profile tables at the rows of the table, NaN where one has no such row."""
    parts: list[NDArray[np.float64]] = []
    names: list[str] = []
    for number, given in enumerate(profile):
        one = _read(given)
        label = str(given) if isinstance(given, str | Path) else one.meta.tower or f"profile table {number + 1}"
        if len(one.meta.dims) != one.dims:
            raise SchemaError(f"{label}: its components have no names to describe by; profile by a modality's table")
        rows = one.rows_of(table.ids)
        if not (rows >= 0).any():
            raise SchemaError(f"{label}: it shares no id with the table; profile by tables of the same cells")
        part = np.full((len(table), one.dims), np.nan)
        part[rows >= 0] = one.vectors(rows[rows >= 0])
        parts.append(part)
        names += one.meta.dims
    return (np.concatenate(parts, axis=1) if parts else np.zeros((len(table), 0))), tuple(names)


def _write(table: EmbeddingTable, out: Path, found: Described, tell: Callable[[str], None]) -> None:
    clusters = found.clusters
    labelled = table.with_column("cluster", clusters.labels)
    for level in clusters.levels:
        if level.resolution is not None:
            labelled = labelled.with_column(f"cluster_{level.resolution}", level.labels)
    if found.profiles:
        words = np.array(found.profiles[0].words)[clusters.labels]
        labelled = labelled.with_column("cluster_words", words)
    write_table(labelled, out)
    if found.profiles:
        beside = out.with_name(f"{out.stem}.profiles.json")
        levels = [
            {
                "resolution": level.resolution,
                "concepts": dict(zip(one.concepts, one.columns, strict=True)),
                "clusters": one.to_records(),
            }
            for level, one in zip(clusters.levels, found.profiles, strict=True)
        ]
        write_text(beside, json.dumps(levels, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        tell(f"profiles: {beside}")


def _draw(
    out: Path, cells: NDArray[np.uint64], found: Described, table: EmbeddingTable, tell: Callable[[str], None]
) -> None:
    from placevec.atlas.landscapes import Landscape, landscape_figure, profile_figure
    from placevec.atlas.rasterise import frame_of_cells, rows_of_cells
    from placevec.geo.cells import H3Cells

    system = H3Cells(int(cells[0] >> np.uint64(52)) & 15)
    levels = found.clusters.levels
    frame = frame_of_cells(system, cells, width=1600 if len(levels) == 1 else 1000)
    finest = levels[0]
    names = found.profiles[0].words if found.profiles else ["" for _ in range(finest.k)]
    quality = f"silhouette {finest.silhouette:.2f}".replace("-", "−")
    landscape_figure(
        out,
        [Landscape(_title(level), level.labels) for level in levels],
        rows_of_cells(system, cells, frame),
        names=names,
        title="Landscapes" if len(levels) > 1 else "Clusters",
        subtitle=f"{finest.k} clusters of {len(cells):,} cells by vectors of {table.dims} components; {quality}",
    )
    tell(f"map: {out}")
    if found.profiles:
        beside = out.with_name(f"{out.stem}-profiles.png")
        one = found.profiles[0]
        profile_figure(
            beside,
            np.stack([cluster.z for cluster in one.clusters]),
            one.concepts,
            one.words,
            title="What the clusters are like",
            subtitle="means of the cells of each cluster, by concepts of the columns",
        )
        tell(f"profiles: {beside}")


def _title(level: ClusterLevel) -> str:
    return "All cells" if level.resolution is None else f"Resolution {level.resolution}"


def _words(record: dict[str, Any]) -> dict[str, Any]:
    return {"words": record["words"], "known": record["known"]}


def _read(table: Table) -> EmbeddingTable:
    if isinstance(table, EmbeddingTable):
        return table
    return (table if isinstance(table, StoredTable) else open_table(table)).read()
