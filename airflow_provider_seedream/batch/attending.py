"""Attending to one generation in flight: look at it, and land it when it is done. Runs in the threads of a batch.

Decides nothing by itself: a look is judged by the decision core, an image is landed as the sensor lands it.
"""

from dataclasses import dataclass, replace
from functools import partial
from random import random
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
from airflow_provider_seedream.manifest import Manifest
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.polling.decision import FailedLook, Rules, Verdict, Watch, decide, first_poll_seconds, learn
from airflow_provider_seedream.polling.schedule import SEEN

MAX_LANDINGS = 3  # a storage or a host that stumbles; more than that is for a retry of the task
LAND_AGAIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attended:
    """What came of it: a manifest, an error that ends the row in this try, or neither: look again when the entry is due.
    Both: the wait ended, and the images that were ready are landed.

    :param throttled: the look met the rate limit.
    """

    entry: InFlight
    manifest: Manifest | None = None
    error: SeedreamError | None = None
    throttled: FailedLook | None = None


class Attendant:
    """Looks at generations and lands them, each call for itself.

    :param rules: how long may be waited; the deadline and the number of images are each entry's own.
    :param downloads: one session for all: a new one for each generation would cost more than small images do.
    :param landed_by: who lands: ids of the task instance. :param embed_metadata: say in the files that AI made them.
    """

    def __init__(
        self, hook: SeedreamHook, downloads: Downloads, rules: Rules, *, landed_by: dict[str, Any], embed_metadata: bool
    ) -> None:
        self._hook = hook
        self._rules = rules
        self._land = partial(
            finish.land_generation, hook=hook, downloads=downloads, landed_by=landed_by, embed_metadata=embed_metadata
        )
        self._land_ready = partial(
            finish.land_ready, hook=hook, downloads=downloads, landed_by=landed_by, embed_metadata=embed_metadata
        )

    def attend(self, entry: InFlight) -> Attended:
        """What came of it. No other generation can be asked about either when this raises.

        :raises SeedreamAuthenticationError: the key does not work. :raises SeedreamInputError: the connection is incomplete.
        """
        try:
            return self._find_landed(entry) if entry.may_have_landed else self._look(entry)
        except (SeedreamAuthenticationError, SeedreamInputError):
            raise
        except SeedreamLandingError as error:
            return self._stumbled(entry, error)
        except SeedreamError as error:
            return Attended(entry=entry, error=error)

    def first_look_epoch(self, entry: InFlight, now: float) -> float:
        """When a generation that was submitted just now can be ready."""
        return now + first_poll_seconds(self.rules_of(entry), now_epoch=now, seen=SEEN)

    def rules_of(self, entry: InFlight) -> Rules:
        generation = entry.generation
        return replace(
            self._rules,
            num_images=generation.num_images,
            image_size=generation.image_size,
            kind=generation.kind,
            created_epoch=clock.to_epoch(generation.created_at),
            deadline_epoch=entry.deadline_epoch,
        )

    def _find_landed(self, entry: InFlight) -> Attended:
        """A manifest that an earlier try left; else a look is due. Asks the storage, and the API only where images are missing."""
        manifest = finish.already_landed(entry.generation)
        if manifest and finish.more_may_come(manifest, self._hook):
            manifest = None
        return Attended(entry=replace(entry, may_have_landed=False), manifest=manifest)

    def _look(self, entry: InFlight) -> Attended:
        generation, rules = entry.generation, self.rules_of(entry)
        look, now = self._hook.look(generation.seedream_task_id), clock.now_epoch()
        verdict, watch = decide(look, Watch(**entry.watch), rules, now_epoch=now, jitter=random(), seen=SEEN)  # type: ignore[arg-type]
        learn(verdict, watch, rules, now_epoch=now, seen=SEEN)
        if verdict.outcome == "wait":
            throttled = look if isinstance(look, FailedLook) and look.trouble == "throttled" else None
            began = {**watch.instants(), "silent_epoch": watch.silent_epoch}
            again = replace(entry, watch=began, due_epoch=now + verdict.wait_seconds)
            return Attended(entry=again, throttled=throttled)
        if verdict.outcome != "done" or not isinstance(look, GenerationStatus):
            error = finish.close_unlanded(generation, verdict, can_resubmit=True)
            if isinstance(error, SeedreamAuthenticationError):
                raise error
            return Attended(entry=entry, error=error, manifest=self._rest_of(generation, verdict, watch, look))
        return Attended(entry=entry, manifest=self._land(generation, status=look))

    def land_ready(self, entry: InFlight) -> Attended:
        """The last look at an entry when the batch's time is over: what is ready is landed."""
        try:
            manifest = finish.already_landed(entry.generation) or self._land_ready(entry.generation)
        except SeedreamError as error:
            return Attended(entry=entry, error=error)
        return Attended(entry=entry, manifest=manifest)

    def _rest_of(
        self, generation: Generation, verdict: Verdict, watch: Watch, look: GenerationStatus | FailedLook
    ) -> Manifest | None:
        """The images that are ready at the end of a wait that is not done."""
        if verdict.outcome in ("failed", "expired") or watch.finished_epoch is None:
            return None
        return self._land_ready(generation, status=look if isinstance(look, GenerationStatus) else None)

    def _stumbled(self, entry: InFlight, error: SeedreamLandingError) -> Attended:
        again = replace(entry, landings=entry.landings + 1, due_epoch=clock.now_epoch() + LAND_AGAIN_SECONDS)
        return Attended(entry=again, error=error if again.landings >= MAX_LANDINGS else None)
