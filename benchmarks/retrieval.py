"""Everything that image-text retrieval promises of speed and memory, in one run.

images     encoding in batches against one by one: own CNN, ViT and Fisher vectors, and a CLIP of the size ViT-B/32
crops      the 16 crops of the older way one by one, against one batch and against dense positions
decoding   files one by one against several threads
captions   a query in words, and thousands of captions
index      kinds of kept index: recall, queries a second, memory of building (10k and 100k x 256; 1M with --full)
evaluation 1,093 images x 5,465 captions against the plain loop (and with --full the memory of 100k x 500k)

python benchmarks/retrieval.py [--parts images,index] [--full | --quick] [--rounds N]
"""

from __future__ import annotations

import argparse
import os

# One thread for each contestant, set before numpy is imported: threads wait for each other on a machine in use.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from common import Targets, machine
from retrieval_encoding import encoding
from retrieval_evaluation import evaluation
from retrieval_index import claims, measure, shown

ENCODING = ("images", "crops", "decoding", "captions")
PARTS = (*ENCODING, "index", "evaluation")
SIZES = (10_000, 100_000)
QUICK_SIZES = (2_000,)
LARGE = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="which, with commas")
    parser.add_argument("--sizes", default="", help="vectors of the indexes, with commas, instead of the above")
    parser.add_argument("--rounds", type=int, default=3)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small sizes, for a look; its figures prove nothing")
    size.add_argument("--full", action="store_true", help="also a million vectors, and evaluation of 100k x 500k")
    options = parser.parse_args()
    parts = tuple(options.parts.split(","))
    odd = sorted(set(parts) - set(PARTS))
    if odd:
        parser.error(f"there is no part {odd[0]!r}: the parts are {', '.join(PARTS)}")
    print(machine())
    targets = Targets()
    encoding(options.rounds, options.quick, targets, parts)
    if "index" in parts:
        for n in _sizes(options):
            rows = measure(n, rounds=options.rounds)
            shown(rows)
            claims(rows, targets)
    if "evaluation" in parts:
        evaluation(options.rounds, quick=options.quick, targets=targets, large=options.full)
    targets.done()


def _sizes(options: argparse.Namespace) -> tuple[int, ...]:
    if options.sizes:
        return tuple(int(size) for size in options.sizes.split(","))
    if options.quick:
        return QUICK_SIZES
    return (*SIZES, LARGE) if options.full else SIZES


if __name__ == "__main__":
    main()
