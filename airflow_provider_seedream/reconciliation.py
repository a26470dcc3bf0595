"""The morning after: one call that explains every credit of a wallet by its ledgers, and says what a person
has to do.

It only reads: the ledgers, the status of generations that no record closes, and the wallet.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

from airflow_provider_seedream.accounts.entries import Entry, entry_of
from airflow_provider_seedream.accounts.reading import (
    FILES_AT_ONCE,
    Found,
    Tracked,
    batched,
    each_record,
    ledgers_of,
    manifest_of,
)
from airflow_provider_seedream.accounts.statement import Statement as Statement
from airflow_provider_seedream.accounts.statement_making import make_statement
from airflow_provider_seedream.accounts.wallet_flow import plain
from airflow_provider_seedream.exceptions import SeedreamError, SeedreamInputError, SeedreamResponseError
from airflow_provider_seedream.hooks.answers import failed_poll
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.records import Ledger, Record
from airflow_provider_seedream.model import clock, threads
from airflow_provider_seedream.polling.policy import PollOutcome, PollPolicy, has_expired
from airflow_provider_seedream.polling.poller import Poller
from airflow_provider_seedream.polling.wallet import credits_in
from airflow_provider_seedream.provider_info import DEFAULT_CONN_ID

PARALLEL_POLLS = 4  # status calls at once
MAX_READINGS = 3  # of the ledgers, if the wallet moves meanwhile


def reconcile(
    destinations: str | Sequence[str] | None = None,
    *,
    seedream_conn_id: str = DEFAULT_CONN_ID,
    since: str | None = None,
    recursive: bool = False,
    files: bool = False,
    topped_up: Sequence[int] = (),
    tracked: Callable[[list[str]], Iterable[str]] = iter,
) -> Statement:
    """Explain the wallet of a connection by the ledgers of its destinations. It sends GETs and writes
    nothing.

    ::

        statement = reconcile(
            ["s3://my_conn@bucket/watches", "s3://my_conn@bucket/shoes"], since="2026-11-28T18:00:00Z"
        )
        if statement.needs_a_person:
            print(statement.text)

    The statement begins with the first balance that a request of the period has noted, before its own POST,
    and ends now.

    :param destinations: one or more storage URIs: all folders that this key pays for, as the others' credits
        are unexplained. The connection's ``destination`` by default.
    :param seedream_conn_id: the connection whose wallet is explained.
    :param since: the beginning, ISO 8601, best at an hour without requests; the first record by default.
    :param recursive: the ledgers of all folders below as well.
    :param files: the landed images by name, for a list by image. It reads the manifest of each landed
        generation.
    :param topped_up: the credits of each top-up of the period that you know of, e.g. ``[5000, 500]``. One
        that the wallet shows as well counts once.
    :param tracked: gets the files of each ledger and gives them back one by one: for a progress bar.
    :raises SeedreamInputError: a folder has no ledger, ``since`` is not an instant, a top-up is not a whole
        number above 0, or the connection is incomplete.
    :raises SeedreamLedgerError: a ledger cannot be listed.
    :raises SeedreamError: the API does not answer about the wallet, or about a generation.
    """
    since_epoch = clock.to_epoch(since) if since is not None else None
    if since is not None and since_epoch is None:
        raise SeedreamInputError(
            f"since must be an instant, e.g. 2026-11-22T18:00:00Z or 2026-11-22; got {str(since)[:80]!r}."
        )
    if wrong := [one for one in topped_up if isinstance(one, bool) or not isinstance(one, int) or one <= 0]:
        raise SeedreamInputError(f"topped_up must hold whole credits above 0; got {str(wrong[0])[:80]!r}.")
    hook = SeedreamHook(seedream_conn_id)
    named = (
        [destinations]
        if isinstance(destinations, str)
        else list(destinations or [hook.settings.destination or ""])
    )
    if named == [""]:
        raise SeedreamInputError(f"Name the destinations: the connection {seedream_conn_id} has none.")
    reading = read_all(hook, ledgers_of(named, recursive=recursive), files=files, tracked=tracked)
    return make_statement(
        reading.entries,
        end=reading.balance,
        end_at=reading.at_epoch,
        since_epoch=since_epoch,
        unreadable=reading.unreadable,
        is_moving=reading.is_moving,
        conn_id=seedream_conn_id,
        stated=topped_up,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Ledgers as entries, and the wallet right after they were read.

    :param balance: in credits; ``at_epoch``: when it was read.
    :param is_moving: the wallet changed meanwhile, in each of three readings.
    """

    entries: list[Entry]
    unreadable: list[str]
    balance: Decimal
    at_epoch: float
    is_moving: bool


def read_all(
    hook: SeedreamHook,
    ledgers: Sequence[Ledger],
    *,
    files: bool = False,
    tracked: Callable[[list[str]], Iterable[str]] = iter,
) -> Reading:
    """Read ledgers between two looks at the wallet, until both looks agree, at most three times.

    :param files: the landed images by name. :param tracked: as that of `reconcile`.
    """
    reader = _Reader(hook, ledgers, files=files, tracked=tracked)
    before = _balance(hook)
    for _ in range(MAX_READINGS):
        reader.read()
        now = _balance(hook)
        if is_still := before == now:
            break
        before = now
    return Reading(
        entries=reader.entries,
        unreadable=reader.unreadable,
        balance=now,
        at_epoch=clock.now_epoch(),
        is_moving=not is_still,
    )


class _Reader:
    """Reads the ledgers into entries. A second reading reads only files that are new, or whose requests
    may have changed.
    """

    def __init__(
        self, hook: SeedreamHook, ledgers: Sequence[Ledger], *, files: bool, tracked: Tracked
    ) -> None:
        self._hook = hook
        self._ledgers = ledgers
        self._with_files = files
        self._tracked = tracked
        self._closed: dict[str, Entry] = {}
        self._open: list[Entry] = []
        self.unreadable: list[str] = []

    @property
    def entries(self) -> list[Entry]:
        """All entries, by the last reading."""
        return [*self._closed.values(), *self._open]

    def read(self) -> None:
        """Read all that is not closed, and ask the API about generations whose record says neither landed
        nor failed.
        """
        self._open, self.unreadable = [], []
        with threads.pool(PARALLEL_POLLS, "seedream-status") as pool:
            for ledger in self._ledgers:
                founds = each_record(ledger, tracked=self._tracked, skip=self._closed)
                for some in batched(founds, FILES_AT_ONCE):
                    # else the pool would read the whole ledger into memory first
                    for entry in pool.map(partial(self._entry, ledger), some):
                        self._keep(entry)

    def _keep(self, entry: Entry | str) -> None:
        if isinstance(entry, str):
            self.unreadable.append(entry)
        elif entry.is_open:
            self._open.append(entry)
        else:
            self._closed[entry.record] = entry

    def _entry(self, ledger: Ledger, found: Found) -> Entry | str:
        """The entry of a file; its URI if it cannot be read."""
        record, now = found.record, clock.now_epoch()
        if record is None:
            return found.uri
        is_wanted = record.outcome in ("submitted", "partial") or (
            self._with_files and record.outcome == "landed"
        )
        manifest = manifest_of(ledger, record, bare=found.is_late) if is_wanted else None
        is_asked = record.outcome == "submitted" and not (manifest and manifest.images)
        heard = (
            self._heard(record, now_epoch=now)
            if is_asked and not has_expired(_created(record), now_epoch=now)
            else None
        )
        by_record = _requested(record) if record.outcome == "landed" else 0
        landed = len(manifest.images) if manifest else by_record
        return entry_of(
            record,
            found.uri,
            ledger.folder.base,
            now_epoch=clock.now_epoch(),
            heard=heard,
            files=tuple(ledger.folder.uri(image.file) for image in manifest.images)
            if manifest and self._with_files
            else (),
            landed=None if record.outcome == "partial" and manifest is None else landed,
            is_late=found.is_late,
        )

    def _heard(self, record: Record, *, now_epoch: float) -> PollOutcome:
        """The state of a generation, asked of the API and decided as in every wait.

        :raises SeedreamError: the API does not answer. To call the generation one in flight would be a guess:
            it may have been refunded.
        """
        task_id = record.seedream_task_id or ""
        policy = PollPolicy(
            deadline_epoch=float("inf"),
            poke_interval_seconds=None,
            num_images=_requested(record),
            created_epoch=_created(record),
        )
        try:
            return Poller(policy).heard(self._hook.get_generation(task_id), now_epoch=now_epoch)
        except SeedreamError as error:
            answer = failed_poll(error)
            if answer.trouble != "missing":
                raise
            return Poller(policy).heard(answer, now_epoch=now_epoch)


def _created(record: Record) -> float | None:
    return clock.to_epoch(record.created_at)


def _requested(record: Record) -> int:
    return int(record.submission.get("num_images") or 0)


def _balance(hook: SeedreamHook) -> Decimal:
    """The wallet's balance now, in credits.

    :raises SeedreamResponseError: its text is not a number.
    """
    text = hook.get_wallet().balance
    found = credits_in(text)
    if found is None:
        raise SeedreamResponseError(f"The wallet's balance is not a number: {text[:40]!r}.")
    return plain(found)
