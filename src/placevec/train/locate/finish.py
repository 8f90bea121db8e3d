"""What is done with a trained network: the gallery, the calibration, the point estimate, and an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from placevec.encoders.locator import Gallery, Locator, Outputs, Prediction
from placevec.encoders.locator.decoding import PointKind
from placevec.geo.mixture import points
from placevec.geo.sphere import distance_m
from placevec.measure.geo_calibration import fit_calibration
from placevec.measure.geolocation import point_figures
from placevec.train.locate.config import Phase
from placevec.train.locate.data import Examples, LocateData
from placevec.train.loop import TrainResult

Rows = NDArray[np.int64]

NEAR_KM = 200.0
"""An image counts as forgotten if a phase before placed it within so many km, and this one does not."""

FEWEST = 50  # images held out, below which no calibration is fitted: the network is believed as it is
_TOGETHER = 512  # images whose answers are computed at once


@dataclass(frozen=True, eq=False)
class Finished:
    """A locator that can be used, and what was found on the rows held out."""

    locator: Locator
    evaluation: dict[str, Any]  # JSON-able: figures of the validation rows, what was forgotten
    scores: dict[str, float]  # for the card


def finish(
    locator: Locator,
    data: LocateData,
    phase: Phase,
    result: TrainResult,
    before: Prediction | None,
    *,
    groups: NDArray[Any] | None = None,
    choose: bool = False,
    features: Sequence[NDArray[np.float32]] | None = None,
    kept: bool = False,
) -> Finished:
    """Add gallery and calibration, choose the point estimate, and say how good it is on the validation rows.

    Args:
        locator: as it was trained.
        data: its rows. Points are chosen on the validation rows, the calibration is fitted on those kept for it.
        phase: which has ended.
        result: of the run.
        before: what the phase before said of the validation rows, for what was forgotten.
        groups: (n,) the spatial block of each calibration row.
        choose: whether to choose the point estimate.
        features: of the backbones for all rows of the store, where they are known.
        kept: whether the weights are those of the phase before, because this one did not improve on them.
    """
    found = dict(result.initial if kept else result.metrics)
    evaluation: dict[str, Any] = {
        "phase": phase,
        "steps": result.steps,
        "best_step": result.best_step,
        "kept_the_phase_before": kept,
        "rows": {"train": len(data.train), "val": len(data.val), "calibration": len(data.calibration)},
        "validation": found,
        "before_training": dict(result.initial),
        **({"tried": dict(result.metrics)} if kept else {}),
    }
    scores = {f"{phase}/{name}": value for name, value in found.items()}
    if phase == "province":
        return Finished(_scored(locator, scores), evaluation, scores)
    locator = with_gallery(locator, data.train, features)
    if len(data.val):
        outputs = outputs_of(locator, data.val, features)
        if choose:
            chosen = _point(locator, data.val, outputs)
            evaluation["point"] = chosen
            locator = locator.decoded(point=chosen)
    if len(data.calibration) >= FEWEST:
        held = locator.holdout(outputs_of(locator, data.calibration, features), data.calibration.lonlat, groups)
        decoding = locator.decoding
        calibration = fit_calibration(
            held,
            levels=decoding.levels,
            confidence_m=decoding.confidence_m,
            point=decoding.point,
            reach_m=decoding.reach_m,
        )
        locator = locator.calibrated(calibration)
        evaluation["calibration"] = calibration.to_json()
    if len(data.val):
        prediction = locator.decode(outputs)
        evaluation["decoders"] = _decoders(prediction, data.val, locator.decoding.reach_m)
        figures = point_figures(data.val.lonlat, prediction.points)
        evaluation["end_to_end"] = figures
        scores |= {f"{phase}/{name}": value for name, value in figures.items()}
        if before is not None:
            evaluation["forgotten"] = forgotten(data.val, before, prediction)
            scores |= {f"{phase}/{name}": value for name, value in evaluation["forgotten"].items()}
    return Finished(_scored(locator, scores), evaluation, scores)


def with_gallery(locator: Locator, train: Examples, features: Sequence[NDArray[np.float32]] | None = None) -> Locator:
    """The locator with the training images by their vectors."""
    if features is None:
        vectors = np.concatenate([locator.encode(batch) for batch in _batches(train)])
    else:
        # In parts: answers are laws over all cells, and only the vectors are kept.
        vectors = np.concatenate([outputs_of(locator, part, features).fused for part in _split(train)])
    cells = locator.geocells.rows(train.lonlat, train.region)
    gallery = Gallery.of(train.ids, train.lonlat, vectors, cells, train.assets)
    return locator.with_gallery(gallery)


def forgotten(val: Examples, before: Prediction, after: Prediction) -> dict[str, float]:
    """Shares of the validation rows that a phase has lost and won, by whether they lie within `NEAR_KM`."""
    near = [distance_m(val.lonlat, found.points) <= NEAR_KM * 1000.0 for found in (before, after)]
    return {"forgotten": float((near[0] & ~near[1]).mean()), "gained": float((near[1] & ~near[0]).mean())}


def _scored(locator: Locator, scores: Mapping[str, float]) -> Locator:
    card = replace(locator.card, scores={**locator.card.scores, **scores})
    return locator.with_card(card)


def outputs_of(locator: Locator, examples: Examples, features: Sequence[NDArray[np.float32]] | None = None) -> Outputs:
    """What the network says of some rows, by the features of all rows of the store where they are known."""
    if features is None:
        return Outputs.joined([locator.outputs(batch) for batch in _batches(examples)])
    every = np.arange(len(examples))
    own = [np.asarray(values[examples.at]) for values in features]
    return locator.outputs_of_features(own, examples.columns(every))


def _batches(examples: Examples) -> Iterator[dict[str, NDArray[Any]]]:
    for start in range(0, len(examples), _TOGETHER):
        yield examples.batch(np.arange(start, min(start + _TOGETHER, len(examples))))


def _split(examples: Examples) -> Iterator[Examples]:
    for start in range(0, len(examples), _TOGETHER):
        yield examples.take(slice(start, start + _TOGETHER))


def _point(locator: Locator, val: Examples, outputs: Outputs) -> PointKind:
    """The point estimate with the least median error; "flat", which is wrong at the antimeridian, is not asked."""
    mixture = locator.decode(outputs).mixture
    kinds: list[PointKind] = [kind for kind in get_args(PointKind) if kind != "flat"]
    errors = [
        float(np.median(distance_m(val.lonlat, points(mixture, kind, reach_m=locator.decoding.reach_m))))
        for kind in kinds
    ]
    return kinds[int(np.argmin(errors))]


def _decoders(prediction: Prediction, val: Examples, reach_m: float) -> dict[str, dict[str, float]]:
    """The figures of every point estimate that can be made of the same laws."""
    kinds: tuple[PointKind, ...] = get_args(PointKind)
    return {kind: point_figures(val.lonlat, points(prediction.mixture, kind, reach_m=reach_m)) for kind in kinds}
