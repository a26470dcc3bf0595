"""Shrinks a night: as few choices as possible that are not calm, while the same invariant still breaks.

Our own, over the written-down choices, instead of hypothesis: a night is already a list of numbers whose 0 is
calm, so shrinking is turning blocks of it into 0. Nothing else has to know of it, a night costs 15 ms, and a
million nights need no database of examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

MAX_PLAYS = 400


def shrink(
    made: Sequence[int], breaks: Callable[[Sequence[int]], Sequence[int] | None], *, plays: int = MAX_PLAYS
) -> list[int]:
    """The calmest list of choices that was found within so many plays.

    :param made: the choices of the night that broke an invariant.
    :param breaks: plays a list of choices; the choices that were then made if the same invariant breaks, else
        None.
    """
    best = list(made)
    size = max(1, len(best) // 2)
    while plays > 0:
        at, is_calmer = 0, False
        while at < len(best) and plays > 0:
            block = best[at : at + size]
            if any(block):
                plays -= 1
                played = breaks([*best[:at], *([0] * len(block)), *best[at + size :]])
                if played is not None:
                    best, is_calmer = _without_calm_end(played), True
            at += size
        if size == 1 and not is_calmer:
            break
        size = max(1, size // 2)
    return best


def _without_calm_end(made: Sequence[int]) -> list[int]:
    """A replay that has run out of choices goes on calmly, so zeros at the end need not be written."""
    last = max((at for at, chosen in enumerate(made) if chosen), default=-1)
    return list(made[: last + 1])
