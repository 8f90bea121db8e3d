"""`probe`: what the vectors of tables know about a target, beside every compulsory baseline."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.errors import SchemaError
from placevec.files import whole, write_text
from placevec.measure.leaks import labels_of, refuse_leaks, seen_rows
from placevec.measure.probe_report import ProbeReport
from placevec.measure.probes import Progress
from placevec.measure.probes import probe as probe_vectors
from placevec.table import Places
from placevec.tasks.map import Tables
from placevec.tasks.probe_inputs import common_ids, ground_m, label_places, named_tables, read_table, target_of
from placevec.tasks.probed import Answer, vectors_at


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
    coefficients: str | Path | None = None,
    residuals: str | Path | None = None,
    said: Callable[[str], None] | None = None,
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
        estimators: of "ridge", "ols", "knn" and "gp", run on all features; the GP gives each block of an augmented
            vector a kernel of its own.
        k: folds.
        shuffles: repetitions with other folds.
        unseen: probe only rows whose label nothing has seen, instead of refusing.
        seed: of everything random.
        out: a JSON file for the reports; out-of-fold predictions stand beside it as ``NAME.residuals.parquet``.
        coefficients: a JSON file for the coefficients of linear probes; figures stand beside it, see
            `tasks.coefficients`.
        residuals: a GeoJSON file for the residuals of the best learned row in dissolved bins, with a map beside it, see
            `tasks.residual_maps`.
        said: told what was written, and how the residuals hang together in space.
        progress: told of each estimator.

    Raises:
        LeakError: an encoder or transform was fitted on labels of rows to be tested.
        SchemaError: the tables have no places in common, or places without geometry.
        UsageError: a target is neither a column nor name=raster.
    """
    named = named_tables(tables)
    raw_table = None if raw is None else read_table(raw)
    null = {name.removesuffix("-untrained"): table for name, table in named_tables(untrained or []).items()}
    rows = common_ids([*named.values(), *([raw_table] if raw_table is not None else []), *null.values()])
    first = next(iter(named.values()))
    places = first.take(first.rows_of(rows)).places()
    joined = places if labels is None else places.join(label_places(labels), how="inner")
    if len(joined) == 0:
        raise SchemaError("the labels have no id in common with the tables")
    if not joined.located.all():
        joined = joined.take(np.flatnonzero(joined.located))
    found = {name: vectors_at(table, joined) for name, table in named.items()}
    idle = {name: vectors_at(table, joined)[0] for name, table in null.items()}
    pixels = None if raw_table is None else vectors_at(raw_table, joined)[0]
    cells = joined.column("h3").astype(np.uint64) if joined.has("h3") else None
    buffer = ground_m(list(named.values())) if buffer_m is None else buffer_m
    wanted = [targets] if isinstance(targets, str) else list(targets)
    reports, answers = [], []
    for target in wanted:
        name, y = target_of(target, joined)
        keep = np.arange(len(joined))
        tables_given = {**named, **null}.items()
        saw = {table_name: labels_of(table.meta.saw, table.meta.dims) for table_name, table in tables_given}
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
        answers.append(Answer(report, y, keep))
        joined = _with_residuals(joined, keep, report)
    if out is not None:
        _write(Path(out), reports, joined)
    if coefficients is not None:
        from placevec.tasks.coefficients import write_coefficients

        write_coefficients(coefficients, named, joined, answers, estimators=estimators, seed=seed, said=said)
    if residuals is not None:
        from placevec.tasks.residual_maps import write_residuals

        write_residuals(residuals, joined, answers, said=said)
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
