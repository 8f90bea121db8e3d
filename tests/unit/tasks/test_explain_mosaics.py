"""The mosaic benchmark: a tower that knows the colours hits, one that knows nothing is at chance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence_fakes import COLOURS, painted, pair
from placevec.encoders.pair import PairModel
from placevec.errors import DataError, LeakError, UsageError
from placevec.features.evidence import HeatMap
from placevec.measure.retrieval import saw_captions
from placevec.sources.base import ArraySource, Batch
from placevec.table import Places, Skipped
from placevec.tasks.explain_methods import Method
from placevec.tasks.explain_mosaics import (
    METHODS,
    METRICS,
    Mosaic,
    Plan,
    draw,
    evaluate_evidence,
    fine_map,
    join,
    judged,
    mosaic,
)

TILE = 32
LABELS = [*COLOURS, "grey"]
RIGHT = {label: label for label in LABELS}


def tiles(n: int = 40, seed: int = 0) -> tuple[ArraySource, list[str]]:
    """Tiles of a plain colour with some noise, and their names."""
    rng = np.random.default_rng(seed)
    labels = [LABELS[i % 4] for i in range(n)]
    images = np.stack([painted(TILE, **({label: (0, 0, TILE)} if label != "grey" else {})) for label in labels]).astype(
        int
    )
    images = np.clip(images + rng.integers(-20, 20, images.shape), 0, 255).astype(np.uint8)
    return ArraySource(Places.create([f"t{i}" for i in range(n)]), {"image": images}), labels


PLAN = Plan(sides=(2,), count=12, tile=TILE, draws=200, cut=0.4)


def test_a_tower_that_knows_the_colours_points_at_them() -> None:
    source, labels = tiles()
    told: list[tuple[int, int]] = []
    found = evaluate_evidence(
        pair(), source, labels, words=RIGHT, plan=PLAN, progress=lambda done, total: told.append((done, total))
    )
    assert told[-1] == (12, 12)
    assert {one["method"] for one in found.records} == set(METHODS)
    for name in ("dense", "crops", "grid"):
        record = found.of(name, 2)
        # Three of four queries are colours; grey is no direction of this tower.
        assert record["pointing"] >= 0.7
        assert record["queries"] == 48
        assert record["chance"] == 0.25
        assert record["pointing_low"] <= record["pointing"] <= record["pointing_high"]
        assert record["cell_ap"] > 0.7
        assert record["pixel_ap"] > 0.6
        assert record["seconds"] > 0
    assert found.of("grid")["time_ratio"] == 1
    assert found.of("dense")["outcome"] in ("beats", "ties", "loses")
    assert found.of("dense")["difference"] == pytest.approx(
        found.of("dense")["pointing"] - found.of("grid")["pointing"]
    )
    json.dumps(found.to_json(), allow_nan=False)
    with pytest.raises(UsageError, match="nothing was measured"):
        found.of("nonsense")


def test_wrong_names_are_worse_than_chance_and_the_same_seed_gives_the_same_figures() -> None:
    source, labels = tiles()
    methods = {"grid": METHODS["grid"], "dense": METHODS["dense"]}
    wrong = {"red": "green", "green": "blue", "blue": "red", "grey": "grey"}
    good, again, bad = (
        evaluate_evidence(pair(), source, labels, words=words, plan=PLAN, methods=methods)
        for words in (RIGHT, RIGHT, wrong)
    )
    for name in methods:
        assert bad.of(name)["pointing"] < 0.25 < good.of(name)["pointing"]
        assert [good.of(name)[metric] for metric in METRICS] == [again.of(name)[metric] for metric in METRICS]


def test_mosaics_have_distinct_classes_and_the_tiles_they_say() -> None:
    source, labels = tiles()
    plan = Plan(sides=(2,), count=5, tile=TILE, cut=0.0)
    for one in draw(source, labels, plan):
        assert one is not None
        assert sorted(one.labels) == sorted(LABELS)
        assert one.pixels.shape == (3, 64, 64)
        batch = source.read(np.array(one.rows))
        for cell, image in enumerate(batch.data["image"]):
            row, column = divmod(cell, 2)
            part = one.pixels[:, row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
            assert (part == image).all()
            assert labels[one.rows[cell]] == one.labels[cell]


@given(st.integers(2, 4), st.floats(0, 0.99), st.integers(0, 1000))
def test_the_cells_of_a_cut_mosaic_hold_their_tiles(side: int, cut: float, seed: int) -> None:
    plan = Plan(sides=(side,), tile=8, cut=cut)
    images = np.arange(1, side * side + 1, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 8, 8), np.uint8)
    names = [str(i) for i in range(side * side)]
    one = mosaic(images, names, list(range(side * side)), plan, np.random.default_rng(seed))
    _, height, width = one.pixels.shape
    assert (one.y[0], one.y[-1], one.x[0], one.x[-1]) == (0, height, 0, width)
    cells = one.cells(np.arange(height) + 0.5, np.arange(width) + 0.5)
    assert (cells == one.pixels[0].astype(int) - 1).all()


def test_a_mosaic_with_an_unreadable_tile_is_left_out_and_counted() -> None:
    source, labels = tiles()

    class Broken(ArraySource):
        def read(self, rows: np.ndarray) -> Batch:
            batch = super().read(rows)
            keep = batch.rows % 8 != 0
            lost = [Skipped(f"t{row}", "read", "damaged") for row in batch.rows[~keep]]
            return Batch(batch.rows[keep], {"image": batch.data["image"][keep]}, lost)

    broken = Broken(source.places(), {"image": source.read(np.arange(40)).data["image"]})
    found = evaluate_evidence(pair(), broken, labels, words=RIGHT, plan=PLAN, methods={"grid": METHODS["grid"]})
    assert 0 < found.facts["mosaics"] < 12
    assert f"{12 - found.facts['mosaics']} mosaics were left out" in found.notes[0]


def test_figures_of_a_map_against_a_plain_count() -> None:
    from sklearn.metrics import average_precision_score

    values = np.random.default_rng(0).standard_normal((16, 16))
    where = Mosaic(np.zeros((3, 128, 128), np.uint8), tuple("abcd"), (0, 1, 2, 3), (0, 64, 128), (0, 64, 128))
    heat = HeatMap(values, (128, 128), 0.0)
    means = [values[:8, :8].mean(), values[:8, 8:].mean(), values[8:, :8].mean(), values[8:, 8:].mean()]
    row, column = np.unravel_index(values.argmax(), values.shape)
    for cell in range(4):
        hit, cells, pixels = judged(heat, where, cell)
        assert hit == float((row // 8) * 2 + column // 8 == cell)
        assert cells == 1 / (1 + sum(mean > means[cell] for mean in means))
        inside = np.zeros((16, 16), bool)
        inside[(cell // 2) * 8 : (cell // 2) * 8 + 8, (cell % 2) * 8 : (cell % 2) * 8 + 8] = True
        assert pixels == pytest.approx(average_precision_score(inside.ravel(), values.ravel()))
    flat = HeatMap(np.zeros((4, 4)), (128, 128), 0.0)
    assert judged(flat, where, 0)[1:] == (1 / 2.5, 0.25)  # ties: the mean rank of four, and precision by chance


def test_maps_are_brought_to_one_grid() -> None:
    values = np.arange(16.0).reshape(4, 4)
    assert (fine_map(HeatMap(values, (8, 8), 0.0), 4) == values).all()
    assert (fine_map(HeatMap(values, (8, 8), 0.0, cells=True), 8) == values.repeat(2, 0).repeat(2, 1)).all()
    smooth = fine_map(HeatMap(values, (8, 8), 0.0), 8)
    assert smooth[0, 0] == 0
    assert (np.diff(smooth, axis=0) >= 0).all()


def test_what_is_refused() -> None:
    source, labels = tiles()
    with pytest.raises(DataError, match="4 classes do not fill a mosaic of 9"):
        list(draw(source, labels, Plan(sides=(3,), tile=TILE)))
    with pytest.raises(DataError, match="resize them first"):
        join(np.zeros((4, 3, 8, 8), np.uint8), 2, 16)
    for wrong in ({"sides": ()}, {"sides": (1,)}, {"cut": 1.0}, {"templates": ("a class",)}, {"count": 0}):
        with pytest.raises(UsageError):
            Plan(**wrong)
    assert METHODS["grid-4x4"](2, 64) == Method("grid", cells=4, one_by_one=True)


def test_the_command_on_a_folder_of_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    from placevec.encoders import pair as pairs
    from placevec.tasks.evaluate_evidence import evaluate_captions

    source, labels = tiles(16)
    entries = []
    for row, (image, label) in enumerate(zip(source.read(np.arange(16)).data["image"], labels, strict=True)):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / f"{row}.png")
        entries.append({"file": f"{row}.png", "class": label, "split": "test", "sentences": [f"a {label} field"]})
    (tmp_path / "captions.json").write_text(json.dumps(entries))
    monkeypatch.setattr(pairs, "open_pair", lambda name: pair())
    plan = Plan(sides=(2,), count=2, tile=TILE, draws=50)
    found = evaluate_captions(tmp_path / "captions.json", "some", images=tmp_path, methods=["dense"], plan=plan)
    assert found.of("dense")["mosaics"] == 2
    assert found.facts["classes"] == RIGHT
    with pytest.raises(UsageError, match="no method 'nonsense'"):
        evaluate_captions(tmp_path / "captions.json", "some", images=tmp_path, methods=["nonsense"])
    with pytest.raises(UsageError, match="split"):
        evaluate_captions(tmp_path / "captions.json", "some", images=tmp_path, split="nowhere", plan=plan)
    learned = pair()
    saw = (saw_captions(str(tmp_path / "captions.json"), ["test"]),)
    with pytest.raises(LeakError, match="'test'"):
        evaluate_captions(
            tmp_path / "captions.json", PairModel.of(learned.image, learned.text, saw=saw), images=tmp_path, plan=plan
        )
    whole = evaluate_captions(tmp_path / "captions.json", learned, images=tmp_path, split="all", plan=plan)
    assert whole.of("dense")["mosaics"] == 2
