"""The faults of the original of issue 5 (VectorGeo), read in its code: none of them is here.

One test for each fault. Where a test of a part shows it already, `ELSEWHERE` names that one, and it is proven to exist.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rasterio.transform import Affine

import patch_fakes as fakes
import tiny_landscape as tiny
from placevec.cli.main import run
from placevec.encoders.landscape import BATCH, LandscapeEncoder
from placevec.encoders.model import WEIGHTS, load_encoder
from placevec.errors import CheckpointError
from placevec.geo.sphere import LonLat, distance_m
from placevec.index.stores import open_store
from placevec.nn.landscape import LandscapeConfig, PlaneConfig
from placevec.nn.landscape.resnet import ResidualBlock
from placevec.provenance import Space
from placevec.sources.base import ArraySource
from placevec.sources.patches import Layer, PatchSource, draw_pairs
from placevec.sources.rasters import Raster
from placevec.table import EmbeddingTable, Filter, Places, read_table, write_table
from placevec.tasks.embed import embed
from placevec.tasks.search import search
from placevec.train.landscape import LandscapeObjective, Pairs
from s3_server import BUCKET, running

TESTS = Path(__file__).parents[1]

ELSEWHERE = {
    "gradients are clipped before there are any": (
        "unit/train/landscape/test_training.py",
        "test_the_gradient_is_clipped",
    ),
    "early stopping never fires": (
        "unit/train/landscape/test_training.py",
        "test_it_stops_when_validation_gains_nothing",
    ),
    "early stopping fires while the loss improves": (
        "unit/train/landscape/test_training.py",
        "test_it_goes_on_while_validation_gains",
    ),
    "test data move the running averages": (
        "unit/train/landscape/test_training.py",
        "test_how_often_it_is_validated_changes_no_weight",
    ),
    "every block learns": (
        "unit/train/landscape/test_training.py",
        "test_every_block_learns",
    ),
    "negatives are any other patch, however near": (
        "unit/train/landscape/test_objective.py",
        "test_what_is_near_is_never_a_negative",
    ),
    "no mining": (
        "unit/train/landscape/test_objective.py",
        "test_triplets_one_by_one",
    ),
    "a random test split": (
        "unit/tasks/test_train_landscape.py",
        "test_what_is_learned_from_keeps_away_from_what_is_held_out",
    ),
    "patches in degrees shrink with latitude": (
        "unit/sources/patches/test_patch_source.py",
        "test_the_ground_is_as_wide_at_every_latitude",
    ),
    "layers of different footprints": (
        "unit/sources/patches/test_patch_source.py",
        "test_layers_of_two_systems_show_the_same_ground",
    ),
    "elevation is scaled patch by patch": (
        "unit/train/landscape/test_start.py",
        "test_a_mountain_differs_from_a_plain",
    ),
    "all errors are hidden": (
        "unit/sources/patches/test_patch_source.py",
        "test_an_unknown_code_says_which_and_where",
    ),
    "high latitudes are drawn too often": (
        "unit/sources/patches/test_patch_pairs.py",
        "test_anchors_are_uniform_on_the_ground",
    ),
    "small islands are lost": (
        "unit/sources/stencil/test_cover.py",
        "test_every_islet_has_its_cell_at_every_level",
    ),
    "all cells in one set in memory": (
        "unit/engine/test_partitioned.py",
        "test_a_plan_of_many_places_takes_no_memory",
    ),
    "no resume": (
        "e2e/test_kill_engines.py",
        "test_killed_five_times_and_resumed",
    ),
    "no metrics": (
        "unit/tasks/test_evaluate_landscape.py",
        "test_one_call_gives_one_table",
    ),
    "ids that Qdrant does not take": (
        "unit/index/stores/test_keys.py",
        "test_a_key_for_each_id",
    ),
    "a filter after the search": (
        "contract/test_stores.py",
        "test_a_filter_finds_the_best_of_what_passes",
    ),
    "scripts that drop the production table": (
        "contract/test_stores.py",
        "test_another_space_is_refused",
    ),
}


@pytest.mark.parametrize("fault", ELSEWHERE)
def test_what_shows_it_exists(fault: str) -> None:
    path, name = ELSEWHERE[fault]
    assert f"def {name}(" in (TESTS / path).read_text(), f"{path}::{name}"


# --- the network and its training


def test_1_six_blocks_are_six_blocks() -> None:
    """Of 6 wanted, 2 survived, for names were used again."""
    shape = LandscapeConfig((PlaneConfig("cover", 5),), pixels=16, stem=1, widths=(4, 5, 6), depth=2, dims=3)
    net = LandscapeEncoder.untrained(shape).net
    assert sum(isinstance(module, ResidualBlock) for module in net.modules()) == 6
    kernels = {name for name in net.state_dict() if re.search(r"stages\.\d\.\d\.(first|second)\.weight", name)}
    assert len(kernels) == 12


def objective() -> LandscapeObjective:
    pairs = Pairs.of(tiny.source(60), tiny.NAMES)
    shape = LandscapeConfig(
        (PlaneConfig("cover", 5), PlaneConfig("elevation", 0, 500.0, 200.0)), pixels=8, dims=4, stem=2
    )
    return LandscapeObjective(pairs, pairs.take(np.arange(0)), LandscapeEncoder.untrained(shape).net, tiny.training())


def test_2_all_layers_of_a_negative_are_of_one_place() -> None:
    """Negatives of land cover and of elevation were shuffled by themselves."""
    made = objective()
    batch = made.batch(np.random.default_rng(0).permutation(60)[:32])
    found = {tuple(p.ravel().tolist()): tuple(q.ravel().tolist()) for p, q in zip(
        batch["neighbour/cover"], batch["neighbour/elevation"], strict=True)}  # fmt: skip
    whole = made.pairs.source.read(made.pairs.neighbours).data
    known = {tuple(p.ravel().tolist()): tuple(q.ravel().tolist()) for p, q in zip(
        whole["cover"], whole["elevation"], strict=True)}  # fmt: skip
    assert found.items() <= known.items()


def test_3_no_negative_is_the_anchors_own_neighbour_nor_beside_it() -> None:
    """Negatives were any shuffle, in which a neighbour could stand at its own place."""
    made = objective()
    batch = made.batch(np.arange(60))
    near = made.module.near(batch["unit"], batch["other"])
    pairs = made.pairs
    for i in range(60):
        apart = distance_m(pairs.lonlat[np.full(60, i)], pairs.other)
        negatives = ~near[i].numpy() & (np.arange(60) != i)
        assert (apart[negatives] >= made.far_m - 1e-3).all()


# --- patches


def test_7_a_plain_is_no_mountain(tmp_path: Path) -> None:
    """Each patch was stretched between its own least and greatest height."""
    rng = np.random.default_rng(0)
    pattern = rng.normal(size=(4, 8, 8)).astype(np.float32)
    cover = np.ones((4, 8, 8), np.uint8)
    shape = LandscapeConfig(
        (PlaneConfig("cover", 5), PlaneConfig("elevation", 0, 500.0, 300.0)), pixels=8, dims=6, stem=2
    )
    encoder = LandscapeEncoder.untrained(shape)
    plain, mountain = (encoder.encode({"cover": cover, "elevation": 500 + relief * pattern}) for relief in (1.0, 400.0))
    # Of untrained weights the length means nothing: the difference is measured by it.
    length = np.linalg.norm(plain, axis=1)
    assert (np.abs(plain - mountain).max(axis=1) > 0.05 * length).all()


def test_layers_stay_together_where_one_has_a_hole(tmp_path: Path) -> None:
    """Patches of one layer were left out, those of the other were not: nothing fitted together any more."""
    place = Affine(0.001, 0, 10.0, 0, -0.001, 50.0)
    cover = fakes.classes(300, 300)
    cover[:, 100:200] = 0
    lon = np.repeat(10.0 + 0.001 * (np.arange(300)[None] + 0.5), 300, axis=0).astype(np.float32)
    layers = [
        Layer("cover", Raster(fakes.write(tmp_path / "c.tif", cover, place, "EPSG:4326", nodata=0)), fakes.TABLE),
        Layer("degrees", Raster(fakes.write(tmp_path / "l.tif", lon, place, "EPSG:4326"))),
    ]
    at = np.array([10.05, 10.15, 10.25])
    batch = PatchSource(fakes.places(at, [49.85] * 3), layers, 1500, 8).read(np.arange(3))
    assert batch.rows.tolist() == [0, 2]
    assert {len(values) for values in batch.data.values()} == {2}
    np.testing.assert_allclose(batch.data["degrees"].mean(axis=(1, 2)), at[[0, 2]], atol=1e-4)


def test_10_pairs_are_as_far_apart_at_every_latitude() -> None:
    """Annuli were drawn in Mercator metres, half as long at 60 degrees."""
    import shapely

    for south in (0, 60):
        ends = draw_pairs(shapely.box(10, south, 12, south + 1), 60, inner_m=2000, outer_m=4000)
        where = LonLat(ends.lon, ends.lat)
        apart = distance_m(where[np.arange(0, 120, 2)], where[np.arange(1, 120, 2)])
        assert 1980 < apart.min() < 2700 < 3500 < apart.max() < 4040  # on a sphere, not an ellipsoid


# --- embedding


def landscape(n: int, homogeneous: int = 0) -> tuple[ArraySource, LandscapeEncoder]:
    rng = np.random.default_rng(0)
    cover = rng.integers(1, 6, (n, 8, 8)).astype(np.uint8)
    cover[:homogeneous] = 2
    where = LonLat(rng.uniform(5, 6, n), rng.uniform(50, 51, n))
    shape = LandscapeConfig((PlaneConfig("cover", 5),), pixels=8, dims=6, stem=2)
    return ArraySource(
        Places.create([f"p{i:04d}" for i in range(n)], where), {"cover": cover}
    ), LandscapeEncoder.untrained(shape)


def test_8_deserts_are_embedded_and_flagged(tmp_path: Path) -> None:
    """Cells of which one class held more than 95 % were dropped without a word."""
    source, encoder = landscape(20, homogeneous=7)
    made = embed(source, encoder, tmp_path / "t.parquet")
    assert (made.places, made.rows, made.skipped, made.flagged) == (20, 20, 0, {"homogeneous": 7})
    table = read_table(tmp_path / "t.parquet")
    flagged = table.ids[np.asarray(table.column("homogeneous"), dtype=bool)]
    assert sorted(flagged.tolist()) == [f"p{i:04d}" for i in range(7)]


@pytest.mark.parametrize("n", [1, 10, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 44])
def test_9_the_last_batch_is_embedded_too(tmp_path: Path, n: int) -> None:
    """Whatever remained below 256 was lost."""
    source, encoder = landscape(n)
    assert embed(source, encoder, tmp_path / "t.parquet", batch=BATCH).rows == n
    assert sorted(read_table(tmp_path / "t.parquet").ids.tolist()) == [f"p{i:04d}" for i in range(n)]


def test_9_a_trial_of_ten_cells_uploads_ten_cells(tmp_path: Path) -> None:
    """The test command of the README uploaded nothing; and here it goes beside the collection, never into it."""
    source, encoder = landscape(40)
    embed(source, encoder, tmp_path / "t.parquet")
    url = f"lance://{tmp_path}/cells.lance"
    assert run(["index", str(tmp_path / "t.parquet"), "--to", url]) == 0
    assert run(["index", str(tmp_path / "t.parquet"), "--to", url, "--test", "10"]) == 0
    cards = [open_store(one).card() for one in (url, f"lance://{tmp_path}/cells-test.lance")]
    assert [card.rows for card in cards if card is not None] == [40, 10]


def test_11_nothing_pickled_is_loaded(tmp_path: Path) -> None:
    """Whole modules were pickled: to load one is to run what it says."""
    _, encoder = landscape(1)
    folder = tmp_path / "m"
    encoder.save(folder)
    assert not [path for path in folder.iterdir() if path.suffix in (".pt", ".pth", ".pkl", ".ckpt")]

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    torch.save(Trap(), folder / WEIGHTS)
    with pytest.raises(CheckpointError):
        load_encoder(folder)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.slow
def test_12_a_bucket_of_more_than_a_thousand_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of a bucket come by the thousand; only the first was read."""
    from placevec.objects import Remote
    from placevec.objects.client import client, obstore

    with running(monkeypatch):
        store = client(BUCKET)
        for number in range(1005):
            obstore().put(store, f"tables/part-{number:04d}", b"x")
        found = [one.name for one in Remote(BUCKET, "tables").iterdir()]
    assert sorted(found) == [f"part-{number:04d}" for number in range(1005)]


# --- search


@pytest.mark.parametrize("kind", ["hnsw", "ivf-sq8"])
def test_14_a_small_circle_gives_as_many_as_there_are(tmp_path: Path, kind: str) -> None:
    """An approximate index that is filtered afterwards gives a short list, or none."""
    rng = np.random.default_rng(0)
    where = LonLat(rng.uniform(0, 10, 4000), rng.uniform(40, 50, 4000))
    vectors = rng.normal(size=(4000, 16)).astype(np.float32)
    places = Places.create([f"p{i:04d}" for i in range(4000)], where)
    table = EmbeddingTable.of(places, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), Space.mint(16))
    write_table(table, tmp_path / "t.parquet")
    assert run(["index", str(tmp_path / "t.parquet"), "--kind", kind]) == 0
    inside = np.flatnonzero(distance_m(LonLat(np.full(4000, 5.0), np.full(4000, 45.0)), where) <= 60_000)
    assert 20 < len(inside) < 100
    for k in (10, 1000):
        hits = search(str(tmp_path / "t.parquet"), like="p0000", k=k, filter=Filter(near=(5.0, 45.0, 60_000.0)))
        best = inside[np.argsort(-(table.vectors()[inside] @ table.vectors()[0]))]
        best = best[best != 0][:k]
        assert hits.ids.tolist() == table.ids[best].tolist()
