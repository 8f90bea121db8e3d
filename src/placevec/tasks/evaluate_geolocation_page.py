"""The pages of `evaluate geolocation`: one HTML file that needs nothing else, and Markdown for a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from placevec import __version__
from placevec.atlas.report import Report as Page
from placevec.measure.geolocation import POINT_FIGURES, MethodRow
from placevec.tasks.evaluate_geolocation_result import WORDS, GeolocationEvaluation, label, plain, shown, sign
from placevec.tasks.evaluate_tables import aligned_table

READING = (
    "▲: the locator beats the strongest baseline of the column; ≈: it ties with it; ▼: it loses to it. A decoder is "
    "marked against the locator's own point. Bold is learned; all others but the decoders are baselines, and none of "
    "them has seen the photo's place."
)
METHOD = (
    "End to end: no answer is told the region or the cell of a photo. Every photo lies in a block that the model was "
    "not fitted on, farther from all that it learned from than the buffer. Errors are great-circle distances; the "
    "geoscore is 5000 exp(-d / 1492.7 km).\n\n"
    "A win has to be earned and a loss is admitted at once: the locator beats a baseline if the interval of the paired "
    "difference lies above 0, and loses if its figure is the worse one. Intervals are 95 %, bootstrapped over blocks, "
    "the same resamples for all.\n\n"
    "Baselines are made of the training photos alone: a random training place (in exact expectation); the point "
    "nearest to all of them in the mean; the place of the most similar one, by the locator's own vectors, by the "
    "features of each of its backbones, by colours and by pixels; and the mean of the k most similar, k chosen inside "
    "the training across blocks. The law of the train prior is a kernel density of the training places whose "
    "bandwidth and floor fit held-out training blocks best."
)
LAWS = (
    "NLL is the mean negative log-density at the true place, in nats per km². A region covers well if it holds the "
    "truth as often as it says; of two that do, the smaller one knows more. Uncorrected is the coverage without the "
    "conformal levels of the calibration."
)
CONFIDENCE = (
    "The confidence is the probability that the error is at most {within:g} km. ECE is its mean distance from how "
    "often that was true; the Brier score has to be below that of saying the share of right answers for every photo "
    "({constant:.3f})."
)
ORACLE = (
    "The diagnostic was told the true cell: it shows how well offsets are learned within cells, and nothing of how far "
    "off an answer is. It competes with nothing."
)
FIGURES = {
    "errors": ("Median errors of all methods", "Median error of each method with its interval; the table has them"),
    "map": ("A dot is the true place of a photo, coloured by its error", "A map of errors; regions are in the table"),
    "reliability": ("Confidence and credible regions: what was said, and how often it came true", "A diagonal chart"),
    "risk": ("Errors of the photos that are answered, the surest first", "Risk against coverage; AURC is in the text"),
}
REGION_HEADS = {
    "region": "Region",
    "photos": "Photos",
    "training_photos": "Trained on",
    "median_km": "Median error\nkm",
    "mean_km": "Mean\nkm",
    "acc_25": "Within 25 km",
    "region_right": "Region right",
    "coverage_80": "80 % region\ncovers",
    "nearest_image_median_km": "Nearest image\nmedian km",
    "prior_median_km": "Train prior\nmedian km",
}


def html_report(found: GeolocationEvaluation, drawn: Mapping[str, Path]) -> Page:
    """The page of an evaluation; figures stand in it.

    Args:
        found: what was measured.
        drawn: PNGs from `write_figures`; those of a name with -narrow are for small screens.
    """
    about = found.about
    page = Page("Geolocation", _subject(about), footer=f"placevec {__version__}")
    page.section("What came out", "\n\n".join(_sentence(line) for line in found.headline()))
    for note in found.notes:
        page.note(note)
    _figure(page, drawn, "errors")
    figures = _figures(found)
    heads = {"method": "Method"} | {figure: WORDS[figure].replace(", ", "\n") for figure in figures}
    page.table(
        [_record(row, figures) for row in found.methods],
        heads,
        READING,
        highlight=lambda record: bool(record["learned"]),
    )
    if any(row.role == "diagnostic" for row in found.methods):
        page.text(ORACLE)
    _figure(page, drawn, "map")
    if found.regions:
        page.section("By region", "Few photos say little; a region with no training photos cannot be named.")
        page.table(_region_rows(found), _region_heads(found), "Each region by itself")
    if found.classes:
        page.section("Regions and cells named", "Micro counts photos, macro counts classes.")
        page.table(_class_rows(found), _CLASS_HEADS, "Accuracies of the law, not of the point")
    if found.laws:
        page.section("What the law says", LAWS)
        page.table(_law_rows(found), _LAW_HEADS, "Laws of the place")
    if found.confidence:
        page.section("Confidence", _confidence_words(found))
        _figure(page, drawn, "reliability")
        _figure(page, drawn, "risk")
    page.section("How it was measured", METHOD)
    page.section("Provenance", "The JSON file of the same name holds every figure with its interval.")
    page.facts({name: _flat(value) for name, value in about.items()})
    return page


def markdown(found: GeolocationEvaluation, figures: Mapping[str, str] | None = None) -> str:
    """The same in Markdown.

    Args:
        found: what was measured.
        figures: names of the PNGs that stand beside it, by what they show.
    """
    drawn = dict(figures or {})

    def picture(name: str) -> str:
        return f"![{FIGURES[name][0]}]({drawn[name]})" if name in drawn else ""

    parts = ["# Geolocation", f"{_subject(found.about)}.", *map(_sentence, found.headline()), picture("errors")]
    parts += [READING, found.table()]
    if any(row.role == "diagnostic" for row in found.methods):
        parts.append(ORACLE)
    parts.append(picture("map"))
    if found.regions:
        parts += ["## By region", _aligned(_region_rows(found), _region_heads(found))]
    if found.classes:
        parts += ["## Regions and cells named", _aligned(_class_rows(found), _CLASS_HEADS)]
    if found.laws:
        parts += ["## What the law says", LAWS, _aligned(_law_rows(found), _LAW_HEADS)]
    if found.confidence:
        parts += ["## Confidence", _confidence_words(found), picture("reliability"), picture("risk")]
    parts += ["## How it was measured", METHOD]
    if found.notes:
        parts += ["## Notes", "\n".join(f"- {line}" for line in found.notes)]
    parts += ["## Provenance", "\n".join(f"- {name}: {_flat(value)}" for name, value in found.about.items())]
    return "\n\n".join(part for part in parts if part) + "\n"


_LAW_HEADS = {
    "name": "Law",
    "nll": "NLL\nnats per km²",
    "level": "Region",
    "coverage": "Covers",
    "uncorrected": "Covers\nuncorrected",
    "median": "Area\nmedian km²",
    "mean": "Area\nmean km²",
}
_CLASS_HEADS = {
    "name": "Who",
    "region_micro": "Region\nmicro",
    "region_macro": "Region\nmacro",
    "cell_micro": "Cell\nmicro",
    "cell_macro": "Cell\nmacro",
    "cell_top5_micro": "Cell in first 5\nmicro",
    "cell_top5_macro": "Cell in first 5\nmacro",
}


def _subject(about: Mapping[str, Any]) -> str:
    cells = about.get("cells")
    where = f"blocks of {cells} held out" if cells else "as given"
    buffer = float(about.get("buffer_m") or 0.0)
    far = f", {plain(buffer / 1000).removesuffix('.0')} km from all training photos" if buffer else ""
    return f"{about.get('model', '')}: {about.get('photos', 0):,} photos, {where}{far}"


def _sentence(line: str) -> str:
    return f"{line[:1].upper()}{line[1:]}."


def _figure(page: Page, drawn: Mapping[str, Path], name: str) -> None:
    if name in drawn:
        caption, words = FIGURES[name]
        page.figure(drawn[name], f"{caption}.", words, narrow=drawn.get(f"{name}-narrow"))


def _figures(found: GeolocationEvaluation) -> list[str]:
    return [*POINT_FIGURES, *(name for name in ("region", "cell") if name in found.own.values)]


def _record(row: MethodRow, figures: Sequence[str]) -> dict[str, Any]:
    cells = {figure: shown(row.values.get(figure, float("nan")), figure) + sign(row, figure) for figure in figures}
    return {"method": label(row), "learned": row.role == "learned", **cells}


def _region_heads(found: GeolocationEvaluation) -> dict[str, str]:
    known = set().union(*found.regions)
    return {key: head for key, head in REGION_HEADS.items() if key in known}


def _region_rows(found: GeolocationEvaluation) -> list[dict[str, Any]]:
    rows = []
    for record in found.regions:
        row: dict[str, Any] = {}
        for key in _region_heads(found):
            value = record.get(key)
            if value is None or isinstance(value, str | int):
                row[key] = value
            else:
                share = key.startswith(("acc_", "coverage_")) or key == "region_right"
                row[key] = f"{100 * value:.0f}\u00a0%" if share else plain(value)
        rows.append(row)
    return rows


def _class_rows(found: GeolocationEvaluation) -> list[dict[str, Any]]:
    keys = list(_CLASS_HEADS)[1:]
    return [{"name": name} | {key: shown(value[key], "acc_") for key in keys} for name, value in found.classes.items()]


def _law_rows(found: GeolocationEvaluation) -> list[dict[str, Any]]:
    """One row for each credible region of each law; its name and NLL stand in the first."""
    rows = []
    for name, value in found.laws.items():
        first: dict[str, Any] = {"name": name, "nll": shown(value["nll"], "nll")}
        for level in ("50", "80", "95"):
            keys = {
                "coverage": f"coverage_{level}",
                "uncorrected": f"coverage_{level}_uncorrected",
                "median": f"area_{level}_median_km2",
                "mean": f"area_{level}_mean_km2",
            }
            if any(key in value for key in keys.values()):
                cells = {head: shown(value.get(key, float("nan")), key) for head, key in keys.items()}
                rows.append({"name": "", "nll": "", **first, "level": f"{level}\u00a0%", **cells})
                first = {}
        if first:
            rows.append(dict(first))
    return rows


def _confidence_words(found: GeolocationEvaluation) -> str:
    sure = found.confidence
    words = CONFIDENCE.format(within=sure["within_km"], constant=sure["brier_constant"])
    gained = (
        f"Answered by falling confidence, the area under the risk-coverage curve (mean error) is "
        f"{plain(sure['aurc_km'])} km; the best possible order has {plain(sure['aurc_best_km'])}, any order "
        f"{plain(sure['aurc_random_km'])}."
    )
    said = (
        f"ECE {sure['ece']:.3f}, Brier {sure['brier']:.3f}; the mean confidence is {sure['confidence_mean']:.3f}, "
        f"{sure['right']:.3f} of the answers are right."
    )
    return f"{words}\n\n{said}\n\n{gained}"


def _aligned(rows: Sequence[Mapping[str, Any]], heads: Mapping[str, str]) -> str:
    lines = [["–" if row.get(key) is None else str(row[key]) for key in heads] for row in rows]
    return aligned_table([head.replace("\n", ", ") for head in heads.values()], lines)


def _flat(value: Any) -> Any:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_flat(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return value
