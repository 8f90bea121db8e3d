"""Dealing rows to parts, the order of phases, what is refused, recipes, and what the task says of its training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("hdbscan")
pytest.importorskip("PIL")

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import tiny_locator as tiny
from placevec.cli.main import run as cli
from placevec.encoders.locator import Locator
from placevec.encoders.model import load_encoder
from placevec.errors import CheckpointError, DataError, UsageError
from placevec.geo.sphere import LonLat, distance_m
from placevec.measure.splits import seen
from placevec.sources.photos import read_photo_list, write_photo_list
from placevec.table import Places
from placevec.tasks.inputs import Input
from placevec.tasks.train import TrainSummary, train
from placevec.tasks.train_locate import Dealt, SplitRule, _phases, deal

PHASES = ("province", "geography", "tuning")
RULE = SplitRule("grid:0.25", 8, 5_000.0, 2, 2)


def scattered(n: int = 400, seed: int = 0) -> tuple[LonLat, np.ndarray]:
    """Points of a region of 2 by 2 degrees, several of one place each within some hundred metres."""
    rng = np.random.default_rng(seed)
    place = rng.integers(0, n // 3, n)
    spots = rng.uniform([10.0, 44.0], [12.0, 46.0], (n // 3, 2))
    at = spots[place] + rng.normal(0.0, 0.002, (n, 2))
    return LonLat(*at.T), np.array([f"spot{number}" for number in place], dtype=object)


def nearest_m(a: LonLat, b: LonLat) -> float:
    return min(float(distance_m(a, b[np.full(len(a), row)]).min()) for row in range(len(b)))


def check(dealt: Dealt, lonlat: LonLat, keys: np.ndarray, rule: SplitRule) -> None:
    rows = [dealt.train, dealt.val, dealt.calibration, dealt.test]
    every = np.concatenate(rows)
    assert len(np.unique(every)) == len(every)
    held = np.concatenate(rows[1:])
    if rule.buffer_m and len(held):
        assert nearest_m(lonlat[dealt.train], lonlat[held]) > rule.buffer_m
    for part in (dealt.val, dealt.calibration):
        if rule.buffer_m and len(part) and len(dealt.test):
            assert nearest_m(lonlat[part], lonlat[dealt.test]) > rule.buffer_m
    owner: dict[str, int] = {}
    for number, part in enumerate(rows):
        for key in keys[part]:
            assert owner.setdefault(key, number) == number, "a place is in one part alone"


@pytest.mark.parametrize("buffer_m", [0.0, 5_000.0])
def test_parts_keep_their_distance_and_places_stay_together(buffer_m: float) -> None:
    lonlat, keys = scattered()
    rule = SplitRule("grid:0.25", 8, buffer_m, 2, 2)
    dealt = deal(lonlat, keys, rule)
    check(dealt, lonlat, keys, rule)
    assert min(len(dealt.train), len(dealt.val), len(dealt.calibration), len(dealt.test)) > 0
    assert len(dealt.train) > len(dealt.val)


@given(st.integers(0, 50), st.integers(0, 2), st.integers(0, 2), st.floats(0.0, 20_000.0))
def test_whatever_the_rule(seed: int, calibration: int, test: int, buffer_m: float) -> None:
    lonlat, keys = scattered(120, seed)
    rule = SplitRule("grid:0.25", 6, buffer_m, calibration, test, seed)
    try:
        dealt = deal(lonlat, keys, rule)
    except DataError:  # too few blocks, or a buffer that leaves nothing
        return
    check(dealt, lonlat, keys, rule)
    assert (len(dealt.calibration) == 0) >= (calibration == 0)
    assert (len(dealt.test) == 0) == (test == 0)


def test_the_folds_that_were_seen_are_found_again_from_the_card() -> None:
    lonlat, keys = scattered()
    dealt = deal(lonlat, keys, RULE)
    spec = json.loads(json.dumps(dealt.spec))
    mask = seen(spec, dealt.seen, lonlat, keys)
    for part in (dealt.train, dealt.val, dealt.calibration):
        assert mask[part].all()
    assert not mask[dealt.test].any()
    assert set(dealt.seen) == {0, 1, 2, 5, 6, 7}
    again = deal(lonlat, keys, RULE)
    np.testing.assert_array_equal(again.train, dealt.train)
    other = deal(lonlat, keys, SplitRule("grid:0.25", 8, 5_000.0, 2, 2, seed=1))
    assert other.test.tolist() != dealt.test.tolist()


def test_rules_that_leave_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="4 folds, of which one validates, 2 calibrate and 1 are for a test, leave"):
        SplitRule(folds=4, calibration_folds=2, test_folds=1)
    with pytest.raises(UsageError, match="leave none to learn from"):
        SplitRule(calibration_folds=-1)
    with pytest.raises(DataError, match="a buffer of 500000 m around the held-out blocks of grid:0.25 leaves no image"):
        deal(*scattered(), SplitRule("grid:0.25", 8, 500_000.0))


@pytest.mark.parametrize(
    ("names", "done", "wanted"),
    [
        ((), None, PHASES),
        ((), 0, PHASES[1:]),
        ((), 1, PHASES[2:]),
        (("province",), None, ("province",)),
        (("geography",), None, ("geography",)),
        (("geography", "tuning"), None, ("geography", "tuning")),
        (("geography",), 1, ("geography",)),
        (("tuning",), 2, ("tuning",)),
        (("province", "geography"), 0, ("province", "geography")),
    ],
)
def test_the_order_of_phases(names: Sequence[str], done: int | None, wanted: Sequence[str]) -> None:
    assert _phases(names, done, PHASES) == list(wanted)


@pytest.mark.parametrize(
    ("names", "done", "message"),
    [
        (("tuning",), None, "the phase tuning comes after geography"),
        (("tuning",), 0, "the phase tuning comes after geography"),
        (("province", "tuning"), None, "the phase tuning comes after geography"),
        (("geography", "province"), None, "name each once, in the order province, geography, tuning"),
        (("province", "province"), None, "name each once"),
        (("province",), 1, "the start has gone through geography already, and province would undo that"),
        ((), 2, "the start has gone through all phases"),
        (("first",), None, "no phase is called 'first'; known: province, geography, tuning"),
    ],
)
def test_phases_out_of_order_are_refused(names: Sequence[str], done: int | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _phases(names, done, PHASES)


N = 240
SETTINGS: dict[str, Any] = {
    "backbones": [tiny.BACKBONE],
    "head": tiny.HEAD,
    "geocells": {"min_points": 4, "min_samples": 2, "dense_km": 20.0, "sparse_km": 40.0, "levels_km": []},
    **{name: {"loop": {"epochs": 1, "batch_size": 16, "accelerator": "cpu"}} for name in PHASES},
}
SPLIT: dict[str, Any] = {"block": "grid:0.25", "folds": 6, "buffer_m": 1_000.0}


@pytest.fixture(scope="module")
def country(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of the made-up country as files with a list, two of which are of no use, and its regions."""
    folder = tmp_path_factory.mktemp("country")
    made = tiny.country(N)
    (folder / "photos").mkdir()
    for row, image in enumerate(made.images):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / "photos" / f"{row:03d}.png")
    lon = made.lonlat.lon.copy()
    lon[7] = 60.0
    names = [f"p{row:03d}" for row in range(N)]
    assets = [f"photos/{row:03d}.png" for row in range(N)]
    listed = Places.create(names, LonLat(lon, made.lonlat.lat), asset=assets)
    write_photo_list(listed, folder / "photos.parquet")
    (folder / "regions.geojson").write_text(json.dumps(made.regions.to_geojson()))
    (folder / "photos" / "011.png").write_bytes(b"no image any more")
    return folder


def learned(country: Path, out: Path, **words: Any) -> TrainSummary:
    given = {"config": SETTINGS, "regions": country / "regions.geojson", **SPLIT, **words}
    return train("locate", out, input=Input(images=str(country / "photos.parquet"), pixels=tiny.PIXELS), **given)


@pytest.fixture(scope="module")
def trained(country: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainSummary]:
    """All phases in one call."""
    out = tmp_path_factory.mktemp("models") / "locator"
    return out, learned(country, out, untrained=out.with_name("untrained"))


def test_three_phases_in_one_call(country: Path, trained: tuple[Path, TrainSummary]) -> None:
    out, summary = trained
    assert (summary.objective, summary.dims, summary.out) == ("locate", 16, out)
    assert {"energy_km", "median_km", "forgotten"} <= set(summary.scores)
    assert summary.skipped == 1
    assert any("outside of all regions" in note for note in summary.notes)
    assert any("011" not in note and note.startswith("1 images: ") for note in summary.notes)
    locator = Locator.load(out)
    assert locator.phase == 2
    assert locator.space.id == summary.space
    run = out.with_name("locator.run")
    for name in PHASES:
        assert json.loads((run / name / "evaluation.json").read_text())["phase"] == name
    assert {one.href for one in locator.card.sources} >= {"photos.parquet"}


def test_the_card_keeps_the_test_rows_from_everything(country: Path, trained: tuple[Path, TrainSummary]) -> None:
    """What the split of the card calls unseen is in no geocell, no gallery, and in no part of the run."""
    out, summary = trained
    locator = Locator.load(out)
    places = read_photo_list(country / "photos.parquet")
    where = places.lonlat()
    [saw] = locator.card.saw
    known = seen(saw.split, saw.folds, where, places.keys)
    assert 0 < (~known).sum() < len(places)
    assert locator.gallery is not None
    assert locator.gallery.assets.tolist() != [""] * len(locator.gallery)
    row = {name: number for number, name in enumerate(places.ids.tolist())}
    train_rows = np.array([row[name] for name in locator.gallery.ids.tolist()])
    assert len(train_rows) == summary.rows
    assert known[train_rows].all()
    assert nearest_m(where[train_rows], where[np.flatnonzero(~known)]) > 1_000.0
    assert locator.geocells.count.sum() == summary.rows
    rule = SplitRule("grid:0.25", 6, 1_000.0)
    dealt = deal(where, places.keys, rule)
    usable = {row["p007"], row["p011"]}
    assert {*train_rows.tolist()} == {*dealt.train.tolist()} - usable
    fresh = Locator.load(out.with_name("untrained"))
    assert fresh.gallery is not None
    assert fresh.gallery.ids.tolist() == locator.gallery.ids.tolist()


def test_phase_by_phase_is_the_same_as_all_at_once(
    country: Path, trained: tuple[Path, TrainSummary], tmp_path: Path
) -> None:
    start = None
    for name in PHASES:
        out = tmp_path / name
        summary = learned(country, out, phases=[name], start=start)
        start = out
    assert summary.space == trained[1].space
    assert dict(summary.scores) == dict(trained[1].scores)


def test_the_same_call_again_answers_and_another_setting_is_refused(
    country: Path, trained: tuple[Path, TrainSummary]
) -> None:
    out, summary = trained
    again = learned(country, out)
    assert (again.space, dict(again.scores)) == (summary.space, dict(summary.scores))
    for change in ({"config": {**SETTINGS, "seed": 5}}, {"split_seed": 3}):
        with pytest.raises(CheckpointError, match="other settings or data"):
            learned(country, out, **change)
    other = Input(images=str(country / "photos.parquet"), pixels=24)
    with pytest.raises(CheckpointError, match="other settings or data"):
        train("locate", out, input=other, config=SETTINGS, regions=country / "regions.geojson", **SPLIT)
    assert learned(country, out).space == summary.space


def test_what_does_not_fit_the_start_is_refused(
    country: Path, trained: tuple[Path, TrainSummary], tmp_path: Path
) -> None:
    out, _ = trained
    with pytest.raises(UsageError, match="is trained already, so that there is no untrained network"):
        learned(country, tmp_path / "x", start=out, phases=["tuning"], untrained=tmp_path / "u")
    with pytest.raises(UsageError, match="the start has gone through all phases"):
        learned(country, tmp_path / "x", start=out)
    with pytest.raises(CheckpointError, match="holds no model|no card.json|not a model|is missing"):
        learned(country, tmp_path / "x", start=country)
    (tmp_path / "flat.geojson").write_text(json.dumps(tiny.country(regions=3).regions.to_geojson()))
    with pytest.raises(UsageError, match="the start has learned the 2 regions"):
        learned(country, tmp_path / "x", start=out, phases=["tuning"], regions=tmp_path / "flat.geojson")


def test_a_start_of_another_kind_is_refused(country: Path, tmp_path: Path) -> None:
    from placevec.encoders.image import ImageConfig, ImageEncoder
    from placevec.nn.vision import SmallCNNConfig

    config = ImageConfig(net=SmallCNNConfig(width=4, stages=2, dims=6))
    ImageEncoder.untrained(config, 0, tiny.country(20).images).save(tmp_path / "image")
    assert load_encoder(tmp_path / "image").card.kind == "image"
    with pytest.raises(CheckpointError, match="kind 'image', not a locator"):
        learned(country, tmp_path / "x", start=tmp_path / "image")


def test_nothing_to_learn_from_is_said(country: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a locator learns from images in regions"):
        train("locate", tmp_path / "x", input=Input(on=str(country / "photos.parquet")))
    bare = country / "photos"  # files without a position
    with pytest.raises(DataError, match="no image has coordinates"):
        train(
            "locate",
            tmp_path / "x",
            input=Input(images=str(bare), pixels=16),
            regions=country / "regions.geojson",
            config=SETTINGS,
        )
    with pytest.raises(UsageError, match="no setting"):
        learned(country, tmp_path / "x", config={"epochs": 3})
    far = tiny.Regions.of({"far": tiny.shapely.box(-60, -20, -50, -10)})
    with pytest.raises(UsageError, match="0 images are left to learn from"):
        learned(country, tmp_path / "x", regions=far)


def test_a_recipe_trains_phases_and_its_seed_is_that_of_each(country: Path, tmp_path: Path) -> None:
    recipe = f"""
[recipe]
name = "towns"
seed = 4

[[step]]
do = "train"
objective = "locate"
phases = ["province", "geography"]
on = "{country / "photos.parquet"}"
regions = "{country / "regions.geojson"}"
pixels = {tiny.PIXELS}
block = "grid:0.25"
folds = 6
buffer_m = 1000
out = "models/locator"
untrained = "models/untrained"

[step.config]
backbones = [{{ kind = "net", net = {{ width = 4, stages = 2, dims = 12, pixels = 16 }} }}]
head = {{ dims = 16 }}
geocells = {{ min_points = 4, min_samples = 2, dense_km = 20, sparse_km = 40, levels_km = [] }}
province = {{ loop = {{ epochs = 1, batch_size = 16, accelerator = "cpu" }} }}
geography = {{ loop = {{ epochs = 1, batch_size = 16, accelerator = "cpu" }} }}
"""
    (tmp_path / "towns.toml").write_text(recipe)
    assert cli(["train", str(tmp_path / "towns.toml"), "-q"]) == 0
    locator = Locator.load(tmp_path / "models" / "locator")
    assert locator.phase == 1
    assert locator.card.seed == 4
    assert {locator.card.recipe[name]["loop"]["seed"] for name in PHASES} == {4}
    Locator.load(tmp_path / "models" / "untrained")


def test_a_sweep_ranks_by_the_energy_score(country: Path, tmp_path: Path) -> None:
    from placevec.tasks.sweep import sweep

    short = {**SETTINGS, "tuning": {**SETTINGS["tuning"], "thaw": [0]}}
    words: dict[str, Any] = {"input": Input(images=str(country / "photos.parquet"), pixels=tiny.PIXELS)}
    ranked = sweep(
        "locate",
        tmp_path / "best",
        {"geography.loop.learning_rate": [1e-5, 5e-3]},
        config=short,
        regions=str(country / "regions.geojson"),
        **words,
        **SPLIT,
    )
    assert ranked.rank_by == "energy_km"
    figures = [run.figures["energy_km"] for run in ranked.runs]
    assert figures == sorted(figures)
    assert Locator.load(tmp_path / "best").phase == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["locate", "--on", "x.parquet"], "--regions FILE: a locator tells the provinces of a region apart"),
        (["image", "--regions", "x.geojson"], "--regions is for --objective locate"),
        (["landscape", "--phase", "tuning"], "--phase is for --objective locate"),
        (["image", "--test-folds", "2"], "--test-folds is for --objective landscape or locate"),
        (["locate", "--captions", "x"], "--captions is for --objective image-text"),
        (["location", "--split-seed", "2"], "--split-seed is for --objective locate"),
        (["location", "--images", "x"], "--images is for --objective image-text or locate"),
    ],
)
def test_options_that_do_not_go_together(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(["train", *words, "-o", str(tmp_path / "x")]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
