import math
from html.parser import HTMLParser

import pytest

from placevec.atlas.report import Report
from placevec.atlas.scores import ScoreRow, best, plain, ranked_features, score_rows, verdict
from placevec.errors import FormatError, SchemaError, UsageError

# A white pixel.
DOT = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8ffff3f0005fe02fe"
    "0def46b80000000049454e44ae426082"
)
VOID = {"meta", "img", "col", "source", "br"}
HOSTILE = "</td><script>alert('x')</script><img src=http://evil.example/x onerror=alert(1)> & \"quoted\" \x00"


class Tree(HTMLParser):
    """Checks that tags are closed in order, and keeps them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self):
        return " ".join("".join(self.words).split())


def records():
    table = [
        ("ours", "random", 0.95, True), ("ours", "block", 0.40, True),
        ("mixed", "random", 0.80, True), ("mixed", "block", 0.62, True),
        ("raw", "random", 0.70, False), ("raw", "block", 0.60, False),
    ]  # fmt: skip
    return [
        {"target": "elevation", "metric": "R²", "features": name, "split": split, "mean": mean, "sd": 0.01,
         "low": mean - 0.03, "high": mean + 0.03, "learned": learned, "n": 9}
        for name, split, mean, learned in table
    ]  # fmt: skip


def full() -> Report:
    report = Report("Title", "Subtitle", footer="made by placevec")
    report.section("One", "First.\n\nSecond.").facts({"places": 12345, "share": 0.25, "none": None, "ok": True})
    report.section("Two").table(
        [{"id": "a", "km": 1.5}, {"id": "b", "km": -2}], {"id": "Place", "km": "Distance"}, "Hits"
    )
    report.section("Three").scores(records(), "Probes").figure(DOT, "A dot.", "One dot", narrow=DOT)
    return report.note("Mind.", "warning").code("placevec demo").text("End.")


def test_the_page_has_the_parts_of_a_good_document():
    tree = Tree(full().html())
    assert tree.all("html")[0]["lang"] == "en"
    assert [name for name, _ in tree.tags if name in ("h1", "h2", "h3")] == ["h1", "h2", "h2", "h2"]
    assert [attrs["href"] for attrs in tree.all("a")] == ["#s1", "#s2", "#s3"]
    assert len(tree.all("main")) == len(tree.all("h1")) == len(tree.all("header")) == len(tree.all("footer")) == 1
    assert len(tree.all("caption")) == len(tree.all("table")) == 2
    assert all(attrs["scope"] in ("col", "row", "rowgroup") for attrs in tree.all("th"))
    image = tree.all("img")[0]
    assert (image["alt"], image["width"], image["height"]) == ("One dot", "1", "1")
    assert tree.all("source")[0]["media"] == "(max-width: 640px)"
    assert "width=device-width" in str(tree.all("meta"))
    for words in (
        "12\u2009345",
        "0.250",
        "yes",
        "−2",
        "Table 1. Hits",
        "Table 2. Probes",
        "Figure 1. A dot.",
        "Warning.Mind.",
    ):
        assert words.replace("\u2009", " ") in tree.text.replace("\u2009", " ")


def test_nothing_is_loaded_and_nothing_runs():
    page = full().html()
    tree = Tree(page)
    assert "default-src 'none'" in str(tree.all("meta"))
    assert not {"script", "link", "iframe", "object", "embed"} & {name for name, _ in tree.tags}
    assert "http://" not in page
    assert "https://" not in page
    assert "url(" not in page
    for _, attrs in tree.tags:
        assert not any(name.startswith("on") for name in attrs)
        for name in ("src", "srcset"):
            assert attrs.get(name, "data:image/png;base64,").startswith("data:image/png;base64,")
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_hostile_text_stays_text_everywhere():
    report = Report(HOSTILE, HOSTILE, footer=HOSTILE, language=HOSTILE)
    report.section(HOSTILE, HOSTILE).section(HOSTILE).section("x").text(HOSTILE).facts({HOSTILE: HOSTILE})
    report.table([{HOSTILE: HOSTILE}], None, HOSTILE, lambda record: True).note(HOSTILE).code(HOSTILE)
    report.figure(DOT, HOSTILE, HOSTILE)
    hostile = {
        "target": HOSTILE,
        "metric": HOSTILE,
        "features": HOSTILE,
        "split": HOSTILE,
        "mean": 1,
        "low": 0,
        "high": 2,
    }
    report.scores([hostile, hostile | {"features": "x", "learned": True, "verdict": HOSTILE}], HOSTILE)
    page = report.html()
    tree = Tree(page)
    assert not tree.all("script")
    assert [attrs["src"][:5] for attrs in tree.all("img")] == ["data:"]
    assert "\x00" not in page
    assert tree.text.count("<script>alert('x')</script>") >= 12


def test_the_score_table_reads_like_a_paper():
    page = Report("t").scores(records(), "Probes").html()
    tree = Tree(page)
    text = tree.text
    assert "Random split" in text
    assert "Spatial blocks" in text
    assert "0.950 ± 0.010 [0.920, 0.980]" in text
    assert "▲ beats raw by 0.250" in text
    assert "▼ loses to raw by 0.200" in text
    assert "≈ ahead of raw by 0.020, intervals overlap" in text
    assert page.count('class="mean best"') == 2
    names = [part.split("<")[0] for part in page.split('<th scope="row">')[1:]]
    assert names == ["mixed", "raw", "ours"]  # by the blocks, not by the random split
    assert page.count('class="highlight"') == 2


def test_the_verdict_is_a_loss_whenever_the_mean_is_lower():
    raw = ScoreRow("raw", "block", 0.6, 0.5, 0.7)
    assert verdict(ScoreRow("x", "block", 0.59, 0.4, 0.9, True), raw) == (
        "loses", "loses to raw by 0.010, intervals overlap",
    )  # fmt: skip
    assert verdict(ScoreRow("x", "block", 0.6, 0.5, 0.7, True), raw)[0] == "level"
    assert verdict(ScoreRow("x", "block", 0.9, 0.8, 1.0), raw) == ("", "")
    assert verdict(ScoreRow("x", "block", 0.9, 0.8, 1.0, True), None) == ("", "")


def test_for_errors_less_is_better():
    small, large = (ScoreRow(str(mean), "block", mean, mean - 1, mean + 1, True, metric="MAE, m") for mean in (5, 9))
    assert best([large, small]) is small
    assert ranked_features([large, small]) == ["5", "9"]
    assert verdict(small, large)[0] == "beats"
    assert verdict(large, small)[0] == "loses"
    assert ScoreRow("x", "block", 0, 0, 0, metric="median rank", better="higher").higher_is_better


def test_missing_scores_are_dashes_and_rank_last():
    nothing = dict.fromkeys(("mean", "low", "high"), math.nan)
    rows = [*records(), {"target": "elevation", "metric": "R²", "features": "none", "split": "block", **nothing}]
    tree = Tree(Report("t").scores(rows).html())
    assert tree.text.endswith("none––")
    assert best([]) is None


def test_scores_print_as_papers_do():
    assert [plain(value) for value in (0.65249, -0.0001, -3.2, 12.34, 1234.5, math.nan)] == [
        "0.652", "0.000", "−3.200", "12.3", "1\u2009234", "–",
    ]  # fmt: skip


def test_bad_parts_are_refused(tmp_path):
    report = Report("t")
    with pytest.raises(FormatError, match="not a PNG"):
        report.figure(b"GIF89a", "c", "a")
    with pytest.raises(UsageError, match="alt"):
        report.figure(DOT, "c", " ")
    with pytest.raises(UsageError, match="info or warning"):
        report.note("x", "danger")
    with pytest.raises(SchemaError, match="two scores"):
        report.scores([*records(), records()[0]])
    with pytest.raises(SchemaError, match="without high, low"):
        score_rows([{"features": "x", "split": "block", "mean": 1}])
    with pytest.raises(SchemaError, match="no scores"):
        report.scores([])


def test_a_report_is_written_whole_and_the_same_each_time(tmp_path):
    (tmp_path / "dot.png").write_bytes(DOT)
    path = full().figure(tmp_path / "dot.png", "again", "dot").write(tmp_path / "deep" / "report.html")
    assert path.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]
    assert full().html() == full().html()
    assert Tree(Report("empty").table([], None, "none").html()).text.endswith("none")
