"""Training own towers: they learn, resume exactly, are saved, and begin with a warm-up where that is asked for."""

from __future__ import annotations

import json
import os
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

import tiny_pairs as tiny
from placevec.encoders.pair import PairModel, open_pair
from placevec.errors import CheckpointError, UsageError
from placevec.provenance import Saw
from placevec.testing import check_encoder
from placevec.train.logs import read_log
from placevec.train.pairs import train_pairs, untrained_pair

HASHED = {"kind": "hashed", "buckets": 64, "width": 12, "capacity": 16}
CNN = {"kind": "small-cnn", "width": 4, "stages": 2}


def states(pair: PairModel) -> dict[str, torch.Tensor]:
    found = {}
    for number, net in enumerate(pair.modules()):
        found |= {f"{number}/{name}": value.clone() for name, value in net.state_dict().items()}
    return found


def same(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("shape", [{}, {"image": CNN, "text": HASHED}])
def test_it_learns_and_is_saved(tmp_path: Path, shape: dict[str, Any]) -> None:
    config = tiny.settings(**shape, captions_per_image=0, loop={"epochs": 12})
    arguments = (tiny.images(), tiny.captions(), tiny.held(), config)
    made = train_pairs(*arguments, tmp_path / "run", saw=(Saw("set", "captions"),))
    figures = made.result.metrics
    assert figures["mean_recall_duplicate_aware"] > made.result.initial["mean_recall_duplicate_aware"] + 10
    assert figures["loss"] < made.result.initial["loss"]
    saved = made.pair.save(tmp_path / "pair")
    loaded = open_pair(tmp_path / "pair")
    check_encoder(loaded, {"image": tiny.images(8)})
    texts = np.array([own[0] for own in tiny.captions()], dtype=object)
    np.testing.assert_array_equal(loaded.text.encode({"text": texts}), made.pair.text.encode({"text": texts}))
    assert loaded.card == saved.card
    assert loaded.space.origin == "trained"
    assert loaded.space.id == made.pair.text.space.id
    assert loaded.card.saw == loaded.text.card.saw == (Saw("set", "captions"),)
    assert loaded.card.scores == figures
    assert loaded.logit_scale is not None
    assert 1 <= loaded.logit_scale <= 100
    # The vectors that are saved are those that were validated.
    images = loaded.encode({"image": tiny.images()[tiny.held()]})
    assert images.shape == (16, 12)
    # The same call is answered from the checkpoint, in the same Space.
    assert train_pairs(*arguments, tmp_path / "run").pair.space == loaded.space


@pytest.mark.parametrize("stop_at", [1, 3, 8])
def test_a_run_that_broke_off_goes_on_exactly(tmp_path: Path, stop_at: int) -> None:
    whole = tiny.run(tmp_path / "whole", loop={"epochs": 4})

    class Broken(Exception):
        pass

    def progress(step: int, total: int, metrics: Mapping[str, float]) -> None:
        if step == stop_at:
            raise Broken

    with pytest.raises(Broken):
        tiny.run(tmp_path / "broken", progress=progress, loop={"epochs": 4})
    torch.rand(3)
    resumed = tiny.run(tmp_path / "broken", loop={"epochs": 4})
    assert same(states(resumed.pair), states(whole.pair))
    assert resumed.pair.space == whole.pair.space
    assert resumed.result.metrics == whole.result.metrics
    for name in ("train.csv", "validation.csv"):
        assert (tmp_path / "broken" / name).read_text() == (tmp_path / "whole" / name).read_text()


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_exactly(tmp_path: Path) -> None:
    whole = tiny.run(tmp_path / "whole")
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    script = [sys.executable, tiny.__file__, str(tmp_path / "broken"), "0.3"]
    with subprocess.Popen(script, env=environment) as process:
        start = time.monotonic()
        log = tmp_path / "broken" / "train.csv"
        while not log.exists() and process.poll() is None and time.monotonic() < start + 120:
            time.sleep(0.05)
        time.sleep(0.7)
        process.kill()
        assert process.wait() == -9
    resumed = tiny.run(tmp_path / "broken")
    assert same(states(resumed.pair), states(whole.pair))
    assert log.read_text() == (tmp_path / "whole" / "train.csv").read_text()


def test_a_validation_image_is_never_trained_on(tmp_path: Path) -> None:
    changed = tiny.images()
    changed[tiny.held()] = 255 - changed[tiny.held()]
    texts = [["other words"] if out else own for own, out in zip(tiny.captions(), tiny.held(), strict=True)]
    config = tiny.settings(loop={"epochs": 2})
    one = train_pairs(tiny.images(), tiny.captions(), tiny.held(), config, tmp_path / "a")
    two = train_pairs(changed, texts, tiny.held(), config, tmp_path / "b")
    assert (tmp_path / "a" / "train.csv").read_text() == (tmp_path / "b" / "train.csv").read_text()
    assert one.result.key != two.result.key
    with pytest.raises(CheckpointError, match="other settings or data"):
        train_pairs(changed, texts, tiny.held(), config, tmp_path / "a")


def test_early_stopping_by_mean_recall(tmp_path: Path) -> None:
    made = tiny.run(tmp_path, loop={"epochs": 50, "patience": 2, "learning_rate": 1e-7})
    assert made.result.stopped == "early"
    rows = read_log(tmp_path / "validation.csv")
    best = max(row["mean_recall"] for row in rows)
    assert made.result.metrics["mean_recall"] == best
    assert len(rows) < 50


def test_without_validation_images_the_last_weights_are_kept(tmp_path: Path) -> None:
    nothing = np.zeros(48, dtype=bool)
    made = train_pairs(tiny.images(), tiny.captions(), nothing, tiny.settings(loop={"epochs": 1}), tmp_path)
    assert made.result.metrics == {}
    assert made.result.steps == 3


def test_the_untrained_pair_is_where_training_starts(tmp_path: Path) -> None:
    config = tiny.settings(loop={"learning_rate": 1e-12, "weight_decay": 0.0, "epochs": 1, "ema": 0.0})
    arguments = (tiny.images(), tiny.captions(), tiny.held(), config)
    one, two = untrained_pair(*arguments), train_pairs(*arguments, tmp_path).pair
    a, b = states(one), states(two)
    assert set(a) == set(b)
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], atol=1e-8, rtol=1e-5)
    assert one.space.id != two.space.id


def test_a_warm_up_comes_first_and_is_resumed_as_well(tmp_path: Path) -> None:
    warm = {"epochs": 2, "batch_size": 16, "projector": 8}
    config = tiny.settings(warmup=warm, loop={"epochs": 1})
    arguments = (tiny.images(), tiny.captions(), tiny.held(), config)
    told: list[str] = []

    class Broken(Exception):
        pass

    def progress(step: int, total: int, metrics: Mapping[str, float]) -> None:
        told.append("warm" if "warmup" in metrics else "pairs")
        if len(told) == 3:
            raise Broken

    more = tiny.images(20)[:, :, ::-1].copy()
    whole = train_pairs(*arguments, tmp_path / "whole", unlabelled=more)
    with pytest.raises(Broken):
        train_pairs(*arguments, tmp_path / "broken", unlabelled=more, progress=progress)
    resumed = train_pairs(*arguments, tmp_path / "broken", unlabelled=more, progress=lambda s, t, m: told.append("x"))
    assert told[:3] == ["warm"] * 3
    assert same(states(resumed.pair), states(whole.pair))
    steps = read_log(tmp_path / "whole" / "warmup" / "train.csv")
    assert len(steps) == 2 * ((32 + 20) // 16)
    assert steps[-1]["loss"] < steps[0]["loss"]
    # Other images of the warm-up make another run.
    with pytest.raises(CheckpointError, match="other settings or data"):
        train_pairs(*arguments, tmp_path / "whole", unlabelled=more[:-1])
    plain = train_pairs(*arguments[:3], tiny.settings(loop={"epochs": 1}), tmp_path / "plain")
    assert not same(states(plain.pair), states(whole.pair))


def test_a_pair_is_trained_further(tmp_path: Path) -> None:
    first = tiny.run(tmp_path / "a")
    first.pair.save(tmp_path / "pair")
    for mode in ("last", "lora", "locked"):
        start = open_pair(tmp_path / "pair")
        before = states(start)
        tune = {"image": {"mode": mode, "blocks": 1, "rank": 2}, "text": {"mode": "all", "rate": 0.5}}
        config = tiny.settings(tune=tune, loop={"epochs": 2})
        made = train_pairs(tiny.images(), tiny.captions(), tiny.held(), config, tmp_path / mode, model=start)
        after = states(made.pair)
        moved = {name for name in after if not torch.equal(after[name], before[name])}
        assert any(name.startswith("1/") for name in moved)
        image = {name for name in moved if name.startswith("0/")}
        linear = ("qkv.weight", "out.weight", "mlp.0.weight", "mlp.3.weight")
        if mode == "locked":
            assert not image
        elif mode == "lora":
            assert image == {name for name in after if name.startswith("0/net.blocks.") and name.endswith(linear)}
        else:
            assert image
            assert not any(part in name for name in image for part in ("embed", "mean", "std", "centre"))
        assert set(after) == set(before)
        assert made.pair.space.id != start.space.id
        # As good at the start as the pair was at its end.
        scores = made.result.initial
        assert scores["mean_recall"] == pytest.approx(first.result.metrics["mean_recall"], abs=1e-6)
        made.pair.save(tmp_path / f"{mode}-pair")
        assert open_pair(tmp_path / f"{mode}-pair").dims == 12
    start = open_pair(tmp_path / "pair")
    config = tiny.settings(tune={"image": {"mode": "locked"}, "text": {"mode": "locked"}})
    with pytest.raises(UsageError, match="nothing would be learned"):
        train_pairs(tiny.images(), tiny.captions(), tiny.held(), config, tmp_path / "no", model=start)
    config = tiny.settings(tune={"image": {"mode": "last", "blocks": 9}})
    with pytest.raises(UsageError, match=r"tune\.image\.blocks = 9, and the image tower has 1 blocks"):
        train_pairs(tiny.images(), tiny.captions(), tiny.held(), config, tmp_path / "no", model=start)


def test_bf16(tmp_path: Path) -> None:
    made = tiny.run(tmp_path, loop={"precision": "bf16-mixed"})
    assert made.result.metrics["loss"] < made.result.initial["loss"]
    assert all(value.dtype == torch.float32 for value in states(made.pair).values() if value.is_floating_point())


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    # What is drawn at random differs between processes: without it, two with half a batch each must equal one.
    still: dict[str, Any] = {
        "captions_per_image": 0,
        "augment": tiny.STILL,
        "image": {"drop_path": 0.0},
        "text": {"dropout": 0.0, "word_dropout": 0.0},
        "loop": {"epochs": 2},
    }
    both = {**still, "loop": {"epochs": 2, "devices": 2, "strategy": "ddp"}}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", tiny.__file__]
    done = subprocess.run(
        [*launch, str(tmp_path / "two"), "0", json.dumps(both)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one = tiny.run(tmp_path / "one", **still)
    losses = [read_log(tmp_path / name / "validation.csv") for name in ("one", "two")]
    for a, b in zip(*losses, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)
    found, expected = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("two", "one"))
    assert set(found) == set(expected)
    for name, value in expected.items():
        # A bias of the keys changes no attention: its gradient is the rounding of zero.
        if name.startswith(("best/", "average/")) and not name.endswith("qkv.bias"):
            torch.testing.assert_close(found[name], value, atol=1e-4, rtol=1e-3)
    assert one.result.steps == 4
