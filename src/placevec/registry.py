"""Names to implementations: the built-in parts, plug-ins by entry point, and optional packages.

A part is written as ``"module:attribute"`` and imported only when asked for, so that naming what exists costs
nothing. A plug-in package adds its own by an entry point in the group ``placevec.<kind>``, for example::

    [project.entry-points."placevec.encoder"]
    my-encoder = "my_package.encoder:MyEncoder"
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from placevec.errors import MissingExtra, UsageError

_BUILT_IN: dict[str, dict[str, str]] = {
    "index": {
        "exact": "placevec.index.exact:ExactIndex",
        "faiss": "placevec.index.faiss:FaissIndex",
        "lance": "placevec.index.stores.lance:LanceIndex",
    },
    "encoder": {
        "location": "placevec.encoders.location:LocationEncoder",
        "image": "placevec.encoders.image:ImageEncoder",
        "text": "placevec.encoders.text:TextEncoder",
        "hf": "placevec.encoders.hf:HfImageEncoder",
        "hf-text": "placevec.encoders.hf:HfTextEncoder",
        "pair": "placevec.encoders.pair:PairModel",
        "scenes": "placevec.encoders.scenes:SceneEncoder",
        "landscape": "placevec.encoders.landscape:LandscapeEncoder",
        "locator": "placevec.encoders.locator:Locator",
        "precomputed": "placevec.encoders.precomputed:PrecomputedEncoder",
        "fuser": "placevec.encoders.fuser:Fuser",
    },
    "store": {
        "qdrant": "placevec.index.stores.qdrant:QdrantStore",
        "qdrants": "placevec.index.stores.qdrant:QdrantStore",
        "postgresql": "placevec.index.stores.postgres:PostgresStore",
        "lance": "placevec.index.stores.lance:LanceStore",
    },
    # A name -> the dataclass of its settings, see tasks.modalities.base; sorted as `area features --help` shows them.
    "modality": {
        "poi": "placevec.tasks.modalities.poi:PoiModality",
        "poi-hex2vec": "placevec.tasks.modalities.poi_hex2vec:PoiHex2VecModality",
        "tessera": "placevec.tasks.modalities.tessera:TesseraModality",
        "terrain": "placevec.tasks.modalities.terrain:TerrainModality",
        "raster": "placevec.tasks.modalities.raster:RasterModality",
        "landcover": "placevec.tasks.modalities.landcover:LandCoverModality",
        "aerial": "placevec.tasks.modalities.aerial:AerialModality",
        "alphaearth": "placevec.tasks.modalities.alphaearth:AlphaEarthModality",
        "columns": "placevec.tasks.modalities.columns:Columns",
        "table": "placevec.tasks.modalities.spread:Table",
        "roads": "placevec.tasks.modalities.roads:RoadModality",
        "transit": "placevec.tasks.modalities.transit:Transit",
        "access": "placevec.tasks.modalities.access:Access",
    },
    "engine": {
        "local": "placevec.engine.local:LocalEngine",
        "ray": "placevec.engine.ray:RayEngine",
    },
}


def names(kind: str) -> list[str]:
    """The names known for `kind` ("encoder", "index", "engine", ...), built-in and plug-in, sorted."""
    plugins = {point.name for point in entry_points(group=f"placevec.{kind}")}
    return sorted(plugins | set(_BUILT_IN.get(kind, {})))


def get(kind: str, name: str) -> Any:
    """The implementation called `name` of `kind`, imported now.

    Raises UsageError, with the names that exist, when there is none. A plug-in cannot replace a built-in part.
    """
    target = _BUILT_IN.get(kind, {}).get(name)
    if target is not None:
        module, _, attribute = target.partition(":")
        return getattr(importlib.import_module(module), attribute)
    for point in entry_points(group=f"placevec.{kind}"):
        if point.name == name:
            return point.load()
    known = ", ".join(names(kind)) or "none"
    raise UsageError(f"no {kind} is called {name!r}; known: {known}")


def need(package: str, *, extra: str, purpose: str) -> ModuleType:
    """Import the optional `package`, or raise MissingExtra naming the `extra` that installs it.

    `purpose` says what the package is for, as the start of a sentence: "reading rasters".
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        # Only the absence of the package itself is a missing extra; a broken dependency of it must be seen as it is.
        if error.name is not None and error.name.split(".")[0] == package.split(".")[0]:
            raise MissingExtra(package, extra, purpose) from None
        raise
