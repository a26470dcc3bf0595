"""The links of one generation, and the bytes behind them: the links of a known status first, then fresh ones
from the API.

A link is a credential: it stays in memory, and no log line or error here holds one.
"""

from airflow_provider_seedream.generations import Generation, GenerationStatus, ResultLinks
from airflow_provider_seedream.hooks.downloads import Downloads
from airflow_provider_seedream.hooks.seedream import SeedreamHook


class Links:
    """Links live for about an hour, so each is asked for when it is needed::

        links = Links(generation, hook, downloads, status)
        for result in links.ask():  # the links of `status`; from the second call on those of the API
            data = links.fetch(result.image)

    :param hook: asks the API for fresh links; a status call costs no credits.
    :param downloads: fetches the bytes, on a session without the key.
    :param status: one of this moment; None asks the API at once.
    """

    def __init__(
        self,
        generation: Generation,
        hook: SeedreamHook,
        downloads: Downloads,
        status: GenerationStatus | None = None,
    ) -> None:
        self._task_id = generation.seedream_task_id
        self._hook = hook
        self._downloads = downloads
        self._known = status
        # the largest number of results seen: a bare id does not know how many images were asked for
        self.most_results = 0

    def ask(self) -> tuple[ResultLinks, ...]:
        """The links of all results, in their order; a result that is not ready has none.

        :raises SeedreamAPIError: the API refused.
        :raises SeedreamConnectionError: no answer.
        """
        found = self._known or self._hook.get_generation(self._task_id)
        # Its links serve once: the next caller asks because one of them was dead.
        self._known = None
        self.most_results = max(self.most_results, len(found.results))
        return found.results

    def ask_for(self, number: int) -> ResultLinks | None:
        """The links of one result, counted from 1; None if it has no image."""
        found = self.ask()[number - 1 : number]
        return found[0] if found and found[0].image else None

    def fetch(self, link: str) -> bytes:
        """The whole body behind a link.

        :raises SeedreamLandingError: ``stale_link`` if a fresh link may help.
        """
        return self._downloads.fetch(link)
