"""All chance of a night: one seeded random, whose every choice is written down, so that a night can be
replayed and shrunk.

0 is always the calm choice: no fault, no delay, no second copy. So a night is shrunk by turning choices into
0, and a replay that has run out of choices goes on calmly.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """The choices of one night::

        choices = Choices(seed=7)
        choices.below(4, chance=0.1)  # 0 nine times in ten, else 1, 2 or 3
        Choices(seed=7, replay=choices.made)  # the same night again

    :param replay: choices of an earlier night in place of the random ones.

    A choice that is made ``apart`` comes from a second random of the same seed: nights in which it is 0 stay
    as they were before there was this choice, and a seed that has found something goes on showing it.
    """

    def __init__(self, seed: int, replay: Sequence[int] | None = None) -> None:
        self._random = Random(seed)
        self._apart = Random(f"{seed} apart")
        self._replay = replay
        self.made: list[int] = []

    def below(self, count: int, *, chance: float = 1.0, apart: bool = False) -> int:
        """A number below ``count``; anything but 0 with this chance."""
        if self._replay is not None:
            at = len(self.made)
            chosen = min(self._replay[at], count - 1) if at < len(self._replay) else 0
        else:
            drawn_from = self._apart if apart else self._random
            drawn = drawn_from.random()
            chosen = (
                0
                if drawn >= chance
                else drawn_from.randrange(count)
                if chance == 1.0
                else 1 + drawn_from.randrange(count - 1)
            )
        self.made.append(chosen)
        return chosen

    def happens(self, chance: float, *, apart: bool = False) -> bool:
        """True with this chance. A chance of 0 makes no choice at all."""
        return chance > 0 and self.below(2, chance=chance, apart=apart) == 1

    def of(self, options: Sequence[T], *, chance: float = 1.0, apart: bool = False) -> T:
        """One of the options; the first is the calm one."""
        return options[self.below(len(options), chance=chance, apart=apart)]
