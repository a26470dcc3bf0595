"""What must hold in every night: looked at before each write to the store, at each charge, and in the
morning.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowTaskTimeout

from airflow_provider_seedream.emulator.generations import Generation
from airflow_provider_seedream.exceptions import SeedreamError, SeedreamResultsExpiredError
from airflow_provider_seedream.hooks.seedream import FIRST_BYTE_SECONDS
from airflow_provider_seedream.ledger.books import BOOKS
from airflow_provider_seedream.ledger.pages import Page
from airflow_provider_seedream.ledger.record import Record
from airflow_provider_seedream.ledger.spending import SPENT, attempt_of
from airflow_provider_seedream.model.caps import Cap
from tests.simulation.api import Api, picture
from tests.simulation.night import Night, Violation
from tests.simulation.sources import Sources
from tests.simulation.store import Store, StoreError

# a POST may be under way already when a record begins to tell of an earlier one
NEWS_SECONDS = FIRST_BYTE_SECONDS + 10.0
LEDGER, LATE, NAMES = "_seedream/ledger/", "_seedream/late/", "_seedream/names/"
_RANK = {
    "intent": 0,
    "unknown": 1,
    "not_paid": 1,
    "submitted": 2,
    "failed": 3,
    "expired": 3,
    "partial": 4,
    "landed": 5,
}


@dataclass(slots=True)
class Asked:
    """What one prompt of the night may cost. Each prompt is one request.

    :param task: whose budget it counts in.
    :param may_pay_again: the user has said ``on_unknown_submit="resubmit"``.
    :param label: of its task, where a cap may count it.
    """

    task: str
    may_pay_again: bool = False
    label: str | None = None


@dataclass(slots=True)
class Charge:
    generation: Generation
    claim: str
    day: str  # of its admission under caps, by the clock of its worker

    @property
    def id(self) -> str:
        return self.generation.seedream_task_id


@dataclass(slots=True)
class Checks:
    """The invariants of one night.

    :param budgets: credits by task, where it has a limit.
    :param budget_of_run: credits of all tasks together.
    :param caps: of the connection.
    """

    night: Night
    asked: dict[str, Asked] = field(default_factory=dict)
    budgets: dict[str, int] = field(default_factory=dict)
    budget_of_run: int | None = None
    caps: list[Cap] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    known: dict[str, float] = field(default_factory=dict)  # since when a record tells of a charge, by its id
    tables: list[str] = field(default_factory=list)  # the results of batches, as they were published
    store: Store = field(init=False)
    sources: Sources = field(init=False)
    api: Api = field(init=False)

    # Along the way

    def charged(self, generation: Generation) -> None:
        """A POST was accepted just now. Its claim must lie in the folder, and nothing else may be paid for
        this request.
        """
        prompt = generation.submission.prompt
        sources = [source.sha256 for source in generation.submission.sources]
        record = self._open_record_of(prompt, sources)
        if record is None:
            raise Violation(f"trace: {prompt!r} was charged, and no claim of it lies in the folder")
        for before in self._charges_of(prompt, sources):
            if not self._is_over(before):
                raise Violation(
                    f"once: {prompt!r} was charged twice: {before.id[:8]} and "
                    f"{generation.seedream_task_id[:8]}"
                )
        self.charges.append(Charge(generation, record["claim"], (record.get("booked_at") or "")[:10]))
        self._check_budgets(prompt)
        self._check_caps()

    def writes(self, name: str, before: bytes | None, after: bytes) -> None:
        """A file is about to be written."""
        if name.startswith(LEDGER):
            self._writes_record(name, before, after)
        elif name.startswith("_seedream/"):
            return
        elif name.endswith(".jsonl"):
            self.tables.append(after.decode())  # a later try of a batch publishes its table anew
        elif name.endswith(".json"):
            self._writes_manifest(name, before, after)
        elif before is not None and before != after:
            raise Violation(f"overwritten: {name}")
        elif after not in self._pictures():
            raise Violation(f"whole: {name} gets bytes that are no whole image of any generation")

    def _writes_record(self, name: str, before: bytes | None, after: bytes) -> None:
        new = json.loads(after)
        if new["seedream_task_id"]:
            self.known.setdefault(new["seedream_task_id"], self.night.now)
        if before is None:
            return
        old = json.loads(before)
        if old["outcome"] == "not_paid":
            return  # it counts as missing
        if new["outcome"] == "not_paid":
            self._gives_up(old["claim"])
        if old["claim"] != new["claim"]:
            raise Violation(
                f"trace: the record {name[len(LEDGER) :][:8]} of one POST is overwritten by that of another"
            )
        if old["seedream_task_id"] not in (None, new["seedream_task_id"]):
            raise Violation(f"trace: the id in {name[len(LEDGER) :][:8]} is lost")
        # A store without conditions reads and then writes: what another process writes in between is lost, as
        # the docs say.
        if self.store.is_conditional and _RANK[new["outcome"]] < _RANK[old["outcome"]]:
            raise Violation(
                f"forward: {name[len(LEDGER) :][:8]} goes from {old['outcome']} back to {new['outcome']}"
            )

    def _writes_manifest(self, name: str, before: bytes | None, after: bytes) -> None:
        new = json.loads(after)
        for image in new["images"]:
            stored = self.store.objects.get(image["file"])
            if (
                stored is None
                or len(stored.data) != image["size_bytes"]
                or sha256(stored.data).hexdigest() != image["sha256"]
            ):
                raise Violation(f"listed: {name} lists {image['file']}, which is not stored as it says")
        if before is not None:
            old = json.loads(before)
            if old["seedream_task_id"] != new["seedream_task_id"]:
                raise Violation(f"overwritten: the manifest {name} of another generation")
            if len(old["images"]) > len(new["images"]):
                raise Violation(f"listed: {name} loses an image")

    def deletes(self, name: str) -> None:
        """A file is about to be deleted: not the only trace of a charge."""
        if not name.startswith(LEDGER):
            return
        self._gives_up(json.loads(self.store.objects[name].data)["claim"])

    def _gives_up(self, claim: str) -> None:
        for charge in self.charges:
            if charge.claim == claim and not self._is_over(charge):
                raise Violation(f"trace: the record of the charged {charge.id[:8]} is deleted")

    # In the morning

    def resolved(self) -> None:
        """A person has settled every record, and the tasks were cleared: no outcome is unknown any more.

        Where the store does not compare and swap, a record behind which a later attempt stands has to stay.
        """
        if not self.store.is_conditional:
            return
        for record in self._records(LEDGER):
            if record.outcome in ("intent", "unknown"):
                raise Violation(f"resolved: the record {record.key[:8]} is still {record.outcome}")

    def morning(self, errors: list[BaseException], *, settled: bool) -> None:
        """Everything is at rest.

        :param errors: of all tasks and tries.
        :param settled: nothing went wrong that leaves an outcome open, so nothing may be held back.
        """
        for error in errors:
            # KeyError: the XCom that the task before has left was wiped.
            if not isinstance(
                error, (SeedreamError, AirflowException, AirflowTaskTimeout, StoreError, KeyError)
            ):
                raise Violation(f"unexpected: a task failed with {type(error).__name__}: {error}")
        for charge in self.charges:
            if not charge.generation.failed(self.night.now):
                self._check_trace(charge)
                self._check_landed(charge, errors)
        if settled:
            self._check_rest()
            whole = Cap(period="month", credits=0)
            if self.caps and self._booked(whole, "") != self._live(whole, ""):
                raise Violation(
                    f"rest: the books count {self._booked(whole, '')} credits, and {self._live(whole, '')} "
                    "are spent"
                )

    def _check_trace(self, charge: Charge) -> None:
        if not any(
            record.claim == charge.claim or record.seedream_task_id == charge.id for record in self._records()
        ):
            raise Violation(f"trace: nothing in the folder tells of the charged {charge.id[:8]}")

    def _check_landed(self, charge: Charge, errors: list[BaseException]) -> None:
        """Landed, or named with the right words."""
        known = [record for record in self._records() if record.seedream_task_id == charge.id]
        # A process that was stopped for hours may pay when its task has ended, or write its id when the next
        # attempt has paid: its record tells of it, and no task lands it (seeds 1903, 6540, 7252, 8094). So
        # does a person who says that it was paid, when its task has ended, or has gone on with the next
        # attempt.
        by_hand = any(record.detail == "resolved by hand: paid" for record in known)
        # And an edit whose source was replaced is another request, for which nobody has cleared the sensor.
        is_left = self.sources.was_replaced(charge.generation.submission.prompt)
        if self._is_landed(charge) or is_left or by_hand or (known and "stop" in self.night.hurt):
            return
        ours = [error for error in errors if isinstance(error, SeedreamError)]
        if not known:
            record = next(record for record in self._records() if record.claim == charge.claim)
            if record.outcome not in ("intent", "unknown"):
                raise Violation(
                    f"named: the record of the charged {charge.id[:8]} says {record.outcome} without its id"
                )
            # then the next try pays, and names no error
            by_word = self.asked[charge.generation.submission.prompt].may_pay_again
            is_told = any(record.key in str(error.record) for error in ours) or self._told_by_tables(
                record.key[:8]
            )
            if not by_word and not is_told:
                raise Violation(
                    f"named: no error names the record of {charge.id[:8]}, whose outcome is unknown"
                )
            return
        if self._told_by_tables(charge.id):
            return
        if not any(error.seedream_task_id == charge.id for error in ours):
            raise Violation(
                f"landed: {charge.id[:8]} is paid and known, and it is neither landed nor named by an error"
            )
        if not any(error.seedream_task_id == charge.id and self._may_stay(charge, error) for error in ours):
            raise Violation(f"landed: {charge.id[:8]} is not landed although the API still has it")

    def _may_stay(self, charge: Charge, error: SeedreamError) -> bool:
        """True if the images cannot be had any more, or never came."""
        course = charge.generation.course
        is_old = self.night.now >= charge.generation.created_at + 24 * 3600
        if isinstance(error, SeedreamResultsExpiredError) and not is_old:
            raise Violation(f"words: {charge.id[:8]} is said to have expired, and has not")
        if is_old and course.outcome == "finished" and not self._is_said_to_have_expired(charge):
            raise Violation(
                f"words: the images of {charge.id[:8]} are deleted, and the last word on it is another"
            )
        return (
            is_old
            or course.outcome != "finished"
            or course.late_seconds > 3600
            or course.duration_seconds > 7200
        )

    def _is_said_to_have_expired(self, charge: Charge) -> bool:
        """By its record: every task that failed was cleared in the morning, and looked again."""
        return any(
            record.outcome in ("expired", "partial")
            for record in self._records()
            if record.seedream_task_id == charge.id
        )

    def _is_landed(self, charge: Charge) -> bool:
        for name, stored in self.store.objects.items():
            if name.endswith(".json") and not name.startswith("_seedream/"):
                manifest = json.loads(stored.data)
                if manifest["seedream_task_id"] == charge.id:
                    course = charge.generation.course
                    most = course.results - len(course.null_for_ever)
                    is_young = self.night.now < charge.generation.created_at + 23 * 3600
                    if len(manifest["images"]) < most and is_young and course.late_seconds < 100:
                        raise Violation(f"landed: {name} lists {len(manifest['images'])} of {most} images")
                    return True
        return False

    def reconciles(self, summary: dict[str, Any]) -> None:
        """The counts of a batch's summary are those of its table, and each landed row has its manifest."""
        if self.night.hurt & {"stop", "twice", "clear"}:
            return  # an older process of the task may have published its own table after this one
        name = summary["results"].rpartition("/")[2]
        lines = [json.loads(line) for line in self.store.objects[name].data.splitlines()]
        counted = {status: number for status, number in summary["count"].items() if number}
        found: dict[str, int] = {}
        for line in lines:
            found[line["status"]] = found.get(line["status"], 0) + 1
        if len(lines) != summary["rows"] or found != counted:
            raise Violation(
                f"counts: the summary says {counted} of {summary['rows']} rows, the table holds {found}"
            )
        if [line["row"] for line in lines] != list(range(1, len(lines) + 1)):
            raise Violation(f"counts: the rows of {name} are {[line['row'] for line in lines]}")

    def _told_by_tables(self, *words: str | None) -> bool:
        """True if a row of a table of results names one of these."""
        return any(word and word in table for word in words for table in self.tables)

    def _check_rest(self) -> None:
        """No claim, name or spending is left of what bought nothing."""
        paid = {
            (record.key, record.attempt)
            for record in self._records()
            if record.seedream_task_id and not record.refunded
        }
        for record in self._records():
            if record.seedream_task_id is None and not record.is_free:
                raise Violation(
                    f"rest: the claim {record.key[:8]} is left, and it bought nothing ({record.outcome})"
                )
        for name in self.store.objects:
            if name.startswith(f"{SPENT}/"):
                attempt = attempt_of(name.rpartition("/")[2])
                if attempt not in paid:
                    raise Violation(f"rest: the spending {name} is left of what bought nothing")
            if name.startswith(NAMES) and not name.endswith("/results.json"):  # a table keeps its own
                key = json.loads(self.store.objects[name].data)["key"]
                if key not in {key for key, _ in paid}:
                    raise Violation(f"rest: the name {name} is left of what bought nothing")

    # What lies there

    def _records(self, *folders: str) -> list[Record]:
        stored = [
            one.data for name, one in self.store.objects.items() if name.startswith(folders or (LEDGER, LATE))
        ]
        return [Record.from_json(data) for data in stored]

    def _open_record_of(self, prompt: str, sources: list[str]) -> dict[str, Any] | None:
        """The claim of the POST that is under way: the newest record of this prompt and these sources
        without an id.
        """
        newest: dict[str, Any] | None = None
        for name, stored in self.store.objects.items():
            if name.startswith(LEDGER):
                record: dict[str, Any] = json.loads(stored.data)
                asked = record["submission"]
                is_same = (
                    asked["prompt"] == prompt and [source["sha256"] for source in asked["sources"]] == sources
                )
                is_open = is_same and record["outcome"] in ("intent", "unknown")
                if is_open and (newest is None or record["attempt"] > newest["attempt"]):
                    newest = record
        return newest

    def _charges_of(self, prompt: str, sources: list[str]) -> list[Charge]:
        asked = [(charge, charge.generation.submission) for charge in self.charges]
        return [
            charge
            for charge, one in asked
            if one.prompt == prompt and [source.sha256 for source in one.sources] == sources
        ]

    def succeeded(self, result: Any, *, began: float) -> None:
        """A try has ended well, with this return value."""
        task_id = result.get("seedream_task_id") if isinstance(result, dict) else None
        for charge in self.charges:
            if charge.id == task_id:
                self.sources.check(charge.generation, began=began)

    def _is_over(self, charge: Charge) -> bool:
        """True if this charge was refunded, or if the user's own word pays again beside it."""
        if charge.generation.failed(self.night.now):
            return True
        is_known = self.night.now - self.known.get(charge.id, self.night.now) > NEWS_SECONDS
        return self.asked[charge.generation.submission.prompt].may_pay_again and not is_known

    def _check_budgets(self, prompt: str) -> None:
        task = self.asked[prompt].task
        # A price that nobody has measured yet cannot count: a budget holds by the price of the connection.
        spent, price = dict[str, int](), self.api.connection.credits_per_image
        for charge in self.charges:
            if not charge.generation.failed(self.night.now):
                whose = self.asked[charge.generation.submission.prompt].task
                spent[whose] = spent.get(whose, 0) + charge.generation.submission.num_images * price
        limit = self.budgets.get(task)
        # A task has one listing, which its own note proves to be new enough. Those of a run are a listing for
        # each task, and a scattered one proves nothing: there a budget may be exceeded by what was not listed
        # yet.
        weather = self.night.weather
        if limit is not None and spent.get(task, 0) > limit and not weather.lag_scatters:
            raise Violation(
                f"budget: {spent[task]} credits are spent by {task}, whose max_credits is {limit}"
            )
        if (
            self.budget_of_run is not None
            and not weather.lag_seconds
            and sum(spent.values()) > self.budget_of_run
        ):
            raise Violation(
                f"budget: the run has spent {sum(spent.values())} of {self.budget_of_run} credits"
            )

    def _check_caps(self) -> None:
        """Never more than a cap, and the books never count less than is spent."""
        for cap in self.caps:
            for day in {charge.day for charge in self.charges}:
                live, booked = self._live(cap, day), self._booked(cap, day)
                if live > cap.credits:
                    raise Violation(f"cap: {live} credits are spent on {day}, and {cap.name}")
                if booked < live:
                    raise Violation(
                        f"cap: the books count {booked} credits on {day} for {cap.name}, and {live} are spent"
                    )

    def _live(self, cap: Cap, day: str) -> int:
        """The credits of all charges that count under a cap and were not refunded. :param day: of the
        admission.
        """
        counts = (charge.generation for charge in self.charges if cap.period == "month" or charge.day == day)
        live = (one for one in counts if not one.failed(self.night.now))
        return sum(
            one.credits for one in live if cap.label in (None, self.asked[one.submission.prompt].label)
        )

    def _booked(self, cap: Cap, day: str) -> int:
        page = self._page()
        return page.spent(cap, day) if page else 0

    def _page(self) -> Page | None:
        """The page of the books, for all nights are in one month; None before the first request under
        caps.
        """
        return next(
            (
                Page.from_json(one.data)
                for name, one in self.store.objects.items()
                if name.startswith(f"{BOOKS}/")
            ),
            None,
        )

    def _pictures(self) -> set[bytes]:
        return {
            picture(charge.id, index, thumbnail=thumb)
            for charge in self.charges
            for index in range(charge.generation.course.results)
            for thumb in (False, True)
        }
