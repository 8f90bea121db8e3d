from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import landscape_fakes as fakes
from placevec.cli.main import app
from placevec.config import parse_recipe
from placevec.errors import DataError, LeakError, SchemaError, UsageError
from placevec.features.signatures import CooccurrenceEncoder, MaskedCentre, SignatureLayer
from placevec.geo.sphere import distance_m
from placevec.measure.splits import block_split
from placevec.provenance import Saw, Space
from placevec.sources.base import ArraySource, Batch
from placevec.table import EmbeddingTable, Places, write_table
from placevec.tasks.evaluate_landscape import LandscapeRules, evaluate_landscape
from placevec.tasks.run import run
from placevec.tasks.verbs import VERBS

RULES = LandscapeRules(block="h3:6", shuffles=2, k=3, draws=200, estimators=("ridge",), limit=200)
LAYOUT = {"layout_type": "custom", "ground_m": 800.0}


def table_of(source: fakes.Patches | MaskedCentre, vectors: NDArray[np.float32], **meta: object) -> EmbeddingTable:
    return EmbeddingTable.of(source.places(), vectors, Space.mint(vectors.shape[1]), chip_layout=LAYOUT, **meta)


def shares_by_part(source: fakes.Patches | MaskedCentre) -> NDArray[np.float32]:
    """What a network might learn: the classes, and those of the middle and of the rim by themselves."""
    cover = source.read(np.arange(len(source.places()))).data["cover"]
    one = np.eye(6)[cover][..., 1:]
    rim = one.copy()
    rim[:, 2:6, 2:6] = 0
    return np.sqrt(np.concatenate([one.mean((1, 2)), rim.mean((1, 2))], axis=1)).astype(np.float32)


def noise(n: int, d: int = 6) -> NDArray[np.float32]:
    return np.random.default_rng(4).standard_normal((n, d)).astype(np.float32)


@pytest.fixture(scope="module")
def source() -> fakes.Patches:
    return fakes.pairs(150)


def test_one_call_gives_one_table(source: fakes.Patches, tmp_path: Path) -> None:
    hidden = MaskedCentre(source)
    n = len(source.places())
    out = tmp_path / "landscape.json"
    found = evaluate_landscape(
        {"ours": table_of(source, shares_by_part(source))},
        untrained={"ours": table_of(source, noise(n))},
        masked={"ours": table_of(hidden, shares_by_part(hidden))},
        untrained_masked={"ours": table_of(hidden, noise(n))},
        patches=source,
        rules=RULES,
        out=out,
    )
    rows = {row.name: row for row in found.retrieval}
    assert list(rows) == [
        "chance",
        "class fractions · Jensen-Shannon",
        "class fractions · Bhattacharyya",
        "co-occurrence · Jensen-Shannon",
        "co-occurrence · Bhattacharyya",
        "untrained ours",
        "ours",
    ]
    chance = rows["chance"].values["R@10"]
    assert chance == pytest.approx(10 / 150, rel=0.1)
    assert rows["ours"].values["R@10"] > 2 * chance
    assert rows["untrained ours"].values["R@10"] == pytest.approx(chance, abs=0.06)
    assert {one.baseline for one in rows["ours"].against["MRR"]} == set(rows) - {"ours"}
    assert [report.target for report in found.probes] == ["elevation mean", "elevation sd", "cover centre"]
    for report in found.probes:
        own = report.best("block", learned=True)
        assert own is not None
        assert {name.split(" · ")[0] for name in own.versus} == {"class fractions", "co-occurrence", "untrained ours"}
        assert report.splits[-1].buffer_m == pytest.approx(800 * 2**0.5)
        assert report.n == 150
    mean = {row.feature_set: row.scores["r2"].mean for row in found.probes[0]}
    assert mean["ours"] > 0.3 > mean["untrained ours"] + 0.2
    written = json.loads(out.read_text())
    # Neighbours lie some 1,200 m away; one pair was rounded to whole pixels below the diagonal of a square.
    assert written["about"]["retrieval"]["pairs"] == 149
    ends = source.places().lonlat(np.arange(0, 300, 2)), source.places().lonlat(np.arange(1, 300, 2))
    assert int((distance_m(*ends) >= 800 * 2**0.5).sum()) == 149
    assert written["about"]["masked_pixels"] == 2
    text = out.with_suffix(".md").read_text()
    assert "| **ours** " in text
    assert "| co-occurrence " in text
    assert text == found.markdown()
    again = evaluate_landscape(
        {"ours": table_of(source, shares_by_part(source))}, patches=source, targets=["elevation:range"], rules=RULES
    )
    assert [report.target for report in again.probes] == ["elevation range"]
    records = again.to_records()
    assert {record["task"] for record in records} == {"neighbours", "elevation range"}


def test_squares_share_ground_up_to_their_diagonal(source: fakes.Patches) -> None:
    """By default nothing is compared with what shares a corner with it; pairs that do are not tested, and counted."""
    ours = table_of(source, shares_by_part(source))
    found = evaluate_landscape({"ours": ours}, patches=source, targets=[], rules=RULES)
    assert found.about["rules"]["exclude_m"] == found.about["rules"]["buffer_m"] == pytest.approx(800 * 2**0.5)
    assert found.about["retrieval"]["exclude_m"] == pytest.approx(800 * 2**0.5)
    assert not any("corners" in note for note in found.notes)
    close = fakes.pairs(150, gap=10)  # some 1,000 m apart: more than the side, less than the diagonal
    with pytest.raises(DataError, match="0 of 150 pairs are left"):
        evaluate_landscape({"ours": table_of(close, noise(300))}, patches=close, targets=[], rules=RULES)
    sides = LandscapeRules(**{**vars(RULES), "exclude_m": 800.0, "buffer_m": 800.0})
    told = evaluate_landscape({"ours": table_of(close, noise(300))}, patches=close, targets=[], rules=sides)
    assert told.about["retrieval"]["pairs"] == 150
    for name in ("buffer", "exclusion"):
        assert any(note.startswith(f"the {name} of 800 m is shorter than the diagonal") for note in told.notes)


def test_losing_is_said(source: fakes.Patches) -> None:
    found = evaluate_landscape(
        {"ours": table_of(source, noise(300))}, patches=source, targets=["elevation:mean"], rules=RULES
    )
    said = " ".join(found.headline())
    assert "Neighbours, R@10: ours loses to" in said
    assert "elevation mean: ours · ridge loses to" in said
    assert "▼" in found.table()


def test_the_signatures_are_those_that_embed_writes(source: fakes.Patches) -> None:
    """A table of signatures is a baseline too, with the same figures as those counted here."""
    encoder = CooccurrenceEncoder([SignatureLayer("cover", fakes.CLASSES)])
    vectors = encoder.encode(source.read(np.arange(300)).data)
    stored = EmbeddingTable.of(source.places(), vectors, encoder.space, chip_layout=LAYOUT)
    found = evaluate_landscape({"cove": stored}, patches=source, targets=[], rules=RULES)
    rows = {row.name: row for row in found.retrieval}
    assert rows["cove · Jensen-Shannon"].role == "fixed"
    assert rows["cove · Jensen-Shannon"].values == rows["co-occurrence · Jensen-Shannon"].values
    assert found.probes == ()


def test_what_was_trained_on_pairs_is_tested_on_others_only(source: fakes.Patches) -> None:
    places = source.places()
    split = block_split(places.lonlat(), "h3:5", 3, groups=places.keys)
    saw = Saw("", "place", split.spec, (0, 1))
    trained = table_of(source, shares_by_part(source), saw=(saw,))
    with pytest.raises(LeakError, match="'ours'.*'place'"):
        evaluate_landscape({"ours": trained}, patches=source, targets=[], rules=RULES)
    rules = LandscapeRules(**{**vars(RULES), "unseen": True})
    found = evaluate_landscape({"ours": trained}, patches=source, targets=[], rules=rules)
    tested = found.about["retrieval"]["pairs"]
    assert 0 < tested < 150
    assert tested == int((split.fold == 2).sum()) // 2


def test_a_label_that_was_seen_is_not_probed(source: fakes.Patches) -> None:
    trained = table_of(source, shares_by_part(source), saw=(Saw("", "elevation"),))
    with pytest.raises(LeakError, match="the target 'elevation mean'"):
        evaluate_landscape({"ours": trained}, patches=source, targets=["elevation:mean"], rules=RULES)


def test_options_that_cannot_be_are_named(source: fakes.Patches) -> None:
    ours = table_of(source, shares_by_part(source))
    for given, words in (
        ({"targets": ["slope:mean"]}, "the layers are cover, elevation"),
        ({"targets": ["cover:mean"]}, "of cover there is centre"),
        ({"targets": ["cover:centre"]}, "needs tables of patches with their centres masked"),
        ({"targets": ["height"]}, "neither LAYER"),
        ({"masked": {"theirs": ours}}, "no table called 'theirs'"),
        ({"rules": LandscapeRules(buffer_m=100.0)}, "narrower than the footprint, 800 m"),
        ({"rules": LandscapeRules(exclude_m=100.0)}, "narrower than the footprint"),
        ({"out": "landscape.txt"}, "NAME.json"),
    ):
        with pytest.raises(UsageError, match=words):
            evaluate_landscape({"ours": ours}, patches=source, **given)
    with pytest.raises(UsageError, match="nothing to compare"):
        evaluate_landscape()
    other = EmbeddingTable.of(
        Places.create(["q"], source.places().lonlat()[:1]), np.ones((1, 2), dtype=np.float32), Space.mint(2)
    )
    with pytest.raises(SchemaError, match="no id in common"):
        evaluate_landscape({"ours": ours, "other": other}, patches=source)


def test_rows_that_are_no_pairs_are_probed_all_the_same() -> None:
    rng = np.random.default_rng(0)
    column, row = rng.integers(0, fakes.SIDE - fakes.PIXELS, (2, 120))
    source = fakes.cut(column, row, [f"p{i:03d}" for i in range(120)], None)
    found = evaluate_landscape({"ours": table_of(source, shares_by_part(source))}, patches=source, rules=RULES)
    assert found.retrieval == ()
    assert any("no two rows share" in note for note in found.notes)
    assert any("the centre of cover" in note for note in found.notes)
    assert [report.target for report in found.probes] == ["elevation mean", "elevation sd"]
    with pytest.raises(DataError, match="nothing could be measured"):
        evaluate_landscape({"ours": table_of(source, shares_by_part(source))}, patches=source, targets=[], rules=RULES)


def test_pairs_that_overlap_are_left_out_and_counted() -> None:
    near, far = fakes.pairs(40, gap=4), fakes.pairs(60, gap=13, seed=5)
    ids = [f"n{one}" for one in near.places().ids] + far.places().ids.tolist()
    keys = [f"n{one}" for one in near.places().keys] + far.places().keys.tolist()
    lonlat = near.places().lonlat(), far.places().lonlat()
    from placevec.geo.sphere import LonLat

    both = LonLat(np.concatenate([one.lon for one in lonlat]), np.concatenate([one.lat for one in lonlat]))
    data = [one.read(np.arange(len(one.places()))).data for one in (near, far)]
    joined = {name: np.concatenate([one[name] for one in data]) for name in data[0]}
    source = fakes.Patches(Places.create(ids, both, place=keys), joined)
    found = evaluate_landscape(patches=source, targets=[], rules=RULES)
    assert found.about["retrieval"]["pairs"] == 60
    assert any(note.startswith("40 pairs lie nearer than 1131.37 m") for note in found.notes)


def test_patches_that_cannot_be_read_drop_out(source: fakes.Patches) -> None:
    class Broken(fakes.Patches):
        def read(self, rows: NDArray[np.int64]) -> Batch:
            return super().read(rows[rows % 10 != 3])

    broken = Broken(source.places(), source.read(np.arange(300)).data)
    found = evaluate_landscape({"ours": table_of(source, shares_by_part(source))}, patches=broken, rules=RULES)
    assert found.about["rows"] == 270
    assert any(note.startswith("30 of 300 rows") for note in found.notes)


def test_the_masked_centre_hides_what_is_asked_for(source: fakes.Patches) -> None:
    hidden = MaskedCentre(source, 4)
    data = hidden.read(np.arange(5)).data
    assert (data["cover"][:, 2:6, 2:6] == 0).all()
    assert np.isnan(data["elevation"][:, 2:6, 2:6]).all()
    rim = np.ones((8, 8), dtype=bool)
    rim[2:6, 2:6] = False
    whole = source.read(np.arange(5)).data
    np.testing.assert_array_equal(data["cover"][:, rim], whole["cover"][:, rim])
    assert (whole["cover"] > 0).all()
    assert hidden.fingerprint() != MaskedCentre(source, 2).fingerprint()
    for side in (0, 8):
        with pytest.raises(UsageError, match="masked centre"):
            MaskedCentre(source, side)
    with pytest.raises(UsageError, match="no patches"):
        MaskedCentre(ArraySource(source.places(), {}))


def test_the_command_prints_records(source: fakes.Patches, tmp_path: Path) -> None:
    table = table_of(source, shares_by_part(source))
    height = source.read(np.arange(300)).data["elevation"].mean((1, 2))
    write_table(table.with_column("height", height), tmp_path / "ours.parquet")
    write_table(table_of(source, noise(300)), tmp_path / "untrained.parquet")
    result = CliRunner().invoke(
        app,
        [
            *("evaluate", "landscape", f"ours={tmp_path / 'ours.parquet'}", "-t", "height", "--shuffles", "1"),
            *("--untrained", f"ours={tmp_path / 'untrained.parquet'}", "--block", "h3:6", "-k", "3"),
            *("--probe", "ridge", "-o", str(tmp_path / "out.json"), "-q"),
        ],
    )
    assert result.exit_code == 0, result.output
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert {record["task"] for record in records} == {"neighbours", "height"}
    assert (tmp_path / "out.md").exists()


def test_a_recipe_has_it_as_a_step(source: fakes.Patches, tmp_path: Path) -> None:
    table = table_of(source, shares_by_part(source))
    write_table(table.with_column("height", np.arange(300.0)), tmp_path / "ours.parquet")
    write_table(table_of(source, noise(300)), tmp_path / "idle.parquet")
    step = {
        "do": "evaluate",
        "what": "landscape",
        "tables": {"ours": "ours.parquet"},
        "untrained": {"ours": "idle.parquet"},
        "targets": ["height"],
        "rules": {"block": "h3:6", "shuffles": 1, "k": 3, "estimators": ["ridge"], "draws": 100},
        "out": "landscape.json",
    }
    run(parse_recipe({"step": [step]}), VERBS, folder=tmp_path)
    about = json.loads((tmp_path / "landscape.json").read_text())["about"]
    assert about["rules"]["k"] == 3
    assert [one["name"] for one in about["representations"]] == ["untrained ours", "ours"]
    for change, words in (
        ({"rules": {"folds": 3}}, "folds"),
        ({"captions": "set"}, "captions"),
        ({"untrained": ["idle.parquet"]}, "a table of names"),
        ({"tables": {"ours": "gone.parquet"}}, "'gone.parquet' is not there"),
    ):
        with pytest.raises(UsageError, match=words):
            run(parse_recipe({"step": [step | change]}), VERBS, folder=tmp_path)
