"""The Karpathy JSON of captioned images, as RSICD, RSITMD, UCM and Sydney have it, and lists of the same objects."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from placevec.errors import FormatError
from placevec.sources.captions.entries import Entry

FILES = ("filename", "file", "file_name", "filepath", "file_path", "image_path", "image", "path")
CAPTIONS = ("captions", "sentences", "caption", "sentence", "text", "title", "raw")
SPLITS = ("split",)
LABELS = ("label", "class", "category")
_RAW = ("raw", "caption", "sentence", "text")


def read_json(path: Path) -> tuple[list[Entry], Counter[str]]:
    """The entries of ``{"images": [...]}`` or of a bare list, and what was left out, by reason.

    An entry names its file by one of `FILES` (beside `filename`, `filepath` is the folder), and has `sentences` (texts,
    or objects with `raw` or `tokens`) or another of `CAPTIONS`, and may have `split`, `label` or `class`, `lon`, `lat`.

    Raises:
        FormatError: it is no JSON, or has no list of images.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: this is no JSON ({str(error)[:120]}); fetch it again") from error
    images = content.get("images") if isinstance(content, dict) else content
    if not isinstance(images, list):
        raise FormatError(f"{path}: no list of captioned images: neither a list nor an object with the list 'images'")
    entries = [entry_of(each) for each in images if isinstance(each, dict)]
    return entries, Counter({"entries that are no objects": len(images) - len(entries)})


def read_jsonl(path: Path) -> tuple[list[Entry], Counter[str]]:
    """The entries of a file with one object a line, see `read_json`; an image may have several lines."""
    entries = []
    counts: Counter[str] = Counter()
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for line in lines:
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError):
                    record = None
                if isinstance(record, dict):
                    entries.append(entry_of(record))
                else:
                    counts["lines that are no JSON objects"] += 1
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: this is no text in UTF-8; write it as UTF-8") from error
    if not entries:
        raise FormatError(f"{path}: no line of it is a JSON object; see the forms of captions that are read")
    return entries, counts


def entry_of(record: Mapping[str, Any]) -> Entry:
    """The entry of a JSON object."""
    name = first(record, FILES)
    folder = record.get("filepath")
    if isinstance(folder, str) and folder and record.get("filename"):
        name = f"{folder.rstrip('/')}/{name}"
    label = first(record, LABELS)
    return Entry(
        name=name if isinstance(name, str) else "",
        captions=_captions(first(record, CAPTIONS)),
        split=str(first(record, SPLITS) or ""),
        label=str(label) if isinstance(label, str | int) and label != "" else None,
        lonlat=point(first(record, ("lon", "longitude")), first(record, ("lat", "latitude"))),
    )


def first(record: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The value of the first of `names` that a record has, None without any."""
    return next((record[name] for name in names if record.get(name) is not None), None)


def point(lon: Any, lat: Any) -> tuple[float, float] | None:
    """Longitude and latitude in degrees; None where they are no place of the Earth."""
    try:
        x, y = float(lon), float(lat)
    except (TypeError, ValueError):
        return None
    return (x, y) if math.isfinite(x) and abs(x) <= 180.0 and abs(y) <= 90.0 else None


def _captions(value: Any) -> list[Any]:
    if value is None:
        return []
    return [_caption(each) for each in value] if isinstance(value, list) else [_caption(value)]


def _caption(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    raw = first(value, _RAW)
    tokens = value.get("tokens")
    if raw is None and isinstance(tokens, list) and all(isinstance(token, str) for token in tokens):
        return " ".join(tokens)
    return raw
