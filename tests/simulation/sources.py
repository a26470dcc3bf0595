"""The source images of a night's edits: files in the store, one for each prompt, which a person may
replace in the night.
"""

from __future__ import annotations

from hashlib import sha256

from airflow_provider_seedream.emulator.generations import Generation
from tests.simulation.api import picture
from tests.simulation.night import Night, Violation
from tests.simulation.store import FOLDER, Store, Stored

SIDE_PIXELS = 16  # 14 are too few for a source


class Sources:
    """The sources by prompt, with all that each has been. Another source makes another request: its bytes
    are part of it.
    """

    def __init__(self, night: Night, store: Store) -> None:
        self._night = night
        self._store = store
        self._versions: dict[str, list[tuple[float, str]]] = {}  # since when a source has which sha256

    def add(self, prompt: str, *, destination: str) -> str:
        """Put a source into the store. Returns its URI, beside the destination."""
        self.replace(prompt)
        return destination.replace(FOLDER, f"{FOLDER}/{_file(prompt)}")

    def replace(self, prompt: str) -> None:
        """A person puts another image in its place. It is no act of the provider, and none of its files."""
        versions = self._versions.setdefault(prompt, [])
        data = picture(prompt, len(versions), side=SIDE_PIXELS)
        if versions:
            self._night.tell(f"A person REPLACES the source of {prompt}")
        versions.append((self._night.now, sha256(data).hexdigest()))
        self._store.objects[_file(prompt)] = Stored(data, int(self._night.now), f'"{len(versions)}"')

    def was_replaced(self, prompt: str) -> bool:
        """True for an edit that has become another request in the night."""
        return len(self._versions.get(prompt, [])) > 1

    def check(self, generation: Generation, *, began: float) -> None:
        """A try that succeeds has the images of the source that it has read.

        :param began: when the try began.
        """
        versions = self._versions.get(generation.submission.prompt)
        if versions is None:
            return
        ended = [at for at, _ in versions[1:]] + [float("inf")]
        since_then = {sha for (_, sha), until in zip(versions, ended, strict=True) if until >= began}
        if versions and not since_then.issuperset(source.sha256 for source in generation.submission.sources):
            raise Violation(
                f"source: a try returned {generation.seedream_task_id[:8]}, an edit of a source replaced "
                "before it began"
            )


def _file(prompt: str) -> str:
    return f"_sources/{prompt}.png"
