"""The two objectives: what they learn, which Space they end in, and what they refuse."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from placevec.encoders.location import LocationConfig
from placevec.encoders.model import load_encoder
from placevec.errors import DataError, UsageError
from placevec.nn.position import Harmonics
from placevec.nn.siren import SirenConfig
from placevec.provenance import Saw, Space
from placevec.train.augment import AugmentConfig, augment
from placevec.train.contrastive import LocationTraining, retrieval, train_location
from placevec.train.data import Rows, digest, parts
from placevec.train.selfsup import ImageTraining, train_image

_spec = importlib.util.spec_from_file_location("tiny_run", Path(__file__).with_name("tiny_run.py"))
assert _spec is not None
assert _spec.loader is not None
tiny_run: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny_run)


def test_the_location_encoder_joins_the_space_of_the_images(tmp_path: Path) -> None:
    space = Space.asserted("images", 6)
    config = tiny_run.location_training(epochs=40, learning_rate=1e-2)
    config = replace(config, encoder=LocationConfig(Harmonics(40), SirenConfig(capacity=32, dropout=0.0), dims=6))
    places, vectors = tiny_run.places(), tiny_run.vectors()
    everything = np.zeros(80, dtype=bool)
    trained = train_location(places, vectors, everything, config, tmp_path, space=space, saw=(Saw("t", "c"),))
    trained.encoder.space.require(space)
    trained.image.space.require(space)
    assert trained.encoder.space.origin == "joined"
    assert trained.encoder.card.saw == (Saw("t", "c"),)
    np.testing.assert_array_equal(trained.image.encode({"vector": vectors}), vectors)
    data = {"lonlat": np.stack([places.lon, places.lat], axis=1)}
    found = retrieval(torch.from_numpy(trained.encoder.encode(data)), torch.from_numpy(vectors))
    assert found["percentile"] > 0.6


def test_with_a_projection_both_towers_end_in_a_new_space(tmp_path: Path) -> None:
    space = Space.asserted("images", 6)
    config = tiny_run.location_training(dims=4)
    arguments = (tiny_run.places(), tiny_run.vectors(), tiny_run.held(), config, tmp_path)
    trained = train_location(*arguments, space=space)
    assert trained.encoder.space.origin == "trained"
    assert trained.encoder.space == trained.image.space
    assert trained.encoder.space.id != space.id
    assert trained.image.encode({"vector": tiny_run.vectors()}).shape == (80, 4)
    again = train_location(*arguments, space=space)
    assert again.encoder.space == trained.encoder.space  # one run, one Space, also when it is asked for twice


def test_a_space_of_another_metric_is_not_joined(tmp_path: Path) -> None:
    space = Space.asserted("images", 6, metric="l2")
    config = tiny_run.location_training(epochs=1)
    trained = train_location(tiny_run.places(), tiny_run.vectors(), tiny_run.held(), config, tmp_path, space=space)
    assert trained.encoder.space.id != space.id


def test_location_training_refuses(tmp_path: Path) -> None:
    places, vectors, held = tiny_run.places(), tiny_run.vectors(), tiny_run.held()
    with pytest.raises(UsageError, match="set dims = 6 or projection = linear"):
        train_location(places, vectors, held, tiny_run.location_training(dims=4, projection="identity"), tmp_path)
    with pytest.raises(DataError, match="give one"):
        train_location(places, vectors[:-1], held, tiny_run.location_training(), tmp_path)
    broken = vectors.copy()
    broken[3, 2] = np.nan
    with pytest.raises(DataError, match="not finite"):
        train_location(places, broken, held, tiny_run.location_training(), tmp_path)
    with pytest.raises(DataError, match="validation mask"):
        train_location(places, vectors, held[:-1], tiny_run.location_training(), tmp_path)
    with pytest.raises(UsageError, match="projection = 'none'"):
        LocationTraining(projection="none")


def test_settings_go_to_json_and_back() -> None:
    for config in (tiny_run.location_training(), tiny_run.image_training(), ImageTraining(), LocationTraining()):
        assert type(config).from_json(config.to_json()) == config
    with pytest.raises(UsageError, match="has no setting 'epoch'"):
        ImageTraining.from_json({"loop": {"epoch": 3}})


def test_the_image_encoder_learns_and_can_be_loaded(tmp_path: Path) -> None:
    config = tiny_run.image_training(epochs=8)
    trained = train_image(tiny_run.chips(), tiny_run.held(), config, tmp_path / "run")
    assert trained.result.metrics["loss"] < trained.result.initial["loss"]
    assert trained.encoder.space.origin == "trained"
    saved = trained.encoder.save(tmp_path / "model")
    loaded = load_encoder(tmp_path / "model")
    assert loaded.card == saved.card
    data = {"image": tiny_run.chips()}
    np.testing.assert_array_equal(loaded.encode(data), trained.encoder.encode(data))
    cosines = loaded.encode(data) @ loaded.encode(data).T
    assert abs(cosines[~np.eye(len(cosines), dtype=bool)].mean()) < 0.1  # centred


def test_chips_can_be_read_by_row(tmp_path: Path) -> None:
    chips = tiny_run.chips()
    asked: list[int] = []

    def read(rows: np.ndarray) -> np.ndarray:
        asked.extend(rows.tolist())
        return chips[rows]

    config = tiny_run.image_training(epochs=2)
    lazy = train_image(Rows(80, read, digest(chips)), tiny_run.held(), config, tmp_path / "a")
    whole = train_image(chips, tiny_run.held(), config, tmp_path / "b")
    assert set(asked) == set(range(80))
    assert all(torch.equal(v, whole.encoder.net.state_dict()[k]) for k, v in lazy.encoder.net.state_dict().items())
    assert lazy.result.key == whole.result.key


def test_a_validation_chip_is_never_trained_on(tmp_path: Path) -> None:
    chips = tiny_run.chips()
    config = tiny_run.image_training(epochs=2)
    first = train_image(chips, tiny_run.held(), config, tmp_path / "a")
    other = chips.copy()
    other[tiny_run.held()] = other[tiny_run.held()][::-1]
    second = train_image(other, tiny_run.held(), config, tmp_path / "b")
    # Which weights are kept may differ, but not what was learned from: so compare where all of it went.
    assert (tmp_path / "a" / "train.csv").read_text() == (tmp_path / "b" / "train.csv").read_text()
    assert first.result.key != second.result.key


def test_chips_of_another_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 bands"):
        train_image(tiny_run.chips()[:, :2], tiny_run.held(), tiny_run.image_training(), tmp_path)


@pytest.mark.parametrize("turn", [True, False])
def test_augmentation_without_strength_only_turns(turn: bool) -> None:
    chips = torch.randn(64, 2, 5, 5)
    still = AugmentConfig(min_scale=1.0, turn=turn, brightness=0, contrast=0, colour=0, noise=0)
    views = augment(chips, still, torch.Generator().manual_seed(0))
    if not turn:
        torch.testing.assert_close(views, chips, atol=1e-5, rtol=1e-5)
        return
    found = set()
    for view, chip in zip(views, chips, strict=True):
        turned = [torch.rot90(base, k, (1, 2)) for base in (chip, chip.flip(2)) for k in range(4)]
        errors = [float((view - other).abs().max()) for other in turned]
        assert min(errors) < 1e-4
        found.add(int(np.argmin(errors)))
    assert found == set(range(8))


def test_augmentation_is_a_function_of_its_generator_and_stays_in_the_chip() -> None:
    chips = torch.rand(8, 3, 16, 16)
    config = AugmentConfig(noise=0, min_scale=0.3)
    one = augment(chips, config, torch.Generator().manual_seed(1))
    assert torch.equal(one, augment(chips, config, torch.Generator().manual_seed(1)))
    assert not torch.equal(one, augment(chips, config, torch.Generator().manual_seed(2)))
    assert one.min() >= chips.min() - 1e-6
    assert one.max() <= chips.max() + 1e-6
    for wrong in ({"min_scale": 0.0}, {"noise": -1.0}):
        with pytest.raises(UsageError):
            AugmentConfig(**wrong)


def test_retrieval_against_loops() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(30, 4)), rng.normal(size=(30, 4))
    got = retrieval(torch.from_numpy(a), torch.from_numpy(b))
    ranks = []
    for i in range(30):
        cosines = [a[i] @ b[j] / np.linalg.norm(a[i]) / np.linalg.norm(b[j]) for j in range(30)]
        ranks.append(1 + sum(c > cosines[i] for j, c in enumerate(cosines) if j != i))
    assert got["recall_at_1"] == pytest.approx(np.mean(np.array(ranks) <= 1))
    assert got["recall_at_10"] == pytest.approx(np.mean(np.array(ranks) <= 10))
    assert got["mrr"] == pytest.approx(np.mean([1 / r for r in ranks]))
    assert got["percentile"] == pytest.approx(np.mean([1 - (r - 1) / 29 for r in ranks]))
    flat = retrieval(torch.ones(5, 3), torch.ones(5, 3))
    assert flat["recall_at_1"] == 0.0  # equal vectors find nothing


def test_parts_and_digest() -> None:
    train, held = parts(np.array([True, False, False]), 3)
    assert (train.tolist(), held.tolist()) == ([1, 2], [0])
    with pytest.raises(UsageError, match="1 of 3 rows"):
        parts(np.array([True, False, True]), 3)
    a = np.arange(6, dtype=np.float32)
    assert len({digest(a), digest(a.reshape(2, 3)), digest(a.astype(np.float64)), digest(a + 1)}) == 4


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    # Dropout draws other numbers in each process: without it, two processes with half a batch each must equal one.
    script = tmp_path / "two.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from dataclasses import replace\nfrom pathlib import Path\nimport tiny_run\n"
        "from placevec.nn.siren import SirenConfig\n"
        "def main(folder, **loop):\n"
        "    config = tiny_run.location_training(epochs=2, **loop)\n"
        "    config = replace(config, encoder=replace(config.encoder, nn=SirenConfig(capacity=12, dropout=0.0)))\n"
        "    args = (tiny_run.places(), tiny_run.vectors(), tiny_run.held(), config, Path(folder))\n"
        "    return tiny_run.train_location(*args)\n"
        "if __name__ == '__main__':\n"
        "    main(sys.argv[1], devices=2, strategy='ddp').encoder.save(sys.argv[1] + '/model')\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(
        [*launch, str(tmp_path / "two")], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    spec = importlib.util.spec_from_file_location("two", script)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    one = module.main(tmp_path / "one").encoder.net.state_dict()
    from safetensors.torch import load_file

    two = load_file(tmp_path / "two" / "checkpoint.safetensors")
    for name, value in one.items():
        torch.testing.assert_close(two[f"best/net.{name}"], value, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("loss", ["nt-xent", "vicreg"])
def test_both_losses_run(tmp_path: Path, loss: str) -> None:
    config = replace(tiny_run.image_training(epochs=1), loss=loss)
    assert train_image(tiny_run.chips(), tiny_run.held(), config, tmp_path).result.stopped == "end"
    with pytest.raises(UsageError, match="give nt-xent or vicreg"):
        replace(config, loss="byol")
