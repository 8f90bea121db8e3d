"""Captions in tables: one row a caption, or one row an image with a list of captions in a cell."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from placevec.errors import FormatError, SchemaError
from placevec.sources.captions.entries import Entry
from placevec.sources.captions.karpathy import CAPTIONS, FILES, LABELS, SPLITS, point
from placevec.sources.captions.quoted import quoted_list

_BLOCK = 64 << 20  # bytes of the longest row: some tables hold the images themselves, as text
_LISTS = ("captions", "sentences")  # columns whose cells are lists where they look like one


def read_csv(path: Path, split: str = "") -> tuple[list[Entry], Counter[str]]:
    """The entries of a CSV, and what was left out, by reason.

    Columns, whatever their case: one of `karpathy.FILES`, one of `karpathy.CAPTIONS`, and where there are any `split`,
    `label` or `class`, `lon` and `lat`. A cell is one caption, or a list of them as `quoted_list` reads it.

    Args:
        path: comma, semicolon or tab between the cells, UTF-8.
        split: the split of all rows, where the table says none.

    Raises:
        FormatError: it is no such table.
        SchemaError: it has no column of files or of captions.
    """
    columns, delimiter = _header(path)
    wanted = {
        "name": _column(path, columns, FILES, "files"),
        "captions": _column(path, columns, CAPTIONS, "captions"),
        "split": next((columns[name] for name in SPLITS if name in columns), None),
        "label": next((columns[name] for name in LABELS if name in columns), None),
        "lon": next((columns[name] for name in ("lon", "longitude") if name in columns), None),
        "lat": next((columns[name] for name in ("lat", "latitude") if name in columns), None),
    }
    counts: Counter[str] = Counter()
    table = _read(path, delimiter, [name for name in wanted.values() if name is not None], counts)
    cells: dict[str, list[Any]] = {
        key: [None] * table.num_rows if name is None else table[name].to_pylist() for key, name in wanted.items()
    }
    lists = wanted["captions"] is not None and wanted["captions"].strip().lower() in _LISTS
    entries = []
    for name, text, own, label, lon, lat in zip(*cells.values(), strict=True):
        captions: list[str | None] | None = [text]
        if text.lstrip().startswith("["):
            captions = quoted_list(text)
            if captions is None and lists:
                counts["lists of captions that cannot be read"] += 1
                captions = []
        entries.append(
            Entry(
                (name or "").strip(),
                [text] if captions is None else captions,
                (own or "").strip() or split,
                (label or "").strip() or None,
                point(lon, lat),
            )
        )
    return entries, counts


def _header(path: Path) -> tuple[dict[str, str], str]:
    """The columns, by their names in lower case, and what stands between cells."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            line = lines.readline(1 << 16)
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: this is no text in UTF-8; write it as UTF-8") from error
    if not line.strip() or "\x00" in line:
        raise FormatError(f"{path}: {'the file is empty' if not line.strip() else 'this is no text'}; fetch it again")
    delimiter = max(",;\t", key=line.count)
    names = next(csv.reader([line], delimiter=delimiter))
    return {name.strip().lower(): name for name in reversed(names)}, delimiter


def _column(path: Path, columns: dict[str, str], known: tuple[str, ...], what: str) -> str:
    found = next((columns[name] for name in known if name in columns), None)
    if found is None:
        has = ", ".join(reversed(columns.values()))
        raise SchemaError(
            f"{path} has no column of {what}: call one {known[0]} or {known[1]}; its columns: {has[:200]}"
        )
    return found


def _read(path: Path, delimiter: str, names: list[str], counts: Counter[str]) -> pa.Table:
    from pyarrow import csv as arrow_csv

    def leave_out(row: Any) -> str:
        counts["rows with another number of cells than the header"] += 1
        return "skip"

    try:
        return arrow_csv.read_csv(
            path,
            read_options=arrow_csv.ReadOptions(block_size=_BLOCK),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=leave_out
            ),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=names, column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise FormatError(f"{path}: the CSV cannot be read ({str(error).splitlines()[0][:160]})") from error
