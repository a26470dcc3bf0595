"""The things that a statement leaves to a person: images to land while the API keeps them, outcomes to
settle, tasks to clear.

No I/O and no clock.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from airflow_provider_seedream.accounts.entries import Entry
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.commands import command
from airflow_provider_seedream.model.counting import counted

# the sensor's default timeout: from then on perhaps no task waits for a generation any more
WAITED_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """One thing to do::

        Duty(
            what="Land 2 images, paid with 20 credits",
            command="airflow seedream land ID s3://...",
            before="2026-11-29T14:20:00Z",
        )

    :param what: a sentence for people, without a full stop.
    :param command: to be copied; None if it is done elsewhere, e.g. in Airflow's user interface.
    :param before: ISO 8601; afterwards it is too late. None if it can wait.
    :param is_due: False for what a person may do, but need not.
    """

    what: str
    command: str | None = None
    before: str | None = None
    is_due: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The duty as plain JSON, for ``reconcile --output json``."""
        return asdict(self)


def duties_of(
    entries: Sequence[Entry], unreadable: Iterable[str], now_epoch: float, conn_id: str
) -> Iterator[Duty]:
    """The duties of a period, those first that end first.

    :param now_epoch: decides for which generations perhaps no task waits any more.
    :param conn_id: the connection of the wallet; commands name it if it is not the default.
    """
    named = partial(command, conn_id=conn_id)
    landings = [entry for entry in entries if _is_to_land(entry, now_epoch)]
    yield from (
        _landing(entry, named) for entry in sorted(landings, key=lambda entry: entry.expires_epoch or 0.0)
    )
    records = {entry.record for entry in entries}
    for entry in entries:
        if entry.ending == "unknown":
            yield _settling(entry, named, sent_again=_next_attempt(entry) in records)
    for entry in entries:
        if entry.ending == "missing":
            what = (
                f"Find the account of {entry.seedream_task_id}: this key's does not know it "
                f"({_request(entry)})"
            )
            yield Duty(what=what, command=named("status", entry.seedream_task_id or "ID"))
    for uri in unreadable:
        yield Duty(what=f"Look at {uri}: it cannot be read, and may hide a payment")
    yield from _clearings(entries)


def _is_to_land(entry: Entry, now_epoch: float) -> bool:
    """True if the images are paid for, and perhaps no task is going to land them."""
    has_waited = entry.ending == "in_flight" and now_epoch - entry.last_epoch > WAITED_SECONDS
    return entry.ending == "to_land" or has_waited or (entry.is_late and entry.ending == "in_flight")


def _landing(entry: Entry, named: Callable[..., str]) -> Duty:
    """The duty to land paid images before the API deletes them. A late one was paid beside another POST of
    the same request.
    """
    until = clock.to_iso(entry.expires_epoch) if entry.expires_epoch else None
    images = counted(entry.images, "image")
    second = ", a second payment" if entry.is_late else ""
    return Duty(
        what=f"Land {images}, paid with {counted(entry.charged, 'credit')}{second} ({_request(entry)})",
        command=named("land", entry.seedream_task_id or "ID", entry.destination),
        before=until,
    )


def _settling(entry: Entry, named: Callable[..., str], *, sent_again: bool) -> Duty:
    """The duty to settle an unknown outcome. A request that was sent again keeps this record, so it can
    only be settled as paid.
    """
    what = f"Find out whether {counted(entry.at_risk, 'credit', 'were')} paid ({_request(entry)})"
    if sent_again:
        return Duty(
            what=f"{what}: it was sent again",
            command=named("resolve", entry.record, "--paid", "ID"),
            is_due=False,
        )
    return Duty(what=what, command=named("resolve", entry.record, "--by-wallet"))


def _next_attempt(entry: Entry) -> str:
    """The URI that the record of the next attempt at a request has: ``.../3f2a....2.json`` after
    ``.../3f2a....json``.
    """
    folder, _, name = entry.record.rpartition("/")
    key, _, attempt = name.removesuffix(".json").partition(".")
    return f"{folder}/{key}.{int(attempt) + 1 if attempt.isdecimal() else 2}.json"


def _clearings(entries: Iterable[Entry]) -> Iterator[Duty]:
    """One line for each task with refunded requests: cleared, it sends them again."""
    tasks: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.ending == "refunded" and entry.task_id:
            tasks[(entry.dag_id, entry.run_id, entry.task_id)].append(entry)
    for (dag_id, run_id, task_id), refunded in tasks.items():
        price = sum(entry.refunded for entry in refunded)
        yield Duty(
            what=f"Clear task {task_id} in run {run_id} of DAG {dag_id} if its "
            f"{counted(len(refunded), 'failed and refunded request')} should be sent again, for "
            f"{counted(price, 'credit')}",
            is_due=False,
        )


def _request(entry: Entry) -> str:
    """A request as people recognise it: its task, its name or the beginning of its prompt."""
    task = " ".join(filter(None, (entry.dag_id, entry.run_id, entry.task_id)))
    return f"{task or 'no task'}: {entry.name or repr(entry.prompt)}"
