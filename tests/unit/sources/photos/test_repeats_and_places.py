"""Repeats of photos, and the places that they share, against slow ways to tell them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.geo.sphere import LonLat, destination, distance_m
from placevec.measure.phash import hashes
from placevec.sources.photos import place_keys
from placevec.sources.photos.alike import look_alikes, same_bytes
from placevec.sources.photos.grouping import joined


def spectra_near(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Spectra of which many differ in some signs only."""
    base = rng.standard_normal((4, 8, 8))
    found = base[rng.integers(0, 4, n)]
    noise = rng.standard_normal(found.shape) * rng.choice([0.0, 0.05, 0.3, 2.0], n)[:, None, None]
    found = found + noise
    found[rng.random(n) < 0.1] = 0.0
    return found


@given(st.integers(0, 10_000), st.integers(0, 60), st.integers(0, 16))
def test_photos_are_kept_unless_they_look_like_one_that_was(seed: int, n: int, within: int) -> None:
    spectra = spectra_near(np.random.default_rng(seed), n)
    codes, there = hashes(spectra) if n else (np.empty(0, np.uint64), np.empty(0, bool))
    kept: list[int] = []
    wanted = []
    for row in range(n):
        near = [one for one in kept if there[row] and int(codes[one] ^ codes[row]).bit_count() <= within]
        wanted.append(bool(near))
        if there[row] and not near:
            kept.append(row)
    found = look_alikes(spectra, within)
    assert (found >= 0).tolist() == wanted
    for row in np.flatnonzero(found >= 0):
        assert found[row] < row
        assert int(codes[found[row]] ^ codes[row]).bit_count() <= within


def test_repeats_across_many_batches() -> None:
    rng = np.random.default_rng(0)
    spectra = rng.standard_normal((2500, 8, 8))
    spectra[1100:1200] = spectra[:100]
    spectra[2400] = spectra[1150]
    found = look_alikes(spectra, 0)
    assert np.flatnonzero(found >= 0).tolist() == [*range(1100, 1200), 2400]
    assert found[1100:1200].tolist() == list(range(100))
    assert found[2400] == 50


def test_files_of_the_same_bytes() -> None:
    assert same_bytes(["a", "b", "a", "c", "a"]).tolist() == [-1, -1, 0, -1, 0]


def slow_places(points: LonLat, metres: float) -> list[int]:
    """The first member of each point's component, by flooding."""
    n = len(points)
    label = [-1] * n
    for start in range(n):
        if label[start] >= 0:
            continue
        label[start], todo = start, [start]
        while todo:
            one = todo.pop()
            for other in np.flatnonzero(distance_m(points, points[one]) <= metres):
                if label[other] < 0:
                    label[other] = start
                    todo.append(int(other))
    return label


@given(
    st.integers(0, 10_000),
    st.integers(1, 40),
    st.sampled_from([5.0, 25.0, 60.0]),
    st.sampled_from([0.0, 89.9995, -180.0]),
)
def test_places_are_the_components_of_near_photos(seed: int, n: int, metres: float, where: float) -> None:
    rng = np.random.default_rng(seed)
    centre = LonLat.of(180.0 if where == -180.0 else 10.0, where if where > 0 else 1.0)
    points = destination(centre, rng.uniform(0, 360, n), rng.uniform(0, 200, n))
    ids = np.array([f"p{i}" for i in range(n)], dtype=object)
    assert place_keys(ids, points, metres).tolist() == [f"p{i}" for i in slow_places(points, metres)]


def test_no_two_places_are_nearer_than_the_distance() -> None:
    rng = np.random.default_rng(1)
    points = destination(LonLat.of(10, 50), rng.uniform(0, 360, 300), rng.uniform(0, 2000, 300))
    keys = place_keys(np.array([str(i) for i in range(300)], dtype=object), points, 25.0)
    for row in range(300):
        assert (distance_m(points, points[row])[keys != keys[row]] > 25.0).all()


def test_many_photos_of_one_square_are_linked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("placevec.sources.photos.grouping._PAIRS", 50)
    rng = np.random.default_rng(2)
    points = destination(LonLat.of(10, 50), rng.uniform(0, 360, 80), rng.uniform(0, 150, 80))
    ids = np.array([f"p{i}" for i in range(80)], dtype=object)
    assert place_keys(ids, points, 25.0).tolist() == [f"p{i}" for i in slow_places(points, 25.0)]


def test_photos_of_one_user_on_one_day_share_a_place() -> None:
    points = LonLat([1.0, 2.0, 3.0, 4.0, 5.0], [1.0] * 5)
    ids = np.array(list("abcde"), dtype=object)
    user = ["ada", "ada", "ada", "bob", None]
    taken = ["2020-01-01T09:00", "2020-01-01T23:59", "2020-01-02T00:01", "2020-01-01", "2020-01-01"]
    assert place_keys(ids, points, shared=[joined([user, taken])]).tolist() == ["a", "a", "c", "d", "e"]
    # Two sets link what neither of them links alone.
    place = [None, "x", "x", None, ""]
    assert place_keys(ids, points, shared=[joined([user, taken]), place]).tolist() == ["a", "a", "a", "d", "e"]


def test_cells_link_no_chains() -> None:
    points = destination(LonLat.of(10, 50), 90.0, np.arange(40) * 20.0)
    ids = np.array([f"p{i:02d}" for i in range(40)], dtype=object)
    assert len(set(place_keys(ids, points, 25.0).tolist())) == 1
    assert len(set(place_keys(ids, points, by="h3").tolist())) > 20


def test_equal_points_share_a_place_even_without_a_distance() -> None:
    points = LonLat([180.0, -180.0, 10.0], [5.0, 5.0, 5.0])
    assert place_keys(np.array(list("abc"), dtype=object), points, 0.0).tolist() == ["a", "a", "c"]
    assert place_keys(np.empty(0, dtype=object), LonLat([], [])).tolist() == []


def test_options_that_mean_nothing_are_refused() -> None:
    ids, points = np.array(["a"], dtype=object), LonLat.of(1, 2)
    with pytest.raises(UsageError, match="choose one of near, h3"):
        place_keys(ids, points, by="town")
    with pytest.raises(UsageError, match="-1 m"):
        place_keys(ids, points, -1)
