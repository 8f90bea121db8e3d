"""Contrastive training as a whole: several tables, captions, a queue, positives, cached gradients, exact resume."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from placevec.encoders.location import LocationConfig
from placevec.encoders.model import load_encoder
from placevec.encoders.text import TextEncoder
from placevec.errors import DataError, SchemaError, UsageError
from placevec.geo.sphere import LonLat
from placevec.nn.position import Harmonics, Local
from placevec.nn.siren import SirenConfig
from placevec.nn.text import TextConfig
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Places
from placevec.table.io import write_table
from placevec.tasks.train import train
from placevec.train.checkpoint import NAME
from placevec.train.config import LoopConfig
from placevec.train.contrastive import (
    ImageTable,
    LocationObjective,
    LocationTraining,
    SourceConfig,
    TrainedLocation,
    train_location,
)
from placevec.train.logs import read_log

N = 60
LOOP = LoopConfig(epochs=3, batch_size=16, learning_rate=3e-3, checkpoint_every=2, log_every=1, accelerator="cpu")
TEXT = TextConfig(buckets=64, width=8, capacity=8, max_tokens=16)


def settings(dropout: float = 0.2, degrees: int = 5, **changes: Any) -> LocationTraining:
    loop = LoopConfig(**{**LOOP.__dict__, **changes.pop("loop", {})})
    encoder = LocationConfig(Harmonics(degrees), SirenConfig(capacity=12, dropout=dropout), dims=6)
    return LocationTraining(**{"encoder": encoder, "text": TEXT, "loop": loop, **changes})


def places() -> LonLat:
    rng = np.random.default_rng(1)
    return LonLat(rng.uniform(-9, 3, N), rng.uniform(36, 43, N))


def tables() -> tuple[ImageTable, ImageTable]:
    p = places()
    clay = np.sin(np.outer(p.lon, np.arange(1, 9)) / 3 + p.lat[:, None]).astype(np.float32)
    few = np.random.default_rng(2).permutation(N)[:35]
    alpha = np.cos(np.outer(p.lat, np.arange(1, 6)) / 3).astype(np.float32)[few]
    return ImageTable("clay", clay), ImageTable("alpha", alpha, few)


def captions() -> list[str | None]:
    return [
        None if row % 3 == 0 else f"{'dry' if lat < 40 else 'wet'} {row % 7}" for row, lat in enumerate(places().lat)
    ]


HELD = np.arange(N) % 4 == 0
EVERYTHING: dict[str, Any] = {
    "queue": 24,
    "queue_noise_m": 500.0,
    "positives_m": 30_000.0,
    "positives_cos": 0.95,
    "micro_batch": 5,
    "captions": "said",
    "caption_weight": 0.5,
}


def run(folder: Path, config: LocationTraining, **more: Any) -> TrainedLocation:
    said = captions() if config.captions else None
    return train_location(places(), tables(), HELD, config, folder, captions=said, **more)


def state(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / NAME)


@pytest.mark.parametrize("stop_at", [1, 2, 3, 5, 6])
def test_every_option_goes_on_exactly_where_it_was_killed(tmp_path: Path, stop_at: int) -> None:
    config = settings(**EVERYTHING)
    whole = run(tmp_path / "whole", config)

    class Killed(Exception):
        pass

    def kill(step: int, total: int, metrics: Mapping[str, float]) -> None:
        if step == stop_at:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "broken", config, progress=kill)
    resumed = run(tmp_path / "broken", config)
    assert resumed.result.metrics == whole.result.metrics
    assert resumed.encoder.space == whole.encoder.space
    one, two = state(tmp_path / "whole"), state(tmp_path / "broken")
    assert set(one) == set(two)
    assert "model/queue.rows" in one
    assert (one["model/queue.rows"] >= 0).all()
    assert all(torch.equal(one[name], two[name]) for name in one)
    for name in ("train.csv", "validation.csv"):
        assert (tmp_path / "broken" / name).read_text() == (tmp_path / "whole" / name).read_text()


@pytest.mark.parametrize("name", sorted(EVERYTHING))
def test_every_option_changes_what_is_learned(tmp_path: Path, name: str) -> None:
    off = {"caption_weight": 1.0, "captions": ""}.get(name, 0)
    losses = []
    for key, options in (("on", EVERYTHING), ("off", {**EVERYTHING, name: off})):
        run(tmp_path / key, settings(**options, loop={"epochs": 2}))
        losses.append([row["loss"] for row in read_log(tmp_path / key / "train.csv")])
    assert losses[0] != losses[1]


def test_several_tables_and_captions_end_in_one_space(tmp_path: Path) -> None:
    config = settings(captions="said", loop={"epochs": 30, "learning_rate": 1e-2})
    trained = run(tmp_path / "run", config)
    assert trained.encoder.space.origin == "trained"
    assert list(trained.images) == ["clay", "alpha"]
    assert trained.text is not None
    for encoder in (*trained.images.values(), trained.text):
        encoder.space.require(trained.encoder.space)
    assert {encoder.tower for encoder in trained.images.values()} == {"image-clay", "image-alpha"}
    figures = trained.result.metrics
    for tower in ("clay", "alpha", "text"):
        for name in ("loss", "recall_at_1", "recall_at_10", "mrr", "percentile", "chance_mrr"):
            assert np.isfinite(figures[f"{tower}/{name}"])
    n = int(HELD.sum())
    assert figures["clay/chance_recall_at_1"] == pytest.approx(1 / n)
    assert figures["mrr"] == pytest.approx((figures["clay/mrr"] + figures["alpha/mrr"]) / 2)
    assert figures["loss"] == pytest.approx((figures["clay/loss"] + figures["alpha/loss"]) / 2 + figures["text/loss"])
    assert figures["loss"] < trained.result.initial["loss"]
    # The head as an encoder gives what the training saw: so the figures can be had again from the saved parts.
    from placevec.train.contrastive import retrieval

    p, clay = places(), tables()[0].vectors
    where = trained.encoder.encode({"lonlat": np.stack([p.lon, p.lat], axis=1)[HELD]})
    what = trained.images["clay"].encode({"vector": clay[HELD]})
    again = retrieval(torch.from_numpy(where), torch.from_numpy(what))
    assert again["mrr"] == pytest.approx(figures["clay/mrr"], abs=1e-6)


def test_other_tables_are_projected_into_the_space_of_the_one_that_is_kept(tmp_path: Path) -> None:
    space = Space.asserted("clay", 8)
    clay, alpha = tables()
    config = settings(sources=(SourceConfig("clay", "identity"),))
    config = replace(config, encoder=replace(config.encoder, dims=8))
    given = (replace(clay, space=space), alpha)
    trained = train_location(places(), given, HELD, config, tmp_path)
    assert trained.encoder.space.origin == "joined"
    for encoder in (trained.encoder, *trained.images.values()):
        encoder.space.require(space)
    assert list(trained.learned) == ["alpha"]


def test_a_table_counts_by_its_weight() -> None:
    rows = np.arange(20)

    def loss(*sources: SourceConfig, which: slice = slice(None)) -> float:
        config = settings(dropout=0.0, sources=sources)
        objective = LocationObjective(places(), tables(), np.zeros(N, dtype=bool), config)
        towers = objective.towers.eval()
        batch = objective.batch(rows)
        place = towers.places(batch)
        own = [float(towers._image_loss(i, batch, place, None, None).detach()) for i in range(2)]
        whole = float(towers(batch, torch.Generator()).detach())
        weights = [source.weight for source in sources] or [1.0, 1.0]
        assert whole == pytest.approx(sum(w * x for w, x in zip(weights, own, strict=True)) / sum(weights), rel=1e-5)
        return whole

    assert loss() != loss(SourceConfig("clay", weight=3.0), SourceConfig("alpha", weight=0.5))


def test_a_table_is_compared_over_its_own_rows_only() -> None:
    from placevec.nn.losses import symmetric_infonce

    objective = LocationObjective(places(), tables(), np.zeros(N, dtype=bool), settings(dropout=0.0))
    towers, rows = objective.towers.eval(), np.arange(0, 40)
    alpha = tables()[1]
    assert alpha.rows is not None
    batch = objective.batch(rows)
    got = towers._image_loss(1, batch, towers.places(batch), None, None)
    own = np.flatnonzero(alpha.rows < 40)
    place = towers.places({"encoded": objective.training.encoded[torch.from_numpy(alpha.rows[own])]})
    image = towers.heads[1](torch.from_numpy(alpha.vectors[own]))
    expected = symmetric_infonce(place, image, 1 / 0.07)
    assert float(got.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_a_batch_without_a_table_still_has_gradients() -> None:
    clay, _ = tables()
    lone = ImageTable("alpha", np.ones((1, 5), dtype=np.float32), np.array([3]))
    objective = LocationObjective(places(), (clay, lone), np.zeros(N, dtype=bool), settings())
    for rows in (np.arange(8), np.arange(8, 16)):
        loss = objective.module(objective.batch(rows), torch.Generator())
        objective.module.zero_grad()
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.module.parameters())


def test_the_whole_module_has_equal_gradients_with_and_without_caching() -> None:
    options = {**EVERYTHING, "queue_noise_m": 0.0}
    found = []
    for micro in (0, 3):
        config = settings(dropout=0.0, projection="mlp", head_dropout=0.0, **{**options, "micro_batch": micro})
        config = replace(config, text=replace(TEXT, dropout=0.0))
        objective = LocationObjective(places(), tables(), HELD, config, captions())
        for start in (0, 15):  # the second batch has a queue
            loss = objective.module(objective.batch(np.arange(start, start + 15)), torch.Generator())
        objective.module.zero_grad()
        loss.backward()
        found.append([p.grad for p in objective.module.parameters()])
    for a, b in zip(*found, strict=True):
        assert a is not None
        assert b is not None
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_queued_places_that_are_the_batch_s_own_are_no_negatives() -> None:
    objective = LocationObjective(
        places(), tables(), HELD, settings(queue=30, queue_noise_m=0.0, positives_m=150_000.0)
    )
    towers = objective.towers
    assert towers.queue is not None
    assert not any(name.startswith("queue/") for name in objective.batch(np.arange(5)))
    towers.queue.push(torch.arange(30))
    batch = objective.batch(np.array([1, 2, 40]))
    assert batch["queue/row"].tolist() == [0, *range(3, 30)]
    found = towers._queued(batch, batch["unit"])
    assert found is not None
    from placevec.geo.sphere import pairwise_m

    own = places()[np.flatnonzero(~HELD)]
    queued = own[batch["queue/row"].numpy()]
    expected = pairwise_m(own[np.array([1, 2, 40])], queued) <= 150_000.0
    np.testing.assert_array_equal(found.mask.numpy(), expected)
    assert expected.any()
    # Validation pushes nothing.
    towers.eval()
    towers(batch, torch.Generator())
    assert towers.queue.rows.tolist() == list(range(30))
    towers.train()
    towers(batch, torch.Generator())
    assert towers.queue.rows.tolist()[:4] == [1, 2, 40, 0]


def test_a_local_frame_is_that_of_the_training_places(tmp_path: Path) -> None:
    config = settings(loop={"epochs": 1})
    config = replace(config, encoder=replace(config.encoder, position=Local(Harmonics(5))))
    assert LocationTraining.from_json(config.to_json()) == config
    trained = train_location(places(), tables(), HELD, config, tmp_path / "run")
    own = places()[~HELD]
    assert trained.encoder.config.position == Local(Harmonics(5)).fitted(own.lon, own.lat)
    trained.encoder.save(tmp_path / "model")
    card = json.loads((tmp_path / "model" / "card.json").read_text())
    assert card["config"]["position"]["radius"] > 0
    assert card["recipe"]["encoder"]["position"]["radius"] is None
    data = {"lonlat": np.stack([own.lon, own.lat], axis=1)}
    np.testing.assert_array_equal(load_encoder(tmp_path / "model").encode(data), trained.encoder.encode(data))


def test_captions_are_refused_that_teach_nothing(tmp_path: Path) -> None:
    config = settings(captions="said")
    with pytest.raises(UsageError, match="1 different captions"):
        train_location(places(), tables(), HELD, config, tmp_path, captions=["a river"] * N)
    with pytest.raises(DataError, match="2 captions for 60 places"):
        train_location(places(), tables(), HELD, config, tmp_path, captions=["a", "b"])


def test_an_mlp_head_is_saved_as_it_was_trained(tmp_path: Path) -> None:
    trained = run(tmp_path / "run", settings(projection="mlp", head_hidden=7))
    objective = LocationObjective(places(), tables(), HELD, settings(projection="mlp", head_hidden=7))
    best = {name.removeprefix("best/"): value for name, value in state(tmp_path / "run").items() if "best/" in name}
    objective.module.load_state_dict(best)
    head = objective.heads[0].eval()
    expected = torch.nn.functional.normalize(head(torch.from_numpy(tables()[0].vectors)), dim=1).detach().numpy()
    trained.images["clay"].save(tmp_path / "model")
    for encoder in (trained.images["clay"], load_encoder(tmp_path / "model")):
        np.testing.assert_allclose(encoder.encode({"vector": tables()[0].vectors}), expected, atol=1e-6)


def stored(folder: Path, name: str, rows: np.ndarray, vectors: np.ndarray, **columns: Any) -> Path:
    ids = [f"p{row}" for row in rows]
    space = Space.asserted(name, vectors.shape[1])
    made = Places.create(ids, places()[rows], attributes=columns)
    write_table(EmbeddingTable.of(made, vectors, space), folder / f"{name}.parquet")
    return folder / f"{name}.parquet"


def test_train_takes_several_tables(tmp_path: Path) -> None:
    clay, alpha = tables()
    assert alpha.rows is not None
    paths = [
        stored(tmp_path, "clay", np.arange(N), clay.vectors, said=captions()),
        stored(tmp_path, "alpha", alpha.rows, alpha.vectors),
    ]
    config = settings(captions="said").to_json()
    out = tmp_path / "models" / "region"
    summary = train(
        "location", out, table=paths, config=config, block="grid:1", folds=5, untrained=tmp_path / "untrained"
    )
    assert summary.rows + summary.validation + summary.buffered == N
    encoder = load_encoder(out)
    made = sorted(path.name for path in out.parent.iterdir())
    assert made == ["region", "region-image-alpha", "region-image-clay", "region-text", "region.run"]
    for name in ("image-alpha", "image-clay", "text"):
        load_encoder(out.with_name(f"region-{name}")).space.require(encoder.space)
    text = load_encoder(out.with_name("region-text"))
    assert isinstance(text, TextEncoder)
    assert text.encode({"text": np.array(["dry 1"])}).shape == (1, 6)
    assert len(encoder.card.parents) == 2
    assert load_encoder(tmp_path / "untrained").card.config == encoder.card.config
    with pytest.raises(SchemaError, match="captions = 'words' is no column; there are: said"):
        train("location", tmp_path / "other", table=paths, config={**config, "captions": "words"}, block="grid:1")
    with pytest.raises(UsageError, match="give a table"):
        train("location", tmp_path / "other", table=[])


def test_train_takes_one_table_as_before(tmp_path: Path) -> None:
    clay, _ = tables()
    path = stored(tmp_path, "clay", np.arange(N), clay.vectors)
    config = {"loop": LOOP.__dict__, "encoder": {"position": {"kind": "harmonics", "degrees": 4}}}
    for name, table in (("a", path), ("b", [str(path)])):
        summary = train("location", tmp_path / name, table=table, config=config, block="grid:1", folds=5)
        assert summary.dims == 8
        assert set(summary.scores) >= {"loss", "mrr", "recall_at_1", "chance_recall_at_1"}
        assert load_encoder(tmp_path / name).space.origin == "joined"
        assert not (tmp_path / f"{name}-image").exists()
    train("location", tmp_path / "c", table=path, config={**config, "projection": "linear"}, block="grid:1", folds=5)
    load_encoder(tmp_path / "c-image").space.require(load_encoder(tmp_path / "c").space)


TWO = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
import test_contrastive as here

OPTIONS = {{**here.EVERYTHING, "queue_noise_m": 0.0, "micro_batch": 3}}

def main(folder, **loop):
    from dataclasses import replace
    config = here.settings(dropout=0.0, **OPTIONS, loop=loop)
    return here.run(Path(folder), replace(config, text=replace(here.TEXT, dropout=0.0)))

if __name__ == "__main__":
    main(sys.argv[1], devices=2, strategy="ddp")
"""


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO.format(folder=str(Path(__file__).parent)))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run([*launch, str(tmp_path / "b")], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    spec = importlib.util.spec_from_file_location("two", script)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(tmp_path / "a")
    one, two = state(tmp_path / "a"), state(tmp_path / "b")
    assert torch.equal(one["model/queue.rows"], two["model/queue.rows"])
    for name, value in one.items():
        if name.startswith("model/"):
            torch.testing.assert_close(two[name], value, atol=1e-4, rtol=1e-3)
