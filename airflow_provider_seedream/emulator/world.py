"""Everything the server knows: generations, wallet, faults, books, clock, settings; and the rules that move
credits.

Changed by the server's thread alone; the parts that other threads may touch (clock, faults, books, settings)
guard themselves. No HTTP in here.
"""

from __future__ import annotations

import secrets
import threading
import uuid
from dataclasses import replace
from random import Random
from typing import Any

from airflow_provider_seedream.emulator.books import Books, Entry, SubmissionRecord, Violation
from airflow_provider_seedream.emulator.clock import Clock
from airflow_provider_seedream.emulator.errors import RefusalError
from airflow_provider_seedream.emulator.faults import Endpoint, Fault, Faults, Occasion
from airflow_provider_seedream.emulator.generations import Generation, disturbed, planned_course, status_body
from airflow_provider_seedream.emulator.kinds import Stage
from airflow_provider_seedream.emulator.links import ObjectName, Signer
from airflow_provider_seedream.emulator.magic import magic_faults
from airflow_provider_seedream.emulator.ratelimit import RateLimit
from airflow_provider_seedream.emulator.settings import Settings
from airflow_provider_seedream.emulator.validation import Submission

_SUFFIXES = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}


class World:
    """The state of one account: generations, wallet, faults, books and clock::

        world = World(Settings())
        generation = world.accept(validate("generate", {"prompt": "a watch"}))
        assert world.balance_credits() == 990

    :param settings: replaced as a whole by :meth:`configure`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = Clock()
        self.books = Books()
        self.faults = Faults()
        self.rate_limit = RateLimit()
        self.signer = Signer(secrets.token_bytes(32))
        self.storage_url = ""  # known once the server listens
        self.dead_links: set[str] = set()
        self._generations: dict[str, Generation] = {}
        self._awaiting_refund: dict[str, Generation] = {}
        self._known_prompts: set[str] = set()
        self._balance_credits = settings.balance_credits
        self._credits_lock = threading.RLock()  # a test reads the balance while the server moves credits

    def reset(self) -> None:
        """A new account on the same ports, with the settings as they are."""
        with self._credits_lock:
            for part in (self.clock, self.rate_limit):
                part.reset()
            for memory in (
                self.books,
                self.faults,
                self.dead_links,
                self._generations,
                self._awaiting_refund,
            ):
                memory.clear()
            self._known_prompts.clear()
            self._balance_credits = self.settings.balance_credits

    def configure(self, changes: dict[str, Any]) -> None:
        """Replace some settings; a new ``balance_credits`` fills (or empties) the wallet at once.

        :raises ValueError: a setting is unknown, has a wrong value, or is ``tls``, which is chosen at the
            start.
        """
        changed = self.settings.changed(changes)
        if changed.tls != self.settings.tls:
            raise ValueError("tls is chosen when the emulator starts")
        self.settings = changed
        # Only if it was named: a change of another setting must not refill a wallet that a test has emptied.
        if "balance_credits" in changes:
            self._balance_credits = self.settings.balance_credits

    def violated(self, rule: str, detail: str) -> None:
        """Note a request that the contract forbids, with the time by this clock."""
        self.books.violated(Violation(at=self.clock.now(), rule=rule, detail=detail))

    # Faults

    def learn(self, prompt: str) -> None:
        """Put the magic words of a prompt in force when the prompt is first seen."""
        if prompt not in self._known_prompts:
            self._known_prompts.add(prompt)
            self.faults.inject(*magic_faults(prompt))

    def inject(self, *faults: Fault) -> None:
        """Put faults in force; one about the course of a known generation changes it at once."""
        for fault in faults:
            known = self._generations.get(fault.seedream_task_id or "")
            # The course was fixed at the submission, so a later fault has to change it instead of waiting for
            # a strike.
            if known is not None and fault.info.stage == "job":
                self._keep(replace(known, course=disturbed(known.course, fault)))
            else:
                self.faults.inject(fault)

    def fault(
        self, stage: Stage, endpoint: Endpoint, about: Generation | None = None, **where: Any
    ) -> Fault | None:
        """The fault that strikes at this moment, counted as used; None if there is none.

        :param about: the generation that the request names; its prompt and id then select the faults.
        :param stage: the moment at which the caller stands.
        :param endpoint: the endpoint that was called.
        :param where: prompt, seedream task id or number of the image, if they are known.
        """
        if about is not None:
            where = {"prompt": about.submission.prompt, "seedream_task_id": about.seedream_task_id, **where}
        return self.faults.take(Occasion(stage=stage, endpoint=endpoint, now=self.clock.now(), **where))

    # Generations and credits

    def accept(self, submission: Submission) -> Generation:
        """Charge a submission and start its generation.

        :raises RefusalError: 402, when the wallet cannot pay; nothing is charged.
        :param submission: keeps every rule already; here only the wallet can refuse it.
        :returns: the generation, whose course is fixed from now on.
        """
        cost = self.settings.credits_per_image * submission.num_images
        if cost > self.balance_credits():
            raise RefusalError(
                402, "insufficient_credits", f"{cost} credits needed, {self._balance_credits} left"
            )
        generation = self._started(submission, cost)
        with self._credits_lock:
            self._balance_credits -= cost
            self._keep(generation)
        self.books.accepted(
            SubmissionRecord(
                at=generation.created_at,
                seedream_task_id=generation.seedream_task_id,
                kind=generation.submission.kind,
                prompt=generation.submission.prompt,
                num_images=generation.submission.num_images,
                credits=generation.credits,
                payload=generation.submission.describe(),
            )
        )
        return generation

    def _started(self, submission: Submission, cost: int) -> Generation:
        """The generation with its course. Equal prompts in equal order take equal times: the random
        numbers have a fixed seed.
        """
        now = self.clock.now()
        random = Random(submission.prompt + str(len(self._generations)))
        course = planned_course(self.settings, submission, random)
        for fault in self.faults.take_all(
            Occasion(stage="job", endpoint=submission.kind, now=now, prompt=submission.prompt)
        ):
            course = disturbed(course, fault)
        honoured = submission.seed if self.settings.honour_seed else None
        return Generation(
            seedream_task_id=str(uuid.uuid4()),
            created_at=now,
            submission=submission,
            seed=random.randrange(2**31) if honoured is None else honoured,
            credits=cost,
            course=course,
        )

    def _keep(self, generation: Generation) -> None:
        """Hold a generation, and remember it for a refund if it is going to fail."""
        self._generations[generation.seedream_task_id] = generation
        self._awaiting_refund.pop(generation.seedream_task_id, None)
        if generation.course.outcome == "failed":
            self._awaiting_refund[generation.seedream_task_id] = generation

    def balance_credits(self) -> int:
        """The credits in the wallet now, refunds that have fallen due included."""
        now = self.clock.now()
        with self._credits_lock:
            for generation in [waiting for waiting in self._awaiting_refund.values() if waiting.failed(now)]:
                # Give the credits of a failed generation back, dated at its failure.
                task_id = generation.seedream_task_id
                del self._awaiting_refund[task_id]
                self._balance_credits += generation.credits
                self.books.refunded(
                    Entry(at=generation.finishes_at, seedream_task_id=task_id, credits=generation.credits)
                )
            return self._balance_credits

    def find(self, seedream_task_id: str) -> Generation | None:
        """A generation whose results are not gone yet.

        :returns: None for an id that is unknown, or older than ``result_lifetime_seconds``.
        """
        found = self._generations.get(seedream_task_id)
        if found is None or self.clock.now() >= found.created_at + self.settings.result_lifetime_seconds:
            return None
        return found

    def expired(self, seedream_task_id: str) -> Generation | None:
        """A generation that was accepted, and whose results are gone."""
        return None if self.find(seedream_task_id) else self._generations.get(seedream_task_id)

    def status(self, generation: Generation) -> dict[str, Any]:
        """The body of a status answer, with fresh links."""
        self.balance_credits()  # a refund falls due when FAILED can first be seen
        return status_body(generation, self.clock.now(), lambda index: self._links(generation, index))

    def status_without_links(self, generation: Generation) -> dict[str, Any]:
        """The body of a status answer about a generation whose results are gone: FINISHED, and every asset
        null.
        """
        return status_body(generation, self.clock.now(), lambda index: (None, None))

    def _links(self, generation: Generation, index: int) -> tuple[str, str]:
        """The image link and the thumbnail link of a result, signed anew."""
        return self._link(generation, index, thumbnail=False), self._link(generation, index, thumbnail=True)

    def _link(self, generation: Generation, index: int, *, thumbnail: bool) -> str:
        """A fresh link, valid for ``link_lifetime_seconds`` from now by the emulator's clock."""
        name = ObjectName(seedream_task_id=generation.seedream_task_id, index=index, thumbnail=thumbnail)
        suffix = "png" if thumbnail else _SUFFIXES[generation.course.image_format]
        path = name.path(suffix, escaped=self.settings.link_names == "escaped")
        return self.storage_url + self.signer.sign(
            path, self.clock.now(), self.settings.link_lifetime_seconds
        )
