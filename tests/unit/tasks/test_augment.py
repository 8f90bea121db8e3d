import json

import numpy as np
import pyarrow as pa
import pytest

from conftest import make_table
from placevec.errors import DataError, SchemaError, SpaceMismatch, UsageError
from placevec.features.retrieval import Augmenter, Bank, Fusion, mode_of
from placevec.geo.sphere import pairwise_m
from placevec.provenance import Saw, Space
from placevec.table import EmbeddingTable, Places, open_table, read_skipped, read_table, write_table
from placevec.table.blocks import blocks_of
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
    raw = make_table(300, 3, seed=0).take(np.arange(250))
    made = {"keys": keys, "bank": bank, "queries": queries, "raw": raw}
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


def test_several_banks_at_once(paths) -> None:
    banks = [paths["bank"], paths["raw"]]
    settings = {"widths_m": [60e3], "degrees": 3}
    done = augment(paths["queries"], banks, paths["out"], keys=[paths["keys"]], settings=settings)
    table = read_table(paths["out"]).validate()
    names = ["query", "harmonics", "bank/soft", "bank/geo-60km", "raw/soft", "raw/geo-60km"]
    assert [name for name, _, _ in blocks_of(table.meta)] == [block["name"] for block in done.blocks] == names
    assert blocks_of(table.meta)[-1] == ("raw/geo-60km", 29, 32)
    assert table.dims == done.dims == 32
    assert table.meta.dims[-1] == "raw/geo-60km:2"
    assert (done.rows, done.bank_rows, done.widths_m) == (120, 550, (60e3, 60e3))
    parents = {read_table(paths[name]).fingerprint() for name in ("queries", "bank", "raw", "keys")}
    assert set(table.meta.parents) == parents
    assert table.meta.saw == (Saw("t", "elevation"),)
    held = [Bank.of(read_table(one), read_table(paths["keys"]), queries=SPACE, name=one.name) for one in banks]
    queries = read_table(paths["queries"])
    found = Fusion(held, mode_of("multiscale", settings)).rows(queries.lonlat(), queries.vectors(), ids=queries.ids)
    assert np.allclose(table.align(queries).vectors(), found.vectors, atol=1e-6)


def test_keys_stand_beside_their_banks(paths) -> None:
    banks = [paths["keys"], paths["raw"]]
    done = augment(paths["queries"], banks, paths["out"], keys=[None, paths["keys"]], mode="soft")
    assert [block["name"] for block in done.blocks] == ["query", "keys/soft", "raw/soft"]
    with pytest.raises(SpaceMismatch, match=r"raw\.parquet.*--keys"):
        augment(paths["queries"], banks, paths["out"], mode="soft")
    with pytest.raises(UsageError, match="3 tables of keys for 2 banks"):
        augment(paths["queries"], banks, paths["out"], keys=[paths["keys"]] * 3, mode="soft")


def test_own_rows_and_what_stands_around(paths) -> None:
    banks = [paths["bank"], paths["raw"]]
    settings = {"widths_m": [60e3], "degrees": 0}
    done = augment(paths["keys"], banks, paths["out"], mode="geo", settings=settings, own=True, context=True)
    table = read_table(paths["out"])
    assert (done.places, done.rows, done.skipped) == (300, 250, 50)
    lost = read_skipped(paths["out"])
    assert {one.id for one in lost} == set(read_table(paths["keys"]).ids) - set(read_table(paths["raw"]).ids)
    assert {one.reason for one in lost} == {"raw: no bank row of the same id"}
    assert any("50 places skipped" in note for note in done.notes)
    assert table.meta.recipe["own"] is True
    assert table.meta.recipe["context"] == "the kernel means include the place itself"
    raw = read_table(paths["raw"]).align(table)
    (at,) = (block for block in done.blocks if block["name"] == "raw/own")
    assert np.allclose(table.vectors()[:, at["start"] : at["stop"]], raw.vectors() * at["weight"], atol=1e-6)
    assert (table.column("support") >= 0.999).all()
    assert not any("within a metre" in note for note in done.notes)


def test_of_an_augmented_table_the_blocks_are_carried_over(paths) -> None:
    first, settings = paths["out"].with_name("first.parquet"), {"widths_m": [60e3], "degrees": 3}
    augment(paths["raw"], paths["bank"], first, mode="geo", settings=settings, own=True)
    done = augment(first, paths["keys"], paths["out"], mode="geo", settings={"widths_m": [90e3]}, own=True)
    table, before = read_table(paths["out"]), read_table(first)
    names = ["query", "harmonics", "own", "geo-60km", "keys/own", "keys/geo-90km"]
    assert [name for name, _, _ in blocks_of(table.meta)] == names
    assert blocks_of(table.meta)[:4] == blocks_of(before.meta)
    assert list(table.meta.recipe["blocks"][:4]) == list(before.meta.recipe["blocks"])
    assert table.meta.dims[: before.dims] == before.meta.dims
    assert np.array_equal(table.vectors()[:, : before.dims], before.align(table).vectors())
    assert table.meta.recipe["query"]["do"] == "augment"
    assert done.dims == before.dims + 16
    # Harmonics that somebody asks for are there.
    more = augment(first, paths["keys"], paths["out"], mode="geo", settings=settings)
    assert "harmonics-2" in [block["name"] for block in more.blocks]


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
    for given in (broken, [paths["raw"], broken]):
        with pytest.raises(SchemaError, match=f"{bank.ids[7]}"):
            run({**paths, "bank": given})


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
    both = [str(paths["raw"]), "--bank", str(paths["keys"]), "--bank", str(paths["bank"]), "-o", str(paths["out"])]
    found = CliRunner().invoke(app, [*both, "--mode", "geo", "--own", "--context", "--format", "json", "--quiet"])
    assert found.exit_code == 0, found.output
    names = [block["name"] for block in json.loads(found.stdout.splitlines()[-1])["blocks"]]
    assert names[:3] == ["query", "harmonics", "keys/own"]
    assert "bank/own" in names
    both[0] = str(paths["queries"])
    soft = [*both, "--keys", "-", "--keys", str(paths["keys"]), "--mode", "soft", "--quiet"]
    assert CliRunner().invoke(app, soft).exit_code == 0
    assert isinstance(CliRunner().invoke(app, [*both, "--mode", "geo", "--context"]).exception, UsageError)
