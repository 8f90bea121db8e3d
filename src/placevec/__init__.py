"""Embeddings of the places of a region: learn, keep, search, probe and map them.

    >>> import placevec
    >>> table = placevec.open_table("demo/iberia/tables/image.parquet")
    >>> hits = placevec.search(table, at=(-3.7, 40.4), k=5)

The verbs are those of the command line, with the same options. Names are imported when they are first used, so that
``import placevec`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "CaptionSet": "placevec.sources.captions",
    "Chips": "placevec.tasks.inputs",
    "ColourBasis": "placevec.atlas.colour",
    "EmbeddingGrid": "placevec.grid",
    "EmbeddingTable": "placevec.table",
    "Filter": "placevec.table",
    "GridCells": "placevec.geo.grids",
    "GridSink": "placevec.grid",
    "Guess": "placevec.results",
    "H3Cells": "placevec.geo.cells",
    "Hits": "placevec.results",
    "Input": "placevec.tasks.inputs",
    "Locator": "placevec.encoders.locator",
    "LonLat": "placevec.geo.sphere",
    "PairModel": "placevec.encoders.pair",
    "Places": "placevec.table",
    "PlacevecError": "placevec.errors",
    "Report": "placevec.atlas.report",
    "Skipped": "placevec.table",
    "Space": "placevec.provenance",
    "StudyArea": "placevec.area",
    "TableMeta": "placevec.provenance",
    "World": "placevec.sources.world",
    "area_captions": "placevec.tasks.area_captions",
    "area_patches": "placevec.tasks.patches",
    "change": "placevec.tasks.change",
    "classify": "placevec.tasks.classify",
    "classify_by_example": "placevec.tasks.classify_examples",
    "cluster": "placevec.tasks.cluster",
    "coverage": "placevec.tasks.map_similarity",
    "demo": "placevec.tasks.demo",
    "doctor": "placevec.tasks.doctor",
    "embed": "placevec.tasks.embed",
    "evaluate_landscape": "placevec.tasks.evaluate_landscape",
    "evaluate_retrieval": "placevec.tasks.evaluate_retrieval",
    "explain": "placevec.tasks.explain",
    "export_table": "placevec.tasks.export",
    "import_tables": "placevec.tasks.import_",
    "index_table": "placevec.tasks.index",
    "index_to": "placevec.tasks.index_to",
    "info": "placevec.tasks.info",
    "load_encoder": "placevec.encoders.model",
    "make_stencil": "placevec.tasks.stencil",
    "map_tables": "placevec.tasks.map",
    "new_area": "placevec.tasks.area",
    "open_pair": "placevec.encoders.pair",
    "open_store": "placevec.index.stores",
    "open_table": "placevec.table",
    "probe": "placevec.tasks.probe",
    "read_captions": "placevec.sources.captions",
    "read_skipped": "placevec.table",
    "read_table": "placevec.table",
    "run": "placevec.tasks.run",
    "search": "placevec.tasks.search",
    "similarity": "placevec.tasks.map_similarity",
    "train": "placevec.tasks.train",
    "write_table": "placevec.table",
}

__all__ = sorted(_PUBLIC)  # noqa: PLE0605 (the names stand in the table above; a second list would drift)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        found = getattr(importlib.import_module(_PUBLIC[name]), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module 'placevec' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
