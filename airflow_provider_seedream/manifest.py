"""The manifest: one JSON file per generation that names the images beside it, the task that made them, the
prompt and the price.

It is written last, so a manifest means that its images are complete. File names in it are relative, so a
copied folder stays whole. Never imports the hook; it imports storage only to read a manifest.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

from airflow_provider_seedream import __version__
from airflow_provider_seedream.generations import Generation, LandedGeneration, LandedImage
from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.contract import Kind

SCHEMA_VERSION = 1
_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
DIGITAL_SOURCE_TYPES: dict[Kind, str] = {
    "generate": f"{_IPTC}trainedAlgorithmicMedia",
    "edit": f"{_IPTC}compositeWithTrainedAlgorithmicMedia",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestImage:
    """One image file of a manifest::

        for image in read_manifest(landed.manifest).images:
            print(image.number, image.file, image.sha256)  # 1 hero_1.png 9f86d0...

    :param number: counts from 1 in the API's order.
    :param file: its name, relative to the folder.
    :param sha256: of the file.
    :param downloaded_sha256: of the bytes as downloaded; it differs if metadata was embedded. None in
        manifests of 0.1.
    :param thumbnail: file name of the thumbnail, or None.
    """

    number: int
    file: str
    sha256: str
    size_bytes: int
    width: int
    height: int
    media_type: str
    thumbnail: str | None
    downloaded_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The facts about a landed generation. Instants are ISO 8601 UTC; None means "not known" (a rescued bare
    id)::

        manifest = read_manifest("s3://my_conn@bucket/campaign/hero.json")
        manifest.submission["prompt"], manifest.credits, manifest.missing_images  # ("a watch", 20, 0)

    :param submission: prompt, parameters, take and source hashes, as the ledger has them.
    :param made_by: dag_id, run_id, task_id, map_index, try_number of the try that paid.
    :param landed_by: ... that landed.
    :param record: the ledger record's file, relative to the folder.
    :param settled: False if the wait ended while missing images could still come; written only then.
    :param credits: the price calculated before the POST.
    :param billed_credits: the credits that the wallet lost, if measured.
    :param labels: of the task that paid; None without any.
    """

    schema_version: int = SCHEMA_VERSION
    seedream_task_id: str
    name: str
    kind: Kind | None
    endpoint: str | None
    submission: dict[str, Any] | None
    credits: int | None
    images_requested: int | None
    images: tuple[ManifestImage, ...]
    digital_source_type: str | None
    created_at: str | None
    landed_at: str
    made_by: dict[str, Any] | None
    landed_by: dict[str, Any]
    record: str | None
    model: str = contract.MODEL
    provider: str = f"airflow-provider-seedream/{__version__}"
    settled: bool = True
    billed_credits: int | None = None
    labels: dict[str, str] | None = None

    @property
    def missing_images(self) -> int:
        """How many images were asked for and did not come."""
        return max(0, (self.images_requested or 0) - len(self.images))

    @property
    def belongs_to(self) -> dict[str, Any] | None:
        """The ids of the task instance that landed the images; if a person landed them, of the one that
        paid.
        """
        by = self.landed_by
        # A rescue with `airflow seedream land` names its command and has no DAG.
        by_a_person = isinstance(by, dict) and by.get("command") is not None and by.get("dag_id") is None
        return self.made_by if by_a_person else by

    def to_json(self) -> bytes:
        """The file's bytes: indented JSON in UTF-8, as people read it, too."""
        # The count is not needed, and repeated on purpose: `from_json` compares it with the list.
        fields = {**asdict(self), "images_landed": len(self.images)}
        if self.settled:
            # Left out where it has its default: 0.2.0 reads the file strictly, and would refuse an unknown
            # field.
            del fields["settled"]
        for later in ("billed_credits", "labels"):
            if fields[later] is None:
                del fields[later]
        return (json.dumps(fields, indent=2, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """:raises ValueError: the bytes are not a manifest, have a newer schema, or their counts do not
        reconcile.
        """
        try:
            fields = json.loads(data)
        # A file in the user's folder may be anything: this one must be a ValueError as well.
        except RecursionError:
            raise ValueError("no manifest: nested too deeply") from None
        if not isinstance(fields, dict) or fields.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"no manifest of schema version {SCHEMA_VERSION}")
        landed = fields.pop("images_landed", None)
        try:
            images = tuple(ManifestImage(**image) for image in fields.pop("images"))
            manifest = cls(images=images, **fields)
        except (TypeError, KeyError) as error:
            raise ValueError(f"no manifest: {error}") from None
        # Its own count guards against a file that was edited or cut in a way that is still JSON.
        if landed != len(images):
            raise ValueError(f"it speaks of {landed} images and lists {len(images)}")
        return manifest


def build_manifest(
    generation: Generation,
    images: tuple[ManifestImage, ...],
    *,
    record: dict[str, Any] | None,
    record_file: str | None,
    landed_by: dict[str, Any],
    landed_at: str,
    images_requested: int | None = None,
    settled: bool = True,
) -> Manifest:
    """The manifest of a generation whose images are in the folder.

    :param record: the fields of the ledger record, if there is one.
    :param images_requested: for a bare id, which does not know how many images were asked for.
    :param settled: False if missing images may still come.
    :param images: as they were stored, in the API's order.
    :param record_file: its name, relative to the folder.
    :param landed_by: the task that lands, or a person's command.
    :param landed_at: ISO 8601 UTC.
    """
    kind = generation.kind
    return Manifest(
        seedream_task_id=generation.seedream_task_id,
        name=generation.name,
        kind=kind,
        endpoint=contract.SUBMIT_PATHS[kind] if kind else None,
        submission=record["submission"] if record else None,
        credits=generation.credits,
        # The request itself knows it better than the API's list of results, which may have fewer.
        images_requested=generation.num_images or images_requested,
        billed_credits=generation.billed_credits,
        images=images,
        digital_source_type=DIGITAL_SOURCE_TYPES[kind] if kind else None,
        created_at=generation.created_at,
        landed_at=landed_at,
        made_by=record["made_by"] if record else None,
        landed_by=landed_by,
        record=record_file,
        settled=settled,
        labels=record.get("labels") if record else None,
    )


def landed_generation(manifest: Manifest, folder_uri: str) -> LandedGeneration:
    """The part of a manifest that XCom carries: locations and hashes, without the prompt.

    :param folder_uri: the destination, without a slash at its end.
    :returns: a value whose dict stays below 4 KB, as Airflow keeps it in its database.
    """
    return LandedGeneration(
        seedream_task_id=manifest.seedream_task_id,
        manifest=f"{folder_uri}/{manifest_file(manifest.name)}",
        credits=manifest.credits,
        billed_credits=manifest.billed_credits,
        images=tuple(
            LandedImage(
                uri=f"{folder_uri}/{image.file}",
                sha256=image.sha256,
                size_bytes=image.size_bytes,
                width=image.width,
                height=image.height,
                media_type=image.media_type,
            )
            for image in manifest.images
        ),
    )


def read_manifest(uri: str) -> Manifest:
    """Read the manifest that an XCom names from storage.

    :raises ValueError: the file does not exist, or is not a manifest.
    :param uri: as in ``LandedGeneration.manifest``; its connection id says which credentials read it.
    """
    # Imported here: a DAG file that only names this module must not load storage.
    from airflow_provider_seedream.storage.folder import Folder

    folder, _, file = uri.rpartition("/")
    data = Folder(folder).read(file)
    if data is None:
        raise ValueError(f"{uri} is not there.")
    return Manifest.from_json(data)


def manifest_file(name: str) -> str:
    """The file of a manifest, relative to its folder: ``hero.json`` for the name ``hero``."""
    return f"{name}.json"
