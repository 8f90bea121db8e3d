import json
import math
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest
import shapely

from placevec.errors import DataError, SchemaError
from placevec.geo.sphere import LonLat
from placevec.results import Evidence, Guess, Hits, Plan, Region, Score, Scores, jsonable
from placevec.table import Places

PLAN = Plan("scan", True, 3, 4, unlocated=1, seconds=0.5, note="a note")


def hits() -> Hits:
    places = Places.create(
        ["a", "b", "c"],
        geometry=np.array([shapely.Point(1, 2), None, shapely.box(0, 0, 2, 2)], dtype=object),
        h3=np.array([0x8928308280FFFFF] * 3, dtype=np.uint64),
        time_start=np.array(["2024-01-02", "2024-01-03", "2024-01-04"], dtype="datetime64[us]"),
        attributes={"elevation": np.array([1.5, np.nan, 3.0]), "score": np.array([7, 8, 9])},
    )
    return Hits(np.array([5, 0, 2]), np.array([0.9, 0.5, 0.25], dtype=np.float32), places, PLAN)


def test_hits_as_records() -> None:
    records = hits().to_records()
    assert json.loads(json.dumps(records, allow_nan=False)) == records
    assert records[0] == {
        "rank": 1,
        "id": "a",
        "score": pytest.approx(0.9),
        "lon": 1.0,
        "lat": 2.0,
        "h3": "8928308280fffff",
        "time_start": "2024-01-02T00:00:00+00:00",
        "elevation": 1.5,
        "score_": 7,
    }
    assert records[1]["lon"] is None
    assert records[1]["elevation"] is None
    assert (records[2]["lon"], records[2]["lat"]) == (1.0, 1.0)


def test_hits_as_geojson() -> None:
    collection = hits().to_geojson()
    assert json.loads(json.dumps(collection, allow_nan=False)) == collection
    assert [feature["id"] for feature in collection["features"]] == ["a", "b", "c"]
    assert collection["features"][0]["geometry"] == {"type": "Point", "coordinates": [1.0, 2.0]}
    assert collection["features"][1]["geometry"] is None
    assert collection["features"][2]["geometry"]["type"] == "Polygon"
    assert collection["features"][0]["properties"]["rank"] == 1
    assert collection["plan"]["candidates"] == 3


def test_hits_are_of_one_length() -> None:
    with pytest.raises(SchemaError, match="differ in length"):
        Hits(np.arange(2), np.zeros(2, dtype=np.float32), Places.create(["a"]), PLAN)
    assert len(hits()) == 3
    assert "3 of 4 rows" in repr(hits())
    assert str(PLAN) == "scan, exact; 3 of 4 rows; 1 rows without a geometry left out; a note"


def test_a_guess() -> None:
    places = LonLat(np.array([179.0, -179.0, 10.0]), np.array([1.0, 2.0, 3.0]))
    regions = (Region(0.5, shapely.box(0, 0, 1, 1), 2e6), Region(0.95, shapely.box(0, 0, 3, 3), 9e6))
    guess = Guess.of(places, [0.2, 0.5, 0.1], labels=("x", "y", "z"), regions=regions, id="photo", confidence=0.5)
    assert guess.weights.tolist() == [0.5, 0.2, 0.1]
    assert guess.labels == ("y", "x", "z")
    assert guess.point == LonLat.of(-179.0, 2.0)
    assert guess.region(0.95).area_m2 == 9e6
    assert guess.to_records()[0] == {"id": "photo", "rank": 1, "lon": -179.0, "lat": 2.0, "weight": 0.5, "label": "y"}
    record = json.loads(json.dumps(guess.to_record(), allow_nan=False))
    assert record["regions"][1]["area_km2"] == 9
    assert record["regions"][0]["polygon"]["type"] == "Polygon"
    assert record["confidence"] == 0.5
    assert Guess.of(places, [0.2, 0.5, 0.1]).to_record()["confidence"] is None
    with pytest.raises(DataError, match="there are: 0.5, 0.95"):
        guess.region(0.8)


def test_what_is_no_guess() -> None:
    places = LonLat(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    with pytest.raises(DataError, match="add up to 1.5"):
        Guess.of(places, [0.75, 0.75])
    with pytest.raises(DataError, match="probabilities"):
        Guess.of(places, [-0.1, 0.5])
    with pytest.raises(DataError, match="at least one"):
        Guess.of(places[np.array([], dtype=np.int64)], [])
    with pytest.raises(DataError, match="1 labels for 2"):
        Guess(places, np.array([0.5, 0.5]), places[0], labels=("a",))
    with pytest.raises(DataError, match="smallest level"):
        box = shapely.box(0, 0, 1, 1)
        Guess.of(places, [0.5, 0.5], regions=(Region(0.9, box, 1.0), Region(0.5, box, 1.0)))


def test_scores() -> None:
    scores = Scores(
        (
            Score("elevation", "table", "block", "R²", 0.5, 0.4, 0.6, 0.05, 100, learned=True),
            Score("elevation", "mean", "block", "R²", 0.0),
        ),
        {"split": "block"},
    )
    assert len(scores) == 2
    assert [row.features for row in scores.where(learned=False)] == ["mean"]
    records = scores.to_records()
    assert json.loads(json.dumps(records, allow_nan=False))[1]["low"] is None
    assert set(records[0]) >= {"features", "split", "metric", "mean", "low", "high", "sd", "learned", "target"}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (math.inf, None),
        (np.float64("nan"), None),
        (np.array([1.0, np.nan]), [1.0, None]),
        ({"a": (1, np.uint8(2))}, {"a": [1, 2]}),
        (datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00+00:00"),
        (date(2024, 1, 2), "2024-01-02"),
        (b"\x01\xff", "01ff"),
        (None, None),
        (np.datetime64("2024-01-02T03:04:05"), "2024-01-02T03:04:05"),
    ],
)
def test_jsonable(value, wanted) -> None:
    assert jsonable(value) == wanted
    assert type(jsonable(value)) is type(wanted)


def test_hits_that_were_judged() -> None:
    found = hits()
    judged = replace(found, relevance=np.array([0.8, np.nan, 0.1], dtype=np.float32), least=0.3)
    records = judged.to_records()
    assert [record["match"] for record in records] == [True, None, False]
    assert records[0]["relevance"] == pytest.approx(0.8)
    assert records[1]["relevance"] is None
    assert list(records[0])[:5] == ["rank", "id", "score", "relevance", "match"]
    assert judged.to_geojson()["features"][2]["properties"]["match"] is False
    unbounded = replace(judged, least=None).to_records()
    assert "match" not in unbounded[0]
    with pytest.raises(SchemaError, match="relevance"):
        replace(found, relevance=np.zeros(2, dtype=np.float32))


def test_a_guess_with_what_stands_behind_it() -> None:
    there = LonLat.of(10.0, 3.0)
    evidence = (Evidence("t1", there, 0.75, 1500.0, "t1.jpg"), Evidence("t2", there, 0.5, 2e5))
    plain = Guess.of(there, [1.0], id="photo")
    assert set(plain.to_record()) == {"id", "lon", "lat", "confidence", "hypotheses", "regions"}
    guess = replace(
        plain,
        confidence=0.4,
        confidence_m=25_000.0,
        region_name="Sindh",
        region_probability=0.75,
        radius_m=math.inf,
        radius_level=0.8,
        evidence=evidence,
    )
    record = json.loads(json.dumps(guess.to_record(), allow_nan=False))
    assert (record["region"], record["region_probability"], record["confidence_km"]) == ("Sindh", 0.75, 25.0)
    assert "radius_km" not in record, "a radius without bound says nothing"
    assert record["evidence"][0] == {
        "id": "t1",
        "lon": 10.0,
        "lat": 3.0,
        "similarity": 0.75,
        "distance_km": 1.5,
        "asset": "t1.jpg",
    }
    assert "asset" not in record["evidence"][1]
    assert replace(guess, radius_m=4e4).to_summary()["radius_km"] == 40.0
