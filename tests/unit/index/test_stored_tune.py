"""Probes and ef are found by trying, and what was found stands in the card."""

import numpy as np
import pytest

from placevec.geo.sphere import LonLat
from placevec.index.exact import ExactIndex
from placevec.index.stored import IndexSettings, StoredIndex, build_index, read_card, update_index
from placevec.index.stored.tune import TARGET
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Places

pytest.importorskip("faiss")


def clustered(n: int = 6000, d: int = 16, metric: str = "cosine", seed: int = 0) -> EmbeddingTable:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((40, d))
    vectors = (centres[rng.integers(0, 40, n)] + 0.7 * rng.standard_normal((n, d))).astype(np.float32)
    places = Places.create([f"r{at}" for at in range(n)], LonLat(np.zeros(n), np.zeros(n)))
    return EmbeddingTable.of(places, vectors, Space.asserted("tuned", d, metric=metric))


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("kind", ["ivf", "ivf-sq8", "hnsw"])
def test_what_was_chosen_finds_what_it_promises(tmp_path, kind: str, metric: str) -> None:
    table = clustered(metric=metric)
    folder = tmp_path / "t.index"
    card = build_index(table, folder, IndexSettings(kind)).card
    assert card.chosen
    assert card.measured is not None
    assert card.measured.recall >= TARGET
    assert read_card(folder) == card
    number = card.settings.ef if kind == "hnsw" else card.settings.probes
    assert number is not None
    if kind != "hnsw":
        assert number < 256, "looking into every cell would find all, and save nothing"
    queries = clustered(400, metric=metric, seed=1).vectors()
    near = table.vectors()[:400] + np.float32(0.2) * queries
    found, _ = StoredIndex(folder, table).search(near, 10)
    truth, _ = ExactIndex(table).search(near, 10)
    recall = np.mean([np.isin(a, b).mean() for a, b in zip(truth, found, strict=True)])
    assert recall >= 0.98


def test_a_number_that_was_given_stays_and_is_measured(tmp_path) -> None:
    card = build_index(clustered(), tmp_path / "t.index", IndexSettings("ivf-sq8", probes=1)).card
    assert card.settings.probes == 1
    assert not card.chosen
    assert card.measured is not None
    assert card.measured.recall < TARGET


def test_an_update_keeps_what_was_measured_and_a_rebuild_measures_again(tmp_path) -> None:
    table, folder = clustered(), tmp_path / "t.index"
    first = build_index(table.take(np.arange(5500)), folder, IndexSettings("ivf-sq8")).card
    second = update_index(table, folder).card
    assert (second.measured, second.settings, second.chosen) == (first.measured, first.settings, True)
    grown = clustered(14_000)
    third = update_index(grown, folder)
    assert third.rebuilt
    assert third.card.chosen
    assert third.card.measured != first.measured


@pytest.mark.parametrize("rows", [1, 2, 5, 11])
@pytest.mark.parametrize("kind", ["ivf-sq8", "hnsw"])
def test_tables_of_few_rows_and_of_equal_or_zero_vectors(tmp_path, kind: str, rows: int) -> None:
    table = clustered(rows)
    for at, vectors in enumerate((table.vectors(), np.ones((rows, 16), np.float32), np.zeros((rows, 16), np.float32))):
        same = EmbeddingTable.of(table.places(), vectors, table.space)
        folder = tmp_path / f"{at}.index"
        build_index(same, folder, IndexSettings(kind))
        found, _ = StoredIndex(folder, same).search(np.ones((1, 16), np.float32), 3)
        assert (found >= 0).sum() == min(3, rows)
