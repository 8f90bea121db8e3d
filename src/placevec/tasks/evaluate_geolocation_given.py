"""Points that anybody has given, with their true places: read from a file, and measured by the same code as our own."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec import __version__
from placevec.errors import DataError, FormatError, SchemaError, UsageError
from placevec.geo.sphere import LonLat
from placevec.measure.geolocation import Method, distances, method_rows
from placevec.table import Places
from placevec.tasks.evaluate_geolocation_inputs import block_names
from placevec.tasks.evaluate_geolocation_laws import confidence_record
from placevec.tasks.evaluate_geolocation_photos import Photos
from placevec.tasks.evaluate_geolocation_result import GeolocationEvaluation


@dataclass(frozen=True, eq=False)
class Predictions:
    """Points that somebody has given, with the truth beside them.

    Attributes:
        ids: (n,) of the photos.
        truth: where they were taken.
        points: where they were thought to be.
        confidence: (n,) the probability that a point is right, or None.
        skipped: how many rows were left out, by reason.
        name: of who gave them.
    """

    ids: NDArray[Any]
    truth: LonLat
    points: LonLat
    confidence: NDArray[np.float64] | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)
    name: str = "predictions"


def read_predictions(
    path: str | Path,
    truth: Places | None = None,
    *,
    columns: tuple[str, str] = ("lon", "lat"),
    true_columns: tuple[str, str] = ("true_lon", "true_lat"),
    confidence: str = "confidence",
) -> Predictions:
    """Points from a Parquet, CSV or JSON-lines file (such as `placevec locate` writes), each with its true place.

    Args:
        path: the file, one row or line a photo, with `id`, the point, and the truth unless `truth` is given.
        truth: true places, joined by id.
        columns: of the longitudes and latitudes of the points.
        true_columns: of the true ones.
        confidence: the column of probabilities; left out where there is none.

    Raises:
        UsageError: another kind of file.
        FormatError: it is not what its ending says.
        SchemaError: a column is missing, or no id is known.
        DataError: no row is left.
    """
    file = Path(path)
    rows = _records(file)
    if not rows:
        raise DataError(f"{file} holds no predictions: give one row for each photo")
    needed = [*columns, *(("id",) if truth is not None else true_columns)]
    known = set().union(*rows)
    absent = next((name for name in needed if name not in known), None)
    if absent is not None:
        said = ", ".join(sorted(known)[:20])
        how = "" if truth is not None or absent not in true_columns else "; or give the true places with --on"
        raise SchemaError(f"{file} has no column {absent!r}: say which it is by option{how}; its columns: {said}")
    skipped: Counter[str] = Counter()
    kept: list[tuple[str, float, float, float, float, float]] = []
    places = {} if truth is None else _by_id(truth)
    for number, row in enumerate(rows):
        name = str(row.get("id", number))
        point = _point(row, columns)
        true = _point(row, true_columns) if truth is None else places.get(name)
        if point is None:
            skipped["no point, or none on the Earth"] += 1
        elif true is None:
            skipped["no true place" if truth is None else "an id that the true places do not have"] += 1
        else:
            kept.append((name, *point, *true, _number(row.get(confidence))))
    if not kept:
        raise DataError(f"{file}: none of {len(rows):,} rows can be used: {_counted(skipped)}")
    ids = np.array([one[0] for one in kept], dtype=object)
    numbers = np.array([one[1:] for one in kept], dtype=np.float64)
    sure = numbers[:, 4]
    usable = bool(np.isfinite(sure).all() and (sure >= 0).all() and (sure <= 1).all())
    return Predictions(
        ids,
        LonLat(numbers[:, 2], numbers[:, 3]),
        LonLat(numbers[:, 0], numbers[:, 1]),
        sure if usable else None,
        dict(skipped),
        file.stem,
    )


def given_points(given: Predictions, block: str | None, draws: int, seed: int) -> tuple[GeolocationEvaluation, Photos]:
    """The figures of points that somebody has given: the same, as far as points go.

    Args:
        given: points with their true places.
        block: blocks that the bootstrap draws, such as "h3:3"; None: each photo by itself.
        draws: resamples.
        seed: of the resamples.
    """
    notes = [
        "points alone were given: NLL, coverage, regions and baselines of a law are left out",
        *(f"{count:,} rows were left out: {reason}" for reason, count in given.skipped.items()),
    ]
    blocks = None
    if block:
        blocks = block_names(given.truth, given.ids, block)
    rows = method_rows(
        [Method(given.name, "learned", distances(given.truth, given.points))],
        blocks,
        draws=draws,
        seed=seed,
    )
    confidence = given.confidence
    photos = Photos(given.ids, given.truth, given.points, confidence)
    record: dict[str, Any] = {}
    if confidence is not None:
        record = confidence_record(photos.km, confidence, 25_000.0)
        notes.append("the confidence is taken to be the probability that a point is at most 25 km off")
    about = {
        "placevec": __version__,
        "model": given.name,
        "photos": len(given.ids),
        "cells": block or "",
        "blocks": len(np.unique(blocks)) if blocks is not None else len(given.ids),
    }
    return GeolocationEvaluation(rows, confidence=record, notes=tuple(notes), about=about), photos


def _records(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        raise UsageError(f"{file} does not exist: give a file of predictions (.parquet, .csv, .jsonl)")
    try:
        return _rows(file)
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{file}: this is no text of rows ({error.__class__.__name__}): write it again") from None


def _rows(file: Path) -> list[dict[str, Any]]:
    if file.suffix == ".parquet":
        from placevec.table.parquet import open_parquet

        data = open_parquet(file)[0].read()
        scalar = [name for name in data.schema.names if name not in ("geometry", "embedding", "bbox")]
        return list(data.select(scalar).to_pylist())
    if file.suffix == ".csv":
        with file.open(encoding="utf-8-sig", newline="") as handle:
            return [dict(row) for row in csv.DictReader(handle)]
    if file.suffix in (".jsonl", ".ndjson", ".json"):
        rows = []
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                raise DataError(f"{file}, line {number} is no JSON: give one object a line") from None
            if not isinstance(row, dict):
                raise DataError(f"{file}, line {number} is no object: give one a line, with id, lon and lat")
            rows.append(row)
        return rows
    raise UsageError(f"{file}: predictions are read from .parquet, .csv or .jsonl")


def _by_id(truth: Places) -> dict[str, tuple[float, float]]:
    rows = np.flatnonzero(truth.located)
    return dict(
        zip(
            truth.ids[rows].astype(str),
            zip(truth.lon[rows].tolist(), truth.lat[rows].tolist(), strict=True),
            strict=True,
        )
    )


def _point(row: Mapping[str, Any], columns: tuple[str, str]) -> tuple[float, float] | None:
    lon, lat = (_number(row.get(name)) for name in columns)
    return (lon, lat) if -180.0 <= lon <= 360.0 and -90.0 <= lat <= 90.0 else None


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _counted(skipped: Mapping[str, int]) -> str:
    return "; ".join(f"{count:,} with {reason}" for reason, count in skipped.items())
