"""What the benchmarks share: timing in turn, ratios with their spread, peak memory of a fresh process.

Absolute times hold on no shared machine. So the contestants run in turn, round by round, and what counts is the
ratio within a round: its median and its spread over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Times:
    """Seconds of each contestant in each round."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def median(self, name: str) -> float:
        """The median of a contestant, in seconds."""
        return float(np.median(self.seconds[name]))

    def ratio(self, name: str, peer: str) -> tuple[float, float, float]:
        """How many times faster `name` is than `peer`: median, least and most over the rounds."""
        ratios = np.array(self.seconds[peer]) / np.array(self.seconds[name])
        return float(np.median(ratios)), float(ratios.min()), float(ratios.max())


def in_turn(
    contestants: Mapping[str, Callable[[], Any]],
    rounds: int = 5,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Times:
    """Run the contestants in turn, `rounds` times after `warm_up` rounds that are not counted.

    `clock` may be `time.process_time` where each has one thread: another program then takes time, but none that counts.
    """
    times = Times({name: [] for name in contestants})
    for turn in range(warm_up + rounds):
        for name, run in contestants.items():
            start = clock()
            run()
            if turn >= warm_up:
                times.seconds[name].append(clock() - start)
    return times


def machine() -> str:
    """The line that stands above every result."""
    import pyarrow

    threads = os.environ.get("OMP_NUM_THREADS", "all")
    return (
        f"{os.cpu_count()} cores (OMP_NUM_THREADS: {threads}), {platform.machine()}, Python "
        f"{platform.python_version()}, numpy {np.__version__}, pyarrow {pyarrow.__version__}"
    )


def show(title: str, head: list[str], rows: list[list[str]]) -> None:
    """Print a table in Markdown."""
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    print(f"\n### {title}\n")
    for row in [head, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |")
    sys.stdout.flush()


def spread(ratio: tuple[float, float, float]) -> str:
    """A ratio with its spread: "3.1x (2.8 to 3.3)"."""
    return f"{ratio[0]:.2f}x ({ratio[1]:.2f} to {ratio[2]:.2f})"


class Targets:
    """Claims and whether they hold; `done` prints them and ends the program, with 1 if one does not."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self.missed = 0

    def claim(self, what: str, holds: bool, found: str) -> None:
        """Note a claim."""
        self.rows.append([what, found, "yes" if holds else "NO"])
        self.missed += not holds

    def done(self) -> None:
        """Print all claims; exit status 1 if one does not hold."""
        show("Claims", ["claim", "found", "holds"], self.rows)
        raise SystemExit(1 if self.missed else 0)


def fresh(script: str, *arguments: str) -> dict[str, Any]:
    """Run a script in a process of its own, which ends with `report`; what it reported."""
    done = subprocess.run([sys.executable, script, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def report(**values: Any) -> None:
    """Print what a fresh process found, with its peak of resident memory in MB."""
    print(json.dumps({"peak_mb": peak_mb(), **values}))


def peak_mb() -> float:
    """The peak of resident memory of this process so far, in MB of 10^6 bytes, the interpreter included."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not `ru_maxrss`: on Linux a new process inherits that of the one that started it.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


def arguments(about: str) -> argparse.Namespace:
    """The command line of a benchmark: `--quick` makes it small."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="small sizes, for a look; its figures prove nothing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    return parser.parse_args()
