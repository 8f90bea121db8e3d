"""The page and the Markdown of an evaluation: what they say of wins and losses, and that they stand alone."""

from __future__ import annotations

import unicodedata
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.tasks.evaluate import Evaluation
from placevec.tasks.evaluate_page import html_report
from placevec.tasks.evaluate_tables import aligned_table, markdown
from placevec.tasks.evaluate_words import block_words, headline, kilometres, provenance, split_records

VOID = {"meta", "img", "col", "source", "br", "line", "circle"}
HOSTILE = '<script>alert(1)</script> & "x" | $y$'


class Tree(HTMLParser):
    """Checks that tags are closed in order, and keeps them and the words."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def row(features: str, split: str, mean: float | None, outcome: str = "", *, metric: str = "R²") -> dict[str, Any]:
    near = {"low": None, "high": None, "sd": None}
    if mean is not None:
        near = {"low": mean - 0.02, "high": mean + 0.02, "sd": 0.01}
    words = {"beats": "beats GP by 0.100 (0.050 to 0.150)", "loses": "loses to GP by 0.070 (0.010 to 0.130)"}
    verdict = words.get(outcome, "ties with GP (+0.001; −0.010 to +0.012)" if outcome else "")
    others = {"MAE": 12.5, "Spearman": 0.4} if metric == "R²" else {"macro-F1": 0.3}
    return {
        "features": features,
        "split": split,
        "learned": bool(outcome),
        "metric": metric,
        "mean": mean,
        **near,
        "outcome": outcome,
        "verdict": verdict,
        "scores": {metric: mean, **others, "Moran's I of residuals": 0.1},
        "n": 1234,
    }


def report(name: str, outcome: str, mean: float = 0.5, *, metric: str = "R²", splits: str = "both") -> dict[str, Any]:
    made = ("random", "block") if splits == "both" else (splits,)
    rows = [
        {**one, "target": name}
        for split in made
        for one in (
            row("mean", split, None, metric=metric),
            row("GP", split, 0.4, metric=metric),
            row("ours · ridge", split, mean, outcome if split == made[-1] else "loses", metric=metric),
        )
    ]
    split = {"k": 5, "shuffles": 3, "n_train": 900.2, "n_buffered": 100.4, "n_test": 1234.0, "n_strays": 0.0}
    known = {
        "random": {"kind": "random", "block": "", "range_m": None, "buffer_m": 0.0, **split},
        "block": {"kind": "block", "block": "h3:3", "range_m": 369_123.0, "buffer_m": 60_000.0, **split},
    }
    return {
        "target": name,
        "kind": "regression" if metric == "R²" else "classification",
        "metric": metric,
        "source": f"dataset:{name}",
        "n": 1234,
        "n_missing": 7,
        "classes": [] if metric == "R²" else ["a", "b"],
        "transform": "",
        "absent_baselines": ["raw features"],
        "splits": [known[split] for split in made],
        "rows": rows,
    }


ABOUT = {
    "placevec": "9.9.9",
    "encoders": ["ours"],
    "tables": {"image": "pv1-95e-1bcf939e44dcdf71"},
    "banks": {"table": "pv1-1-aa", "from_train": ["price"], "modes": [{"mode": "geo"}]},
    "protocol": {"estimators": ["ridge"], "buffer_m": 60_000.0, "seed": 3, "limit": 2000},
}


def evaluation(*reports: dict[str, Any]) -> Evaluation:
    return Evaluation(tuple(reports), {"wind": "12 places have a value"}, ("A note.",), ABOUT)


THREE = (
    report("elevation", "beats"),
    report("country", "level", 0.41, metric="accuracy"),
    report("lights", "loses", 0.33),
)


def test_the_headline_counts_wins_ties_and_losses() -> None:
    blocks, random = headline(evaluation(*THREE))
    assert blocks.startswith(
        "Under spatial blocks the best learned row beats the best compulsory baseline on 1 of 3 (elevation), "
        "ties with it on 1 of 3 (country) and loses to it on 1 of 3 (lights)."
    )
    assert "ours · ridge (learned) is first with 1.3; the best baseline, GP, has 1.7." in blocks
    assert random.startswith("Under random splits the best learned row loses to the best compulsory baseline on all 3 ")


def test_the_headline_of_one_target_and_of_none_to_compare() -> None:
    one = evaluation(report("elevation", "beats", splits="random"))
    assert headline(one) == [
        "Under random splits the best learned row beats the best compulsory baseline on elevation."
    ]
    bare = report("elevation", "", splits="block")
    assert headline(evaluation(bare)) == ["No learned features stand against a baseline here."]
    assert "No learned features" in html_report(evaluation(bare)).html()
    assert "No learned features" in markdown(evaluation(bare))


def test_the_page_says_all_of_it() -> None:
    page = html_report(evaluation(*THREE), "Iberia").html()
    tree = Tree(page)
    for words in (
        "3 targets under spatial blocks and random splits, beside every compulsory baseline",
        "▲ beats GP by 0.100 (0.050 to 0.150)",
        "≈ ties with GP (+0.001; −0.010 to +0.012)",
        "▼ loses to GP by 0.070 (0.010 to 0.130)",
        "blocks h3:3 (hexagons 119 km wide), buffer 60 km; range of the variogram 369 km",
        "Compulsory baselines that could not be made: raw features.",
        "The target wind was skipped: 12 places have a value.",
        "A note.",
        "RANGE (CVPR 2025), table 2. Protocol: random 80/20 split, ridge",
        "image (pv1-95e-1bcf939e44dcdf71)",
        "table pv1-1-aa, training rows by price; modes geo",
    ):
        assert words in tree.text, words
    headings = ["What came out", "Ranks over all targets", "Elevation", "Country", "Lights", "How it was measured"]
    at = [page.index(f">{name}</h2>") for name in headings]
    assert at == sorted(at)
    # The strips: a line and a dot for each of two rows, in each of three targets and two splits.
    strips = [attrs for name, attrs in tree.tags if name == "svg"]
    assert len(strips) == 6
    assert strips[0]["aria-label"] == "ours · ridge 0.500, GP 0.400"
    assert sum(name == "circle" for name, _ in tree.tags) == 12
    assert 'cx="50.00%"' in page


def test_the_page_needs_nothing_and_runs_nothing() -> None:
    page = html_report(evaluation(report(HOSTILE, "loses"), report("b", "beats")), HOSTILE).html()
    tree = Tree(page)
    assert not {"script", "link", "iframe", "object", "style-src"} & {name for name, _ in tree.tags}
    assert "http://" not in page
    assert "https://" not in page
    for _, attrs in tree.tags:
        assert not any(name.startswith("on") for name in attrs)
        assert attrs.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
    assert HOSTILE in tree.text


def test_markdown_has_aligned_columns() -> None:
    text = markdown(evaluation(*THREE, report("a|b", "beats")))
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) >= 12
    for block in blocks:
        assert len({wide(line) for line in block}) == 1
        assert set(block[1]) <= set("|- ")
    assert "| **ours · ridge** | 1.2       | **0.500** ▲   |" in text
    assert "a\\|b" in text
    assert (
        "| lights, R²        | blocks | ours · ridge: 0.330 [0.310, 0.350] | GP: 0.400 [0.380, 0.420] | ▼ loses to GP"
        in text
    )


def wide(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line)


@given(st.lists(st.lists(st.text("ab|é東\n ·", max_size=6), min_size=2, max_size=2), min_size=1, max_size=5))
def test_every_line_of_a_table_is_as_wide(rows: list[list[str]]) -> None:
    lines = aligned_table(["x", "y"], rows).split("\n")
    assert len(lines) == len(rows) + 2
    assert len({wide(line) for line in lines}) == 1


def test_one_target_has_no_ranks() -> None:
    found = evaluation(report("elevation", "beats"))
    assert "Ranks over all targets" not in html_report(found).html()
    assert "mean rank" not in markdown(found)


def test_splits_and_provenance_in_words() -> None:
    random, block = split_records(evaluation(report("elevation", "beats")))
    assert (random["blocks"], random["buffer"], random["folds"]) == ("–", "–", "5 × 3")
    assert (block["buffer"], block["variogram"], block["trained on"]) == ("60 km", "369 km", 900)
    assert provenance(evaluation(*THREE))["Limit"] == "at most 2\u2009000 places of a target, drawn by the seed"
    assert provenance(Evaluation(THREE))["Encoders"] == "none"


@pytest.mark.parametrize(
    ("metres", "words"), [(0, "0 km"), (60_000, "60 km"), (1500, "1.5 km"), (10_000, "10 km"), (800, "800 m")]
)
def test_distances(metres: float, words: str) -> None:
    assert kilometres(metres) == words


def test_blocks_in_words() -> None:
    assert block_words("grid:2.5") == "grid:2.5 (2.5° squares)"
    assert block_words("provinces") == "provinces"
