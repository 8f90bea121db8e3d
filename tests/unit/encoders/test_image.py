"""The image encoder: every kind of network, vectors of positions, batches of any size of image, and old folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny_fisher as fisher
from placevec.encoders.image import (
    BATCH,
    MOST,
    POSITIONS,
    VALUES,
    ImageConfig,
    ImageEncoder,
    batch_size,
    checked,
    seeded_net,
    set_band_statistics,
)
from placevec.encoders.model import CARD, load_encoder
from placevec.errors import CheckpointError, DataError, UsageError
from placevec.nn.vision import SmallCNNConfig, ViTConfig
from placevec.testing import check_encoder
from placevec.train.augment import AugmentConfig
from placevec.train.config import LoopConfig
from placevec.train.selfsup import ImageTraining, train_image

CNN = ImageConfig(SmallCNNConfig(width=4, stages=2, dims=5))
SHAPES = [
    CNN,
    ImageConfig(SmallCNNConfig(width=4, stages=3, blocks=2, dims=5, pixels=10)),
    ImageConfig(ViTConfig(pixels=0, patch=4, width=16, depth=2, heads=2, dims=5)),
    ImageConfig(ViTConfig(pixels=12, patch=4, width=16, depth=1, heads=2, dims=5), normalize=False),
]


def chips(n: int = 12, height: int = 16, width: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (n, 3, height, width), dtype=np.uint8)


def encoder_of(config: ImageConfig) -> ImageEncoder:
    return ImageEncoder.untrained(config, seed=1, chips=chips(40))


@pytest.mark.parametrize("config", SHAPES)
def test_every_kind_keeps_the_contract_and_comes_back_from_its_folder(config: ImageConfig, tmp_path: Path) -> None:
    encoder = encoder_of(config)
    check_encoder(encoder, {"image": chips()})
    encoder.save(tmp_path / "image")
    again = load_encoder(tmp_path / "image")
    assert isinstance(again, ImageEncoder)
    assert again.config == config
    assert np.array_equal(again.encode({"image": chips()}), encoder.encode({"image": chips()}))
    odd = chips(3, 21, 13)
    assert np.array_equal(again.encode({"image": odd}), encoder.encode({"image": odd}))


@pytest.mark.parametrize("config", SHAPES)
@pytest.mark.parametrize("shape", [(16, 16), (21, 13)])
def test_the_mean_of_positions_is_the_vector_before_it_is_normalised(
    config: ImageConfig, shape: tuple[int, int]
) -> None:
    encoder = encoder_of(config)
    data = {"image": chips(5, *shape)}
    dense = encoder.encode_dense(data)
    assert dense.dtype == np.float32
    assert dense.shape[0] == 5
    assert dense.shape[3] == encoder.dims
    plain = ImageEncoder(replace(config, normalize=False), encoder.net, encoder.card)
    plain.net.normalize = False
    before = plain.encode(data)
    np.testing.assert_allclose(dense.mean(axis=(1, 2)), before, atol=1e-4 * np.abs(before).max())
    # One position alone is as large as the same one among others, and as that of one image.
    np.testing.assert_array_equal(encoder.encode_dense({"image": data["image"][3:4]})[0], dense[3])
    nothing = encoder.encode_dense({"image": data["image"][:0]})
    assert nothing.shape == (0, *dense.shape[1:])


def test_positions_of_an_image_that_is_not_shrunk() -> None:
    encoder = encoder_of(SHAPES[1])
    large = {"image": chips(2, 40, 20)}
    assert encoder.encode_dense(large).shape == (2, 3, 3, 5)
    assert encoder.encode_dense(large, size=(40, 20)).shape == (2, 10, 5, 5)
    np.testing.assert_array_equal(encoder.encode_dense(large, size=(10, 10)), encoder.encode_dense(large))


def test_positions_follow_the_picture() -> None:
    encoder = encoder_of(CNN)
    image = np.zeros((1, 3, 32, 32), dtype=np.uint8)
    image[0, :, :, 16:] = 250
    dense = encoder.encode_dense({"image": image})[0]
    plain = encoder.encode_dense({"image": image[:, :, :, 16:]})[0]
    # The network sees a few pixels around a position: away from the edges both halves are as if alone.
    np.testing.assert_allclose(dense[6:10, 11:13], plain[6:10, 3:5], atol=1e-4)
    assert np.abs(dense[8, 12] - dense[8, 3]).max() > 0.1


@given(st.integers(1, 8), st.integers(1, 6000), st.integers(1, 6000), st.sampled_from([0, 64, 512]))
def test_batches_fit_the_memory(bands: int, height: int, width: int, pixels: int) -> None:
    shape = SmallCNNConfig(bands=bands, pixels=pixels)
    one = torch.zeros(1, 1, 1, 1).expand(1, bands, height, width)
    inner = pixels * pixels or height * width
    if inner > MOST:
        with pytest.raises(DataError, match=f"an image of {width} x {height} pixels: the encoder reads at most"):
            batch_size(one, shape)
        return
    size = batch_size(one, shape)
    assert 1 <= size <= BATCH
    assert size == 1 or (size * inner <= POSITIONS and size * bands * height * width <= VALUES)
    assert size == BATCH or (size + 1) * inner > POSITIONS or (size + 1) * bands * height * width > VALUES
    assert batch_size(one.expand(9, bands, height, width), shape) == size  # however many were asked for
    assert batch_size(one, shape, (64, 64)) >= (size if inner >= 64 * 64 else 1)


def test_statistics_against_numpy() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(1000.0, 3.0, (150, 2, 5, 7)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    values[0, 0, 0, 0] = np.inf
    net = seeded_net(ImageConfig(SmallCNNConfig(bands=2, width=4, dims=3)), 0)
    set_band_statistics(net, values)
    values[0, 0, 0, 0] = np.nan
    np.testing.assert_allclose(net.net.mean, np.nanmean(values.astype(np.float64), axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(net.net.std, np.nanstd(values.astype(np.float64), axis=(0, 2, 3)), rtol=1e-5)
    values[:, 1] = np.nan  # a band without any value
    set_band_statistics(net, values)
    assert net.net.mean[1] == 0
    assert net(torch.from_numpy(values)).isfinite().all()


@pytest.mark.parametrize("missing", [("kind",), ("kind", "blocks", "stride", "pixels")])
def test_a_folder_from_before_there_were_kinds(tmp_path: Path, missing: tuple[str, ...]) -> None:
    encoder = encoder_of(CNN)
    encoder.save(tmp_path / "image")
    path = tmp_path / "image" / CARD
    card = json.loads(path.read_text())
    for name in missing:
        del card["config"]["net"][name]
    path.write_text(json.dumps(card))
    again = load_encoder(tmp_path / "image")
    assert np.array_equal(again.encode({"image": chips()}), encoder.encode({"image": chips()}))


def test_a_card_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    encoder_of(CNN).save(tmp_path / "image")
    path = tmp_path / "image" / CARD
    card = json.loads(path.read_text())
    card["config"]["net"]["kind"] = "swin"
    path.write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match=r"no net is called 'swin'; known: .*small-cnn, vit"):
        load_encoder(tmp_path / "image")


def test_what_is_no_chip_is_refused() -> None:
    encoder = encoder_of(CNN)
    for shape in ((2, 3, 8), (2, 4, 8, 8), (2, 3, 0, 8)):
        with pytest.raises(DataError, match=rf"chips of shape \({shape[0]}, {shape[1]}.*3 bands"):
            encoder.encode({"image": np.zeros(shape, dtype=np.uint8)})
    assert encoder.encode_dense({"image": np.zeros((0, 3, 0, 0), dtype=np.uint8)}).shape[0] == 0
    with pytest.raises(UsageError, match="reads 'image'"):
        encoder.encode_dense({"text": np.array(["a"])})
    assert checked(np.zeros((1, 3, 4, 4), dtype=np.uint16), None).dtype == torch.float32


@pytest.mark.parametrize("config", SHAPES[1:3])
def test_self_supervision_trains_every_kind(config: ImageConfig, tmp_path: Path) -> None:
    loop = LoopConfig(epochs=2, batch_size=16, learning_rate=3e-3, accelerator="cpu", seed=7)
    training = ImageTraining(encoder=config, augment=AugmentConfig(min_scale=0.8), projector=8, loop=loop)
    assert ImageTraining.from_json(json.loads(json.dumps(training.to_json()))) == training
    made = train_image(chips(48), np.arange(48) % 4 == 0, training, tmp_path / "run")
    start = seeded_net(config, 7).state_dict()
    changed: dict[str, Any] = made.encoder.net.state_dict()
    assert not torch.equal(changed["net.head.weight"], start["net.head.weight"])
    check_encoder(made.encoder, {"image": chips()})


@pytest.mark.parametrize("changes", [{"pixels": 0}, {"views": 1, "hidden": 0}])
def test_a_fisher_network_keeps_the_contract_and_comes_back(changes: dict[str, Any], tmp_path: Path) -> None:
    encoder = fisher.encoder(**changes)
    check_encoder(encoder, {"image": fisher.chips(9)})
    encoder.save(tmp_path / "image")
    again = load_encoder(tmp_path / "image")
    assert isinstance(again, ImageEncoder)
    assert again.config == encoder.config
    data = {"image": fisher.chips(68, 3, 31, 40)}
    vectors, dense = encoder.encode(data), encoder.encode_dense(data)
    assert np.array_equal(again.encode(data), vectors)
    assert np.array_equal(again.encode_dense(data), dense)
    # Whatever else is in a batch.
    assert np.array_equal(encoder.encode({"image": data["image"][65:67]}), vectors[65:67])
    assert np.array_equal(encoder.encode_dense({"image": data["image"][3:4]})[0], dense[3])
    assert encoder.encode_dense({"image": data["image"][:0]}).shape == (0, *dense.shape[1:])


def test_a_fisher_network_over_a_large_image_stays_in_memory() -> None:
    script = (
        "import resource, numpy as np, tiny_fisher as tiny\n"
        "shape = {'components': 16, 'gradient_dims': 32, 'gradient_cells': (3, 4, 6, 8), 'colour_cells': (4, 8)}\n"
        "tower = tiny.encoder(**shape, pixels=32, step=8, window=4)\n"
        "tower.encode_dense({'image': tiny.chips(1)})\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "image = np.random.default_rng(0).integers(0, 255, (1, 3, 512, 512), dtype=np.uint8)\n"
        "assert tower.encode_dense({'image': image}, size=(1024, 1024)).shape == (1, 128, 128, 6)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(fisher.__file__).parent)}
    said = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True)
    # The statistics of all positions would be 550 MiB, those of a row of them are 4.
    assert float(said.stdout) < 500


def test_one_chip_alone_gives_vectors() -> None:
    encoder = ImageEncoder.untrained(CNN, seed=1, chips=chips(1))
    assert np.isfinite(encoder.encode({"image": chips(3)})).all()


def test_self_supervision_of_a_network_that_learns_without_training(tmp_path: Path) -> None:
    training = ImageTraining(encoder=ImageConfig(net=fisher.config()))
    with pytest.raises(UsageError, match="'fisher': this network learns from images without training"):
        train_image(fisher.chips(12), np.arange(12) < 3, training, tmp_path / "run")
