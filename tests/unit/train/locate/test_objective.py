"""What the loop sees of a phase: batches, sampler, mixing, ramp, the figures that choose, and its identity."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("hdbscan")

import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny_located as located
import tiny_locator as tiny
from placevec.geo.regions import Regions
from placevec.geo.sphere import distance_m
from placevec.nn.locator.losses import BalanceConfig
from placevec.train.locate import frozen
from placevec.train.locate.config import LocateTraining, PhaseConfig
from placevec.train.locate.data import gather
from placevec.train.locate.frozen import device_of, frozen_features
from placevec.train.locate.objective import FEATURE, LocateObjective, Locating, drawn_rows
from placevec.train.locate.training import build
from placevec.train.objectives import Objective, Rated

CPU = torch.device("cpu")


def objective(
    folder: Path,
    config: LocateTraining | None = None,
    *,
    phase: Any = "geography",
    cached: bool = False,
    columns: dict[str, Any] | None = None,
    regions: Regions | None = None,
    identity: dict[str, Any] | None = None,
) -> LocateObjective:
    """The objective of a phase over a new network."""
    config = config or located.training()
    named = regions or located.regions()
    extras = tuple(branch.kind for branch in config.head.branches)
    source = located.source(**(columns or {}))
    data = gather(source, located.parts(), named.assign, folder / "content", extras=extras)
    net, cells = build(data, named, config)
    features = frozen_features(net, data, folder / "content", CPU) if cached else None
    settings: PhaseConfig = config.phase(phase)
    made = LocateObjective(
        data, net, cells, settings, features=features, rates={"backbones.0": 0.1}, identity=identity or {}
    )
    net.eval()
    return made


@pytest.fixture(scope="module")
def plain_identity(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of the default settings."""
    folder = tmp_path_factory.mktemp("plain")
    return dict(objective(folder, columns={"metadata": located.metadata()}).identity())


def module(made: LocateObjective) -> Locating:
    assert isinstance(made.module, Locating)
    return made.module


def test_a_batch_is_the_content_and_the_truth_of_its_rows(tmp_path: Path) -> None:
    made = objective(tmp_path)
    assert isinstance(made, Objective)
    assert isinstance(made, Rated)
    assert made.rates() == {"backbones.0": 0.1}
    rows = np.array([3, 0, 11])
    batch = made.batch(rows)
    train = made.data.train
    assert set(batch) == {"unit", "region", "cell", "image"}
    assert made.count == len(train)
    np.testing.assert_array_equal(batch["image"].numpy(), train.images(rows))
    np.testing.assert_array_equal(batch["unit"].numpy(), train.lonlat[rows].unit())
    np.testing.assert_array_equal(batch["region"].numpy(), located.regions().assign(train.lonlat[rows]))
    np.testing.assert_array_equal(batch["cell"].numpy(), made.geocells.rows(train.lonlat[rows]))
    assert batch["unit"].dtype == torch.float64


def test_kept_features_give_the_loss_of_the_images(tmp_path: Path) -> None:
    images, kept = objective(tmp_path), objective(tmp_path, cached=True)
    rows = np.arange(16)
    assert set(kept.batch(rows)) == {"unit", "region", "cell", f"{FEATURE}0"}
    assert not any("backbones" in name for name, _ in kept.module.named_parameters())
    losses = []
    for made in (images, kept):
        made.module.eval()
        with torch.no_grad():
            losses.append(float(made.module(made.batch(rows), torch.Generator())))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.floats(0.0, 1.0))
def test_the_sampler_draws_each_row_as_often_as_its_weight_says(counts: list[int], strength: float) -> None:
    region = np.repeat(np.arange(len(counts)), counts)
    weights = BalanceConfig("sampler", strength=strength).drawn(np.array(counts))
    assert weights is not None
    drawn = Counter(drawn_rows(region, weights).tolist())
    each = weights.double().numpy()[region] / weights.double().numpy().min()
    for row, wanted in enumerate(each):
        assert math.floor(wanted - 1e-9) <= drawn[row] <= math.ceil(wanted + 1e-9)
        assert drawn[row] >= 1
    shares = [sum(drawn[row] for row in np.flatnonzero(region == k)) for k in range(len(counts))]
    np.testing.assert_allclose(shares, [each[region == k].sum() for k in range(len(counts))], atol=1.0)


def test_without_a_remedy_each_row_is_drawn_once() -> None:
    assert drawn_rows(np.array([0, 0, 1]), None).tolist() == [0, 1, 2]


def test_the_ramp_follows_the_steps_and_stands_in_the_state(tmp_path: Path) -> None:
    config = located.training(geography={"loss": {"ramp": 4.0, "region": 0.0, "cell": 0.0, "auxiliary": 0.0}})
    made = objective(tmp_path, config)
    net = module(made)
    assert net.per_epoch == made.count // 16
    batch = made.batch(np.arange(16))

    def loss(step: int, *, training: bool) -> float:
        net.step.fill_(step)
        net.train(training)
        with torch.no_grad():
            return float(net(batch, torch.Generator()))

    full = loss(100 * net.per_epoch, training=False)
    for epoch, share in ((0, 0.25), (1, 0.5), (3, 1.0), (9, 1.0)):
        assert loss(epoch * net.per_epoch, training=False) == pytest.approx(share * full, rel=1e-5)
    assert int(net.step) == 9 * net.per_epoch, "only training steps count"
    loss(5, training=True)
    assert int(net.step) == 6
    assert int(net.state_dict()["step"]) == 6


def test_mixed_images_have_both_truths(tmp_path: Path) -> None:
    made = objective(tmp_path, located.training(geography={"mixup": 0.4}), cached=True)
    net = module(made)
    net.train()
    batch = made.batch(np.arange(12))
    share, order = net._mix(12, torch.Generator().manual_seed(4))
    again, same = net._mix(12, torch.Generator().manual_seed(4))
    assert (share, order.tolist()) == (again, same.tolist())
    assert 0.0 < share < 1.0
    feature = batch[f"{FEATURE}0"]
    fused = net.head.fuse([share * feature + (1 - share) * feature[order]])
    truth = {name: batch[name] for name in ("unit", "region", "cell")}
    other = {name: value[order] for name, value in truth.items()}
    with torch.no_grad():
        wanted = share * net.total(fused, truth, 0.0) + (1 - share) * net.total(fused, other, 0.0)
        found = net(batch, torch.Generator().manual_seed(4))
    assert float(found) == pytest.approx(float(wanted), rel=1e-6)
    net.eval()
    with torch.no_grad():
        plain = net.total(net.head.fuse([feature]), truth, float(net.step) / net.per_epoch)
        assert float(net(batch, torch.Generator().manual_seed(4))) == pytest.approx(float(plain), rel=1e-6)


def test_an_image_that_is_mixed_in_counts_less_than_the_one_whose_camera_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = located.training(head={"branches": [located.METADATA]}, geography={"mixup": 0.4})
    made = objective(tmp_path, config, cached=True, columns={"metadata": located.metadata()})
    net = module(made)
    net.train()
    batch = made.batch(np.arange(12))
    shares: list[float] = []

    def first(fused: torch.Tensor, truth: dict[str, torch.Tensor], epoch: float) -> torch.Tensor:
        return fused.new_ones(()) * (1.0 if truth["cell"] is batch["cell"] else 0.0)

    monkeypatch.setattr(net, "total", first)
    for seed in range(20):
        shares.append(float(net(batch, torch.Generator().manual_seed(seed)).detach()))
    assert min(shares) >= 0.5
    assert len({*shares}) > 10


def test_the_energy_score_is_that_of_the_law_over_cells(tmp_path: Path) -> None:
    made = objective(tmp_path)
    with torch.no_grad():
        figures = made.validate(CPU)
    val, cells, head = made.data.val, made.geocells, made.net.head
    with torch.no_grad():
        fused = head.fuse(made.net.features(torch.from_numpy(val.images(np.arange(len(val))))))
        regions = head.region_logits(fused)
        law = head.joint_logs(regions, head.cell_logits(fused)).exp().double().numpy()
    energies, right = [], []
    for row in range(len(val)):
        truth = val.lonlat[np.full(len(cells), row)]
        away = distance_m(truth, cells.centres) / 1e3
        spread = 0.0
        for k in range(len(cells)):
            apart = distance_m(cells.centres[np.full(len(cells), k)], cells.centres) / 1e3
            spread += law[row, k] * float((law[row] * apart).sum())
        energies.append(float((law[row] * away).sum()) - spread / 2)
        right.append(int(law[row].argmax()) == int(cells.rows(val.lonlat)[row]))
    assert figures["energy_km"] == pytest.approx(np.mean(energies), rel=1e-6)
    assert figures["cell_accuracy"] == pytest.approx(np.mean(right))
    assert made.monitor == "energy_km"
    logs = regions.log_softmax(dim=1).numpy()
    assert figures["region_loss"] == pytest.approx(-logs[np.arange(len(val)), val.region].mean(), rel=1e-5)


def test_what_chooses_undoes_the_remedy_for_rare_regions(tmp_path: Path) -> None:
    """A law that is shifted when the locator is asked has to be shifted when its weights are chosen."""
    plain = objective(tmp_path)
    balanced = objective(tmp_path, located.training(geography={"loss": {"balance": {"remedy": "sampler"}}}))
    assert balanced.count >= plain.count
    counts = np.bincount(plain.data.train.region)
    assert counts[0] != counts[1]
    shift = torch.from_numpy(np.log(counts / counts.mean())).float()
    with torch.no_grad():
        for bias in (plain.net.head.region_head[-1].bias,):
            bias += shift - shift.mean()
        wanted, found = plain.validate(CPU), balanced.validate(CPU)
    assert found["region_loss"] == pytest.approx(wanted["region_loss"], rel=1e-4)
    assert found["energy_km"] == pytest.approx(wanted["energy_km"], rel=1e-4)


def test_phases_without_cells_are_judged_by_regions_and_none_without_rows(tmp_path: Path) -> None:
    province = objective(tmp_path, phase="province")
    assert province.monitor == "region_loss"
    with torch.no_grad():
        assert set(province.validate(CPU)) == {"region_loss", "region_accuracy"}


def test_further_inputs_come_as_the_head_reads_them(tmp_path: Path) -> None:
    config = located.training(head={"branches": [located.METADATA, located.TAGS]})
    made = objective(tmp_path, config, columns={"metadata": located.metadata(), "tags": located.tags()})
    batch = made.batch(np.arange(6))
    assert batch["extra/metadata"].shape == (6, 6)
    assert batch["extra/metadata"].isnan().any()
    assert batch["extra/tags"].dtype == torch.int64
    made.module.train()
    loss = made.module(batch, torch.Generator().manual_seed(0))
    loss.backward()
    assert torch.isfinite(loss.detach())
    assert all(torch.isfinite(p.grad).all() for p in made.module.parameters() if p.grad is not None)
    with torch.no_grad():
        made.module.eval()
        assert np.isfinite(list(made.validate(CPU).values())).all()


def test_augmented_images_stay_bytes_and_only_in_training(tmp_path: Path) -> None:
    augment = {"min_scale": 0.5, "brightness": 0.3}
    made = objective(tmp_path, located.training(geography={"augment": augment}))
    net, seen = module(made), []
    net.backbones[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    batch = made.batch(np.arange(8))
    for training in (True, False):
        net.train(training)
        with torch.no_grad():
            net(batch, torch.Generator().manual_seed(1))
    assert all(one.dtype == torch.uint8 for one in seen)
    assert not torch.equal(seen[0], batch["image"])
    assert torch.equal(seen[1], batch["image"])


@pytest.mark.parametrize(
    "change",
    [
        {"geography": {"mixture": 0.5}},
        {"geography": {"mixup": 0.5}},
        {"geography": {"loss": {"tau_km": 50.0}}},
        {"geocells": {"dense_km": 10.0, "sparse_km": 10.0}},
        {"head": {"branches": [located.METADATA]}},
    ],
)
def test_other_settings_have_another_identity(
    tmp_path: Path, change: dict[str, Any], plain_identity: dict[str, Any]
) -> None:
    made = objective(tmp_path, located.training(**change), columns={"metadata": located.metadata()})
    assert made.identity() != plain_identity


def test_the_same_settings_have_the_same_identity(tmp_path: Path, plain_identity: dict[str, Any]) -> None:
    columns = {"metadata": located.metadata()}
    assert objective(tmp_path, columns=columns).identity() == plain_identity
    assert objective(tmp_path, columns=columns, identity={"begins": 1}).identity() != plain_identity


def test_how_often_it_validates_is_none_of_the_phase_s_business(tmp_path: Path) -> None:
    other = objective(tmp_path, located.training(geography={"loop": {"log_every": 3}}))
    assert other.identity() == objective(tmp_path).identity()


def test_kept_features_go_on_and_follow_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n = 192
    monkeypatch.setattr(frozen, "_STEP", 64)
    data = gather(located.source(n), located.parts(n), located.regions().assign, tmp_path, extras=())
    net, _ = build(data, located.regions(), located.training())
    told: list[int] = []

    def stop(label: str, done: int, total: int) -> None:
        assert label == "features 1 of 1"
        assert total == len(data.store.rows)
        told.append(done)
        if len(told) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        frozen_features(net, data, tmp_path, CPU, stop)
    [found] = frozen_features(net, data, tmp_path, CPU, stop)
    assert told == [64, 128, 168]
    images = torch.from_numpy(data.store.read(np.arange(168)))
    with torch.no_grad():
        np.testing.assert_allclose(found, net.backbones[0](images).numpy(), atol=1e-5)
        next(net.backbones[0].parameters()).add_(0.1)
    [other] = frozen_features(net, data, tmp_path, CPU)
    assert not np.allclose(other, found[:])


def test_where_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    for available in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert device_of("cpu").type == "cpu"
        assert device_of("mps").type == "cpu"
        assert device_of("auto").type == ("cuda" if available else "cpu")


def test_a_region_without_training_images_is_no_trouble(tmp_path: Path) -> None:
    import shapely

    named = Regions.of(
        {"nowhere": shapely.box(-20, 0, -10, 10), "west": shapely.box(0, 40, 4, 44), "east": shapely.box(4, 40, 8, 44)}
    )
    made = objective(tmp_path, regions=named)
    assert np.diff(made.geocells.starts)[0] == 0
    with torch.no_grad():
        assert np.isfinite(list(made.validate(CPU).values())).all()
    loss = made.module(made.batch(np.arange(16)), torch.Generator())
    loss.backward()
    assert torch.isfinite(loss.detach())
    assert tiny.names(2) == list(named.names[1:])
