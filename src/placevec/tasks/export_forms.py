"""The forms in which tables leave, by the endings of their names."""

from __future__ import annotations

from pathlib import Path

from placevec.errors import UsageError

_FORMS = {
    ".parquet": "parquet",
    ".geoparquet": "parquet",
    ".gpq": "parquet",
    ".lance": "lance",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".geojson": "geojson",
    ".stac.json": "stac",
    ".fgb": "flatgeobuf",
    ".gpkg": "geopackage",
    ".npy": "npy",
    ".safetensors": "safetensors",
    ".pt": "torch",
    ".pth": "torch",
    ".tif": "cog",
    ".tiff": "cog",
    ".pmtiles": "pmtiles",
    ".mvt": "mvt",
}
FORMS = tuple(dict.fromkeys(_FORMS.values()))


def form_of(out: str | Path) -> str:
    """The form that a name's ending says; UsageError, with those that exist, if it says none."""
    name = str(out).rstrip("/").lower()
    for suffix in sorted(_FORMS, key=len, reverse=True):
        if name.endswith(suffix):
            return _FORMS[suffix]
    raise UsageError(f"{out}: its ending says no form: end it in {', '.join(_FORMS)}, or say --to")


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size
