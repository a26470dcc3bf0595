"""A point in the listing of generations, as the addresses of pages hold it. Reads neither the database nor
the storage.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

MOST_INTEGER = 2**31 - 1  # of the integer columns, on every database


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A point in the listing, safe in a URL: pages go on from here, also when newer rows have come since::

        str(row.cursor)  # "2026-03-01T12:00:00+00:00~17~-1~land"
        Cursor.parse("~~~")  # None: an address can be edited

    :param at: when the row's XCom was written, in UTC. The other fields decide between rows of the same
        instant.
    :param loop_index: the round of a task in a loop; -1 for others. A text has it behind the map index:
        ``~-1.2~``.
    """

    at: datetime
    dag_run_id: int
    task_id: str
    map_index: int
    loop_index: int = -1

    def __str__(self) -> str:
        in_loop = "" if self.loop_index < 0 else f".{self.loop_index}"
        return f"{self.at.isoformat()}~{self.dag_run_id}~{self.map_index}{in_loop}~{self.task_id}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The point of an address; None if it is not one, as addresses can be edited."""
        try:
            at, run, indexes, task = text.split("~", 3)
            index, _, in_loop = indexes.partition(".")
            instant, numbers = datetime.fromisoformat(at), (int(run), int(index), int(in_loop or -1))
            if instant.tzinfo is None or any(abs(number) > MOST_INTEGER for number in numbers):
                return None
            run_id, map_index, loop_index = numbers
            return cls(
                at=instant.astimezone(UTC),
                dag_run_id=run_id,
                map_index=map_index,
                loop_index=loop_index,
                task_id=task,
            )
        except (ValueError, OverflowError):  # a year 10000 elsewhere
            return None


def order_of(cursor: Cursor) -> tuple[datetime, int, str, int, int]:
    """The sort key of a row in a listing, equal to the order of the database."""
    return cursor.at, cursor.dag_run_id, cursor.task_id, cursor.map_index, cursor.loop_index
