"""`fuse` and `train fuse`: tables of modalities to one vector for each hexagon."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from hexes import disk, numbers, torn
from placevec.encoders.fuser import Fuser
from placevec.encoders.model import load_encoder
from placevec.errors import DataError, LeakError, SchemaError, UsageError
from placevec.features.graphs import CellGraph
from placevec.geo.hex_levels import hex_levels
from placevec.measure.leaks import refuse_leaks
from placevec.measure.splits import block_split
from placevec.nn.hexunet import ConeBatchingUNet
from placevec.provenance import Saw
from placevec.table import EmbeddingTable, open_table, write_table
from placevec.tasks import fuse as fusing
from placevec.tasks.fuse import cones_folder, fuse
from placevec.tasks.fuse_inputs import edges_of, parse_levels, read_modalities
from placevec.tasks.probe import probe
from placevec.tasks.train import run_folder, train
from placevec.tasks.train_fuse import Supervision
from tiny_city import STOPS, field, write_modalities

CELLS = torn(9, 6)
QUICK = {"width": 16, "part": 4, "views": 4, "loop": {"epochs": 2, "accelerator": "cpu"}}


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_modalities(tmp_path_factory.mktemp("city"), CELLS, (Saw("", "schools"),))


@pytest.fixture(scope="module")
def model(city: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "fuser"
    train("fuse", out, modalities=city, config=QUICK, folds=3, block="h3:8", untrained=out.with_name("untrained"))
    return out


@pytest.fixture(scope="module")
def fused(city: dict[str, Path], model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fused") / "fused.parquet"
    fuse(city, out, model=model)
    return out


def test_every_cell_has_a_vector_and_the_footer_its_story(city: dict[str, Path], model: Path, fused: Path) -> None:
    table = open_table(fused).read().validate()
    assert set(table.column("h3").tolist()) == {int(cell) for cell in CELLS}
    assert table.dims == len(table.meta.dims) == blocks_end(model)
    blocks = table.meta.recipe["blocks"]
    assert [block["name"] for block in blocks][-3:] == ["roads told", "transit told", "pictures told"]
    assert blocks[-1]["stop"] == table.dims
    assert sum(table.meta.recipe["gates"].values()) == pytest.approx(1.0, abs=0.01)
    assert set(table.meta.parents) == {open_table(path).read().fingerprint() for path in city.values()}
    assert any(name.startswith(f"transit around: {STOPS[0]} from ") for name in table.meta.dims)
    assert table.space.id == load_encoder(model).card.space.id
    assert float(table.meta.chip_layout["ground_m"]) > 300


def blocks_end(model: Path) -> int:
    found = load_encoder(model)
    assert isinstance(found, Fuser)
    tokens = sum(one.tokens for one in found.config.modalities)
    return 2 * tokens + 3 * QUICK["part"]


def test_labels_that_a_modality_holds_are_seen_by_what_is_fused(fused: Path, model: Path) -> None:
    table = open_table(fused).read()
    assert Saw("", "schools") in table.meta.saw
    with pytest.raises(LeakError, match="schools"):
        refuse_leaks("fused", table.meta.saw, "schools", table.lonlat(), table.keys, count=len(table))


def test_the_untrained_twin_differs_by_its_weights_alone(
    city: dict[str, Path], model: Path, fused: Path, tmp_path: Path
) -> None:
    fuse(city, tmp_path / "idle.parquet", model=model.with_name("untrained"))
    idle, learned = open_table(tmp_path / "idle.parquet").read(), open_table(fused).read()
    own = learned.meta.recipe["blocks"][5]["stop"]
    np.testing.assert_array_equal(idle.vectors()[:, :own], learned.vectors()[:, :own])
    assert not np.allclose(idle.vectors()[:, own:], learned.vectors()[:, own:])
    assert idle.space.id != learned.space.id


def test_cone_by_cone_is_the_same(city: dict[str, Path], model: Path, fused: Path, tmp_path: Path) -> None:
    fuse(city, tmp_path / "cones.parquet", model=model, cone_resolution=7)
    one, other = open_table(fused).read(), open_table(tmp_path / "cones.parquet").read()
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_allclose(one.vectors(), other.vectors(), atol=1e-5)
    assert not cones_folder(tmp_path / "cones.parquet").exists()


def test_a_run_over_cones_that_was_killed_goes_on(
    city: dict[str, Path], model: Path, fused: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "cones.parquet"

    def stopped(what: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fuse(city, out, model=model, cone_resolution=7, told=stopped)
    assert not out.exists()
    kept = np.load(cones_folder(out) / "done.npy")
    assert kept.sum() == 2
    run: list[int] = []
    whole = ConeBatchingUNet.cone_batch

    def counted(self: ConeBatchingUNet, cone: object, *rest: object, **more: object) -> object:
        run.append(cone.number)
        return whole(self, cone, *rest, **more)

    monkeypatch.setattr(ConeBatchingUNet, "cone_batch", counted)
    fuse(city, out, model=model, cone_resolution=7)
    assert len(run) == len(kept) - 2
    np.testing.assert_allclose(open_table(out).read().vectors(), open_table(fused).read().vectors(), atol=1e-5)


def test_other_tables_begin_a_run_over_cones_again(city: dict[str, Path], model: Path, tmp_path: Path) -> None:
    out = tmp_path / "cones.parquet"

    def stopped(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fuse(city, out, model=model, cone_resolution=7, told=stopped)
    changed = dict(city)
    table = open_table(city["transit"]).read()
    moved = table.with_vectors(table.vectors() + 1.0, table.space)
    from placevec.table import EmbeddingTable, write_table

    write_table(EmbeddingTable(moved.data, moved.meta.replace(dims=table.meta.dims)), tmp_path / "transit.parquet")
    changed["transit"] = tmp_path / "transit.parquet"
    fuse(changed, out, model=model, cone_resolution=7)
    fuse(changed, tmp_path / "whole.parquet", model=model)
    a, b = open_table(out).read().vectors(), open_table(tmp_path / "whole.parquet").read().vectors()
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_column_is_remembered_when_its_name_is_lost(city: dict[str, Path], model: Path, tmp_path: Path) -> None:
    """A table of one's own that says nothing of what it saw still may not tell its own column."""
    table = open_table(city["transit"]).read()
    write_table(EmbeddingTable(table.data, table.meta.replace(dims=("stops", "log1p(jobs)"))), tmp_path / "own.parquet")
    tables = {"roads": city["roads"], "own": tmp_path / "own.parquet"}
    made = fuse(tables, tmp_path / "plain.parquet", method="pca:2")
    assert "jobs" in {saw.column for saw in open_table(made.out).read().meta.saw}
    train("fuse", tmp_path / "fuser", modalities=tables, config=QUICK, folds=0)
    made = fuse(tables, tmp_path / "fused.parquet", model=tmp_path / "fuser")
    assert "jobs" in {saw.column for saw in open_table(made.out).read().meta.saw}
    labels = tmp_path / "targets.csv"
    labels.write_text("id,lon,lat,jobs\n")
    with pytest.raises(UsageError, match="own holds 'jobs' already"):
        train("fuse", tmp_path / "x", modalities=tables, config=QUICK, supervision=Supervision(labels, ("jobs",), 0))


@pytest.mark.parametrize("method", ["concat", "pca:3", "rings:2", "ring-stack:1", "concat+rbf"])
def test_fusions_without_parameters(city: dict[str, Path], tmp_path: Path, method: str) -> None:
    made = fuse(city, tmp_path / "plain.parquet", method=method)
    table = open_table(made.out).read().validate()
    assert len(table) == len(CELLS)
    assert table.meta.encoder == f"fusion:{method}"
    assert Saw("", "schools") in table.meta.saw
    again = fuse(city, tmp_path / "again.parquet", method=method)
    assert again.space == made.space
    assert made.absent == {"pictures": int((np.arange(len(CELLS)) % 9 == 0).sum())}


def test_a_killed_training_goes_on_to_the_same_weights(city: dict[str, Path], model: Path, tmp_path: Path) -> None:
    def stopped(step: int, total: int, figures: object) -> None:
        if step == 5:
            raise KeyboardInterrupt

    out = tmp_path / "fuser"
    with pytest.raises(KeyboardInterrupt):
        train("fuse", out, modalities=city, config=QUICK, folds=3, block="h3:8", progress=stopped)
    assert run_folder(out).exists()
    made = train("fuse", out, modalities=city, config=QUICK, folds=3, block="h3:8")
    assert made.space == load_encoder(model).card.space.id
    assert made.validation > 0
    absent = int((np.arange(len(CELLS)) % 9 == 0).sum())
    assert made.notes == (f"no pictures in {absent} of {len(CELLS)} cells",)


def test_cones_train_a_fuser(city: dict[str, Path], tmp_path: Path) -> None:
    config = {**QUICK, "cone_resolution": 7, "loop": {**QUICK["loop"], "batch_size": 2}}
    made = train("fuse", tmp_path / "fuser", modalities=city, config=config, folds=0)
    assert made.validation == 0
    assert isinstance(load_encoder(tmp_path / "fuser"), Fuser)


def test_the_graph_of_the_training_is_asked_for_again(city: dict[str, Path], tmp_path: Path) -> None:
    levels = hex_levels(CELLS, (9, 8, 7))
    near = levels.near[0]
    rows, columns = np.nonzero(near[:, 1:] >= 0)
    weight = np.random.default_rng(0).random(len(rows)).astype(np.float32)
    seconds = np.full(len(rows), 60.0, dtype=np.float32)
    CellGraph(levels.cells[0], rows, near[rows, columns + 1], seconds, weight, "walk", 0.002).save(
        tmp_path / "walk.parquet"
    )
    graphs = [tmp_path / "walk.parquet"]
    train("fuse", tmp_path / "fuser", modalities=city, config=QUICK, folds=0, graphs=graphs)
    with pytest.raises(UsageError, match=r"trained with the graphs walk\.parquet"):
        fuse(city, tmp_path / "fused.parquet", model=tmp_path / "fuser")
    fuse(city, tmp_path / "fused.parquet", model=tmp_path / "fuser", graphs=graphs)
    with pytest.raises(UsageError, match="two graphs are of resolution 9"):
        edges_of([*graphs, *graphs], levels)
    with pytest.raises(DataError, match="is of resolution 9, the levels are 8, 7"):
        edges_of(graphs, hex_levels(levels.cells[1], (8, 7)))


def test_supervised_fold_by_fold(city: dict[str, Path], tmp_path: Path) -> None:
    """What a fuser has learned from is in the footer: its own test fold may be probed, no other."""
    given = read_modalities(city)
    labels = tmp_path / "targets.csv"
    values = field(np.sort(given.cells))
    row = dict(zip(np.sort(given.cells).tolist(), values.tolist(), strict=True))
    lines = [f"{text},{place.lon[0]},{place.lat[0]},{row[int(text, 16)]}" for text, place in _places(given)]
    labels.write_text("id,lon,lat,people\n" + "\n".join(lines) + "\n")
    taught = Supervision(labels, ("people",), fold=1, folds=3, block="h3:8", buffer_m=300)
    train("fuse", tmp_path / "fuser", modalities=city, config=QUICK, folds=0, supervision=taught)
    made = fuse(city, tmp_path / "fused.parquet", model=tmp_path / "fuser")
    saw = [one for one in open_table(made.out).read().meta.saw if one.column == "people"]
    split = block_split(given.lonlat, "h3:8", 3, 0, 300)
    assert [one.folds for one in saw] == [(0, 2)]
    test = split.pair(1)[1]
    refuse_leaks("fused", saw, "people", given.lonlat[test], None, count=len(test))
    with pytest.raises(LeakError):
        refuse_leaks("fused", saw, "people", given.lonlat, None, count=len(given.cells))
    with pytest.raises(LeakError):
        probe([made.out], "people", labels=labels, block="h3:8", shuffles=1)
    with pytest.raises(UsageError, match="no fold 7"):
        train(
            "fuse",
            tmp_path / "other",
            modalities=city,
            config=QUICK,
            supervision=Supervision(labels, ("people",), 7),
        )


def test_labels_of_the_test_fold_and_its_buffer_change_nothing(city: dict[str, Path], tmp_path: Path) -> None:
    given = read_modalities(city)
    split = block_split(given.lonlat, "h3:8", 3, 0, 400)
    train_rows, _ = split.pair(1)
    unseen = np.setdiff1d(np.arange(len(given.cells)), train_rows)
    assert len(unseen) > (split.fold == 1).sum()  # some lie in the buffer alone
    spaces = []
    for name, rows in (("plain", []), ("unseen", unseen), ("seen", train_rows[:1])):
        values = np.linspace(-1.0, 1.0, len(given.cells))
        values[rows] += 9.0
        labels = tmp_path / f"{name}.csv"
        lines = [f"{text},{place.lon[0]},{place.lat[0]},{values[k]}" for k, (text, place) in enumerate(_places(given))]
        labels.write_text("id,lon,lat,people\n" + "\n".join(lines) + "\n")
        taught = Supervision(labels, ("people",), fold=1, folds=3, block="h3:8", buffer_m=400)
        made = train("fuse", tmp_path / name, modalities=city, config=QUICK, folds=0, supervision=taught)
        spaces.append(made.space)
    assert spaces[0] == spaces[1]
    assert spaces[0] != spaces[2]


def _places(given: object) -> list[tuple[str, object]]:
    where = given.lonlat
    return [(text, where[np.array([k])]) for k, text in enumerate(given.places.ids.tolist())]


def test_a_target_that_a_modality_holds_supervises_nothing(city: dict[str, Path], tmp_path: Path) -> None:
    labels = tmp_path / "targets.csv"
    labels.write_text("id,lon,lat,schools\n")
    with pytest.raises(UsageError, match="roads holds 'schools' already"):
        train(
            "fuse",
            tmp_path / "fuser",
            modalities=city,
            config=QUICK,
            supervision=Supervision(labels, ("schools",), 0),
        )


def test_across_the_antimeridian_and_on_an_island(tmp_path: Path) -> None:
    import h3

    west = h3.grid_disk(h3.latlng_to_cell(-17.0, 179.999, 7), 4)
    far = h3.grid_disk(h3.latlng_to_cell(-16.5, -179.5, 7), 1)
    tables = write_modalities(tmp_path, numbers([*west, *far]))
    train("fuse", tmp_path / "fuser", modalities=tables, config=QUICK, folds=3)
    made = fuse(tables, tmp_path / "fused.parquet", model=tmp_path / "fuser")
    assert made.rows == len(west) + len(far)


class TestRefusals:
    """Tables and options that cannot be: one line that names them."""

    def test_other_columns_than_learned(self, city: dict[str, Path], model: Path, tmp_path: Path) -> None:
        table = open_table(city["transit"]).read()
        from placevec.table import EmbeddingTable, write_table

        write_table(
            EmbeddingTable(table.data, table.meta.replace(dims=("stops", "trips"))), tmp_path / "transit.parquet"
        )
        with pytest.raises(SchemaError, match="transit has other columns .* differ in 'departures'"):
            fuse({**city, "transit": tmp_path / "transit.parquet"}, tmp_path / "f.parquet", model=model)

    def test_another_encoder(self, city: dict[str, Path], model: Path, tmp_path: Path) -> None:
        from placevec.provenance import Space
        from placevec.table import write_table

        table = open_table(city["pictures"]).read()
        write_table(table.with_vectors(table.vectors(), Space.published("other@2", 4)), tmp_path / "pictures.parquet")
        with pytest.raises(SchemaError, match="embed with the same encoder"):
            fuse({**city, "pictures": tmp_path / "pictures.parquet"}, tmp_path / "f.parquet", model=model)

    def test_a_modality_too_few_or_too_many(self, city: dict[str, Path], model: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="needs the modality 'pictures'"):
            fuse({k: v for k, v in city.items() if k != "pictures"}, tmp_path / "f.parquet", model=model)
        with pytest.raises(UsageError, match="does not know the modality 'noise'"):
            fuse({**city, "noise": city["roads"]}, tmp_path / "f.parquet", model=model)
        with pytest.raises(UsageError, match="one modality is nothing to fuse"):
            train("fuse", tmp_path / "fuser", modalities={"roads": city["roads"]})

    def test_other_cells(self, city: dict[str, Path], tmp_path: Path) -> None:
        coarse = tmp_path / "coarse"
        coarse.mkdir()
        with pytest.raises(SchemaError, match="roads has cells of resolution 8, the first table 9"):
            read_modalities({"transit": city["transit"], "roads": write_modalities(coarse, disk(8, 3))["roads"]})
        import h3

        away = tmp_path / "away"
        away.mkdir()
        elsewhere = numbers(h3.grid_disk(h3.latlng_to_cell(50.0, 10.0, 9), 3))
        with pytest.raises(DataError, match="no cell in common"):
            read_modalities({"transit": city["transit"], "roads": write_modalities(away, elsewhere)["roads"]})

    def test_neither_model_nor_method(self, city: dict[str, Path], model: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="fuse by what"):
            fuse(city, tmp_path / "f.parquet")
        with pytest.raises(UsageError, match="leave them out with --method"):
            fuse(city, tmp_path / "f.parquet", method="concat", cone_resolution=7)
        with pytest.raises(UsageError, match="--halo is for cones"):
            fuse(city, tmp_path / "f.parquet", model=model, halo=1)
        with pytest.raises(UsageError, match="no fusion without parameters"):
            fuse(city, tmp_path / "f.parquet", method="sum")
        assert not list(tmp_path.iterdir())

    def test_levels(self) -> None:
        assert parse_levels(None, 9) == (9, 8, 7)
        assert parse_levels(None, 1) == (1, 0)
        assert parse_levels("8,9", 9) == (9, 8)
        with pytest.raises(UsageError, match="the finest is that of the tables' cells, 9"):
            parse_levels("8,7", 9)
        with pytest.raises(UsageError, match="write H3 resolutions"):
            parse_levels("fine", 9)

    def test_a_table_without_cells(self, city: dict[str, Path], tmp_path: Path) -> None:
        table = open_table(city["roads"]).read()
        from placevec.table import EmbeddingTable, write_table

        write_table(EmbeddingTable(table.data.drop_columns(["h3"]), table.meta), tmp_path / "points.parquet")
        with pytest.raises(SchemaError, match="roads has no column h3"):
            read_modalities({"roads": tmp_path / "points.parquet"})

    def test_a_full_disk_leaves_no_table(
        self, city: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(fusing, "write_table", full)
        with pytest.raises(OSError, match="No space"):
            fuse(city, tmp_path / "f.parquet", method="concat")
        assert not list(tmp_path.iterdir())

    def test_a_folder_that_is_no_fuser(self, city: dict[str, Path], model: Path, tmp_path: Path) -> None:
        broken = tmp_path / "fuser"
        shutil.copytree(model, broken)
        (broken / "model.safetensors").write_bytes(b"cut")
        with pytest.raises(Exception, match="sha256 differs"):
            fuse(city, tmp_path / "f.parquet", model=broken)
