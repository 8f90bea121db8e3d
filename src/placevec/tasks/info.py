"""`info`: what a table, a photo list, a stencil, patches, a grid, a model or a study area is and where it came from."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from placevec.errors import FormatError
from placevec.objects import Place, Remote, located
from placevec.table import Places, skipped_counts
from placevec.tasks.patch_inputs import is_patch_set
from placevec.tasks.photo_inputs import listed_places


def info(path: str | Path) -> dict[str, Any]:
    """Facts about whatever lies at `path`, as a JSON object.

    Raises FormatError if it is nothing that placevec knows.
    """
    from placevec.sources.stencil import is_stencil

    where = located(path)
    if isinstance(where, Remote):
        return _stencil(where) if is_stencil(where) else _table(where)
    if not where.exists():
        raise FormatError(f"{path}: there is nothing")
    if where.is_dir() and where.suffix != ".lance":
        if (where / "area.toml").exists():
            return _area(where)
        if (where / "card.json").exists():
            return {"kind": "model", "path": str(path), **json.loads((where / "card.json").read_text())}
        if is_patch_set(where):
            return _patches(where)
        raise FormatError(
            f"{path}: a folder without area.toml, card.json or patches.json is neither a study area nor a model nor "
            "patches"
        )
    if where.suffix.lower() in (".tif", ".tiff"):
        return _grid(where)
    if is_stencil(where):
        return _stencil(where)
    listed = listed_places(where)
    return _table(where) if listed is None else _photos(where, listed)


def _photos(path: Path, listed: Places) -> dict[str, Any]:
    return {
        "kind": "photo list",
        "path": str(path),
        "rows": len(listed),
        "places": len(set(listed.keys)),
        "located": int(listed.located.sum()),
        "columns": [name for name in listed.data.schema.names if name not in ("id", "geometry", "bbox")],
    }


def _stencil(path: Place) -> dict[str, Any]:
    from placevec.sources.stencil import open_stencil

    stored = open_stencil(path)
    return {
        "kind": "stencil",
        "path": str(path),
        "rows": stored.num_rows,
        "parts": len(stored.parts),
        "fingerprint": stored.fingerprint(),
        **json.loads(stored.card.to_json()),
    }


def _patches(path: Path) -> dict[str, Any]:
    from placevec.sources.patches import PatchSet

    stored = PatchSet(path)
    layers = [
        {
            "name": layer.name,
            "classes": None if layer.classes is None else layer.classes.name,
            "resampling": layer.resampling,
        }
        for layer in stored.layers
    ]
    return {
        "kind": "patches",
        "path": str(path),
        "rows": len(stored),
        "skipped": stored.counts["skipped"],
        "skipped_because": skipped_counts(stored.skipped()),
        "layers": layers,
        "ground_m": stored.ground_m,
        "pixels": stored.pixels,
        "fingerprint": stored.fingerprint(),
        "sources": [asdict(ref) for ref in stored.refs],
    }


def _table(path: Place) -> dict[str, Any]:
    import numpy as np

    from placevec.table import open_table, read_skipped

    table = open_table(path)
    places = table.places(["id", "geometry"])
    located = places.located
    box = None
    if located.any():
        lon, lat = places.lon[located], places.lat[located]
        box = [round(float(value), 6) for value in (lon.min(), lat.min(), lon.max(), lat.max())]
    skipped = read_skipped(path)
    return {
        "kind": "table",
        "path": str(path),
        "rows": table.num_rows,
        "skipped": len(skipped),
        "skipped_because": skipped_counts(skipped),
        "without_geometry": int(np.sum(~located)),
        "bbox": box,
        "attributes": list(table.attributes),
        "fingerprint": table.fingerprint(),
        **table.meta.to_footer(),
    }


def _grid(path: Path) -> dict[str, Any]:
    from placevec.grid import EmbeddingGrid

    grid = EmbeddingGrid(path)
    return {
        "kind": "grid",
        "path": str(path),
        "rows": grid.shape[0],
        "columns": grid.shape[1],
        "crs": grid.crs.to_string(),
        **grid.meta.to_footer(),
    }


def _area(path: Path) -> dict[str, Any]:
    from placevec.area import StudyArea

    area = StudyArea.open(path)
    found = {
        name: sorted(item.name for item in (path / name).iterdir() if not item.name.startswith("."))
        for name in ("sources", "tables", "grids", "models", "results", "figures")
        if (path / name).is_dir()
    }
    return {
        "kind": "area",
        "path": str(path),
        "name": area.name,
        "resolutions": list(area.resolutions),
        "bbox": list(area.bbox),
        "area_km2": round(area.area_km2, 1),
        **found,
    }
