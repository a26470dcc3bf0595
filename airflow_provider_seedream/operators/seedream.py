"""The operators: one task, one paid request. They validate, submit once, push the id; with ``wait=True`` they land as well."""

import random
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow.providers.common.compat.sdk import Context, conf

from airflow_provider_seedream.exceptions import (
    SeedreamInputError,
    SeedreamInsufficientCreditsError,
    SeedreamLedgerError,
    SeedreamRateLimitError,
    final,
)
from airflow_provider_seedream.model import clock, contract
from airflow_provider_seedream.model.contract import ImageSize, Kind
from airflow_provider_seedream.model.names import check_name, uncomposed
from airflow_provider_seedream.model.source_texts import check_pick, check_source_count, picked, source_list
from airflow_provider_seedream.model.submissions import (
    Source,
    Submission,
    check_image_size,
    check_num_images,
    check_prompt,
    check_safety,
    check_seed,
    check_take,
    is_static,
    submission_of,
)
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator as SeedreamBatchOperator  # where users look for it
from airflow_provider_seedream.provider_info import DEFAULT_CONN_ID
from airflow_provider_seedream.storage import check_destination
from airflow_provider_seedream.tasks.backstop import backstop
from airflow_provider_seedream.tasks.fields import CheckedFields, check_budget, one_of
from airflow_provider_seedream.tasks.landing_operator import describe_task
from airflow_provider_seedream.tasks.queue_position import QUEUE_AGAIN, Place
from airflow_provider_seedream.tasks.wait_options import (
    DEFAULT_MAX_IMAGE_BYTES,
    DEFAULT_TIMEOUT_SECONDS,
    OnPartial,
    as_interval,
    as_seconds,
    beyond_defaults,
    check_embed_metadata,
    check_max_image_bytes,
    check_on_partial,
    execution_seconds,
)
from airflow_provider_seedream.tasks.waiting import WaitingOperator

if TYPE_CHECKING:
    from airflow_provider_seedream.generations import Generation
    from airflow_provider_seedream.ledger.records import Ledger
    from airflow_provider_seedream.ledger.submit import Request, Submitter

_FIELDS = ("prompt", "image_size", "num_images", "seed", "enable_safety_checker", "take", "destination", "name")


class SeedreamGenerateOperator(CheckedFields, WaitingOperator):
    """Generates images from a prompt: 10 credits per image [doc], paid at most once per request::

        submit = SeedreamGenerateOperator(task_id="submit", prompt="a leather watch", num_images=2, name="hero")
        land = SeedreamGenerationSensor(task_id="land", generation=submit.output)

    Returns a Generation (dict) for a :class:`~airflow_provider_seedream.sensors.seedream.SeedreamGenerationSensor`, and pushes the
    id alone as XCom ``seedream_task_id``. With ``wait=True`` it waits, lands, and returns a LandedGeneration (dict) instead.

    A retry or a clear finds the paid generation in the ledger and does not send the request again. Every parameter of the API is
    templated and checked: static values when the DAG is parsed, rendered ones before the request is sent.

    :param prompt: the picture in words; not blank.
    :param image_size: one of the API's sizes; ``auto_2K``.
    :param num_images: 1 to 6; each costs 10 credits.
    :param seed: 0 or more for similar results, None for random; the model may ignore it, so identical pixels are never promised.
    :param enable_safety_checker: True.
    :param take: 1; raise it to buy another set of the same request deliberately.
    :param destination: storage URI of the folder for images and ledger, e.g. ``s3://my_conn@bucket/folder``; the
        connection's by default.
    :param name: file stem of the images, unique in its destination; the seedream task id by default. Take 2 adds ``_take2``.
    :param seedream_conn_id: the connection.
    :param reuse: ``run`` (default): the same request is paid once per task and DAG run; ``content``: once ever in its destination,
        for every DAG, run and task together.
    :param on_unknown_submit: a POST whose outcome is unknown: ``fail`` (default, without retries) or ``resubmit``, which may pay
        twice.
    :param max_credits: credits that this task may spend in this DAG run, all its mapped instances together; None for no limit.
    :param max_credits_per_run: credits that all Seedream tasks of this DAG run may spend in this destination; None for no limit.
    :param wait: also wait for the images and land them.
    :param deferrable: wait in the triggerer; Airflow's ``[operators] default_deferrable`` by default.
    :param poke_interval: seconds between polls while waiting; None (default): rarely at first, more often around the time at which
        such images are usually ready.
    :param timeout: seconds, or a timedelta, that a try may wait: for the rate limit after 429s, then for the images; one hour.
    :param on_partial: with ``wait``: fewer images than asked for: ``fail`` (default; those that came are landed) or ``accept``.
    :param max_image_bytes: with ``wait``: larger images are refused; 64 MiB.
    :param settling_seconds: with ``wait``: how long links may follow FINISHED before that is an error; 120 s [seen].
    :param embed_metadata: with ``wait``: say inside the image files that AI made them; needs the extra ``metadata``.
    """

    kind: Kind = "generate"
    template_fields: Sequence[str] = (*_FIELDS, "seedream_conn_id", "max_credits", "max_credits_per_run")
    checks: ClassVar = {
        "prompt": check_prompt,
        "image_size": check_image_size,
        "num_images": check_num_images,
        "seed": check_seed,
        "enable_safety_checker": check_safety,
        "take": check_take,
        "destination": lambda value: value is None or check_destination(value),
        "name": check_name,
        "max_credits": partial(check_budget, "max_credits"),
        "max_credits_per_run": partial(check_budget, "max_credits_per_run"),
    }
    text_fields = ("prompt", *CheckedFields.text_fields)
    given_fields = (*text_fields, "max_credits", "max_credits_per_run")
    ui_color = "#e8eaf6"
    can_resubmit = True

    def __init__(
        self,
        *,
        prompt: str,
        image_size: ImageSize | str = contract.DEFAULT_IMAGE_SIZE,
        num_images: int | str = 1,
        seed: int | str | None = None,
        enable_safety_checker: bool | str = True,
        take: int | str = 1,
        destination: str | None = None,
        name: str | None = None,
        seedream_conn_id: str = DEFAULT_CONN_ID,
        reuse: str = "run",
        on_unknown_submit: str = "fail",
        max_credits: int | str | None = None,
        max_credits_per_run: int | str | None = None,
        wait: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poke_interval: timedelta | float | None = None,
        timeout: timedelta | float = DEFAULT_TIMEOUT_SECONDS,
        on_partial: OnPartial = "fail",
        max_image_bytes: int = DEFAULT_MAX_IMAGE_BYTES,
        settling_seconds: timedelta | float = contract.SETTLING_SECONDS,
        embed_metadata: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prompt = prompt
        self.image_size = image_size
        self.num_images = num_images
        self.seed = seed
        self.enable_safety_checker = enable_safety_checker
        self.take = take
        self.destination = destination
        self.name = name
        self.seedream_conn_id = seedream_conn_id
        self.reuse = self.checked(one_of, "reuse", reuse, "run", "content")
        self.on_unknown_submit = self.checked(one_of, "on_unknown_submit", on_unknown_submit, "fail", "resubmit")
        self.max_credits = max_credits
        self.max_credits_per_run = max_credits_per_run
        self.wait = wait
        self.deferrable = deferrable
        self.poll_interval = self.checked(as_interval, poke_interval)
        self.timeout = self.checked(as_seconds, "timeout", timeout)
        self.on_partial = self.checked(check_on_partial, on_partial)
        self.max_image_bytes = self.checked(check_max_image_bytes, max_image_bytes)
        self.settling_seconds = self.checked(as_seconds, "settling_seconds", settling_seconds)
        self.embed_metadata = embed_metadata
        self.check_static_fields()

    def execute(self, context: Context) -> dict[str, Any]:
        """Submit the request, or find it paid. Returns a Generation, or with ``wait=True`` a LandedGeneration (dict)."""
        return self._submit(context, Place(started_epoch=clock.now_epoch()))

    def resume_submission(
        self, context: Context, event: Any, started_epoch: float | None = None, asked_epoch: float | None = None
    ) -> dict[str, Any]:
        """Continue after a wait for the rate limit."""
        place = Place.from_event(
            event,
            started_epoch=started_epoch,
            asked_epoch=asked_epoch,
            timeout=self.timeout,
            execution_timeout=execution_seconds(self),
        )
        return self._submit(context, place)

    def resume_unheard(self, context: Context) -> dict[str, Any]:
        """Continue a wait whose trigger sent no event: check the images once, or fail if the request is not paid yet."""
        # The request is made again, as its key is the only way to its record: Airflow has dropped what the deferral kept.
        found, refused = None, None
        try:
            request, submitter = self._prepared(context)
            found = submitter.find(request)
        except SeedreamInputError as error:  # what was asked for is gone, as the source of an edit may be
            refused = error
        generation = found.generation if found else self._pushed(context)
        if generation is None:
            is_airflows = execution_seconds(self) < self.timeout
            raise refused or Place.unheard(waited_seconds=self._patience_seconds, is_airflows=is_airflows)
        return self.poll_once(context, generation) if self.wait else generation.to_dict()

    def _pushed(self, context: Context) -> "Generation | None":
        """The generation by the id that this try has pushed, where its request cannot be made again or is another by now."""
        from airflow_provider_seedream.generations import Generation
        from airflow_provider_seedream.ledger.record import file_stem

        ti: Any = context["ti"]
        task_id = ti.xcom_pull(task_ids=ti.task_id, key="seedream_task_id", map_indexes=ti.map_index)
        if not contract.is_seedream_task_id(task_id):
            return None
        stem = file_stem(check_name(self.name), check_take(self.take))
        return Generation.bare(str(task_id), destination=self._folder_uri, name=stem or str(task_id))

    @property
    def _folder_uri(self) -> str:
        """The destination: of the task, else of the connection. :raises SeedreamInputError: neither names one."""
        return check_destination(self._hook.settings.destination if self.destination is None else self.destination)

    def _submit(self, context: Context, place: Place) -> dict[str, Any]:
        """Submit, push the id at once, and wait if that was asked for.

        :param place: in the queue for the rate limit; the first call has not asked for a turn yet.
        """
        request, submitter = self._prepared(context)
        if self._must_queue(request, submitter.ledger, place):
            self._ask_for_turn(place, None)
        generation = self._in_turn(partial(submitter.submit, request), place)
        # Before the wait: links, people and the next resumption find the id even if this try ends in the middle of it.
        context["ti"].xcom_push("seedream_task_id", generation.seedream_task_id)
        if self.wait:
            return self.wait_and_land(context, generation, started_epoch=place.started_epoch)
        return generation.to_dict()

    def _prepared(self, context: Context) -> "tuple[Request, Submitter]":
        """The request and what submits it. Nothing is sent and nothing is written here.

        :raises SeedreamInputError: a field, a source image or the connection is wrong.
        """
        from airflow_provider_seedream.ledger.budgets import Budget
        from airflow_provider_seedream.ledger.records import Ledger, Reuse
        from airflow_provider_seedream.ledger.submit import OnUnknownSubmit, Request, Submitter
        from airflow_provider_seedream.tasks.memory import TaskMemory

        hook = self._hook
        request = Request(
            submission=self._submission(),
            destination=self._folder_uri,
            name=check_name(self.name),
            name_as_written=uncomposed(self.name),
            made_by=describe_task(context),
            reuse=cast(Reuse, self.reuse),
            **(beyond_defaults(embed_metadata=self.embed_metadata, max_image_bytes=self.max_image_bytes) if self.wait else {}),
        )
        ledger = Ledger(request.destination)
        budget = Budget(
            ledger,
            request.made_by,
            max_credits=check_budget("max_credits", self.max_credits),
            max_credits_per_run=check_budget("max_credits_per_run", self.max_credits_per_run),
        )
        memory = TaskMemory(context, pushes_id=True)
        return request, Submitter(hook, ledger, cast(OnUnknownSubmit, self.on_unknown_submit), budget, memory=memory)

    def _must_queue(self, request: "Request", ledger: "Ledger", place: Place) -> bool:
        """True if a 429 is almost certain: the earlier instances of the same mapped task already fill the minute's limit."""
        map_index = request.made_by.map_index
        if not self.deferrable or place.asked_epoch is not None or map_index < 1:
            return False
        try:
            latest = ledger.latest(request.key)
        except SeedreamLedgerError:  # the submission itself says more
            return False
        if latest is not None and not latest.is_open_for_next:
            return False
        limit = self._hook.known_requests_per_minute
        return limit is not None and map_index >= limit

    def _in_turn(self, submit: "Callable[[], Generation]", place: Place) -> "Generation":
        """Submit. After a 429, which costs nothing, wait (in the triggerer if ``deferrable``) and submit again."""
        while True:
            try:
                return submit()
            except SeedreamRateLimitError as error:
                refusal, wait_seconds = error, self._turn_seconds(error)
                if clock.now_epoch() + wait_seconds > place.started_epoch + self._patience_seconds:
                    raise self._too_late(error, wait_seconds) from None
            except SeedreamInsufficientCreditsError as error:
                # Airflow asks a policy about every error but those that end a task, so a final 402 would never be timed by it.
                if getattr(self, "retry_policy", None):  # it is never asked about errors that end a task
                    raise
                raise final(error) from None
            # A sleeping worker would hold its slot, perhaps for minutes; the triggerer waits for thousands at once.
            if self.deferrable:
                self._ask_for_turn(place, refusal)
            self.log.info(
                "The API answered 429 (rate limit), which costs nothing; sending this request again in %.0f s.", wait_seconds
            )
            time.sleep(wait_seconds)

    def _too_late(self, error: SeedreamRateLimitError, wait_seconds: float) -> SeedreamRateLimitError:
        """The 429 of a request whose next turn comes after the time limit of the try."""
        rate, limit = self._hook.requests_per_minute, clock.spell(self._patience_seconds)
        error.cause = error.message
        wait = clock.spell(wait_seconds)
        error.message = f"{rate:g} requests a minute: the next turn is {wait} away, after the end of `timeout` ({limit})."
        error.on_retry = QUEUE_AGAIN
        return error

    def _turn_seconds(self, error: SeedreamRateLimitError) -> float:
        """Seconds to wait after a 429: the API's ``Retry-After``, else one request's share of the minute; at least 1 s.

        Up to half more is added at random, so that tasks that were refused together do not return together.
        """
        from airflow_provider_seedream.rate_limit.limiter import MIN_REFUSED_SECONDS

        share: float = 60.0 / self._hook.requests_per_minute
        asked = max(MIN_REFUSED_SECONDS, share if error.retry_after_seconds is None else error.retry_after_seconds)
        return asked + random.random() * min(asked, share) / 2

    def _ask_for_turn(self, place: Place, error: SeedreamRateLimitError | None) -> None:
        """Defer until the triggerer grants a turn."""
        trigger, kwargs = place.ask(self._hook, error, timeout=self._patience_seconds)
        self.log.info("Rate limit %g/min: waiting in the triggerer until this request may be sent.", trigger.requests_per_minute)
        limit = backstop(trigger.deadline_epoch, now_epoch=clock.now_epoch())
        self.defer(trigger=trigger, method_name="resume_submission", kwargs=kwargs, timeout=limit)

    def _submission(self) -> Submission:
        """The rendered fields as a submission. :raises SeedreamInputError: a field is invalid; the request was not sent."""
        check_embed_metadata(self.embed_metadata)
        self.check_rendered_fields()
        return submission_of(self, self._sources())

    def _sources(self) -> tuple[Source, ...]:
        """The images of an edit; none for a generation."""
        return ()


class SeedreamEditOperator(SeedreamGenerateOperator):
    """Edits 1 to 10 images by an instruction. The other parameters are those of a generation::

        night = SeedreamEditOperator(task_id="night", prompt="make it night", images=land.output, pick=1)

    :param prompt: the instruction, e.g. "make it night"; not blank.
    :param images: 1 to 10 images: storage URIs, local paths, data URIs or landed images, or a whole LandedGeneration
        (``images=land.output``). JPEG, PNG, WEBP, BMP, TIFF or GIF, whole, at most 10 MB and 36 megapixels each,
        sides above 14 pixels, aspect 1:16 to 16:1 [seen]. They are read, checked and encoded on the worker at POST time; their
        bytes are part of what makes a request the same. A list may hold LandedGenerations, as ``images=mapped.output`` does.
    :param pick: numbers of the images to edit, counted from 1 as in their file names: ``1`` or ``[1, 3]``; None (default): all.
        ``images=land.output, pick=1`` edits the first image that was landed.
    :param image_size: one of the API's sizes; ``auto_2K``.
    :param num_images: 1 to 6; each costs 10 credits.
    :param seed: 0 or more for similar results, None for random; the model may ignore it, so identical pixels are never promised.
    :param enable_safety_checker: True.
    :param take: 1; raise it to buy another set of the same request deliberately.
    :param destination: storage URI of the folder for images and ledger, e.g. ``s3://my_conn@bucket/folder``; the
        connection's by default.
    :param name: file stem of the images, unique in its destination; the seedream task id by default. Take 2 adds ``_take2``.
    :param seedream_conn_id: the connection.
    :param reuse: ``run`` (default): the same request is paid once per task and DAG run; ``content``: once ever in its destination,
        for every DAG, run and task together.
    :param on_unknown_submit: a POST whose outcome is unknown: ``fail`` (default, without retries) or ``resubmit``, which may pay
        twice.
    :param max_credits: credits that this task may spend in this DAG run, all its mapped instances together; None for no limit.
    :param max_credits_per_run: credits that all Seedream tasks of this DAG run may spend in this destination; None for no limit.
    :param wait: also wait for the images and land them.
    :param deferrable: wait in the triggerer; Airflow's ``[operators] default_deferrable`` by default.
    :param poke_interval: seconds between polls while waiting; None (default): rarely at first, more often around the time at which
        such images are usually ready.
    :param timeout: seconds, or a timedelta, that a try may wait: for the rate limit after 429s, then for the images; one hour.
    :param on_partial: with ``wait``: fewer images than asked for: ``fail`` (default; those that came are landed) or ``accept``.
    :param max_image_bytes: with ``wait``: larger images are refused; 64 MiB.
    :param settling_seconds: with ``wait``: how long links may follow FINISHED before that is an error; 120 s [seen].
    :param embed_metadata: with ``wait``: say inside the image files that AI made them; needs the extra ``metadata``.
    """

    kind: Kind = "edit"
    template_fields: Sequence[str] = (*SeedreamGenerateOperator.template_fields, "images", "pick")
    checks: ClassVar = {
        **SeedreamGenerateOperator.checks,
        "images": partial(source_list, counted=False),
        "pick": check_pick,
    }
    given_fields = (*SeedreamGenerateOperator.given_fields, "pick")

    def __init__(
        self,
        *,
        prompt: str,
        images: Any,
        pick: int | str | list[int] | None = None,
        image_size: ImageSize | str = contract.DEFAULT_IMAGE_SIZE,
        num_images: int | str = 1,
        seed: int | str | None = None,
        enable_safety_checker: bool | str = True,
        take: int | str = 1,
        destination: str | None = None,
        name: str | None = None,
        seedream_conn_id: str = DEFAULT_CONN_ID,
        reuse: str = "run",
        on_unknown_submit: str = "fail",
        max_credits: int | str | None = None,
        max_credits_per_run: int | str | None = None,
        wait: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poke_interval: timedelta | float | None = None,
        timeout: timedelta | float = DEFAULT_TIMEOUT_SECONDS,
        on_partial: OnPartial = "fail",
        max_image_bytes: int = DEFAULT_MAX_IMAGE_BYTES,
        settling_seconds: timedelta | float = contract.SETTLING_SECONDS,
        embed_metadata: bool = False,
        **kwargs: Any,
    ) -> None:
        self.images = images
        self.pick = pick
        super().__init__(
            prompt=prompt,
            image_size=image_size,
            num_images=num_images,
            seed=seed,
            enable_safety_checker=enable_safety_checker,
            take=take,
            destination=destination,
            name=name,
            seedream_conn_id=seedream_conn_id,
            reuse=reuse,
            on_unknown_submit=on_unknown_submit,
            max_credits=max_credits,
            max_credits_per_run=max_credits_per_run,
            wait=wait,
            deferrable=deferrable,
            poke_interval=poke_interval,
            timeout=timeout,
            on_partial=on_partial,
            max_image_bytes=max_image_bytes,
            settling_seconds=settling_seconds,
            embed_metadata=embed_metadata,
            **kwargs,
        )

    def check_static_fields(self) -> None:
        """Also count the images when the DAG is parsed: 0 or 11 of them would be refused by the API."""
        if is_static(self.images) and is_static(self.pick):
            self.checked(_check_picked, self.images, self.pick)
        super().check_static_fields()

    def _sources(self) -> tuple[Source, ...]:
        """Read and check the images on the worker, and note them for lineage.

        :raises SeedreamInputError: one of them is no image that the API takes.
        """
        from airflow_provider_seedream.tasks.sources import read_sources

        sources = read_sources(self.images, self.pick)
        self.note_reads([source.origin for source in sources])
        return sources


def _check_picked(images: Any, pick: Any) -> None:
    """:raises SeedreamInputError: unless 1 to 10 images are left to edit."""
    check_source_count(picked(source_list(images, counted=False), check_pick(pick)))
