"""The changes of a month's page that wait for their write, and the page as this process saw it last. Does
no I/O, and never imports Airflow.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from airflow_provider_seedream.ledger.pages import Page
from airflow_provider_seedream.storage.swap import Seen

R = TypeVar("R")
Change = Callable[[Page], tuple[Page, R]]


@dataclass(slots=True, kw_only=True, eq=False)
class Asked(Generic[R]):
    """A change that waits for its write; afterwards its result, or the error of the write."""

    change: Change[R]
    result: R | None = None
    error: BaseException | None = None
    is_done: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Month:
    """A page in this process: as it was seen last, and the changes that wait. ``turn`` is held while it is
    read and written.
    """

    name: str
    turn: threading.Lock = field(default_factory=threading.Lock)
    asked: list[Asked[Any]] = field(default_factory=list)
    seen: Seen | None = None
    page: Page | None = None
