"""What a command says: data to stdout, progress and notes to stderr.

On a terminal data is a table to read; in a pipe it is JSON lines, one record each.
"""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, TextIO


class Form(StrEnum):
    """How records are printed."""

    table = "table"
    json = "json"
    csv = "csv"
    geojson = "geojson"


_WIDE = 8  # columns; a single record with more is printed as a list of its facts
_WHOLE = 24  # letters of an id that is not folded

Record = Mapping[str, Any]
# done so far, all there is, and what is known about it ("loss", "skipped", ...)
Progress = Callable[[int, int, Mapping[str, Any]], None]


def note(text: str) -> None:
    """A line for people, on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def emit(records: Sequence[Record], form: Form | None = None, *, title: str = "", out: TextIO | None = None) -> None:
    """Print records: a table on a terminal, JSON lines in a pipe, or the form asked for.

    For GeoJSON each record needs `lon` and `lat`, or a `geometry`.
    """
    stream = out or sys.stdout
    chosen = form or (Form.table if stream.isatty() else Form.json)
    if chosen is Form.json:
        for record in records:
            stream.write(json.dumps(record, default=plain, ensure_ascii=False, allow_nan=False) + "\n")
    elif chosen is Form.csv:
        names = _columns(records)
        writer = csv.DictWriter(stream, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(record.get(name)) for name in names} for record in records)
    elif chosen is Form.geojson:
        features = [_feature(record) for record in records]
        json.dump({"type": "FeatureCollection", "features": features}, stream, default=plain, ensure_ascii=False)
        stream.write("\n")
    else:
        _print_table(records, title, stream)
    stream.flush()


def plain(value: Any) -> Any:
    """What JSON has no word for: numpy scalars and arrays, dates, paths."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return str(value)


@contextmanager
def progress(title: str, *, quiet: bool = False) -> Iterator[Progress]:
    """A progress callback for long work: a bar on a terminal, else a line now and then on stderr."""
    if quiet:
        yield lambda done, total, facts: None
        return
    if not sys.stderr.isatty():
        yield _lines(title)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[facts]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, facts="")
        yield lambda done, total, facts: bar.update(task, completed=done, total=total, facts=_facts(facts))


def _lines(title: str, every: float = 10.0) -> Progress:
    last = time.monotonic()

    def say(done: int, total: int, facts: Mapping[str, Any]) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= every:
            last = now
            note(f"{title}: {done:,} of {total:,}  {_facts(facts)}".rstrip())

    return say


def _facts(facts: Mapping[str, Any]) -> str:
    return "  ".join(f"{name} {_cell(value)}" for name, value in facts.items())


def _columns(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return f"{value:.4g}" if value == value else ""
    if isinstance(value, list | dict | tuple):
        return json.dumps(value, default=plain, ensure_ascii=False)
    return str(value)


def _feature(record: Record) -> dict[str, Any]:
    properties = {name: value for name, value in record.items() if name not in ("lon", "lat", "geometry")}
    geometry = record.get("geometry")
    if geometry is None and record.get("lon") is not None:
        geometry = {"type": "Point", "coordinates": [float(record["lon"]), float(record["lat"])]}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _print_table(records: Sequence[Record], title: str, stream: TextIO) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    names = _columns(records)
    listed = len(records) == 1 and len(names) > _WIDE
    if listed:
        # One record of many facts would be a row of slivers.
        records, names = [{"": name, "value": _cell(records[0][name])} for name in names], ["", "value"]
    table = Table(
        title=title or None, box=SIMPLE_HEAD, title_justify="left", show_header=not listed, padding=(0, 1, 0, 0)
    )
    console = Console(file=stream)
    cells = {name: [_cell(record.get(name)) for record in records] for name in names}
    wide = sum(max(map(len, (name, *cells[name]))) + 2 for name in names) > console.width
    for name in names:
        numeric = all(isinstance(r.get(name), int | float) or r.get(name) is None for r in records)
        # Where there is little room, heads are broken at each word, so that cells need not be.
        head = name.replace(" ", "\n") if wide else name
        # An id that is folded in two can be neither read nor copied.
        whole = name in ("", "id") and max(map(len, cells[name]), default=0) <= _WHOLE
        table.add_column(head, justify="right" if numeric else "left", overflow="fold", no_wrap=whole)
    for record in records:
        table.add_row(*(_cell(record.get(name)) for name in names))
    console.print(table)
