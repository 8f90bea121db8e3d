"""The five systems that placevec unites, each in miniature, on one contract.

The encoders are fakes of a few lines; what is tested is that places, tables, Spaces, jobs and searches carry each
system's needs without a special case: a bank and a query in one Space, two dates of one place, grouped photos and
labels that were seen, a missing modality, and images without coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from placevec.encoders.base import ModelCard
from placevec.errors import LeakError, SchemaError, SpaceMismatch
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.measure.leaks import refuse_leaks
from placevec.measure.splits import block_split
from placevec.provenance import Saw, Space, digest_json
from placevec.sources.base import ArraySource, Batch
from placevec.table import EmbeddingTable, Filter, Places, Skipped, open_table, read_skipped, read_table, write_table
from placevec.tasks.embed import embed
from placevec.tasks.search import search

FORMS = ["parquet", "lance"]


class Fake:
    """An encoder that projects one input by a fixed random matrix."""

    def __init__(self, key: str, width: int, space: Space, tower: str, *, seed: int = 0, saw: tuple[Saw, ...] = ()):
        self.inputs = (key,)
        self.space, self.tower, self.dims = space, tower, space.dims
        self.card = ModelCard("fake", space, tower, inputs=self.inputs, saw=saw)
        self._matrix = np.random.default_rng(seed).standard_normal((width, space.dims)).astype(np.float32)

    def encode(self, data: Mapping[str, np.ndarray]) -> np.ndarray:
        values = np.asarray(data[self.inputs[0]], dtype=np.float32).reshape(len(data[self.inputs[0]]), -1)
        vectors = values @ self._matrix
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def cells_of(resolution: int = 5, n: int = 60) -> tuple[np.ndarray, LonLat]:
    grid = H3Cells(resolution)
    cells = np.unique(grid.assign(LonLat(np.linspace(-8, 2, n), np.linspace(37, 43, n))))
    return cells, grid.centre(cells)


def run(source: Any, encoder: Fake, out: Path, **options: Any) -> EmbeddingTable:
    embed(source, encoder, out, **options)
    return read_table(out).validate()


@pytest.mark.parametrize("form", FORMS)
def test_regional_location_encoder_with_retrieval(tmp_path: Path, form: str) -> None:
    """A location tower joins the Space of image vectors; a bank answers its queries; augmentation derives a Space."""
    cells, centres = cells_of()
    places = Places.create([f"{c:x}" for c in cells], centres, h3=cells)
    coordinates = np.column_stack([centres.lon, centres.lat])
    images = Space.mint(8, note="image vectors")
    # The fake image shows where it was taken, so that a location finds it.
    bank = run(
        ArraySource(places, {"image": coordinates}), Fake("image", 2, images, "image"), tmp_path / f"bank.{form}"
    )
    located = Fake("lonlat", 2, images, "location")
    here = run(ArraySource(places, {"lonlat": coordinates}), located, tmp_path / f"here.{form}")
    assert here.space == bank.space
    assert here.meta.tower != bank.meta.tower
    query = located.encode({"lonlat": coordinates[:1]})[0]
    hits = search(open_table(tmp_path / f"bank.{form}"), vector=query, k=3)
    assert hits.ids[0] == places.ids[0]
    # Retrieval must not find the query itself, nor what lies within the buffer.
    away = search(open_table(tmp_path / f"bank.{form}"), like=[str(places.ids[0])], k=3, min_distance_m=50_000)
    assert places.ids[0] not in list(away.ids)
    derived = Space.derived([images], digest_json({"augment": "top1", "bank": bank.fingerprint()}), 16)
    both = here.with_vectors(
        np.concatenate([here.vectors(), bank.align(here).vectors()], axis=1),
        derived,
        parents=(here.fingerprint(), bank.fingerprint()),
    )
    write_table(both, tmp_path / f"both.{form}")
    again = read_table(tmp_path / f"both.{form}")
    assert again.meta.parents == (here.fingerprint(), bank.fingerprint())
    assert again.space.parents == (images.id,)
    with pytest.raises(SpaceMismatch):
        search(again, vector=query, space=images, k=1)


@pytest.mark.parametrize("form", FORMS)
def test_land_cover_at_two_dates(tmp_path: Path, form: str) -> None:
    """Two rows observe one place; time is a filter; the change of a place is the distance of its rows."""
    cells, centres = cells_of()
    n = len(cells)
    rng = np.random.default_rng(1)
    before = rng.random((n, 5))
    after = before.copy()
    after[:7] = rng.random((7, 5))
    names = [f"{c:x}" for c in cells]
    years = np.repeat(np.array(["2015-01-01", "2025-01-01"], dtype="datetime64[us]"), n)
    places = Places.create(
        [f"{name}@{year}" for year in (2015, 2025) for name in names],
        LonLat(np.tile(centres.lon, 2), np.tile(centres.lat, 2)),
        place=names * 2,
        h3=np.tile(cells, 2),
        time_start=years,
    )
    source = ArraySource(places, {"shares": np.concatenate([before, after])})
    table = run(source, Fake("shares", 5, Space.mint(6), "landcover"), tmp_path / f"cover.{form}")
    stored = open_table(tmp_path / f"cover.{form}")
    old = stored.read(Filter(where="time_start < '2020-01-01'"))
    new = stored.read(Filter(where="time_start >= '2020-01-01'", h3=cells))
    assert len(old) == len(new) == n
    order = {key: row for row, key in enumerate(new.keys)}
    similarity = [old.vectors()[row] @ new.vectors()[order[key]] for row, key in enumerate(old.keys)]
    changed = {key for key, value in zip(old.keys, similarity, strict=True) if value < 1 - 1e-5}
    assert changed == set(names[:7])
    # The other date of a place is no neighbour to be proud of: places that repeat stay in one fold.
    split = block_split(table.lonlat(), "h3:3", k=3, groups=table.keys)
    for train, test in split.pairs():
        assert not set(table.keys[train]) & set(table.keys[test])


def test_photos_located_by_geocells(tmp_path: Path) -> None:
    """Several photos of one place, labels that an encoder saw, and rows that it did not."""
    rng = np.random.default_rng(2)
    n = 120
    spots = [rng.uniform(-9, 3, n // 3), rng.uniform(36, 43, n // 3)]
    lonlat = LonLat(*(np.repeat(degrees, 3) + rng.uniform(0, 1e-4, n) for degrees in spots))
    places = Places.create(
        [f"photo{i}" for i in range(n)],
        lonlat,
        place=[f"spot{i // 3}" for i in range(n)],
        asset=[f"photos/{i}.jpg" for i in range(n)],
        attributes={"province": rng.choice(["north", "south"], n)},
    )
    split = block_split(lonlat, "h3:2", k=3, groups=places.keys, strays="drop")
    learned_from = tuple(fold for fold in range(3) if fold != 0)
    saw = Saw("pv1-labels", "province", split.spec, learned_from)
    encoder = Fake("pixels", 4, Space.mint(5), "photo", saw=(saw,))
    table = run(ArraySource(places, {"pixels": rng.random((n, 4))}), encoder, tmp_path / "photos.parquet")
    assert table.meta.saw == (saw,)
    # What was not seen may be tested; what was seen may not.
    aligned = table.align(places)
    unseen = np.flatnonzero(split.fold == 0)
    refuse_leaks("photos", table.meta.saw, "province", aligned.lonlat(), aligned.keys, unseen)
    with pytest.raises(LeakError, match="fitted on the labels 'province'"):
        refuse_leaks("photos", table.meta.saw, "province", aligned.lonlat(), aligned.keys)
    refuse_leaks("photos", table.meta.saw, "elevation", aligned.lonlat(), aligned.keys)
    # A transform of the vectors inherits what they saw.
    space = Space.derived([table.space], "pca", 2)
    assert table.with_vectors(table.vectors()[:, :2], space).meta.saw == (saw,)


@pytest.mark.parametrize("form", FORMS)
def test_late_fusion_with_a_missing_modality(tmp_path: Path, form: str) -> None:
    """A modality that a cell lacks is the absence of a row; the cell without any is skipped with its reason."""
    cells, centres = cells_of()
    names = np.array([f"{c:x}" for c in cells])
    rng = np.random.default_rng(3)

    class Partial:
        """Reads every row but some, as roads do where there are none."""

        def __init__(self, missing: set[int]) -> None:
            self.missing = missing
            self.values = rng.random((len(cells), 3))

        def places(self) -> Places:
            return Places.create(names, centres, h3=cells)

        def read(self, rows: np.ndarray) -> Batch:
            kept = np.array([row for row in rows if row not in self.missing], dtype=np.int64)
            gone = [Skipped(names[row], "read", "no roads") for row in rows if row in self.missing]
            return Batch(kept, {"counts": self.values[kept]}, gone)

    spaces = {"roads": Space.mint(4), "shops": Space.mint(3)}
    tables = {}
    for seed, (name, missing) in enumerate({"roads": {0, 5, 9}, "shops": {5, 11}}.items()):
        path = tmp_path / f"{name}.{form}"
        encoder = Fake("counts", 3, spaces[name], name, seed=seed)
        tables[name] = run(Partial(missing), encoder, path, shard_rows=16)
        skipped = read_skipped(path)
        assert len(tables[name]) + len(skipped) == len(cells)
        assert {row.reason for row in skipped} == {"no roads"}
    rows = {name: table.rows_of(names) for name, table in tables.items()}
    present = np.stack([rows["roads"] >= 0, rows["shops"] >= 0], axis=1)
    some = present.any(axis=1)
    assert (~some).sum() == 1  # cell 5 has neither
    fused = np.zeros((int(some.sum()), 7), dtype=np.float32)
    start = 0
    for column, (name, table) in enumerate(tables.items()):
        at = rows[name][some]
        fused[at >= 0, start : start + table.dims] = table.vectors(at[at >= 0])
        start += table.dims
        assert column < present.shape[1]
    space = Space.derived(list(spaces.values()), digest_json("concat"), 7)
    places = Places.create(names[some], centres[np.flatnonzero(some)], h3=cells[some])
    whole = EmbeddingTable.of(places, fused, space, parents=tuple(t.fingerprint() for t in tables.values()))
    assert set(whole.space.parents) == {one.id for one in spaces.values()}
    with pytest.raises(SpaceMismatch):
        whole.append(tables["roads"])
    with pytest.raises(SchemaError, match="2 of"):
        tables["shops"].align(Places.create(names))


@pytest.mark.parametrize("form", FORMS)
def test_captioned_images_without_coordinates(tmp_path: Path, form: str) -> None:
    """Image and text towers share a Space; rows without geometry are found by words and left out by maps."""
    words = np.eye(6, dtype=np.float32)
    space = Space.mint(6)
    images = Places.create([f"chip{i}" for i in range(6)], asset=[f"chip{i}.png" for i in range(6)])
    captions = Places.create(
        [f"chip{i}#{j}" for i in range(6) for j in range(2)],
        place=[f"chip{i}" for i in range(6) for _ in range(2)],
        attributes={"caption": [f"thing {i} said in way {j}" for i in range(6) for j in range(2)]},
    )
    seen = run(ArraySource(images, {"image": words}), Fake("image", 6, space, "image"), tmp_path / f"images.{form}")
    said = run(
        ArraySource(captions, {"text": np.repeat(words, 2, axis=0)}),
        Fake("text", 6, space, "text"),
        tmp_path / f"captions.{form}",
    )
    assert (seen.meta.tower, said.meta.tower) == ("image", "text")
    assert not seen.located.any()
    query = said.vectors(said.rows_of(["chip4#1"]))[0]
    hits = search(open_table(tmp_path / f"images.{form}"), vector=query, space=said.space, k=2)
    assert hits.ids[0] == "chip4"
    nowhere = search(
        open_table(tmp_path / f"images.{form}"), vector=query, k=2, filter=Filter(bbox=(-180, -90, 180, 90))
    )
    assert len(nowhere.ids) == 0
    assert nowhere.plan.unlocated == 6
