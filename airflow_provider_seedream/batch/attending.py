"""Attending to one generation in flight: poll it, and land it when it is done. Runs in the threads of a
batch.

The polling core decides what an answer means, and ``landing`` lands images as it does for the sensor; this
module connects the two. It sends GETs only, so two tries that attend to one generation cost nothing.
"""

from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_seedream.batch.progress import InFlight
from airflow_provider_seedream.exceptions import (
    SeedreamAuthenticationError,
    SeedreamError,
    SeedreamInputError,
    SeedreamLandingError,
)
from airflow_provider_seedream.generations import Generation, GenerationStatus
from airflow_provider_seedream.hooks.downloads import Downloads
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.landing import finish
from airflow_provider_seedream.landing.outcome import close_unlanded
from airflow_provider_seedream.ledger.records import Ledger
from airflow_provider_seedream.manifest import Manifest
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.polling.policy import FailedPoll, PollPolicy, PollState
from airflow_provider_seedream.polling.poller import Poller

# for a short failure of the storage or the image host; a longer one is left to a retry of the task
MAX_LANDINGS = 3
LAND_AGAIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attended:
    """The result of attending to an entry.

    With a manifest the row has landed. With an error it has ended in this try; with both, the wait ended and
    the images that were ready are landed. With neither, poll again when the entry is due::

        Attended(entry=entry)  # still waiting

    :param entry: with the next ``due_epoch`` and the memory of its polls; it replaces the entry that was
        given.
    :param manifest: of the landed images; it may name fewer images than were asked for.
    :param error: of this generation alone. It carries the seedream task id.
    """

    entry: InFlight
    manifest: Manifest | None = None
    error: SeedreamError | None = None


class Attendant:
    """Polls generations and lands them. Its methods may run in several threads, as a call keeps its state in
    the entry::

        attended = attendant.attend(entry)
        attended.manifest, attended.error, attended.entry.due_epoch

    :param policy: how long to wait; the deadline and the number of images come from each entry.
    :param downloads: one session for all downloads: a new one per generation would cost more time than small
        images take.
    :param landed_by: the task instance that lands.
    :param embed_metadata: say in the files that AI made them.
    :param ledger: of the batch's submitter: records that it wrote itself are not read back.
    :param hook: sends the polls. It is shared by the threads.
    """

    def __init__(
        self,
        hook: SeedreamHook,
        downloads: Downloads,
        policy: PollPolicy,
        *,
        landed_by: TaskRef,
        embed_metadata: bool,
        ledger: Ledger | None = None,
    ) -> None:
        self.hook = hook
        self._policy = policy
        self._downloads = downloads
        self._ledger = ledger
        # of each landing
        self._how: dict[str, Any] = {
            "landed_by": landed_by,
            "embed_metadata": embed_metadata,
            "ledger": ledger,
        }

    def attend(self, entry: InFlight, answer: GenerationStatus | FailedPoll | None = None) -> Attended:
        """Act on a poll of one entry: wait, land, or end.

        An error of this generation is in the result; only an error that hits all of them is raised.

        A landing that fails is tried again after 30 s, three times in all: a store or an image host that
        fails for a moment must not end a paid row.

        :param answer: to a poll that was sent just now; None: the hook polls. An entry that may have landed
            needs no poll yet: its storage is read first.
        :returns: the entry to keep, and the manifest or the error if the row has ended.
        :raises SeedreamAuthenticationError: the key does not work, so no other poll would be answered.
        :raises SeedreamInputError: the connection is incomplete.
        """
        try:
            if entry.may_have_landed:
                return self._find_landed(entry)
            return self._heard(entry, answer or self.hook.poll(entry.generation.seedream_task_id))
        except (SeedreamAuthenticationError, SeedreamInputError):
            raise
        except SeedreamLandingError as error:
            again = replace(
                entry, landings=entry.landings + 1, due_epoch=clock.now_epoch() + LAND_AGAIN_SECONDS
            )
            return Attended(entry=again, error=error if again.landings >= MAX_LANDINGS else None)
        except SeedreamError as error:
            return Attended(entry=entry, error=error)

    def first_poll_epoch(self, entry: InFlight, now: float) -> float:
        """When to poll a generation for the first time, in epoch seconds.

        The polling schedule plans it by the number of images and their size, unless the user has set
        ``poke_interval``.

        :param now: the time of its submission, in epoch seconds.
        """
        return now + Poller(self.policy_of(entry)).first_poll_seconds(now_epoch=now)

    def policy_of(self, entry: InFlight) -> PollPolicy:
        """How long to wait for this generation, and how many images to expect."""
        generation = entry.generation
        return replace(
            self._policy,
            num_images=generation.num_images,
            image_size=generation.image_size,
            kind=generation.kind,
            created_epoch=clock.to_epoch(generation.created_at),
            deadline_epoch=entry.deadline_epoch,
        )

    def _find_landed(self, entry: InFlight) -> Attended:
        """The manifest if an earlier try has landed this generation. Calls the API only if images of it
        are missing.
        """
        manifest = finish.already_landed(entry.generation, self._ledger)
        if manifest and finish.more_may_come(manifest, self.hook):
            # Images that settled late: poll again, so that the landing downloads those that are missing.
            manifest = None
        return Attended(entry=replace(entry, may_have_landed=False), manifest=manifest)

    def _heard(self, entry: InFlight, answer: GenerationStatus | FailedPoll) -> Attended:
        """Act on the answer to a poll: wait, land, or end with an error. The polling core decides which."""
        generation = entry.generation
        poller = Poller(self.policy_of(entry), PollState(**entry.watch))  # type: ignore[arg-type]
        outcome = poller.heard(answer, now_epoch=clock.now_epoch())
        if outcome.verdict == "wait":
            began = {**poller.state.instants(), "silent_epoch": poller.state.silent_epoch}
            return Attended(entry=replace(entry, watch=began, due_epoch=poller.due_epoch))
        if outcome.verdict != "done" or not isinstance(answer, GenerationStatus):
            error = close_unlanded(generation, outcome, can_resubmit=True, ledger=self._ledger)
            # A dead key is not the fault of this generation: raised, it ends the batch, and the row stays in
            # flight.
            if isinstance(error, SeedreamAuthenticationError):
                raise error
            return Attended(entry=entry, error=error, manifest=self._rest_of(generation, poller, answer))
        landed = finish.land_generation(generation, self.hook, self._downloads, status=answer, **self._how)
        return Attended(entry=entry, manifest=landed)

    def land_ready(self, entry: InFlight) -> Attended:
        """The last poll of an entry when the batch's time is over: land the images that are ready.

        :returns: with a manifest if images are in storage now. Without one a retry polls the generation
            again.
        """
        try:
            manifest = finish.already_landed(entry.generation, self._ledger) or self._land_ready(
                entry.generation
            )
        except SeedreamError as error:
            return Attended(entry=entry, error=error)
        return Attended(entry=entry, manifest=manifest)

    def _rest_of(
        self, generation: Generation, poller: Poller, answer: GenerationStatus | FailedPoll
    ) -> Manifest | None:
        """Land the images that are ready although the wait ended with an error.

        :returns: None if no image can be ready: the generation failed, expired, or was never seen FINISHED.
        """
        ended = poller.outcome.verdict if poller.outcome else None
        if ended in ("failed", "expired") or poller.state.finished_epoch is None:
            return None
        return self._land_ready(generation, answer if isinstance(answer, GenerationStatus) else None)

    def _land_ready(self, generation: Generation, status: GenerationStatus | None = None) -> Manifest | None:
        """Land the images that are ready although the wait has ended."""
        return finish.land_ready(generation, self.hook, self._downloads, status=status, **self._how)
