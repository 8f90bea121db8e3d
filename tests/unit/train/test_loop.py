"""The training loop: exact resume, identity of a run folder, logs, early stopping, Ctrl-C."""

from __future__ import annotations

import csv
import importlib.util
import itertools
import os
import random
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
from torch import Tensor, nn

from placevec.errors import CheckpointError, DataError, UsageError
from placevec.train import checkpoint
from placevec.train.batches import Batches, step_seed
from placevec.train.config import LoopConfig
from placevec.train.logs import read_log
from placevec.train.loop import _only_user, fit, learning_rate, parameter_groups
from placevec.train.objectives import Objective

SCRIPT = Path(__file__).with_name("tiny_run.py")
_spec = importlib.util.spec_from_file_location("tiny_run", SCRIPT)
assert _spec is not None
assert _spec.loader is not None
tiny_run = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny_run)


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.linear = nn.Linear(4, 1)
        self.drop = nn.Dropout(0.3)

    def forward(self, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        noise = torch.randn(batch["x"].shape, generator=generator)
        return (self.linear(self.drop(batch["x"] + 0.1 * noise))[:, 0] - batch["y"]).square().mean()


class Fit:
    """Least squares on numbers made from a seed."""

    mode = "min"

    def __init__(
        self, *, figures: list[float] | None = None, monitor: str = "loss", bad_from: int | None = None
    ) -> None:
        rng = np.random.default_rng(0)
        self.x = torch.from_numpy(rng.normal(size=(40, 4)).astype(np.float32))
        self.y = self.x @ torch.tensor([1.0, -2.0, 0.5, 0.0])
        self.module: nn.Module = Line()
        self.count = 40
        self.monitor = monitor
        self.figures = figures
        self.seen: list[np.ndarray] = []
        self.bad_from = bad_from

    def batch(self, rows: np.ndarray) -> dict[str, Tensor]:
        self.seen.append(rows)
        bad = self.bad_from is not None and len(self.seen) > self.bad_from
        return {"x": self.x[rows], "y": self.y[rows] * (float("nan") if bad else 1.0)}

    def validate(self, device: torch.device) -> dict[str, float]:
        assert not self.module.training
        if self.figures is not None:
            return {"loss": self.figures.pop(0)}
        assert isinstance(self.module, Line)
        return {"loss": float((self.module.linear(self.x)[:, 0] - self.y).square().mean())}

    def identity(self) -> Mapping[str, Any]:
        return {"objective": "least squares"}


LOOP = LoopConfig(epochs=4, batch_size=8, learning_rate=0.05, checkpoint_every=3, log_every=1, accelerator="cpu")


def changed(**values: Any) -> LoopConfig:
    return LoopConfig(**{**LOOP.__dict__, **values})


def weights(objective: Fit) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in objective.module.state_dict().items()}


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns_and_a_finished_run_is_answered_again(tmp_path: Path) -> None:
    objective = Fit()
    result = fit(objective, LOOP, tmp_path)
    assert isinstance(objective, Objective)
    assert result.steps == 20
    assert result.stopped == "end"
    assert result.metrics["loss"] < result.initial["loss"] / 2
    again = Fit()
    assert fit(again, LOOP, tmp_path) == result
    assert again.seen == []
    assert same(weights(again), weights(objective))
    assert not again.module.training


@pytest.mark.parametrize("stop_at", [1, 3, 4, 5, 10, 19, 20])
def test_a_run_that_broke_off_goes_on_exactly(tmp_path: Path, stop_at: int) -> None:
    whole = Fit()
    expected = fit(whole, LOOP, tmp_path / "whole")

    class Broken(Exception):
        pass

    def progress(step: int, total: int, metrics: Mapping[str, float]) -> None:
        if step == stop_at:
            raise Broken

    with pytest.raises(Broken):
        fit(Fit(), LOOP, tmp_path / "broken", progress=progress)
    torch.rand(3)  # torch's own random state must not matter
    resumed = Fit()
    result = fit(resumed, LOOP, tmp_path / "broken")
    assert same(weights(resumed), weights(whole))
    assert result.metrics == expected.metrics
    for name in ("train.csv", "validation.csv"):
        assert (tmp_path / "broken" / name).read_text() == (tmp_path / "whole" / name).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image", "location"])
def test_a_run_that_is_killed_goes_on_exactly(tmp_path: Path, kind: str) -> None:
    whole = tiny_run.run(kind, tmp_path / "whole")
    broken = tmp_path / "broken"
    # Sums over other numbers of threads round differently.
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    chance = random.Random(5)
    killed = 0
    for _ in range(3):
        with subprocess.Popen([sys.executable, str(SCRIPT), kind, str(broken), "0.15"], env=environment) as process:
            start = time.monotonic()
            while not broken.exists() and process.poll() is None and time.monotonic() < start + 120:
                time.sleep(0.05)
            time.sleep(chance.uniform(0.3, 1.3))
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
    assert killed
    resumed = tiny_run.run(kind, broken)
    assert same(resumed.encoder.net.state_dict(), whole.encoder.net.state_dict())
    assert resumed.result.metrics == whole.result.metrics
    for name in ("train.csv", "validation.csv"):
        assert (broken / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert not list(broken.glob(".*part*"))


def test_the_best_weights_are_kept(tmp_path: Path) -> None:
    at_step: dict[int, dict[str, Tensor]] = {}
    objective = Fit(figures=[9.0, 5.0, 2.0, 3.0, 4.0])
    result = fit(objective, LOOP, tmp_path, progress=lambda step, total, m: at_step.update({step: weights(objective)}))
    assert result.best_step == 10
    assert result.metrics == {"loss": 2.0}
    assert result.initial == {"loss": 9.0}
    assert same(weights(objective), at_step[10])


def test_without_validation_the_last_weights_are_kept(tmp_path: Path) -> None:
    objective = Fit(monitor="")
    result = fit(objective, LOOP, tmp_path)
    assert (result.best_step, result.metrics) == (20, {})
    again = Fit(monitor="")
    fit(again, LOOP, tmp_path)
    assert same(weights(again), weights(objective))


def test_early_stopping(tmp_path: Path) -> None:
    objective = Fit(figures=[9.0, 5.0, 6.0, 7.0, 1.0])
    result = fit(objective, changed(patience=2), tmp_path)
    assert (result.stopped, result.steps, result.best_step) == ("early", 15, 5)
    assert fit(Fit(), changed(patience=2), tmp_path) == result


def test_validation_now_and_then_and_at_the_end(tmp_path: Path) -> None:
    fit(Fit(), changed(validate_every=3), tmp_path)
    assert [row["epoch"] for row in read_log(tmp_path / "validation.csv")] == [2.0, 3.0]


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    fit(Fit(), LOOP, tmp_path)
    with pytest.raises(CheckpointError, match="other settings or data.*--restart"):
        fit(Fit(), changed(learning_rate=0.01), tmp_path)
    fit(Fit(), changed(checkpoint_every=9, log_every=7), tmp_path)  # these do not touch the weights
    fresh = fit(Fit(), changed(learning_rate=0.01), tmp_path, restart=True)
    assert fresh.steps == 20
    assert [row["step"] for row in read_log(tmp_path / "train.csv")] == list(range(1, 21))


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with _only_user(tmp_path), pytest.raises(CheckpointError, match="another process is training"):
        fit(Fit(), LOOP, tmp_path)
    fit(Fit(), LOOP, tmp_path)


def test_ctrl_c_saves_first(tmp_path: Path) -> None:
    whole = Fit()
    fit(whole, LOOP, tmp_path / "whole")

    def press(step: int, total: int, metrics: Mapping[str, float]) -> None:
        if step == 7:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(Fit(), LOOP, tmp_path / "stopped", progress=press)
    assert signal.getsignal(signal.SIGINT) is before
    state = checkpoint.read_progress(tmp_path / "stopped")
    assert state is not None
    assert state.step in (7, 8)  # 7 is no multiple of 3 and no end of an epoch
    resumed = Fit()
    fit(resumed, LOOP, tmp_path / "stopped")
    assert same(weights(resumed), weights(whole))


def test_a_keyboard_interrupt_from_the_callback_saves_too(tmp_path: Path) -> None:
    def press(step: int, total: int, metrics: Mapping[str, float]) -> None:
        if step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(Fit(), LOOP, tmp_path, progress=press)
    state = checkpoint.read_progress(tmp_path)
    assert state is not None
    assert state.step == 7


def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the loss is nan at step 6: lower learning_rate"):
        fit(Fit(bad_from=6), LOOP, tmp_path)
    good = Fit()
    fit(good, LOOP, tmp_path)  # the checkpoint before it is sound


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "foreign", "flip"])
def test_a_damaged_checkpoint(tmp_path: Path, damage: str) -> None:
    fit(Fit(), changed(epochs=1), tmp_path)
    path = tmp_path / checkpoint.NAME
    data = path.read_bytes()
    if damage == "foreign":
        from safetensors.torch import save_file

        save_file({"a": torch.zeros(2)}, path)
    else:
        path.write_bytes({"cut": data[:-5], "empty": b"", "text": b"hello" * 9, "flip": b"\xff" * 8 + data[8:]}[damage])
    with pytest.raises(CheckpointError, match="is damaged or not a training state.*--restart"):
        fit(Fit(), changed(epochs=1), tmp_path)
    fit(Fit(), changed(epochs=1), tmp_path, restart=True)


def test_a_checkpoint_of_another_network(tmp_path: Path) -> None:
    fit(Fit(), changed(epochs=1), tmp_path)
    other = Fit()
    other.module.linear = nn.Linear(4, 2)
    with pytest.raises(CheckpointError, match=r"linear\.(bias|weight) is .*use another folder"):
        fit(other, changed(epochs=1), tmp_path)
    other.module.more = nn.Linear(1, 1)
    with pytest.raises(CheckpointError, match=r"belongs to another network \(it differs in 'more\.bias'\)"):
        fit(other, changed(epochs=1), tmp_path)


def test_no_pickle_is_written(tmp_path: Path) -> None:
    fit(Fit(), changed(tensorboard=True), tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".csv", ""}
    assert list((tmp_path / "tensorboard").iterdir())


def test_the_progress_callback(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    fit(Fit(), LOOP, tmp_path, progress=lambda step, total, metrics: calls.append((step, total)))
    assert calls == [(step, 20) for step in range(1, 21)]
    with (tmp_path / "train.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert set(rows[0]) == {"step", "epoch", "learning_rate", "loss", "gradient_norm"}


def test_bf16(tmp_path: Path) -> None:
    result = fit(Fit(), changed(precision="bf16-mixed"), tmp_path)
    assert result.metrics["loss"] < result.initial["loss"]


def test_the_learning_rate_rises_and_falls() -> None:
    config = changed(warmup=0.1, learning_rate=1.0, final_rate=0.1)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert all(later < sooner for sooner, later in itertools.pairwise(rates[10:]))
    assert rates[10] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1, abs=0.001)
    assert learning_rate(changed(warmup=0.0), 0, 1) == LOOP.learning_rate


def test_what_decays() -> None:
    groups = parameter_groups(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2)), 0.1)
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert [len(group["params"]) for group in groups] == [2, 4]


def test_the_gradient_is_clipped_after_it_is_there(tmp_path: Path) -> None:
    fit(Fit(), changed(clip_norm=1e-9, weight_decay=0.0, epochs=1), tmp_path)
    rows = read_log(tmp_path / "train.csv")
    assert all(row["gradient_norm"] > 1e-3 for row in rows)  # the norm before clipping is the logged one


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"learning_rate": 0.0}, {"warmup": 1.0}, {"precision": "16"}])
def test_settings_that_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        changed(**wrong)


def test_batches_cover_an_epoch_once_and_share_between_processes() -> None:
    alone, both = Batches(50, 16, seed=1), Batches(50, 16, seed=1, world=2)
    order = alone.order(0)
    assert alone.per_epoch == both.per_epoch == 3
    seen = np.concatenate([alone.rows(order, k) for k in range(3)])
    assert len(np.unique(seen)) == 48
    for k in range(3):
        parts = np.concatenate([both.rows(order, k, rank) for rank in range(2)])
        np.testing.assert_array_equal(parts, alone.rows(order, k))
    assert not np.array_equal(alone.order(1), order)
    np.testing.assert_array_equal(Batches(50, 16, seed=1).order(0), order)
    assert Batches(5, 100, seed=0).rows(Batches(5, 100, seed=0).order(0), 0).shape == (5,)
    with pytest.raises(UsageError, match="at least 2"):
        Batches(1, 4, seed=0)
    with pytest.raises(UsageError, match="batch_size"):
        Batches(9, 1, seed=0)


def test_seeds_of_steps_differ() -> None:
    seeds = {step_seed(seed, step, rank) for seed in range(3) for step in range(50) for rank in range(2)}
    assert len(seeds) == 300
