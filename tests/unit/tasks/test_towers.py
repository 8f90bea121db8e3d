import json
from pathlib import Path

import numpy as np
import pytest

from pair_fakes import small_pair
from placevec.encoders.pair import PairModel
from placevec.errors import CheckpointError, SpaceMismatch, UsageError
from placevec.provenance import Space
from placevec.tasks.towers import find_pair


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PairModel]:
    """A project: tables/, models/first of another Space, models/ucm, and models/ucm/image as every pair has it."""
    root = tmp_path_factory.mktemp("project")
    (root / "tables").mkdir()
    small_pair(1).save(root / "models/first")
    return root, small_pair().save(root / "models/ucm")


@pytest.mark.parametrize("table", ["tables/image.parquet", "image.parquet", "models/image.parquet", "tables/t.lance"])
def test_it_is_found_beside_the_table_and_in_models(saved, table: str) -> None:
    root, pair = saved
    found = find_pair(pair.space, near=[root / table])
    assert found.space == pair.space
    text = {"text": np.array(["a river"], dtype=object)}
    assert np.array_equal(found.text.encode(text), pair.text.encode(text))


def test_a_path_without_a_folder_means_here(saved, monkeypatch: pytest.MonkeyPatch) -> None:
    root, pair = saved
    monkeypatch.chdir(root)
    assert find_pair(pair.space, near=[Path("image.parquet")]).space == pair.space


def test_given_by_name(saved) -> None:
    root, pair = saved
    assert find_pair(pair.space, near=[], given=str(root / "models/ucm")).space == pair.space
    with pytest.raises(SpaceMismatch, match="give the model that made the table, or embed the images with this one"):
        find_pair(pair.space, near=[root / "tables/x.parquet"], given=str(root / "models/first"))
    with pytest.raises(UsageError):
        find_pair(pair.space, near=[], given=str(root / "nowhere"))
    with pytest.raises(UsageError, match="not a pair"):
        find_pair(pair.space, near=[], given=str(root / "models/ucm/image"))


def test_none_is_found(saved, tmp_path: Path) -> None:
    root, _ = saved
    with pytest.raises(UsageError, match=r"no pair .* was found \(looked in .*models\).*--model"):
        find_pair(Space.mint(8), near=[root / "tables/x.parquet"])
    with pytest.raises(UsageError, match="nowhere"):
        find_pair(Space.mint(8), near=[])
    with pytest.raises(UsageError, match="give --model hf:openai/clip"):
        find_pair(Space.published("openai/clip@abc", 8), near=[tmp_path / "x.parquet"])


def test_cards_of_others_are_passed_by_and_a_damaged_pair_is_named(saved, tmp_path: Path) -> None:
    _, pair = saved
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"kind": "pair"}'), ("d", '{"kind": "pair", "space": 3}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.json").write_text(text)
    with pytest.raises(UsageError, match="no pair"):
        find_pair(pair.space, near=[tmp_path / "t.parquet"])
    space = {"id": pair.space.id, "dims": 8}
    (tmp_path / "d/card.json").write_text(json.dumps({"kind": "pair", "space": space}))
    with pytest.raises(CheckpointError):
        find_pair(pair.space, near=[tmp_path / "t.parquet"])
