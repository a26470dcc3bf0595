"""The operators: one task, one paid request. They validate, submit once, push the id; with ``wait=True``
they land as well.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

from airflow.providers.common.compat.sdk import Context, conf

from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.contract import ImageSize, Kind
from airflow_provider_seedream.model.field_checks import (
    check_image_size,
    check_num_images,
    check_prompt,
    check_safety,
    check_seed,
    check_take,
    is_static,
)
from airflow_provider_seedream.model.labels import check_labels
from airflow_provider_seedream.model.names import check_name
from airflow_provider_seedream.model.source_texts import check_pick, check_source_count, picked, source_list
from airflow_provider_seedream.model.submissions import Source, Submission, submission_of

# where users look for it
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator as SeedreamBatchOperator
from airflow_provider_seedream.provider_info import DEFAULT_CONN_ID
from airflow_provider_seedream.storage.uris import check_destination
from airflow_provider_seedream.tasks.fields import CheckedFields, check_budget, check_callbacks, one_of
from airflow_provider_seedream.tasks.submitting import SubmittingOperator
from airflow_provider_seedream.tasks.wait_options import (
    DEFAULT_MAX_IMAGE_BYTES,
    DEFAULT_TIMEOUT_SECONDS,
    OnPartial,
    as_interval,
    as_seconds,
    check_embed_metadata,
    check_max_image_bytes,
    check_on_partial,
)

_FIELDS = (
    "prompt",
    "image_size",
    "num_images",
    "seed",
    "enable_safety_checker",
    "take",
    "destination",
    "name",
)


class SeedreamGenerateOperator(SubmittingOperator):
    """Generates images from a prompt: 10 credits per image [doc], paid at most once per request::

        submit = SeedreamGenerateOperator(
            task_id="submit", prompt="a leather watch", num_images=2, name="hero"
        )
        land = SeedreamGenerationSensor(task_id="land", generation=submit.output)

    Returns a Generation (dict) for a
    :class:`~airflow_provider_seedream.sensors.seedream.SeedreamGenerationSensor`, and pushes the id alone as
    XCom ``seedream_task_id``. With ``wait=True`` it waits, lands, and returns a LandedGeneration (dict)
    instead.

    A retry or a clear finds the paid generation in the ledger and does not send the request again. Every
    parameter of the API is templated and checked: static values when the DAG is parsed, rendered ones before
    the request is sent.

    :param prompt: the picture in words; not blank.
    :param image_size: one of the API's sizes; ``auto_2K``.
    :param num_images: 1 to 6; each costs 10 credits.
    :param seed: 0 or more for similar results, None for random; the model may ignore it, so identical pixels
        are never promised.
    :param enable_safety_checker: True.
    :param take: 1; raise it to buy another set of the same request deliberately.
    :param destination: storage URI of the folder for images and ledger, e.g. ``s3://my_conn@bucket/folder``;
        the connection's by default.
    :param name: file stem of the images, unique in its destination; the seedream task id by default. Take 2
        adds ``_take2``.
    :param seedream_conn_id: the connection.
    :param reuse: ``run`` (default): the same request is paid once per task and DAG run; ``content``: once
        ever in its destination, for every DAG, run and task together.
    :param on_unknown_submit: a POST whose outcome is unknown: ``fail`` (default, without retries) or
        ``resubmit``, which may pay twice.
    :param max_credits: credits that this task may spend in this DAG run, all its mapped instances together;
        None for no limit.
    :param max_credits_per_run: credits that all Seedream tasks of this DAG run may spend in this destination;
        None for no limit.
    :param labels: up to 8 short texts, e.g. ``{"team": "shop"}``, for the ledger record, the manifest and
        caps. No part of the request: another label never pays again.
    :param on_budget: where a cap of the connection leaves no room: ``fail`` (default, without retries), or
        ``wait`` until its UTC day or month ends, within ``timeout``.
    :param on_budget_warning: a function of the context, a notifier, or a list of them, called when
        ``warn_at`` of a cap is spent.
    :param wait: also wait for the images and land them.
    :param deferrable: wait in the triggerer; Airflow's ``[operators] default_deferrable`` by default.
    :param poke_interval: seconds between polls while waiting; None (default): rarely at first, more often
        around the time at which such images are usually ready.
    :param timeout: seconds, or a timedelta, that a try may wait: for the rate limit after 429s, then for the
        images; one hour.
    :param on_partial: with ``wait``: fewer images than asked for: ``fail`` (default; those that came are
        landed) or ``accept``.
    :param max_image_bytes: with ``wait``: larger images are refused; 64 MiB.
    :param settling_seconds: with ``wait``: how long links may follow FINISHED before that is an error; 120 s
        [seen].
    :param embed_metadata: with ``wait``: say inside the image files that AI made them; needs the extra
        ``metadata``.
    :param announce: with ``wait``: the events of an ``AssetAlias`` among the outlets, one for each ``image``
        (default) or one for each ``generation``.
    """

    kind: Kind = "generate"
    template_fields: Sequence[str] = (
        *_FIELDS,
        "seedream_conn_id",
        "max_credits",
        "max_credits_per_run",
        "labels",
    )
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
        "labels": check_labels,
    }
    # Native rendering would read the prompt "42" as a number, and drop the quotes of a quoted one.
    text_fields = ("prompt", "labels", *CheckedFields.text_fields)
    given_fields = (*text_fields, "max_credits", "max_credits_per_run")
    ui_color = "#e8eaf6"

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
        labels: dict[str, str] | None = None,
        on_budget: str = "fail",
        on_budget_warning: Any = None,
        wait: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poke_interval: timedelta | float | None = None,
        timeout: timedelta | float = DEFAULT_TIMEOUT_SECONDS,
        on_partial: OnPartial = "fail",
        max_image_bytes: int = DEFAULT_MAX_IMAGE_BYTES,
        settling_seconds: timedelta | float = contract.SETTLING_SECONDS,
        embed_metadata: bool = False,
        announce: str = "image",
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
        self.on_unknown_submit = self.checked(
            one_of, "on_unknown_submit", on_unknown_submit, "fail", "resubmit"
        )
        self.max_credits = max_credits
        self.max_credits_per_run = max_credits_per_run
        self.labels = labels
        self.on_budget = self.checked(one_of, "on_budget", on_budget, "fail", "wait")
        self.on_budget_warning = on_budget_warning
        self.checked(check_callbacks, on_budget_warning)
        self.wait = wait
        self.deferrable = deferrable
        self.poll_interval = self.checked(as_interval, poke_interval)
        self.timeout = self.checked(as_seconds, "timeout", timeout)
        self.on_partial = self.checked(check_on_partial, on_partial)
        self.max_image_bytes = self.checked(check_max_image_bytes, max_image_bytes)
        self.settling_seconds = self.checked(as_seconds, "settling_seconds", settling_seconds)
        self.embed_metadata = embed_metadata
        self.announce = self.checked(one_of, "announce", announce, "image", "generation")
        self.check_static_fields()

    def execute(self, context: Context) -> dict[str, Any]:
        """Submit the request, or find it paid. Returns a Generation, or with ``wait=True`` a
        LandedGeneration (dict).
        """
        return self.submit(context)

    def _submission(self) -> Submission:
        """The rendered fields as a submission.

        :raises SeedreamInputError: a field is invalid; the request was not sent.
        """
        # First: a worker without exiv2 must fail before the request is paid, not when the images come.
        check_embed_metadata(self.embed_metadata)
        self.check_rendered_fields()
        return submission_of(self, self._sources())

    def _sources(self) -> tuple[Source, ...]:
        """The images of an edit; none for a generation."""
        return ()


class SeedreamEditOperator(SeedreamGenerateOperator):
    """Edits 1 to 10 images by an instruction::

        night = SeedreamEditOperator(task_id="night", prompt="make it night", images=land.output, pick=1)

    All other parameters, from ``image_size`` to ``announce``, are those of a
    :class:`SeedreamGenerateOperator` and mean the same.

    :param prompt: the instruction, e.g. "make it night"; not blank.
    :param images: 1 to 10 images: storage URIs, local paths, data URIs or landed images, or a whole
        LandedGeneration (``images=land.output``). JPEG, PNG, WEBP, BMP, TIFF or GIF, whole, at most 10 MB and
        36 megapixels each, sides above 14 pixels, aspect 1:16 to 16:1 [seen]. They are read, checked and
        encoded on the worker at POST time; their bytes are part of the identity of a request. A list may hold
        LandedGenerations, as ``images=mapped.output`` does.
    :param pick: numbers of the images to edit, counted from 1 as in their file names: ``1`` or ``[1, 3]``;
        None (default): all. ``images=land.output, pick=1`` edits the first image that was landed.
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
        labels: dict[str, str] | None = None,
        on_budget: str = "fail",
        on_budget_warning: Any = None,
        wait: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poke_interval: timedelta | float | None = None,
        timeout: timedelta | float = DEFAULT_TIMEOUT_SECONDS,
        on_partial: OnPartial = "fail",
        max_image_bytes: int = DEFAULT_MAX_IMAGE_BYTES,
        settling_seconds: timedelta | float = contract.SETTLING_SECONDS,
        embed_metadata: bool = False,
        announce: str = "image",
        **kwargs: Any,
    ) -> None:
        # Before the base constructor, whose last step checks the static fields, these two among them.
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
            labels=labels,
            on_budget=on_budget,
            on_budget_warning=on_budget_warning,
            wait=wait,
            deferrable=deferrable,
            poke_interval=poke_interval,
            timeout=timeout,
            on_partial=on_partial,
            max_image_bytes=max_image_bytes,
            settling_seconds=settling_seconds,
            embed_metadata=embed_metadata,
            announce=announce,
            **kwargs,
        )

    def check_static_fields(self) -> None:
        """Also count the images when the DAG is parsed: 0 or 11 of them would be refused by the API."""
        # A template may give a list of any length, so only literal images can be counted this early.
        if is_static(self.images) and is_static(self.pick):
            self.checked(
                lambda: check_source_count(
                    picked(source_list(self.images, counted=False), check_pick(self.pick))
                )
            )
        super().check_static_fields()

    def _sources(self) -> tuple[Source, ...]:
        """Read and check the images on the worker, and note them for lineage.

        :raises SeedreamInputError: one of them is no image that the API takes.
        """
        from airflow_provider_seedream.tasks.sources import read_sources

        sources = read_sources(self.images, self.pick)
        # After the reading: a source that could not be read is not an input of this task.
        self.note_reads([source.origin for source in sources])
        return sources
