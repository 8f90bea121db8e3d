"""`evaluate transfer`: a probe fitted on the table of one city, judged on the table of another."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from placevec.errors import SchemaError, UsageError
from placevec.files import write_text
from placevec.measure.leaks import labels_of, refuse_leaks
from placevec.measure.transfer import LABELS, City, Transfer
from placevec.measure.transfer import transfer as transfer_vectors
from placevec.table import EmbeddingTable, Places, StoredTable
from placevec.tasks.probe_inputs import ground_m, label_places, read_table, target_of

Table = str | Path | StoredTable | EmbeddingTable


def evaluate_transfer(
    train: Table,
    test: Table,
    targets: str | Sequence[str],
    *,
    train_labels: str | Path | Places | None = None,
    test_labels: str | Path | Places | None = None,
    labels: Sequence[int] = LABELS,
    block: str | None = None,
    buffer_m: float | None = None,
    transform: Literal["none", "log1p"] = "none",
    k: int = 5,
    shuffles: int = 3,
    seed: int = 0,
    out: str | Path | None = None,
    figure: bool = True,
    said: Callable[[str], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Transfer]:
    """Judge probes of one city in another; see `measure.transfer` for the rows.

    Args:
        train: the table of the city whose labels are all known.
        test: the table of the other, of the same Space.
        targets: columns of the tables, or of their labels; or ``name=raster``.
        train_labels: a table or CSV with the targets of the first, by id.
        test_labels: the same of the second.
        labels: how many places of the second are labelled.
        block: blocks of both, such as "h3:7"; by default from the variogram of each.
        buffer_m: metres around test rows without training rows; by default the widest ground a row has seen.
        transform: "log1p" predicts log(1 + target).
        k: folds.
        shuffles: repetitions with other folds and labels.
        seed: of everything random.
        out: a JSON file; a figure stands beside it.
        figure: whether it is drawn.
        said: told what was left out and what was written.
        progress: told of each target.

    Raises:
        SpaceMismatch: the tables are of two Spaces: a probe of one says nothing about the other.
        LeakError: the vectors of one saw a label of its target.
        SchemaError: labels have no id in common with their table, or no place has both a target and coordinates.
        UsageError: a target does not exist, or is no number.
        MissingExtra: matplotlib is not installed and a figure is asked for; the JSON file is written before.
    """
    tell = said or (lambda text: None)
    tables = [read_table(one) for one in (train, test)]
    names = _names(train, test, tables)
    tables[0].space.require(tables[1].space, f"transfer from {names[0]} to {names[1]}")
    places = [_places(table, given) for table, given in zip(tables, (train_labels, test_labels), strict=True)]
    buffer = ground_m(tables) if buffer_m is None else buffer_m
    found = []
    wanted = [targets] if isinstance(targets, str) else list(targets)
    for number, target in enumerate(wanted):
        if progress is not None:
            progress(target.partition("=")[0], number, len(wanted))
        cities = []
        for name, table, there in zip(names, tables, places, strict=True):
            label, column = target_of(target, there)
            known = labels_of(table.meta.saw, table.meta.dims)
            refuse_leaks(name, known, label, there.lonlat(), there.keys, count=len(there))
            city, missing = _city(name, label, column, table, there)
            if missing:
                tell(f"{name}: {missing:,} places without {label} or coordinates left out")
            cities.append(city)
        found.append(
            transfer_vectors(
                *cities,
                target=target.partition("=")[0],
                labels=labels,
                block=block,
                buffer_m=buffer,
                transform="" if transform == "none" else transform,
                k=k,
                shuffles=shuffles,
                seed=seed,
            )
        )
        _tell_left_out(found[-1], labels, tell)
    if out is not None:
        _write(Path(out), found, figure, tell)
    return found


def _names(train: Table, test: Table, tables: Sequence[EmbeddingTable]) -> tuple[str, str]:
    """What the two are called: their files; where these have one name, the folders they stand in."""
    paths = [
        None if isinstance(one, EmbeddingTable) else Path(str(one.path if isinstance(one, StoredTable) else one))
        for one in (train, test)
    ]
    one, other = paths
    if one is None or other is None:
        return "A", "B"
    # CITY/tables/fused.parquet: the first part of the paths, from their ends, in which they differ.
    for first, second in zip(
        (one.stem, *one.resolve().parent.parts[::-1]), (other.stem, *other.resolve().parent.parts[::-1]), strict=False
    ):
        if first != second:
            return first, second
    return "A", "B"


def _places(table: EmbeddingTable, labels: str | Path | Places | None) -> Places:
    places = table.places()
    joined = places if labels is None else places.join(label_places(labels), how="inner")
    if len(joined) == 0:
        raise SchemaError("the labels have no id in common with their table")
    return joined


def _city(name: str, target: str, column: object, table: EmbeddingTable, places: Places) -> tuple[City, int]:
    """The rows with a target and coordinates, and how many have not both."""
    given = np.asarray(column)
    try:
        values = np.array([np.nan if v is None else v for v in given.tolist()], dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"{name}: the target {target} holds {given[0]!r}, which is no number") from None
    keep = np.flatnonzero(np.isfinite(values) & places.located)
    if not len(keep):
        raise SchemaError(f"{name}: no place has both {target} and coordinates")
    vectors = table.vectors(table.rows_of(places.ids[keep]))
    return City(name, vectors, places.lonlat(keep), values[keep]), len(places) - len(keep)


def _tell_left_out(found: Transfer, labels: Sequence[int], tell: Callable[[str], None]) -> None:
    made = {row.labels for row in found.rows}
    least = found.about["least_train"]
    if 2 * least * found.about["k"] < found.n_goal * (found.about["k"] - 1):
        tell(
            f"{found.target}: the buffer leaves a fold of {found.goal} as few as {least:,} of {found.n_goal:,} places "
            "to train on, so that its own probe is weak: give larger blocks (--block) or a narrower --buffer"
        )
    for count in sorted(set(labels) - made - {0}):
        tell(f"{found.target}: {count} labels are more than a fold of {found.goal} trains on, left out")


def _write(out: Path, found: Sequence[Transfer], figure: bool, tell: Callable[[str], None]) -> None:
    whole = [
        {
            "target": one.target,
            "train": one.source,
            "test": one.goal,
            "n_train": one.n_source,
            "n_test": one.n_goal,
            "alpha": one.alpha,
            "blocks": list(one.blocks),
            "n_blocks": one.n_blocks,
            "transform": one.transform,
            "about": one.about,
            "rows": one.to_records(),
        }
        for one in found
    ]
    write_text(out, json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    tell(f"report: {out}")
    if figure:
        from placevec.atlas.transfer_charts import transfer_figure

        tell(f"figure: {transfer_figure(out.with_suffix('.png'), found)}")
