"""A bounded memory of the newest values, by name, for threads of one process.

Does no I/O and reads no clock. A value may be gone at any time, so a caller must be able to get it elsewhere.
"""

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

    :param size: the most values that are kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[str, V] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, name: str, value: V) -> None:
        """Keep a value as the newest one, in place of an older one of this name."""
        with self._lock:
            self._kept.pop(name, None)  # else an old name would keep its old place, and be dropped early
            self._kept[name] = value
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)

    def drop(self, name: str) -> None:
        """Forget a value, if it is here."""
        with self._lock:
            self._kept.pop(name, None)

    def get(self, name: str) -> V | None:
        """The value of this name; None if it was never kept, or was dropped."""
        with self._lock:
            return self._kept.get(name)
