"""The parts of contrastive training: queue, gradient caching, positives, joined tables, figures."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from placevec.errors import DataError, SchemaError, UsageError
from placevec.geo.sphere import LonLat, chord_of, distance_m, pairwise_m
from placevec.nn.losses import symmetric_infonce
from placevec.nn.text import TextConfig
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Places
from placevec.train.contrastive import ImageTable, LocationTraining, SourceConfig, chance, join_tables, retrieval
from placevec.train.contrastive.gradcache import in_parts
from placevec.train.contrastive.heads import projections
from placevec.train.contrastive.positives import alike, either, near
from placevec.train.contrastive.queue import PlaceQueue, moved
from placevec.train.contrastive.tables import captions_of, image_tables, slots_of


def table(ids: list[str], lon: list[float], space: Space, **columns: Any) -> EmbeddingTable:
    places = Places.create(ids, LonLat(np.array(lon), np.zeros(len(lon))), attributes=columns)
    return EmbeddingTable.of(places, np.eye(space.dims, dtype=np.float32)[: len(ids)], space)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=7), max_size=8), st.integers(1, 12))
def test_a_queue_holds_the_last_places(batches: list[list[int]], size: int) -> None:
    queue = PlaceQueue(size)
    newest: list[int] = []
    for batch in batches:
        queue.push(torch.tensor(batch))
        newest = [*batch, *newest][:size]
    assert queue.rows[queue.rows >= 0].tolist() == newest
    now = np.array([3, 4])
    assert queue.others(now).tolist() == sorted(set(newest) - {3, 4})


def test_a_queue_is_a_part_of_the_state() -> None:
    queue, other = PlaceQueue(4), PlaceQueue(4)
    queue.push(torch.tensor([7, 8]))
    other.load_state_dict(queue.state_dict())
    assert other.rows.tolist() == [7, 8, -1, -1]


def test_queued_places_move_by_the_noise_asked_for() -> None:
    lon = np.array([0.0, 179.9999, -70.0, 10.0]).repeat(2000)
    lat = np.array([0.0, 60.0, 89.9, -90.0]).repeat(2000)
    torch.manual_seed(0)
    there = moved(torch.from_numpy(np.stack([lon, lat], axis=1)), 1000.0)
    far = distance_m(LonLat(lon, lat), LonLat(*there.numpy().T)).reshape(4, -1)
    np.testing.assert_allclose(np.sqrt((far**2).mean(axis=1) / 2), 1000.0, rtol=0.05)
    torch.manual_seed(0)
    assert torch.equal(there, moved(torch.from_numpy(np.stack([lon, lat], axis=1)), 1000.0))


def net(dropout: float) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Dropout(dropout), nn.Linear(9, 4)).double()


def gradients(
    module: nn.Module, x: Tensor, y: Tensor, parts: int, *, cached: bool = True
) -> tuple[float, list[Tensor]]:
    torch.manual_seed(5)
    if cached:
        vectors = in_parts(module, x, parts)
    else:
        vectors = torch.cat([module(part) for part in torch.split(x, parts)])
    loss = symmetric_infonce(vectors, y, 7.0)
    module.zero_grad()
    loss.backward()
    return float(loss.detach()), [p.grad.clone() for p in module.parameters() if p.grad is not None]


@pytest.mark.parametrize("parts", [1, 5, 16, 23])
def test_cached_gradients_are_those_of_the_whole_batch(parts: int) -> None:
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(23, 6, generator=rng).double(), torch.randn(23, 4, generator=rng).double()
    whole, cached = gradients(net(0.0), x, y, 0), gradients(net(0.0), x, y, parts)
    assert cached[0] == pytest.approx(whole[0], abs=1e-12)
    for a, b in zip(whole[1], cached[1], strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-10)


def test_dropout_drops_the_same_units_in_both_passes() -> None:
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(23, 6, generator=rng).double(), torch.randn(23, 4, generator=rng).double()
    kept, cached = gradients(net(0.5), x, y, 5, cached=False), gradients(net(0.5), x, y, 5)
    after = torch.rand(3)
    assert cached[0] == kept[0]
    for a, b in zip(kept[1], cached[1], strict=True):
        torch.testing.assert_close(a, b, atol=1e-14, rtol=1e-12)
    gradients(net(0.5), x, y, 5, cached=False)
    assert torch.equal(after, torch.rand(3))  # the second pass leaves the random state as it was


def test_cached_activations_are_let_go() -> None:
    seen: list[weakref.ref[Tensor]] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            hidden = torch.sin(self.linear(x))
            seen.append(weakref.ref(hidden))
            return hidden * hidden

    def alive() -> int:
        gc.collect()
        return sum(one() is not None for one in seen)

    vectors = in_parts(Watched(), torch.randn(12, 6), 3)
    assert (len(seen), alive()) == (4, 0)
    vectors.sum().backward()
    assert (len(seen), alive()) == (8, 0)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(-90, 90)), min_size=1, max_size=8), st.floats(1, 5e6))
def test_near_places(points: list[tuple[float, float]], metres: float) -> None:
    lonlat = LonLat(*np.array(points).T)
    unit = torch.from_numpy(lonlat.unit().astype(np.float32))
    expected = pairwise_m(lonlat, lonlat)
    got = near(unit, unit, float(chord_of(metres))).numpy()
    sure = np.abs(expected - metres) > 2.0
    np.testing.assert_array_equal(got[sure], expected[sure] <= metres)


def test_near_tells_places_of_some_metres_apart() -> None:
    lonlat = LonLat(
        np.array([-3.7, -3.7, -3.7, -3.7]), np.array([40.4, 40.4, 40.4 + 50 / 111_195, 40.4 + 60 / 111_195])
    )
    unit = torch.from_numpy(lonlat.unit().astype(np.float32))
    assert near(unit, unit, float(chord_of(55.0)))[0].tolist() == [True, True, True, False]


def test_alike_and_either() -> None:
    v = torch.tensor([[1.0, 0.0], [3.0, 0.1], [0.0, 2.0], [0.0, 0.0]])
    assert alike(v, v, 0.99).int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert either(None, None) is None
    one, two = torch.tensor([True, False]), torch.tensor([False, False])
    assert either(None, one) is one
    found = either(one, None, two)
    assert found is not None
    assert found.tolist() == [True, False]


def test_chance_is_what_random_vectors_do() -> None:
    torch.manual_seed(0)
    runs = [retrieval(torch.randn(40, 30), torch.randn(40, 30)) for _ in range(200)]
    expected = chance(40)
    for name in ("recall_at_1", "recall_at_10", "mrr", "percentile"):
        assert np.mean([run[name] for run in runs]) == pytest.approx(expected[f"chance_{name}"], rel=0.15)


def test_retrieval_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    a, b = torch.randn(50, 5), torch.randn(50, 5)
    whole = retrieval(a, b)
    monkeypatch.setattr("placevec.train.contrastive.scores.PART", 7)
    assert retrieval(a, b) == pytest.approx(whole)


def test_slots() -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    found, slot = slots_of(ImageTable("t", vectors, np.array([4, 0, 2])), np.array([0, 1, 4]), 5)
    assert slot is not None
    assert slot.tolist() == [0, -1, 1]
    assert found.tolist() == [[2.0, 3.0], [0.0, 1.0]]
    assert slots_of(ImageTable("t", vectors, np.array([4, 0, 2])), np.array([2, 4]), 5)[1] is None
    assert slots_of(ImageTable("t", vectors), np.array([2, 0]), 3)[1] is None


def test_captions_share_a_row_where_they_are_equal() -> None:
    tokens, rows = captions_of(["a river", None, " a river ", "", "a town"], TextConfig(max_tokens=8))
    assert rows.tolist() == [0, -1, 0, -1, 1]
    assert tokens.shape == (3, 8)
    assert not tokens[-1].any()


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ((), "called nothing"),
        ((ImageTable("a", np.ones((2, 2))), ImageTable("a", np.ones((2, 2)))), "called a, a"),
        ((ImageTable("a", np.ones((2, 2)), np.array([0, 0])),), "different numbers from 0 to 1"),
        ((ImageTable("a", np.ones((2, 2)), np.array([0, 2])),), "different numbers from 0 to 1"),
        ((ImageTable("clay", np.full((2, 2), np.inf)),), "clay vector is not finite"),
    ],
)
def test_tables_are_refused(tables: tuple[ImageTable, ...], message: str) -> None:
    with pytest.raises((DataError, UsageError), match=message):
        image_tables(tables, 2)


def test_how_tables_are_projected() -> None:
    space, other = Space.asserted("a", 6), Space.asserted("b", 6)
    config = LocationTraining.from_json({"encoder": {"dims": 6}})

    def kinds(spaces: list[Space | None], **changes: Any) -> list[str]:
        tables = [ImageTable(f"t{i}", np.ones((2, 6), dtype=np.float32), None, s) for i, s in enumerate(spaces)]
        return projections(tables, LocationTraining(**{**vars(config), **changes}))

    assert kinds([None]) == ["identity"]
    assert kinds([space, space]) == ["identity", "identity"]
    assert kinds([space, other]) == ["linear", "linear"]
    assert kinds([None, None]) == ["linear", "linear"]  # unknown equals only itself
    assert kinds([space, other], projection="mlp") == ["mlp", "mlp"]
    into = (SourceConfig("t1", "identity"),)
    assert kinds([space, other], sources=into) == ["linear", "identity"]
    with pytest.raises(UsageError, match="tables of different Spaces"):
        kinds([space, other], projection="identity")
    with pytest.raises(UsageError, match="names the table 'clay'; given: t0"):
        kinds([space], sources=(SourceConfig("clay"),))


def test_tables_are_joined_on_ids_that_mean_one_place() -> None:
    a, b = Space.asserted("a", 3), Space.asserted("b", 2)
    joined = join_tables(
        {
            "one": table(["p", "q", "r"], [0.0, 1.0, 2.0], a, said=["river", None, " "]),
            "two": table(["q", "r"], [1.000001, 50.0], b, said=["town", "hill"]),
        },
        "said",
    )
    assert joined.lonlat.lon.tolist() == [0.0, 1.0, 2.0, 50.0]
    assert joined.keys.tolist() == ["p", "q", "r", "two:r"]  # r is another place there
    assert joined.captions == ("river", "town", None, "hill")
    rows = joined.tables[1].rows
    assert rows is not None
    assert rows.tolist() == [1, 3]
    part = joined.take(np.array([1, 3]))
    assert [None if t.rows is None else t.rows.tolist() for t in part.tables] == [[0], [0, 1]]
    np.testing.assert_array_equal(part.tables[0].vectors, [[0, 1, 0]])
    assert part.captions == ("town", "hill")


def test_joining_refuses() -> None:
    space = Space.asserted("a", 2)
    one = table(["p", "q"], [0.0, 1.0], space, height=[3.0, 4.0])
    with pytest.raises(SchemaError, match="captions = 'text' is no column; there are: height"):
        join_tables({"one": one}, "text")
    with pytest.raises(SchemaError, match="not text"):
        join_tables({"one": one}, "height")
    bare = EmbeddingTable.of(Places.create(["p"], None), np.ones((1, 2), dtype=np.float32), space)
    with pytest.raises(SchemaError, match="none of the rows has a geometry"):
        join_tables({"bare": bare})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.001}, "from 0.01 to 1"),
        ({"temperature": 2.0}, "from 0.01 to 1"),
        ({"projection": "none"}, "'none'"),
        ({"queue": -1}, "queue = -1"),
        ({"queue_noise_m": float("inf")}, "queue_noise_m = inf"),
        ({"positives_m": float("nan")}, "positives_m = nan"),
        ({"positives_cos": 1.5}, "positives_cos = 1.5"),
        ({"micro_batch": -4}, "micro_batch = -4"),
        ({"head_hidden": 0}, "head_hidden = 0"),
        ({"head_dropout": 1.0}, "head_dropout = 1.0"),
        ({"caption_weight": 0.0}, "caption_weight = 0.0"),
        ({"queu": 4}, "no setting 'queu'"),
        ({"queue": "many"}, "queue is a int"),
        ({"sources": [{"name": "a", "weigth": 2.0}]}, "no setting 'weigth'"),
        ({"sources": [{"name": "a", "weight": 0.0}]}, "sources.weight = 0.0"),
        ({"sources": [{"name": "a", "projection": "deep"}]}, "'deep'"),
        ({"sources": [{"name": "a"}, {"name": "a"}]}, "names 'a' twice"),
        ({"sources": "a"}, "sources is a list of tables"),
    ],
)
def test_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LocationTraining.from_json(settings)
