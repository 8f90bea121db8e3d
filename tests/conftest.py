"""What all tests share: the folder of real data, small tables, and hypothesis settings."""

from __future__ import annotations

import gc
import os
from pathlib import Path

# One thread a process, here and in what the tests start, unless the caller says otherwise: with as many as cores in
# each of pytest's workers they wait for each other more than they compute. Read when numpy and torch are loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from placevec.geo.sphere import LonLat
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Places

settings.register_profile(
    "placevec",
    deadline=None,  # the machines are shared: time says nothing there
    derandomize=True,  # the same examples for everyone: `make fuzz` looks for new ones
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
settings.register_profile(
    "fuzz", settings.get_profile("placevec"), derandomize=False, max_examples=400, print_blob=True
)
settings.load_profile(os.environ.get("PLACEVEC_HYPOTHESIS", "placevec"))


def pytest_collection_finish() -> None:
    """Take what the imports left out of garbage collection: it stays until the end, and looking at it takes time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data; a test that asks for it is skipped where there is none."""
    folder = os.environ.get("PLACEVEC_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs the real data: set PLACEVEC_DATA to its folder")
    return Path(folder)


def make_table(
    n: int = 200,
    d: int = 8,
    *,
    seed: int = 0,
    dtype: str = "float32",
    space: Space | None = None,
    box: tuple[float, float, float, float] = (-9.0, 36.0, 3.0, 43.0),
    prefix: str = "p",
    unit: bool = True,
) -> EmbeddingTable:
    """A table of random points of a box, with random unit vectors and three attributes."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, d)).astype(np.float32)
    if unit:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places = Places.create(
        [f"{prefix}{i:05d}" for i in range(n)],
        LonLat(rng.uniform(box[0], box[2], n), rng.uniform(box[1], box[3], n)),
        attributes={
            "elevation": rng.uniform(0, 3000, n),
            "cover": rng.choice(["forest", "grass", "urban"], n),
            "count": rng.integers(0, 50, n),
        },
    )
    return EmbeddingTable.of(places, vectors, space or Space.mint(d), dtype=dtype)


@pytest.fixture
def table() -> EmbeddingTable:
    """A table of 200 points of Iberia."""
    return make_table()
