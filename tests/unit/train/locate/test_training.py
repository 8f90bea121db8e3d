"""Whole phases: what they learn, that they go on exactly, what the card says, what is refused, that nothing leaks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("hdbscan")

import shapely
import torch
from torch import Tensor

import tiny_located as located
import tiny_locator as tiny
from placevec.encoders.locator import Locator
from placevec.errors import CheckpointError, UsageError
from placevec.geo.regions import Regions
from placevec.geo.sphere import distance_m
from placevec.train.locate import PHASES, Phase, TrainedLocator
from placevec.train.locate.training import _shift


def weights(made: TrainedLocator | Locator) -> dict[str, Tensor]:
    locator = made.locator if isinstance(made, TrainedLocator) else made
    return locator.net.state_dict()


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path], dict[str, TrainedLocator]]:
    """All three phases, each from the folder that the one before wrote."""
    folder = tmp_path_factory.mktemp("chain")
    saved, made = dict[str, Path](), dict[str, TrainedLocator]()
    start: Locator | None = None
    for phase in PHASES:
        made[phase] = located.run(folder / "run", phase, start=start, facts={"ground_m": 5.0}, licence="CC0")
        saved[phase] = folder / phase
        made[phase].locator.save(saved[phase])
        start = Locator.load(saved[phase])
    return folder, saved, made


def begun(chain: Any, phase: Phase) -> Locator | None:
    """What a phase begins with."""
    number = PHASES.index(phase)
    return Locator.load(chain[1][PHASES[number - 1]]) if number else None


def test_it_learns_and_each_phase_writes_its_evaluation(chain: Any) -> None:
    _, saved, made = chain
    province, geography, tuning = (made[phase].result for phase in PHASES)
    assert province.metrics["region_loss"] < province.initial["region_loss"]
    assert geography.metrics["energy_km"] < 0.8 * geography.initial["energy_km"]
    for phase in PHASES:
        evaluation = made[phase].finished.evaluation
        json.dumps(evaluation, allow_nan=False)
        assert evaluation["phase"] == phase
        assert evaluation["rows"] == {"train": 60, "val": 12, "calibration": 12}
        assert ("end_to_end" in evaluation) == (phase != "province")
        assert ("forgotten" in evaluation) == (phase == "tuning")
    assert tuning.initial["energy_km"] == pytest.approx(geography.metrics["energy_km"], rel=1e-6)
    locator = Locator.load(saved["tuning"])
    guess = locator.predict({"image": tiny.country(40, 9).images}).points
    chance = distance_m(tiny.country(40, 9).lonlat, guess)[::-1]
    assert np.median(distance_m(tiny.country(40, 9).lonlat, guess)) < 150_000.0
    assert len(chance) == 40


def test_the_card_says_what_it_is(chain: Any) -> None:
    _, saved, made = chain
    card = Locator.load(saved["tuning"]).card
    assert (card.kind, card.space.origin, card.licence, card.seed) == ("locator", "trained", "CC0", 0)
    recipe = card.recipe
    assert (recipe["phase"], recipe["pixels"], recipe["ground_m"]) == (2, tiny.PIXELS, 5.0)
    for name in ("backbones", "head", "geocells", "province", "geography", "tuning", "seed", "reach"):
        assert name in recipe
    for phase in PHASES:
        assert any(name.startswith(f"{phase}/") for name in card.scores), "scores of all phases stand there"
    assert [made[phase].locator.phase for phase in PHASES] == [0, 1, 2]
    with pytest.raises(UsageError, match="regions alone"):
        Locator.load(saved["province"]).require_cells()


def test_later_phases_keep_what_the_first_has_settled(chain: Any, tmp_path: Path) -> None:
    """Another head in the settings of a later phase changes nothing, and the card does not claim that it did."""
    other = located.training(head={"dims": 99}, province={"mixup": 0.9})
    made = located.run(tmp_path, "geography", other, start=begun(chain, "geography"))
    assert made.locator.dims == tiny.HEAD["dims"]
    assert made.locator.card.recipe["head"]["dims"] == tiny.HEAD["dims"]
    assert made.locator.card.recipe["province"]["mixup"] == 0.0
    assert same(weights(made), weights(Locator.load(chain[1]["geography"])))


def test_nothing_of_the_held_rows_is_in_what_was_learned(chain: Any, tmp_path: Path) -> None:
    """Other places and images of the held rows: the same cells, gallery and statistics, and the same first weights."""
    _, saved, made = chain
    split = located.parts()
    train_ids = {f"train-{row:04d}" for row in split.train}
    for phase in ("geography", "tuning"):
        gallery = Locator.load(saved[phase]).gallery
        assert gallery is not None
        assert {*gallery.ids.tolist()} == train_ids
        assert gallery.assets.tolist() == [f"{name}.png" for name in gallery.ids]
    cells = made["tuning"].locator.geocells
    assert cells.count.sum() == len(split.train)
    noise = located.source()
    images = noise.read(np.arange(96)).data["image"].copy()
    held = np.setdiff1d(np.arange(96), split.train)
    images[held] = 255 - images[held]
    where = noise.places()
    flipped = located.source()
    flipped = type(flipped)(where, {"image": images})
    nothing = np.arange(0)
    loop = {"loop": {"epochs": 1}}
    config = located.training(province=loop)
    a = located.run(tmp_path / "a", "province", config, parts=type(split)(split.train, nothing, nothing))
    b = located.run(
        tmp_path / "b", "province", config, source=flipped, parts=type(split)(split.train, nothing, nothing)
    )
    assert same(weights(a), weights(b))
    assert a.locator.geocells.fingerprint() == b.locator.geocells.fingerprint() == cells.fingerprint()


class Broken(Exception):
    pass


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("stop_at", [1, 5])
def test_a_phase_that_broke_off_goes_on_exactly(chain: Any, tmp_path: Path, phase: str, stop_at: int) -> None:
    def progress(label: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if label == phase and done == stop_at:
            raise Broken

    with pytest.raises(Broken):
        located.run(tmp_path, phase, start=begun(chain, phase), progress=progress)
    torch.rand(5)
    resumed = located.run(tmp_path, phase, start=begun(chain, phase))
    wanted = Locator.load(chain[1][phase])
    assert same(weights(resumed), weights(wanted))
    assert resumed.locator.space == wanted.space
    assert resumed.result.metrics == chain[2][phase].result.metrics
    assert resumed.locator.calibration.to_json() == wanted.calibration.to_json()
    if resumed.locator.gallery is not None:
        assert wanted.gallery is not None
        np.testing.assert_array_equal(resumed.locator.gallery.vectors, wanted.gallery.vectors)


@pytest.mark.parametrize("phase", PHASES)
def test_a_finished_phase_is_answered_again(chain: Any, phase: str) -> None:
    def never(label: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        pytest.fail(f"{label}: nothing is left to do")

    again = located.run(
        chain[0] / "run", phase, start=begun(chain, phase), progress=never, facts={"ground_m": 5.0}, licence="CC0"
    )
    assert same(weights(again), weights(Locator.load(chain[1][phase])))
    assert again.finished.evaluation == chain[2][phase].finished.evaluation


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 3},
        {"head": {"dropout": 0.3}},
        {"reach": 2.0},
        {"backbones": [{**tiny.BACKBONE, "net": {**tiny.BACKBONE["net"], "dropout": 0.3}}]},
        {"province": {"loss": {"auxiliary": 0.7}}},
    ],
)
def test_a_run_with_other_settings_is_another_run(chain: Any, change: dict[str, Any]) -> None:
    if "backbones" in change:
        change = {"backbones": [{**tiny.BACKBONE, "net": {**tiny.BACKBONE["net"], "width": 6}}]}
    with pytest.raises(CheckpointError, match="other settings or data"):
        located.run(chain[0] / "run", "province", located.training(**change))


def test_a_run_on_another_start_is_another_run(chain: Any) -> None:
    other = Locator.load(chain[1]["province"])
    with torch.no_grad():
        next(other.head.parameters()).add_(1e-3)
    with pytest.raises(CheckpointError, match="other settings or data"):
        located.run(chain[0] / "run", "geography", start=other)


def test_tuning_that_gains_nothing_is_undone(chain: Any, tmp_path: Path) -> None:
    start = begun(chain, "tuning")
    assert start is not None
    before = {name: value.clone() for name, value in weights(start).items()}
    mad = located.training(tuning={"loop": {"learning_rate": 3.0, "warmup": 0.0}, "rate": 1.0})
    made = located.run(tmp_path, "tuning", mad, start=start)
    evaluation = made.finished.evaluation
    assert evaluation["kept_the_phase_before"]
    assert evaluation["validation"] == evaluation["before_training"]
    assert evaluation["tried"]["energy_km"] > evaluation["validation"]["energy_km"]
    assert same(weights(made), before)
    assert evaluation["forgotten"] == {"forgotten": 0.0, "gained": 0.0}
    assert made.locator.card.scores["tuning/energy_km"] == evaluation["validation"]["energy_km"]
    assert made.locator.phase == 2


def test_the_untrained_locator_is_the_one_before_the_first_step(tmp_path: Path) -> None:
    loop = {"loop": {"epochs": 1}}
    made = located.run(tmp_path / "a", "province", located.training(province=loop), untrained=tmp_path / "u")
    fresh = Locator.load(tmp_path / "u")
    assert fresh.gallery is not None
    assert fresh.geocells.fingerprint() == made.locator.geocells.fingerprint()
    assert fresh.space.id != made.locator.space.id
    assert fresh.card.recipe["pixels"] == tiny.PIXELS
    assert not same(weights(fresh), weights(made))
    again = located.run(tmp_path / "b", "province", located.training(province=loop), untrained=tmp_path / "v")
    assert same(weights(Locator.load(tmp_path / "v")), weights(fresh))
    assert again.result.initial == made.result.initial
    fresh.predict({"image": tiny.country(3).images})


def test_geography_alone_stands_on_what_backbones_know(tmp_path: Path) -> None:
    made = located.run(tmp_path, "geography", located.training(geography={"loop": {"epochs": 1}}))
    assert made.locator.phase == 1
    assert (tmp_path / "content" / "features-0.npy").exists()
    assert made.locator.gallery is not None


def test_phases_share_what_they_read(chain: Any, tmp_path: Path) -> None:
    live = located.Live(located.source())
    short = located.training(**{phase: {"loop": {"epochs": 1}} for phase in PHASES})
    first = located.run(tmp_path, "province", short, source=live)
    count = len(live.read_rows)
    assert count == 84
    located.run(tmp_path, "geography", short, source=live, start=first.locator)
    assert len(live.read_rows) == count


def test_images_that_do_not_fit_the_disk_train_the_same_weights(tmp_path: Path) -> None:
    short = {"province": {"loop": {"epochs": 1}}}
    kept = located.run(tmp_path / "a", "province", located.training(**short))
    live = located.run(tmp_path / "b", "province", located.training(**short, cache_gb=0.0))
    assert same(weights(kept), weights(live))


def test_without_validation_rows_the_last_weights_are_kept(tmp_path: Path) -> None:
    split = located.parts()
    alone = type(split)(split.train, split.val[:0], split.calibration[:0])
    first = located.run(tmp_path, "province", parts=alone)
    made = located.run(tmp_path, "geography", parts=alone, start=first.locator)
    last = located.run(tmp_path, "tuning", parts=alone, start=made.locator)
    assert last.result.metrics == {}
    assert not last.finished.evaluation["kept_the_phase_before"]
    assert last.locator.predict({"image": tiny.country(2).images}).points.lon.shape == (2,)


def test_metadata_and_tags_are_learned_from(tmp_path: Path) -> None:
    config = located.training(head={"branches": [located.METADATA, located.TAGS]}, geography={"mixup": 0.3})
    source = located.source(metadata=located.metadata(), tags=located.tags())
    first = located.run(tmp_path, "province", config, source=source)
    made = located.run(tmp_path, "geography", config, source=source, start=first.locator)
    assert made.locator.reads_camera
    assert np.isfinite(list(made.result.metrics.values())).all()


def test_other_regions_than_those_of_the_start_are_refused(chain: Any, tmp_path: Path) -> None:
    for named in (
        Regions.of({"west": shapely.box(0, 40, 4, 44)}),
        Regions.of({"west": shapely.box(0, 40, 3, 44), "east": shapely.box(3, 40, 8, 44)}),
    ):
        with pytest.raises(UsageError, match="the start has learned the 2 regions west, east"):
            located.run(tmp_path, "geography", start=begun(chain, "geography"), regions=named)


def test_images_in_a_region_in_which_the_start_has_no_cells_are_refused(tmp_path: Path) -> None:
    boxes = Regions.of({"west": shapely.box(0, 40, 4, 44), "east": shapely.box(4, 40, 8, 44)})
    split = located.parts()
    where = located.places().lonlat()
    west = type(split)(split.train[boxes.assign(where[split.train]) == 0], split.val, split.calibration)
    config = located.training(province={"loop": {"epochs": 1}})
    first = located.run(tmp_path / "a", "province", config, parts=west, regions=boxes)
    with pytest.raises(UsageError, match="in which the start has no geocells, such as east"):
        located.run(tmp_path / "b", "geography", start=first.locator, regions=boxes)


def test_a_region_with_one_image_is_learned_like_any_other(tmp_path: Path) -> None:
    where = located.places().lonlat()
    lone = shapely.Point(where.lon[3], where.lat[3]).buffer(0.001)
    boxes = {"lone": lone, "west": shapely.box(0, 40, 4, 44), "east": shapely.box(4, 40, 8, 44), "empty": lone}
    boxes["empty"] = shapely.box(-9, 40, -5, 44)
    named = Regions.of(boxes)
    assert (named.assign(where[located.parts().train]) == 0).sum() == 1
    balance = {"loss": {"balance": {"remedy": "sampler", "strength": 0.5}}}
    config = located.training(province=balance, geography=balance)
    first = located.run(tmp_path, "province", config, regions=named)
    made = located.run(tmp_path, "geography", config, regions=named, start=first.locator)
    assert np.diff(made.locator.geocells.starts)[[0, 3]].tolist() == [1, 0]
    shift = made.locator.decoding.region_shift
    assert len(shift) == 4
    assert shift[0] < min(shift[1:3]), "what was drawn oftener is believed less"
    assert np.isfinite(made.locator.predict({"image": tiny.country(5).images}).points.lon).all()


def test_the_shift_is_that_of_the_phase_that_trained_the_regions_last(chain: Any) -> None:
    made = chain[2]["geography"]
    start = made.locator.decoded(region_shift=(0.5, -0.5))
    plain = located.training()
    without = located.training(tuning={"loss": {"region": 0.0, "cell": 0.0}})
    balanced = located.training(tuning={"loss": {"balance": {"remedy": "weights", "beta": 0.9}}})
    words = (made.data, made.locator.geocells)
    assert _shift(*words, plain, "tuning", start, False) == ()
    assert _shift(*words, without, "tuning", start, False) == (0.5, -0.5)
    assert _shift(*words, plain, "tuning", start, True) == (0.5, -0.5)
    assert len(_shift(*words, balanced, "tuning", None, False)) == 2
