"""What others have published of image-text retrieval, each figure with its source.

R@K and mean recall (mR, the mean of the six) in percent, on the published test splits. The same splits as ours, where
a set is recognised by its size, but other trainings: what a model had seen before differs from row to row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

COLUMNS = ("I2T R@1", "I2T R@5", "I2T R@10", "T2I R@1", "T2I R@5", "T2I R@10", "mR")
README = "the README of om-ai-lab/RS5M and table 2 of ChenDelong1999/RemoteCLIP, which print the figures of all"


@dataclass(frozen=True)
class PublishedRetrieval:
    """The published figures on one test split.

    Attributes:
        name: of the caption set.
        images: of its test split.
        captions: of its test split.
        source: where the figures stand.
        rows: by method the seven figures of `COLUMNS`, or the mean recall alone.
    """

    name: str
    images: int
    captions: int
    source: str
    rows: Mapping[str, tuple[float, ...]]

    def records(self) -> list[dict[str, str | float | None]]:
        """One record for each method; None where a figure is not known."""
        return [
            {"method": name, **dict(zip(COLUMNS, (None,) * (len(COLUMNS) - len(row)) + row, strict=True))}
            for name, row in self.rows.items()
        ]


PUBLISHED = (
    PublishedRetrieval(
        "RSICD",
        1093,
        5465,
        README,
        {
            "VSE++": (3.38, 9.51, 17.46, 2.82, 11.32, 18.10, 10.43),
            "LW-MCR": (3.29, 12.52, 19.93, 4.66, 17.51, 30.02, 14.66),
            "AMFMN": (5.39, 15.08, 23.40, 4.90, 18.28, 31.44, 16.42),
            "GaLR": (6.59, 19.85, 31.04, 4.69, 19.48, 32.13, 18.96),
            "SWAN": (7.41, 20.13, 30.86, 5.56, 22.26, 37.41, 20.61),
            "PIR": (9.88, 27.26, 39.16, 6.97, 24.56, 38.92, 24.46),
            "CLIP B/32, zero-shot": (5.31, 14.18, 23.70, 5.78, 17.73, 27.76, 15.74),
            "CLIP, fine-tuned (Rahhal)": (10.70, 29.64, 41.53, 9.14, 28.96, 44.59, 27.42),
            "PE-RSITR": (14.13, 31.51, 44.78, 11.63, 33.92, 50.73, 31.12),
            "RemoteCLIP B/32": (17.02, 37.97, 51.51, 13.71, 37.11, 54.25, 35.26),
            "RemoteCLIP L/14": (18.39, 37.42, 51.05, 14.73, 39.93, 56.58, 36.35),
            "GeoRSCLIP B/32, zero-shot": (12.17, 28.45, 38.61, 9.31, 26.51, 41.28, 26.06),
            "GeoRSCLIP-FT (RET-2)": (21.13, 41.72, 55.63, 15.59, 41.19, 57.99, 38.87),
        },
    ),
    PublishedRetrieval(
        "RSITMD",
        452,
        2260,
        README,
        {
            "VSE++": (24.83,),
            "GaLR": (31.41,),
            "SWAN": (34.11,),
            "PIR": (38.24,),
            "CLIP B/32, zero-shot": (24.19,),
            "CLIP, fine-tuned (Rahhal)": (41.38,),
            "PE-RSITR": (44.47,),
            "RemoteCLIP B/32": (49.38,),
            "RemoteCLIP L/14": (50.52,),
            "GeoRSCLIP-FT (RET-2)": (51.81,),
        },
    ),
    PublishedRetrieval(
        "UCM captions",
        210,
        1050,
        README,
        {
            "VSE++": (36.93,),
            "SCAN": (43.43,),
            "MTFN": (44.65,),
            "LW-MCR": (45.35,),
            "AMFMN": (16.67, 45.71, 68.57, 12.86, 53.24, 79.43, 46.08),
            "CLIP, fine-tuned (Rahhal)": (54.12,),
            "CLIP-CL B/32": (55.27,),
            "RemoteCLIP B/32": (20.48, 59.85, 83.33, 18.67, 61.52, 94.29, 56.36),
            "RemoteCLIP L/14": (54.68,),
        },
    ),
)

# Text to image with augmented captions, as their system reports of itself: CLIP B/32 fine-tuned on back-translated
# RSICD captions, 1,093 images and 5,419 queries. Its README and the notebook that it was run in disagree.
AUGMENTED_COLUMNS = ("T2I R@1", "T2I R@5", "T2I R@10", "MRR")
AUGMENTED_IMAGES = 1093
AUGMENTED_SOURCE = "Vijay2101/Semantic-Visual-Retrieval-Engine"
AUGMENTED = {"its README": (10.8, 31.1, 47.5, 0.2211), "its own notebook": (9.43, 29.99, 46.84, 0.2079)}


def published_for(images: int, captions: int) -> PublishedRetrieval | None:
    """The figures on the test split of this size; None where no published split has it."""
    return next((one for one in PUBLISHED if (one.images, one.captions) == (images, captions)), None)
