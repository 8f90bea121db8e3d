"""The report of the demo: what was made, what it knows, where it looks alike, on one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec import __version__
from placevec.area import StudyArea
from placevec.atlas.charts import bar_figure, variance_figure
from placevec.atlas.colour import fit_basis
from placevec.atlas.figures import contact_sheet
from placevec.atlas.report import Report
from placevec.atlas.scores import score_rows
from placevec.config import Recipe
from placevec.encoders.base import ModelCard
from placevec.table import EmbeddingTable, open_table, read_skipped, skipped_counts
from placevec.tasks.inputs import Chips, Input
from placevec.tasks.map import Layout, map_tables
from placevec.tasks.probe import read_residuals
from placevec.tasks.search import search

HITS = 11


def write_report(area: StudyArea, recipe: Recipe, *, generated: bool) -> Path:
    """Write ``report.html`` into the folder of the area from what the recipe has made there; returns its path."""
    assert area.folder is not None
    folder = area.folder
    image = open_table(folder / "tables/image.parquet").read()
    location = open_table(folder / "tables/location.parquet").read()
    probes = json.loads((folder / "results/probe.json").read_text())
    figures = folder / "figures"
    note = str(recipe.vars["note"])
    report = Report(
        f"{area.name}: {len(image):,} places and their vectors",
        "Image and location embeddings, probed, searched and mapped",
        footer=f"placevec {__version__} · recipe {recipe.name!r}, seed {recipe.seed} · {note}",
    )
    if generated:
        report.note(
            "This country does not exist: it was generated, because the real data is not on this machine. "
            "Set PLACEVEC_DATA to its folder, or fetch it with placevec data fetch, and run the demo again.",
            "warning",
        )
    _intro(report, area, recipe, image, location)
    _probes(report, probes, figures)
    _maps(report, figures, area, note)
    _search(report, image, recipe, folder, figures, note)
    _residuals(report, folder, figures, area, probes, note)
    _provenance(report, folder, image, location)
    return report.write(folder / "report.html")


def _intro(report: Report, area: StudyArea, recipe: Recipe, image: EmbeddingTable, location: EmbeddingTable) -> None:
    assert area.folder is not None
    skipped = read_skipped(area.folder / "tables/image.parquet")
    ground = float(recipe.vars["ground_m"]) / 1000
    report.section(
        "What was made",
        f"The region was divided into H3 cells of resolution {area.resolution}. Around the centre of each a chip of "
        f"{ground:g} by {ground:g} km was cut from the image. An image encoder learned from the chips alone, without "
        "labels and without coordinates. A location encoder then learned to answer with the image vector of a place "
        "from its longitude and latitude alone, so that both live in one Space.",
    )
    joined = location.space.id == image.space.id
    report.facts(
        {
            "Area": f"{area.area_km2:,.0f} km²",
            "Cells": f"{len(image) + len(skipped):,} (H3 resolution {area.resolution})",
            "Embedded": f"{len(image):,}",
            "Skipped": "none"
            if not skipped
            else "; ".join(f"{n} × {why}" for why, n in skipped_counts(skipped).items()),
            "Vectors": f"{image.dims} components, length 1",
            "One Space for image and location": "yes" if joined else "no",
            "Image encoder": _scores(area.folder / "models/image"),
            "Location encoder": _scores(area.folder / "models/location"),
        }
    )


def _scores(folder: Path) -> str:
    card = ModelCard.from_json(json.loads((folder / "card.json").read_text()))
    words = {
        "view_recall_at_1": "finds its other view first for {:.0%} of held-out chips",
        "percentile": "ranks the true chip of a held-out place ahead of {:.0%} of the others (chance 50 %)",
    }
    return "; ".join(text.format(card.scores[name]) for name, text in words.items() if name in card.scores) or "trained"


def _probes(report: Report, probes: list[dict[str, Any]], figures: Path) -> None:
    report.section(
        "What the vectors know",
        "Each target was predicted by ridge regression and by nearest neighbours, beside every compulsory baseline. "
        "Random splits flatter: a test place has its neighbours in the training set. Under spatial blocks whole "
        "regions are held out, with a buffer around them. Settings were chosen inside the training folds. "
        "A learned row that loses to a baseline is marked as losing.",
    )
    if all(split["kind"] == "random" for probe in probes for split in probe["splits"]):
        report.note(
            "This region is too small for spatial blocks with a buffer as wide as a chip: only the random split could "
            "be made, and it flatters.",
            "warning",
        )
    for probe in probes:
        rows = probe["rows"]
        block = probe["splits"][-1]
        caption = (
            f"{probe['target'].capitalize()}: {probe['n']:,} places; {block['k']} folds, {block['shuffles']} shuffles"
        )
        if block["kind"] == "block":
            caption += f"; blocks {block['block']}, buffer {block['buffer_m'] / 1000:g} km"
        range_m = block.get("range_m")
        if range_m:
            caption += f"; range of the variogram {range_m / 1000:,.0f} km"
        report.scores(rows, caption)
        layouts: dict[Layout, str] = {"wide": "", "narrow": "-narrow"}
        for layout, suffix in layouts.items():
            bar_figure(
                figures / f"probe-{_slug(probe['target'])}{suffix}.png",
                score_rows(rows),
                title=f"{probe['target'].capitalize()} from embeddings",
                subtitle="Nested selection; intervals are 95 % bootstrap over places",
                layout=layout,
            )
        report.figure(
            figures / f"probe-{_slug(probe['target'])}.png",
            f"{probe['target'].capitalize()}: learned rows against the baselines.",
            f"Scores of each set of features for {probe['target']}, random and block splits, with intervals",
            narrow=figures / f"probe-{_slug(probe['target'])}-narrow.png",
        )
    absent = sorted({name for probe in probes for name in probe.get("absent_baselines", ())})
    if absent:
        report.note(f"Compulsory baselines that could not be made: {', '.join(absent)}.", "warning")


def _maps(report: Report, figures: Path, area: StudyArea, note: str) -> None:
    report.section(
        "What it looks like",
        "The first three principal components of the vectors as red, green and blue. Both maps share one basis: equal "
        "colours mean equal vectors.",
    )
    for name, words in (
        ("pca-image", "Image vectors"),
        ("pca-location", "Location vectors, made from coordinates alone, in the colours of the image vectors"),
        ("clusters", "Clusters of the image vectors by k-means"),
        ("landscapes", "Landscapes: connected regions, found by Ward's criterion over neighbouring cells"),
    ):
        report.figure(
            figures / f"{name}.png",
            f"{words}. {note}.",
            f"Map of {area.name}: {words}",
            narrow=figures / f"{name}-narrow.png",
        )


def _search(report: Report, image: EmbeddingTable, recipe: Recipe, folder: Path, figures: Path, note: str) -> None:
    query = _interesting(image)
    name = str(image.ids[query])
    distance = 2 * float(recipe.vars["ground_m"])
    hits = search(image, like=name, k=HITS, min_distance_m=distance)
    rows = np.concatenate([[query], image.rows_of(list(hits.ids))])
    chips = _chips(image, recipe, folder, rows)
    captions = [f"query\n{_where(image, query)}"]
    captions += [
        f"{rank + 1}  cosine {score:.2f}\n{_where(image, row)}"
        for rank, (score, row) in enumerate(zip(hits.scores, rows[1:], strict=True))
    ]
    report.section(
        "Places like this one",
        f"The query is the place whose vector is farthest from the mean. Hits lie at least {distance / 1000:g} km "
        f"away, so that no chip overlaps it. Plan: {hits.plan}.",
    )
    if chips is not None:
        for file, columns in (("search.png", 6), ("search-narrow.png", 3)):
            contact_sheet(
                figures / file,
                chips,
                captions,
                title="Places like this one",
                subtitle="nearest by cosine; the query first",
                columns=columns,
            )
        report.figure(
            figures / "search.png",
            f"Chips of the query and its nearest places. {note}.",
            "Contact sheet of the query chip and the chips most like it",
            narrow=figures / "search-narrow.png",
        )
    drawn = map_tables(
        [image],
        figures / "similarity.png",
        by="similarity",
        like=name,
        area=folder,
        title="Likeness to the query",
        subtitle=f"Cosine of image vectors to {_where(image, query)}",
        layouts=("wide", "narrow"),
        note=note,
    )
    report.figure(
        drawn[0].png,
        "How like the query every place is.",
        "Map of the cosine similarity to the query",
        narrow=figures / "similarity-narrow.png",
    )
    report.table(
        [
            {"rank": r["rank"], "id": r["id"], "cosine": r["score"], "lon": r["lon"], "lat": r["lat"]}
            for r in hits.to_records()
        ],
        caption=f"placevec search {folder.name}/tables/image.parquet --like {name} -k {HITS} "
        f"--min-distance {distance / 1000:g}km",
    )


def _residuals(
    report: Report, folder: Path, figures: Path, area: StudyArea, probes: list[dict[str, Any]], note: str
) -> None:
    places = read_residuals(folder / "results/probe.json")
    report.section(
        "Where the probe is wrong",
        "Observed minus predicted, out of fold under spatial blocks, for the best learned row of each target. Patches "
        "of one colour are what neither the vectors nor chance explain.",
    )
    basis = {"image": fit_basis([open_table(folder / "tables/image.parquet").read().vectors()], ["image"]).spectrum}
    for probe in probes:
        column = f"residual_{probe['target']}"
        table = _as_table(places, column)
        if table is None:
            continue
        goal = figures / f"residual-{_slug(probe['target'])}.png"
        map_tables(
            [table],
            goal,
            by=column,
            area=folder,
            title=f"{probe['target'].capitalize()}: residual",
            subtitle=f"{probe['residuals_of']['features']}, {probe['residuals_of']['split']} split",
            layouts=("wide", "narrow"),
            note=note,
        )
        report.figure(
            goal,
            f"{probe['target'].capitalize()}: observed minus predicted.",
            f"Map of residuals of {probe['target']} over {area.name}",
            narrow=goal.with_name(f"{goal.stem}-narrow.png"),
        )
    variance_figure(figures / "variance.png", basis, title="Variance of the image vectors", subtitle="by component")
    report.figure(
        figures / "variance.png",
        "How much of the variance each principal component of the image vectors holds; the maps show the first three.",
        "Bars of explained variance by component",
    )


def _provenance(report: Report, folder: Path, image: EmbeddingTable, location: EmbeddingTable) -> None:
    report.section("Where it comes from", "Every table carries this in its footer; placevec info prints it whole.")
    report.table(
        [
            {
                "table": f"tables/{name}.parquet",
                "rows": len(table),
                "Space": table.space.label,
                "fingerprint": table.fingerprint(),
                "sources": "; ".join(
                    f"{one.href} ({one.licence or 'licence not stated'})" for one in table.meta.sources
                ),
            }
            for name, table in (("image", image), ("location", location))
        ],
        caption="The tables",
    )
    report.code(
        "import placevec\n\n"
        f'table = placevec.open_table("{folder.name}/tables/image.parquet")\n'
        f'hits = placevec.search(table, like="{image.ids[0]}", k=5)\n'
        "print(hits.to_records())"
    )


def _interesting(table: EmbeddingTable) -> int:
    """The row farthest from the mean direction: somewhere that looks like little else."""
    vectors = table.vectors()
    mean = vectors.mean(axis=0)
    return int(np.argmin(vectors @ (mean / max(float(np.linalg.norm(mean)), 1e-9))))


def _chips(
    image: EmbeddingTable, recipe: Recipe, folder: Path, rows: NDArray[np.int64]
) -> list[NDArray[np.uint8]] | None:
    raster = str(recipe.vars["raster"])
    chips = Chips(
        raster=raster if ":" in raster else str(folder / raster),
        ground_m=float(recipe.vars["ground_m"]),
        pixels=96,
        min_valid=0.5,
    )
    given = Input(area=str(folder), chips=chips)
    source = given.source()
    wanted = source.places().rows_of(list(image.ids[rows]))
    batch = source.read(wanted)
    if len(batch) != len(rows):
        return None
    pictures = batch.data["image"][:, _visible(batch.data["image"].shape[1])]
    return [np.ascontiguousarray(np.moveaxis(_stretch(one), 0, 2)) for one in pictures]


def _visible(bands: int) -> list[int]:
    """Red, green and blue: the first three of an RGB image, bands 3, 2, 1 of one ordered by wavelength."""
    return [0, 1, 2] if bands == 3 else [2, 1, 0] if bands > 3 else [0, 0, 0]


def _stretch(chip: NDArray[Any]) -> NDArray[np.uint8]:
    if chip.dtype == np.uint8:
        return chip
    low, high = np.percentile(chip, (2, 98))
    share = np.clip((chip - low) / max(float(high - low), 1e-9), 0, 1)
    return np.asarray(share * 255, dtype=np.uint8)


def _as_table(places: Any, column: str) -> EmbeddingTable | None:
    """The places as a table without vectors of meaning, for a map of a column."""
    from placevec.provenance import Space

    if not places.has(column):
        return None
    keep = np.flatnonzero(np.isfinite(places.column(column).astype(np.float64)))
    if len(keep) == 0:
        return None
    kept = places.take(keep)
    return EmbeddingTable.of(kept, np.zeros((len(kept), 1), dtype=np.float32), Space.unknown(1))


def _where(table: EmbeddingTable, row: int) -> str:
    lon, lat = float(table.lon[row]), float(table.lat[row])
    return f"{abs(lat):.1f}°{'N' if lat >= 0 else 'S'} {abs(lon):.1f}°{'E' if lon >= 0 else 'W'}"


def _slug(text: str) -> str:
    return "-".join(text.lower().split())
