"""What a probe must show: neighbours flatter, noise knows nothing, a loss is called a loss."""

from __future__ import annotations

import json

import numpy as np
import pytest

from placevec.errors import DataError, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat, pairwise_m
from placevec.measure.baselines import compulsory, coordinate_features, ring_means
from placevec.measure.probes import probe
from placevec.measure.splits import random_split


def world(n: int = 600, seed: int = 0):
    """Places, and a target that varies over some 30 km, on top of what places at large know."""
    rng = np.random.default_rng(seed)
    places = LonLat(rng.uniform(-6, 0, n), rng.uniform(38, 43, n))
    waves = places.unit() @ (rng.standard_normal((3, 60)) * 120) + rng.uniform(0, 6, 60)
    y = np.cos(waves).sum(axis=1) / 6 + 0.1 * rng.standard_normal(n)
    return rng, places, y


def rows_of(report, split: str) -> dict:
    return {row.features: row for row in report if row.split == split}


@pytest.fixture(scope="module")
def noise_report():
    rng, places, y = world()
    return probe({"noise": rng.standard_normal((600, 12))}, places, y, target="t", block="h3:3", buffer_m=60_000.0)


def test_a_probe_cannot_leak(noise_report):
    """Vectors of pure noise know nothing under any split; coordinates seem to know under the random one only."""
    random, block = rows_of(noise_report, "random"), rows_of(noise_report, "block")
    assert random["coordinates · kNN"].scores["r2"].mean > 0.6
    assert random["coordinates · GP"].scores["r2"].mean > 0.6
    for name in ("noise · ridge", "noise · kNN"):
        assert random[name].scores["r2"].mean <= 0.02
        assert block[name].scores["r2"].mean <= 0.02
        assert random[name].outcome == "loses"
        assert random[name].verdict.startswith("loses to coordinates · ")
    assert block["coordinates · kNN"].scores["r2"].mean < 0.3
    assert random["noise · ridge"].scores["moran"].mean > 0.5


def test_all_compulsory_baselines_are_there(noise_report):
    names = ["mean", "sin/cos of coordinates · ridge", "coordinates · kNN", "coordinates · GP"]
    for split in ("random", "block"):
        assert [r.features for r in noise_report if r.split == split] == [*names, "noise · ridge", "noise · kNN"]
    assert noise_report.absent[0] == "raw features"
    assert "an untrained network of the same shape" in noise_report.absent
    rng, places, y = world(200)
    x = rng.standard_normal((200, 4))
    full = probe({"v": x}, places, y, raw=x, untrained={"v": x}, estimators=("ridge",), splits=("random",), shuffles=1)
    assert full.absent == ()
    assert [row.features for row in full if not row.learned][4:] == [
        "raw features · ridge",
        "raw features, 1 ring · ridge",
        "raw features, 3 rings · ridge",
        "untrained v · ridge",
    ]


def test_what_knows_beats_the_baselines():
    rng, places, y = world()
    knows = np.stack([y + 0.1 * rng.standard_normal(600), rng.standard_normal(600)], axis=1)
    report = probe({"knows": knows}, places, y, block="h3:3", buffer_m=20_000.0)
    row = rows_of(report, "block")["knows · ridge"]
    assert row.outcome == "beats"
    assert row.verdict.startswith(f"beats {row.rival} by 0.")
    assert row.against.low > 0
    assert report.best("block").features == "knows · ridge"
    assert report.best("block", learned=False).features == row.rival
    assert report.residuals.features == "knows · ridge"
    assert report.residuals.split == "block"
    assert np.abs(report.residuals.values).max() < 1.0
    score = row.scores["r2"]
    assert score.low < score.mean < score.high
    assert score.mean == pytest.approx(np.mean(row.per_shuffle["r2"]))
    assert score.sd == pytest.approx(np.std(row.per_shuffle["r2"], ddof=1))


def test_the_frame_is_reported(noise_report):
    random, block = noise_report.splits
    assert (random.kind, block.kind, block.block, block.buffer_m) == ("random", "block", "h3:3", 60_000.0)
    assert (random.n_buffered, random.n_test) == (0.0, 600.0)
    assert block.n_buffered > 0
    assert block.n_train + block.n_buffered == pytest.approx(600 * 4 / 5)
    rows = noise_report.to_records()
    assert {"features", "split", "mean", "low", "high", "sd", "learned", "metric", "verdict", "outcome"} <= set(rows[0])
    assert {row["metric"] for row in rows} == {"R²"}
    every = noise_report.to_records("all")
    assert len(every) == 5 * len(rows)
    assert len({(r["features"], r["split"], r["metric"]) for r in every}) == len(every)
    chosen = rows_of(noise_report, "block")["noise · ridge"].chosen
    assert len(chosen) == 3
    assert all(len(folds) == 5 and all(one["alpha"] > 0 for one in folds) for folds in chosen)


def test_equal_runs_give_equal_text():
    rng, places, y = world(200)
    x = rng.standard_normal((200, 5))
    one, same, other = (probe({"x": x}, places, y, shuffles=2, draws=100, seed=seed).to_json() for seed in (0, 0, 1))
    assert one == same != other
    assert json.loads(one)["splits"][1]["block"].startswith("h3:")
    assert json.loads(one)["splits"][1]["range_m"] > 0


def test_rows_without_a_target_are_left_out_and_counted():
    rng, places, y = world(200)
    x = rng.standard_normal((200, 5))
    y[::4] = np.nan
    held = ~np.isnan(y)
    report = probe({"x": x}, places, y, splits=("random",), shuffles=1, groups=np.arange(200))
    assert (report.n, report.n_missing) == (150, 50)
    np.testing.assert_array_equal(report.residuals.rows, np.flatnonzero(held))
    as_objects = probe(
        {"x": x}, places, [None if np.isnan(v) else v for v in y], splits=("random",), shuffles=1, groups=np.arange(200)
    )
    assert as_objects.to_json() == report.to_json()


def test_classes():
    rng, places, y = world(400)
    classes = np.array(["low", "middle", "high"], dtype=object)[np.digitize(y, [-0.5, 0.5])]
    classes[:5] = None
    classes[5:8] = ""
    knows = np.stack([y, y**2], axis=1)
    report = probe({"knows": knows}, places, classes, block="h3:3", shuffles=2, raw=rng.standard_normal((400, 3)))
    assert (report.kind, report.metric, report.n_missing) == ("classification", "accuracy", 8)
    assert report.classes == ("high", "low", "middle")
    row = rows_of(report, "block")["knows · kNN"]
    assert set(row.scores) == {"accuracy", "balanced_accuracy", "macro_f1", "moran"}
    assert row.scores["accuracy"].mean > 0.9
    assert row.outcome == "beats"
    mean = rows_of(report, "random")["mean"].scores["accuracy"].mean
    share = np.unique(classes[8:], return_counts=True)[1].max() / 392
    assert mean == pytest.approx(share, abs=0.02)
    assert set(np.unique(report.residuals.values)) <= {0.0, 0.5, 1.0}
    numbers = probe({"k": knows}, places, np.digitize(y, [0.0]), kind="classification", splits=("random",), shuffles=1)
    assert numbers.classes == ("0", "1")
    assert probe({"k": knows}, places, y > 0, splits=("random",), shuffles=1).kind == "classification"


def test_a_transform_of_the_target():
    rng, places, y = world(200)
    x = np.stack([y, rng.standard_normal(200)], axis=1)
    heavy = np.expm1(y - y.min())
    plain, logged = (
        probe({"x": x}, places, heavy, splits=("random",), shuffles=1, estimators=("ridge",), transform=t)
        for t in ("", "log1p")
    )
    assert logged.transform == "log1p"
    assert logged.best("random", learned=True).scores["r2"].mean > 0.999 > plain.best("random").scores["r2"].mean


def test_groups_share_folds_and_resamples():
    rng, places, y = world(300)
    twice = np.concatenate([np.arange(300)] * 2)
    x = rng.standard_normal((300, 40))
    args = {"splits": ("random",), "shuffles": 1, "estimators": ("knn",)}
    leaking = probe({"x": x[twice]}, places[twice], y[twice], **args)
    grouped = probe({"x": x[twice]}, places[twice], y[twice], groups=[f"p{i}" for i in twice], **args)
    assert rows_of(leaking, "random")["x · kNN"].scores["r2"].mean > 0.3
    assert rows_of(grouped, "random")["x · kNN"].scores["r2"].mean < 0.05
    assert grouped.about["resampled"] == 300
    fold = random_split(twice, 5, 0).fold
    np.testing.assert_array_equal(fold[:300], fold[300:])


def test_blocks_widen_the_interval():
    _, places, y = world(400)
    args = {"splits": ("block",), "block": "h3:3", "shuffles": 1, "estimators": ("ridge",)}
    x = coordinate_features(places)
    by_place, by_block = (probe({"x": x}, places, y, resample=r, **args) for r in ("places", "blocks"))
    a, b = (next(row.scores["r2"] for row in r if row.features == "coordinates · GP") for r in (by_place, by_block))
    assert a.mean == b.mean
    assert b.high - b.low > a.high - a.low


def test_progress_counts_to_the_end():
    rng, places, y = world(100)
    seen = []
    probe({"x": rng.standard_normal((100, 2))}, places, y, shuffles=2, progress=lambda *a: seen.append(a))
    assert [done for _, done, _ in seen] == list(range(1, seen[-1][2] + 1))
    assert seen[0][0] == "random: mean"


def test_ring_means_against_loops():
    rng = np.random.default_rng(0)
    system = H3Cells(6)
    cells = system.rings(system.assign(LonLat.of(-4, 40)), 5)[0]
    cells = rng.permutation(cells)[:60]
    cells = np.concatenate([cells, cells[:5]])
    raw = rng.standard_normal((65, 3))
    places = system.centre(cells)
    for rings in (0, 1, 3):
        found = ring_means(raw, places, rings, cells)
        for i in range(65):
            near = [c for c in system.rings(cells[i : i + 1], rings)[0] if c in cells]
            expected = np.mean([raw[cells == c].mean(axis=0) for c in near], axis=0)
            np.testing.assert_allclose(found[i], expected)
    p = LonLat(rng.uniform(0, 2, 50), rng.uniform(40, 42, 50))
    nearest = np.argsort(pairwise_m(p, p), axis=1)[:, :7]
    np.testing.assert_allclose(ring_means(raw[:50], p, 1), raw[:50][nearest].mean(axis=1))


def test_coordinates_as_sines():
    x = coordinate_features(LonLat(np.array([0.0, 90.0]), np.array([0.0, 90.0])))
    np.testing.assert_allclose(x, [[0, 1, 0, 1], [1, 0, 1, 0]], atol=1e-15)


def test_features_of_other_lengths():
    rng, places, y = world(100)
    with pytest.raises(DataError, match="raw features of 99 rows for 100 places"):
        compulsory(places, raw=rng.standard_normal((99, 2)))
    with pytest.raises(DataError, match="99 cells for 100 rows"):
        compulsory(places, raw=rng.standard_normal((100, 2)), h3=np.ones(99, dtype=np.uint64))
    with pytest.raises(DataError, match="x: 99 rows for 100 places"):
        probe({"x": rng.standard_normal((99, 2))}, places, y)
    with pytest.raises(DataError, match="one value per place"):
        probe({}, places, y[:99])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"splits": ("random", "stripes")}, UsageError, "splits.*'stripes'"),
        ({"estimators": ()}, UsageError, "estimators: none"),
        ({"transform": "sqrt"}, UsageError, "'sqrt'"),
        ({"resample": "rows"}, UsageError, "'rows'"),
        ({"kind": "ranking"}, UsageError, "'ranking'"),
        ({"k": 2}, UsageError, "3 or more, not 2"),
        ({"shuffles": 0}, UsageError, "0 shuffles"),
        ({"k": 40}, DataError, "too few for 40 folds"),
        ({"transform": "log1p"}, DataError, "log1p needs more than −1"),
        (
            {"untrained": {"x": np.ones((100, 2))}, "vectors": {"untrained x": np.ones((100, 2))}},
            UsageError,
            "name the",
        ),
        ({"y": np.full(100, 3.0)}, DataError, "the target is 3.0 in all 100 rows"),
        ({"y": np.array(["a"] * 100)}, DataError, "the target is a in all 100 rows"),
        ({"y": np.array(["a", "b"] * 50), "kind": "regression"}, UsageError, "'a', which is no number"),
        ({"y": np.array(["a", "b"] * 50), "transform": "log1p"}, UsageError, "for numbers, not for classes"),
        ({"y": np.r_[np.inf, np.arange(99.0)]}, DataError, "infinite"),
        ({"y": np.full(100, np.nan)}, DataError, "0 rows have a target"),
    ],
)
def test_refusals(options, error, message):
    _, places, y = world(100)
    y[0] = -5.0
    y = options.pop("y", y)
    vectors = options.pop("vectors", {"x": np.random.default_rng(0).standard_normal((100, 2))})
    with pytest.raises(error, match=message):
        probe(vectors, places, y, **options)


def test_only_baselines():
    _, places, y = world(150)
    report = probe({}, places, y, splits=("random",), shuffles=1)
    assert report.residuals.features == report.best("random").features
    assert all(row.verdict == row.outcome == "" for row in report)
    assert len(report) == 4
