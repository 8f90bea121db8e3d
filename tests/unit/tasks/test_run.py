from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from conftest import make_table
from placevec.area import StudyArea
from placevec.config import InPath, NamedInPath, OutPath, parse_recipe
from placevec.engine.locks import Lock
from placevec.errors import DataError, JobError, MissingExtra, PlacevecError, RecipeError, UsageError
from placevec.objects import located, remove, write_text
from placevec.provenance import Space
from placevec.table import write_table
from placevec.tasks.digests import Digests
from placevec.tasks.run import Context, Verb, run
from placevec.tasks.verbs import VERBS
from s3_server import BUCKET, running


class Make(BaseModel):
    out: OutPath
    text: str = "x"


class Copy(BaseModel):
    source: InPath
    out: OutPath
    times: int = 1


class Fail(BaseModel):
    how: str = "data"


@dataclass
class Summary:
    size: int


class Log:
    """The verbs of these tests, and which of them were called."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.restarts: list[bool] = []
        self.notes: list[str] = []
        self.weights = "00"
        self.verbs = {
            "make": Verb(self.make, Make),
            "copy": Verb(self.copy, Copy, identity=lambda options, context: self.weights),
            "fail": Verb(self.fail, Fail),
            "forget": Verb(lambda options, context: None, Make),
        }

    def make(self, options: Make, context: Context) -> dict[str, Any]:
        self.calls.append(context.step)
        self.restarts.append(context.restart)
        context.progress(1, 2, {"embedded": 1})
        context.path(options.out).write_text(options.text)
        return {"seed": context.seed}

    def copy(self, options: Copy, context: Context) -> Summary:
        self.calls.append(context.step)
        text = context.path(options.source).read_text() * options.times
        context.path(options.out).write_text(text)
        return Summary(len(text))

    def fail(self, options: Fail, context: Context) -> None:
        if options.how == "extra":
            raise MissingExtra("rasterio", "raster", "reading rasters")
        raise {"data": DataError("bad pixels"), "defect": ZeroDivisionError("oh")}[options.how]


def recipe(*more: dict[str, Any], seed: int = 0, text: str = "x", times: int = 2) -> Any:
    steps = [
        {"do": "make", "name": "first", "out": "a.txt", "text": text},
        {"do": "copy", "source": "a.txt", "out": "b.txt", "times": times},
        *more,
    ]
    return parse_recipe({"recipe": {"seed": seed}, "step": steps}, name="test")


@pytest.fixture
def log() -> Log:
    return Log()


def go(log: Log, folder: Path, given: Any = None, **options: Any) -> Any:
    log.calls.clear()
    log.notes.clear()
    return run(recipe() if given is None else given, log.verbs, folder=folder, note=log.notes.append, **options)


def test_steps_are_done_once(tmp_path: Path, log: Log) -> None:
    first = go(log, tmp_path)
    assert first.done == ("first", "copy")
    assert (tmp_path / "b.txt").read_text() == "xx"
    assert first.steps[1].summary == {"size": 2}
    again = go(log, tmp_path)
    assert (again.done, again.skipped, log.calls) == ((), ("first", "copy"), [])
    assert again.steps[1].summary == {"size": 2}
    assert all("skipped, complete since 20" in note for note in log.notes)
    assert json.loads(json.dumps(again.to_record()))["steps"][0]["state"] == "skipped"


@pytest.mark.parametrize(
    ("changed", "calls", "why"),
    [
        ({"given": recipe(times=3)}, ["copy"], "step 'copy': done again, changed since: options"),
        ({"given": recipe(text="y")}, ["first", "copy"], "step 'copy': done again, changed since: inputs"),
        ({"given": recipe(seed=1)}, ["first", "copy"], "changed since: seed"),
        ({"force": True}, ["first", "copy"], "it was asked for"),
        ({"from_step": "copy"}, ["copy"], "it was asked for"),
        ({"from_step": "first"}, ["first", "copy"], "it was asked for"),
    ],
)
def test_what_changed_is_done_again(
    tmp_path: Path, log: Log, changed: dict[str, Any], calls: list[str], why: str
) -> None:
    go(log, tmp_path)
    go(log, tmp_path, **changed)
    assert log.calls == calls
    assert why in " ".join(log.notes)


def test_a_step_that_makes_the_same_again_stops_the_chain(tmp_path: Path, log: Log) -> None:
    go(log, tmp_path)
    (tmp_path / "a.txt").unlink()
    go(log, tmp_path)
    assert log.calls == ["first"]
    assert "step 'first' (make): done again, a.txt is gone" in log.notes


def test_outputs_that_were_touched_by_others_are_made_again(tmp_path: Path, log: Log) -> None:
    go(log, tmp_path)
    (tmp_path / "b.txt").write_text("mine")
    go(log, tmp_path)
    assert log.calls == ["copy"]
    assert "b.txt was changed" in " ".join(log.notes)
    assert (tmp_path / "b.txt").read_text() == "xx"


def test_weights_and_code_are_part_of_the_key(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    go(log, tmp_path)
    log.weights = "11"
    go(log, tmp_path)
    assert log.calls == ["copy"]
    assert "changed since: weights" in " ".join(log.notes)
    monkeypatch.setattr("placevec.tasks.run.__version__", "9")
    go(log, tmp_path)
    assert log.calls == ["first", "copy"]
    assert "changed since: code" in " ".join(log.notes)


def test_forced_steps_know_it(tmp_path: Path, log: Log) -> None:
    go(log, tmp_path)
    go(log, tmp_path, force=True)
    assert log.restarts == [False, True]


def test_a_complete_step_with_other_options_begins_anew_and_a_killed_one_goes_on(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(log, tmp_path)
    made = log.make
    monkeypatch.setitem(log.verbs, "make", Verb(lambda options, context: 1 / 0, Make))
    with pytest.raises(ZeroDivisionError):
        go(log, tmp_path, recipe(text="y"))  # killed after it began anew

    def seen(options: Make, context: Context) -> dict[str, Any]:
        log.restarts.append(context.restart)
        return made(options, context)

    log.restarts.clear()
    monkeypatch.setitem(log.verbs, "make", Verb(seen, Make))
    go(log, tmp_path, recipe(text="y"))
    assert log.restarts[0] is False  # what the killed run left is of this very step
    log.restarts.clear()
    go(log, tmp_path, recipe(text="z"))
    assert log.restarts[0] is True  # what the complete run left is not


def test_a_table_counts_by_its_content(tmp_path: Path, log: Log) -> None:
    table = make_table(50, space=Space.asserted("t", 8))
    log.verbs["copy"] = Verb(lambda options, context: log.calls.append("copy"), Copy)
    given = parse_recipe({"step": [{"do": "copy", "source": "t.parquet", "out": "t.parquet"}]})
    write_table(table, tmp_path / "t.parquet")
    go(log, tmp_path, given)
    write_table(table.take(range(49, -1, -1)), tmp_path / "t.parquet", order="keep")
    go(log, tmp_path, given)
    assert log.calls == []
    write_table(table.take(range(49)), tmp_path / "t.parquet")
    go(log, tmp_path, given)
    assert log.calls == ["copy"]


def test_folders_count_by_their_files(tmp_path: Path, log: Log) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "card.json").write_text("{}")
    log.verbs["copy"] = Verb(lambda options, context: log.calls.append("copy"), Copy)
    given = parse_recipe({"step": [{"do": "copy", "source": "model", "out": "model"}]})
    go(log, tmp_path, given)
    (model / ".lock").write_text("")
    go(log, tmp_path, given)
    assert log.calls == []
    (model / "weights").write_text("1")
    go(log, tmp_path, given)
    assert log.calls == ["copy"]


@pytest.mark.parametrize(("how", "kind"), [("data", DataError), ("extra", MissingExtra)])
def test_a_failure_names_the_step_and_leaves_the_others_complete(
    tmp_path: Path, log: Log, how: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match=r"^step 'bad' \(fail\): (bad pixels|reading rasters needs)"):
        go(log, tmp_path, recipe({"do": "fail", "name": "bad", "how": how}))
    again = go(log, tmp_path)
    assert again.skipped == ("first", "copy")


def test_a_defect_keeps_its_traceback_and_names_the_step(tmp_path: Path, log: Log) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        go(log, tmp_path, recipe({"do": "fail", "how": "defect"}))
    assert caught.value.__notes__ == ["in step 'fail' of the recipe 'test'"]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"do": "mak", "out": "c"}, "unknown verb 'mak': did you mean 'make'?"),
        ({"do": "make", "name": "c", "oot": "c"}, "step 'c' (make) has the unknown key 'oot': did you mean 'out'?"),
        ({"do": "make", "name": "c", "out": "a.txt"}, "steps 'first' and 'c' both make a.txt"),
        ({"do": "copy", "name": "c", "source": "d.txt", "out": "c"}, "source = 'd.txt' is not there"),
    ],
)
def test_mistakes_are_found_before_anything_is_done(
    tmp_path: Path, log: Log, step: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        go(log, tmp_path, recipe(step))
    assert message in str(caught.value)
    assert log.calls == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["hf:facebook/dinov2-small", "https://example.org/a.tif", "blue-marble"])
def test_addresses_and_names_are_no_files(tmp_path: Path, log: Log, name: str) -> None:
    log.verbs["copy"] = Verb(lambda options, context: log.calls.append(options.source), Copy)
    (tmp_path / "b").write_text("")
    go(log, tmp_path, parse_recipe({"step": [{"do": "copy", "source": name, "out": "b"}]}))
    assert log.calls == [name]


def test_a_verb_that_makes_nothing_is_a_defect(tmp_path: Path, log: Log) -> None:
    with pytest.raises(JobError, match=r"step 'forget': it ended, but did not make c\.txt"):
        go(log, tmp_path, recipe({"do": "forget", "out": "c.txt"}))


def test_progress_names_the_step(tmp_path: Path, log: Log) -> None:
    seen: list[tuple[object, ...]] = []
    go(log, tmp_path, progress=lambda *values: seen.append(values))
    assert seen == [("first", 1, 2, {"embedded": 1})]


def test_a_record_that_is_damaged_means_all_anew(tmp_path: Path, log: Log) -> None:
    go(log, tmp_path)
    (tmp_path / "results" / "run.json").write_text("{")
    go(log, tmp_path)
    assert log.calls == ["first", "copy"]
    assert "cannot be read" in log.notes[0]


def test_two_recipes_share_a_folder(tmp_path: Path, log: Log) -> None:
    go(log, tmp_path)
    other = parse_recipe({"step": [{"do": "make", "name": "first", "out": "other.txt"}]}, name="other")
    go(log, tmp_path, other)
    assert go(log, tmp_path).done == ()
    assert go(log, tmp_path, other).done == ()


def test_two_runs_exclude_each_other(tmp_path: Path, log: Log) -> None:
    with Lock(tmp_path / "results" / ".run.lock"), pytest.raises(JobError, match="is being worked on by process"):
        go(log, tmp_path)


def test_an_unknown_step_to_begin_from(tmp_path: Path, log: Log) -> None:
    with pytest.raises(RecipeError, match="did you mean 'first'"):
        go(log, tmp_path, from_step="frist")


def test_a_recipe_from_a_file_runs_in_its_folder_or_in_that_of_the_area(tmp_path: Path, log: Log) -> None:
    path = tmp_path / "recipes" / "r.toml"
    path.parent.mkdir()
    path.write_text('[[step]]\ndo = "make"\nout = "a.txt"\n[smoke.make]\ntext = "small"\n')
    run(path, log.verbs, smoke=True)
    assert (path.parent / "a.txt").read_text() == "small"
    area = StudyArea.from_bbox((0, 0, 1, 1), name="box").save(tmp_path / "area")
    found = run(path, log.verbs, area=area, overrides={"steps.make.text": "own"})
    assert (tmp_path / "area" / "a.txt").read_text() == "own"
    assert found.folder == tmp_path / "area"
    wider = StudyArea.from_bbox((0, 0, 2, 1), name="box").save(tmp_path / "wide")
    run(path, log.verbs, area=wider, overrides={"steps.make.text": "own"})
    with pytest.raises(UsageError, match="give its path"):
        run(recipe(), log.verbs, folder=tmp_path, smoke=True)


class Compare(BaseModel):
    compared: list[NamedInPath]
    out: OutPath


def test_a_named_path_is_looked_for_and_followed_without_its_name(tmp_path: Path, log: Log) -> None:
    log.verbs["compare"] = Verb(
        lambda options, context: context.path(options.out).write_text(str(options.compared)) and None, Compare
    )
    step = {"do": "compare", "compared": ["ours=models/a.bin", "waves=sincos"], "out": "c.txt"}
    with pytest.raises(RecipeError, match=r"compared = 'models/a.bin' is not there"):
        go(log, tmp_path, recipe(step))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.bin").write_text("1")
    assert go(log, tmp_path, recipe(step)).done[-1] == "compare"
    assert go(log, tmp_path, recipe(step)).done == ()
    (tmp_path / "models" / "a.bin").write_text("22")
    assert go(log, tmp_path, recipe(step)).done == ("compare",)


def test_evaluation_of_a_named_model_passes_the_check_of_inputs(tmp_path: Path) -> None:
    """It failed before any step: NAME=PATH was looked for as a file of that name."""
    write_table(make_table(9), tmp_path / "t.parquet")
    given = parse_recipe(
        {"step": [{"do": "evaluate", "compared": ["ours=t.parquet"], "targets": ["nothing"], "out": "e.json"}]}
    )
    with pytest.raises(PlacevecError) as caught:
        run(given, VERBS, folder=tmp_path)
    assert "is not there" not in str(caught.value)
    assert "'nothing'" in str(caught.value)


def test_a_class_table_of_a_layer_is_an_input(tmp_path: Path, log: Log) -> None:
    calls: list[Any] = []
    patches = VERBS["patches"]
    log.verbs["patches"] = Verb(
        lambda options, context: calls.append(context.path(options.out).mkdir(exist_ok=True)), patches.options
    )
    for name in ("a.tif", "mine.json"):
        (tmp_path / name).write_text("1")
    layer = {"name": "cover", "raster": "a.tif", "classes": "mine.json"}
    given = parse_recipe({"step": [{"do": "patches", "layers": [layer], "ground_m": 1, "pixels": 8, "out": "p"}]})
    for name in ("mine.json", "a.tif"):
        go(log, tmp_path, given)
        assert go(log, tmp_path, given).done == ()
        (tmp_path / name).write_text("changed")
        assert go(log, tmp_path, given).done == ("patches",)
    (tmp_path / "mine.json").unlink()
    with pytest.raises(RecipeError, match=r"layers = 'mine.json' is not there"):
        go(log, tmp_path, given)
    built_in = parse_recipe(
        {"step": [{"do": "patches", "layers": [{**layer, "classes": "nlcd"}], "ground_m": 1, "pixels": 8, "out": "p"}]}
    )
    assert go(log, tmp_path, built_in).done == ("patches",)


def test_paths_of_object_storage_stay_what_they_are(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are inputs and outputs as those of the folder are: what changed there is done again."""

    def copy(options: Copy, context: Context) -> None:
        log.calls.append(context.step)
        source, goal = located(context.path(options.source)), located(context.path(options.out))
        write_text(goal, source.read_text() * options.times)

    log.verbs["copy"] = Verb(copy, Copy)
    away = f"s3://{BUCKET}/deep"
    given = parse_recipe(
        {
            "step": [
                {"do": "copy", "name": "up", "source": "a.txt", "out": f"{away}/b.txt"},
                {"do": "copy", "name": "down", "source": f"{away}/b.txt", "out": "c.txt", "times": 2},
            ]
        }
    )
    (tmp_path / "a.txt").write_text("x")
    with running(monkeypatch):
        assert go(log, tmp_path, given).done == ("up", "down")
        assert (tmp_path / "c.txt").read_text() == "xx"
        assert not (tmp_path / "s3:").exists()
        assert go(log, tmp_path, given).done == ()
        there = located(f"{away}/b.txt")
        write_text(there, "changed by another")
        assert go(log, tmp_path, given).done == ("up",)  # which puts back what the second step has read
        remove(there)
        assert go(log, tmp_path, given).done == ("up",)
        (tmp_path / "a.txt").write_text("yy")
        assert go(log, tmp_path, given).done == ("up", "down")
        for name in ("one", ".lock"):
            write_text(located(f"{away}/folder") / name, name)
        digests = Digests()
        before = digests.of(located(f"{away}/folder"))
        write_text(located(f"{away}/folder/.lock"), "other")
        assert digests.of(located(f"{away}/folder")) == before
        write_text(located(f"{away}/folder/two"), "two")
        assert digests.of(located(f"{away}/folder")) not in ("", before)
        assert digests.of(located(f"{away}/none")) == ""
