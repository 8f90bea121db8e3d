"""The reports of `evaluate retrieval`: one HTML page that needs nothing else, and Markdown for a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from placevec import __version__
from placevec.atlas.ink import count, percent
from placevec.atlas.report import Report as Page
from placevec.measure.retrieval import DEFINITIONS, DIRECTIONS
from placevec.measure.retrieval.recalls import KS, MEAN_RECALL, MEDIAN_RANK, MRR
from placevec.tasks.evaluate_retrieval_published import (
    AUGMENTED,
    AUGMENTED_COLUMNS,
    AUGMENTED_IMAGES,
    AUGMENTED_SOURCE,
    COLUMNS,
    published_for,
)
from placevec.tasks.evaluate_retrieval_result import RetrievalEvaluation, verdict
from placevec.tasks.evaluate_tables import aligned_table

SHORT = {"image to text": "I2T", "text to image": "T2I", "both": ""}
HEADS = {
    "what": "Direction",
    "measure": "Measure",
    "value": "Model",
    "interval": "95 % interval",
    "chance": "Chance",
    "ceiling": "Ceiling",
}
SECTIONS = {
    "official": "Official: own captions and own image alone count",
    "duplicate-aware": "Duplicate-aware: what carries an equal caption counts as well",
}
METHOD = (
    "R@K, image to text: the share of images of which at least one own caption is among the first K of all captions; "
    "text to image: the share of captions whose own image is among the first K of all images. Mean recall is the mean "
    "of the six. All are in percent; MRR is the mean of 1 / rank of the best that counts, from 0 to 1.\n\n"
    "Two captions are equal if they are the same but for case, spaces and a final full stop. The ceiling is what an "
    "ideal ranker reaches on average, that knows all except which of equal captions is meant; chance is what a random "
    "order reaches. Both are exact.\n\n"
    "Intervals are bootstrapped over images, each with all its captions; the gallery stays whole. Differences from "
    "baselines are paired by the same resamples: a model beats a baseline if the interval of the difference lies above "
    "0, loses to it if its figure is the worse one, whatever the interval, and else ties with it."
)
TIES = {
    "expected": "Items of equal score count by the mean over all their orders.",
    "pessimistic": "Of items of equal score, those that do not count stand first.",
    "optimistic": "Of items of equal score, those that count stand first.",
}


def html_report(found: RetrievalEvaluation) -> Page:
    """The page of an evaluation."""
    about = found.about
    page = Page(
        "Image-text retrieval",
        f"{about['model']['name']}, {_what(found)}",
        footer=f"placevec {__version__}",
    )
    page.section("What came out", "\n\n".join(headline(found)))
    for note in found.notes:
        page.note(note)
    heads = _heads(found)
    for definition in _definitions(found):
        page.section(SECTIONS[definition])
        page.table(
            score_rows(found, definition),
            heads,
            "Recalls in percent, each with its chance and its ceiling",
            highlight=lambda row: row["measure"] == MEAN_RECALL,
        )
    if found.classes:
        page.section("Classes of images", "The worst stand first; a class of few images says little by itself.")
        page.table(class_rows(found), _class_heads(), "Official recalls of each class, in percent")
    if found.duplicates is not None:
        page.section("Near-duplicates between splits", duplicate_words(found))
        if found.duplicates["examples"]:
            page.table(
                found.duplicates["examples"],
                {"image": "Tested image", "like": "looks like", "split": "of the split", "bits": "Bits that differ"},
                "The nearest",
            )
    page.section("How it was measured", f"{METHOD}\n\n{tie_words(found)}")
    caption, columns, rows = published_table(found)
    if rows:
        page.section("Published figures of others", caption)
        page.table(rows, {"method": "Method"} | {name: name for name in columns}, "In percent")
    page.section("Provenance", "The JSON file of the same name holds every figure, with all baselines.")
    page.facts(provenance(found))
    return page


def markdown(found: RetrievalEvaluation) -> str:
    """The same in Markdown."""
    heads = _heads(found)
    parts = ["# Image-text retrieval", f"{found.about['model']['name']}, {_what(found)}.", *headline(found)]
    for definition in _definitions(found):
        parts += [f"## {SECTIONS[definition]}", _markdown(score_rows(found, definition), heads)]
    if found.classes:
        parts += ["## Classes of images", "The worst stand first.", _markdown(class_rows(found), _class_heads())]
    if found.duplicates is not None:
        parts += ["## Near-duplicates between splits", duplicate_words(found)]
    parts += ["## How it was measured", METHOD, tie_words(found)]
    caption, columns, rows = published_table(found)
    if rows:
        heads = {"method": "method"} | {name: name for name in columns}
        parts += ["## Published figures of others", caption, _markdown(rows, heads)]
    if found.notes:
        parts += ["## Notes", "\n".join(f"- {line}" for line in found.notes)]
    parts += ["## Provenance", "\n".join(f"- {name}: {value}" for name, value in provenance(found).items())]
    return "\n\n".join(part for part in parts if part) + "\n"


def headline(found: RetrievalEvaluation) -> list[str]:
    """What came out, in sentences."""
    said = []
    for definition in _definitions(found):
        rows = [one for one in found.figures if one.definition == definition]
        main = next((one for one in rows if one.measure == MEAN_RECALL), rows[0])
        name = main.measure if main.measure == MEAN_RECALL else f"{main.direction} {main.measure}"
        words = (
            f"The {definition} {name} is {shown(main.measure, main.value)} "
            f"[{shown(main.measure, main.low)}, {shown(main.measure, main.high)}]; chance is "
            f"{shown(main.measure, main.chance)}, the ceiling {shown(main.measure, main.ceiling)}."
        )
        if main.low <= main.chance:
            words += " It is no better than chance."
        rivals = found.against.get(main.key, ())
        words += "".join(
            f" It {verdict(main, rival)}; the baseline has {shown(main.measure, rival.value)}." for rival in rivals
        )
        said.append(words)
    if found.classes:
        worst = ", ".join(f"{one['label']} ({one[MEAN_RECALL]:.1f})" for one in found.classes[:3])
        said.append(f"The worst classes by official mean recall are {worst}.")
    if found.duplicates is not None and found.duplicates["count"]:
        said.append(duplicate_words(found))
    return said


def score_rows(found: RetrievalEvaluation, definition: str) -> list[dict[str, Any]]:
    """One row for each figure of a definition, as it is printed."""
    rows = []
    for one in found.figures:
        if one.definition != definition:
            continue
        row: dict[str, Any] = {"what": one.direction, "measure": one.measure}
        row |= {key: shown(one.measure, getattr(one, key)) for key in ("value", "chance", "ceiling")}
        row["interval"] = f"{shown(one.measure, one.low)} to {shown(one.measure, one.high)}"
        for rival in found.against.get(one.key, ()):
            row[f"value of {rival.baseline}"] = shown(one.measure, rival.value)
            row[f"against {rival.baseline}"] = verdict(one, rival)
        rows.append(row)
    return rows


def class_rows(found: RetrievalEvaluation) -> list[dict[str, Any]]:
    """The recalls of classes as they are printed."""
    return [
        {name: f"{value:.1f}" if isinstance(value, float) else value for name, value in one.items()}
        for one in found.classes
    ]


def short_rows(found: RetrievalEvaluation, definition: str) -> list[dict[str, str]]:
    """The same for a terminal: of baselines the best, and one word for what comes of it; `headline` names it."""
    rows = []
    by_key = {one.key: one for one in found.figures}
    for row in score_rows(found, definition):
        figure = by_key[definition, row["what"], row["measure"]]
        short = {
            "measure": f"{SHORT[row['what']]} {row['measure']}".strip(),
            "model": row["value"],
            "95 %": row["interval"],
        }
        short |= {"chance": row["chance"], "ceiling": row["ceiling"]}
        for rival in found.against.get(figure.key, ())[:1]:
            short |= {"baseline": shown(figure.measure, rival.value), "outcome": rival.outcome}
        rows.append(short)
    return rows


def shown(measure: str, value: float) -> str:
    """A figure as papers print it."""
    if value != value:
        return "–"
    return f"{value:.3f}" if measure == MRR else f"{value:.0f}" if measure == MEDIAN_RANK else f"{value:.1f}"


def tie_words(found: RetrievalEvaluation) -> str:
    """How ties were counted, and how much that decides."""
    words = TIES[found.about["ties"]]
    if found.ties and max(found.ties.values()) - min(found.ties.values()) >= 0.05:
        rest = ", ".join(f"{value:.1f} {name}" for name, value in found.ties.items())
        words += f" Equal captions have equal scores, so that this decides: the official mean recall is {rest}."
    return words


def duplicate_words(found: RetrievalEvaluation) -> str:
    """How many tested images stand in other splits."""
    near = found.duplicates or {}
    turned = ", turned and mirrored ones too" if near["turned"] else ""
    how = f"perceptual hashes of 64 bits that differ in at most {near['within_bits']}{turned}"
    if not near["count"]:
        words = f"None of the {count(near['tested'])} tested images is a near-duplicate of one of the "
        return f"{words}{count(near['others'])} images of other splits ({how})."
    words = (
        f"{count(near['count'])} of {count(near['tested'])} tested images ({percent(near['share'])}) are "
        f"near-duplicates of images of other splits ({how})."
    )
    if "mean_recall_without" in near:
        words += f" Without them the official mean recall is {near['mean_recall_without']:.1f}."
    return words


def published_table(found: RetrievalEvaluation) -> tuple[str, Sequence[str], list[dict[str, Any]]]:
    """Caption, columns and rows of what others have published on this split; no rows where there is nothing."""
    if found.about["protocol"] != "official":
        if found.about["images"] != AUGMENTED_IMAGES:
            return "", (), []
        rows: list[dict[str, Any]] = [
            {"method": name, **dict(zip(AUGMENTED_COLUMNS, row, strict=True))} for name, row in AUGMENTED.items()
        ]
        return f"Of augmented captions, by {AUGMENTED_SOURCE}.", AUGMENTED_COLUMNS, rows
    known = published_for(found.about["images"], found.about["captions"])
    if known is None:
        return "", (), []
    caption = (
        f"This split has the size of the test split of {known.name} ({count(known.images)} images, "
        f"{count(known.captions)} captions), for which these figures were printed. Source: {known.source}."
    )
    rows = [{key: f"{x:.2f}" if isinstance(x, float) else x for key, x in row.items()} for row in known.records()]
    return caption, COLUMNS, rows


def provenance(found: RetrievalEvaluation) -> dict[str, Any]:
    """Where it all comes from."""
    about = found.about
    facts = {
        "placevec": about["placevec"],
        "Model": _model(about["model"]),
        "Baselines": "; ".join(_model(one) for one in about["baselines"]) or "none",
        "Captions": f"{about['set']}, split {about['split']}",
        "Protocol": about["protocol"],
        "Ties": about["ties"],
        "Resamples": f"{about['draws']} of the images, seed {about['seed']}",
    }
    if "pixels" in about["model"]:
        facts["Images read to"] = f"{about['model']['pixels']} pixels"
    return facts


def _model(one: Mapping[str, Any]) -> str:
    weights = {name: digest[:12] for name, digest in one["weights_sha256"].items() if digest}
    hashes = "".join(f", {name} {digest}" for name, digest in weights.items())
    return f"{one['name']} ({one['dims']} components, Space {one['space']}{hashes})"


def _what(found: RetrievalEvaluation) -> str:
    about = found.about
    where = "all splits" if about["split"] == "all" else f"split {about['split']}"
    return f"{about['set']}, {where}: {count(about['images'])} images, {count(about['captions'])} captions"


def _definitions(found: RetrievalEvaluation) -> list[str]:
    there = {one.definition for one in found.figures}
    return [name for name in DEFINITIONS if name in there]


def _heads(found: RetrievalEvaluation) -> dict[str, str]:
    heads = dict(HEADS)
    for one in found.about["baselines"]:
        heads |= {f"value of {one['name']}": one["name"], f"against {one['name']}": f"Against {one['name']}"}
    return heads


def _class_heads() -> dict[str, str]:
    recalls = {f"{way} R@{k}": f"{SHORT[way]} R@{k}" for way in DIRECTIONS for k in KS}
    return {"label": "Class", "images": "Images", "captions": "Captions", MEAN_RECALL: "Mean recall", **recalls}


def _markdown(rows: Sequence[Mapping[str, Any]], heads: Mapping[str, str]) -> str:
    return aligned_table(list(heads.values()), [[_cell(row.get(key)) for key in heads] for row in rows])


def _cell(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
