"""Whole runs: what they learn, that they go on exactly, what the card says, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import tiny_landscape as tiny
from placevec.errors import CheckpointError, UsageError
from placevec.train import checkpoint
from placevec.train.landscape import LandscapeObjective, TrainedLandscape, train_landscape
from placevec.train.logs import read_log


def weights(made: TrainedLandscape) -> dict[str, Tensor]:
    return made.encoder.net.state_dict()


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainedLandscape]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, tiny.run(folder)


@pytest.mark.parametrize("loss", ["infonce", "triplet"])
def test_it_learns_and_the_closed_form_knows_much_before_the_first_step(tmp_path: Path, loss: str) -> None:
    source = tiny.source(500)
    settings: dict[str, Any] = {"loss": loss, "dropout": 0.0, "hide": 0.0, "contrast": 1.0, "describe": 0.0}
    learned = tiny.run(tmp_path / "a", source, start="random", **settings, loop={"epochs": 6, "learning_rate": 1e-2})
    # Of so few pairs a reciprocal rank is a matter of luck: how many are found among the first ten is less so.
    at_start, at_end = learned.result.initial, learned.result.metrics
    assert at_end["recall_at_10"] > 1.25 * at_start["recall_at_10"]
    assert at_end["mrr"] > at_start["mrr"]
    assert at_end["loss"] < at_start["loss"]
    assert learned.result.best_step > 0
    started = tiny.run(tmp_path / "b", source, **settings, loop={"epochs": 1}).result.initial
    assert started["recall_at_10"] > 1.25 * at_start["recall_at_10"]


@pytest.mark.parametrize("part", ["describe", "infill"])
def test_each_of_the_other_parts_is_learned_alone(tmp_path: Path, part: str) -> None:
    alone = {"contrast": 0.0, "infill": 0.0, "describe": 0.0, part: 1.0}
    loop = {"epochs": 6, "learning_rate": 1e-2}
    made = tiny.run(tmp_path, tiny.source(300), start="random", dropout=0.0, hide=1.0, **alone, loop=loop).result
    assert made.metrics["loss"] < 0.9 * made.initial["loss"]
    assert made.best_step > 0


def test_the_untrained_network_is_the_one_before_the_first_step(
    whole: tuple[Path, TrainedLandscape], tmp_path: Path
) -> None:
    made = whole[1]
    assert made.untrained.space.id != made.encoder.space.id
    assert made.untrained.config == made.encoder.config
    again = tiny.run(tmp_path, start="random", loop={"epochs": 1})
    assert same(again.untrained.net.state_dict(), made.untrained.net.state_dict())
    batch = tiny.source(20).read(np.arange(40)).data
    lengths = np.linalg.norm(made.untrained.encode(batch), axis=1)
    assert 0 < lengths.min() < lengths.max() < np.inf
    assert not made.untrained.card.normalized


def test_the_card_says_what_it_is(whole: tuple[Path, TrainedLandscape]) -> None:
    _, made = whole
    card = made.encoder.card
    assert (card.kind, card.space.origin, card.inputs, card.seed) == ("landscape", "trained", tiny.NAMES, 7)
    assert card.recipe["classes"] == {"cover": tiny.TABLE.to_json()}
    assert card.recipe["ground_m"] == 800.0
    assert card.recipe["hide"] == 0.5
    assert dict(card.scores) == made.result.metrics
    json.dumps(card.to_json())
    made.encoder.check_patches(tiny.source(3))


def test_a_finished_run_is_answered_again_with_its_space(whole: tuple[Path, TrainedLandscape]) -> None:
    folder, made = whole
    again = tiny.run(folder, progress=lambda *_: pytest.fail("nothing is left to do"))
    assert same(weights(again), weights(made))
    assert again.encoder.space == made.encoder.space
    assert again.result == made.result


@pytest.mark.parametrize("stop_at", [1, 2, 5])
def test_a_run_that_broke_off_goes_on_exactly(
    whole: tuple[Path, TrainedLandscape], tmp_path: Path, stop_at: int
) -> None:
    class Broken(Exception):
        pass

    def progress(step: int, total: int, metrics: Mapping[str, float]) -> None:
        if step == stop_at:
            raise Broken

    with pytest.raises(Broken):
        tiny.run(tmp_path, progress=progress)
    torch.rand(5)
    resumed = tiny.run(tmp_path)
    assert same(weights(resumed), weights(whole[1]))
    assert resumed.result.metrics == whole[1].result.metrics
    for name in ("train.csv", "validation.csv"):
        assert (tmp_path / name).read_text() == (whole[0] / name).read_text()


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_exactly(whole: tuple[Path, TrainedLandscape], tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    environment["PYTHONPATH"] = str(Path(tiny.__file__).parent)
    with subprocess.Popen([sys.executable, tiny.__file__, str(broken), "0.3"], env=environment) as process:
        start = time.monotonic()
        while not (broken / "train.csv").exists() and process.poll() is None and time.monotonic() < start + 120:
            time.sleep(0.05)
        time.sleep(0.8)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert same(weights(tiny.run(broken)), weights(whole[1]))
    assert not list(broken.glob(".*part*"))


def test_other_patches_at_the_same_rows_are_another_run(whole: tuple[Path, TrainedLandscape], tmp_path: Path) -> None:
    tiny.run(tmp_path, loop={"epochs": 1})
    with pytest.raises(CheckpointError, match="other settings or data"):
        tiny.run(tmp_path, patches=tiny.source(120, seed=2), loop={"epochs": 1})
    with pytest.raises(CheckpointError, match="other settings or data"):
        tiny.run(tmp_path, loop={"epochs": 1}, margin=0.3)
    tiny.run(tmp_path, loop={"epochs": 1, "log_every": 3})


def test_how_often_it_is_validated_changes_no_weight(tmp_path: Path) -> None:
    """In the original, validation in training mode moved the running averages."""
    for name, every in (("each", 1), ("last", 3)):
        tiny.run(tmp_path / name, loop={"epochs": 3, "validate_every": every})
    each, last = (load_file(tmp_path / name / checkpoint.NAME) for name in ("each", "last"))
    trained = [name for name in each if not name.startswith("best/")]
    assert any("running_mean" in name for name in trained)
    for name in trained:
        assert torch.equal(each[name], last[name]), name
    assert len(read_log(tmp_path / "each" / "validation.csv")) == 3


def test_it_stops_when_validation_gains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = iter([0.9, 0.8, 0.5, 0.6, 0.7, 0.1, 0.1, 0.1, 0.1])
    monkeypatch.setattr(LandscapeObjective, "validate", lambda self, device: {"loss": next(figures)})
    made = tiny.run(tmp_path, loop={"epochs": 8, "patience": 2})
    per_epoch = made.result.steps // 4
    assert (made.result.stopped, made.result.best_step) == ("early", 2 * per_epoch)
    assert made.result.metrics == {"loss": 0.5}


def test_it_goes_on_while_validation_gains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = iter(1 - np.arange(30) / 30)
    monkeypatch.setattr(LandscapeObjective, "validate", lambda self, device: {"loss": float(next(figures))})
    assert tiny.run(tmp_path, loop={"epochs": 8, "patience": 1}).result.stopped == "end"


def test_the_gradient_is_clipped(tmp_path: Path) -> None:
    """Of a gradient that is shortened to nothing AdamW makes nothing; in the original nothing was ever shortened."""
    moved = {}
    for clip in (1e-15, 0.0):
        loop = {"epochs": 1, "clip_norm": clip, "weight_decay": 0.0, "ema": 0.0}
        made = tiny.run(tmp_path / str(clip), held=False, start="random", loop=loop)
        before = made.untrained.net.linear.weight.detach()
        moved[clip] = float((made.encoder.net.linear.weight.detach() - before).abs().max())
    assert moved[1e-15] < 1e-6 < moved[0.0]
    # The norm before clipping is what the log tells.
    assert all(row["gradient_norm"] > 1e-4 for row in read_log(tmp_path / "1e-15" / "train.csv"))


def test_every_block_learns(tmp_path: Path) -> None:
    made = tiny.run(tmp_path, held=False, depth=2, widths=[4, 6, 6], start="random", loop={"epochs": 2, "ema": 0.0})
    before, after = made.untrained.net.state_dict(), made.encoder.net.state_dict()
    kernels = [name for name in after if name.endswith(("first.weight", "second.weight"))]
    assert len(kernels) == 2 * 2 * 3
    for name in kernels:
        assert not torch.equal(before[name], after[name]), name


def test_only_the_layers_asked_for_are_read(tmp_path: Path) -> None:
    made = tiny.run(tmp_path, layers=["elevation"], loop={"epochs": 1})
    assert made.encoder.inputs == ("elevation",)
    assert made.encoder.card.recipe["classes"] == {}
    assert made.encoder.flags(tiny.source(3).read(np.arange(6)).data) == {}


def test_scales_come_from_training_pairs_alone(tmp_path: Path) -> None:
    source = tiny.source()
    val, _ = tiny.masks(source)
    heights = source.read(np.arange(240)).data["elevation"].copy()
    heights[np.repeat(val, 2)] += 1e5
    from placevec.sources.base import ArraySource

    class Shifted(tiny.fakes.Patches):
        layers = tiny.LAYERS

    shifted = Shifted(source.places(), {"cover": source.read(np.arange(240)).data["cover"], "elevation": heights})
    assert isinstance(shifted, ArraySource)
    made = [tiny.run(tmp_path / name, patches=p, loop={"epochs": 1}) for name, p in (("a", source), ("b", shifted))]
    assert made[0].encoder.config == made[1].encoder.config


def test_a_layer_without_any_value(tmp_path: Path) -> None:
    source = tiny.source()
    data = dict(source.read(np.arange(240)).data)
    data["elevation"] = np.full_like(data["elevation"], np.nan)
    empty = tiny.fakes.Patches(source.places(), {name: data[name] for name in tiny.NAMES})
    empty.layers = tiny.LAYERS
    made = tiny.run(tmp_path, patches=empty, loop={"epochs": 1})
    assert np.isfinite(made.encoder.encode(data)).all()
    assert all(value.isfinite().all() for value in weights(made).values() if value.is_floating_point())


def test_bf16(tmp_path: Path) -> None:
    made = tiny.run(tmp_path, loop={"epochs": 1, "precision": "bf16-mixed"})
    assert all(value.dtype == torch.float32 for value in weights(made).values() if value.is_floating_point())
    assert np.isfinite(made.result.metrics["loss"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"layers": ["cover", "slope"]}, "no layer 'slope'; they have cover, elevation"),
        ({"stem": 8}, "halve a patch of 8 pixels to nothing"),
    ],
)
def test_settings_that_do_not_fit_the_patches(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        tiny.run(tmp_path, **settings)


def test_too_few_pairs(tmp_path: Path) -> None:
    source = tiny.source(6)
    keep, val = np.ones(6, dtype=bool), np.arange(6) < 5
    with pytest.raises(UsageError, match="1 pairs are left for training: hold out fewer"):
        train_landscape(source, val, keep, tiny.training(), tmp_path)


def test_rows_that_are_no_pairs(tmp_path: Path) -> None:
    source = tiny.fakes.cut(np.arange(10), np.arange(10), [f"p{i}" for i in range(10)], None)
    source.layers = tiny.LAYERS
    with pytest.raises(UsageError, match="hold no pairs.*--samples N"):
        train_landscape(source, np.zeros(0, bool), np.zeros(0, bool), tiny.training(), tmp_path)


@pytest.mark.slow
def test_several_processes(tmp_path: Path) -> None:
    """Two processes learn what one learns, and go on where each hides at other steps.

    What is drawn at random differs between processes, and so do statistics of a batch normalisation: the first run
    does without. Turns of patches differ too, but the statistics of their layout do not see them. In the second each
    draws whether to hide: where only one had a gradient of the guess, the other would wait for ever.
    """
    ddp = {"epochs": 2, "devices": 2, "strategy": "ddp"}
    still = {"dropout": 0.0, "hide": 0.0, "widths": []}
    runs = {"still": {**still, "loop": ddp}, "hiding": {"infill": 1.0, "hide": 0.5, "loop": ddp}}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", tiny.__file__]
    done = subprocess.run(
        [*launch, str(tmp_path), "0", json.dumps(runs)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(tiny.__file__).parent)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    tiny.run(tmp_path / "one", **still, loop={"epochs": 2})
    found, expected = (load_file(tmp_path / name / checkpoint.NAME) for name in ("still", "one"))
    assert set(found) == set(expected)
    for name, value in expected.items():
        if name.startswith(("best/", "average/")):
            torch.testing.assert_close(found[name], value, atol=1e-4, rtol=1e-3)
    assert len(read_log(tmp_path / "hiding" / "validation.csv")) == 2
