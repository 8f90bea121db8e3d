"""`evaluate location` end to end: targets of every form, all baselines, resuming, leaks, banks, and three outputs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from placevec.encoders.base import Carded, ModelCard
from placevec.errors import DataError, LeakError, SchemaError, UsageError
from placevec.geo.sphere import LonLat
from placevec.provenance import Saw, Space
from placevec.table import EmbeddingTable, Places, write_table
from placevec.tasks.evaluate import Evaluation
from placevec.tasks.evaluate_banks import TrainBank
from placevec.tasks.evaluate_features import read_encoders
from placevec.tasks.evaluate_location import evaluate_location, write_evaluation
from placevec.tasks.evaluate_protocol import Protocol
from placevec.tasks.evaluate_tables import markdown
from placevec.tasks.evaluate_targets import Columns, polygon_values, read_target

QUICK = Protocol(shuffles=1, k=3, min_places=30, splits="random", estimators=("ridge",))
N = 150


class Waves(Carded):
    """An encoder of coordinates without torch: fixed waves of the unit vector."""

    def __init__(self, dims: int = 12, saw: tuple[Saw, ...] = (), inputs: tuple[str, ...] = ("lonlat",)) -> None:
        card = ModelCard(
            "waves", Space.asserted(f"waves-{dims}", dims), "location", inputs=inputs, name="waves", saw=saw
        )
        super().__init__(card)

    def encode(self, data):
        lonlat = self.take(data, "lonlat")
        unit = LonLat(lonlat[:, 0], lonlat[:, 1]).unit()
        rng = np.random.default_rng(1)
        return np.cos(unit @ (rng.standard_normal((3, self.dims)) * 20) + rng.uniform(0, 6, self.dims)).astype(
            np.float32
        )


def places(n: int = N, seed: int = 0) -> Places:
    rng = np.random.default_rng(seed)
    lonlat = LonLat(rng.uniform(-8, 0, n), rng.uniform(37, 43, n))
    height = 100 * np.sin(lonlat.lon) + 50 * lonlat.lat + rng.standard_normal(n)
    return Places.create([f"p{i}" for i in range(n)], lonlat, attributes={"height": height})


def table_of(found: Places, d: int = 6, seed: int = 0, *, knows: bool = True, **meta) -> EmbeddingTable:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((len(found), d)).astype(np.float32)
    if knows:
        vectors[:, 0] = (found.column("height") - 2000) / 100
    return EmbeddingTable.of(found, vectors, Space.asserted(f"t{d}-{seed}", d), **meta)


@pytest.fixture
def geojson(tmp_path: Path) -> Path:
    """Two squares that overlap between -5 and -4 degrees, and a line."""

    def square(west: float, east: float, name: str) -> dict:
        ring = [[west, 36], [east, 36], [east, 44], [west, 44], [west, 36]]
        return {"type": "Feature", "properties": {"NAME": name}, "geometry": {"type": "Polygon", "coordinates": [ring]}}

    line = {"type": "LineString", "coordinates": [[-8, 40], [0, 40]]}
    features = [
        {"type": "Feature", "properties": {"NAME": "road"}, "geometry": line},
        square(-9, -4, "west"),
        square(-5, -1, "east"),
    ]
    path = tmp_path / "lands.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    found = places(120, 3)
    rng = np.random.default_rng(0)
    lines = ["x,y,price,rooms"] + [
        f"{lon},{lat},{price:.4f},{int(room)}"
        for lon, lat, price, room in zip(
            found.lon, found.lat, np.exp(found.column("height") / 1000), rng.integers(1, 6, 120), strict=True
        )
    ]
    path = tmp_path / "homes.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_targets_of_every_form(geojson, csv):
    common = places()
    column = read_target("height", lambda: common)
    assert (column.name, column.own, len(column.values)) == ("height", False, N)
    homes = read_target(f"price={csv}:price@x,y", pytest.fail)
    assert (homes.own, homes.column, len(homes.places)) == (True, "price", 120)
    assert read_target(f"price={csv}:price", pytest.fail, Columns("x", "y")).places.lonlat() == homes.places.lonlat()
    lands = read_target(f"land={geojson}:NAME", lambda: common)
    lon = common.lon
    np.testing.assert_array_equal(lands.values[lon < -4], "west")
    np.testing.assert_array_equal(lands.values[(lon > -4) & (lon < -1)], "east")
    assert set(lands.values[lon > -1].tolist()) == {None}
    turned = polygon_values(geojson, "NAME", LonLat(common.lon + 360.0, common.lat))
    np.testing.assert_array_equal(turned, lands.values)


def test_rows_of_one_spot_are_one_group():
    one = places(20)
    twice = Places.create([f"q{i}" for i in range(40)], LonLat(np.tile(one.lon, 2), np.tile(one.lat, 2)))
    target = read_target("v", lambda: twice.with_column("v", np.arange(40.0)))
    np.testing.assert_array_equal(target.groups[:20], target.groups[20:])
    assert len(np.unique(target.groups)) == 20


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("width", UsageError, "'width' is no column of the places \\(height\\)"),
        ("a=", UsageError, "is no target"),
        ("a=nowhere.csv:b", UsageError, "nowhere.csv does not exist"),
        ("a=nowhere.tif", UsageError, "nowhere.tif"),
        ("a={csv}:price@x", UsageError, "LON,LAT, not 'x'"),
        ("a={csv}:prize@x,y", SchemaError, "no column 'prize'"),
        ("a={geojson}:NOM", SchemaError, "no column 'NOM'"),
        ("a=dataset:blue-marble:x", UsageError, "."),
    ],
)
def test_targets_that_are_none(text, error, message, csv, geojson, data_dir):
    with pytest.raises(error, match=message):
        read_target(text.format(csv=csv, geojson=geojson), places)


def test_everything_in_one_report(tmp_path, geojson, csv):
    found = places()
    images, raw = table_of(found), table_of(found, 4, 1, knows=False)
    out = tmp_path / "results" / "location.json"
    steps: list[tuple] = []
    done = evaluate_location(
        {"waves": Waves(), "images": images, "harmonics": "harmonics:3"},
        ["height", f"land={geojson}:NAME", f"price={csv}:price@x,y"],
        raw=raw,
        untrained={"images-untrained": table_of(found, 6, 9, knows=False)},
        protocol=Protocol(shuffles=2, k=3, min_places=30, block="h3:2", buffer_m=5000.0, log1p=("price",)),
        out=out,
        progress=lambda *step: steps.append(step),
    )
    rows = {(r["target"], row["split"], row["features"]): row for r, row in done.rows()}
    for split in ("random", "block"):
        for name in (
            "mean",
            "sin/cos of coordinates · ridge",
            "coordinates · kNN",
            "coordinates · GP",
            "waves · ridge",
        ):
            assert ("height", split, name) in rows
            assert ("price", split, name) in rows
        assert ("height", split, "raw features, 3 rings · kNN") in rows
        assert ("land", split, "untrained images · ridge") in rows
        assert ("price", split, "images · ridge") not in rows
        assert not rows["height", split, "harmonics · ridge"]["learned"]
    assert rows["land", "block", "images · kNN"]["scores"].keys() >= {"accuracy", "macro-F1", "Moran's I of residuals"}
    assert rows["height", "block", "images · ridge"]["outcome"] == "beats"
    assert any("price has places of its own" in note for note in done.notes)
    assert steps[-1][0] == "price (3 of 3)"
    ranks = done.mean_ranks("block")
    assert {one.features for one in ranks} >= {"mean", "waves · ridge"}
    assert "images · ridge" not in {one.features for one in ranks}
    whole = json.loads(out.read_text())
    assert [one["target"] for one in whole["targets"]] == ["height", "land", "price"]
    assert whole["targets"][2]["transform"] == "log1p"
    text = out.with_suffix(".md").read_text()
    assert "| **images · ridge** " in text
    assert "▼ loses to " in text
    assert "RANGE (CVPR 2025), table 2; random 80/20 split, ridge" in text
    page = out.with_suffix(".html").read_text()
    assert page.count('<img src="data:image/png') == 3
    assert "http" not in page.replace("http-equiv", "")
    assert not list(tmp_path.rglob("*.part-*"))


def test_finished_targets_are_not_done_again(tmp_path):
    found = places().with_column("other", np.random.default_rng(5).standard_normal(N))
    out = tmp_path / "e.json"
    images = table_of(found)

    def run(encoder=None, targets=("height", "other"), stop="", **more):
        def tell(target, label, done, total):
            if stop and target.startswith(stop):
                raise KeyboardInterrupt

        return evaluate_location(
            {"waves": encoder or Waves(), "images": images}, targets, out=out, html=False, progress=tell, **more
        )

    with pytest.raises(KeyboardInterrupt):
        run(stop="other", protocol=QUICK)
    assert not out.exists()
    done = run(protocol=QUICK)
    assert done.resumed == 1
    text = out.read_text()
    assert run(protocol=QUICK).resumed == 2
    assert out.read_text() == text
    assert run(protocol=QUICK, restart=True).resumed == 0
    assert out.read_text() == text
    # Another encoder, other settings: nothing of it holds any more.
    assert run(Waves(8), protocol=QUICK).resumed == 0
    assert run(Waves(8), protocol=Protocol(**{**vars(QUICK), "k": 4})).resumed == 0
    next(out.with_suffix(".targets").glob("height*")).write_text("{ cut short")
    assert run(Waves(8), protocol=Protocol(**{**vars(QUICK), "k": 4})).resumed == 1


def test_leaks_are_refused():
    found = places()
    with pytest.raises(LeakError, match="'height'.*'waves'.*'height'"):
        evaluate_location(
            {"waves": Waves(saw=(Saw("", "height"),))}, "height", on=None, protocol=QUICK, raw=table_of(found)
        )
    with pytest.raises(LeakError, match="'images'"):
        evaluate_location({"images": table_of(found, saw=(Saw("", "height"),))}, "height", protocol=QUICK)
    with pytest.raises(LeakError, match="waves \\+ geo"):
        bank = table_of(found, saw=(Saw("", "height"),))
        evaluate_location(
            [Waves()], "height", raw=table_of(found, 4, 1, knows=False), bank=bank, modes=("geo",), protocol=QUICK
        )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"compared": []}, UsageError, "nothing to evaluate"),
        ({"compared": [Waves()]}, UsageError, "at which places"),
        ({"compared": [Waves(inputs=("image",))]}, UsageError, "reads image, not coordinates"),
        ({"compared": ["harmonics:99"]}, UsageError, "2 to 40 degrees"),
        ({"compared": ["nothing-here"]}, UsageError, "'nothing-here' is no encoder"),
        ({"compared": [Waves(), Waves()]}, UsageError, "two encoders are called 'waves'"),
        ({"targets": []}, UsageError, "no target"),
        ({"targets": ["height", "height"]}, UsageError, "two targets"),
        ({"modes": ["soft"]}, UsageError, "--bank"),
        ({"modes": ["hard"], "bank_from_train": ["height"]}, UsageError, "'hard'"),
        ({"protocol": Protocol(min_places=1000)}, DataError, "150 places have a value, fewer than 1000"),
        ({"protocol": Protocol(k=3, splits="block", block="h3:0")}, DataError, "the target 'height': .*fewer than 3"),
    ],
)
def test_one_clear_error(change, error, message):
    args = {"compared": {"images": table_of(places())}, "targets": ["height"], "protocol": QUICK, **change}
    with pytest.raises(error, match=message) as caught:
        evaluate_location(args.pop("compared"), args.pop("targets"), **args)
    assert "\n" not in str(caught.value)


def test_tables_without_places_in_common():
    other = Places.create([f"q{i}" for i in range(N)], places().lonlat(), attributes={"height": np.arange(N) * 1.0})
    with pytest.raises(SchemaError, match="no id in common"):
        evaluate_location({"a": table_of(places()), "b": table_of(other)}, "height", protocol=QUICK)


def test_a_bank_adds_rows_and_knows_what_the_encoder_does_not():
    found = places()
    bank = table_of(found, 6)
    done = evaluate_location(
        {"waves": Waves(2)},
        "height",
        raw=table_of(found, 4, 1, knows=False),
        bank=bank,
        modes=("concat", "soft", "geo"),
        protocol=QUICK,
    )
    score = {row["features"]: row["mean"] for _, row in done.rows()}
    assert score["waves + concat · ridge"] > 0.95 > score["waves · ridge"]
    assert {"waves + soft · ridge", "waves + geo · ridge"} <= set(score)


def test_training_rows_as_a_bank_do_not_leak(csv):
    """The target itself is looked up: smooth targets gain by it, and of pure noise nothing is learned."""
    text = csv.read_text().splitlines()
    noise = np.random.default_rng(7).standard_normal(len(text) - 1)
    csv.write_text("\n".join([text[0] + ",noise", *(f"{a},{b}" for a, b in zip(text[1:], noise, strict=True))]) + "\n")
    targets = [f"price={csv}:price@x,y", f"noise={csv}:noise@x,y"]
    rules = Protocol(shuffles=1, k=3, min_places=30, splits="random")
    done = evaluate_location([Waves(3)], targets, bank_from_train=["price", "noise"], modes=("geo",), protocol=rules)
    score = {(r["target"], row["features"]): row["mean"] for r, row in done.rows()}
    assert score["price", "waves + training rows, geo · ridge"] > score["price", "waves · ridge"]
    assert max(score["noise", f"waves + training rows, geo · {e}"] for e in ("ridge", "kNN")) < 0.1


def test_a_bank_of_training_rows_ignores_all_others():
    found = places(60)
    vectors = Waves(3).encode({"lonlat": np.column_stack([found.lon, found.lat])})
    values = np.random.default_rng(0).standard_normal((60, 2))
    values[3, 0] = np.nan
    from placevec.features.retrieval import Masks, mode_of

    train = np.arange(0, 60, 2)
    spoilt = values.copy()
    spoilt[1::2] = 1e6
    one, two = (TrainBank(found, vectors, v, mode_of("geo"), Masks()) for v in (values, spoilt))
    np.testing.assert_array_equal(one(train), two(train))
    assert one.digest != two.digest


def test_mean_ranks():
    def report(name, **means):
        rows = [
            {"features": f, "split": "block", "mean": m, "learned": f == "x", "outcome": "loses" if f == "x" else ""}
            for f, m in means.items()
        ]
        return {"target": name, "rows": rows}

    found = Evaluation((report("a", x=0.5, y=0.7, z=0.1), report("b", x=0.5, y=0.5, z=None, w=0.9)))
    ranks = {one.features: one for one in found.mean_ranks("block")}
    assert {name: one.rank for name, one in ranks.items()} == {"x": 1.75, "y": 1.25, "z": 3.0}
    assert (ranks["y"].first, ranks["x"].first, ranks["x"].loses, ranks["x"].targets) == (2, 1, 2, 2)
    assert found.mean_ranks("random") == []


def test_encoders_by_words():
    names = [model.name for model in read_encoders(["sincos", "harmonics:4", Waves()])]
    assert names == ["sincos", "harmonics:4", "waves"]
    (renamed,) = read_encoders(["low=harmonics:4"])
    assert renamed.name == "low"
    assert renamed.at(places().lonlat()).values.shape == (N, 15)
    assert renamed.role == "fixed"


def test_markdown_escapes_names():
    found = evaluate_location({"a|b": table_of(places())}, "height", protocol=QUICK)
    assert "a\\|b · ridge" in markdown(found)


def test_the_command(tmp_path):
    from placevec.cli.commands.evaluate import app

    write_table(table_of(places()), tmp_path / "images.parquet")
    out = tmp_path / "r.json"
    words = ["location", str(tmp_path / "images.parquet"), "harmonics:3", "-t", "height", "-o", str(out), "--no-html"]
    words += ["-k", "3", "--shuffles", "1", "--min-places", "30", "--splits", "random", "--probe", "ridge", "-q"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert {"images · ridge", "harmonics:3 · ridge"} <= {record["features"] for record in records}
    assert out.with_suffix(".md").exists()
    assert not out.with_suffix(".html").exists()
    with pytest.raises(UsageError, match="--block"):
        CliRunner().invoke(app, [*words, "--block", "h3:2", "--block", "x=h3:3"], catch_exceptions=False)
    written = write_evaluation(
        evaluate_location([str(tmp_path / "images.parquet")], "height", protocol=QUICK), out, html=False
    )
    assert [path.suffix for path in written] == [".json", ".md"]
