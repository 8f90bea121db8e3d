"""Hex2vec: what it learns, that it can be repeated, and what it cannot learn from."""

from __future__ import annotations

from math import log
from pathlib import Path

import h3
import numpy as np
import pytest
import torch

from placevec.errors import CheckpointError, DataError, UsageError
from placevec.geo.cells import H3Cells
from placevec.nn.hex2vec import Hex2VecConfig
from placevec.train.config import LoopConfig
from placevec.train.hex2vec import Hex2VecObjective, Hex2VecTraining, Pairs, train_hex2vec

CELLS = np.sort(H3Cells(8).rings(H3Cells(8).assign(H3Cells(5).centre([0x85754E67FFFFFFF])), 8)[0])
CONFIG = Hex2VecTraining(
    Hex2VecConfig((16,), 8), negatives=4, loop=LoopConfig(epochs=15, batch_size=32, learning_rate=2e-2, seed=3)
)


def counts() -> np.ndarray:
    """Two quarters with kinds of their own, and noise."""
    rng = np.random.default_rng(0)
    west = H3Cells(8).centre(CELLS).lon < np.median(H3Cells(8).centre(CELLS).lon)
    rates = np.where(west[:, None], [4.0, 4.0, 0.2, 0.2, 1.0], [0.2, 0.2, 4.0, 4.0, 1.0])
    return rng.poisson(rates).astype(np.float32)


def test_near_cells_get_near_vectors(tmp_path: Path) -> None:
    own = counts()
    trained = train_hex2vec(own, CELLS, CONFIG, tmp_path)
    # Of two kinds of cells with opposite vectors the loss is 1.12 at the least: half of the far cells are alike.
    assert trained.result.metrics["loss"] < trained.result.initial["loss"] - 0.1
    vectors = trained.embed(own)
    west = own[:, :2].sum(axis=1) > own[:, 2:4].sum(axis=1)
    product = vectors @ vectors.T
    assert product[west][:, west].mean() > product[west][:, ~west].mean() + 0.5
    again = train_hex2vec(own, CELLS, CONFIG, tmp_path)  # a finished run is answered from its folder
    assert again.space == trained.space
    np.testing.assert_array_equal(again.embed(own), vectors)
    with pytest.raises(CheckpointError, match="other settings or data"):
        train_hex2vec(own + 1, CELLS, CONFIG, tmp_path)


def test_the_loss_of_vectors_that_say_nothing() -> None:
    objective = Hex2VecObjective(counts(), CELLS, CONFIG)
    module = objective.module
    assert isinstance(module, Pairs)
    assert not set(module.state_dict()) & {"counts", "disk"}
    rows = torch.arange(len(CELLS))

    # A network that gives every cell the same short vector: then all products are 0, and each sigmoid a half.
    for parameter in module.parameters():
        torch.nn.init.constant_(parameter, 0.0)
    loss, known = module.losses(rows, torch.Generator().manual_seed(0))
    assert known.tolist() == [1.0] * len(CELLS)
    torch.testing.assert_close(loss, torch.full((len(CELLS),), 2 * log(2)))


def test_a_cell_without_neighbours_has_no_loss() -> None:
    lonely = H3Cells(8).assign(H3Cells(5).centre([0x8508302FFFFFFFF]))
    cells = np.concatenate([CELLS, lonely])
    objective = Hex2VecObjective(np.concatenate([counts(), np.ones((1, 5), dtype=np.float32)]), cells, CONFIG)
    assert len(CELLS) not in objective.train_rows
    assert isinstance(objective.module, Pairs)
    loss, known = objective.module.losses(torch.tensor([len(CELLS)]), torch.Generator().manual_seed(0))
    assert loss.tolist() == known.tolist() == [0.0]


def test_what_nothing_can_be_learned_from() -> None:
    with pytest.raises(DataError, match="0 of 217 cells"):
        Hex2VecObjective(np.zeros((len(CELLS), 3), dtype=np.float32), CELLS, CONFIG)
    with pytest.raises(DataError, match="negative"):
        Hex2VecObjective(np.full((len(CELLS), 3), -1, dtype=np.float32), CELLS, CONFIG)
    with pytest.raises(DataError, match="as many of each"):
        Hex2VecObjective(np.zeros((2, 3), dtype=np.float32), CELLS, CONFIG)


def test_settings() -> None:
    assert Hex2VecTraining.from_json(CONFIG.to_json()) == CONFIG
    for wrong in ({"rings": 0}, {"negatives": 0}):
        with pytest.raises(UsageError):
            Hex2VecTraining.from_json(wrong)
    with pytest.raises(UsageError):
        Hex2VecConfig(dims=0)


def test_which_cells_are_drawn() -> None:
    objective = Hex2VecObjective(counts(), CELLS, CONFIG)
    module = objective.module
    assert isinstance(module, Pairs)
    drawn: list[torch.Tensor] = []
    module.net.register_forward_pre_hook(lambda _, given: drawn.append(given[0]))
    module.counts = torch.arange(len(CELLS), dtype=torch.float32)[:, None].repeat(1, 5)  # a cell's counts are its row
    rows = torch.arange(len(CELLS))
    module.losses(rows, torch.Generator().manual_seed(1))
    own, near, far = (part[:, 0].long().tolist() for part in drawn)
    assert own == rows.tolist()
    names = [h3.int_to_str(int(cell)) for cell in CELLS]
    assert {h3.grid_distance(names[a], names[b]) for a, b in zip(own, near, strict=True)} == {1}
    assert len(set(near)) > len(CELLS) / 3
    assert len(far) == CONFIG.negatives * len(CELLS)
