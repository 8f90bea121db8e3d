"""What a fuser learns by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hexes import disk, torn
from placevec.encoders.fuser import ModalityShape
from placevec.errors import UsageError
from placevec.nn.fusion import plain_unet
from placevec.nn.hexunet import ConeBatchingUNet
from placevec.train.config import LoopConfig
from placevec.train.fuse import FuseArea, FuseLoss, FuseTraining, Hiding, Labels, TrainedFuser, fuse_area, train_fuser
from placevec.train.fuse.config import UNetChoice
from placevec.train.fuse.data import graph_of, graph_tensors, side_by_side
from placevec.train.fuse.hiding import ancestors, hidden
from placevec.train.fuse.objective import FuseModule, FuseObjective
from tiny_city import ROADS, STOPS, field, modalities

SHAPES = (
    ModalityShape("roads", ROADS, "published:city-roads@1", 3),
    ModalityShape("transit", STOPS, "published:city-transit@1", 2),
    ModalityShape("pictures", (), "published:city-pictures@1", 4, "values"),
)
SMALL = FuseTraining(
    width=16, part=4, loop=LoopConfig(epochs=3, batch_size=1, learning_rate=5e-3, accelerator="cpu"), views=5
)


@pytest.fixture(scope="module")
def area() -> FuseArea:
    cells = torn(9, 6)
    return fuse_area(cells, list(modalities(cells).values()), (9, 8, 7))


def held_of(area: FuseArea) -> np.ndarray:
    return area.levels.ancestor(1) % 5 == 0


def trained(area: FuseArea, config: FuseTraining, folder: Path, **more: object) -> TrainedFuser:
    return train_fuser(area, SHAPES, held_of(area), config, folder, **more)


@pytest.fixture(scope="module")
def made(area: FuseArea, tmp_path_factory: pytest.TempPathFactory) -> TrainedFuser:
    return trained(area, replace(SMALL, loop=replace(SMALL.loop, epochs=30)), tmp_path_factory.mktemp("run"))


def test_it_learns_to_tell_what_is_hidden(made: TrainedFuser) -> None:
    assert made.result.metrics["loss"] < 0.85 * made.result.initial["loss"]
    assert set(made.result.metrics) == {"loss", "roads", "transit", "pictures"}


def test_what_was_hidden_is_told_better_than_by_its_mean(made: TrainedFuser, area: FuseArea) -> None:
    """Pictures are told from roads and stops, at cells of which nothing was asked in training."""
    net, held = made.fuser.net, torch.from_numpy(held_of(area))
    codes, present = net.coded(torch.from_numpy(area.x))
    shown = present.clone()
    shown[:, 2] = False
    with torch.no_grad():
        told, _ = net.decoder(2)(net.states(codes, shown, area.graph)[0])
    rows = held & present[:, 2]
    assert int(rows.sum()) > 20
    wrong = (told[rows] - codes[2][rows]).square().mean()
    assert wrong < 0.75 * codes[2][rows].square().mean(), float(wrong / codes[2][rows].square().mean())


def test_the_vectors_know_the_hidden_field(made: TrainedFuser, area: FuseArea) -> None:
    truth = np.empty(len(area.x))
    cells = torn(9, 6)
    truth[:] = field(cells)[area.levels.order]

    def r2(vectors: np.ndarray) -> float:
        x = np.column_stack([vectors - vectors.mean(axis=0), np.ones(len(vectors))])
        test = np.arange(len(x)) % 2 == 0
        solved = np.linalg.solve(x[~test].T @ x[~test] + 1.0 * np.eye(x.shape[1]), x[~test].T @ truth[~test])
        left = truth[test] - x[test] @ solved
        return float(1 - (left**2).sum() / ((truth[test] - truth[test].mean()) ** 2).sum())

    start = made.fuser.config.blocks[6][1]
    told = made.fuser.fuse(area.x, area.graph)[:, start:]
    assert r2(told) > 0.6


def test_same_seed_same_weights_and_space(made: TrainedFuser, area: FuseArea, tmp_path: Path) -> None:
    config = replace(SMALL, loop=replace(SMALL.loop, epochs=30))
    again = trained(area, config, tmp_path / "again")
    assert again.fuser.space.id == made.fuser.space.id
    other = trained(area, replace(config, loop=replace(config.loop, seed=1, epochs=2)), tmp_path / "other")
    assert other.fuser.space.id != made.fuser.space.id
    assert made.untrained.space.id != made.fuser.space.id


@pytest.mark.parametrize(
    "loss",
    [FuseLoss(neighbours=0), FuseLoss(hidden=0), FuseLoss(consistency=1), FuseLoss(hidden=0, neighbours=0, contrast=1)],
    ids=["hidden", "neighbours", "consistency", "contrast"],
)
def test_each_objective_falls_and_reaches_the_u_net(area: FuseArea, tmp_path: Path, loss: FuseLoss) -> None:
    config = replace(SMALL, loss=loss, level_drop=0.0, loop=replace(SMALL.loop, epochs=8))
    objective = FuseObjective(
        area, trained(area, replace(config, loop=SMALL.loop), tmp_path).untrained.net, config, held_of(area)
    )
    module = objective.module
    batch = objective.batch(np.arange(1))
    optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)
    values = []
    for _ in range(25):
        loss_now = module(batch, torch.Generator().manual_seed(3))
        optimizer.zero_grad()
        loss_now.backward()
        optimizer.step()
        values.append(float(loss_now.detach()))
    assert values[-1] < 0.95 * values[0]
    assert objective.net.unet.up[0][0].conv.near.weight.grad.abs().sum() > 0


def test_nothing_is_asked_of_held_out_cells(area: FuseArea, made: TrainedFuser) -> None:
    """Other values at held-out cells change the loss only through what their neighbours see, not as an answer."""
    config = replace(SMALL, level_drop=1.0, loss=FuseLoss(neighbours=0))
    held = np.zeros(len(area.x), dtype=bool)
    held[0] = True
    far = replace_row(area, 0)
    losses = []
    for one in (area, far):
        objective = FuseObjective(one, made.fuser.net, config, held)
        module = objective.module
        assert isinstance(module, FuseModule)
        batch = objective.batch(np.arange(1))
        graph = graph_of(batch)
        codes, present = made.fuser.net.coded(batch["x"])
        unseen = torch.zeros_like(present)
        unseen[0] = True  # what differs is hidden
        state = made.fuser.net.states(codes, present & ~unseen, graph, 1)[0]
        rows = torch.nonzero(batch["learn"])[:, 0]
        told, _ = module.told(state, codes, present, unseen, graph, rows, False)
        losses.append(sum(float(value.detach()) for value in told))
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def replace_row(area: FuseArea, row: int) -> FuseArea:
    x = area.x.copy()
    x[row, :9] += 3.0
    return FuseArea(area.levels, area.graph, x, area.columns)


def test_cones_ask_the_same_of_each_cell_once(area: FuseArea, made: TrainedFuser) -> None:
    config = replace(SMALL, cone_resolution=7)
    objective = FuseObjective(area, made.fuser.net, config, held_of(area))
    counted = sum(int(objective.batch(np.array([k]))["learn"].sum()) for k in range(objective.count))
    assert objective.count > 1
    assert counted == int((~held_of(area)).sum())
    with torch.no_grad():
        figures = objective.validate(torch.device("cpu"))
        plain = FuseObjective(area, made.fuser.net, SMALL, held_of(area)).validate(torch.device("cpu"))
    assert figures["loss"] == pytest.approx(plain["loss"], rel=0.3)  # other draws of what is hidden


def test_cones_side_by_side_are_the_cones(area: FuseArea, made: TrainedFuser) -> None:
    cones = ConeBatchingUNet(area.levels, area.graph, made.fuser.config.unet, 7)
    parts = [cones.cone_batch(cone, area.x) for cone in cones.cones([0, 1])]
    joined = side_by_side([part.graph for part in parts])
    assert graph_of(graph_tensors(joined)).sizes == joined.sizes
    with torch.no_grad():
        alone = torch.cat([made.fuser.net.vectors(part.x, part.graph) for part in parts])
        together = made.fuser.net.vectors(torch.cat([part.x for part in parts]), joined)
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)


def test_hiding_has_the_shares_that_it_says() -> None:
    cells = disk(9, 20)
    graph = fuse_area(cells, list(modalities(cells).values()), (9, 8, 7)).graph
    draw = torch.Generator().manual_seed(0)
    alone = hidden(graph, 3, Hiding(modality=0.4, blocks=0), draw)
    assert float(alone.float().mean()) == pytest.approx(0.4, abs=0.03)
    blocks = hidden(graph, 3, Hiding(modality=0, blocks=1.0, block_modalities=1.0, level=1), draw)
    above = ancestors(graph, 1)
    for parent in range(0, graph.sizes[1], 5):
        part = blocks[above == parent]
        assert bool((part == part[0]).all())
    assert 0 < float(blocks.float().mean()) < 1


def test_labels_are_learned_from_where_they_are_given(area: FuseArea, tmp_path: Path) -> None:
    truth = field(torn(9, 6))[area.levels.order]
    may = np.arange(len(truth)) % 3 != 0
    labels = Labels(("target",), np.where(may, truth, np.nan)[:, None].astype(np.float32))
    config = replace(SMALL, loop=replace(SMALL.loop, epochs=12))
    taught = trained(area, config, tmp_path, labels=labels)
    assert taught.fuser.card.recipe["labels"] == {"names": ["target"]}
    assert taught.fuser.space.id != trained(area, config, tmp_path / "plain").fuser.space.id


def test_the_u_net_is_chosen_setting_by_setting(area: FuseArea, tmp_path: Path) -> None:
    config = FuseTraining.from_json({"unet": {"dims": [8, 12, 16], "skip": "gate"}})
    assert config.unet.made(3, 128) == replace(plain_unet(3, 128), dims=(8, 12, 16), skip="gate")
    assert FuseTraining().unet.made(2, 32) == plain_unet(2, 32)
    made = trained(area, replace(SMALL, unet=config.unet, loop=replace(SMALL.loop, epochs=1)), tmp_path)
    assert made.fuser.config.unet.dims == (8, 12, 16)
    with pytest.raises(UsageError, match="unet.lateral = .2, 1.: give 3 numbers for 3 levels"):
        UNetChoice(lateral=(2, 1)).made(3, 16)


def test_every_weight_has_a_gradient_where_others_wait_for_it(
    area: FuseArea, made: TrainedFuser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the coarser levels, their weights are in no loss; processes that draw otherwise would wait for ever."""
    module = FuseModule(made.fuser.net, replace(SMALL, level_drop=1.0))
    batch = {**graph_tensors(area.graph), "x": torch.from_numpy(area.x), "learn": torch.from_numpy(~held_of(area))}

    def unused() -> int:
        module.zero_grad(set_to_none=True)
        module(batch, torch.Generator().manual_seed(0)).backward()
        return sum(weight.grad is None for weight in module.parameters())

    assert unused() > 0
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    assert unused() == 0


def test_settings_that_cannot_be(area: FuseArea, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing is hidden"):
        Hiding(0, 0, seen=0)
    with pytest.raises(UsageError, match="all weights"):
        FuseLoss(0, 0)
    with pytest.raises(UsageError, match="halo is for cones"):
        trained(area, replace(SMALL, halo=1), tmp_path)
    with pytest.raises(UsageError, match="all cells are held out"):
        train_fuser(area, SHAPES, np.ones(len(area.x), dtype=bool), SMALL, tmp_path)
    with pytest.raises(UsageError, match="no setting 'colour'"):
        FuseTraining.from_json({"colour": 1})
