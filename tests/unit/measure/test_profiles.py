"""Clusters in words: what is true of generated clusters is said of them, and no two are called alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import DataError
from placevec.measure.lexicon import LEXICON, concept_of, plain_name
from placevec.measure.profiles import ORDINARY, profiles

NAMES = ("log1p(residential_m)", "log1p(departures_am_per_h)", "poi:log1p(shop)", "slope_mean_deg", "hedgehogs")


def city(means: list[list[float]], n: int = 300, seed: int = 0, sd: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(means)), n)
    return labels, np.asarray(means)[labels] + sd * rng.standard_normal((len(labels), len(means[0])))


def test_known_clusters_get_their_words() -> None:
    labels, x = city([[2, 2, 2, 0, 0], [-1, -1, -1, 2, 0], [0, 0, 0, -1, 0], [0, 0, 0, 0, 2]])
    found = profiles(labels, x, NAMES)
    assert set(found.words[0].split(", ")) == {"dense", "transit-rich", "many shops"}
    assert set(found.words[1].split(", ")) == {"hilly", "transit-poor", "thinly built", "few shops"}
    assert found.words[2] == "flat, little hedgehogs"
    assert found.words[3] == "much hedgehogs"
    assert found.to_records()[0]["rows"] == 300
    assert found.clusters[3].strongest[0][0] == "hedgehogs"


def test_alike_clusters_are_told_apart_by_what_parts_them_or_else_by_number() -> None:
    labels, x = city([[0, 0, 0, 0.4, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]], n=2000, sd=1.0)
    words = profiles(labels, x, NAMES).words
    assert len(set(words)) == 3
    assert words[0] == f"{ORDINARY}, more hilly"
    assert words[1] == f"{ORDINARY}, less hilly (cluster 1)"
    assert words[2] == f"{ORDINARY}, less hilly (cluster 2)"


def test_very_is_said_of_what_is_far_out() -> None:
    labels, x = city([[9, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    assert profiles(labels, x, NAMES).words[0] == "very dense"


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 30))
def test_words_are_always_distinct(seed: int, k: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(k), rng.integers(0, k, size)])
    x = rng.standard_normal((len(labels), 5)).round(int(rng.integers(0, 3)))
    x[rng.random(x.shape) < 0.2] = np.nan
    x[0] = 0.0
    x[-1] = 1.0
    words = profiles(labels, x, NAMES).words
    assert len(words) == k == len(set(words))


def test_what_is_not_known_is_left_out_of_the_means() -> None:
    labels, x = city([[1, 0, 0, 0, 0], [-1, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    full = profiles(labels, x, NAMES)
    holes = x.copy()
    holes[::2, 0] = np.nan
    holes[labels == 2] = np.nan
    found = profiles(labels, holes, NAMES)
    assert found.words[2] == "nothing known"
    assert found.clusters[2].known == 0
    assert found.clusters[0].z[0] == pytest.approx(full.clusters[0].z[0], abs=0.3)
    with pytest.raises(DataError, match="no column varies"):
        profiles(labels, np.ones_like(x), NAMES)
    with pytest.raises(DataError, match="for 3 labels"):
        profiles([0, 1, 2], x, NAMES)


@pytest.mark.parametrize(
    ("column", "concept"),
    [
        ("log1p(secondary_m)", "main roads"),
        ("secondary_schools", "schools"),
        ("roads:log1p(dead_ends_per_km2)", "dead ends"),
        ("departures_morning_per_h", "transit"),
        ("log1p(calls)", "transit"),
        ("span_h", "transit"),
        ("log1p(points_per_km2)", "places"),
        ("log1p(headway_min)", "gaps in transit"),
        ("log1p(nearest_stop_m)", "gaps in transit"),
        ("intersections_3", "street density"),
        ("elevation_sd_m", "relief"),
        ("elevation_mean_m", "height"),
        ("business_lounge", "business lounge"),
        ("jobs_30min_walk", "jobs"),
        ("tree_cover_share", "trees"),
        ("mean_street_m", "long blocks"),
    ],
)
def test_columns_find_their_concept(column: str, concept: str) -> None:
    assert concept_of(column).name == concept


def test_names_of_columns_as_people_read_them() -> None:
    assert plain_name("roads:log1p(other_m)") == "other"
    assert plain_name("x") == "x"
    assert len({one.name for one in LEXICON}) == len(LEXICON)
    assert concept_of("hedgehogs").word(-2.0, 1.5) == "very little hedgehogs"
    assert concept_of("water_share").word(-2.0, 1.5) == ""


def test_the_lexicon_stands_in_the_docs() -> None:
    page = (Path(__file__).parents[3] / "docs" / "howto" / "analysis.md").read_text(encoding="utf-8")
    for one in LEXICON:
        pattern = one.pattern.replace("|", "\\|")
        assert f"| {one.name} | {one.high or '–'} | {one.low or '–'} | `{pattern}` |" in page
