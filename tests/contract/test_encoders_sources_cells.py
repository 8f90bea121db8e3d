"""Every encoder, every source and every partition of the Earth keeps its contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tiny_fisher
from generated import arcadia
from placevec.encoders.base import ModelCard
from placevec.encoders.baselines import SinCos
from placevec.encoders.hf import HfImageEncoder
from placevec.encoders.image import ImageConfig, ImageEncoder
from placevec.encoders.location import LocationConfig, LocationEncoder
from placevec.encoders.model import load_encoder
from placevec.encoders.precomputed import PrecomputedEncoder
from placevec.encoders.text import TextEncoder, TextEncoderConfig
from placevec.features.pixels import PixelFeatures
from placevec.geo.cells import H3Cells
from placevec.geo.grids import GridCells
from placevec.geo.sphere import LonLat
from placevec.nn.position import Harmonics
from placevec.nn.siren import SirenConfig
from placevec.nn.text import TextConfig
from placevec.nn.vision import SmallCNNConfig
from placevec.provenance import Space
from placevec.sources.base import ArraySource
from placevec.sources.chips import ChipSource
from placevec.sources.places import LonLatSource
from placevec.sources.rasters import Raster
from placevec.table import Places
from placevec.tasks.inputs import InputSource
from placevec.testing import check_cells, check_encoder, check_source

transformers = pytest.importorskip("transformers")


def batch(n: int = 9) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 255, (n, 3, 16, 16), dtype=np.uint8),
        "lonlat": np.column_stack([rng.uniform(-180, 180, n), rng.uniform(-90, 90, n)]),
        "vector": rng.standard_normal((n, 6)).astype(np.float32),
        "text": np.array(["", "Ünïcode", *(f"a village of {i} houses by the river" for i in range(n - 2))]),
    }


def location() -> LocationEncoder:
    config = LocationConfig(position=Harmonics(degrees=10), nn=SirenConfig(capacity=16), dims=8)
    return LocationEncoder.untrained(config, 1)


def image() -> ImageEncoder:
    config = ImageConfig(net=SmallCNNConfig(width=4, stages=2, dims=8))
    return ImageEncoder.untrained(config, 1, batch(40)["image"])


def text() -> TextEncoder:
    return TextEncoder.untrained(TextEncoderConfig(net=TextConfig(buckets=500, width=8, capacity=16), dims=8), 1)


def huggingface(folder: Path) -> HfImageEncoder:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    transformers.Dinov2Model(transformers.Dinov2Config(**small, image_size=28, patch_size=14)).save_pretrained(folder)
    size = {"height": 28, "width": 28}
    transformers.BitImageProcessor(size={"shortest_edge": 28}, crop_size=size).save_pretrained(folder)
    return HfImageEncoder.open(f"hf:{folder}")


def precomputed() -> PrecomputedEncoder:
    card = ModelCard("precomputed", Space.mint(4), "image", inputs=("vector",))
    return PrecomputedEncoder(card, np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32))


@pytest.mark.parametrize("kind", ["location", "image", "fisher", "text", "hf", "precomputed", "pixels", "sincos"])
def test_encoders(kind: str, tmp_path: Path) -> None:
    encoder = {
        "location": location,
        "image": image,
        "fisher": tiny_fisher.encoder,
        "text": text,
        "hf": lambda: huggingface(tmp_path / "dino"),
        "precomputed": precomputed,
        "pixels": PixelFeatures,
        "sincos": SinCos,
    }[kind]()
    check_encoder(encoder, batch())
    if hasattr(encoder, "save"):
        encoder.save(tmp_path / "model")
        again = load_encoder(tmp_path / "model")
        check_encoder(again, batch())
        assert again.space == encoder.space
        assert np.array_equal(again.encode(batch()), encoder.encode(batch()))


def places(n: int = 30) -> Places:
    rng = np.random.default_rng(2)
    points = LonLat(rng.uniform(-180, 180, n), rng.uniform(-85, 85, n))
    return Places.create([f"p{i}" for i in range(n)], points)


def earth() -> Raster:
    values = np.random.default_rng(3).integers(0, 255, (3, 90, 180), dtype=np.uint8)
    return Raster.from_array(values, bounds=(-180.0, -90.0, 180.0, 90.0))


def test_sources_of_arrays_and_coordinates() -> None:
    check_source(ArraySource(places(), {"image": np.zeros((30, 3, 4, 4), dtype=np.uint8)}))
    check_source(LonLatSource(places()))
    some = Places.create(["here", "nowhere"], geometry=np.array([places(1).geometries()[0], None], dtype=object))
    check_source(LonLatSource(some))


@pytest.mark.parametrize("edge", ["pad", "skip"])
def test_sources_of_chips(edge: str) -> None:
    check_source(ChipSource(places(), earth(), 500_000, 8, edge=edge))
    half = Raster.from_array(np.zeros((1, 20, 20), dtype=np.uint8), bounds=(0.0, 0.0, 90.0, 60.0))
    check_source(ChipSource(places(), half, 500_000, 8, edge=edge))


def test_sources_of_the_generated_country(tmp_path: Path) -> None:
    world = arcadia()
    check_source(world.chip_source())
    check_source(world.photo_source())
    from placevec.area import StudyArea
    from placevec.tasks.inputs import Input

    StudyArea("Arcadia", world.boundary, (5,)).save(tmp_path / "area")
    check_source(InputSource(Input(area=str(tmp_path / "area"))))


def test_partitions_of_the_earth() -> None:
    check_cells(H3Cells(4), level=4, coarse=(H3Cells(3), 3), fine=(H3Cells(5), 5))
    check_cells(GridCells(2.0), level=2.0, coarse=(GridCells(10.0), 10.0), fine=(GridCells(0.5), 0.5))
