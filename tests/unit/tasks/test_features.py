"""`area features`: the table of a modality, its skipped cells, its Space; the command and the step of a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_fakes import Greens, register, small_area
from placevec.area import StudyArea
from placevec.cli.main import run as cli
from placevec.config import parse_recipe
from placevec.errors import DataError, LeakError, RecipeError, UsageError
from placevec.table import EmbeddingTable, read_skipped, read_table
from placevec.tasks.features import cell_features
from placevec.tasks.inputs import Input
from placevec.tasks.modality_settings import modality_of
from placevec.tasks.probe import probe
from placevec.tasks.run import run
from placevec.tasks.verbs import VERBS


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)


@pytest.fixture
def area(tmp_path: Path) -> StudyArea:
    return small_area(tmp_path / "box")


@pytest.fixture
def park(tmp_path: Path) -> str:
    (tmp_path / "parks.txt").write_text("trees")
    return str(tmp_path / "parks.txt")


def test_rows_and_skipped_are_the_cells_of_the_area(area: StudyArea, park: str) -> None:
    told = []
    made = cell_features("greens", area=area, options={"map": park, "reach": 600}, told=lambda *one: told.append(one))
    table = read_table(made.path)
    cells = area.cells()
    skipped = read_skipped(made.path)
    assert made.path == area.folder / "tables" / "greens.parquet"
    assert (made.rows, made.absent) == (len(table), len(skipped))
    assert {int(one, 16) for one in table.ids} | {int(one.id, 16) for one in skipped} == set(cells.tolist())
    assert {(one.stage, one.reason) for one in skipped} == {("features", "too far south")}
    # Every vector stands at its own cell, whatever the order of rows.
    h3 = table.column("h3").astype(np.uint64)
    assert np.array_equal(table.vectors()[:, 0], (h3 % np.uint64(1000)).astype(np.float32))
    assert np.allclose(table.vectors()[:, 1], table.lat, atol=1e-4)
    assert table.meta.dims == ("mod_1000", "lat")
    assert table.meta.encoder == "modality:greens"
    assert table.meta.chip_layout == {"layout_type": "named_grid", "grid_id": "h3:8", "ground_m": 600.0}
    assert table.meta.recipe["settings"]["map"] == park
    assert [one.column for one in table.meta.saw] == ["lat"]
    assert told == [("looking", len(cells), len(cells))]
    # The rows are in the order of all tables of the cells of the area.
    everywhere = Input(area=str(area.folder)).places().ids.tolist()
    assert [one for one in everywhere if one in set(table.ids)] == table.ids.tolist()


def test_the_space_follows_from_names_and_settings_and_not_from_files(
    area: StudyArea, park: str, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("")

    def space(**options: object) -> str:
        out = tmp_path / "t.parquet"
        cell_features("greens", out, area=area, options={"map": park, **options})
        return read_table(out).space.id

    assert space().startswith("published:placevec-greens-")
    assert space() == space(map=str(other))
    assert space() != space(level="high")
    assert space(space="mine") == "published:mine@1"


def test_of_given_cells_and_another_resolution(area: StudyArea, park: str, tmp_path: Path) -> None:
    modality = Greens(park, share=1.0)
    made = cell_features(modality, tmp_path / "a.parquet", area=area, resolution=7)
    assert (made.modality, made.resolution, made.absent) == ("greens", 7, 0)
    assert not (tmp_path / "a.skipped.parquet").exists()
    few = area.cells()[[3, 1, 1]]
    made = cell_features(modality, tmp_path / "b.parquet", cells=few)
    assert (made.rows, made.resolution) == (2, 8)
    with pytest.raises(UsageError, match="have the resolution 8, not 7"):
        cell_features(modality, tmp_path / "b.parquet", cells=few, resolution=7)
    with pytest.raises(DataError, match="the resolutions 7, 8"):
        cell_features(modality, tmp_path / "b.parquet", cells=[*few, *area.cells(7)])
    with pytest.raises(DataError, match="7b is no H3 cell"):
        cell_features(modality, tmp_path / "b.parquet", cells=[123])
    with pytest.raises(UsageError, match="give the folder of a study area"):
        cell_features(modality, tmp_path / "b.parquet")
    with pytest.raises(UsageError, match="where shall the table go"):
        cell_features(modality, cells=few)
    with pytest.raises(UsageError, match="options are for a modality that is given by its name"):
        cell_features(modality, area=area, options={"share": 1.0})


def test_nothing_known_of_any_cell_is_an_error(area: StudyArea, park: str) -> None:
    with pytest.raises(DataError, match=r"knows nothing of any of the \d+ cells: too far south"):
        cell_features("greens", area=area, options={"map": park, "share": 0})
    assert not (area.folder / "tables" / "greens.parquet").exists()


def test_options_are_checked(park: str) -> None:
    assert modality_of("greens", {"map": park, "share": "1", "kinds": "reed", "count": "3", "deep": "no"}) == Greens(
        park, 1.0, ("reed",), 3, deep=False
    )
    assert modality_of("greens", {"map": park, "kinds": ["a", "b"], "count": None}).kinds == ("a", "b")
    with pytest.raises(UsageError, match=r"no option 'shar': did you mean 'share'"):
        modality_of("greens", {"map": park, "shar": 1})
    with pytest.raises(UsageError, match=r"needs map: A file that has to be there \(--map\)"):
        modality_of("greens", {})
    for wrong, words in (
        ({"share": "much"}, "share = 'much': --share is a number"),
        ({"share": float("nan")}, "--share is a number"),
        ({"count": 1.5}, "--count is a whole number"),
        ({"count": True}, "--count is a whole number"),
        ({"deep": "perhaps"}, "--deep is true or false"),
        ({"level": "middle"}, "--level is one of low, high"),
        ({"kinds": [3]}, "--kinds is a text"),
    ):
        with pytest.raises(UsageError, match=words):
            modality_of("greens", {"map": park, **wrong})
    with pytest.raises(UsageError, match=r"no modality is called 'green': did you mean 'greens'"):
        modality_of("green", {})
    with pytest.raises(UsageError, match="which is no modality: make it a frozen dataclass"):
        modality_of("odd", {})


def test_the_command(area: StudyArea, park: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = str(area.folder)
    assert cli(["area", "features", "greens", home, "--map", park, "--no-deep", "--kinds", "a", "--kinds", "b"]) == 0
    told = capsys.readouterr()
    record = json.loads(told.out)
    assert record["modality"] == "greens"
    assert record["dims"] == 2
    assert "cells have no row: too far south" in told.err
    assert "looked deep" not in told.err
    made = read_table(record["path"])
    assert made.meta.recipe["settings"]["kinds"] == ["a", "b"]
    # The cells of a file: those of the table that was just made.
    again = str(tmp_path / "again.parquet")
    words = ["area", "features", "greens", "--on", record["path"], "--map", park, "--share", "1", "-o", again]
    assert cli(words) == 0
    assert set(read_table(again).ids) == set(made.ids)
    capsys.readouterr()
    for wrong, words in (
        (["greens", home], "Missing option '--map'"),
        (["greens", home, "--map", park, "--share", "x"], "--share"),
        (["greens", home, "--map", park, "--shar", "1"], "No such option"),
        (["gree", home], "No such command 'gree'"),
        (["greens", home, "--map", park, "-r", "99"], "--resolution 99"),
        (["broken"], "the modality 'broken' cannot be loaded"),
    ):
        assert cli(["area", "features", *wrong]) == 2, wrong
        assert words in " ".join(capsys.readouterr().err.replace("│", "").split())


def test_help_lists_every_modality_and_tells_its_options(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert cli(["area", "features", "--help"]) == 0
    text = capsys.readouterr().out
    assert "How green the cells are" in text
    assert "Cannot be loaded" in text
    assert "columns" in text
    assert cli(["area", "features", "greens", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", "").split())
    assert "A file that has to be there." in text
    assert "Example: placevec area features greens poa --map parks.txt" in text
    assert "low|high" in text
    assert "tables/NAME.parquet" in text


def test_every_modality_says_what_it_is_and_is_a_command() -> None:
    from placevec.cli.commands.area_features import command_of
    from placevec.tasks.modality_settings import modality_class, modality_names, options_of, what_it_is

    for name in modality_names():
        if name in ("broken", "odd"):
            continue
        kind = modality_class(name)
        assert what_it_is(kind), name
        assert f"placevec area features {name} " in kind.example
        assert set(kind.inputs) <= {one.name for one in options_of(kind)}
        assert all(one.help for one in options_of(kind)), name
        assert {f"own_{one.name}" for one in options_of(kind)} <= {one.name for one in command_of(name).params}, name


def test_the_step_of_a_recipe(area: StudyArea, park: str, tmp_path: Path) -> None:
    step = {"do": "features", "modality": "greens", "map": "sources/parks.txt", "out": "tables/g.parquet"}
    recipe = parse_recipe({"recipe": {"name": "r"}, "step": [{**step, "kinds": "a", "count": ""}]})
    with pytest.raises(RecipeError, match=r"reads = 'sources/parks.txt' is not there"):
        run(recipe, VERBS, area=area)
    (area.folder / "sources" / "parks.txt").write_text("trees")
    notes: list[str] = []
    assert run(recipe, VERBS, area=area, note=notes.append).done == ("features",)
    assert any("looked deep" in note for note in notes)
    assert run(recipe, VERBS, area=area).skipped == ("features",)
    (area.folder / "sources" / "parks.txt").write_text("more trees")
    assert run(recipe, VERBS, area=area).done == ("features",)
    assert len(read_table(area.folder / "tables" / "g.parquet")) > 0
    for wrong, words in (
        ({"shar": 1}, r"step 'features' \(features\): the modality 'greens' has no option 'shar': did you mean"),
        ({"modality": "green"}, r"no modality is called 'green': did you mean 'greens'"),
        ({"reads": ["x"]}, "'reads' is not for recipes"),
        ({"share": "much"}, "--share is a number"),
    ):
        with pytest.raises(RecipeError, match=words):
            run(parse_recipe({"step": [{**step, **wrong}]}), VERBS, area=area)


def test_a_target_never_predicts_itself(area: StudyArea, tmp_path: Path) -> None:
    cells = area.cells()
    rng = np.random.default_rng(0)
    rows = [f"{int(c):x},{rng.integers(0, 90)},{rng.integers(0, 9)}" for c in cells]
    (tmp_path / "hex.csv").write_text("\n".join(["id,jobs,schools", *rows]) + "\n")
    options = {"file": str(tmp_path / "hex.csv"), "log1p": ["jobs"], "column": ["schools"]}
    made = cell_features("columns", area=area, options=options)
    assert read_table(made.path).meta.dims == ("schools", "log1p(jobs)")
    assert cli(["area", "targets", str(tmp_path / "hex.csv"), "--area", str(area.folder), "-q"]) == 2
    assert cli(["area", "targets", str(tmp_path / "hex.csv"), "--area", str(area.folder)]) == 0
    targets = area.folder / "tables" / "targets.parquet"
    for target in ("jobs", "schools"):
        with pytest.raises(LeakError, match=f"were fitted on the labels '{target}'"):
            probe(made.path, target, labels=targets)
    # Labels stay seen when the table is carried to other cells.
    spread = cell_features("table", tmp_path / "s.parquet", area=area, options={"table": str(made.path)})
    with pytest.raises(LeakError):
        probe(spread.path, "jobs", labels=targets)


def test_a_modality_in_one_file_as_the_documents_tell(
    area: StudyArea, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "howto" / "modalities.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    line = page.split("```toml\n[project.entry-points.")[1].split("```")[0].splitlines()[1]
    site = tmp_path / "site"
    (site / "my_package").mkdir(parents=True)
    (site / "my_package" / "latitude.py").write_text(code)
    name, target = (part.strip().strip('"') for part in line.split("="))
    info = site / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[placevec.modality]\n{name} = {target}\n")
    monkeypatch.syspath_prepend(site)
    assert cli(["area", "features", "latitude", str(area.folder), "--limit", "60"]) == 0
    table = read_table(area.folder / "tables" / "latitude.parquet")
    assert np.allclose(table.vectors()[:, 0], np.abs(table.lat), atol=1e-3)
    with pytest.raises(DataError, match="farther from the equator than 10 degrees"):
        cell_features("latitude", area=area, options={"limit": 10})


def test_a_column_of_the_table_is_a_label_that_it_knows(area: StudyArea, park: str, tmp_path: Path) -> None:
    """A user's own table says of nothing that it was seen; its column is the target even so."""
    made = cell_features("greens", tmp_path / "g.parquet", area=area, options={"map": park, "share": 1.0})
    table = read_table(made.path)
    own = EmbeddingTable.of(
        table.places(), table.vectors(), table.space, encoder="own", dims=("parks:log1p(jobs)", "lat")
    )
    labels = table.places().with_column("jobs", pa.array(np.arange(len(table), dtype=np.float64)))
    with pytest.raises(LeakError, match="were fitted on the labels 'jobs'"):
        probe({"own": own}, "jobs", labels=labels)


def test_only_some_columns(area: StudyArea, park: str, tmp_path: Path) -> None:
    some = cell_features("greens", tmp_path / "some.parquet", area=area, options={"map": park}, only=["lat"])
    whole = cell_features("greens", tmp_path / "all.parquet", area=area, options={"map": park})
    one, both = read_table(some.path), read_table(whole.path)
    assert one.meta.dims == ("lat",)
    np.testing.assert_array_equal(one.vectors()[:, 0], both.vectors()[:, 1])
    assert one.meta.space != both.meta.space
    with pytest.raises(UsageError, match="greens makes no column 'latt': did you mean 'lat'"):
        cell_features("greens", tmp_path / "x.parquet", area=area, options={"map": park}, only=["latt"])
    with pytest.raises(UsageError, match="leave out --only"):
        cell_features("greens", tmp_path / "x.parquet", area=area, options={"map": park, "space": "g"}, only=["lat"])
