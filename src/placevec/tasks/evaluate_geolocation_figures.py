"""The figures of `evaluate geolocation`: all methods, a map of errors, reliability, risk against coverage."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from placevec.atlas.charts import bar_figure
from placevec.atlas.error_maps import error_map
from placevec.atlas.scores import ScoreRow
from placevec.atlas.trust_charts import reliability_figure, risk_figure
from placevec.measure.geolocation import risk_coverage
from placevec.tasks.evaluate_geolocation_photos import Photos
from placevec.tasks.evaluate_geolocation_result import OUTCOMES, GeolocationEvaluation, plain, words

SPLIT = {True: "block", False: "as given"}


def write_figures(found: GeolocationEvaluation, photos: Photos, out: Path) -> dict[str, Path]:
    """Draw what can be drawn beside the JSON file `out`; gives the PNGs by what they show.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    own, n = found.own, int(found.about.get("photos", len(photos.ids)))
    drawn: dict[str, Path] = {}
    many = f"{n:,} photos that {found.about.get('model', 'the model')} has not seen"
    if len(found.methods) > 1:
        for name, layout in (("errors", "wide"), ("errors-narrow", "narrow")):
            drawn[name] = bar_figure(
                out.with_name(f"{out.stem}-{name}.png"),
                bar_rows(found),
                title="Median error, end to end",
                subtitle=f"{many}; 95 % intervals over blocks",
                layout="narrow" if layout == "narrow" else "wide",
            )
    polygons = None if photos.regions is None else photos.regions.polygons
    for name, layout in (("map", "wide"), ("map-narrow", "narrow")):
        drawn[name] = error_map(
            out.with_name(f"{out.stem}-{name}.png"),
            photos.truth,
            photos.points,
            photos.km,
            title="Where it errs",
            subtitle=f"{many}; median error {plain(own.values['median_km'])} km. A dot is the true place, its stroke "
            "leads to the answer",
            regions=polygons,
            layout="narrow" if layout == "narrow" else "wide",
        )
    sure = found.confidence
    if sure:
        steps = sure["reliability"]
        law = found.laws.get(own.name, {})
        wanted = {level: law[f"coverage_{100 * level:g}"] for level in photos.covered}
        drawn["reliability"] = reliability_figure(
            out.with_name(f"{out.stem}-reliability.png"),
            [one["said"] for one in steps],
            [one["true"] for one in steps],
            [one["share"] for one in steps],
            subtitle=f"the probability that the error is at most {sure['within_km']:g} km",
            coverage=wanted,
            words=f"ECE {sure['ece']:.3f}\nBrier {sure['brier']:.3f}\n(constant: {sure['brier_constant']:.3f})",
        )
        curve = sure["risk_coverage"]
        best = risk_coverage(-photos.km, photos.km)
        kept = np.unique(np.rint(np.linspace(0, len(best.coverage) - 1, 200)).astype(np.int64))
        drawn["risk"] = risk_figure(
            out.with_name(f"{out.stem}-risk.png"),
            [
                ("by confidence", curve["coverage"], curve["mean_km"]),
                ("best order", best.coverage[kept], best.mean_km[kept]),
            ],
            constant=sure["aurc_random_km"],
            subtitle=f"mean error; area under the curve {plain(sure['aurc_km'])} km, best possible "
            f"{plain(sure['aurc_best_km'])}, any order {plain(sure['aurc_random_km'])}",
        )
    return drawn


def bar_rows(found: GeolocationEvaluation) -> list[ScoreRow]:
    """The median errors of all that compete, as a chart draws them: no diagnostic, and no other reading of one law."""
    rows = []
    for row in found.methods:
        if row.role in ("diagnostic", "decoder"):
            continue
        versus = row.against.get("median_km", ()) if row.role == "learned" else ()
        rows.append(
            ScoreRow(
                row.name,
                SPLIT[bool(found.about.get("cells"))],
                row.values["median_km"],
                row.low["median_km"],
                row.high["median_km"],
                learned=row.role == "learned",
                metric="median error, km",
                better="lower",
                verdict=words(versus[0], "median_km") if versus else "",
                outcome=OUTCOMES[versus[0].outcome] if versus else "",
            )
        )
    return rows
