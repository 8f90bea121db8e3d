"""The model folder of a locator: written, moved, read; and refused where a part is another's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("hdbscan")

import tiny_locator as tiny
from placevec.encoders.backbones import backbone_config, open_backbone
from placevec.encoders.locator import Decoding, Locator, LocatorNet, Refinement, locator_card
from placevec.encoders.model import load_encoder
from placevec.errors import CheckpointError
from placevec.measure.geo_calibration import Calibration
from placevec.nn.locator import LocatorHead
from placevec.provenance import sha256_file
from placevec.table import open_table

IMAGES = {"image": tiny.country(10, seed=4).images}


@pytest.fixture(scope="module")
def locator() -> Locator:
    return tiny.tiny_locator(steps=5, decoding=Decoding(cells=3, point="argmax", refine=Refinement(k=2)))


@pytest.fixture(scope="module")
def made(locator: Locator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "locator"
    locator.save(folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "moved" / "locator"))


def reseal(folder: Path, name: str) -> None:
    """Write the hash of a file that was changed into the card, as somebody would who exchanges it on purpose."""
    card = json.loads((folder / "card.json").read_text())
    card["assets"][name] = sha256_file(folder / name)
    (folder / "card.json").write_text(json.dumps(card))


def test_it_comes_back_as_it_was(locator: Locator, folder: Path) -> None:
    back = Locator.load(folder)
    one, other = locator.predict(IMAGES), back.predict(IMAGES)
    assert one.points == other.points
    np.testing.assert_array_equal(one.confidence, other.confidence)
    assert back.decoding == locator.decoding
    assert back.calibration == locator.calibration
    assert back.geocells == locator.geocells
    assert back.gallery is not None
    assert locator.gallery is not None
    np.testing.assert_array_equal(back.gallery.vectors, locator.gallery.vectors)
    assert back.gallery.lonlat == locator.gallery.lonlat
    assert back.gallery.assets.tolist() == locator.gallery.assets.tolist()
    assert type(load_encoder(folder)) is Locator
    assert sorted(path.name for path in folder.iterdir()) == [
        "calibration.json",
        "card.json",
        "gallery.parquet",
        "geocells.bin",
        "model.safetensors",
    ]


def test_equal_locators_make_equal_folders(folder: Path, tmp_path: Path) -> None:
    back = Locator.load(folder)
    saved = back.save(tmp_path / "again")
    assert saved.card == back.card
    for path in sorted(folder.iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name
    assert "pickle" not in (folder / "card.json").read_text()


def test_the_gallery_is_a_table_that_search_reads(folder: Path) -> None:
    table = open_table(folder / "gallery.parquet")
    assert table.num_rows == 96
    assert table.meta.space == Locator.load(folder).space
    assert {"id", "geometry", "asset", "cell", "embedding"} <= set(table.schema.names)


def test_a_calibration_is_kept(folder: Path, tmp_path: Path) -> None:
    given = Calibration(region_temperature=1.5, floor=0.02, levels={0.5: 0.6, 0.8: 0.9, 0.95: 0.99})
    Locator.load(folder).calibrated(given).save(tmp_path / "other")
    assert Locator.load(tmp_path / "other").calibration == given
    assert json.loads((tmp_path / "other" / "calibration.json").read_text())["region_temperature"] == 1.5


def test_two_backbones_one_of_transformers(tmp_path: Path) -> None:
    """Everything that builds them is in the folder: what they came from may be gone."""
    pytest.importorskip("transformers")
    from tiny_transformers import write_clip

    plain = tiny.tiny_locator()
    clip = open_backbone(backbone_config({"kind": "hf", "model": str(write_clip(tmp_path / "clip"))}))
    backbones = [*plain.backbones, clip]
    cells = plain.geocells
    reach = plain.head.offset_head.reach_m
    config = plain.head.config
    head = LocatorHead(config, [one.width for one in backbones], np.diff(cells.starts).tolist(), reach)
    both = Locator(backbones, head, cells, locator_card(config))
    wanted = both.predict(IMAGES)
    both.save(tmp_path / "locator")
    shutil.rmtree(tmp_path / "clip")
    back = Locator.load(tmp_path / "locator")
    assert [one.kind for one in back.backbones] == ["net", "hf"]
    assert back.predict(IMAGES).points == wanted.points
    assert any(path.name.startswith("backbone1-") for path in (tmp_path / "locator").iterdir())
    assert back.pixels == 32


@pytest.mark.parametrize("name", ["geocells.bin", "calibration.json", "gallery.parquet", "model.safetensors"])
def test_a_file_that_changed_or_went(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-3] + b"xyz")
    with pytest.raises(CheckpointError, match=f"{name} is not the file that the card names"):
        Locator.load(folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        Locator.load(folder)


def test_geocells_of_another_training(folder: Path) -> None:
    """As many cells, elsewhere: the sizes fit, and every answer would be wrong."""
    other = tiny.build_cells(96, seed=1)
    own = Locator.load(folder).geocells
    assert np.diff(other.starts).tolist() == np.diff(own.starts).tolist()
    (folder / "geocells.bin").write_bytes(other.to_bytes())
    reseal(folder, "geocells.bin")
    with pytest.raises(CheckpointError, match="the geocells differ from those of the training"):
        Locator.load(folder)
    with pytest.raises(CheckpointError, match="they are as many, and lie elsewhere"):
        tiny_with(other, folder)


def tiny_with(cells: object, folder: Path) -> Locator:
    """The network and card of a folder with cells of another training."""
    back = tiny.tiny_locator()
    return Locator(back.backbones, back.head, cells, back.card)


def test_another_number_of_cells(folder: Path) -> None:
    other = tiny.build_cells(200, regions=4)
    back = Locator.load(folder)
    with pytest.raises(CheckpointError, match="trained for 8 cells in 2 regions, these geocells are 15 in 4"):
        Locator(back.backbones, back.head, other, back.card)
    (folder / "geocells.bin").write_bytes(other.to_bytes())
    reseal(folder, "geocells.bin")
    with pytest.raises(CheckpointError, match="15 cells.*the card says 8"):
        Locator.load(folder)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("geocells.bin", b"nothing of the kind", "damaged"),
        ("calibration.json", b"[1, 2]", "damaged"),
        ("calibration.json", b'{"version": 99}', "version"),
        ("calibration.json", b"{", "damaged"),
        ("gallery.parquet", b"PAR1", "is not the gallery"),
    ],
)
def test_a_part_that_is_none(folder: Path, name: str, content: bytes, words: str) -> None:
    (folder / name).write_bytes(content)
    reseal(folder, name)
    with pytest.raises(CheckpointError, match=words):
        Locator.load(folder)


def test_a_gallery_of_another_model(folder: Path, tmp_path: Path) -> None:
    tiny.tiny_locator(seed=2).save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "gallery.parquet", folder)
    reseal(folder, "gallery.parquet")
    with pytest.raises(CheckpointError, match="is not the gallery of this locator"):
        Locator.load(folder)


def test_cards_that_were_edited(folder: Path) -> None:
    text = (folder / "card.json").read_text()
    for change, words in (
        (lambda c: c["config"].pop("head"), "has no 'head'"),
        (lambda c: c["config"]["head"].update(dims=17), "another network"),
        (lambda c: c["config"]["decoding"].update(point="middle"), "point"),
        (lambda c: c["assets"].pop("geocells.bin"), "has no geocells.bin"),
        (lambda c: c["config"]["backbones"][0].update(kind="eye"), "not known here"),
        (lambda c: c["config"]["decoding"].update(region_shift=[1.0]), "1 numbers for 2 regions"),
    ):
        card = json.loads(text)
        change(card)
        (folder / "card.json").write_text(json.dumps(card))
        with pytest.raises(CheckpointError, match=words):
            Locator.load(folder)


def test_another_kind_of_model(tmp_path: Path) -> None:
    from placevec.encoders.image import ImageConfig, ImageEncoder
    from placevec.nn.vision import SmallCNNConfig

    ImageEncoder.untrained(ImageConfig(SmallCNNConfig(dims=4, width=2))).save(tmp_path / "image")
    with pytest.raises(CheckpointError, match="of kind 'image', not a locator"):
        Locator.load(tmp_path / "image")


def test_the_network_as_one_module() -> None:
    locator = tiny.tiny_locator()
    assert isinstance(locator.net, LocatorNet)
    names = list(locator.net.state_dict())
    assert any(name.startswith("backbones.0.") for name in names)
    assert any(name.startswith("head.") for name in names)
