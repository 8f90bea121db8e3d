import json
from types import SimpleNamespace

import numpy as np
import pytest

from conftest import make_table
from placevec.errors import CoordinateError, FormatError, SpaceMismatch, UsageError
from placevec.geo.sphere import LonLat, distance_m
from placevec.index.exact import ExactIndex
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Filter, Places, open_table, write_table
from placevec.tasks.search import nearest, rocchio, search
from placevec.testing import sample_table


def small(vectors, metric="cosine", ids=None, tower="", space=None) -> EmbeddingTable:
    vectors = np.asarray(vectors, dtype=np.float32)
    n, d = vectors.shape
    places = Places.create(ids or [f"r{i}" for i in range(n)], LonLat(np.arange(n) * 1.0, np.zeros(n)))
    return EmbeddingTable.of(places, vectors, space or Space.mint(d, metric=metric), tower=tower)


def test_like_a_place() -> None:
    table = make_table()
    hits = search(table, like="p00004", k=6)
    scores = table.vectors() @ table.vectors()[4]
    scores[4] = -2
    assert hits.ids.tolist() == table.ids[np.argsort(-scores)[:6]].tolist()
    assert search(table, like=["p00004"], k=6, exclude_self=False).ids[0] == "p00004"


@pytest.mark.parametrize("form", ["parquet", "lance"])
def test_a_path_an_open_table_and_a_table_in_memory_answer_alike(form: str, tmp_path) -> None:
    table = make_table()
    path = tmp_path / f"t.{form}"
    write_table(table, path)
    asked = {"like": ["p00001", "p00150"], "unlike": "p00007", "filter": Filter(where="count > 20")}
    answers = [search(one, **asked) for one in (table, path, str(path), open_table(path))]
    for hits in answers[1:]:
        assert hits.ids.tolist() == answers[0].ids.tolist()
        assert np.array_equal(hits.scores, answers[0].scores)
        assert hits.plan.candidates == answers[0].plan.candidates


def test_several_examples_make_the_query() -> None:
    table = make_table()
    v = table.vectors().astype(np.float64)
    query = 2 * (v[1] + v[2]) / 2 - (v[3] + v[4] + v[5]) / 3
    hits = search(table, like=["p00001", "p00002"], unlike=["p00003", "p00004", "p00005"], k=195)
    wanted = v @ (query / np.linalg.norm(query))
    assert np.allclose(hits.scores, wanted[hits.rows], atol=1e-6)
    assert not {1, 2, 3, 4, 5} & set(hits.rows.tolist())
    assert (np.diff(hits.scores) <= 0).all()


def test_rocchio_by_metric() -> None:
    a, b, c = (np.array(v, dtype=np.float32) for v in ([3.0, 0.0], [0.0, 1.0], [1.0, 1.0]))
    cosine, dot = Space.mint(2), Space.mint(2, metric="dot")
    assert np.allclose(rocchio([a], [], cosine), [1, 0])
    assert np.allclose(rocchio([a], [], dot), [3, 0])
    assert np.allclose(rocchio([a, b], [], cosine), np.array([1, 1]) / np.sqrt(2))  # lengths do not count
    assert np.allclose(rocchio([a, b], [c], dot), [3 - 1, 1 - 1])
    with pytest.raises(UsageError, match="cancel"):
        rocchio([a, -a], [], cosine)


def test_at_a_point_the_nearest_row_is_asked() -> None:
    table = sample_table()
    located = np.flatnonzero(table.located)
    metres = distance_m(table.lonlat(located), LonLat.of(-179.9, 3.0))
    row = int(located[np.argmin(metres)])
    assert nearest(table, LonLat.of(-179.9, 3.0)) == (row, metres.min())
    hits = search(table, at=(-179.9, 3.0), k=5)
    same = search(table, like=str(table.ids[row]), k=5)
    assert hits.ids.tolist() == same.ids.tolist()
    assert f"the row nearest to -179.9,3: '{table.ids[row]}'" in hits.plan.note


def test_at_a_point_of_a_stored_table(tmp_path) -> None:
    table = sample_table()
    write_table(table, tmp_path / "t.parquet")
    assert search(tmp_path / "t.parquet", at=(179, 3)).ids.tolist() == search(table, at=(179, 3)).ids.tolist()


def test_at_a_point_with_an_encoder_of_coordinates() -> None:
    table = make_table()

    def encode(data):
        assert data["lonlat"].tolist() == [[-8.0, 40.0]]
        return table.vectors()[7:8]

    encoder = SimpleNamespace(space=table.space, inputs=("lonlat",), encode=encode)
    hits = search(table, at=(-8, 40), encoder=encoder, k=3)
    assert hits.ids[0] == "p00007"
    assert "the encoder's vector of -8,40" in hits.plan.note
    encoder.inputs = ("image",)
    assert "the row nearest" in search(table, at=(-8, 40), encoder=encoder).plan.note


def test_a_vector() -> None:
    table = make_table()
    hits = search(table, vector=5 * table.vectors()[9], space=table.space, k=2)
    assert hits.ids[0] == "p00009"
    assert hits.scores[0] == pytest.approx(1)


def test_spaces_are_checked() -> None:
    table, other = make_table(), make_table()
    with pytest.raises(SpaceMismatch, match="several tables"):
        search([table, other], like="p00001")
    with pytest.raises(SpaceMismatch, match="encoder"):
        search(table, at=(0, 0), encoder=SimpleNamespace(space=other.space, inputs=("lonlat",)))
    with pytest.raises(SpaceMismatch, match="for a vector"):
        search(table, vector=np.ones(8), space=other.space)
    with pytest.raises(SpaceMismatch, match="7 components"):
        search(table, vector=np.ones(7))


def test_a_least_distance() -> None:
    table = sample_table()
    example = int(np.flatnonzero(table.located)[3])
    hits = search(table, like=str(table.ids[example]), k=300, min_distance_m=700_000)
    assert distance_m(hits.places.lonlat(), table.lonlat(np.array([example]))).min() > 700_000
    assert len(hits) < table.located.sum() - 1
    assert hits.plan.unlocated == 20
    near_point = search(table, at=(180, 0), k=300, min_distance_m=700_000)
    assert distance_m(near_point.places.lonlat(), LonLat.of(180, 0)).min() > 700_000
    with pytest.raises(UsageError, match="'row-000' has no geometry"):
        search(table, like="row-000", min_distance_m=5)
    with pytest.raises(UsageError, match="a vector alone"):
        search(table, vector=np.ones(12), min_distance_m=5)
    with pytest.raises(UsageError, match="finite number"):
        search(table, like="row-001", min_distance_m=-1)


def test_what_cannot_be_asked(tmp_path) -> None:
    table = make_table()
    with pytest.raises(UsageError, match="nothing to be like"):
        search(table)
    with pytest.raises(UsageError, match="nothing to be like"):
        search(table, unlike="p00001")
    with pytest.raises(UsageError, match="'nowhere' is not in the table"):
        search(table, like=["p00001", "nowhere"])
    with pytest.raises(UsageError, match="whole number from 1"):
        search(table, like="p00001", k=0)
    with pytest.raises(UsageError, match="no table"):
        search([], like="p00001")
    with pytest.raises(FormatError, match="no such file"):
        search(tmp_path / "none.parquet", like="p00001")
    with pytest.raises(UsageError, match="no row has a geometry"):
        search(small([[1, 0]]).take([]), at=(0, 0))
    with pytest.raises(CoordinateError):
        search(table, at=(40, 100))
    with pytest.raises(UsageError, match="one table"):
        search([table, table], like="p00001", index=ExactIndex(table))
    with pytest.raises(UsageError, match="the column 'nought'"):
        search(table, like="p00001", filter=Filter(where="nought > 3"))


def test_fewer_than_asked_for() -> None:
    hits = search(small(np.eye(3)), like="r0", k=10)
    assert len(hits) == 2
    assert hits.plan.note == "10 hits were asked for, only 2 rows may be found"


def test_tables_of_one_tower_are_merged_by_score() -> None:
    table = make_table()
    parts = [table.take(np.arange(0, 90)), table.take(np.arange(90, 200))]
    hits = search(parts, like="p00120", k=12)
    whole = search(table, like="p00120", k=12)
    assert hits.ids.tolist() == whole.ids.tolist()
    assert np.array_equal(hits.scores, whole.scores)
    assert hits.plan.name == "score-fusion"
    assert (hits.plan.candidates, hits.plan.total) == (199, 200)
    assert set(hits.origin) == {"table-1", "table-2"}
    assert [parts[int(name[-1]) - 1].ids[row] for name, row in zip(hits.origin, hits.rows, strict=True)] == list(
        hits.ids
    )


def test_tables_of_several_towers_are_merged_by_rank() -> None:
    # The texts' cosines are all lower than the images' (the modality gap): by score none would be found.
    space = Space.mint(3)
    images = small([[1, 0, 0.1], [1, 0.1, 0], [1, 0.5, 0]], ids=["a", "b", "c"], tower="image", space=space)
    texts = small([[0.2, 1, 0], [0.1, 1, 0], [0.3, 1, 0]], ids=["b", "x", "y"], tower="text", space=space)
    hits = search([images, texts], vector=np.array([1.0, 0, 0]), k=4)
    # b: 1/62 + 1/62 (second among both), a: 1/61, y: 1/61, c: 1/63, x: 1/63
    assert hits.ids.tolist() == ["b", "a", "y", "c"]
    assert hits.origin == ("image", "image", "text", "image")
    assert np.allclose(hits.scores, [2 / 62, 1 / 61, 1 / 61, 1 / 63])
    assert hits.plan.name == "rank-fusion"
    assert "towers 'image', 'text' do not compare" in hits.plan.note
    record = hits.to_records()[0]
    assert record["table"] == "image"
    assert json.dumps(hits.to_records())


def test_a_fusion_looks_below_the_k_best_of_each_tower() -> None:
    # "m" is second in both rankings: together that beats the first of either.
    space = Space.mint(2)
    angles = np.radians([1, 2, 3])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    one = small(vectors, ids=["a", "m", "z"], tower="image", space=space)
    two = small(vectors, ids=["b", "m", "y"], tower="text", space=space)
    assert search([one, two], vector=np.array([1.0, 0.0]), k=1).ids.tolist() == ["m"]


def test_an_example_is_kept_out_of_every_table() -> None:
    space = Space.mint(8)
    images, texts = make_table(space=space), make_table(space=space, seed=1)
    texts = EmbeddingTable(texts.data, texts.meta.replace(tower="text"))
    hits = search([images, texts], like="p00003", k=300)
    assert "p00003" not in hits.ids
    assert len(hits) == 199
