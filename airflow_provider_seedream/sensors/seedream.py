"""The sensors. The one here waits for a generation and lands its images. It does not submit, so it costs no
credits.

The poll schedule and the hook are imported when a task runs: this module is loaded with every DAG.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import Context, conf

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.names import check_name
from airflow_provider_seedream.provider_info import DEFAULT_CONN_ID
from airflow_provider_seedream.sensors.base import SeedreamSensor
from airflow_provider_seedream.sensors.credits import SeedreamCreditsSensor as SeedreamCreditsSensor
from airflow_provider_seedream.storage.uris import check_destination
from airflow_provider_seedream.tasks.fields import CheckedFields, one_of
from airflow_provider_seedream.tasks.wait_options import (
    DEFAULT_MAX_IMAGE_BYTES,
    DEFAULT_TIMEOUT_SECONDS,
    OnPartial,
    as_interval,
    as_seconds,
    check_max_image_bytes,
    check_on_partial,
)
from airflow_provider_seedream.tasks.waiting import WaitingOperator

if TYPE_CHECKING:
    from airflow_provider_seedream.polling.policy import PollState

# the base sensor wants a number; it decides nothing where the task sets no interval
_BASE_INTERVAL_SECONDS = 10.0


def _check_generation(value: Any) -> Generation | str:
    """The value of ``generation``: a Generation, as a dict of an operator's XCom, or a bare id.

    :raises SeedreamInputError: it is neither; a dict of a later version is refused, too.
    """
    if isinstance(value, dict):
        return Generation.from_dict(value)
    if not contract.is_seedream_task_id(value):
        raise SeedreamInputError(
            "generation must be what a Seedream operator returned (write `generation=submit.output`) "
            f"or a bare seedream task id; got {str(value)[:80]!r}."
        )
    return value


class SeedreamGenerationSensor(WaitingOperator, SeedreamSensor):
    """Waits until a generation is done, then lands its images, thumbnails and manifest. Returns a
    LandedGeneration (dict)::

        land = SeedreamGenerationSensor(task_id="land", generation=submit.output, deferrable=True)

    The sensor costs no credits: a retry or a clear polls again, and lands only the images that are not landed
    yet.

    :param generation: a Generation (what an operator returned), or a bare seedream task id of the last 24 h.
    :param destination: storage URI to land in; the Generation's own by default, for a bare id the
        connection's.
    :param name: file stem; the Generation's own by default, for a bare id the id.
    :param seedream_conn_id: the connection.
    :param on_partial: fewer images than asked for: ``fail`` (default; those that came are landed) or
        ``accept``.
    :param max_image_bytes: larger images are refused; 64 MiB.
    :param settling_seconds: how long links may follow FINISHED before that is an error; 120 s [seen].
    :param embed_metadata: say inside the image files that AI made them; needs the extra ``metadata``.
    :param announce: the events of an ``AssetAlias`` among the outlets: one for each ``image`` (default) or
        one for each ``generation``.
    :param poke_interval: seconds between polls, or a timedelta; None (default): rarely at first, more often
        around the time at which such images are usually ready.
    :param timeout: seconds, or a timedelta, from the start of a try to "not ready in time", deferred or not;
        one hour.
    :param deferrable: wait in the triggerer; Airflow's ``[operators] default_deferrable`` by default.

    ``soft_fail`` skips the task if the images are not ready in time; ``never_fail`` skips it for every error.
    Both mean the same deferred or not.
    """

    template_fields: Sequence[str] = ("generation", "destination", "name", "seedream_conn_id")
    checks: ClassVar = {
        "generation": _check_generation,
        "destination": lambda value: value is None or check_destination(value),
        "name": check_name,
    }
    given_fields = (*CheckedFields.given_fields, "generation")  # the text "None" would be waited for as an id
    may_be_blank = ("destination",)  # the Generation's own, as for None
    ui_color = "#e8eaf6"

    def __init__(
        self,
        *,
        generation: Any,
        destination: str | None = None,
        name: str | None = None,
        seedream_conn_id: str = DEFAULT_CONN_ID,
        on_partial: OnPartial = "fail",
        max_image_bytes: int = DEFAULT_MAX_IMAGE_BYTES,
        settling_seconds: timedelta | float = contract.SETTLING_SECONDS,
        embed_metadata: bool = False,
        announce: str = "image",
        poke_interval: timedelta | float | None = None,
        timeout: timedelta | float = DEFAULT_TIMEOUT_SECONDS,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        base_interval = _BASE_INTERVAL_SECONDS if poke_interval is None else poke_interval
        super().__init__(poke_interval=base_interval, timeout=timeout, **kwargs)
        self.poll_interval = self.checked(as_interval, poke_interval)
        self.generation = generation
        self.destination = destination
        self.name = name
        self.seedream_conn_id = seedream_conn_id
        self.on_partial = self.checked(check_on_partial, on_partial)
        self.max_image_bytes = self.checked(check_max_image_bytes, max_image_bytes)
        self.settling_seconds = self.checked(as_seconds, "settling_seconds", settling_seconds)
        self.embed_metadata = embed_metadata
        self.announce = self.checked(one_of, "announce", announce, "image", "generation")
        self.deferrable = deferrable
        self.check_static_fields()

    def execute(self, context: Context) -> dict[str, Any]:
        """Wait, land, and return a LandedGeneration as a dict: ids, URIs, hashes and sizes, below 4 KB.

        :raises SeedreamGenerationTimeoutError: not ready within ``timeout``; a retry waits on and pays
            nothing.
        :raises SeedreamGenerationFailedError: the generation failed; the error says whether it was refunded.
        :raises SeedreamResultsExpiredError: the generation is older than 24 h, so the API has deleted its
            images.
        :raises SeedreamPartialResultError: fewer images came than were asked for, and ``on_partial`` is
            ``fail``.
        """
        with self.skipping():
            self.check_rendered_fields()
            return self.wait_and_land(context, self._generation(), started_epoch=self.started_epoch(context))

    def _pause(self, seconds: float, state: "PollState") -> None:
        """Between two polls, ``mode="reschedule"`` frees the worker slot, which the base class holds."""
        if self.reschedule and state.is_quiet:
            # a settling or an outage under way would be forgotten between processes
            self.come_back(seconds)
        super()._pause(seconds, state)

    def find_again(self, event: Any) -> Generation:
        """The sensor's own argument: it is rendered anew when the task resumes, so no event is needed for it.

        :param event: of the trigger; not read.
        """
        return self._generation()

    def _generation(self) -> Generation:
        """The generation of this wait. Templates are not refused here, as a resumed wait is for a paid
        generation.
        """
        rendered = self.generation
        # digits, where objects are native
        given = _check_generation(str(rendered) if type(rendered) is int else rendered)
        if isinstance(given, Generation):
            return given.at(
                destination=check_destination(self.destination or given.destination),
                name=check_name(self.name) or given.name,
            )
        destination = check_destination(self.destination or self._hook.settings.destination)
        return Generation.bare(given, destination=destination, name=check_name(self.name) or given)
