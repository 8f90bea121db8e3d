"""`train landscape`: who is held out, and the story from rasters to a search on the command line."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st
from rasterio.transform import Affine

import patch_fakes as fakes
from placevec.area import StudyArea
from placevec.cli.main import run
from placevec.encoders.landscape import LandscapeEncoder
from placevec.encoders.model import load_encoder
from placevec.errors import CheckpointError, DataError, SchemaError, UsageError
from placevec.features.signatures import MaskedCentre
from placevec.geo.sphere import LonLat, distance_m
from placevec.measure.splits import seen
from placevec.provenance import Space
from placevec.sources.base import Partitioned
from placevec.sources.patches import PatchSet
from placevec.table import EmbeddingTable, read_skipped, read_table, write_table
from placevec.tasks.input_files import prepared
from placevec.tasks.inputs import Input, open_raster
from placevec.tasks.patch_inputs import parse_layer
from placevec.tasks.train_landscape import split_pairs, train_landscape
from placevec.train.landscape import Pairs

QUICK = {
    "dims": 6, "stem": 2, "widths": [4], "hidden": 8, "infill": 0.5,
    "loop": {"epochs": 2, "batch_size": 32, "accelerator": "cpu"},
}  # fmt: skip
RULE = ("grid:0.05", 4, None)


# --- who is held out


def some_pairs(seed: int, n: int, reach_m: float) -> tuple[LonLat, LonLat]:
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(10.0, 10.4, n), rng.uniform(50.0, 50.3, n)
    step = reach_m / 111_195 * rng.uniform(0.2, 1.0, n)
    angle = rng.uniform(0, 2 * np.pi, n)
    return LonLat(lon, lat), LonLat(lon + step * np.cos(angle) / np.cos(np.radians(lat)), lat + step * np.sin(angle))


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(60, 200),
    folds=st.integers(2, 6),
    test_folds=st.integers(0, 4),
    buffer_m=st.sampled_from([0.0, 300.0, 1500.0]),
    reach_m=st.sampled_from([200.0, 3000.0]),
)
def test_what_is_learned_from_keeps_away_from_what_is_held_out(
    seed: int, n: int, folds: int, test_folds: int, buffer_m: float, reach_m: float
) -> None:
    assume(test_folds <= folds - 2)
    anchors, others = some_pairs(seed, n, reach_m)
    try:
        parts = split_pairs(anchors, others, "grid:0.1", folds, buffer_m, test_folds)
    except DataError:
        assume(False)  # see `test_a_buffer_that_leaves_nothing`
        return
    assert not (parts.learn & parts.val).any()
    assert parts.learn.any()
    held = (0, *range(1, test_folds + 1))
    folded = {fold: [seen(parts.spec, [fold], ends, None) for ends in (anchors, others)] for fold in range(folds)}
    # Validation pairs lie in the first fold with both ends, pairs to learn from in the last ones.
    np.testing.assert_array_equal(parts.val, folded[0][0] & folded[0][1])
    for fold in held:
        assert not (parts.learn & (folded[fold][0] | folded[fold][1])).any()
    # What a card says was seen: the folds that are learned from, and the one that chooses the weights.
    assert parts.seen == tuple(sorted({*range(folds)} - {*range(1, test_folds + 1)}))
    tested = np.any([folded[fold][end] for fold in range(1, test_folds + 1) for end in (0, 1)], axis=0)
    for end in (anchors, others):
        assert not (seen(json.loads(json.dumps(parts.spec)), parts.seen, end, None) & parts.learn & tested).any()
    everyone = LonLat(np.concatenate([anchors.lon, others.lon]), np.concatenate([anchors.lat, others.lat]))
    outside = np.any([np.concatenate(folded[fold]) for fold in held], axis=0)
    kept_away = everyone[np.flatnonzero(outside)]
    for i in np.flatnonzero(parts.learn):
        for end in (anchors, others):
            gap = distance_m(end[np.full(len(kept_away), i)], kept_away)
            assert gap.min(initial=np.inf) > buffer_m - 1e-3


@pytest.mark.parametrize(("folds", "test_folds"), [(2, 1), (5, 4), (5, -1)])
def test_folds_that_leave_none_to_learn_from(folds: int, test_folds: int) -> None:
    with pytest.raises(UsageError, match=f"{test_folds} of {folds} folds"):
        split_pairs(*some_pairs(0, 100, 500.0), "grid:0.1", folds, 0.0, test_folds)


def test_a_buffer_that_leaves_nothing() -> None:
    with pytest.raises(DataError, match="a buffer of 90000 m around the held-out blocks of grid:0.1 leaves no pair"):
        split_pairs(*some_pairs(0, 100, 500.0), "grid:0.1", 4, 9e4, 0)


# --- the story


@dataclass(frozen=True)
class Story:
    folder: Path
    layers: tuple[str, ...]

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def words(self) -> list[str]:
        return [word for layer in self.layers for word in ("--layer", layer)]

    def square(self) -> list[str]:
        return ["--ground", "800m", "--pixels", "8"]

    def patches(self) -> dict[str, Any]:
        return {"layers": [parse_layer(layer) for layer in self.layers], "ground_m": 800, "pixels": 8}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A country of two rasters in two systems with a desert and a lake without data, its pairs, model and stencil."""
    folder = tmp_path_factory.mktemp("story")
    cover = fakes.classes(400, 400)
    cover[120:240, 60:200] = 10  # one class only
    cover[300:380, 250:350] = 0  # nothing
    fakes.write(folder / "cover.tif", cover, Affine(0.0005, 0, 2.7, 0, -0.0005, 41.7), "EPSG:4326", nodata=0)
    fakes.write(folder / "height.tif", fakes.relief(700, 700), Affine(30, 0, 474000, 0, -30, 4617000), "EPSG:32631")
    (folder / "tiny.json").write_text(json.dumps(fakes.TABLE.to_json()))
    StudyArea("here", shapely.box(2.72, 41.52, 2.88, 41.68), (8,)).save(folder / "here")
    made = Story(folder, (f"cover={folder}/cover.tif,classes={folder}/tiny.json", f"height={folder}/height.tif"))
    commands = [
        ["area", "patches", *made.words(), *made.square(), "--samples", "250", "--inner", "800m", "--outer", "1500m",
         "-o", made.path("pairs")],
        ["train", "landscape", "--on", made.path("pairs"), "-o", made.path("model"), "--dims", "6", "--epochs", "2",
         "--batch-size", "32", "--accelerator", "cpu", "--block", "grid:0.05", "--folds", "4", "--test-folds", "1",
         "--untrained", made.path("untrained"), "--config", "widths=[4]", "--config", "hidden=8", "--config", "stem=2",
         "--quiet"],
        ["area", "stencil", made.path("here"), "--resolution", "8", "-o", made.path("cells.parquet")],
        ["embed", "-e", made.path("model"), "--on", made.path("cells.parquet"), *made.words(), *made.square(),
         "-o", made.path("cells-land.parquet"), "--quiet"],
    ]  # fmt: skip
    for command in commands:
        assert run(command) == 0, command
    return made


def test_the_model_says_what_it_has_seen(story: Story) -> None:
    encoder = load_encoder(story.path("model"))
    assert isinstance(encoder, LandscapeEncoder)
    assert encoder.inputs == ("cover", "height")
    assert encoder.class_tables()["cover"].codes == fakes.TABLE.codes
    (saw,) = encoder.card.saw
    assert (saw.column, saw.split["cells"], saw.folds) == ("place", "grid:0.05", (0, 2, 3))
    patches = PatchSet(story.path("pairs"))
    encoder.check_patches(patches)
    # Of the test fold nothing was learned from: the pairs that trained are those the split tells.
    pairs = Pairs.of(patches, encoder.inputs)
    parts = split_pairs(pairs.lonlat, pairs.other, "grid:0.05", 4, 800 * 2**0.5, 1)
    assert parts.spec["blocks"] == saw.split["blocks"]
    tested = ~seen(saw.split, saw.folds, pairs.lonlat, None)
    assert tested.any()
    assert not (parts.learn & tested).any()
    assert {ref.href for ref in encoder.card.sources} == {"cover.tif", "height.tif"}
    for ref in encoder.card.sources:
        assert ref.sha256 == hashlib.sha256((story.folder / ref.href).read_bytes()).hexdigest()
    assert set(read_table(story.path("cells-land.parquet")).meta.sources) == set(encoder.card.sources)
    untrained = load_encoder(story.path("untrained"))
    assert untrained.space.id != encoder.space.id


def test_every_cell_is_embedded_flagged_or_accounted_for(story: Story) -> None:
    table = read_table(story.path("cells-land.parquet"))
    skipped = read_skipped(story.path("cells-land.parquet"))
    cells = Input(on=story.path("cells.parquet")).source()
    assert isinstance(cells, Partitioned)
    assert len(table) + len(skipped) == cells.num_rows
    assert skipped
    assert {one.reason.split(" in ")[0] for one in skipped} <= {"no data", "less than 50% of its pixels have data"}
    places = table.places()
    desert = np.asarray(places.column("homogeneous"), dtype=bool)
    assert 0 < desert.sum() < len(table)
    assert set(np.asarray(places.column("main_class"))[desert]) == {"a"}
    inside = (places.lon > 2.74) & (places.lon < 2.79) & (places.lat > 41.59) & (places.lat < 41.63)
    assert desert[inside].all()
    assert inside.sum() > 10
    assert (table.meta.normalized, table.space.metric) == (False, "cosine")
    lengths = np.linalg.norm(table.vectors(), axis=1)
    assert 0 < lengths.min() < 0.9 * lengths.max() < np.inf


def test_deserts_look_like_deserts_in_a_search(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = read_table(story.path("cells-land.parquet"))
    desert = np.asarray(table.column("homogeneous"), dtype=bool)
    like = str(table.ids[np.flatnonzero(desert)[5]])
    assert run(["search", story.path("cells-land.parquet"), "--like", like, "-k", "8", "--format", "json"]) == 0
    hits = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum(hit["homogeneous"] for hit in hits) >= 7
    words = ["search", story.path("cells-land.parquet"), "--like", like, "--coverage", "0.1"]
    for name in ("like.geojson", "like.csv"):
        assert run([*words, "-o", str(tmp_path / name)]) == 0
    features = json.loads((tmp_path / "like.geojson").read_text())["features"]
    rows = (tmp_path / "like.csv").read_text().splitlines()
    assert len(features) == len(rows) - 1
    assert 0.07 * len(table) < len(features) < 0.13 * len(table)
    assert like in (tmp_path / "like.csv").read_text()  # what an example looks like most is itself


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--coverage", "0"], "0"),
        (["--coverage", "1.5"], "1.5"),
        (["--coverage", "0.1", "--min-distance", "1km"], "--min-distance does not go with --coverage"),
        (["--coverage", "0.1", "--include-self"], "--include-self does not go with --coverage"),
    ],
)
def test_coverage_that_cannot_be(story: Story, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    like = str(read_table(story.path("cells-land.parquet")).ids[0])
    assert run(["search", story.path("cells-land.parquet"), "--like", like, *words]) == 2
    assert said in capsys.readouterr().err


def test_coverage_of_two_tables_or_of_a_server(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    table = story.path("cells-land.parquet")
    for tables in ([table, table], ["qdrant://localhost:1/x"]):
        assert run(["search", *tables, "--like", "a", "--coverage", "0.1"]) == 2
        assert "one table of this machine" in capsys.readouterr().err


def test_hidden_centres_give_other_vectors_and_other_tables(story: Story, tmp_path: Path) -> None:
    words = ["embed", "-e", story.path("model"), "--on", story.path("cells.parquet"), *story.words(), *story.square()]
    out = tmp_path / "masked.parquet"
    assert run([*words, "--mask-centre", "2", "-o", str(out), "--quiet"]) == 0
    shown, masked = read_table(story.path("cells-land.parquet")), read_table(out)
    assert shown.ids.tolist() == masked.ids.tolist()
    assert masked.fingerprint() != shown.fingerprint()
    encoder = load_encoder(story.path("model"))
    source = Input(on=story.path("cells.parquet"), patches=story.patches(), mask_centre=2).source()
    assert isinstance(source, Partitioned)
    stop = source.parts()[0].stop
    batch = source.part(0, stop).read(np.arange(stop))
    assert not batch.data["cover"][:, 3:5, 3:5].any()
    assert np.isnan(batch.data["height"][:, 3:5, 3:5]).all()
    rows = masked.rows_of(source.part(0, stop).places().ids[batch.rows])
    np.testing.assert_allclose(masked.vectors()[rows], encoder.encode(batch.data), atol=1e-5)
    assert source.fingerprint() != Input(on=story.path("cells.parquet"), patches=story.patches()).source().fingerprint()


def test_hidden_centres_of_a_patch_set_and_of_places(story: Story) -> None:
    stored = Input(on=story.path("pairs"), mask_centre=4).source()
    assert np.isnan(stored.read(np.arange(3)).data["height"][:, 2:6, 2:6]).all()
    assert (stored.pixels, stored.ground_m, len(stored.layers)) == (8, 800.0, 2)
    assert stored.fingerprint() != Input(on=story.path("pairs")).source().fingerprint()
    assert stored.fingerprint() == MaskedCentre(PatchSet(story.path("pairs")), 4).fingerprint()
    placed = Input(area=story.path("here"), resolution=8, patches=story.patches(), mask_centre=4).source()
    assert np.isnan(placed.read(np.arange(3)).data["height"][:, 2:6, 2:6]).all()
    with pytest.raises(UsageError, match="1 to 7 pixels, not 8"):
        Input(on=story.path("pairs"), mask_centre=8).source()


@pytest.mark.parametrize("encoder", ["model", "features:cooccurrence"])
def test_two_workers_make_the_same_table(story: Story, tmp_path: Path, encoder: str) -> None:
    name = story.path(encoder) if encoder == "model" else encoder
    words = ["embed", "-e", name, "--on", story.path("cells.parquet"), *story.words(), *story.square(), "--quiet"]
    for jobs in ("1", "2"):
        assert run([*words, "-j", jobs, "-o", str(tmp_path / f"{jobs}.parquet")]) == 0
    one, two = (read_table(tmp_path / f"{jobs}.parquet") for jobs in ("1", "2"))
    assert one.fingerprint() == two.fingerprint()
    assert one.space.id == two.space.id
    assert len(one) == len(read_table(story.path("cells-land.parquet")))


def test_a_set_cut_from_the_same_ground_gives_the_same_vectors(story: Story, tmp_path: Path) -> None:
    """Cells through a patch set, and cells read straight from the rasters."""
    words = ["area", "patches", "--on", story.path("cells.parquet"), *story.words(), *story.square()]
    assert run([*words, "-o", str(tmp_path / "cells")]) == 0
    out = tmp_path / "t.parquet"
    assert run(["embed", "-e", story.path("model"), "--on", str(tmp_path / "cells"), "-o", str(out), "--quiet"]) == 0
    direct, stored = read_table(story.path("cells-land.parquet")), read_table(out)
    assert sorted(direct.ids.tolist()) == sorted(stored.ids.tolist())
    np.testing.assert_allclose(stored.vectors()[stored.rows_of(direct.ids)], direct.vectors(), atol=2e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ground_m": 900}, "800 m and 8 pixels a side, not of 900 m and 8"),
        ({"pixels": 10}, "not of 800 m and 10"),
        ({"layers": ["height"]}, "the encoder reads the layer 'cover'; the patches have height"),
        ({"layers": ["cover as values", "height"]}, "'cover' was classes in training, and is values here"),
    ],
)
def test_other_patches_are_refused_before_the_first(story: Story, change: dict[str, Any], said: str) -> None:
    known = {
        "cover": parse_layer(story.layers[0]),
        "cover as values": parse_layer(f"cover={story.folder}/cover.tif"),
        "height": parse_layer(story.layers[1]),
    }
    if "layers" in change:
        change = {"layers": [known[name] for name in change["layers"]]}
    given_ = Input(on=story.path("cells.parquet"), patches={**story.patches(), **change})
    with pytest.raises(SchemaError, match=said):
        prepared(given_, story.path("model"))


# --- the task


def test_a_limit_takes_the_first_pairs_and_leaves_out_a_half_one(story: Story) -> None:
    whole = Pairs.of(Input(on=story.path("pairs")).source(), ("cover",))
    some = Pairs.of(Input(on=story.path("pairs"), limit=101).source(), ("cover",))
    lost = {one.id[:-2] for one in PatchSet(story.path("pairs")).skipped()}
    assert len(whole) == 250 - len(lost) < 250
    ids = Input(on=story.path("pairs"), limit=101).source().places().ids
    assert len(ids) == 101
    assert len(some) == sum(f"{key}-a" in set(ids) and f"{key}-b" in set(ids) for key in {i[:-2] for i in ids})
    for one, other in zip(some.read(np.arange(9)), whole.read(np.arange(9)), strict=True):
        np.testing.assert_array_equal(one["cover"], other["cover"])
    assert some.key != whole.take(np.arange(len(some) - 1)).key


def test_it_counts_pairs_and_answers_again(story: Story, tmp_path: Path) -> None:
    given_ = Input(on=story.path("pairs"), limit=300)
    made = train_landscape(given_, tmp_path / "m", QUICK, tmp_path / "run", rule=RULE)
    assert (made.objective, made.dims) == ("landscape", 6)
    pairs = Pairs.of(given_.source(), ("cover",))
    assert made.rows + made.validation + made.buffered == len(pairs)
    assert made.buffered > 0
    again = train_landscape(given_, tmp_path / "m", QUICK, tmp_path / "run", rule=RULE)
    assert (again.space, again.scores) == (made.space, made.scores)
    with pytest.raises(CheckpointError, match="other settings or data"):
        train_landscape(given_, tmp_path / "m", {**QUICK, "margin": 0.5}, tmp_path / "run", rule=RULE)


def test_pairs_may_be_read_straight_from_the_rasters(story: Story, tmp_path: Path) -> None:
    """Places in a file with a column `place`, without a patch set between."""
    places = PatchSet(story.path("pairs")).places().take(np.arange(120))
    write_table(EmbeddingTable.of(places, np.ones((120, 2), "f4"), Space.mint(2)), tmp_path / "pairs.parquet")
    given_ = Input(on=str(tmp_path / "pairs.parquet"), patches=story.patches())
    made = train_landscape(given_, tmp_path / "m", QUICK, tmp_path / "run", rule=("grid:0.05", 4, 0.0))
    assert made.rows + made.validation + made.buffered == len(Pairs.of(given_.source(), ("cover",)))


def test_the_default_buffer_is_where_patches_share_no_ground(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def stop(*arguments: Any) -> None:
        asked.append(arguments[4])
        raise KeyboardInterrupt

    monkeypatch.setattr("placevec.tasks.train_landscape.split_pairs", stop)
    for buffer_m in (None, 70.0):
        with pytest.raises(KeyboardInterrupt):
            train_landscape(
                Input(on=story.path("pairs")), tmp_path / "m", QUICK, tmp_path / "r", rule=("grid:0.05", 4, buffer_m)
            )
    assert asked == [pytest.approx(800 * 2**0.5), 70.0]


@pytest.mark.parametrize(
    ("given_", "settings", "said"),
    [
        ({"on": "cells.parquet"}, {}, "learned from patches: give the folder of a patch set"),
        ({"area": "here", "resolution": 8}, {}, "learned from patches"),
        ({"on": "pairs"}, {"los": "triplet"}, "los"),
        ({"on": "pairs"}, {"layers": ["slope"]}, "no layer 'slope'; they have cover, height"),
        ({"on": "pairs", "limit": 1}, {}, "hold no pairs"),
    ],
)
def test_what_cannot_be_learned(
    story: Story, tmp_path: Path, given_: dict[str, Any], settings: dict[str, Any], said: str
) -> None:
    words = {name: story.path(value) if name in ("on", "area") else value for name, value in given_.items()}
    with pytest.raises(UsageError, match=said):
        train_landscape(Input(**words), tmp_path / "m", {**QUICK, **settings}, tmp_path / "run", rule=RULE)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--on FOLDER: a landscape is learned from the patch set of pairs"),
        (["--on", "{0}/pairs", "--table", "x.parquet"], "--table is for --objective location"),
        (["--on", "{0}/pairs", "--folds", "3", "--test-folds", "2"], "2 of 3 folds for a test"),
    ],
)
def test_words_that_cannot_be(
    story: Story, tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given_ = [word.format(story.folder) for word in words]
    assert run(["train", "landscape", *given_, "-o", str(tmp_path / "m"), "--quiet"]) == 2
    assert said in capsys.readouterr().err


# --- rasters by the name of a dataset


def test_one_file_of_a_dataset(data_dir: Path) -> None:
    raster, refs = open_raster("dataset:zion/nlcd2011.tif")
    assert (raster.width, raster.height) == (1073, 1359) or (raster.height, raster.width) == (1073, 1359)
    assert [ref.href.rsplit("/", 1)[-1] for ref in refs] == ["nlcd2011.tif"]


def test_a_file_that_the_dataset_does_not_have(data_dir: Path) -> None:
    for name in ("dataset:zion/nlcd2001.tif", "dataset:zion"):
        with pytest.raises(UsageError, match="no raster .*; its files: .*nlcd2011.tif.*srtm.tif"):
            open_raster(name)


def test_a_dataset_that_does_not_exist() -> None:
    with pytest.raises(UsageError, match="mars"):
        open_raster("dataset:mars/red.tif")
