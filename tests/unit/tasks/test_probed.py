"""Vectors on their way to probes: their blocks come along, and banks of training rows know nothing of other rows."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import make_table
from placevec.features.retrieval import Masks, mode_of
from placevec.provenance import Space
from placevec.table import EmbeddingTable
from placevec.tasks.evaluate_banks import TrainBank
from placevec.tasks.evaluate_location import evaluate_location
from placevec.tasks.evaluate_protocol import Protocol
from placevec.tasks.probe import probe
from placevec.tasks.probed import MAX_FEATURES, vectors_at

BLOCKS = [{"name": "query", "start": 0, "stop": 3}, {"name": "own", "start": 3, "stop": 8}]


@pytest.fixture
def laid_together() -> EmbeddingTable:
    plain = make_table(60, 8)
    return EmbeddingTable.of(plain.places(), plain.vectors(), plain.space, recipe={"blocks": BLOCKS})


def test_the_process_of_a_probe_weighs_blocks(laid_together: EmbeddingTable) -> None:
    rules = {"splits": "random", "k": 3, "shuffles": 1}
    (report,) = probe({"mine": laid_together}, "elevation", estimators=("gp",), **rules)
    weights = {row.features: row.chosen[0][0].get("weights") for row in report.rows}
    assert set(weights["mine · GP"]) == {"query", "own"}
    assert weights["coordinates · GP"] is None


def test_so_does_that_of_an_evaluation(laid_together: EmbeddingTable) -> None:
    rules = Protocol(splits="random", k=3, shuffles=1, estimators=("gp",), min_places=9)
    found = evaluate_location({"mine": laid_together}, "elevation", protocol=rules)
    rows = {row["features"]: row for row in found.targets[0]["rows"]}
    assert set(rows["mine · GP"]["chosen"][0][0]["weights"]) == {"query", "own"}


def test_a_projection_has_no_blocks() -> None:
    wide = MAX_FEATURES + 8
    plain = make_table(20, wide)
    blocks = [{"name": "a", "start": 0, "stop": 8}, {"name": "b", "start": 8, "stop": wide}]
    table = EmbeddingTable.of(plain.places(), plain.vectors(), Space.mint(wide), recipe={"blocks": blocks})
    vectors, found = vectors_at(table, table.places())
    assert vectors.shape == (20, MAX_FEATURES)
    assert found == ()


def test_a_bank_of_training_rows_knows_nothing_of_the_others() -> None:
    places = make_table(120).places()
    rng = np.random.default_rng(0)
    values = rng.standard_normal((120, 2))
    train = np.arange(0, 120, 2)
    nothing = np.zeros((120, 0), dtype=np.float32)
    other = values.copy()
    other[1::2] = 1e6
    mode, masks = mode_of("geo"), Masks()
    one, two = (TrainBank(places, nothing, given, mode, masks)(train) for given in (values, other))
    np.testing.assert_array_equal(one, two)
    other[0] = 1e3
    assert not np.array_equal(one, TrainBank(places, nothing, other, mode, masks)(train))
