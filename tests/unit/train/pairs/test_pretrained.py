"""Fine-tuning models of transformers: a tiny CLIP and a tiny SigLIP with random weights, in the real format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny_pairs as tiny
import tiny_transformers
from placevec.encoders.pair import PairModel, open_pair
from placevec.errors import UsageError
from placevec.nn import lora
from placevec.train.pairs import train_pairs
from placevec.train.pairs.pretrained import HfImage, HfText, image_side, tuned_towers

transformers = pytest.importorskip("transformers")

SIZE = tiny_transformers.SIZE
LOOP = {"epochs": 3, "learning_rate": 2e-3, "ema": 0.0}
CHANGES: Mapping[str, Any] = {"augment": tiny.STILL, "captions_per_image": 0, "loop": LOOP}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_transformers.write_clip(tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_transformers.write_siglip(tmp_path_factory.mktemp("models") / "siglip")


def tuned(folder: Path, model: Path, progress: Any = None, **changes: Any) -> Any:
    config = tiny.settings(**{**CHANGES, **changes})
    return train_pairs(
        tiny.images(size=SIZE), tiny.captions(), tiny.held(), config, folder, model=start(model), progress=progress
    )


def start(model: Path) -> PairModel:
    return open_pair(f"hf:{model}")


def weights(pair: PairModel) -> dict[str, torch.Tensor]:
    (model,) = pair.modules()
    return {name: value.clone() for name, value in model.state_dict().items()}


def moved(pair: PairModel, model: Path) -> set[str]:
    """The names of the weights that are not bit by bit those of the model it began with."""
    before, after = weights(start(model)), weights(pair)
    assert set(before) == set(after)
    return {name for name in after if not torch.equal(after[name], before[name])}


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_the_towers_are_those_of_the_encoders(family: str, request: pytest.FixtureRequest) -> None:
    pair = start(request.getfixturevalue(family))
    towers = tuned_towers(pair, tiny.settings())
    assert isinstance(towers.image, HfImage)
    assert isinstance(towers.text, HfText)
    assert image_side(pair) == SIZE
    chips = tiny.images(6, SIZE)
    pixels = towers.image.normalise(torch.from_numpy(chips))
    prepared = pair.image.prepare(chips)["pixel_values"]
    torch.testing.assert_close(pixels, prepared, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        image, text = towers.image.project(pixels), towers.text(towers.tokens(tiny_transformers.CAPTIONS))
    np.testing.assert_allclose(image.numpy(), pair.image.encode({"image": chips}), atol=1e-5)
    texts = np.array(tiny_transformers.CAPTIONS, dtype=object)
    np.testing.assert_allclose(text.numpy(), pair.text.encode({"text": texts}), atol=1e-5)
    # Images of another size are brought to that of the model.
    assert towers.image.normalise(torch.from_numpy(tiny.images(2, 40))).shape == (2, 3, SIZE, SIZE)
    assert len(towers.image.blocks()) == len(towers.text.blocks()) == 2
    assert towers.temperature == pytest.approx(min(1.0, max(0.01, 1.0 / (pair.logit_scale or 1.0))))


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_fine_tuning_learns_and_transformers_opens_the_result(
    family: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = request.getfixturevalue(family)
    made = tuned(tmp_path / "run", folder, loop={**LOOP, "epochs": 8, "learning_rate": 5e-3})
    assert made.result.metrics["loss"] < made.result.initial["loss"] - 0.1
    better = "mean_recall_duplicate_aware"
    assert made.result.metrics[better] > made.result.initial[better]
    assert made.pair.space.origin == "trained"
    saved = made.pair.save(tmp_path / "pair")
    kind = {"clip": transformers.CLIPModel, "siglip": transformers.SiglipModel}[family]
    opened, info = kind.from_pretrained(tmp_path / "pair" / "transformers", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    state = weights(made.pair)
    assert all(torch.equal(value, state[name]) for name, value in opened.state_dict().items())
    assert float(opened.logit_scale.detach().exp()) == pytest.approx(made.pair.logit_scale, rel=1e-4)
    loaded = open_pair(tmp_path / "pair")
    assert loaded.card == saved.card
    assert loaded.logit_scale == made.pair.logit_scale
    chips = tiny.images(4, SIZE)
    np.testing.assert_array_equal(loaded.encode({"image": chips}), made.pair.encode({"image": chips}))
    assert loaded.space == loaded.text.space == made.pair.space
    assert loaded.space.id != start(folder).space.id


def test_locked_weights_stay_as_they_are_bit_by_bit(clip: Path, tmp_path: Path) -> None:
    made = tuned(tmp_path, clip, tune={"image": {"mode": "locked"}})
    found = moved(made.pair, clip)
    assert found
    assert all(name.startswith("text_") or name == "logit_scale" for name in found)


def test_the_last_blocks_and_what_follows_them(clip: Path, tmp_path: Path) -> None:
    one = {"mode": "last", "blocks": 1}
    found = moved(tuned(tmp_path, clip, tune={"image": one, "text": {**one, "blocks": 0}}).pair, clip)
    starts = (
        "vision_model.encoder.layers.1.",
        "vision_model.post_layernorm.",
        "visual_projection.",
        "text_model.final_layer_norm.",
        "text_projection.",
        "logit_scale",
    )
    assert all(name.startswith(starts) for name in found)
    assert all(any(name.startswith(start) for name in found) for start in starts)


def test_low_rank_adapters_are_folded_in(clip: Path, tmp_path: Path) -> None:
    tune = {"image": {"mode": "lora", "rank": 2, "alpha": 4.0}, "text": {"mode": "lora", "rank": 2}}
    made = tuned(tmp_path, clip, tune=tune)
    found = moved(made.pair, clip)
    assert found - {"logit_scale"} == {
        name
        for name in weights(made.pair)
        if ".layers." in name and name.endswith(tuple(f"{layer}.weight" for layer in lora.CLIP_LAYERS))
    }
    # What an adapter adds has its rank.
    name = "vision_model.encoder.layers.0.mlp.fc1.weight"
    added = weights(made.pair)[name] - weights(start(clip))[name]
    assert np.linalg.matrix_rank(added.double().numpy(), tol=1e-6) == 2
    assert not lora.adapters(made.pair.modules()[0])
    assert made.result.metrics["loss"] < made.result.initial["loss"]


@pytest.mark.parametrize("tune", [{}, {"image": {"mode": "locked"}, "text": {"mode": "lora"}}])
def test_a_run_that_broke_off_goes_on_exactly(clip: Path, tmp_path: Path, tune: dict[str, Any]) -> None:
    changes: dict[str, Any] = {"tune": tune, "augment": {"min_scale": 0.7}, "loop": {**LOOP, "ema": 0.5}}
    whole = tuned(tmp_path / "whole", clip, **changes)

    class Broken(Exception):
        pass

    def progress(step: int, total: int, metrics: Mapping[str, float]) -> None:
        if step == 3:
            raise Broken

    with pytest.raises(Broken):
        tuned(tmp_path / "broken", clip, progress=progress, **changes)
    resumed = tuned(tmp_path / "broken", clip, **changes)
    a, b = weights(whole.pair), weights(resumed.pair)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert whole.pair.space == resumed.pair.space
    again = tuned(tmp_path / "whole", clip, **changes)  # answered from its checkpoint
    assert all(torch.equal(a[name], value) for name, value in weights(again.pair).items())


def test_towers_learn_at_their_own_rates(clip: Path, tmp_path: Path) -> None:
    loop = {**LOOP, "epochs": 1, "batch_size": 32, "warmup": 0.0, "weight_decay": 0.0, "clip_norm": 0.0}
    made = tuned(tmp_path, clip, tune={"image": {"rate": 0.01}, "text": {"rate": 1.0}}, loop=loop)
    before, after = weights(start(clip)), weights(made.pair)
    steps = {name: float((after[name] - before[name]).abs().max()) for name in after}
    # One step of Adam moves a weight by the learning rate.
    assert steps["visual_projection.weight"] == pytest.approx(2e-5, rel=0.05)
    assert steps["text_projection.weight"] == pytest.approx(2e-3, rel=0.05)


def test_a_fine_tuned_pair_is_trained_further(clip: Path, tmp_path: Path) -> None:
    tuned(tmp_path / "run", clip).pair.save(tmp_path / "pair")
    model = open_pair(tmp_path / "pair")
    config = tiny.settings(**CHANGES)
    images = tiny.images(size=SIZE)
    made = train_pairs(images, tiny.captions(), tiny.held(), config, tmp_path / "more", model=model)
    made.pair.save(tmp_path / "second")
    assert open_pair(tmp_path / "second").space == made.pair.space


def test_models_that_are_not_known(tmp_path: Path) -> None:
    folder = tiny_transformers.write_naflex(tmp_path / "naflex")
    with pytest.raises(UsageError, match="siglip2: fine-tuning knows clip and siglip"):
        tuned(tmp_path / "run", folder)
