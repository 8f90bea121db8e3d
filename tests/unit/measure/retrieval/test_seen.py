"""Splits of captions that a model has seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from placevec.errors import LeakError
from placevec.measure.retrieval import refuse_seen, saw_captions
from placevec.measure.retrieval.seen import other_sets, seen_splits
from placevec.provenance import Saw


def test_splits_go_by_name_within_a_set() -> None:
    saw = [saw_captions("dataset:ucm", ["train", "val", "train"]), Saw("", "elevation")]
    assert seen_splits(saw, ["dataset:ucm"], ["test"]) == []
    assert seen_splits(saw, ["dataset:ucm"], ["val", "test"]) == ["val"]
    assert seen_splits(saw, ["dataset:rsicd", "3f"], ["val"]) == []
    assert seen_splits(saw, [], ["train"]) == ["train"]
    assert other_sets(saw, ["dataset:rsicd"]) == ["dataset:ucm"]
    with pytest.raises(LeakError, match=r"m was fitted on.*'val'"):
        refuse_seen("m", saw, ["dataset:ucm"], ["val"])


def test_a_set_without_splits_was_seen_whole() -> None:
    saw = [saw_captions("c.csv", [""])]
    assert saw[0].split == {}
    with pytest.raises(LeakError, match="all of it"):
        refuse_seen("m", saw, ["c.csv"], [""])
    with pytest.raises(LeakError):
        refuse_seen("m", saw, ["c.csv"], ["test"])


def test_paths_are_one_set_however_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saw = [saw_captions("data/../captions.json", ["train"])]
    assert seen_splits(saw, ["other", str(tmp_path / "captions.json")], ["train"]) == ["train"]


def test_a_split_that_cannot_be_read_counts_as_all() -> None:
    assert seen_splits([Saw("", "captions", {"rule": "random", "k": 5, "seed": 0}, (1,))], ["x"], ["test"]) == ["test"]
