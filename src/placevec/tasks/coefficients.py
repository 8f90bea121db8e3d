"""What `probe --coefficients` writes: coefficients by the columns' names, and the figures that show them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.files import write_text
from placevec.geo.cells import H3Cells, parse_cells
from placevec.measure.coefficients import Coefficients, LinearEstimator, coefficients
from placevec.measure.intervals import group_codes
from placevec.measure.probe_report import ProbeReport
from placevec.measure.splits import Split, block_split, random_split
from placevec.table import EmbeddingTable, Places
from placevec.table.blocks import blocks_of
from placevec.tasks.probed import MAX_FEATURES, Answer

TOGETHER = "all tables"
Said = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Columns:
    """The columns of a table at the places of a probe.

    Attributes:
        values: (n, d).
        names: (d).
        groups: (d) the modality of each: the block of a fused table, else the table.
    """

    values: NDArray[np.float32]
    names: tuple[str, ...]
    groups: tuple[str, ...]


def columns_of(table: EmbeddingTable, name: str, places: Places) -> Columns | None:
    """The columns of a table at places that it holds; None if they are more than a probe takes as they are.

    Components that have no names are called "NAME 0", "NAME 1" and so on.
    """
    d = table.dims
    if d > MAX_FEATURES:
        return None
    named = table.meta.dims if len(table.meta.dims) == d else tuple(f"{name} {i}" for i in range(d))
    groups = [name] * d
    for block, start, stop in blocks_of(table.meta):
        groups[start:stop] = [block] * (stop - start)
    return Columns(table.vectors(table.rows_of(places.ids)), named, tuple(groups))


def splits_of(report: ProbeReport, answer: Answer, places: Places, seed: int) -> list[Split]:
    """The folds of all shuffles of the strictest split of a report, drawn again as the probe drew them."""
    info = report.splits[-1]
    keys = group_codes(places.keys[answer.keep], len(answer.keep))[report.residuals.rows]
    if info.kind != "block":
        return [random_split(keys, info.k, seed + s) for s in range(info.shuffles)]
    system, where = parse_cells(info.block), places.lonlat(answer.rows)
    return [block_split(where, system, info.k, seed + s, info.buffer_m, keys) for s in range(info.shuffles)]


def write_coefficients(
    out: str | Path,
    tables: Mapping[str, EmbeddingTable],
    places: Places,
    answers: Sequence[Answer],
    *,
    estimators: Sequence[str] = ("ridge",),
    count: int = 20,
    seed: int = 0,
    said: Said | None = None,
) -> list[Coefficients]:
    """Fit linear probes on the folds of finished probes, and write their coefficients and figures.

    Beside OUT.json stand OUT.csv; for each target and table OUT-TARGET-TABLE.png, the largest coefficients; for several
    targets OUT-TABLE-heat.png; OUT-scores.png, all scores of all targets; and for cells OUT-TARGET-rgb.png, the three
    columns with the largest coefficients of the best table as one colour. Of several tables the columns of all
    together are probed too, as "all tables".

    Args:
        out: the JSON file.
        tables: what was probed, by name.
        places: the places that the tables share.
        answers: the targets; classes have no coefficients and are left out, which is said.
        estimators: of those "ridge" and "ols" count; ridge where there is neither.
        count: coefficients in a figure.
        seed: of the probes.
        said: told of each file, and of what was left out.

    Raises:
        MissingExtra: matplotlib is not installed; the JSON and CSV files are written before.
        UsageError: nothing has coefficients, or `out` is no JSON file.
    """
    path, tell = Path(out), said or (lambda text: None)
    if path.suffix != ".json":
        raise UsageError(f"{path}: the coefficients' file ends in .json (a CSV and figures are written beside it)")
    held = _tables(tables, places, tell)
    known: tuple[LinearEstimator, ...] = get_args(LinearEstimator)
    linear = [one for one in known if one in estimators] or list(known[:1])
    found: list[Coefficients] = []
    for answer in answers:
        report = answer.report
        if report.kind != "regression":
            tell(f"{report.target}: classes have no coefficients of their own, left out")
            continue
        y = answer.y[answer.rows].astype(np.float64)
        splits = splits_of(report, answer, places, seed)
        for name, one in held.items():
            for estimator in linear:
                found.append(
                    coefficients(
                        one.values[answer.rows],
                        np.log1p(y) if report.transform == "log1p" else y,
                        splits,
                        names=one.names,
                        groups=one.groups,
                        target=report.target,
                        features=name,
                        estimator=estimator,
                    )
                )
    if not found:
        raise UsageError("no target is a number and no table narrow enough: there are no coefficients to write")
    write_text(path, json.dumps([one.to_json() for one in found], indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    _write_csv(path.with_suffix(".csv"), [record for one in found for record in one.to_records()])
    tell(f"coefficients: {path}, {path.with_suffix('.csv').name}")
    for figure in _figures(path, found, [answer.report for answer in answers], held, places, answers, count):
        tell(f"figure: {figure}")
    return found


def _tables(tables: Mapping[str, EmbeddingTable], places: Places, tell: Said) -> dict[str, Columns]:
    held = {}
    for name, table in tables.items():
        one = columns_of(table, name, places)
        if one is None:
            tell(f"{name}: {table.dims:,} columns are more than {MAX_FEATURES:,}, no coefficients")
        else:
            held[name] = one
    if len(held) > 1 and sum(len(one.names) for one in held.values()) <= MAX_FEATURES:
        every = list(held.values())
        names = [column for one in every for column in one.names]
        double = {column for column in names if names.count(column) > 1}
        held[TOGETHER] = Columns(
            np.concatenate([one.values for one in every], axis=1),
            tuple(
                f"{table}: {column}" if column in double else column
                for table, one in held.items()
                for column in one.names
            ),
            tuple(group for one in every for group in one.groups),
        )
    return held


def _figures(
    path: Path,
    found: Sequence[Coefficients],
    reports: Sequence[ProbeReport],
    held: Mapping[str, Columns],
    places: Places,
    answers: Sequence[Answer],
    count: int,
) -> list[Path]:
    from placevec.atlas.coefficient_charts import coefficient_figure, coefficient_heat, modality_colours
    from placevec.atlas.facets import facet_figure
    from placevec.atlas.scores import score_rows

    colours = modality_colours([group for one in held.values() for group in one.groups])
    several = len({one.estimator for one in found}) > 1
    drawn = []
    for one in found:
        kind = f"-{one.estimator}" if several else ""
        goal = _beside(path, one.target, one.features + kind)
        drawn.append(coefficient_figure(goal, one, count=count, colours=colours))
    for name in held:
        own = [one for one in found if one.features == name and one.estimator == found[0].estimator]
        if len(own) > 1:
            drawn.append(coefficient_heat(_beside(path, name, "heat"), own, colours=colours))
    metrics = {report.metric for report in reports}
    if len(metrics) == 1:
        records = [record for report in reports for record in report.to_records()]
        drawn.append(
            facet_figure(
                path.with_name(f"{path.stem}-scores.png"),
                score_rows(records),
                title="What each table knows" + (", target by target" if len(reports) > 1 else ""),
                subtitle="settings chosen inside the training folds; 95 % bootstrap intervals",
            )
        )
    if places.has("h3"):
        drawn += [_triad(path, found, held, places, answer) for answer in answers if _triple(found, answer)]
    return drawn


def _triple(found: Sequence[Coefficients], answer: Answer) -> Coefficients | None:
    """The coefficients of a target on the table that predicts it best, of those with three columns or more."""
    own = [one for one in found if one.target == answer.report.target and len(one) >= 3]
    return max(own, key=lambda one: one.r2, default=None)


def _triad(
    path: Path, found: Sequence[Coefficients], held: Mapping[str, Columns], places: Places, answer: Answer
) -> Path:
    from placevec.atlas.rasterise import frame_of_cells, rows_of_cells
    from placevec.atlas.scores import plain
    from placevec.atlas.triads import Channel, triad_figure

    best = _triple(found, answer)
    assert best is not None
    three = best.largest(3)
    cells, first = np.unique(places.column("h3").astype(np.uint64), return_index=True)
    system = H3Cells(int(cells[0] >> np.uint64(52)) & 15)
    frame = frame_of_cells(system, cells, width=900)
    return triad_figure(
        _beside(path, best.target, "rgb"),
        held[best.features].values[first][:, three],
        [Channel(best.names[i], f"coefficient {best.mean[i]:+.2f}".replace("-", "−")) for i in three.tolist()],
        rows_of_cells(system, cells, frame),
        title=f"{best.target}: the three columns that speak loudest",
        subtitle=f"{best.features}, {best.estimator.replace('ols', 'OLS')}, out-of-fold R² {plain(best.r2)}",
    )


def _write_csv(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    held = io.StringIO()
    writer = csv.DictWriter(held, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    write_text(path, held.getvalue())


def _beside(path: Path, *parts: str) -> Path:
    words = ["".join(c if c.isalnum() or c in "_." else "-" for c in part).strip("-") for part in parts]
    return path.with_name("-".join([path.stem, *words]) + ".png")
