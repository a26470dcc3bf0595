"""A bounded memory of the newest values, by name, for threads of one process. Pure but for its lock: no I/O, no clock."""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")


class Recent(Generic[V]):
    """Keeps the newest values and drops the oldest beyond a size. Its methods may run in several threads::

        versions: Recent[str] = Recent(2000)
        versions.keep("a.json", "v1")
        versions.get("a.json")  # "v1"; None once 2,000 newer ones were kept

    It is for values that can be had again, at a price: a value that is not here is no error.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[str, V] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, name: str, value: V) -> None:
        with self._lock:
            self._kept.pop(name, None)  # else an old name would keep its old place, and be dropped early
            self._kept[name] = value
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)

    def drop(self, name: str) -> None:
        with self._lock:
            self._kept.pop(name, None)

    def get(self, name: str) -> V | None:
        with self._lock:
            return self._kept.get(name)
