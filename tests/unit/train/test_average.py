"""The moving average of the weights, and learning rates of single parts."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from placevec.errors import CheckpointError, UsageError
from placevec.train.average import Average
from placevec.train.config import LoopConfig
from placevec.train.loop import fit
from placevec.train.rates import FACTOR, parameter_groups

_spec = importlib.util.spec_from_file_location("test_loop", Path(__file__).with_name("test_loop.py"))
assert _spec is not None
assert _spec.loader is not None
loops: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(loops)


def test_it_is_the_mean_of_the_weights_with_falling_shares() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = Average(module, 0.9)
    expected = {name: value.double().clone() for name, value in average.values.items()}
    generator = torch.Generator().manual_seed(0)
    for step in range(200):
        with torch.no_grad():
            for value in module.state_dict().values():
                if value.is_floating_point():
                    value.copy_(torch.randn(value.shape, generator=generator))
        average.update(step)
        share = 1 - min(0.9, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            if name in expected:
                expected[name] = (1 - share) * expected[name] + share * value.double()
    assert "1.running_mean" in expected
    assert "1.num_batches_tracked" not in expected
    for name, value in average.values.items():
        torch.testing.assert_close(value.double(), expected[name], atol=1e-5, rtol=1e-5)


def test_it_is_shown_and_taken_away_again_bit_by_bit() -> None:
    module = nn.Linear(3, 3)
    module.bias.requires_grad_(False)
    average = Average(module, 0.5)
    assert set(average.values) == {"weight"}  # what is not trained needs no average
    with torch.no_grad():
        module.weight.mul_(1.7)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with average.shown():
        assert torch.equal(module.weight, average.values["weight"])
        assert not torch.equal(module.weight, before["weight"])
    assert loops.same(module.state_dict(), before)
    with pytest.raises(RuntimeError), average.shown():
        raise RuntimeError
    assert loops.same(module.state_dict(), before)
    with pytest.raises(CheckpointError, match="other weights"):
        average.restore({"weight": torch.zeros(2, 2)})


@pytest.mark.parametrize("stop_at", [1, 3, 5, 10, 19])
def test_a_run_that_broke_off_goes_on_exactly(tmp_path: Path, stop_at: int) -> None:
    config = loops.changed(ema=0.8)
    whole = loops.Fit()
    expected = fit(whole, config, tmp_path / "whole")
    plain = loops.Fit()
    fit(plain, loops.LOOP, tmp_path / "plain")
    assert not loops.same(loops.weights(whole), loops.weights(plain))
    # The steps themselves are those of a run without an average.
    assert (tmp_path / "whole" / "train.csv").read_text() == (tmp_path / "plain" / "train.csv").read_text()

    class Broken(Exception):
        pass

    def progress(step: int, total: int, metrics: Mapping[str, float]) -> None:
        if step == stop_at:
            raise Broken

    with pytest.raises(Broken):
        fit(loops.Fit(), config, tmp_path / "broken", progress=progress)
    resumed = loops.Fit()
    result = fit(resumed, config, tmp_path / "broken")
    assert loops.same(loops.weights(resumed), loops.weights(whole))
    assert result.metrics == expected.metrics
    assert (tmp_path / "broken" / "validation.csv").read_text() == (tmp_path / "whole" / "validation.csv").read_text()


def test_without_validation_the_average_is_kept(tmp_path: Path) -> None:
    one, two = loops.Fit(monitor=""), loops.Fit(monitor="")
    fit(one, loops.changed(ema=0.8), tmp_path / "a")
    fit(two, loops.LOOP, tmp_path / "b")
    assert not loops.same(loops.weights(one), loops.weights(two))
    again = loops.Fit(monitor="")
    fit(again, loops.changed(ema=0.8), tmp_path / "a")
    assert loops.same(loops.weights(again), loops.weights(one))


def test_a_run_without_an_average_has_the_identity_that_it_had() -> None:
    assert "ema" not in LoopConfig().identity()
    assert LoopConfig(ema=0.5).identity()["ema"] == 0.5
    for wrong in (1.0, -0.1):
        with pytest.raises(UsageError, match="ema = "):
            LoopConfig(ema=wrong)


def test_groups_by_the_longest_name_that_fits() -> None:
    module = nn.ModuleDict({"a": nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), "b": nn.Linear(2, 2)})
    groups = parameter_groups(module, 0.1, {"a.": 0.5, "a.1.": 0.25})
    factor = {id(p): group[FACTOR] for group in groups for p in group["params"]}
    found = {name: factor[id(p)] for name, p in module.named_parameters()}
    assert found == {
        "a.0.weight": 0.5,
        "a.0.bias": 0.5,
        "a.1.weight": 0.25,
        "a.1.bias": 0.25,
        "b.weight": 1.0,
        "b.bias": 1.0,
    }
    assert all(group["weight_decay"] == (0.1 if group["params"][0].ndim > 1 else 0.0) for group in groups)
    module["a"].requires_grad_(False)
    assert sum(len(group["params"]) for group in parameter_groups(module, 0.1, {"a.": 0.5})) == 2


class Rated(loops.Fit):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def rates(self) -> Mapping[str, float]:
        return {"linear.weight": self.factor}


def test_a_part_learns_at_its_own_rate(tmp_path: Path) -> None:
    def moved(objective: Any, folder: str) -> tuple[Tensor, Tensor]:
        before = loops.weights(objective)
        fit(objective, loops.changed(epochs=1, batch_size=40, clip_norm=0.0, weight_decay=0.0), tmp_path / folder)
        after = loops.weights(objective)
        return tuple((after[name] - before[name]).abs() for name in ("linear.weight", "linear.bias"))

    weight, bias = moved(loops.Fit(), "one")
    slow, same_bias = moved(Rated(0.1), "two")
    # The first step of Adam is the learning rate, whatever the gradient.
    torch.testing.assert_close(slow, 0.1 * weight, atol=1e-6, rtol=1e-3)
    assert torch.equal(bias, same_bias)
    equal, _ = moved(Rated(1.0), "three")
    assert torch.equal(equal, weight)
