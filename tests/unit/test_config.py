from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from placevec.config import (
    AreaOptions,
    InPath,
    NamedInPath,
    OutPath,
    PathRole,
    check_options,
    dump_toml,
    load_recipe,
    parse_override,
    parse_recipe,
    path_options,
)
from placevec.errors import RecipeError

TEXT = """
[recipe]
name = "iberia"
description = "A test"
seed = 7

[vars]
cells = 6
tables = "tables"
big = true

[[step]]
do = "embed"
name = "chips"
out = "{tables}/chips-{cells}.parquet"
resolution = "{cells}"
literal = "{{cells}} and {big}"
json = '{"a": {"b": {}}} {{{cells}}}'
chip = { pixels = 32, sides = ["{cells}", "x{cells}"] }

[[step]]
do = "probe"
table = "{tables}/chips-{cells}.parquet"

[smoke.vars]
cells = 4

[smoke.chips]
chip = { pixels = 8 }
"""


def written(tmp_path: Path, text: str = TEXT) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


def test_a_recipe_is_read_and_its_variables_are_filled_in(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path))
    assert (recipe.name, recipe.description, recipe.seed, recipe.smoke) == ("iberia", "A test", 7, False)
    assert [(step.do, step.name) for step in recipe.steps] == [("embed", "chips"), ("probe", "probe")]
    assert recipe.step("chips").options == {
        "out": "tables/chips-6.parquet",
        "resolution": 6,
        "literal": "{cells} and true",
        "json": '{"a": {"b": {}}} {{cells}}',
        "chip": {"pixels": 32, "sides": [6, "x6"]},
    }


def test_the_name_is_that_of_the_file(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, '[[step]]\ndo = "info"\n'))
    assert (recipe.name, recipe.seed) == ("recipe", 0)


def test_smoke_is_laid_over_steps_and_variables(tmp_path: Path) -> None:
    options = load_recipe(written(tmp_path), smoke=True).step("chips").options
    assert options["out"] == "tables/chips-4.parquet"
    assert options["chip"] == {"pixels": 8, "sides": [4, "x4"]}


def test_overrides_come_last(tmp_path: Path) -> None:
    overrides = {"steps.chips.chip.pixels": 16, "vars.cells": 3, "recipe.seed": 9, "steps.probe.folds": 5}
    recipe = load_recipe(written(tmp_path), smoke=True, overrides=overrides)
    assert recipe.seed == 9
    assert recipe.step("chips").options["chip"] == {"pixels": 16, "sides": [3, "x3"]}
    assert recipe.step("probe").options == {"table": "tables/chips-3.parquet", "folds": 5}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("steps.a.n=3", ("steps.a.n", 3)),
        ("steps.a.on = true", ("steps.a.on", True)),
        ('steps.a.x="1"', ("steps.a.x", "1")),
        ("steps.a.x=[1, 2]", ("steps.a.x", [1, 2])),
        ("steps.a.path=tables/a.parquet", ("steps.a.path", "tables/a.parquet")),
        ("steps.a.where=a == 3", ("steps.a.where", "a == 3")),
    ],
)
def test_overrides_are_parsed(text: str, expected: tuple[str, object]) -> None:
    assert parse_override(text) == expected


STEP = '[[step]]\ndo = "embed"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no steps"),
        ("step = 3", "no steps"),
        ("[[step]]\nout = 'x'", "step 1 has no verb"),
        (STEP + STEP, "two steps are called 'embed'"),
        (STEP + 'name = "a b"', "is called 'a b'"),
        (STEP + 'name = "vars"', "is called 'vars'"),
        ("[recip]\n" + STEP, "unknown key 'recip': did you mean 'recipe'?"),
        ("[recipe]\nsed = 3\n" + STEP, "unknown key 'sed': did you mean 'seed'?"),
        ('[recipe]\nseed = "x"\n' + STEP, "'seed' is 'x'"),
        (STEP + "[smoke.embedd]\nn = 1", "[smoke] has the unknown key 'embedd': did you mean 'embed'?"),
        (STEP + "[smoke]\nembed = 3", "[smoke.embed]"),
        (STEP + '[smoke.embed]\ndo = "x"', "changes 'do'"),
        (STEP + 'out = "{cel}"\n[vars]\ncell = 1', "no variable is called 'cel': did you mean 'cell'?"),
        (STEP + "[vars]\ncells = [1]", "the variable 'cells' is [1]"),
        ("vars = 3\n" + STEP, "vars is 3"),
        ("a = = 3", "no TOML file"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, smoke=True)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such recipe"):
        load_recipe(tmp_path / "absent.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="no TOML file"):
        load_recipe(tmp_path / "b.toml")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("steps.chip.n", "no step is called 'chip': did you mean 'chips'?"),
        ("steps.chips", "sets nothing"),
        ("steps.chips.do", "changes 'do'"),
        ("steps.chips.out.x", "'out' is"),
        ("vars.cell", "did you mean 'cells'?"),
        ("seed", "sets nothing"),
    ],
)
def test_wrong_overrides(key: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message.replace("?", r"\?")):
        parse_recipe(tomllib.loads(TEXT), overrides={key: 1})


def test_an_override_without_value() -> None:
    with pytest.raises(RecipeError, match="sets nothing"):
        parse_override("steps.a.n")


class Chip(BaseModel):
    pixels: int


class Options(BaseModel):
    table: InPath
    out: OutPath
    ground_m: float = Field(1000.0, gt=0)
    form: Literal["a", "b"] = "a"
    chip: Chip | None = None
    also: list[InPath] | None = None
    extra: Annotated[InPath | None, "a mark of another kind"] = None
    class_: str = Field("", alias="class")


def test_options_are_checked() -> None:
    options = check_options({"table": "a", "out": "b", "class": "forest"}, Options, "step 'x'")
    assert (options.table, options.ground_m, options.class_) == ("a", 1000.0, "forest")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tabel": "a", "out": "b"}, "step 'x' has the unknown key 'tabel': did you mean 'table'?"),
        ({"zzzzzz": "a", "out": "b"}, "known are also, chip, class, extra, form, ground_m, out, table"),
        ({"out": "b"}, "step 'x': 'table' is missing"),
        ({"table": "a", "out": "b", "ground_m": -1}, "step 'x': 'ground_m' is -1: input should be greater than 0"),
        ({"table": "a", "out": "b", "form": "c"}, "'form' is 'c': input should be 'a' or 'b'"),
        ({"table": "a", "out": "b", "chip": {"pixels": "many"}}, "'chip.pixels' is 'many'"),
        ({"table": 3, "out": "b"}, "'table' is 3: input should be a valid string"),
    ],
)
def test_wrong_options_are_named_with_the_nearest(values: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check_options(values, Options, "step 'x'")
    assert message in str(caught.value)


def test_paths_are_found_by_their_mark() -> None:
    options = Options(table="a", out="b", also=["c", "d"], extra="e")
    assert path_options(options, "in") == {"table": ["a"], "also": ["c", "d"], "extra": ["e"]}
    assert path_options(options, "out") == {"out": ["b"]}
    assert path_options(Options(table="a", out="b"), "in") == {"table": ["a"]}


class Several(BaseModel):
    """An option that reads several files."""

    first: str
    second: str

    @property
    def paths(self) -> tuple[str, ...]:
        return self.first, self.second


class Named(BaseModel):
    compared: list[NamedInPath] = []
    either: list[NamedInPath] | dict[str, InPath] = []
    plain: list[InPath] = []
    parts: Annotated[list[Several], PathRole("in")] = []


def test_a_name_may_stand_before_a_path() -> None:
    given = Named(compared=["ours=models/a", "b", "sincos"], either=["x=c"], plain=["year=2020/a.parquet"])
    assert path_options(given, "in") == {
        "compared": ["models/a", "b", "sincos"], "either": ["c"], "plain": ["year=2020/a.parquet"]
    }  # fmt: skip
    assert path_options(Named(either={"ours": "year=2020/c"}), "in") == {"either": ["year=2020/c"]}


def test_an_option_may_read_several_files() -> None:
    given = Named(parts=[Several(first="a", second="b"), Several(first="c", second="d")])
    assert path_options(given, "in") == {"parts": ["a", "b", "c", "d"]}


def test_an_unknown_step_of_a_recipe() -> None:
    with pytest.raises(RecipeError, match="did you mean 'chips'"):
        parse_recipe(tomllib.loads(TEXT)).step("chipz")


def test_the_recipe_as_run_gives_itself_again() -> None:
    recipe = parse_recipe(tomllib.loads(TEXT), smoke=True)
    again = parse_recipe(tomllib.loads(recipe.to_toml()))
    assert again.steps == recipe.steps
    assert (again.name, again.seed) == (recipe.name, recipe.seed)


SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(st.characters(codec="utf-8")),
    st.datetimes(),
    st.dates(),
)
DOCUMENTS = st.dictionaries(
    st.text(st.characters(codec="utf-8")),
    st.recursive(
        SCALARS,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=4,
)


def same(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and a == b


@given(DOCUMENTS)
def test_toml_is_written_as_it_is_read(document: dict[str, object]) -> None:
    assert same(tomllib.loads(dump_toml(document)), document)


def test_none_is_left_out_and_what_is_no_toml_is_refused() -> None:
    assert tomllib.loads(dump_toml({"a": None, "b": {"c": None, "p": Path("x/y")}})) == {"b": {"p": "x/y"}}
    with pytest.raises(RecipeError, match=r"a\.b is"):
        dump_toml({"a": {"b": object()}})


def test_a_recipe_describes_its_area() -> None:
    text = {
        "recipe": {"name": "here", "area": {"bbox": "-9,36,3,43", "resolution": "{fine}"}},
        "vars": {"fine": 5},
        "step": [{"do": "embed"}],
        "smoke": {"vars": {"fine": 3}},
    }
    recipe = parse_recipe(text)
    assert recipe.area == AreaOptions(bbox="-9,36,3,43", resolution=5)
    assert parse_recipe(text, smoke=True).area == AreaOptions(bbox="-9,36,3,43", resolution=3)
    assert parse_recipe(tomllib.loads(recipe.to_toml())).area == recipe.area


def test_an_area_with_an_unknown_key_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"\[recipe.area\] has the unknown key 'contry': did you mean 'country'"):
        parse_recipe({"recipe": {"area": {"contry": "Spain"}}, "step": [{"do": "embed"}]})
