"""The evaluation of a locator, end to end, on a country whose photos say by their colours where they are."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import geolocation_fakes as fakes
from placevec.cli.main import app
from placevec.config import parse_recipe
from placevec.errors import DataError, LeakError, RecipeError, UsageError
from placevec.geo.mixture import credible_level
from placevec.geo.sphere import LonLat, distance_m
from placevec.measure.geolocation import point_figures
from placevec.measure.splits import seen
from placevec.sources.base import ArraySource, Batch
from placevec.table import Places, Skipped
from placevec.tasks import evaluate_geolocation_laws as laws
from placevec.tasks.evaluate_geolocation import ORACLE, GeolocationRules, evaluate_geolocation
from placevec.tasks.evaluate_geolocation_answers import COLOURS, FUSED, PIXELS, answers_of
from placevec.tasks.evaluate_geolocation_given import Predictions
from placevec.tasks.evaluate_geolocation_laws import class_table
from placevec.tasks.run import run
from placevec.tasks.verb_measures import EvaluateOptions
from placevec.tasks.verbs import VERBS

FEW = GeolocationRules(draws=60, areas=5)


@pytest.fixture(scope="module")
def source():
    return fakes.photos(200)


@pytest.fixture(scope="module")
def locator(source):
    return fakes.trained(source)


@pytest.fixture(scope="module")
def found(source, locator):
    return evaluate_geolocation(locator, source, untrained=fakes.trained(source, blind=True), rules=FEW)


def rows_to_test(source, locator):
    places = source.places()
    where = LonLat(places.lon, places.lat)
    return np.flatnonzero(~seen(locator.card.saw[0].split, locator.card.saw[0].folds, where, places.ids))


def test_the_figures_are_those_of_the_answers_to_rows_that_were_not_seen(source, locator, found):
    rows = rows_to_test(source, locator)
    batch = source.read(rows)
    said = locator.predict({"image": batch.data["image"]})
    truth = LonLat(source.places().lon[rows], source.places().lat[rows])
    own = found.own
    assert own.name == "locator"
    for name, value in point_figures(truth, said.points).items():
        assert own.values[name] == pytest.approx(value), name
    assert found.about["photos"] == len(rows)
    assert found.laws["locator"]["nll"] == pytest.approx(own.values["nll"])
    level = credible_level(said.mixture, truth)
    for wanted in (0.5, 0.8, 0.95):
        share = (level <= wanted).mean()
        assert found.laws["locator"][f"coverage_{100 * wanted:g}"] == pytest.approx(share)
    assert found.confidence["right"] == pytest.approx((distance_m(truth, said.points) <= 25_000).mean())


def test_every_baseline_stands_in_one_table(found):
    names = [row.name for row in found.methods]
    assert names[0] == "locator"
    assert {"chance", "train prior", "untrained network", ORACLE} <= set(names)
    for looks in (FUSED, COLOURS, PIXELS):
        assert {f"nearest image, {looks}", f"k-nearest mean, {looks}"} <= set(names)
    assert {f"decoder: {how}" for how in ("mode", "argmax", "median", "geoscore", "flat")} <= set(names)
    against = {one.baseline: one for one in found.own.against["median_km"]}
    assert against["train prior"].outcome == against["chance"].outcome == "beats"
    assert against["untrained network"].outcome == "beats"
    # Neither the diagnostic nor another reading of the same law is a rival.
    assert not {name for name in against if name.startswith("decoder") or name == ORACLE}
    assert found.row(ORACLE).role == "diagnostic"
    assert found.row("decoder: mode").against["median_km"][0].outcome == "ties"
    nll = {one.baseline for one in found.own.against["nll"]}
    assert nll == {"untrained network", "train prior"}


def test_the_model_is_never_given_the_place(source, locator):
    locator.asked.clear()
    evaluate_geolocation(locator, source, rules=GeolocationRules(draws=5, areas=0, pixels=False))
    assert set(locator.asked) == {("image",)}


def test_the_answers_do_not_depend_on_the_truth(source, locator):
    places = source.places()
    turned = Places.create(list(places.ids), LonLat(places.lon[::-1].copy(), places.lat[::-1].copy()))
    rows = np.arange(20)
    one = answers_of(locator, source, rows)
    two = answers_of(locator, ArraySource(turned, {"image": source.read(np.arange(len(places))).data["image"]}), rows)
    assert np.array_equal(one.points.lon, two.points.lon)
    assert np.array_equal(one.mixture.weights, two.mixture.weights)


def test_what_was_seen_is_refused(source, locator):
    with pytest.raises(LeakError, match="has seen"):
        evaluate_geolocation(locator, source, rules=GeolocationRules(where="id == 'photo0000' or id != 'x'"))
    with pytest.raises(LeakError, match="within 500000 m of a training row"):
        evaluate_geolocation(locator, source, rules=GeolocationRules(buffer_m=500_000.0))


def test_losing_is_printed_as_losing(source):
    blind = fakes.trained(source, blind=True)
    found = evaluate_geolocation(blind, source, rules=FEW)
    assert found.own.against["median_km"][0].outcome == "loses"
    assert any("locator loses to" in line for line in found.headline())
    assert "▼" in found.table()
    record = next(one for one in found.to_records() if one["method"] == "locator")
    assert record["outcome"] == "loses"


def test_regions_by_themselves_add_up(source, locator, found):
    assert [one["region"] for one in found.regions] == list(fakes.NAMES)
    assert sum(one["photos"] for one in found.regions) == found.about["photos"]
    assert sum(one["training_photos"] for one in found.regions) == len(locator.gallery.ids)
    named = sum(one["region_right"] * one["photos"] for one in found.regions)
    assert named / found.about["photos"] == pytest.approx(found.classes["locator"]["region_micro"])


def test_classes_against_a_loop(source, locator, monkeypatch):
    rows = rows_to_test(source, locator)
    said = locator.predict({"image": source.read(rows).data["image"]})
    truth = LonLat(source.places().lon[rows], source.places().lat[rows])
    cells = locator.geocells
    found = class_table(cells, truth, said.region_logs, said.cell_logs)
    monkeypatch.setattr(laws, "_LOGS_AT_ONCE", 7 * said.cell_logs.shape[1])  # seven photos at a time
    assert class_table(cells, truth, said.region_logs, said.cell_logs) == found
    true = cells.rows(truth)
    joint = said.region_logs[:, cells.region] + said.cell_logs
    first = [set(np.argsort(-joint[i])[:5]) for i in range(len(rows))]
    assert found["cell_micro"] == pytest.approx(np.mean(np.argmax(joint, axis=1) == true))
    assert found["cell_top5_micro"] == pytest.approx(np.mean([true[i] in first[i] for i in range(len(rows))]))
    by_class = [np.mean(np.argmax(joint[true == c], axis=1) == c) for c in np.unique(true)]
    assert found["cell_macro"] == pytest.approx(np.mean(by_class))


def test_the_calibration_chooses_the_regions_that_are_judged(source, locator):
    class Wide:
        @staticmethod
        def nominal(level):
            return min(0.999, level + 0.19)

    wide = fakes.trained(source)
    wide.calibration = Wide()
    plain = evaluate_geolocation(locator, source, rules=FEW).laws["locator"]
    found = evaluate_geolocation(wide, source, rules=FEW).laws["locator"]
    assert found["coverage_50"] > plain["coverage_50"]
    assert found["coverage_50_uncorrected"] == pytest.approx(plain["coverage_50"])
    assert found["area_50_mean_km2"] > plain["area_50_mean_km2"]


def test_everything_is_written_and_equal_runs_are_equal(source, locator, found, tmp_path):
    out = tmp_path / "results" / "geolocation.json"
    evaluate_geolocation(locator, source, rules=FEW, out=out)
    first = out.read_bytes()
    names = {path.name for path in out.parent.iterdir()}
    assert {f"geolocation{end}" for end in (".json", ".md", ".html", ".photos.parquet")} <= names
    assert {f"geolocation-{name}.png" for name in ("errors", "map", "reliability", "risk")} <= names
    whole = json.loads(first)
    assert whole["methods"][0]["figures"]["median_km"]["low"] <= found.own.values["median_km"]
    metrics = {(row["features"], row["metric"]) for row in whole["scores"]}
    assert ("train prior", "NLL, nats per km²") in metrics
    text = out.with_suffix(".md").read_text(encoding="utf-8")
    assert "diagnostic, told the true cell" in text
    assert "![" in text
    page = out.with_suffix(".html").read_text(encoding="utf-8")
    assert "data:image/png" in page
    assert page.count("<figure>") == 4
    photos = pq.read_table(out.with_suffix(".photos.parquet"))
    assert photos.num_rows == whole["about"]["photos"]
    assert np.median(photos["error_km"].to_numpy()) == pytest.approx(found.own.values["median_km"])
    evaluate_geolocation(locator, source, rules=FEW, out=out)
    assert out.read_bytes() == first


def test_photos_that_cannot_be_read_or_lie_outside_are_counted(source):
    class Broken(ArraySource):
        def read(self, rows):
            bad = rows % 10 == 0
            good = super().read(rows[~bad])
            lost = [Skipped(f"photo{row:04d}", "image", "cut short") for row in rows[bad]]
            return Batch(good.rows, good.data, lost)

    places = source.places()
    lon = places.lon.copy()
    locator = fakes.trained(source, gallery=False, buffer_m=0.0)
    row = int(rows_to_test(source, locator)[1])
    data = source.read(np.arange(len(places))).data
    # A place off the coast, in a block that nobody has seen.
    lon[row] = 80.0
    broken = Broken(Places.create(list(places.ids), LonLat(lon, places.lat)), {"image": data["image"]})
    found = evaluate_geolocation(locator, broken, rules=FEW)
    assert any("cut short" in note for note in found.notes)
    assert any("1 photos lie outside the regions" in note for note in found.notes)
    plain = evaluate_geolocation(locator, source, rules=FEW)
    assert found.about["photos"] < plain.about["photos"]


def test_a_source_without_the_training_photos_has_no_baselines(source, locator):
    rows = rows_to_test(source, locator)
    places = source.places()
    held = ArraySource(places.take(rows), {"image": source.read(rows).data["image"]})
    found = evaluate_geolocation(locator, held, rules=FEW)
    assert found.row("train prior") is None
    assert any("no row that was learned from" in note for note in found.notes)
    assert found.headline()[0].startswith("median error")


def test_nothing_of_the_area_is_refused(source, locator):
    far = Places.create(["x"], LonLat.of(-100, 40))
    with pytest.raises(DataError, match="no photo lies in the regions"):
        evaluate_geolocation(locator, ArraySource(far, {"image": np.zeros((1, 3, 8, 8), np.uint8)}))


def test_a_real_locator_from_its_folder(tmp_path):
    from tiny_locator import country, tiny_locator

    locator = tiny_locator(steps=150)
    locator.save(tmp_path / "locator")
    learned, fresh = country(96, 0), country(50, 5)
    lonlat = LonLat(
        np.concatenate([learned.lonlat.lon, fresh.lonlat.lon]), np.concatenate([learned.lonlat.lat, fresh.lonlat.lat])
    )
    ids = [*learned.ids, *(f"test-{row}" for row in range(50))]
    source = ArraySource(Places.create(ids, lonlat), {"image": np.concatenate([learned.images, fresh.images])})
    found = evaluate_geolocation(
        tmp_path / "locator", source, untrained=tiny_locator(gallery=False), rules=GeolocationRules(draws=60, areas=3)
    )
    assert found.about["photos"] == 50
    assert found.about["training_photos"] == 96
    assert any("does not say which rows it saw" in note for note in found.notes)
    names = {row.name for row in found.methods}
    assert {"nearest image, features of net", f"nearest image, {FUSED}", ORACLE} <= names
    assert found.own.values["median_km"] < found.row("train prior").values["median_km"]
    # By the training photos' own vectors the gallery knows the same neighbours.
    rows, _ = locator.gallery.nearest(locator.encode({"image": fresh.images}), 1)
    slow = point_figures(fresh.lonlat, locator.gallery.lonlat[rows[:, 0]])["median_km"]
    assert found.row(f"nearest image, {FUSED}").values["median_km"] == pytest.approx(slow, rel=1e-3)
    assert 0.0 < found.laws["locator"]["area_50_mean_km2"] < found.laws["locator"]["area_95_mean_km2"]


def test_a_list_of_photos_on_the_command_line(tmp_path):
    from PIL import Image

    from placevec.sources.exports import write_geoparquet
    from tiny_locator import country, tiny_locator

    tiny_locator(steps=20).save(tmp_path / "locator")
    fresh = country(12, 5)
    files = [tmp_path / f"{row}.png" for row in range(12)]
    for path, image in zip(files, fresh.images, strict=True):
        Image.fromarray(image.transpose(1, 2, 0)).save(path)
    places = Places.create([path.stem for path in files], fresh.lonlat, asset=[str(path) for path in files])
    write_geoparquet([places], tmp_path / "photos.parquet")
    given = ["--model", str(tmp_path / "locator"), "--on", str(tmp_path / "photos.parquet"), "--areas", "0", "-q"]
    answer = CliRunner().invoke(app, ["evaluate", "geolocation", *given])
    assert answer.exit_code == 0, answer.output
    record = json.loads(answer.stdout.splitlines()[0])
    assert record["method"] == "locator"
    assert record["median_km"] > 0
    assert "there are no baselines" in answer.stderr


def peer(n=40, seed=0, confidence=True):
    rng = np.random.default_rng(seed)
    truth = LonLat(rng.uniform(60, 70, n), rng.uniform(25, 30, n))
    said = LonLat(truth.lon + rng.normal(0, 0.3, n), truth.lat)
    sure = rng.uniform(0, 1, n) if confidence else None
    return Predictions(np.array([f"p{i}" for i in range(n)], dtype=object), truth, said, sure, {}, "peer")


def test_points_of_others_are_measured_by_the_same_code(tmp_path):
    given = peer()
    found = evaluate_geolocation(predictions=given, out=tmp_path / "peer.json", rules=FEW)
    for name, value in point_figures(given.truth, given.points).items():
        assert found.own.values[name] == pytest.approx(value)
    assert any("points alone were given" in note for note in found.notes)
    assert found.laws == {}
    assert "nll" not in found.own.values
    assert found.confidence["ece"] >= 0
    assert {path.name for path in tmp_path.iterdir()} >= {"peer.json", "peer.md", "peer.html", "peer-map.png"}
    bare = evaluate_geolocation(predictions=peer(confidence=False), rules=GeolocationRules(block="h3:3", draws=20))
    assert bare.confidence == {}
    assert bare.about["blocks"] < 40


def test_what_contradicts_itself_is_refused(source, locator, tmp_path):
    with pytest.raises(UsageError, match="give either a locator"):
        evaluate_geolocation(locator, source, predictions=peer())
    with pytest.raises(UsageError, match="give either a locator"):
        evaluate_geolocation()
    with pytest.raises(UsageError, match="on which photos"):
        evaluate_geolocation(locator)
    with pytest.raises(UsageError, match=r"NAME\.json"):
        evaluate_geolocation(locator, source, out=tmp_path / "x.md")


def written(path, given):
    lines = ["id,lon,lat,true_lon,true_lat"]
    columns = zip(given.ids, given.points.lon, given.points.lat, given.truth.lon, given.truth.lat, strict=True)
    lines += [",".join(str(one) for one in row) for row in columns]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_command_line_measures_points(tmp_path):
    path = written(tmp_path / "peer.csv", peer())
    out = tmp_path / "peer.json"
    answer = CliRunner().invoke(
        app, ["evaluate", "geolocation", "--predictions", str(path), "-o", str(out), "--no-html", "--block", "h3:3"]
    )
    assert answer.exit_code == 0, answer.output
    assert "median error" in answer.stderr
    record = json.loads(answer.stdout.splitlines()[0])
    assert record["method"] == "peer"
    assert not out.with_suffix(".html").exists()
    odd = CliRunner().invoke(app, ["evaluate", "geolocation", "--predictions", str(path), "--truth", "lon"])
    assert isinstance(odd.exception, UsageError)
    none = CliRunner().invoke(app, ["evaluate", "geolocation", "-o", str(out), "--on", str(path)])
    assert isinstance(none.exception, UsageError)


def test_the_command_line_takes_the_truth_from_places(tmp_path):
    given = peer()
    points = tmp_path / "peer.csv"
    rows = zip(given.ids, given.points.lon, given.points.lat, strict=True)
    points.write_text("id,lon,lat\n" + "".join(f"{i},{x},{y}\n" for i, x, y in rows), encoding="utf-8")
    truth = tmp_path / "truth.csv"
    rows = zip(given.ids, given.truth.lon, given.truth.lat, strict=True)
    truth.write_text("id,lon,lat\n" + "".join(f"{i},{x},{y}\n" for i, x, y in rows), encoding="utf-8")
    answer = CliRunner().invoke(
        app, ["evaluate", "geolocation", "--predictions", str(points), "--on", str(truth), "--id", "id"]
    )
    assert answer.exit_code == 0, answer.output
    record = json.loads(answer.stdout.splitlines()[0])
    assert record["median_km"] == pytest.approx(point_figures(given.truth, given.points)["median_km"])


def test_a_recipe_measures_points(tmp_path):
    written(tmp_path / "peer.csv", peer())
    step = {
        "do": "evaluate",
        "what": "geolocation",
        "predictions": "peer.csv",
        "rules": {"draws": 20, "levels": [0.8]},
        "out": "results/peer.json",
    }
    run(parse_recipe({"step": [step]}), VERBS, folder=tmp_path)
    assert (tmp_path / "results" / "peer.json").is_file()


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"model": "m", "predictions": "p.csv"},
        {"model": ["a", "b"]},
        {"model": "m", "captions": "c.json"},
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(given):
    with pytest.raises((RecipeError, ValueError)):
        EvaluateOptions(what="geolocation", out="o.json", **given)
