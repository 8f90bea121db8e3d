"""Methods on real encoders: a CLIP of transformers with random weights, a pair of our own found beside its table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evidence_fakes import painted
from placevec.encoders.base import unit_rows
from placevec.errors import UsageError
from placevec.table import EmbeddingTable, Places, write_table
from placevec.tasks.explain import explain
from placevec.tasks.explain_methods import Method, field_of

PIXELS, PATCH = 24, 8


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Any:
    transformers = pytest.importorskip("transformers")
    from placevec.encoders.hf import HfImageEncoder

    small = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    words = {"vocab_size": 50, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = transformers.CLIPConfig(
        text_config={**small, **words},
        vision_config={**small, "image_size": PIXELS, "patch_size": PATCH},
        projection_dim=12,
    )
    folder = tmp_path_factory.mktemp("clip")
    transformers.CLIPModel(config).save_pretrained(folder)
    square = {"height": PIXELS, "width": PIXELS}
    transformers.CLIPImageProcessor(size={"shortest_edge": PIXELS}, crop_size=square).save_pretrained(folder)
    return HfImageEncoder.open(str(folder))


def image(height: int = 48, width: int = 48) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (3, height, width), dtype=np.uint8)


def test_dense_evidence_of_a_clip_is_its_debiased_tokens(clip: Any) -> None:
    from placevec.encoders.hf_dense import encode_dense

    query = unit_rows(np.random.default_rng(1).standard_normal((2, 12)))
    field = field_of(clip, image(), Method(debias=0.3))
    found = encode_dense(clip, {"image": image()[None]})
    tokens = unit_rows(found.positions.reshape(-1, 12)) - 0.3 * unit_rows(found.whole)
    np.testing.assert_allclose(field.scores(query).reshape(2, -1), query @ tokens.T, atol=1e-5)
    np.testing.assert_allclose(field.whole, unit_rows(clip.encode({"image": image()[None]}))[0], atol=1e-4)
    assert field.shape == (3, 3)


def test_larger_images_are_read_by_windows_of_a_tile(clip: Any) -> None:
    assert field_of(clip, image(), Method(tile=24)).shape == (6, 6)
    assert field_of(clip, image(24, 96), Method()).shape == (3, 12)
    own, other = (field_of(clip, image(), Method(attention=kind)).vectors for kind in ("value", "self"))
    assert np.abs(own - other).max() > 1e-3


@pytest.mark.parametrize("method", [Method("crops"), Method("crops", tile=24), Method("grid", cells=3)])
def test_a_clip_as_a_black_box(clip: Any, method: Method) -> None:
    field = field_of(clip, image(), method)
    np.testing.assert_allclose(np.linalg.norm(field.vectors, axis=1), 1, atol=1e-5)
    if method.kind == "grid":
        expected = unit_rows(clip.encode({"image": image()[None, :, :16, 16:32]}))[0]
        np.testing.assert_allclose(field.vectors[1], expected, atol=1e-4)


def test_other_models_of_transformers_are_explained_by_crops(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from placevec.encoders.hf import HfImageEncoder

    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    transformers.Dinov2Model(config).save_pretrained(tmp_path)
    size = {"height": 28, "width": 28}
    transformers.BitImageProcessor(size={"shortest_edge": 28}, crop_size=size).save_pretrained(tmp_path)
    encoder = HfImageEncoder.open(str(tmp_path))
    with pytest.raises(UsageError, match="take the method crops"):
        field_of(encoder, image(), Method())
    assert field_of(encoder, image(), Method("crops")).vectors.shape[1] == 16


def test_the_pair_of_a_table_is_found_beside_it(tmp_path: Path) -> None:
    from placevec.encoders.image import ImageConfig, ImageEncoder
    from placevec.encoders.pair import PairModel
    from placevec.encoders.text import TextEncoder, TextEncoderConfig
    from placevec.nn.text import WordsConfig
    from placevec.nn.vision import SmallCNNConfig

    picture = painted(64, blue=(8, 8, 24))
    Image.fromarray(picture.transpose(1, 2, 0)).save(tmp_path / "p.png")
    shape = WordsConfig(width=8, heads=1, layers=0, dropout=0.0)
    words = TextEncoder.untrained(TextEncoderConfig(net=shape, dims=8), 0, shape.learn(["a blue lake in a wood"]))
    tower = ImageEncoder.untrained(ImageConfig(net=SmallCNNConfig(width=4, stages=2, dims=8, pixels=32)), 0)
    text = TextEncoder(words.config, words.net, replace(words.card, space=tower.space), vocabulary=words.vocabulary)
    PairModel.of(tower, text).save(tmp_path / "models" / "pair")
    vectors = tower.encode({"image": picture[None]})
    places = Places.create(["p"], asset=["p.png"])
    write_table(EmbeddingTable.of(places, vectors, tower.space), tmp_path / "t.parquet")
    found = explain(tmp_path / "t.parquet", id="p", text="a blue lake", method=Method(pool=0.0))
    query = text.encode({"text": np.array(["a blue lake"], dtype=object)})
    assert found.score == pytest.approx(float(vectors[0] @ query[0]), abs=1e-4)
    # Parts of the score add up to it, before calibration and after.
    assert found.heat.values.mean() == pytest.approx(found.heat.whole, abs=1e-3)
    assert any("no calibration" in note for note in found.notes)
    with pytest.raises(UsageError, match="no pair of image and text towers"):
        other = EmbeddingTable.of(places, vectors, tower.space.mint(8))
        write_table(other, tmp_path / "other.parquet")
        explain(tmp_path / "other.parquet", id="p", text="a blue lake")
