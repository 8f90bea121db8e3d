"""Guesses in the forms of other programs: JSON lines, a GeoJSON map, GeoParquet and CSV; written one by one."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np

from placevec.errors import UsageError
from placevec.files import whole
from placevec.geo.sphere import LonLat
from placevec.results import Guess
from placevec.table import Places

FORMS = {".jsonl": "json", ".ndjson": "json", ".geojson": "geojson", ".parquet": "parquet", ".csv": "csv"}
_TABLE_LEVEL = 0.8  # the credible region whose area a table on a terminal shows


class Sink(Protocol):
    """Takes guesses, one after the other."""

    def write(self, guess: Guess, more: Mapping[str, Any]) -> None:
        """Add a guess; `more` are further facts about it, such as its error."""

    def close(self) -> None:
        """Write what stands after the last one."""


def form_of(path: str | Path) -> str:
    """The form that the ending of a file says; UsageError if it says none."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMS:
        raise UsageError(f"{path}: guesses are written to files that end in {', '.join(FORMS)}")
    return FORMS[suffix]


@contextmanager
def open_sink(path: str | Path) -> Iterator[Sink]:
    """A sink for a file, which appears when all is written, or not at all."""
    form = form_of(path)
    with whole(path) as part:
        if form == "parquet":
            table = ParquetSink(part)
            yield table
            table.close()
            return
        with part.open("w", encoding="utf-8", newline="\n") as stream:
            sink = text_sink(form, stream)
            yield sink
            sink.close()


def text_sink(form: str, stream: TextIO) -> Sink:
    """A sink of the form "json", "geojson" or "csv"."""
    kinds: dict[str, type[_TextSink]] = {"json": JsonLines, "geojson": GeoJson, "csv": Csv}
    return kinds[form](stream)


class _TextSink:
    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.count = 0

    def write(self, guess: Guess, more: Mapping[str, Any]) -> None:
        """See `Sink`."""
        raise AssertionError("a sink of a form writes")

    def close(self) -> None:
        """See `Sink`."""
        self.stream.flush()


class JsonLines(_TextSink):
    """One JSON object a guess: everything that is known about it."""

    def write(self, guess: Guess, more: Mapping[str, Any]) -> None:
        """See `Sink`."""
        record = {**guess.to_record(), **more}
        self.stream.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        self.stream.flush()  # who reads the pipe sees each guess when it is made


class GeoJson(_TextSink):
    """A FeatureCollection (RFC 7946): of each guess its credible regions, the largest first, and its point on top.

    The property `kind` tells a "point" from a "region"; a region has its `level` and `area_km2`, and both the `photo`.
    """

    def write(self, guess: Guess, more: Mapping[str, Any]) -> None:
        """See `Sink`."""
        for region in reversed(guess.regions):
            area = round(region.area_m2 / 1e6, 3)
            facts = {"kind": "region", "photo": guess.id, "level": region.level, "area_km2": area}
            self._feature(f"{guess.id}#{region.level:g}", region.to_geometry(), facts)
        facts = {"kind": "point", "photo": guess.id, **guess.to_summary(), **more}
        point = {"type": "Point", "coordinates": [facts["lon"], facts["lat"]]}
        self._feature(guess.id, point, facts)

    def _feature(self, name: str, geometry: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        self.stream.write(",\n" if self.count else '{"type":"FeatureCollection","features":[\n')
        feature = {
            "type": "Feature",
            "id": name,
            "geometry": geometry,
            "properties": dict(facts),
        }
        self.stream.write(json.dumps(feature, ensure_ascii=False, allow_nan=False))
        self.count += 1

    def close(self) -> None:
        """See `Sink`."""
        self.stream.write("\n]}\n" if self.count else '{"type":"FeatureCollection","features":[]}\n')
        super().close()


class Csv(_TextSink):
    """One line a guess: see `flat`."""

    def write(self, guess: Guess, more: Mapping[str, Any]) -> None:
        """See `Sink`."""
        record = flat(guess, more)
        writer = csv.DictWriter(self.stream, list(record), lineterminator="\n")
        if not self.count:
            writer.writeheader()
        writer.writerow({name: "" if value is None else value for name, value in record.items()})
        self.count += 1


class ParquetSink:
    """GeoParquet of the points, with what `flat` says of each guess as columns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[dict[str, Any]] = []

    def write(self, guess: Guess, more: Mapping[str, Any]) -> None:
        """See `Sink`."""
        self.records.append(flat(guess, more))

    def close(self) -> None:
        """See `Sink`."""
        from placevec.sources.exports import write_geoparquet

        columns = {name: [record[name] for record in self.records] for name in (self.records or [{}])[0]}
        ids, lon, lat = (columns.pop(name, []) for name in ("id", "lon", "lat"))
        points = LonLat(np.array(lon, dtype=np.float64), np.array(lat, dtype=np.float64))
        write_geoparquet([Places.create(ids, points, attributes=columns)], self.path)


def flat(guess: Guess, more: Mapping[str, Any]) -> dict[str, Any]:
    """A guess in one line of numbers and texts: without hypotheses, outlines and evidence."""
    areas = {f"area_{100 * one.level:g}_km2": round(one.area_m2 / 1e6, 3) for one in guess.regions}
    return {"id": guess.id, **guess.to_summary(), **areas, **more}


def for_reading(guess: Guess, more: Mapping[str, Any]) -> dict[str, Any]:
    """What a person reads of a guess: a line of a table on a terminal."""
    summary = guess.to_summary()
    shown: dict[str, Any] = {"id": guess.id}
    if guess.region_name:
        shown["region"] = f"{guess.region_name} {guess.region_probability:.0%}"
    shown |= {"lon": _round(summary["lon"], 3), "lat": _round(summary["lat"], 3)}
    near = f"within {summary['confidence_km']:g} km" if "confidence_km" in summary else "confidence"
    shown[near] = "" if summary["confidence"] is None else f"{summary['confidence']:.0%}"
    if "radius_km" in summary:
        shown[f"{guess.radius_level:.0%} radius km"] = _round(summary["radius_km"], 0)
    region = min(guess.regions, key=lambda one: abs(one.level - _TABLE_LEVEL), default=None)
    if region is not None:
        shown[f"{region.level:.0%} region km²"] = f"{region.area_m2 / 1e6:,.0f}"
    if "error_km" in more:
        shown["error km"] = _round(more["error_km"], 1)
    return shown


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
