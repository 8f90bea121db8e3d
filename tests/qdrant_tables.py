"""Tables with what makes trouble for filters, and stores to load them into."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from placevec.geo.sphere import LonLat
from placevec.index.stores import parse_store_url
from placevec.index.stores.qdrant import QdrantStore
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Places
from placevec.table.geometry import points_to_wkb
from qdrant_edge_client import EdgeClient

_NUMBERS = itertools.count()
COVERS = ("forest", "grass", "city")


def in_memory(**options: Any) -> QdrantStore:
    """A new store in the memory of this process."""
    return QdrantStore(parse_store_url(f"qdrant://:memory:/places-{next(_NUMBERS)}"), **options)


def on_edge(folder: Path, **options: Any) -> QdrantStore:
    """A new store in the engine of Qdrant, in this process."""
    client = EdgeClient(folder / f"edge-{next(_NUMBERS)}")
    return QdrantStore(parse_store_url("qdrant://edge/places"), client=client, **options)


def hard_table(n: int = 300, d: int = 6, *, seed: int = 3) -> EmbeddingTable:
    """Both names of the antimeridian, both poles, points on round numbers, no place at all; nulls in every column."""
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(-180, 180, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    lon[: n // 3] = rng.uniform(-6, 6, n // 3).round() + np.where(rng.random(n // 3) < 0.5, 0.0, 180.0)
    lon = np.where(lon > 180, lon - 360, lon)
    lat[: n // 3] = rng.uniform(-6, 6, n // 3).round()
    special = [(180, 0), (-180, 0), (180, 3), (-180, -3), (0, 90), (57, 90), (0, -90), (-120, -90), (0, 0), (-5, 5)]
    lon[: len(special)], lat[: len(special)] = np.array(special, dtype=float).T
    located = rng.random(n) < 0.9
    located[: len(special)] = True
    absent = rng.random((6, n)) < 0.15
    elevation = rng.choice([-1.5, 0.0, 0.1, 5.0, 2.0**60], n).astype(np.float64)
    elevation[rng.random(n) < 0.1] = np.nan
    elevation[rng.random(n) < 0.05] = np.inf
    start = datetime(2020, 1, 1, tzinfo=UTC)
    times = [start + timedelta(days=int(days)) for days in rng.integers(0, 4, n)]
    data = pa.table(
        {
            "id": pa.array([f"row {i:03d}" for i in range(n)]),
            "geometry": points_to_wkb(LonLat(lon[located], lat[located]), located),
            "time_start": pa.array(times, pa.timestamp("us", "UTC"), mask=absent[0]),
            "elevation": pa.array(elevation, pa.float64(), mask=absent[1]),
            "rough": pa.array(rng.choice([0.1, 0.5, 2.0], n), pa.float32(), mask=absent[2]),
            "count": pa.array(rng.choice([-3, 0, 1, 2], n), pa.int64(), mask=absent[3]),
            "big": pa.array(rng.choice([2**55, 2**55 + 1], n), pa.int64()),
            "cover": pa.array(rng.choice(COVERS, n).astype(object), pa.string(), mask=absent[4]),
            "wet": pa.array(rng.random(n) < 0.5, pa.bool_(), mask=absent[5]),
            "odd name.x": pa.array(rng.integers(0, 3, n), pa.int32()),
        }
    )
    vectors = rng.standard_normal((n, d)).astype(np.float32)
    return EmbeddingTable.of(Places(data), vectors, Space.mint(d, metric="dot"), tower="image")
