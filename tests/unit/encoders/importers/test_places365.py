"""The networks of Places365, from small files in the layouts in which they are published."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny_places365 as tiny
import tiny_transformers
from placevec.cli.main import run
from placevec.encoders.importers.base import read_torch
from placevec.encoders.importers.places365 import read_lists, read_places365
from placevec.encoders.model import load_encoder
from placevec.encoders.scenes import SceneEncoder
from placevec.errors import CheckpointError, DataError, UsageError
from placevec.nn.vision.resnet import ResNetConfig
from placevec.provenance import sha256_file

IMAGES = tiny_transformers.chips(5, size=60)


def put(folder: Path, content: Any, name: str = "resnet50_places365.pth.tar") -> Path:
    return tiny.write(folder / name, content)


def refused(path: Path, *words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_places365([path])
    assert "\n" not in str(caught.value)
    for word in (path.name, *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("form", ["today", "python2", "python2-accents", "bare", "safetensors"])
def test_every_published_form_gives_the_same_network(tmp_path: Path, form: str) -> None:
    net = tiny.network(50)
    path = tmp_path / "resnet50_places365.pth.tar"
    if form == "today":
        tiny.write(path, tiny.checkpoint(net))
    elif form == "python2":
        # As published: Python 2.7 and torch 0.2, no counters of batch norms.
        tiny.write_python2(path, tiny.checkpoint(net, counters=False))
        assert path.read_bytes()[:2] == b"\x80\x02"
        assert b"ctorch.cuda\nFloatStorage\n" in path.read_bytes()
    elif form == "python2-accents":
        tiny.write_python2(path, tiny.checkpoint(net, counters=False, author="Agata Làpedriza"))
    elif form == "bare":
        tiny.write(path, net.state_dict())
    else:
        path = tmp_path / "resnet50_places365.safetensors"
        save_file(net.state_dict(), path)
    made = read_places365([path])
    encoder = made.encoder
    assert encoder.config.net == ResNetConfig(width=4)
    found = encoder.net.state_dict()
    assert list(found) == list(net.state_dict()), "torchvision's names in torchvision's order"
    assert len(found) == 320
    assert all(torch.equal(found[name], value) for name, value in tiny.values(net.state_dict()).items())
    card = encoder.card
    assert (card.name, card.licence, card.kind) == ("resnet50_places365", "CC BY", "scenes")
    assert card.recipe["architecture"] == "resnet50"
    assert card.sources[0].sha256 == sha256_file(path)
    assert encoder.space.id == f"published:places365/resnet50@{sha256_file(path)[:16]}"
    assert encoder.dims == 4 * 8 * 4


@pytest.mark.parametrize("depth", [18, 34])
def test_smaller_networks_of_basic_blocks(tmp_path: Path, depth: int) -> None:
    net = tiny.network(depth)
    path = put(tmp_path, tiny.checkpoint(net, f"resnet{depth}"), f"resnet{depth}_places365.pth.tar")
    encoder = read_places365([path]).encoder
    assert encoder.config.net.block == "basic"
    assert encoder.card.recipe["architecture"] == f"resnet{depth}"


def test_one_command_makes_the_model_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = tiny.network(18)
    path = put(tmp_path, tiny.checkpoint(net, "resnet18"))
    lists = tiny.write_lists(tmp_path, indoor={0, 7})
    out = tmp_path / "models" / "places365"
    assert run(["import", str(path), *map(str, lists), "--as", "places365", "-o", str(out), "--format", "json"]) == 0
    said = capsys.readouterr()
    record = json.loads(said.out)
    assert (record["kind"], record["name"], record["dims"]) == ("places365", "resnet50_places365", 32)
    assert record["licence"] == "CC BY"
    assert "365 classes" in said.err
    assert "indoors is not known" not in said.err
    state = load_file(out / "model.safetensors")
    assert set(state) == set(net.state_dict()), "any program that knows torchvision's names can read it"
    encoder = load_encoder(out)
    assert isinstance(encoder, SceneEncoder)
    assert encoder.config.categories[:2] == ("/a/scene_000", "/b/scene_001")
    assert np.flatnonzero(encoder.config.indoor).tolist() == [0, 7]
    assert len(encoder.card.sources) == 3
    first = read_places365([path]).encoder
    assert np.array_equal(encoder.encode({"image": IMAGES}), first.encode({"image": IMAGES}))


def test_what_is_not_given_is_said(tmp_path: Path) -> None:
    path = put(tmp_path, tiny.checkpoint(tiny.network(18), "resnet18"))
    notes = " ".join(read_places365([path]).notes)
    assert "no names" in notes
    assert "indoors is not known" in notes
    categories, inside = tiny.write_lists(tmp_path, {3})
    assert "indoors is not known" in " ".join(read_places365([categories, path]).notes)
    alone = read_places365([path, inside]).encoder.config
    assert alone.categories == read_places365([path, categories, inside]).encoder.config.categories
    assert sum(alone.indoor) == 1


def test_lists_are_matched_by_name(tmp_path: Path) -> None:
    categories, inside = tiny.write_lists(tmp_path, {3})
    lines = inside.read_text().splitlines()
    inside.write_text("\n".join(reversed(lines)) + "\n\n")
    names, where = read_lists([inside, categories])
    assert names[3] == "/d/scene_003"
    assert np.flatnonzero(where).tolist() == [3]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[:-1], "364 scenes"),
        (lambda lines: [*lines, lines[0]], "twice"),
        (lambda lines: ["/a/scene 3", *lines[1:]], "neither a list"),
        (lambda lines: ["airfield", *lines[1:]], "line 1"),
        (lambda lines: ["/z/other 1", *lines[1:]], "disagree"),
    ],
)
def test_lists_that_are_damaged(tmp_path: Path, change: Any, words: str) -> None:
    path = put(tmp_path, tiny.checkpoint(tiny.network(18), "resnet18"))
    categories, inside = tiny.write_lists(tmp_path, {3})
    inside.write_text("\n".join(change(inside.read_text().splitlines())))
    with pytest.raises(DataError, match=words):
        read_places365([path, categories, inside])


def test_lists_that_are_no_text(tmp_path: Path) -> None:
    path = put(tmp_path, tiny.checkpoint(tiny.network(18), "resnet18"))
    odd = tmp_path / "IO_places365.txt"
    odd.write_bytes(b"\xff\xfe\x00")
    for text in (odd, tmp_path / "none.txt"):
        with pytest.raises(DataError, match="cannot be read as a list"):
            read_places365([path, text])
    with pytest.raises(UsageError, match="0 checkpoints"):
        read_places365([odd])
    with pytest.raises(UsageError, match="2 checkpoints"):
        read_places365([path, path])


def test_networks_of_other_classes_or_shapes(tmp_path: Path) -> None:
    refused(put(tmp_path, tiny.checkpoint(tiny.network(18, classes=1000), "resnet18")), "1000 classes", "365")
    refused(put(tmp_path, tiny.checkpoint(tiny.network(18, classes=0), "resnet18")), "0 classes")
    refused(put(tmp_path, tiny.checkpoint(tiny.network(18), "densenet161")), "is a densenet161", "resnet50")
    refused(put(tmp_path, tiny.checkpoint(tiny.network(18), "wideresnet18")), "is a wideresnet18")
    refused(put(tmp_path, tiny.checkpoint(tiny.network(18), "resnet50")), "not those of a resnet50")
    for content in ({}, [], torch.zeros(3), {"state_dict": {}}, {"a": 1}, {"conv1.weight": torch.zeros(4)}):
        refused(put(tmp_path, content))


def test_weights_that_are_missing_unknown_or_of_another_shape(tmp_path: Path) -> None:
    def changed(**more: Any) -> Path:
        content = tiny.checkpoint(tiny.network(18), "resnet18")
        for name, value in more.items():
            key = "module." + name.replace("__", ".")
            content["state_dict"].pop(key, None)
            if value is not None:
                content["state_dict"][key] = value
        return put(tmp_path, content)

    refused(changed(layer2__1__bn1__weight=None), "layer2.1.bn1.weight")
    refused(changed(layer2__1__conv1__weight=None), "not those of a resnet18")
    refused(changed(fc__bias=None), "fc.bias")
    refused(changed(conv1__weight=None), "conv1.weight")
    refused(changed(layer4__0__downsample__0__weight=None), "downsample")
    refused(changed(bn1__bias=torch.zeros(5)), "bn1.bias", "(5,)")
    refused(changed(bn1__bias=torch.full((4,), torch.nan)), "not finite")
    refused(changed(bn1__running_var=torch.full((4,), -1.0)), "below 0")
    refused(changed(layer5__note=torch.zeros(2)), "unknown weight", "layer5.note")
    refused(changed(bn9__num_batches_tracked=torch.zeros(())), "bn9.num_batches_tracked")
    refused(changed(bn1__weight="big"), "bn1.weight")


def test_objects_are_never_run(tmp_path: Path) -> None:
    """A whole pickled model, as some of the published files are, is refused by name, and nothing of it is called."""
    path = tmp_path / "whole_resnet50_places365.pth.tar"
    torch.save(tiny.network(18), path)
    refused(path, "pickled object", "placevec.nn.vision.resnet.ResNet")
    marker = tmp_path / "ran"
    path.write_bytes(pickle.dumps(_Bomb(str(marker)), protocol=2))
    refused(path)
    tiny.write_python2(path, tiny.checkpoint(tiny.network(18), "resnet18", bomb=_Bomb(str(marker))))
    refused(path, "pickled object")
    assert not marker.exists()


class _Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (self.path, "w"))


@pytest.mark.parametrize("form", ["today", "python2"])
def test_files_that_are_cut_short(tmp_path: Path, form: str) -> None:
    path = tmp_path / "resnet18_places365.pth.tar"
    write = tiny.write if form == "today" else tiny.write_python2
    write(path, tiny.checkpoint(tiny.network(18), "resnet18", counters=form == "today"))
    whole = path.read_bytes()
    for kept in (0, 1, 40, len(whole) // 2, len(whole) - 50):
        path.write_bytes(whole[:kept])
        refused(path)
    path.write_bytes(b"BZh9" + whole[4:])
    refused(path, "no file of torch")
    with pytest.raises(CheckpointError, match="is no file"):
        read_torch(tmp_path / "none.pth.tar")
