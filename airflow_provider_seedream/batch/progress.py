"""The progress of a batch between two waves: the rows in flight and the last row begun. Plain JSON, so it
survives a deferral.

Pure: no I/O. The ledger holds the payments and the pages of results hold the ended rows, so this file repeats
neither.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest
from typing import Any, Self

from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.model import clock

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """A row whose generation is paid and not landed yet::

        at = {"due_epoch": now + 20, "deadline_epoch": now + 3600}
        InFlight(
            number=4, columns={"sku": "A7"}, generation=generation, credits=10, may_have_landed=False, **at
        )

    :param columns: the row as it was given, for the results.
    :param credits: the price that this row pays; 0 if it shares the generation of an equal row.
    :param may_have_landed: True if an earlier try may have landed its images, and the storage was not checked
        yet.
    :param due_epoch: when to poll it.
    :param deadline_epoch: when it is too late.
    :param landings: how often landing it has failed.
    """

    number: int
    columns: dict[str, Any]
    generation: Generation
    credits: int
    may_have_landed: bool
    due_epoch: float
    deadline_epoch: float
    landings: int = 0
    watch: dict[str, float | None] = field(default_factory=dict)

    def for_trigger(self) -> list[Any]:
        """The fields that a poll needs, as a short list: Airflow's database keeps one for each generation
        in flight.
        """
        known = self.generation
        created_epoch = clock.to_epoch(known.created_at)
        epochs = [
            round(epoch, 1) if epoch else epoch
            for epoch in (self.due_epoch, self.deadline_epoch, created_epoch)
        ]
        return [known.seedream_task_id, *epochs, known.num_images, known.image_size, known.kind]

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """The entry again, from a progress file."""
        return cls(**{**value, "generation": Generation.from_dict(value["generation"])})

    def to_dict(self) -> dict[str, Any]:
        """The entry as plain JSON, for the progress file."""
        return {**asdict(self), "generation": self.generation.to_dict()}


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a try has come::

        Progress(started_epoch=clock.now_epoch(), rows=5000)

    :param cursor: rows 1 to ``cursor`` are in flight or have ended, except for those that wait.
    :param waiting: numbers of rows before the cursor that still have to be sent: a 429 has put them back, and
        others went on. They leave it when the table has given them again.
    :param edits: record files of the edits whose price is in a row's result: edits whose sources have equal
        bytes share a record.
    :param digest: sha256 of the rows up to the cursor: it shows a table that was changed in the middle of a
        batch.
    :param results: the state of the pages of results.
    :param repeats: rows that equal an earlier one, whose price they share.
    :param unlanded: rows that are paid and could not be landed.
    :param retryable: rows that a retry may bring further.
    :param pace: the limiter's memory of the last minute, with what the trigger has sent since.
    :param hold_epoch: no POST before this, as the API could not be reached.
    :param unreachable_epoch: since when it could not be reached.
    :param unknown_in_a_row: consecutive POSTs without an answer.
    :param post_seconds: how long a submission takes, as measured, in seconds.
    :param measured_per_image: the credits that an image has cost, as measured in the wallet.
    :param unknown_rows: the first rows with an unknown outcome, at most 20.
    :param unknown: the number of all rows with an unknown outcome.
    :param unknown_credits: the credits that they may have cost.
    :param over_budget: rows that were not sent, as the budget was reached.
    :param kept_until: when the API deletes the first of the paid images that could not be landed, ISO 8601;
        None without any.
    :param halt: the error that ended the sending, see ``halts``.
    :param unsent: rows that were not sent because of the halt.
    :param endings: the last rows that ended, each as number, status and reason: the window of ``stop_when``.
    :param stops: ids of the requests to stop that lay in the destination when the batch began, which do not
        concern it; None before it has looked.
    :param sample: numbers of the rows that are sent first; empty without a sample.
    :param is_sampled: True once the rows of the sample have ended and the rest of the table is worked on.
    :param approved: the person who approved the rest, and the time; None before that.
    :param asked_epoch: when a person was asked; None before that.
    :param stop: why no more rows are sent, see ``brake``; the rest of the table ends as ``skipped``.
    """

    started_epoch: float
    rows: int
    cursor: int = 0
    digest: str = ""
    in_flight: dict[int, InFlight] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    unlanded: int = 0
    retryable: int = 0
    repeats: frozenset[int] = frozenset()
    pace: dict[str, Any] = field(default_factory=dict)
    measured_per_image: int | None = None
    post_seconds: float | None = None
    waiting: list[int] = field(default_factory=list)
    edits: list[str] = field(default_factory=list)
    hold_epoch: float = 0.0
    unreachable_epoch: float | None = None
    unknown_in_a_row: int = 0
    halt: dict[str, Any] | None = None
    unsent: int = 0
    unknown: int = 0
    unknown_rows: list[int] = field(default_factory=list)
    unknown_credits: int = 0
    over_budget: int = 0
    kept_until: str | None = None
    endings: list[list[Any]] = field(default_factory=list)
    stops: list[str] | None = None
    sample: list[int] = field(default_factory=list)
    is_sampled: bool = False
    approved: dict[str, Any] | None = None
    asked_epoch: float | None = None
    stop: dict[str, Any] | None = None

    @property
    def is_sampling(self) -> bool:
        """True while the rows of the sample are worked on: the rest of the table waits for a person."""
        return bool(self.sample) and not self.is_sampled

    @property
    def may_send(self) -> bool:
        """True while rows may be paid for: no error has halted the batch, and no bound has stopped it."""
        return self.halt is None and self.stop is None

    def is_held(self, now: float) -> bool:
        """True while a cap has no room, or while the API cannot be reached. A batch that is stopped waits
        for neither.
        """
        return self.may_send and now < self.hold_epoch

    @property
    def rows_unsent(self) -> int:
        """Rows that a halt has kept from being sent: those that came to their turn after it, and the rest of
        the table.

        Among them are rows that wait behind the cursor, where the table was changed and did not give them
        again.
        """
        return self.rows - self.begun(len(self.waiting))

    def begun(self, waiting: int) -> int:
        """Rows that are in flight or have ended otherwise than unsent.

        :param waiting: the number of rows up to the cursor that still have to be sent.
        """
        if self.is_sampling:
            passed = sum(number <= self.cursor for number in self.sample)
        else:
            # of a sample: they have ended already
            passed = self.cursor + sum(number > self.cursor for number in self.sample)
        return passed - waiting - self.unsent

    def bears_price(self, record: str | None) -> bool:
        """True for the first row of an edit, which bears the price of its record; False for each later one
        that shares it.

        :param record: the URI of the record; None if it is not known: then the row bears the price.
        """
        file = (record or "").rpartition("/")[2]
        if file in self.edits:
            return False
        self.edits += [file] if file else []
        return True

    def hear(
        self,
        seconds_to_poll: list[float],
        silent_seconds: list[float],
        now_epoch: float,
        *,
        turns: list[list[int]] | None = None,
    ) -> None:
        """Take in the trigger's polls, in the order of the generations in flight.

        :param seconds_to_poll: when to poll each again; 0: it has ended.
        :param silent_seconds: for how long the API has not answered; 0: it has. Silence from before the
            deferral is dropped: the API may not have been polled for hours.
        :param turns: how many requests of the last minute the triggerer has sent, see
            :meth:`RateLimiter.turns`.
        """
        self.pace["heard"] = turns or []
        for entry, seconds, silent in zip_longest(
            [*self.in_flight.values()], seconds_to_poll, silent_seconds
        ):
            if entry is None:
                return
            # The event has durations, as whole seconds keep it below 1 KB; here they become instants again.
            watch = {**entry.watch, "silent_epoch": now_epoch - silent if silent else None}
            due_epoch = entry.due_epoch if seconds is None else now_epoch + seconds
            self.in_flight[entry.number] = replace(entry, watch=watch, due_epoch=due_epoch)

    def to_json(self) -> bytes:
        """The content of the progress file."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fields["in_flight"] = [entry.to_dict() for entry in self.in_flight.values()]
        fields["repeats"] = sorted(self.repeats)
        return json.dumps({"schema_version": SCHEMA_VERSION, **fields}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """:raises ValueError: the bytes are not a progress file, or have another schema."""
        fields = json.loads(data)
        if not isinstance(fields, dict) or fields.pop("schema_version", None) != SCHEMA_VERSION:
            raise ValueError(f"no progress of schema version {SCHEMA_VERSION}")
        entries = map(InFlight.from_dict, fields.pop("in_flight"))
        repeats = frozenset(fields.pop("repeats", ()))
        return cls(in_flight={entry.number: entry for entry in entries}, repeats=repeats, **fields)
