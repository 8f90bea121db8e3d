"""The objectives against loops in double precision, and which patches are never negatives."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

import tiny_landscape as tiny
from placevec.errors import UsageError
from placevec.geo.sphere import LonLat, distance_m
from placevec.nn.landscape import LandscapeConfig, LandscapeNet, PlaneConfig
from placevec.nn.landscape.net import LIMIT
from placevec.train.landscape import LandscapeObjective, Pairs
from placevec.train.landscape.objective import Neighbours, _turned, own_ranks, triplet

CONFIG = LandscapeConfig(
    (PlaneConfig("cover", 5), PlaneConfig("elevation", 0, 500.0, 200.0)),
    pixels=8, dims=6, stem=2, widths=(4,), hidden=0,
)  # fmt: skip


def vectors(seed: int, n: int, dims: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    both = torch.randn(2, n, dims, generator=generator, dtype=torch.float64)
    both[1] = both[0] + 0.7 * both[1]
    a, b = torch.nn.functional.normalize(both, dim=2).unbind()
    return a, b


def near_of(seed: int, n: int, share: float) -> Tensor:
    found = torch.rand(n, n, generator=torch.Generator().manual_seed(seed + 1)) < share
    return found.fill_diagonal_(False)


def module(n: int = 12, **settings: Any) -> Neighbours:
    torch.manual_seed(1)
    return Neighbours(LandscapeNet(CONFIG), tiny.training(**settings), 1000.0)


def triplet_by_sample(a: Tensor, b: Tensor, near: Tensor, margin: float) -> float:
    """Schroff et al. 2015, section 3.2, one anchor after another."""
    terms = []
    for i in range(len(a)):
        own = float((a[i] - b[i]).square().sum())
        far = [float((a[i] - b[j]).square().sum()) for j in range(len(b)) if j != i and not near[i, j]]
        if not far:
            continue
        semi_hard = [d for d in far if d >= own]
        terms.append(max(0.0, own - (min(semi_hard) if semi_hard else max(far)) + margin))
    return sum(terms) / max(1, len(terms))


@given(st.integers(0, 10**6), st.integers(2, 12), st.sampled_from([0.0, 0.3, 0.9, 1.0]), st.floats(0.01, 2.0))
def test_triplets_one_by_one(seed: int, n: int, share: float, margin: float) -> None:
    (a, b), near = vectors(seed, n), near_of(seed, n, share)
    assert float(triplet(a @ b.T, near, margin)) == pytest.approx(triplet_by_sample(a, b, near, margin), abs=1e-9)


def test_the_semi_hard_negative_is_taken_before_the_hard_and_the_easy_one() -> None:
    # squared distances of anchor 0: its neighbour 0.4, then a hard, a semi-hard and an easy negative
    cosines = 1 - torch.tensor([[0.4, 0.1, 0.6, 1.9]], dtype=torch.float64) / 2
    whole = torch.cat([cosines, torch.eye(4, dtype=torch.float64)[1:]])
    whole.requires_grad_()
    near = torch.zeros(4, 4, dtype=torch.bool)
    loss = triplet(whole, near, 0.5)
    loss.backward()
    assert whole.grad is not None
    assert (whole.grad[0] != 0).tolist() == [True, False, True, False]
    assert float(loss.detach()) * 4 == pytest.approx(0.4 - 0.6 + 0.5)


@pytest.mark.parametrize("loss", ["infonce", "triplet"])
def test_without_a_far_patch_nothing_is_asked_and_nothing_is_nan(loss: str) -> None:
    a, b = (v.clone().requires_grad_() for v in vectors(0, 5))
    near = ~torch.eye(5, dtype=torch.bool)
    value = module(loss=loss).between(a, b, near)
    value.backward()
    assert float(value.detach()) == pytest.approx(0.0, abs=1e-6)
    for vector in (a, b):
        assert vector.grad is not None
        assert vector.grad.isfinite().all()
        assert vector.grad.abs().max() < 1e-6


@pytest.mark.parametrize("loss", ["infonce", "triplet"])
@given(st.integers(0, 10**6))
def test_what_is_near_is_never_a_negative(loss: str, seed: int) -> None:
    """The gradient of what is asked of near patches is nothing."""
    a, b = vectors(seed, 8)
    near = near_of(seed, 8, 0.4)
    cosines = (a @ b.T).requires_grad_()
    # The loss sees vectors through their cosines alone: identity matrices give it any cosines.
    value = module(loss=loss, margin=3.0).between(cosines, torch.eye(8, dtype=torch.float64), near)
    value.backward()
    assert cosines.grad is not None
    assert float(cosines.grad[near].abs().max()) < 1e-12 if near.any() else True
    assert cosines.grad[~near].abs().sum() > 0


@given(st.integers(0, 10**6), st.integers(2, 10), st.sampled_from([0.0, 0.4]))
def test_infonce_one_by_one(seed: int, n: int, share: float) -> None:
    (a, b), near = vectors(seed, n), near_of(seed, n, share)
    total = 0.0
    for i in range(n):
        for one, others, off in ((a[i], b, near[i]), (b[i], a, near[:, i])):
            logits = [float(one @ others[j]) / 0.1 for j in range(n) if not off[j]]
            total += math.log(sum(math.exp(x) for x in logits)) - float(a[i] @ b[i]) / 0.1
    assert float(module().between(a, b, near)) == pytest.approx(total / (2 * n), abs=1e-7)


@given(st.integers(0, 10**6))
def test_near_is_how_far_the_negative_itself_lies(seed: int) -> None:
    rng = np.random.default_rng(seed)
    anchors, others = (LonLat(rng.uniform(0, 0.03, 9), rng.uniform(60, 60.02, 9)) for _ in range(2))
    found = module().near(torch.from_numpy(anchors.unit()), torch.from_numpy(others.unit()))
    for i, j in np.ndindex(9, 9):
        assert bool(found[i, j]) == (i != j and float(distance_m(anchors[[i]], others[[j]])[0]) < 1000.0)


def test_a_neighbour_beside_another_anchor_is_near_though_the_anchors_are_not() -> None:
    # 100 m in degrees; anchors 1.2 km apart, the neighbour of the second at 100 m from the first
    step = 100 / 111_195
    anchors, others = LonLat([0.0, 12 * step], [0.0, 0.0]), LonLat([-9 * step, 1 * step], [0.0, 0.0])
    found = module().near(torch.from_numpy(anchors.unit()), torch.from_numpy(others.unit()))
    assert found.tolist() == [[False, True], [False, False]]


def objective(n: int = 60, **settings: Any) -> LandscapeObjective:
    pairs = Pairs.of(tiny.source(n), tiny.NAMES)
    torch.manual_seed(0)
    return LandscapeObjective(
        pairs.take(np.arange(n // 2)), pairs.take(np.arange(n // 2, n)), LandscapeNet(CONFIG), tiny.training(**settings)
    )


def test_a_batch_holds_whole_pairs_in_all_layers() -> None:
    made = objective()
    rows = np.array([4, 17, 2])
    batch = made.batch(rows)
    assert set(batch) == {"anchor/cover", "anchor/elevation", "neighbour/cover", "neighbour/elevation", "unit", "other"}
    anchors, neighbours = made.pairs.read(rows)
    for name in tiny.NAMES:
        np.testing.assert_array_equal(batch[f"anchor/{name}"], anchors[name])
        np.testing.assert_array_equal(batch[f"neighbour/{name}"], neighbours[name])
    np.testing.assert_array_equal(batch["unit"], made.pairs.lonlat.unit()[rows])
    np.testing.assert_array_equal(batch["other"], made.pairs.other.unit()[rows])
    assert batch["unit"].dtype == torch.float64


def test_the_distance_of_negatives_is_that_of_neighbours_or_as_told() -> None:
    assert objective().far_m == objective().pairs.reach_m
    assert objective(far_m=5.0).far_m == 5.0


@pytest.mark.parametrize("turn", range(8))
def test_all_layers_are_turned_alike(turn: int) -> None:
    """What lies at one pixel in all layers lies at one pixel after it, and the eight turns differ."""
    numbers = torch.arange(16).reshape(1, 4, 4)
    cover, height = _turned(numbers.to(torch.uint8), turn), _turned(numbers.float(), turn)
    assert torch.equal(cover.float(), height)
    assert sorted(cover.flatten().tolist()) == list(range(16))
    assert sum(torch.equal(cover, _turned(numbers.to(torch.uint8), other)) for other in range(8)) == 1


def test_what_is_hidden_is_hidden_in_all_layers_and_in_the_middle() -> None:
    made = module()
    cover = torch.ones(3, 8, 8, dtype=torch.uint8)
    height = torch.ones(3, 8, 8)
    for half in (1, 2, 3):
        hidden = made._hide({"cover": cover, "elevation": height}, half)
        gone = hidden["cover"][0] == 0
        assert torch.equal(hidden["elevation"].isnan(), gone.expand(3, 8, 8))
        assert torch.equal(gone, gone.flip(0))
        assert torch.equal(gone, gone.T)
        assert gone[4 - half : 4 + half, 4 - half : 4 + half].all()
        assert int(gone.sum()) == (2 * half) ** 2
    assert cover.all()
    assert height.isfinite().all()


@pytest.mark.parametrize(("hide", "halves"), [(0.0, {0}), (1.0, {1, 2, 3}), (0.5, {0, 1, 2, 3})])
def test_how_much_is_hidden_is_drawn_and_both_ends_are_turned_alike(
    monkeypatch: pytest.MonkeyPatch, hide: float, halves: set[int]
) -> None:
    """Of 16 pixels a side, 2, 4 or 6 in the middle."""
    asked: list[tuple[int, int]] = []

    def recorded(self: Neighbours, anchors: Any, neighbours: Any, units: Any, half: int = 0) -> Tensor:
        for one in (anchors, neighbours):
            assert torch.equal(one["cover"].float(), one["elevation"])
        assert torch.equal(255 - anchors["cover"], neighbours["cover"])
        asked.append((half, int(anchors["cover"][0, 0, 1])))
        return torch.zeros(())

    monkeypatch.setattr(Neighbours, "losses", recorded)
    numbers = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    batch = {"anchor/cover": numbers, "neighbour/cover": 255 - numbers, "unit": torch.zeros(1, 3)}
    batch |= {"anchor/elevation": numbers.float(), "neighbour/elevation": 255 - numbers.float()}
    made = Neighbours(LandscapeNet(replace(CONFIG, pixels=16)), tiny.training(hide=hide), 1000.0)
    for seed in range(80):
        made({**batch, "other": batch["unit"]}, torch.Generator().manual_seed(seed))
    assert {half for half, _ in asked} == halves
    assert len({turn for _, turn in asked}) == 8


def test_the_same_step_gives_the_same_loss_and_others_do_not() -> None:
    made = objective(hide=0.5)
    batch = made.batch(np.arange(16))
    made.module.eval()
    with torch.no_grad():
        losses = [float(made.module(batch, torch.Generator().manual_seed(seed))) for seed in (3, 3, 4, 5, 6)]
    assert losses[0] == losses[1]
    assert len(set(losses)) > 2


def test_guessing_the_hidden_classes_is_asked_when_there_are_hidden_ones() -> None:
    made = objective(hide=1.0, infill=1.0)
    made.module(made.batch(np.arange(16)), torch.Generator().manual_seed(0)).backward()
    guess = made.module.get_submodule("guess")
    assert isinstance(guess, torch.nn.Linear)
    assert guess.out_features == 5
    assert guess.weight.grad is not None
    shown = objective(hide=0.5, infill=1.0)
    shown.module.losses(*ends_of(shown, 16), 0).backward()
    assert shown.module.get_submodule("guess").weight.grad is None


def test_what_is_never_hidden_is_not_guessed() -> None:
    assert not [name for name, _ in objective(hide=0.0, infill=1.0).module.named_parameters() if "guess" in name]


def test_the_guess_is_the_cross_entropy_of_the_shares_in_the_middle() -> None:
    made = objective(infill=1.0).module
    assert isinstance(made, Neighbours)
    assert made.guess is not None
    cover = torch.zeros(2, 8, 8, dtype=torch.uint8)
    cover[0, 3:5, 3:5] = torch.tensor([[1, 1], [2, 0]])  # of the second nothing is known: nothing is asked
    given_ = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    logs = made.guess(given_)[0].log_softmax(0)
    expected = -(0.5 * logs[0] + 0.25 * logs[1]) / 2
    torch.testing.assert_close(made._infill(given_, {"cover": cover, "elevation": torch.zeros(2, 8, 8)}), expected)


def described_by_hand(made: Neighbours, patches: dict[str, Tensor]) -> NDArray[np.float64]:
    """The scaled statistics of patches, one after another."""
    net = made.net
    assert net.statistics is not None
    rows = []
    for i in range(len(patches["cover"])):
        one = net.planes({name: value[i : i + 1] for name, value in patches.items()})
        found = net.statistics(one)[0].double().numpy()
        count = len(found)
        scaled = (found - net.mean[:count].double().numpy()) / net.spread[:count].double().numpy()
        rows.append(np.clip(scaled, -LIMIT, LIMIT))
    return np.stack(rows)


def ends_of(made: LandscapeObjective, n: int) -> tuple[dict[str, Tensor], dict[str, Tensor], tuple[Tensor, Tensor]]:
    first, second = made.pairs.read(np.arange(n))
    anchors, neighbours = ({name: torch.from_numpy(values) for name, values in end.items()} for end in (first, second))
    units = torch.from_numpy(made.pairs.lonlat.unit()[:n]), torch.from_numpy(made.pairs.other.unit()[:n])
    return anchors, neighbours, units


def test_both_ends_tell_of_themselves_and_of_each_other() -> None:
    made = objective(describe=1.0)
    inner = made.module.eval()
    assert isinstance(inner, Neighbours)
    assert inner.tell is not None
    inner.net.mean.normal_(generator=torch.Generator().manual_seed(5))
    inner.net.spread.fill_(0.4)
    anchors, neighbours, _ = ends_of(made, 7)
    a, b = torch.randn(2, 7, 6, generator=torch.Generator().manual_seed(1))
    one, other = described_by_hand(inner, anchors), described_by_hand(inner, neighbours)
    weight, bias = inner.tell.weight.detach().double().numpy(), inner.tell.bias.detach().double().numpy()
    count = one.shape[1]
    assert weight.shape == (2 * count, 6)
    # The first half of what is told is of the patch itself, the second half of the other end.
    parts = []
    for vectors, own, far in ((a, one, other), (b, other, one)):
        told = vectors.double().numpy() @ weight.T + bias
        parts += [((told[:, :count] - own) ** 2).mean(), ((told[:, count:] - far) ** 2).mean()]
    with torch.no_grad():
        assert float(inner._describe(a, b, inner._told(anchors), inner._told(neighbours))) == pytest.approx(
            sum(parts), rel=1e-5
        )
        turned = [{name: _turned(value, 5) for name, value in end.items()} for end in (anchors, neighbours)]
        assert float(inner._describe(a, b, inner._told(turned[0]), inner._told(turned[1]))) == pytest.approx(
            sum(parts), rel=1e-4
        )


def test_what_is_told_are_the_statistics_of_the_whole_patch() -> None:
    """Whoever says nothing is as wrong of a patch with a hidden centre as of the same patch without."""
    made = objective(contrast=0.0, infill=0.0, describe=2.0)
    inner = made.module.eval()
    assert isinstance(inner, Neighbours)
    assert inner.tell is not None
    torch.nn.init.zeros_(inner.tell.weight)
    torch.nn.init.zeros_(inner.tell.bias)
    anchors, neighbours, units = ends_of(made, 6)
    with torch.no_grad():
        shown, hidden = (float(inner.losses(anchors, neighbours, units, half)) for half in (0, 2))
    squares = [(described_by_hand(inner, end) ** 2).mean() for end in (anchors, neighbours)]
    assert shown == hidden == pytest.approx(2.0 * 2 * sum(squares), rel=1e-5)


def test_statistics_are_not_moved_by_what_is_told() -> None:
    made = objective(contrast=0.0, infill=0.0)
    inner = made.module.eval()
    anchors, neighbours, units = ends_of(made, 6)
    assert isinstance(inner, Neighbours)
    inner.losses(anchors, neighbours, units).backward()
    for name, parameter in inner.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("half", [0, 2])
@pytest.mark.parametrize(
    "weights", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.5, 2, 0), (0.5, 0, 3), (0, 2, 3), (0.3, 1.5, 4)]
)
@pytest.mark.parametrize("loss", ["infonce", "triplet"])
def test_the_loss_is_the_sum_of_its_weighted_parts(loss: str, weights: tuple[float, float, float], half: int) -> None:
    contrast, infill, describe = weights
    whole = objective(loss=loss, contrast=1.0, infill=1.0, describe=1.0)
    reference = whole.module.eval()
    made = objective(loss=loss, contrast=contrast, infill=infill, describe=describe).module.eval()
    assert isinstance(reference, Neighbours)
    assert isinstance(made, Neighbours)
    assert (made.guess is None, made.tell is None) == (infill == 0, describe == 0)
    absent = made.load_state_dict(
        {name: value for name, value in reference.state_dict().items() if name in made.state_dict()}
    )
    assert not absent.missing_keys
    anchors, neighbours, units = ends_of(whole, 9)
    with torch.no_grad():
        shown = reference._hide(anchors, half) if half else anchors
        a, b = reference.net(shown), reference.net(neighbours)
        apart = reference.near(*units)
        lengths = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
        expected = contrast * float(reference.between(a / lengths[0], b / lengths[1], apart))
        expected += describe * float(reference._describe(a, b, reference._told(anchors), reference._told(neighbours)))
        expected += infill * float(reference._infill(a, anchors)) if half else 0.0
        assert float(made.losses(anchors, neighbours, units, half)) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_where_nothing_can_be_guessed_or_told_nothing_is_learned() -> None:
    values = LandscapeConfig((PlaneConfig("elevation"),), pixels=8, stem=2, widths=(4,), statistics=False)
    settings = tiny.training(contrast=0.0, describe=0.0, layers=["elevation"])
    with pytest.raises(UsageError, match="no layer has classes to guess"):
        Neighbours(LandscapeNet(values), settings, 1000.0)


@given(st.integers(0, 10**6), st.integers(2, 9))
def test_ranks_with_ties_and_near_ones(seed: int, n: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 4, (n, n), generator=generator).float()
    near = near_of(seed, n, 0.3)
    ranks = own_ranks(scores, near)
    for i in range(n):
        others = [float(scores[i, j]) for j in range(n) if j != i and not near[i, j]]
        own = float(scores[i, i])
        assert float(ranks[i]) == 1 + sum(x > own for x in others) + 0.5 * sum(x == own for x in others)


def test_an_encoder_that_says_the_same_of_all_gets_the_rank_of_chance() -> None:
    assert own_ranks(torch.ones(9, 9), torch.zeros(9, 9, dtype=torch.bool)).tolist() == [5.0] * 9


def test_validation_leaves_the_running_averages_alone() -> None:
    made = objective()
    made.module.train()
    made.module(made.batch(np.arange(16)), torch.Generator().manual_seed(0))
    made.module.eval()
    before = {name: value.clone() for name, value in made.module.state_dict().items()}
    with torch.no_grad():
        first, again = made.validate(torch.device("cpu")), made.validate(torch.device("cpu"))
    assert first == again
    assert set(first) == {"mrr", "recall_at_10", "loss"}
    for name, value in made.module.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_validation_is_retrieval_among_the_held_pairs() -> None:
    made = objective(far_m=0.0)
    made.module.eval()
    with torch.no_grad():
        found = made.validate(torch.device("cpu"))
        anchors, neighbours = made.val.read(np.arange(30))
        a, b = (made.net({k: torch.from_numpy(v) for k, v in some.items()}).numpy() for some in (anchors, neighbours))
    a, b = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (a, b))
    ranks = np.array([1 + (a[i] @ b.T > a[i] @ b[i]).sum() for i in range(30)])
    assert found["mrr"] == pytest.approx((1 / ranks).mean(), abs=0.02)
    assert found["recall_at_10"] == pytest.approx((ranks <= 10).mean(), abs=0.04)


@pytest.mark.parametrize(("hide", "half"), [(0.5, 1), (0.0, 0)])
def test_the_figure_that_chooses_is_the_loss_of_training(hide: float, half: int) -> None:
    """With the middle quarter hidden, where training hides any at all: of 8 pixels a side, 2."""
    made = objective(hide=hide)
    assert (made.monitor, made.mode) == ("loss", "min")
    inner = made.module.eval()
    assert isinstance(inner, Neighbours)
    assert (inner.guess is None) == (hide == 0)
    anchors, neighbours = ({k: torch.from_numpy(v) for k, v in end.items()} for end in made.val.read(np.arange(30)))
    units = torch.from_numpy(made.val.lonlat.unit()), torch.from_numpy(made.val.other.unit())
    with torch.no_grad():
        expected = float(inner.losses(anchors, neighbours, units, half))
        assert made.validate(torch.device("cpu"))["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("together", [256, 7])
def test_validation_does_not_change_with_the_order_of_pairs(monkeypatch: pytest.MonkeyPatch, together: int) -> None:
    """Nor are batches of what was stored together: neighbours on the ground would lack negatives."""
    monkeypatch.setattr("placevec.train.landscape.objective.TOGETHER", together)
    pairs = Pairs.of(tiny.source(60), tiny.NAMES)
    torch.manual_seed(0)
    net = LandscapeNet(CONFIG)
    figures = []
    for seed in (None, 1, 2):
        order = np.arange(30) if seed is None else np.random.default_rng(seed).permutation(30)
        torch.manual_seed(0)
        made = LandscapeObjective(pairs.take(np.arange(30, 60)), pairs.take(order), net, tiny.training())
        made.module.eval()
        with torch.no_grad():
            figures.append(made.validate(torch.device("cpu")))
    for other in figures[1:]:
        assert other == pytest.approx(figures[0], rel=1e-5)


def test_too_few_validation_pairs_are_none() -> None:
    pairs = Pairs.of(tiny.source(10), tiny.NAMES)
    for held in (0, 1):
        made = LandscapeObjective(pairs, pairs.take(np.arange(held)), LandscapeNet(CONFIG), tiny.training())
        assert made.monitor == ""


def test_many_validation_pairs_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("placevec.train.landscape.objective.VALIDATED", 10)
    pairs = Pairs.of(tiny.source(35), tiny.NAMES)
    made = LandscapeObjective(pairs, pairs, LandscapeNet(CONFIG), tiny.training())
    assert made.val.anchors.tolist() == pairs.anchors[::4].tolist()
