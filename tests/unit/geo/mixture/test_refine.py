import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placevec.errors import DataError
from placevec.geo.mixture import refine, rescored
from placevec.geo.sphere import LonLat, distance_m, spherical_mean


def unit_rows(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def world(seed, n=5, g=60, cells=6, m=4, d=8):
    rng = np.random.default_rng(seed)
    return {
        "queries": unit_rows(rng.normal(size=(n, d))),
        "gallery": unit_rows(rng.normal(size=(g, d))),
        "gallery_cells": rng.integers(-1, cells - 1, g),  # the last cell has no image
        "gallery_lonlat": LonLat(rng.uniform(178, 182, g), rng.uniform(-2, 2, g)),
        "rows": np.stack([rng.permutation(cells)[:m] for _ in range(n)]),
        "unit": LonLat(rng.uniform(178, 182, n * m), rng.uniform(-2, 2, n * m)).unit().reshape(n, m, 3),
        "weights": rng.dirichlet(np.ones(m), size=n) * 0.9,
    }


@given(st.integers(0, 10_000), st.integers(1, 30), st.sampled_from([0.0, 0.4, 1.0]), st.sampled_from([50e3, 1e9]))
@settings(max_examples=25)
def test_against_loops(seed, k, weight, max_m) -> None:
    given = world(seed)
    found = refine(**given, k=k, temperature=0.1, weight=weight, max_m=max_m)
    similar = given["queries"] @ given["gallery"].T
    for n, m in np.ndindex(given["rows"].shape):
        inside = np.flatnonzero(given["gallery_cells"] == given["rows"][n, m])
        best = inside[np.argsort(-similar[n, inside], kind="stable")][:k]
        assert found.neighbours[n, m][: len(best)].tolist() == best.tolist()
        assert (found.neighbours[n, m][len(best) :] == -1).all()
        start = LonLat.from_unit(given["unit"][n, m][None])
        place = LonLat.from_unit(found.unit[n, m][None])
        gone = distance_m(start, place)[0]
        if len(best) == 0:
            assert np.isnan(found.similarity[n, m])
            assert gone == 0
            assert not (found.moved[n, m] | found.vetoed[n, m])
            continue
        assert found.similarity[n, m] == pytest.approx(similar[n, best[0]])
        share = np.exp((similar[n, best] - similar[n, best[0]]) / 0.1)
        goal = spherical_mean(given["gallery_lonlat"][best], share)
        way = distance_m(start, goal)[0]
        if found.vetoed[n, m]:
            assert weight * way > max_m
            assert gone == 0
        else:
            assert weight * way <= max_m + 1
            assert gone == pytest.approx(weight * way, abs=0.1)
            assert distance_m(place, goal)[0] == pytest.approx((1 - weight) * way, abs=0.1)
    assert found.weights == pytest.approx(given["weights"])


def test_the_nearest_image_not_the_farthest() -> None:
    """A released refiner took the argmax of a distance."""
    gallery = np.eye(3)
    found = refine(
        [[0.9, np.sqrt(1 - 0.81), 0.0]],
        gallery,
        [0, 0, 0],
        LonLat(np.array([1.0, 2.0, 3.0]), np.zeros(3)),
        [[0]],
        LonLat.of(2, 1).unit()[None],
        [[1.0]],
        k=1,
        weight=1.0,
        max_m=1e6,
    )
    assert found.neighbours.tolist() == [[[0]]]
    assert distance_m(LonLat.from_unit(found.unit[0]), LonLat.of(1, 0))[0] < 1e-3


def test_a_training_image_does_not_find_itself() -> None:
    given = world(0)
    given["queries"] = given["gallery"][:5]
    given["rows"] = np.repeat(np.maximum(given["gallery_cells"][:5], 0)[:, None], 4, axis=1)
    plain = refine(**given, k=1)
    hidden = refine(**given, k=1, exclude=np.arange(5))
    mine = given["gallery_cells"][:5] >= 0
    assert (plain.neighbours[mine, 0, 0] == np.flatnonzero(mine)).all()
    assert (hidden.neighbours[:, 0, 0] != np.arange(5)).all()
    alone = refine(**{**given, "gallery_cells": np.arange(60) - 54}, k=2, exclude=np.full(5, 54))
    assert (alone.neighbours[given["rows"] == 0] == -1).all()


def test_weights_follow_similarity() -> None:
    given = world(3)
    found = refine(**given, rescore=1.0, temperature=0.2)
    known = np.isfinite(found.similarity)
    for n in range(5):
        factor = np.exp(found.similarity[n, known[n]] / 0.2)
        wanted = given["weights"][n, known[n]] * factor
        wanted *= given["weights"][n, known[n]].sum() / wanted.sum()
        assert found.weights[n, known[n]] == pytest.approx(wanted)
        assert found.weights[n, ~known[n]] == pytest.approx(given["weights"][n, ~known[n]])
    assert found.weights == pytest.approx(rescored(given["weights"], found.similarity, 5.0))
    nothing = rescored(np.array([[0.5, 0.5]]), np.full((1, 2), np.nan), 3.0)
    assert nothing.tolist() == [[0.5, 0.5]]


def test_a_hypothesis_without_weight_is_left_alone() -> None:
    given = world(4)
    given["weights"][:, 2:] = 0.0
    found = refine(**given, max_m=1e9)
    assert not found.moved[:, 2:].any()
    assert (found.unit[:, 2:] == given["unit"][:, 2:]).all()


def test_an_empty_gallery_moves_nothing() -> None:
    given = world(5)
    given |= {"gallery": np.zeros((0, 8)), "gallery_cells": [], "gallery_lonlat": LonLat(np.zeros(0), np.zeros(0))}
    found = refine(**given)
    assert not found.moved.any()
    assert (found.unit == given["unit"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gallery": np.zeros((60, 3))}, "gallery"),
        ({"gallery_cells": np.zeros(3)}, "give one each"),
        ({"weights": np.zeros((5, 2))}, "hypotheses"),
        ({"exclude": [1]}, "exclude"),
        ({"k": 0}, "k >= 1"),
        ({"temperature": 0.0}, "temperature"),
        ({"weight": 1.5}, "weight"),
        ({"max_m": -1.0}, "max_m"),
        ({"max_m": np.nan}, "max_m"),
    ],
)
def test_what_cannot_be_refined(change, message) -> None:
    with pytest.raises(DataError, match=message):
        refine(**{**world(0), **change})
