"""`probe`: what the vectors of tables know about a target, beside every compulsory baseline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.errors import SchemaError, UsageError
from placevec.files import whole, write_text
from placevec.measure.leaks import refuse_leaks, seen_rows
from placevec.measure.probe_report import ProbeReport
from placevec.measure.probes import Progress
from placevec.measure.probes import probe as probe_vectors
from placevec.table import EmbeddingTable, Places, StoredTable, open_table
from placevec.tasks.inputs import sample
from placevec.tasks.map import Tables
from placevec.tasks.probed import vectors_at


def probe(
    tables: Tables | Mapping[str, Any],
    targets: str | Sequence[str],
    *,
    labels: str | Path | Places | None = None,
    raw: Any = None,
    untrained: Any = None,
    transform: Literal["none", "log1p"] = "none",
    kind: Literal["auto", "regression", "classification"] = "auto",
    block: str | None = None,
    buffer_m: float | None = None,
    splits: Literal["both", "random", "block"] = "both",
    estimators: Sequence[str] = ("ridge", "knn"),
    k: int = 5,
    shuffles: int = 3,
    unseen: bool = False,
    seed: int = 0,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> list[ProbeReport]:
    """Probe tables of the same places against targets.

    Args:
        tables: tables or their paths (named by their files), or a mapping from names; rows are matched by id, and
            only places that all tables hold are probed.
        targets: each a column of the first table (or of `labels`), or ``name=raster`` to sample a raster there.
        labels: a table or CSV with the target columns, matched by id.
        raw: a table of raw features: a compulsory baseline, alone and averaged over rings of neighbours.
        untrained: one or several tables by untrained networks of the shapes probed: a compulsory baseline.
        transform: "log1p" predicts log(1 + target).
        kind: whether the target is a value or a class.
        block: blocks of the spatial split, "h3:RES"; by default from the range of the target's variogram.
        buffer_m: metres around test rows without training rows; by default the width of a chip's ground.
        splits: "both", as the protocol has it; one alone where the other cannot be made.
        estimators: of "ridge", "knn" and "gp", run on all features; the GP gives each block of an augmented vector a
            kernel of its own.
        k: folds.
        shuffles: repetitions with other folds.
        unseen: probe only rows whose label nothing has seen, instead of refusing.
        seed: of everything random.
        out: a JSON file for the reports; out-of-fold predictions stand beside it as ``NAME.residuals.parquet``.
        progress: told of each estimator.

    Raises:
        LeakError: an encoder or transform was fitted on labels of rows to be tested.
        SchemaError: the tables have no places in common, or places without geometry.
        UsageError: a target is neither a column nor name=raster.
    """
    named = _named(tables)
    raw_table = None if raw is None else _read(raw)
    null = {name.removesuffix("-untrained"): table for name, table in _named(untrained or []).items()}
    rows = _common([*named.values(), *([raw_table] if raw_table is not None else []), *null.values()])
    first = next(iter(named.values()))
    places = first.take(first.rows_of(rows)).places()
    joined = places if labels is None else places.join(_labels(labels), how="inner")
    if len(joined) == 0:
        raise SchemaError("the labels have no id in common with the tables")
    if not joined.located.all():
        joined = joined.take(np.flatnonzero(joined.located))
    found = {name: vectors_at(table, joined) for name, table in named.items()}
    idle = {name: vectors_at(table, joined)[0] for name, table in null.items()}
    pixels = None if raw_table is None else vectors_at(raw_table, joined)[0]
    cells = joined.column("h3").astype(np.uint64) if joined.has("h3") else None
    buffer = _buffer(list(named.values())) if buffer_m is None else buffer_m
    wanted = [targets] if isinstance(targets, str) else list(targets)
    reports = []
    for target in wanted:
        name, y = _target(target, joined)
        keep = np.arange(len(joined))
        saw = {table_name: table.meta.saw for table_name, table in {**named, **null}.items()}
        if unseen:
            masks = [seen_rows(one, name, joined.lonlat(), joined.keys, len(joined)) for one in saw.values()]
            keep = np.flatnonzero(~np.any(masks, axis=0))
        else:
            for table_name, one in saw.items():
                refuse_leaks(table_name, one, name, joined.lonlat(), joined.keys, count=len(joined))
        report = probe_vectors(
            {key: one[keep] for key, (one, _) in found.items()},
            joined.lonlat(keep),
            y[keep],
            kind=kind,
            target=name,
            splits=("random", "block") if splits == "both" else (splits,),
            k=k,
            shuffles=shuffles,
            block=block,
            buffer_m=buffer,
            groups=joined.keys[keep],
            h3=None if cells is None else cells[keep],
            raw=None if pixels is None else pixels[keep],
            untrained={key: one[keep] for key, one in idle.items()},
            blocks={key: blocks for key, (_, blocks) in found.items()},
            estimators=estimators,
            transform="" if transform == "none" else transform,
            seed=seed,
            progress=progress,
        )
        reports.append(report)
        joined = _with_residuals(joined, keep, report)
    if out is not None:
        _write(Path(out), reports, joined)
    return reports


def _with_residuals(joined: Places, keep: NDArray[np.int64], report: ProbeReport) -> Places:
    full = np.full(len(joined), np.nan)
    full[keep[report.residuals.rows]] = report.residuals.values
    return joined.with_column(f"residual_{report.target}", full)


def _write(out: Path, reports: Sequence[ProbeReport], joined: Places) -> None:
    import pyarrow.parquet as pq

    with whole(out.with_name(f"{out.stem}.residuals.parquet")) as part:
        pq.write_table(joined.data, part, compression="zstd")
    write_text(out, json.dumps([json.loads(report.to_json()) for report in reports], indent=1) + "\n")


def read_residuals(out: str | Path) -> Places:
    """The places of a probe with their out-of-fold predictions and residuals, as `probe` wrote them beside `out`."""
    import pyarrow.parquet as pq

    path = Path(out)
    return Places(pq.read_table(path.with_name(f"{path.stem}.residuals.parquet")))


def _named(tables: Tables | Mapping[str, Any]) -> dict[str, EmbeddingTable]:
    if isinstance(tables, Mapping):
        return {name: _read(table) for name, table in tables.items()}
    listed = [tables] if isinstance(tables, str | Path | StoredTable | EmbeddingTable) else list(tables)
    named: dict[str, EmbeddingTable] = {}
    for table in listed:
        name = _name(table)
        if name in named:
            raise UsageError(f"two tables are called {name!r}: rename one, the report could not tell them apart")
        named[name] = _read(table)
    return named


def _name(table: Any) -> str:
    if isinstance(table, EmbeddingTable):
        return table.meta.tower or "table"
    return Path(str(table.path if isinstance(table, StoredTable) else table)).stem


def _read(table: Any) -> EmbeddingTable:
    if isinstance(table, EmbeddingTable):
        return table
    return (table if isinstance(table, StoredTable) else open_table(table)).read()


def _common(tables: Sequence[EmbeddingTable]) -> NDArray[Any]:
    ids = tables[0].ids
    for table in tables[1:]:
        ids = ids[table.rows_of(ids) >= 0]
    if len(ids) == 0:
        raise SchemaError("the tables have no id in common: probe tables of the same places")
    return ids


def _labels(labels: str | Path | Places) -> Places:
    if isinstance(labels, Places):
        return labels
    from placevec.sources.places import read_places

    if str(labels).endswith((".csv", ".csv.gz")):
        return read_places(labels, id="id")
    return read_places(labels)


def _target(target: str, places: Places) -> tuple[str, NDArray[Any]]:
    name, equals, raster = target.partition("=")
    if equals:
        return name, sample(raster, places.lonlat())
    if not places.has(target):
        known = ", ".join(places.attributes) or "none"
        raise UsageError(f"{target!r} is no column of the tables: give one of {known}, or name=raster")
    return target, places.column(target)


def _buffer(tables: Sequence[EmbeddingTable]) -> float:
    """The widest ground that a vector of one of the tables has seen, in metres; 0 where chips are not known."""
    layouts = [table.meta.chip_layout or {} for table in tables]
    return max((float(layout.get("ground_m", 0.0)) for layout in layouts), default=0.0)
