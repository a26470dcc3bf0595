"""Plays nights: ``python -m tests.simulation 10000``, or one with its story: ``... --seed 372``.

Ends with 1 if an invariant broke; then it prints the seed, and the story of the shrunk night.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from resource import RUSAGE_CHILDREN, getrusage

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from tests.simulation.plan import Told, play
from tests.simulation.shrink import shrink

CHUNK = 100
MAX_TOLD = 3  # of nights that broke an invariant: more stories help nobody


@dataclass(slots=True)
class Sum:
    """What many nights add up to."""

    nights: int = 0
    acts: int = 0
    charges: int = 0

    def add(self, other: Sum) -> None:
        self.nights += other.nights
        self.acts += other.acts
        self.charges += other.charges


class _Rate(ProgressColumn):
    """Nights a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f} nights/s" if task.speed else "")


def play_some(first: int, count: int) -> tuple[Sum, list[Told]]:
    """Nights of consecutive seeds, up to the first that breaks an invariant."""
    total, broken = Sum(), []
    for seed in range(first, first + count):
        told = play(seed)
        total.add(Sum(1, told.acts, told.charges))
        if told.violation:
            broken.append(told)
    return total, broken


def keep_imports() -> None:
    """Python's search for garbage passes over Airflow's modules, and comes less often: a tenth of the time
    of a night.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def play_all(
    first: int, nights: int, *, workers: int, progress: Progress | None = None
) -> tuple[Sum, list[Told]]:
    """Many nights in several processes; ends early when enough of them broke an invariant."""
    chunks = ((at, min(CHUNK, first + nights - at)) for at in range(first, first + nights, CHUNK))
    bar = progress.add_task("nights", total=nights) if progress else None
    keep_imports()
    total, broken = Sum(), []
    for done, bad in _in_processes(chunks, workers):
        total.add(done)
        broken += bad
        if progress and bar is not None:
            progress.update(bar, advance=done.nights)
        if len(broken) >= MAX_TOLD:
            break
    return total, sorted(broken, key=lambda told: told.seed)


def _in_processes(chunks: Iterator[tuple[int, int]], workers: int) -> Iterator[tuple[Sum, list[Told]]]:
    if workers == 1:
        for chunk in chunks:
            yield play_some(*chunk)
        return
    # fork: the provider and Airflow are imported once.
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        under_way: set[Future[tuple[Sum, list[Told]]]] = {
            pool.submit(play_some, *chunk) for chunk in islice(chunks, 2 * workers)
        }
        try:
            while under_way:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
                    under_way |= {pool.submit(play_some, *chunk) for chunk in islice(chunks, 1)}
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def shrunk(told: Told) -> Told:
    """The calmest night that breaks the same invariant, with its story."""

    def breaks(made: list[int]) -> list[int] | None:
        again = play(told.seed, made)
        return again.made if again.invariant == told.invariant else None

    return play(told.seed, shrink(told.made, breaks), tells=True)  # type: ignore[arg-type]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("nights", type=int, nargs="?", default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="play this night alone, and tell its story")
    parser.add_argument("--whole", action="store_true", help="with --seed: the night as it was, not shrunk")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    console = Console(soft_wrap=True, highlight=False)
    if asked.seed is not None:
        return _one(console, asked.seed, is_whole=asked.whole)
    began = time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    # Chunks come seconds apart, so the rate is that of the last minutes.
    with Progress(*columns, console=Console(file=sys.stderr), speed_estimate_period=300.0) as progress:
        total, broken = play_all(asked.first, asked.nights, workers=asked.workers, progress=progress)
    minutes = (time.monotonic() - began) / 60
    for told in broken[:MAX_TOLD]:
        _tell(console, shrunk(told))
    console.print(
        f"{total.nights:,} nights, {total.acts:,} acts, {total.charges:,} charges in {minutes:.1f} min, "
        f"at most {getrusage(RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MiB in a worker; "
        f"broken: {', '.join(str(told.seed) for told in broken) or 'none'}",
        markup=False,
    )
    return 1 if broken else 0


def _one(console: Console, seed: int, *, is_whole: bool) -> int:
    play(seed)  # Airflow imports some modules when they are first needed
    began = time.process_time()
    told = play(seed, tells=True)
    seconds = time.process_time() - began
    if told.violation and not is_whole:
        told = shrunk(told)
    _tell(console, told)
    console.print(
        f"The night itself was played in {seconds:.2f} s of CPU, without the start of Python and Airflow."
    )
    return 1 if told.violation else 0


def _tell(console: Console, told: Told) -> None:
    console.print(f"--- night {told.seed}: make nights SEED={told.seed}", *told.story, sep="\n", markup=False)
    unusual = sum(map(bool, told.made))
    console.print(
        f"--- {told.violation or 'all invariants hold'} ({unusual} of {len(told.made)} choices were not "
        "calm)\n",
        markup=False,
    )


if __name__ == "__main__":
    logging.captureWarnings(True)
    sys.exit(main())
