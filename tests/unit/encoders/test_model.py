"""Model folders: round trips, and one clear error for each kind of damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from placevec.encoders.base import Encoder, ModelCard
from placevec.encoders.baselines import SinCos
from placevec.encoders.image import ImageConfig, ImageEncoder
from placevec.encoders.location import LocationConfig, LocationEncoder
from placevec.encoders.model import CARD, WEIGHTS, load_encoder, read_card, save_model
from placevec.encoders.precomputed import PrecomputedEncoder
from placevec.errors import CheckpointError, DataError, UsageError
from placevec.nn.position import Harmonics
from placevec.nn.siren import SirenConfig
from placevec.nn.vision import SmallCNNConfig
from placevec.provenance import Saw, SourceRef, Space, sha256_file

LOCATION = LocationConfig(Harmonics(8), SirenConfig(capacity=16), dims=5)
IMAGE = ImageConfig(SmallCNNConfig(width=4, stages=2, dims=5))


def lonlat(n: int = 30) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"lonlat": np.stack([rng.uniform(-180, 180, n), rng.uniform(-90, 90, n)], axis=1)}


def chips(n: int = 30) -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(0).integers(0, 255, (n, 3, 9, 9), dtype=np.uint8)}


def location() -> LocationEncoder:
    return LocationEncoder.untrained(LOCATION, seed=1)


def image() -> ImageEncoder:
    return ImageEncoder.untrained(IMAGE, seed=1, chips=chips()["image"])


def precomputed() -> PrecomputedEncoder:
    card = ModelCard("precomputed", Space.mint(3), inputs=("vector",), normalized=True)
    return PrecomputedEncoder(card, np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32))


CASES: list[tuple[Callable[[], Encoder], Callable[..., dict[str, np.ndarray]]]] = [
    (location, lonlat),
    (image, chips),
    (precomputed, lambda n=30: {"vector": np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)}),
    (SinCos, lonlat),
]


@pytest.mark.parametrize(("make", "data"), CASES)
def test_the_contract_of_an_encoder(make: Callable[[], Encoder], data: Callable[..., dict[str, np.ndarray]]) -> None:
    encoder = make()
    assert isinstance(encoder, Encoder)
    vectors = encoder.encode(data())
    assert vectors.dtype == np.float32
    assert vectors.shape == (30, encoder.dims)
    assert np.isfinite(vectors).all()
    if encoder.card.normalized:
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert encoder.encode(data(0)).shape == (0, encoder.dims)
    assert encoder.inputs == encoder.card.inputs == tuple(data())
    assert ModelCard.from_json(json.loads(encoder.card.text())) == encoder.card
    with pytest.raises(UsageError, match="reads"):
        encoder.encode({"other": np.zeros(2)})


@pytest.mark.parametrize(("make", "data"), CASES[:2])
def test_a_vector_does_not_depend_on_the_batch(make: Callable[[], Encoder], data: Callable[..., object]) -> None:
    encoder = make()
    ((key, rows),) = data(150).items()
    whole = encoder.encode({key: rows})
    for part in (slice(0, 1), slice(77, 78), slice(100, 150), slice(3, 140)):
        np.testing.assert_allclose(encoder.encode({key: rows[part]}), whole[part], atol=2e-6, rtol=0)
    np.testing.assert_array_equal(encoder.encode({key: rows[:90]}), whole[:90])


@pytest.mark.parametrize(("make", "data"), CASES[:3])
def test_saved_and_loaded(make: Callable[[], Encoder], data: Callable[..., object], tmp_path: Path) -> None:
    encoder = make()
    saved = encoder.save(tmp_path / "model")
    loaded = load_encoder(tmp_path / "model")
    assert type(loaded) is type(encoder)
    assert loaded.card == saved.card
    assert loaded.card.weights_sha256 == sha256_file(tmp_path / "model" / WEIGHTS)
    assert loaded.space == encoder.space
    np.testing.assert_array_equal(loaded.encode(data()), encoder.encode(data()))
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [CARD, WEIGHTS]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_untrained_encoders_are_a_function_of_the_seed_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = location().encode(lonlat())
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(6)
    np.testing.assert_array_equal(location().encode(lonlat()), first)
    assert not np.array_equal(LocationEncoder.untrained(LOCATION, seed=2).encode(lonlat()), first)
    assert location().space != location().space  # two untrained networks have nothing in common


def test_the_untrained_image_encoder_is_centred_and_takes_float() -> None:
    vectors = image().encode(chips())
    assert abs(vectors.mean(axis=0)).max() < 0.2
    as_float = {"image": chips()["image"].astype(np.float64)}
    np.testing.assert_array_equal(image().encode(as_float), vectors)
    with pytest.raises(DataError, match="3 bands"):
        image().encode({"image": np.zeros((2, 4, 8, 8), dtype=np.uint8)})


def damage_missing(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def damage_cut(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-7])


def renew(folder: Path) -> None:
    card = json.loads((folder / CARD).read_text())
    card["weights_sha256"] = sha256_file(folder / WEIGHTS)
    (folder / CARD).write_text(json.dumps(card))


def damage_cut_with_hash(folder: Path) -> None:
    damage_cut(folder)
    renew(folder)


def damage_pickle(folder: Path) -> None:
    torch.save({"a": torch.zeros(2)}, folder / WEIGHTS)
    renew(folder)


def damage_architecture(folder: Path) -> None:
    card = json.loads((folder / CARD).read_text())
    card["config"]["nn"]["capacity"] = 17
    (folder / CARD).write_text(json.dumps(card))


def damage_extra_weight(folder: Path) -> None:
    save_file({**load_file(folder / WEIGHTS), "nn.more": torch.zeros(1)}, folder / WEIGHTS)
    renew(folder)


def damage_lacking_weight(folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    state.pop("nn.last.bias")
    save_file(state, folder / WEIGHTS)
    renew(folder)


def edit(folder: Path, **changes: object) -> None:
    card = {**json.loads((folder / CARD).read_text()), **changes}
    (folder / CARD).write_text(json.dumps({k: v for k, v in card.items() if v is not ...}))


DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (damage_missing, "is missing"),
    (damage_cut, "sha256 differs"),
    (damage_cut_with_hash, "cannot be read"),
    (damage_pickle, "cannot be read"),
    (damage_architecture, "has"),
    (damage_extra_weight, "unknown weight 'nn.more'"),
    (damage_lacking_weight, "lacks 'nn.last.bias'"),
    (lambda f: (f / CARD).unlink(), "has no card.json"),
    (lambda f: (f / CARD).write_text("{"), "is damaged"),
    (lambda f: (f / CARD).write_text("[]"), "not a model card"),
    (lambda f: edit(f, colour="red"), "unknown key 'colour'"),
    (lambda f: edit(f, space=...), "lacks 'space'"),
    (lambda f: edit(f, space=3), "is damaged"),
    (lambda f: edit(f, kind="magic"), "no encoder is called 'magic'"),
    (lambda f: edit(f, card_version=99), "card version 99"),
    (lambda f: edit(f, config={"depth": 3}), "has no setting 'depth'"),
    (lambda f: edit(f, assets={"tokens.json": "00"}), "tokens.json is missing"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_a_damaged_model_folder(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    folder = tmp_path / "model"
    location().save(folder)
    damage(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_encoder(folder)
    assert "\n" not in str(caught.value)


def test_a_card_keeps_everything(tmp_path: Path) -> None:
    card = ModelCard(
        "precomputed",
        Space.mint(3, note="n"),
        tower="image",
        config={"a": [1, 2]},
        inputs=("vector",),
        licence="CC0-1.0",
        recipe={"b": 1.5},
        seed=4,
        saw=(Saw("t", "c", {"k": 5}, (0, 1)),),
        parents=("p",),
        scores={"loss": 0.5},
        sources=(SourceRef("x", "y"),),
    )
    written = save_model(tmp_path / "m", {}, card, {"classes.json": b"[]"})
    assert read_card(tmp_path / "m") == written
    assert set(written.assets) == {"classes.json"}
    assert written.weights_sha256 == ""
    assert written.saw == card.saw
    with pytest.raises(UsageError, match="cannot be called"):
        save_model(tmp_path / "n", {}, card, {"../evil": b""})
    assert not (tmp_path / "n").exists()


def test_a_model_is_replaced_whole(tmp_path: Path) -> None:
    save_model(tmp_path / "m", {"weight": torch.zeros(3, 3)}, precomputed().card, {"old.txt": b"x"})
    precomputed().save(tmp_path / "m")
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [CARD, WEIGHTS]


def test_weights_can_be_read_by_those_who_can_read_the_card(tmp_path: Path) -> None:
    location().save(tmp_path / "model")
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "model").iterdir()}
    assert len(modes) > 1
    assert len(set(modes.values())) == 1, modes


def test_sincos() -> None:
    got = SinCos().encode({"lonlat": np.array([[90.0, 0.0], [0.0, -90.0]])})
    np.testing.assert_allclose(got, [[1, 0, 0, 1], [0, 1, -1, 0]], atol=1e-7)


def test_vectors_of_another_width_are_refused() -> None:
    with pytest.raises(DataError, match=r"reads \(n, 4\)"):
        precomputed().encode({"vector": np.zeros((2, 5))})
    given = PrecomputedEncoder.of(Space.mint(2), tower="image")
    np.testing.assert_array_equal(given.encode({"vector": np.eye(2)}), np.eye(2))
