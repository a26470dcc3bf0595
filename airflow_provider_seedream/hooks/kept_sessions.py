"""Sessions that are kept for a moment after a call, so that the next call of a task needs no new connection.

For GETs alone: a server may close a connection just as the next request is on its way. A GET is repeated
then, or the next poll repeats it; of a POST nobody would know whether it was accepted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import requests

from airflow_provider_seedream.model import clock

# as aiohttp keeps the triggers' connections; a connection that its server has closed is noticed before
KEPT_SECONDS = 15.0


class KeptSessions:
    """Sessions for the GETs of one hook; each is used by one thread at a time::

        kept = KeptSessions(hook.get_conn)
        with kept.session() as session:
            session.get(url)

    :param make: makes a session.
    """

    def __init__(self, make: Callable[[], requests.Session]) -> None:
        self._make = make
        self._idle: list[tuple[requests.Session, float]] = []  # with the moment of the last call

    @contextmanager
    def session(self) -> Iterator[requests.Session]:
        """Context manager: a session that was used less than 15 s ago, else a new one. It is kept unless
        the call fails.
        """
        session = self._pop() or self._make()
        try:
            yield session
        except BaseException:
            session.close()
            raise
        self._idle.append((session, clock.steady_seconds()))

    def _pop(self) -> requests.Session | None:
        """A session that may be used again; older ones are closed."""
        while self._idle:
            session, used_seconds = self._idle.pop()
            if clock.steady_seconds() - used_seconds < KEPT_SECONDS:
                return session
            session.close()
        return None
