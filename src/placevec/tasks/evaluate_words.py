"""What the page and the Markdown of an evaluation say alike: the headline, the splits, and where it all comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from placevec.atlas.ink import count, number
from placevec.atlas.scores import Match, matches, score_rows
from placevec.errors import UsageError
from placevec.geo.cells import H3Cells, parse_cells
from placevec.tasks.evaluate import Evaluation, MeanRank, Report

UNDER = {"block": "Under spatial blocks", "random": "Under random splits"}
SPLIT_SHORT = {"block": "blocks"}
METHOD = (
    "Random splits flatter: a test place has its neighbours in the training set. Under spatial blocks whole regions "
    "are held out, with a buffer around them. Ridge chooses its penalty and the scaling of columns, kNN its number of "
    "neighbours, inside the training folds; a bank made of training rows holds no row of a test fold. A learned row "
    "beats a baseline only if the interval of their paired difference lies above 0 and the difference is larger than "
    "its spread over shuffles; it loses if it is worse in one of the two senses; else the two tie."
)
PICKED = "The best learned row and the best baseline were picked by these very scores, which flatters both a little."
OTHERS = (
    "Measured by their authors, on other places, splits and targets. They stand here for orientation, each under its "
    "own protocol, and not in one table with ours."
)


def best_of_each(found: Evaluation) -> list[Match]:
    """The best learned row against the best compulsory baseline, for each split (blocks first) and target."""
    return matches(score_rows([row for _, row in found.rows()]))


def headline(found: Evaluation) -> list[str]:
    """What came out, one sentence for each split, and one on mean ranks."""
    said = []
    every = best_of_each(found)
    for split in reversed(found.splits):
        own = [match for match in every if match.split == split]
        if not own:
            continue
        groups = {
            words: [match.target for match in own if match.outcome == outcome]
            for outcome, words in (("beats", "beats"), ("level", "ties with"), ("loses", "loses to"))
        }
        parts = [(words, _targets(names, len(own))) for words, names in groups.items() if names]
        verbs = [
            f"{words} {'it' if place else 'the best compulsory baseline'} on {on}"
            for place, (words, on) in enumerate(parts)
        ]
        said.append(f"{UNDER.get(split, split)} the best learned row {_listed(verbs)}.")
        ranks = found.mean_ranks(split)
        if len(found.targets) > 1 and ranks:
            said[-1] += f" By mean rank, {_first_ranks(ranks)}."
    return said or ["No learned features stand against a baseline here."]


def setting(report: Report) -> str:
    """One line on how a target was measured."""
    words = [f"{count(report['n'])} places"]
    if report["n_missing"]:
        words.append(f"{count(report['n_missing'])} without a value left out")
    if report["classes"]:
        words.append(f"{len(report['classes'])} classes")
    if report["transform"]:
        words.append(f"{report['transform']} of the target")
    first = report["splits"][0]
    words.append(f"{first['k']} folds, {first['shuffles']} shuffle{'s' if first['shuffles'] > 1 else ''}")
    for split in report["splits"]:
        if split["kind"] == "block":
            words.append(f"blocks {block_words(split['block'])}, buffer {kilometres(split['buffer_m'])}")
            if split["range_m"]:
                words.append(f"range of the variogram {kilometres(split['range_m'])}")
    return "; ".join(words)


def split_records(found: Evaluation) -> list[dict[str, Any]]:
    """One record for each target and split: how test rows were kept apart, and how many rows that left."""
    return [
        {
            "target": report["target"],
            "split": SPLIT_SHORT.get(split["kind"], split["kind"]),
            "folds": f"{split['k']} × {split['shuffles']}",
            "blocks": block_words(split["block"]) if split["block"] else "–",
            "buffer": kilometres(split["buffer_m"]) if split["kind"] == "block" else "–",
            "variogram": kilometres(split["range_m"]) if split["range_m"] else "–",
            "trained on": round(split["n_train"]),
            "in the buffer": round(split["n_buffered"]),
            "tested": round(split["n_test"]),
        }
        for report in found.targets
        for split in report["splits"]
    ]


SPLIT_HEADS = {
    "target": "Target",
    "split": "Split",
    "folds": "Folds × shuffles",
    "blocks": "Blocks",
    "buffer": "Buffer",
    "variogram": "Variogram range",
    "trained on": "Trained on",
    "in the buffer": "In the buffer",
    "tested": "Tested",
}


def provenance(found: Evaluation) -> dict[str, Any]:
    """Where it all comes from: versions, encoders, tables by their fingerprints, targets, settings."""
    about = found.about
    rules = about.get("protocol") or {}
    banks = about.get("banks") or {}
    tables = [f"{name} ({print_[:24]})" for name, print_ in (about.get("tables") or {}).items()]
    facts: dict[str, Any] = {
        "placevec": about.get("placevec", "unknown"),
        "Encoders": ", ".join(about.get("encoders") or ()) or "none",
        "Tables (fingerprint)": ", ".join(tables) or "none",
        "Targets": "; ".join(f"{report['target']}: {report['source']}" for report in found.targets),
    }
    if banks:
        looked = [*([f"table {banks['table'][:24]}"] if banks.get("table") else [])]
        looked += [f"training rows by {name}" for name in banks.get("from_train") or ()]
        modes = [str(mode.get("mode") or mode.get("kind") or mode) for mode in banks.get("modes") or ()]
        facts["Banks"] = f"{', '.join(looked)}; modes {', '.join(modes)}"
    if rules:
        facts["Probes"] = ", ".join(rules.get("estimators") or ())
        facts["Buffer"] = kilometres(rules.get("buffer_m") or 0.0)
        facts["Seed"] = str(rules.get("seed"))
        if rules.get("limit"):
            facts["Limit"] = f"at most {count(rules['limit'])} places of a target, drawn by the seed"
    return facts


def block_words(name: str) -> str:
    """A partition with the width of its blocks: "h3:3 (hexagons 119 km wide)"."""
    try:
        cells = parse_cells(name)
    except UsageError:
        return name
    if isinstance(cells, H3Cells):
        return f"{name} (hexagons {kilometres(math.sqrt(3.0) * cells.edge_m)} wide)"
    return f"{name} ({name.partition(':')[2]}° squares)"


def kilometres(metres: float) -> str:
    """A distance for people."""
    value, unit = (metres / 1000, "km") if metres >= 1000 or metres == 0 else (metres, "m")
    text = number(value)
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {unit}"


def _first_ranks(ranks: Sequence[MeanRank]) -> str:
    """The best row, and the best of the other kind."""
    first = ranks[0]
    other = next((one for one in ranks if one.learned != first.learned), None)
    kinds = {True: "learned", False: "baseline"}
    lead = f"{first.features} ({kinds[first.learned]})"
    if other is None:
        return f"{lead} is first with {first.rank:.1f}"
    if other.rank == first.rank:
        return f"{lead} and {other.features} ({kinds[other.learned]}) share {first.rank:.1f}"
    rest = f"the best {'learned row' if other.learned else 'baseline'}, {other.features}, has {other.rank:.1f}"
    return f"{lead} is first with {first.rank:.1f}; {rest}"


def _targets(names: Sequence[str], total: int) -> str:
    if len(names) == total:
        return {1: names[0], 2: "both targets"}.get(total, f"all {total} targets")
    return f"{len(names)} of {total} ({', '.join(names)})"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
