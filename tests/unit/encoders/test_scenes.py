"""Scenes and whether they are indoors, from images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_places365
import tiny_transformers
from placevec.encoders.importers.places365 import read_places365
from placevec.encoders.location import LocationConfig, LocationEncoder
from placevec.encoders.model import load_encoder
from placevec.encoders.scenes import PREPARATION, SceneConfig, SceneEncoder, indoor_scores
from placevec.errors import CheckpointError, DataError, UsageError
from placevec.geo.sphere import LonLat
from placevec.nn.vision.resnet import ResNetConfig
from placevec.sources.base import ArraySource, Batch, Rows
from placevec.sources.images import ImageFiles
from placevec.table import Places, Skipped
from placevec.testing import check_encoder

INDOOR = set(range(0, 365, 3))
IMAGES = tiny_transformers.chips(9, size=70)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    net = tiny_places365.network(18)
    path = tiny_places365.write(root / "resnet18_places365.pth.tar", tiny_places365.checkpoint(net, "resnet18"))
    read_places365([path, *tiny_places365.write_lists(root, INDOOR)]).encoder.save(root / "model")
    return root / "model"


def opened(folder: Path) -> SceneEncoder:
    found = load_encoder(folder)
    assert isinstance(found, SceneEncoder)
    return found


def pillow(image: np.ndarray) -> np.ndarray:
    """As the makers of Places365 read images: the short side to 256, its centre of 224, the statistics of ImageNet."""
    small = Image.fromarray(image.transpose(1, 2, 0)).resize((256, 256), Image.Resampling.BILINEAR)
    pixels = np.asarray(small.crop((16, 16, 240, 240)), dtype=np.float64) / 255.0
    return ((pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)


def test_probabilities_are_the_softmax_of_the_network_on_what_pillow_makes(folder: Path) -> None:
    encoder = opened(folder)
    x = torch.from_numpy(np.stack([pillow(image) for image in IMAGES])).float()
    with torch.no_grad():
        logits = encoder.net(x).double()
        vectors = encoder.net.pooled(x)
    wanted = torch.exp(logits - torch.logsumexp(logits, dim=1, keepdim=True)).numpy()
    found = encoder.probabilities({"image": IMAGES})
    assert found.shape == (9, 365)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(found, wanted, atol=2e-3)
    inside = sum(wanted[:, row] for row in INDOOR)
    np.testing.assert_allclose(encoder.indoor({"image": IMAGES}), inside, atol=5e-3)
    np.testing.assert_allclose(encoder.encode({"image": IMAGES}), vectors.numpy(), atol=0.02)


def test_it_keeps_the_contract_of_encoders(folder: Path) -> None:
    check_encoder(opened(folder), {"image": IMAGES}, tolerance=1e-6)


def test_files_are_given_to_it_at_the_side_that_it_reads(folder: Path) -> None:
    from placevec.tasks.input_files import image_size

    assert image_size(opened(folder))[0] == PREPARATION.resize == 256


class Holey:
    """A source of which every third image cannot be read."""

    def __init__(self, source: ArraySource) -> None:
        self.source = source

    def places(self) -> Places:
        return self.source.places()

    def read(self, rows: Rows) -> Batch:
        lost = rows % 3 == 1
        read = self.source.read(rows[~lost])
        ids = self.places().ids
        return Batch(read.rows, read.data, [Skipped(str(ids[row]), "image", "cut short") for row in rows[lost]])


def source(n: int = 9) -> ArraySource:
    places = Places.create([f"p{row}" for row in range(n)], LonLat(np.zeros(n), np.zeros(n)))
    return ArraySource(places, {"image": IMAGES[:n]})


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_indoor_scores_of_a_source(folder: Path, batch: int) -> None:
    wanted = opened(folder).indoor({"image": IMAGES})
    told: list[tuple[int, int]] = []
    scores, skipped = indoor_scores(folder, source(), batch=batch, progress=lambda done, of: told.append((done, of)))
    assert skipped == []
    np.testing.assert_allclose(scores, wanted, atol=1e-6)
    assert told[-1] == (9, 9)
    scores, skipped = indoor_scores(folder, Holey(source()), batch=batch)
    lost = np.arange(9) % 3 == 1
    assert [one.id for one in skipped] == ["p1", "p4", "p7"]
    assert np.array_equal(np.isnan(scores), lost), "places in = scores + skipped"
    np.testing.assert_allclose(scores[~lost], wanted[~lost], atol=1e-6)
    assert ((scores[~lost] >= 0) & (scores[~lost] <= 1)).all()


def test_indoor_scores_of_real_photos(folder: Path, data_dir: Path) -> None:
    photos = ImageFiles(data_dir / "photos" / "lund", pixels=256, fit="crop")
    scores, skipped = indoor_scores(folder, photos)
    assert len(scores) == len(photos)
    assert np.isnan(scores).sum() == len(skipped)
    assert np.isfinite(scores).any()


def test_models_that_do_not_know(folder: Path, tmp_path: Path) -> None:
    path = tiny_places365.write(tmp_path / "r.pth", tiny_places365.checkpoint(tiny_places365.network(18), "resnet18"))
    read_places365([path]).encoder.save(tmp_path / "silent")
    with pytest.raises(UsageError, match=r"import it with IO_places365\.txt"):
        indoor_scores(tmp_path / "silent", source())
    LocationEncoder.untrained(LocationConfig(), 1).save(tmp_path / "location")
    with pytest.raises(UsageError, match="knows no scenes"):
        indoor_scores(tmp_path / "location", source())
    with pytest.raises(CheckpointError, match="no model folder|not a model folder"):
        indoor_scores(tmp_path, source())


def test_images_that_do_not_fit(folder: Path) -> None:
    encoder = opened(folder)
    for wrong, words in (
        (IMAGES[:, :, :60], "squares"),
        (IMAGES[:, :2], "3, S, S"),
        (IMAGES.astype(np.float32), "float32"),
    ):
        with pytest.raises(DataError, match=words):
            encoder.probabilities({"image": wrong})
    with pytest.raises(UsageError, match="reads 'image'"):
        encoder.indoor({"text": np.zeros(2)})


@pytest.mark.parametrize(
    "wrong",
    [{"categories": ["a"]}, {"indoor": [True]}, {"net": {"layers": []}}, {"preparation": {"resize": 1, "crop": 2}}],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        SceneConfig.from_json(wrong)


def test_a_card_of_other_classes_is_found_out(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "model")
    path = tmp_path / "model" / "card.json"
    card = json.loads(path.read_text())
    card["config"]["net"]["classes"] = 10
    card["config"]["categories"], card["config"]["indoor"] = [], []
    path.write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match=r"fc\.(weight|bias) is"):
        load_encoder(tmp_path / "model")
    config = SceneConfig(net=ResNetConfig(classes=2), categories=("in", "out"), indoor=(True, False))
    assert SceneConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
