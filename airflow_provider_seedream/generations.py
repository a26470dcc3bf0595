"""The API's answers as values, and the two small dicts that travel through XCom.

Answers of the API are read tolerantly (unknown keys, missing hints); dicts that this provider wrote are read
strictly. Never imports Airflow's operators or the hook: values only.
"""

import re
from dataclasses import MISSING, asdict, dataclass, replace
from dataclasses import fields as fields_of
from typing import Any, Self, get_args

from airflow_provider_seedream.exceptions import SeedreamInputError, SeedreamResponseError
from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.contract import Kind

SCHEMA_VERSION = 1
_BARE = re.compile(r"[^\W_][^/\\\x00]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The answer to a POST that was accepted, so it is paid::

        hook.submit(submission)  # Accepted(seedream_task_id="b1c2d3", created_at="2026-03-01T06:00:00Z")

    :param created_at: ISO 8601, or None if the API did not say it.
    """

    seedream_task_id: str
    created_at: str | None

    @classmethod
    def from_wire(cls, body: Any) -> Self:
        """:raises SeedreamResponseError: the answer holds no usable id, so it is unknown whether the POST
        was paid.
        """
        fields = body if isinstance(body, dict) else {}
        task_id, created_at = fields.get("task_id"), fields.get("created_at")
        if not contract.is_seedream_task_id(task_id):
            raise SeedreamResponseError("The API accepted a POST without naming a task id.", paid="unknown")
        return cls(seedream_task_id=task_id, created_at=created_at if isinstance(created_at, str) else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultLinks:
    """The pre-signed links of one result, http(s) or None. They are credentials, so they are never logged,
    stored or sent on.

    Example::

        # "ResultLinks(image=..., thumbnail=None)"
        repr(ResultLinks(image="https://host/a.png?sig=1", thumbnail=None))
    """

    image: str | None
    thumbnail: str | None

    @classmethod
    def from_wire(cls, result: Any) -> Self:
        """The links of one item of ``results``; anything that is not a link counts as none, as the asset
        is not there yet.
        """
        fields = result if isinstance(result, dict) else {}
        return cls(
            # Live answers have the same link under both names, or only one of them [seen].
            image=_link(fields.get("asset")) or _link(fields.get("asset_url")),
            thumbnail=_link(fields.get("thumbnail")),
        )

    def __repr__(self) -> str:
        return (
            f"ResultLinks(image={'...' if self.image else None}, "
            f"thumbnail={'...' if self.thumbnail else None})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationStatus:
    """The answer to a status call::

        status = hook.get_generation("b1c2d3")
        status.status, status.images_ready  # ("FINISHED", 2)

    :param status: upper case: PENDING, IN_PROGRESS, FINISHED or FAILED [doc]; any other word means "still
        waiting".
    :param progress: percent; a hint for people only.
    :param failure_reason: as the API words it, without the query strings of links.
    """

    status: str
    progress: int | None
    failure_reason: str | None
    results: tuple[ResultLinks, ...]

    @classmethod
    def from_wire(cls, body: Any) -> Self:
        """:raises SeedreamResponseError: the body is not a status."""
        if not isinstance(body, dict) or not isinstance(body.get("status"), str):
            raise SeedreamResponseError("The API answered a status call with something that is not a status.")
        results, progress, reason = body.get("results"), body.get("progress"), body.get("failure_reason")
        return cls(
            # The case of a word is no reason to wait for ever.
            status=body["status"].upper(),
            # A hint that is missing or odd must not end a wait for paid images.
            progress=progress if isinstance(progress, int) else None,
            failure_reason=without_queries(reason.strip()) or None if isinstance(reason, str) else None,
            results=tuple(map(ResultLinks.from_wire, results)) if isinstance(results, list) else (),
        )

    @property
    def images_ready(self) -> int:
        """How many results have a link to their image."""
        return sum(result.image is not None for result in self.results)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    """The wallet of an account::

        SeedreamHook().get_wallet()  # Wallet(balance="120", rate_limit=3)

    :param balance: in credits, as the API's own decimal text.
    :param rate_limit: in requests per minute; None if not said.
    """

    balance: str
    rate_limit: int | None

    @classmethod
    def from_wire(cls, body: Any) -> Self:
        """:raises SeedreamResponseError: the answer has no balance."""
        # The balance is documented as text; a number is taken as well, as its meaning is plain.
        if not isinstance(body, dict) or not isinstance(body.get("balance"), str | int | float):
            raise SeedreamResponseError("The API answered a wallet call with something that is not a wallet.")
        limit = body.get("rate_limit")
        return cls(balance=str(body["balance"]), rate_limit=limit if isinstance(limit, int) else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A paid generation, as an operator returns it. Plain JSON as ``to_dict()``, so it travels through XCom::

        submit = SeedreamGenerateOperator(task_id="submit", prompt="a watch")
        land = SeedreamGenerationSensor(task_id="land", generation=submit.output)  # the dict of a Generation

    :param created_at: ISO 8601, by the API's clock, or by this machine's if the API did not say it.
    :param num_images: images asked for; None if only the bare id is known.
    :param credits: the price calculated before the POST; None if only the bare id is known.
    :param destination: storage URI of the folder.
    :param name: file stem of the images; the seedream task id unless the user chose one.
    :param record: URI of the ledger record; None if only the bare id is known.
    :param billed_credits: the credits that the wallet lost, if that was measured.
    :param image_size: as submitted; it tells how long such a job takes. None if unknown, as in a Generation
        of version 0.1.
    :param claim: the claim of its POST, as in the record; None if unknown, as in a Generation of version 0.2.
    """

    seedream_task_id: str
    kind: Kind | None
    created_at: str | None
    num_images: int | None
    credits: int | None
    destination: str
    name: str
    record: str | None
    image_size: str | None = None
    claim: str | None = None
    billed_credits: int | None = None

    @classmethod
    def bare(cls, seedream_task_id: str, *, destination: str, name: str) -> Self:
        """A generation of which only the id is known, e.g. one that was submitted outside Airflow."""
        return cls(
            seedream_task_id=seedream_task_id,
            kind=None,
            created_at=None,
            num_images=None,
            credits=None,
            destination=destination,
            name=name,
            record=None,
        )

    def at(self, *, destination: str, name: str) -> Self:
        """The same generation, to be landed elsewhere."""
        return replace(self, destination=destination, name=name)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON for XCom, with its ``schema_version``."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """:raises SeedreamInputError: the dict is not a Generation, or has a newer schema."""
        fields = _checked(value, "Generation", cls)
        if not contract.is_seedream_task_id(fields["seedream_task_id"]):
            raise SeedreamInputError("generation: its seedream_task_id is no id of the API.")
        # A name with a slash would land the images in another folder.
        if not isinstance(fields["name"], str) or _BARE.fullmatch(fields["name"]) is None:
            # XComs can be edited
            raise SeedreamInputError("generation: its name is no bare file name.")
        if fields["image_size"] not in get_args(contract.ImageSize):  # it only helps to wait well
            fields["image_size"] = None
        return cls(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class LandedImage:
    """One image in storage::

        # "s3://my_conn@bucket/campaign/hero_1.png"
        LandedGeneration.from_dict(ti.xcom_pull("land")).images[0].uri

    :param sha256: of the file's bytes.
    :param size_bytes: of the file.
    :param width: in pixels.
    :param height: in pixels.
    :param media_type: ``image/png``, ``image/jpeg`` or ``image/webp``.
    """

    uri: str
    sha256: str
    size_bytes: int
    width: int
    height: int
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LandedGeneration:
    """A generation whose images lie in storage, as a sensor returns it. Plain JSON as ``to_dict()``, below 4
    KB::

        @task
        def uris(landed: dict) -> list[str]:
            return [image.uri for image in LandedGeneration.from_dict(landed).images]

        uris(land.output)

    :param manifest: URI of the manifest.
    :param credits: the price calculated before the POST; None if only the bare id was known.
    :param billed_credits: the credits that the wallet lost, if that was measured.
    """

    seedream_task_id: str
    manifest: str
    images: tuple[LandedImage, ...]
    credits: int | None
    billed_credits: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON for XCom, with its ``schema_version``."""
        return {
            "schema_version": SCHEMA_VERSION,
            **asdict(self),
            "images": [asdict(image) for image in self.images],
        }

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """:raises SeedreamInputError: the dict is not a LandedGeneration, or has a newer schema."""
        fields = _checked(value, "LandedGeneration", cls)
        if not isinstance(fields["images"], list):
            raise SeedreamInputError("This LandedGeneration has no list of images.")
        # Each image by the same rule: a later version may have added fields there, too.
        images = tuple(
            LandedImage(**_named(image, "landed image", LandedImage)) for image in fields["images"]
        )
        return cls(**{**fields, "images": images})


def without_queries(text: str) -> str:
    """The text without the query strings of its links, as those are credentials."""
    return re.sub(r"(https?://[^\s?]+)\?\S+", r"\1?...", text, flags=re.IGNORECASE)


def _link(value: Any) -> str | None:
    """A text that is a link; None for anything else."""
    return value if isinstance(value, str) and value.lower().startswith(("http://", "https://")) else None


def _checked(value: Any, what: str, cls: type[Any]) -> dict[str, Any]:
    if not isinstance(value, dict) or value.get("schema_version") != SCHEMA_VERSION:
        raise SeedreamInputError(
            f"This is no {what} of schema version {SCHEMA_VERSION}: {str(value)[:80]!r}."
        )
    return _named(value, what, cls)


def _named(value: Any, what: str, cls: type[Any]) -> dict[str, Any]:
    """Only the fields of the class. A later version may have added fields; an earlier one lacks those that
    have a default.
    """
    given = value if isinstance(value, dict) else {}
    fields = {field.name: given.get(field.name, field.default) for field in fields_of(cls)}
    if missing := [name for name, value in fields.items() if value is MISSING]:
        raise SeedreamInputError(
            f"Expected a {what}, but the value has no {', '.join(missing)}. "
            f"The summary that a batch returns, for one, is not a {what}."
        )
    return fields
