"""Images against captions: the loss against a slow form, what is a positive, and what is cached."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import tiny_pairs as tiny
from placevec.encoders.pair import PairModel
from placevec.errors import DataError, UsageError
from placevec.train.data import Rows
from placevec.train.objectives import Objective, Rated
from placevec.train.pairs import PairNet, PairObjective, PairTraining, train_pairs, untrained_pair
from placevec.train.pairs.fresh import fresh_towers
from placevec.train.pairs.pretrained import tuned_towers
from placevec.train.pairs.validation import retrieval_figures

CPU = torch.device("cpu")


def objective(model: PairModel | None = None, **changes: Any) -> PairObjective:
    config = tiny.settings(**changes)
    if model is None:
        towers = fresh_towers(config, tiny.images()[~tiny.held()], tiny.captions())
    else:
        towers = tuned_towers(model, config)
    return PairObjective(Rows.of(tiny.images()), tiny.captions(), tiny.held(), towers, config)


def test_it_is_an_objective() -> None:
    made = objective()
    assert isinstance(made, Objective)
    assert isinstance(made, Rated)
    assert (made.count, made.monitor, made.mode) == (32, "mean_recall", "max")
    assert made.rates() == {}


@pytest.mark.parametrize("positives", ["own", "equal"])
@pytest.mark.parametrize("count", [1, 2, 0])
def test_the_loss_against_a_slow_form(positives: str, count: int) -> None:
    made = objective(positives=positives, captions_per_image=count, augment=tiny.STILL)
    net = made.net.eval()
    rows = np.array([0, 8, 3, 1, 5, 6])  # training images, of which the first two are of one kind
    torch.manual_seed(1)
    batch = made.batch(rows)
    loss = net(batch, torch.Generator())
    # Each image stands once for each of its drawn captions.
    k = count or 2
    assert len(batch["tokens"]) == len(rows) * k
    at = made.train_rows[rows]
    image = net.images({"image": torch.from_numpy(tiny.images()[at])}).detach().double().numpy()
    text = net.texts({"tokens": batch["tokens"]}).detach().double().numpy()
    said = [{made.captions.keys[j].item() for j in made.captions.own[row]} for row in at]
    scale = float(net.temperature().detach())
    pairs = [(i, j) for i in range(len(rows)) for j in range(i * k, i * k + k)]

    def belong(i: int, j: int) -> bool:
        return i == j // k or (positives == "equal" and batch["caption"][j].item() in said[i])

    def cosine(i: int, j: int) -> float:
        return float(image[i] @ text[j] / np.linalg.norm(image[i]) / np.linalg.norm(text[j]))

    total = 0.0
    for i, _ in pairs:
        logits = {j: scale * cosine(i, j) for _, j in pairs}
        norm = np.log(sum(np.exp(v) for v in logits.values()))
        total -= np.mean([logits[j] - norm for j in logits if belong(i, j)]) / len(pairs) / 2
    for _, j in pairs:
        logits = [(i, scale * cosine(i, j)) for i, _ in pairs]
        norm = np.log(sum(np.exp(v) for _, v in logits))
        total -= np.mean([v - norm for i, v in logits if belong(i, j)]) / len(pairs) / 2
    assert float(loss.detach()) == pytest.approx(total, rel=1e-5)


def test_equal_captions_are_no_negatives() -> None:
    # Two images of one kind have the very same captions: as negatives they would cost a loss that cannot be learned.
    rows = np.array([0, 8])
    losses = {}
    for positives in ("own", "equal"):
        made = objective(positives=positives, augment=tiny.STILL)
        assert tiny.captions()[made.train_rows[0]] == tiny.captions()[made.train_rows[8]]
        torch.manual_seed(0)
        losses[positives] = made.net.eval()(made.batch(rows), torch.Generator())
    losses["own"].backward()
    assert float(losses["equal"].detach()) == pytest.approx(np.log(2), abs=1.0)
    made.net.zero_grad()
    with torch.no_grad():  # where all belong together, any vectors that agree are as good as can be
        vectors = torch.ones(2, 3)
        row, key = torch.arange(2), torch.zeros(2, dtype=torch.int64)
        best = made.net.loss(vectors, vectors, row, key, key[:, None])
    assert float(best) == pytest.approx(np.log(2), rel=1e-5)


def test_gradient_caching_gives_the_same_gradient() -> None:
    found = []
    for size in (0, 3):
        made = objective(micro_batch=size, augment=tiny.STILL)
        net = made.net.eval()  # without what is drawn for each part anew
        torch.manual_seed(4)
        net(made.batch(np.arange(10)), torch.Generator()).backward()
        found.append({name: parameter.grad for name, parameter in net.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-6, rtol=1e-4)


def test_a_batch_and_a_validation_say_the_same_each_time() -> None:
    made = objective()
    torch.manual_seed(7)
    one = made.batch(np.arange(6))
    torch.manual_seed(7)
    two = made.batch(np.arange(6))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert made.validate(CPU) == made.validate(CPU)
    torch.manual_seed(8)
    generator = torch.Generator().manual_seed(5)
    first = made.net(one, generator)
    torch.manual_seed(8)
    assert torch.equal(made.net(one, generator.manual_seed(5)), first)


def test_training_sees_augmented_images_and_validation_the_images_themselves() -> None:
    made = objective()
    net = made.net.eval()
    batch = made.batch(np.arange(6))
    with torch.no_grad():
        plain = net.images(batch)
        torch.testing.assert_close(net.images(batch), plain)
        seen = [net.images(batch, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(seen[0], seen[1])
    assert not torch.allclose(seen[0], seen[2], atol=1e-4)
    assert not torch.allclose(seen[0], plain, atol=1e-4)
    still = objective(augment=tiny.STILL).net.eval()
    assert still.config.augment.still
    with torch.no_grad():
        torch.testing.assert_close(still.images(batch, torch.Generator().manual_seed(1)), still.images(batch))


def test_figures_are_those_of_the_evaluation() -> None:
    made = objective()
    made.net.eval()
    figures = made.validate(CPU)
    assert made.held is not None
    rows, texts, pairing = made.held
    assert rows.tolist() == np.flatnonzero(tiny.held()).tolist()
    assert pairing.captions == 2 * len(rows)
    image = made.net.images({"image": torch.from_numpy(tiny.images()[rows])}).detach().numpy()
    text = made.net.texts({"tokens": made.tokens[texts]}).detach().numpy()
    again = retrieval_figures(image, text, pairing)
    assert {name: figures[name] for name in again} == pytest.approx(again)
    assert figures["mean_recall"] == pytest.approx(np.mean([figures[name] for name in figures if "_at_" in name]))
    assert figures["mean_recall_duplicate_aware"] >= figures["mean_recall"]
    assert 0 < figures["loss"] < 10


def test_what_is_locked_is_encoded_once() -> None:
    pair = untrained_pair(tiny.images(), tiny.captions(), tiny.held(), tiny.settings())
    asked: list[int] = []
    images = Rows(48, lambda rows: asked.append(len(rows)) or tiny.images()[rows], "key")
    config = tiny.settings(augment=tiny.STILL, tune={"image": {"mode": "locked"}})
    made = PairObjective(images, tiny.captions(), tiny.held(), tuned_towers(pair, config), config)
    assert made.net.train().training
    torch.manual_seed(0)
    batch = made.batch(np.arange(8))
    assert sum(asked) == 48
    assert made.net.training  # looking at it changes nothing
    assert "image/vector" in batch
    assert "image" not in batch
    plain = made.net.images({"image": torch.from_numpy(tiny.images()[made.train_rows[:8]])})
    torch.testing.assert_close(batch["image/vector"], plain)
    loss = made.net.train()(batch, torch.Generator())
    loss.backward()
    assert all(parameter.grad is None for parameter in made.net.image.parameters())
    assert any(parameter.grad is not None for parameter in made.net.text.parameters())
    made.validate(CPU)
    assert sum(asked) == 48
    # With augmentation an image is another one each time, and has to be encoded anew.
    config = tiny.settings(tune={"image": {"mode": "locked"}})
    assert "image" in PairObjective(images, tiny.captions(), tiny.held(), tuned_towers(pair, config), config).batch(
        np.arange(4)
    )


def test_locked_parts_are_in_eval_mode() -> None:
    pair = untrained_pair(tiny.images(), tiny.captions(), tiny.held(), tiny.settings())
    made = objective(pair, tune={"image": {"mode": "last", "blocks": 0}, "text": {"mode": "locked"}})
    net = made.net.train()
    assert not net.text.training
    blocks = net.image.blocks()
    assert not any(block.training for block in blocks)
    assert all(part.training for part in net.image.after())
    assert isinstance(net, PairNet)
    assert not net.eval().training


def test_what_is_refused(tmp_path: Any) -> None:
    with pytest.raises(DataError, match="48 images and the captions of 47"):
        train_pairs(tiny.images(), tiny.captions()[:-1], tiny.held(), tiny.settings(), tmp_path)
    for wrong, said in (
        ({"temperature": 0.0}, "temperature = 0.0"),
        ({"positives": "none"}, "positives"),
        ({"captions_per_image": -1}, "captions_per_image = -1"),
        ({"dims": 0}, "dims = 0"),
        ({"warmup": {"epochs": 1, "loss": "byol"}}, "byol"),
        ({"tune": {"image": {"mode": "half"}}}, "mode"),
        ({"tune": {"text": {"rank": 0}}}, "tune.rank = 0"),
        ({"image": {"kind": "swin"}}, "swin"),
        ({"epochs": 3}, "no setting 'epochs'"),
    ):
        with pytest.raises(UsageError, match=said):
            PairTraining.from_json({**PairTraining().to_json(), **wrong})


def test_settings_go_to_json_and_back() -> None:
    for config in (PairTraining(), tiny.settings()):
        assert PairTraining.from_json(config.to_json()) == config
    own = PairTraining.from_json({"dims": 7, "pixels": 24, "image": {"kind": "vit", "dims": 3}})
    assert (own.image.dims, own.image.pixels) == (7, 24)  # one pair has one number of dims
