"""Settings by their paths: what is found, what is refused, and which parts a change of kind takes with it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import UsageError
from placevec.tasks.settings import (
    find,
    flat_sweeps,
    full_settings,
    laid_over,
    names,
    parse_settings,
    parse_sweeps,
    with_settings,
)


def full(changes: dict[str, Any], settings: dict[str, Any] | None = None) -> dict[str, Any]:
    return full_settings("location", with_settings("location", settings or {}, changes))


def test_every_setting_that_is_named_can_be_set() -> None:
    for objective in ("location", "image"):
        known = full_settings(objective, {})
        for name in names(known):
            node: Any = known
            for part in find(known, name):
                node = node[part]
            assert with_settings(objective, {}, {name: node}) is not None, name


def test_short_and_long_paths_are_the_same() -> None:
    for path in ("nn.capacity", "encoder.nn.capacity"):
        assert full({path: 48})["encoder"]["nn"]["capacity"] == 48
    assert full({"loop.seed": 3, "dims": 5})["loop"]["seed"] == 3
    image = full_settings("image", with_settings("image", {"net": {"stages": 2}}, {"net.width": 8}))
    assert (image["encoder"]["net"]["width"], image["encoder"]["net"]["stages"]) == (8, 2)


def test_a_change_leaves_the_settings_given_as_they_were() -> None:
    given = {"encoder": {"nn": {"layers": 3}}, "loop": {"epochs": 4}}
    found = full({"nn.capacity": 48, "loop.epochs": 5}, given)
    assert given == {"encoder": {"nn": {"layers": 3}}, "loop": {"epochs": 4}}
    assert (found["encoder"]["nn"]["layers"], found["loop"]["epochs"]) == (3, 5)


def test_another_kind_takes_its_settings_with_it_whatever_the_order() -> None:
    given = {"encoder": {"position": {"kind": "harmonics", "degrees": 30}}}
    for changes in (
        {"position.kind": "local", "position.encoding.kind": "harmonics", "position.encoding.degrees": 12},
        {"position.encoding.degrees": 12, "position.encoding.kind": "harmonics", "position.kind": "local"},
    ):
        position = full(changes, given)["encoder"]["position"]
        assert position["kind"] == "local"
        assert position["encoding"] == {"kind": "harmonics", "degrees": 12}
    # The same kind again is no change: what was set stays.
    assert full({"position.kind": "harmonics"}, given)["encoder"]["position"]["degrees"] == 30


def test_a_frame_takes_in_what_stood_there() -> None:
    given = {"encoder": {"position": {"kind": "harmonics", "degrees": 30}}}
    position = full({"position.kind": "local"}, given)["encoder"]["position"]
    assert position["encoding"] == {"kind": "harmonics", "degrees": 30}
    wrapped = full({"position.kind": "wrap"}, {"encoder": {"position": position}})["encoder"]["position"]
    assert wrapped["kind"] == "wrap"
    assert "encoding" not in wrapped


def test_a_whole_part_and_a_part_of_a_list() -> None:
    parts = {"kind": "scales", "parts": [{"kind": "harmonics", "degrees": 4}, {"kind": "harmonics", "degrees": 8}]}
    settings = with_settings("location", {}, {"position": parts})
    changed = with_settings("location", settings, {"position.parts.1.degrees": 9})
    assert [part["degrees"] for part in changed["encoder"]["position"]["parts"]] == [4, 9]
    assert [part["degrees"] for part in settings["encoder"]["position"]["parts"]] == [4, 8]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("nn.capcity", 5, "no setting is called 'nn.capcity': did you mean 'nn.capacity'"),
        ("capacity", 5, "did you mean 'nn.capacity'"),
        ("loop.epoch", 5, "did you mean 'loop.epochs'"),
        ("nn", 5, r"'nn' is a group of settings, not one: set nn\.kind, nn\.capacity"),
        ("nn.capacity", "big", "nn.capacity = 'big': the setting is a number"),
        ("nn.capacity", True, "nn.capacity = True: the setting is a number"),
        ("nn.capacity", 5.5, "capacity"),
        ("nn.capacity", -5, "-5"),
        ("normalize", 1, "normalize = 1: the setting is true or false"),
        ("loop.precision", 16, "loop.precision = 16: the setting is a text"),
        ("loop.precision", "half", "precision.*'half'"),
        ("position.kind", "spherical", "spherical"),
        ("nn.capacity.more", 5, "no setting is called"),
        ("position.encoding.degrees", 5, "no setting is called 'position.encoding.degrees'"),
    ],
)
def test_what_does_not_exist_or_fit_is_refused(path: str, value: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        with_settings("location", {}, {path: value})


def test_a_kind_that_nobody_reads_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no net is called 'large'; known: .*small-cnn, vit"):
        with_settings("image", {}, {"net.kind": "large"})
    with pytest.raises(UsageError, match=r"text\.kind = 'words' cannot be set: it is always 'hashed'"):
        with_settings("location", {}, {"text.kind": "words"})
    with pytest.raises(UsageError, match="no setting 'scale'"):
        with_settings("location", {}, {"position": {"kind": "wrap", "scale": 5}})
    with pytest.raises(UsageError, match="no objective is called 'sound'; known: image, location"):
        full_settings("sound", {})


def test_lists_of_a_command_line() -> None:
    found = parse_sweeps(["nn.capacity=512, 1024,2048", "nn.dropout = 0.1", "position.kind=local,wrap", 'a="x,y",z'])
    assert found["nn.capacity"] == [512, 1024, 2048]
    assert found["nn.dropout"] == [0.1]
    assert found["position.kind"] == ["local", "wrap"]
    assert parse_sweeps(['a="x,y","z"', "b=true,false,1"]) == {"a": ["x,y", "z"], "b": [True, False, 1]}
    assert parse_settings(["nn.capacity=512", "position={kind='wrap'}", "captions=text"]) == {
        "nn.capacity": 512,
        "position": {"kind": "wrap"},
        "captions": "text",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nn.capacity", "has no values"),
        ("nn.capacity=", "has no values"),
        ("=5", "has no values"),
        ("nn.capacity=[]", "has \\[\\]: give texts, numbers"),
        ("nn.capacity=512,,1024", "empty value"),
        ("nn.capacity=512,", "has no values|512"),
        ("nn.capacity=512,512", "512 twice"),
        ("nn.dropout=0,0.0", "0.0 twice"),
        ("nn.capacity={a=1}", "give texts, numbers"),
    ],
)
def test_lists_that_are_none(text: str, said: str) -> None:
    if text.endswith("512,"):  # TOML allows a comma at the end
        assert parse_sweeps([text]) == {"nn.capacity": [512]}
        return
    with pytest.raises(UsageError, match=said):
        parse_sweeps([text])


def test_settings_that_stand_twice() -> None:
    with pytest.raises(UsageError, match="--sweep names 'a' twice"):
        parse_sweeps(["a=1", "a=2"])
    with pytest.raises(UsageError, match="--config sets 'a' twice"):
        parse_settings(["a=1", "a=2"])
    with pytest.raises(UsageError, match="--config 'a' sets nothing"):
        parse_settings(["a"])


def test_the_sweep_of_a_recipe_may_be_nested() -> None:
    assert flat_sweeps({"nn": {"capacity": [1, 2]}, "loop.seed": [0]}) == {"nn.capacity": [1, 2], "loop.seed": [0]}
    with pytest.raises(UsageError, match=r"nn\.capacity = 5 is no list: write its values as \[5, \.\.\.\]"):
        flat_sweeps({"nn": {"capacity": 5}})
    with pytest.raises(UsageError, match="'nn.capacity' has no values"):
        flat_sweeps({"nn.capacity": []})


scalars = st.one_of(st.integers(), st.booleans(), st.text("abc", max_size=3))
trees = st.recursive(
    st.dictionaries(st.sampled_from("uvwxyz"), scalars),
    lambda inner: st.dictionaries(st.sampled_from("uvwxyz"), scalars | inner),
    max_leaves=12,
)


@given(trees, trees)
def test_laying_over(one: dict[str, Any], other: dict[str, Any]) -> None:
    merged = laid_over(one, other)
    assert laid_over(merged, other) == merged
    assert laid_over({}, one) == one
    assert set(merged) == set(one) | set(other)
