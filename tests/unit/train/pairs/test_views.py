"""What the head of a tower reads is made once, kept while a run may go on, and trained on as the images would be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny_fisher
import tiny_pairs as tiny
from placevec.encoders.pair import PairModel, open_pair
from placevec.errors import UsageError
from placevec.nn.vision.fisher import channel
from placevec.train.data import Rows
from placevec.train.pairs import PairObjective, PairTraining, train_pairs, untrained_pair
from placevec.train.pairs import views as module
from placevec.train.pairs.fresh import fresh_towers
from placevec.train.pairs.pretrained import tuned_towers
from placevec.train.pairs.views import views_of

CPU = torch.device("cpu")
SHAPE = {
    "kind": "fisher",
    **{name: value for name, value in tiny_fisher.SMALL.items() if name not in ("dims", "pixels")},
}


@pytest.fixture(autouse=True)
def few_descriptors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(channel, "_SAMPLE", 3000)
    return


def settings(**changes: Any) -> PairTraining:
    return tiny.settings(**{"image": SHAPE, **changes})


def rows(asked: list[int] | None = None) -> Rows:
    def read(at: np.ndarray) -> np.ndarray:
        if asked is not None:
            asked.extend(at.tolist())
        return tiny.images()[at]

    return Rows(48, read, "a" * 64)


def towers(**changes: Any) -> Any:
    return fresh_towers(settings(**changes), tiny.images()[~tiny.held()], tiny.captions())


def states(pair: PairModel) -> list[torch.Tensor]:
    return [value for net in pair.modules() for value in net.state_dict().values()]


def same(one: PairModel, two: PairModel) -> bool:
    return all(torch.equal(a, b) for a, b in zip(states(one), states(two), strict=True))


def test_views_are_kept_and_found_again(tmp_path: Path) -> None:
    image, asked, told = towers().image, [], []
    made = views_of(image, rows(asked), tmp_path, lambda *said: told.append(said))
    assert made.shape == (48, 8, 19)
    assert made.dtype == torch.float16
    assert sorted(asked) == list(range(48))
    assert told == [(48, 48, {"described": 48.0})]
    torch.testing.assert_close(made.float(), image.fixed(torch.from_numpy(tiny.images())), atol=4e-3, rtol=2e-3)
    # Another head, the same views: nothing is read again.
    with torch.no_grad():
        image.net.net.mlp[1].weight.add_(1.0)
    assert torch.equal(views_of(image, rows(asked), tmp_path), made)
    assert len(asked) == 48
    (kept,) = tmp_path.glob("views-*.npy")
    # Of another tower, of other images, or damaged: made again, and one file is left.
    for change in ("tower", "images", "shape", "file"):
        given = rows(asked)
        if change == "tower":
            image.net.net.kinds[0].centre.add_(0.1)
        elif change == "images":
            given = Rows(48, given.read, "b" * 64)
        elif change == "shape":
            image = towers(image={**SHAPE, "window": 3}).image
        else:
            kept.write_bytes(kept.read_bytes()[:500])
        asked.clear()
        views_of(image, given, tmp_path)
        assert len(asked) == 48, change
        (kept,) = tmp_path.glob("views-*.npy")


def test_fewer_views_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    image = towers().image
    whole = views_of(image, rows())
    for kept, views in ((48 * 19 * 8, 8), (48 * 19 * 3 + 5, 3), (10, 1)):
        monkeypatch.setattr(module, "KEPT", kept)
        assert torch.equal(views_of(image, rows()), whole[:, :views])


def test_parts_and_their_report(monkeypatch: pytest.MonkeyPatch) -> None:
    image, told = towers().image, []
    whole = views_of(image, rows())
    monkeypatch.setattr(module, "PART", 20)
    again = views_of(image, rows(), None, lambda *said: told.append(said[:2]))
    assert told == [(20, 48), (40, 48), (48, 48)]
    torch.testing.assert_close(again.float(), whole.float(), atol=4e-3, rtol=2e-3)
    monkeypatch.setattr(module, "first_process", lambda: False)
    views_of(image, rows(), None, lambda *said: told.append(said[:2]))
    assert len(told) == 3


def test_only_the_first_process_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "first_process", lambda: False)
    views_of(towers().image, rows(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_step_reads_one_view_and_a_validation_the_mean_of_all() -> None:
    config = settings()
    made = PairObjective(rows(), tiny.captions(), tiny.held(), towers(), config)
    net = made.net.eval()
    every = made.image_views
    assert every is not None
    torch.manual_seed(3)
    batch = made.batch(np.arange(6))
    torch.manual_seed(3)
    assert torch.equal(made.batch(np.arange(6))["image/fixed"], batch["image/fixed"])
    assert "image" not in batch
    for row, fixed in zip(made.train_rows[:6], batch["image/fixed"], strict=True):
        assert (every[row].float() == fixed).all(dim=1).any()
    drawn = {tuple(made.batch(np.zeros(1, dtype=np.int64))["image/fixed"][0].tolist()) for _ in range(40)}
    assert len(drawn) > 4
    with torch.no_grad():
        whole = net.images({"image": torch.from_numpy(tiny.images()[made.val_rows])})
    torch.testing.assert_close(made._images(made.val_rows), whole, atol=2e-2, rtol=1e-2)
    assert made.validate(CPU) == made.validate(CPU)


def test_it_learns_and_the_pair_is_what_was_validated(tmp_path: Path) -> None:
    told: list[tuple[int, int, Mapping[str, float]]] = []
    config = settings(loop={"epochs": 12})
    made = train_pairs(
        tiny.images(), tiny.captions(), tiny.held(), config, tmp_path / "run", progress=lambda *said: told.append(said)
    )
    # First the images, then the steps: never back within one of them.
    described = [said for said in told if "described" in said[2]]
    steps = [said for said in told if "described" not in said[2]]
    assert told == described + steps
    assert [said[0] for said in steps] == list(range(1, len(steps) + 1))
    assert made.result.metrics["mean_recall_duplicate_aware"] > (
        made.result.initial["mean_recall_duplicate_aware"] + 10
    )
    # Kept only as long as the run may go on.
    assert not list((tmp_path / "run").glob("views-*"))
    made.pair.save(tmp_path / "pair")
    loaded = open_pair(tmp_path / "pair")
    assert np.array_equal(loaded.encode({"image": tiny.images()}), made.pair.encode({"image": tiny.images()}))
    # What is learned without captions is that of the beginning: training, its average and its best weights leave it.
    start = untrained_pair(tiny.images(), tiny.captions(), tiny.held(), config)
    for (name, one), two in zip(
        loaded.image.net.named_buffers(), dict(start.image.net.named_buffers()).values(), strict=True
    ):
        assert torch.equal(one, two), name


@pytest.mark.parametrize("stop_at", [1, 5])
def test_a_run_that_broke_off_goes_on_exactly_and_reads_no_image_again(tmp_path: Path, stop_at: int) -> None:
    config = settings(loop={"epochs": 4})
    whole = train_pairs(rows(), tiny.captions(), tiny.held(), config, tmp_path / "whole")

    class Broken(Exception):
        pass

    def progress(step: int, total: int, metrics: Mapping[str, float]) -> None:
        if step == stop_at and "described" not in metrics:
            raise Broken

    with pytest.raises(Broken):
        train_pairs(rows(), tiny.captions(), tiny.held(), config, tmp_path / "broken", progress=progress)
    assert len(list((tmp_path / "broken").glob("views-*.npy"))) == 1
    asked: list[int] = []
    torch.rand(3)
    resumed = train_pairs(rows(asked), tiny.captions(), tiny.held(), config, tmp_path / "broken")
    assert len(asked) == 32  # the training images, from which the network learns before: none for views
    assert same(resumed.pair, whole.pair)
    assert resumed.result.metrics == whole.result.metrics
    for name in ("train.csv", "validation.csv"):
        assert (tmp_path / "broken" / name).read_text() == (tmp_path / "whole" / name).read_text()


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # as the other process has it
    whole = tiny.run(tmp_path / "whole", image=SHAPE)
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    script = [sys.executable, tiny.__file__, str(tmp_path / "broken"), "0.3", json.dumps({"image": SHAPE})]
    with subprocess.Popen(script, env=environment) as process:
        start = time.monotonic()
        log = tmp_path / "broken" / "train.csv"
        while not log.exists() and process.poll() is None and time.monotonic() < start + 120:
            time.sleep(0.05)
        time.sleep(1.2)
        process.kill()
        assert process.wait() == -9
    assert same(tiny.run(tmp_path / "broken", image=SHAPE).pair, whole.pair)


def test_training_such_a_pair_further(tmp_path: Path) -> None:
    pair = untrained_pair(tiny.images(), tiny.captions(), tiny.held(), settings())
    config = settings(tune={"image": {"mode": "last", "blocks": 0}})
    made = PairObjective(rows(), tiny.captions(), tiny.held(), tuned_towers(pair, config), config)
    assert made.image_views is not None
    assert all(value.requires_grad for value in made.net.image.parameters())  # the head is what follows its blocks
    # Locked, its images are encoded once: a flip would not change what they are read by.
    config = settings(tune={"image": {"mode": "locked"}})
    assert not config.augment.still
    asked: list[int] = []
    made = PairObjective(rows(asked), tiny.captions(), tiny.held(), tuned_towers(pair, config), config)
    assert "image/vector" in made.batch(np.arange(4))
    made.validate(CPU)
    assert made.image_views is None
    assert len(asked) == 48
    with pytest.raises(UsageError, match="no blocks"):
        tuned_towers(pair, settings(tune={"image": {"mode": "lora"}}))


def test_no_warm_up_for_what_learns_without_training(tmp_path: Path) -> None:
    config = settings(warmup={"epochs": 2})
    with pytest.raises(UsageError, match="warmup.epochs = 2: a network of kind 'fisher'.*set it to 0"):
        train_pairs(tiny.images(), tiny.captions(), tiny.held(), config, tmp_path)
