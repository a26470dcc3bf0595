"""From links to files: every image in threads, the manifest last.

Two landings of the same generation at once write the same files, so they do no harm. Never imports the
ledger.
"""

from airflow_provider_seedream.exceptions import SeedreamLandingError
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.landing.errors import storing
from airflow_provider_seedream.landing.images import ImageLander
from airflow_provider_seedream.landing.links import Links
from airflow_provider_seedream.manifest import Manifest, ManifestImage, manifest_file
from airflow_provider_seedream.model import threads
from airflow_provider_seedream.storage.folder import Folder

PARALLEL_IMAGES = 3  # all six of a batch in two rounds; each holds one whole image in memory


def find_landed(folder: Folder, generation: Generation) -> Manifest | None:
    """The manifest of a generation whose files are all stored; None if it must be landed (again).

    :raises SeedreamLandingError: the name belongs to another generation, or the storage does not answer.
    """
    with storing(f"Cannot read {folder.base}", generation):
        _, manifest = _read_manifest(folder, generation)
        # A person may have deleted or replaced a file since. Sizes cost one small request each; hashes would
        # read the images.
        if manifest and all(folder.size_bytes(image.file) == image.size_bytes for image in manifest.images):
            return manifest
    return None


def land_images(
    folder: Folder, generation: Generation, links: Links, *, embed_metadata: bool, without_dead_links: bool
) -> tuple[ManifestImage, ...]:
    """Store every image that has a link, up to three at a time.

    :param embed_metadata: say in the files that AI made them.
    :param without_dead_links: leave out images whose fresh links are dead as well, if another image lands:
        they are lost.
    :returns: the entries for the manifest, in the order of the API's answer; a result without a link is left
        out.
    :raises SeedreamLandingError: the images published so far stay; a retry completes them.
    """
    found = [(number, result) for number, result in enumerate(links.ask(), 1) if result.image]
    if not found:
        raise SeedreamLandingError(
            "The generation has no image to land.", seedream_task_id=generation.seedream_task_id
        )
    lander = ImageLander(folder, generation, links, embed_metadata=embed_metadata)
    with threads.pool(PARALLEL_IMAGES, "seedream-landing") as pool:
        futures = [pool.submit(lander.land, number, result) for number, result in found]
    images: list[ManifestImage] = []
    dead: SeedreamLandingError | None = None
    for future in futures:  # all have ended: each image that could be stored is stored, also if others failed
        try:
            images.append(future.result())
        except SeedreamLandingError as error:
            if not (without_dead_links and error.stale_link):
                raise
            dead = error
    if dead and not images:
        raise dead
    return tuple(images)


def publish_manifest(folder: Folder, generation: Generation, manifest: Manifest) -> Manifest:
    """Create the manifest, or improve on one that lists fewer images or was not settled.

    :returns: the manifest that stands then: this one, or that of another landing which is as good.
    :raises SeedreamLandingError: the images are stored, and a retry writes the manifest.
    """
    file = manifest_file(manifest.name)
    with storing(f"The images are stored, but {folder.uri(file)} could not be written", generation):
        if folder.create(file, manifest.to_json()):
            return manifest
        while True:
            data, there = _read_manifest(folder, generation)
            if there and (len(there.images), there.settled) >= (len(manifest.images), manifest.settled):
                return there  # another landing's, as good as this one
            # Another landing may write in between, and a manifest with fewer images must not win: replace
            # only the bytes just read.
            is_written = (
                folder.replace_if(file, data, manifest.to_json())
                if data
                else folder.create(file, manifest.to_json())
            )
            if is_written:
                return manifest


def _read_manifest(folder: Folder, generation: Generation) -> tuple[bytes | None, Manifest | None]:
    """The bytes of the manifest, and the manifest; two None without one.

    :raises SeedreamLandingError: the file belongs to another generation, or is not a manifest.
    """
    file = manifest_file(generation.name)
    data = folder.read(file)
    try:
        manifest = Manifest.from_json(data) if data is not None else None
    except ValueError as error:
        problem = f"{folder.uri(file)} exists and is not a manifest ({error})"
    else:
        if manifest is None or manifest.seedream_task_id == generation.seedream_task_id:
            return data, manifest
        problem = f"{folder.uri(file)} belongs to the generation {manifest.seedream_task_id}"
    raise SeedreamLandingError(
        f"{problem}, so this name is taken. Land the images again with "
        f'SeedreamGenerationSensor(generation="{generation.seedream_task_id}", name="<new name>").',
        seedream_task_id=generation.seedream_task_id,
    )
