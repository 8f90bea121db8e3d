import json

import numpy as np
import pyarrow as pa
import pytest

from conftest import make_table
from placevec.errors import DataError, SchemaError, SpaceMismatch, UsageError
from placevec.features.retrieval import Augmenter, Bank, mode_of
from placevec.geo.sphere import pairwise_m
from placevec.provenance import Saw, Space
from placevec.table import EmbeddingTable, Places, open_table, read_skipped, read_table, write_table
from placevec.tasks.augment import augment

SPACE = Space.mint(8)


@pytest.fixture
def paths(tmp_path):
    """Queries, a bank of images and its keys, as files."""
    keys = make_table(300, 8, space=SPACE)
    bank = keys.with_vectors(
        np.random.default_rng(1).standard_normal((300, 5)).astype(np.float32),
        Space.mint(5),
        saw=(Saw("t", "elevation"),),
        parents=(),
    )
    queries = make_table(120, 8, seed=4, space=SPACE, prefix="q")
    made = {"keys": keys, "bank": bank, "queries": queries}
    for name, table in made.items():
        write_table(table, tmp_path / f"{name}.parquet")
    return {name: tmp_path / f"{name}.parquet" for name in made} | {"out": tmp_path / "out.parquet"}


def run(paths, **more):
    return augment(paths["queries"], paths["bank"], paths["out"], **{"keys": paths["keys"], **more})


def test_the_table_says_what_it_is(paths) -> None:
    done = run(paths, settings={"widths_m": [60e3, 200e3], "degrees": 3})
    table = open_table(paths["out"]).read().validate()
    assert (done.places, done.rows, done.skipped) == (120, 120, 0)
    assert table.dims == done.dims == 8 + 8 + 5 + 5 + 5
    assert table.space.origin == "derived"
    assert set(table.space.parents) == {SPACE.id, read_table(paths["bank"]).space.id}
    assert table.meta.dims[:2] == ("query:0", "query:1")
    assert table.meta.dims[-1] == "geo-200km:4"
    assert [b["name"] for b in table.meta.recipe["blocks"]] == ["query", "harmonics", "soft", "geo-60km", "geo-200km"]
    fingerprints = {read_table(paths[name]).fingerprint() for name in ("queries", "bank", "keys")}
    assert set(table.meta.parents) == fingerprints
    assert table.meta.saw == (Saw("t", "elevation"),)
    assert {"support", "bank_m", "elevation"} <= set(table.attributes)
    assert (table.column("support") >= 0).all()
    assert json.dumps(done.to_record())


def test_it_is_the_augmenters_answer(paths) -> None:
    run(paths, mode="multiscale", buffer_m=20e3)
    table, queries = read_table(paths["out"]), read_table(paths["queries"])
    bank = Bank.of(read_table(paths["bank"]), read_table(paths["keys"]), queries=SPACE)
    from placevec.features.retrieval import Masks

    augmenter = Augmenter(bank, mode_of("multiscale"), Masks(20e3))
    found = augmenter.rows(queries.lonlat(), queries.vectors(), ids=queries.ids)
    assert np.allclose(table.align(queries).vectors(), found.vectors, atol=1e-6)
    metres = pairwise_m(queries.lonlat(), bank.lonlat)
    nearest = np.where(metres > 20e3, metres, np.inf).min(axis=1)
    assert np.allclose(table.align(queries).column("bank_m"), nearest, rtol=1e-6, atol=0.1)


@pytest.mark.parametrize("suffix", ["parquet", "lance"])
def test_twice_the_same(paths, suffix: str) -> None:
    one, other = paths["out"].with_name(f"one.{suffix}"), paths["out"].with_name(f"other.{suffix}")
    for out in (one, other):
        augment(paths["queries"], paths["bank"], out, keys=paths["keys"])
    assert open_table(one).fingerprint() == open_table(other).fingerprint()
    assert open_table(one).space == open_table(other).space


def test_of_its_own_bank_no_place_finds_itself(paths) -> None:
    done = augment(paths["keys"], paths["bank"], paths["out"], keys=paths["keys"], mode="top1")
    keys, bank = read_table(paths["keys"]), read_table(paths["bank"])
    table = read_table(paths["out"]).align(keys)
    score = keys.vectors() @ keys.vectors().T
    np.fill_diagonal(score, -2)
    wanted = bank.align(keys).vectors()[score.argmax(axis=1)] * done.blocks[1]["weight"]
    assert np.allclose(table.vectors()[:, 8:], wanted, atol=1e-5)


def test_a_joined_bank_needs_no_keys(paths) -> None:
    done = augment(paths["queries"], paths["keys"], paths["out"], mode="soft")
    assert done.rows == 120
    assert done.index == "exact"


def test_folds_answer_the_banks_own_places(paths) -> None:
    done = augment(paths["keys"], paths["bank"], paths["out"], keys=paths["keys"], folds=5)
    assert done.rows == 300
    assert read_table(paths["out"]).meta.recipe["folds"] == 5
    plain = paths["out"].with_name("plain.parquet")
    augment(paths["keys"], paths["bank"], plain, keys=paths["keys"])
    assert not np.allclose(read_table(plain).vectors(), read_table(paths["out"]).vectors())


def test_places_without_an_answer_are_skipped_with_the_reason(paths) -> None:
    queries = read_table(paths["queries"])
    geometry = queries.geometries()
    geometry[:10] = None
    broken = Places.create(queries.ids, geometry=geometry)
    vectors = queries.vectors().copy()
    vectors[10] = 0.0
    write_table(EmbeddingTable.of(broken, vectors, SPACE), paths["queries"])
    done = run(paths, max_m=80e3)
    assert done.places == done.rows + done.skipped == 120
    reasons = {one.reason.split(" (")[0] for one in read_skipped(paths["out"])}
    assert {"no geometry", "the vector is all zero and has no direction to search in"} <= reasons
    assert any("10 places skipped" in note for note in done.notes)
    run(paths, mode="concat", settings={"max_m": 3e5})
    assert all(one.reason == "no bank row of the same id" for one in read_skipped(paths["out"]))


def test_nothing_left_after_masking_is_one_clear_error(paths) -> None:
    with pytest.raises(DataError, match=r"empty bank after masking.*smaller --buffer"):
        run(paths, buffer_m=5e6)
    assert not paths["out"].exists()


def test_another_space_is_one_clear_error(paths, tmp_path) -> None:
    with pytest.raises(SpaceMismatch, match="--keys"):
        run(paths, keys=None)
    write_table(make_table(300, 8), tmp_path / "foreign.parquet")
    with pytest.raises(SpaceMismatch, match="embed the places of the bank"):
        run(paths, keys=tmp_path / "foreign.parquet")
    assert run(paths, keys=None, mode="geo").rows == 120


def test_bad_input_is_refused(paths, tmp_path) -> None:
    with pytest.raises(UsageError, match="no mode"):
        run(paths, mode="best")
    with pytest.raises(UsageError, match="no setting"):
        run(paths, mode="top1", settings={"k": 4})
    with pytest.raises(UsageError, match=r"\.parquet or \.lance"):
        augment(paths["queries"], paths["bank"], tmp_path / "out.csv")
    with pytest.raises(UsageError, match="float16"):
        run(paths, dtype="int8")
    with pytest.raises(UsageError, match="index"):
        run(paths, index="magic")
    with pytest.raises(DataError, match="no rows"):
        augment(read_table(paths["queries"]).take([]), paths["bank"], paths["out"])


def test_what_is_not_finite_is_named(paths) -> None:
    bank = read_table(paths["bank"])
    vectors = bank.vectors().copy()
    vectors[7, 2] = np.nan
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 5)
    at = bank.data.schema.get_field_index("embedding")
    broken = EmbeddingTable(bank.data.set_column(at, "embedding", column), bank.meta)
    with pytest.raises(SchemaError, match=f"{bank.ids[7]}"):
        run({**paths, "bank": broken})


def test_places_on_a_bank_row_of_another_id_are_noted(paths) -> None:
    queries = read_table(paths["keys"])
    ids = [f"x{i}" for i in range(len(queries))]
    renamed = EmbeddingTable.of(Places.create(ids, queries.lonlat()), queries.vectors(), SPACE)
    done = run({**paths, "queries": renamed})
    assert any("within a metre" in note for note in done.notes)


def test_an_interruption_leaves_nothing(paths) -> None:
    def stop(done, total, facts):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(paths, progress=stop)
    assert [p.name for p in paths["out"].parent.iterdir() if "out" in p.name] == []


def test_the_command(paths, capsys) -> None:
    import typer
    from typer.testing import CliRunner

    from placevec.cli.commands.augment import command

    app = typer.Typer()
    app.command()(command)
    words = [str(paths["queries"]), "--bank", str(paths["bank"]), "--keys", str(paths["keys"]), "-o", str(paths["out"])]
    asked = [*words, "--width", "50km", "--buffer", "5km", "-k", "9", "--degrees", "4", "--format", "json", "--quiet"]
    found = CliRunner().invoke(app, asked)
    assert found.exit_code == 0, found.output
    record = json.loads(found.stdout.splitlines()[-1])
    assert record["widths_m"] == [50e3]
    assert read_table(paths["out"]).meta.recipe["k"] == 9
    found = CliRunner().invoke(app, [*words, "--mode", "concat", "--max-distance", "200km", "--quiet"])
    assert found.exit_code == 0, found.output
    assert isinstance(CliRunner().invoke(app, [*words, "--buffer", "far"]).exception, UsageError)
