"""The storage origin: pre-signed links to images and thumbnails, on another port, knowing no API key.

A link that carries an ``Authorization`` header is refused with 400, as S3-style stores do, and goes into the
books.
"""

from __future__ import annotations

from aiohttp import web

from airflow_provider_seedream.emulator.delivery import deliver
from airflow_provider_seedream.emulator.errors import RefusalError
from airflow_provider_seedream.emulator.faults import Endpoint
from airflow_provider_seedream.emulator.links import object_name
from airflow_provider_seedream.emulator.mischief import instead_of_answer
from airflow_provider_seedream.emulator.pictures import Pictures
from airflow_provider_seedream.emulator.render import ImageFormat
from airflow_provider_seedream.emulator.world import World

_MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}


class Storage:
    """The handler of the storage origin.

    Example::

        web.Application().add_routes(Storage(world, pictures).routes())

    :param world: knows the generations, the faults and the links that are dead.
    :param pictures: draws the images.
    """

    def __init__(self, world: World, pictures: Pictures) -> None:
        self._world = world
        self._pictures = pictures

    def routes(self) -> list[web.AbstractRouteDef]:
        """Every path below the root; HEAD is not allowed, as pre-signed links are signed for GET."""
        return [web.get("/{object:.+}", self.get, allow_head=False)]

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Serve an image or a thumbnail, or act out a fault instead.

        :raises RefusalError: 400 for an ``Authorization`` header, 403 for a link that is not valid, 404 for
            an unknown object.
        :raises HangupError: a fault ends the connection without an answer, or in the middle of the body.
        """
        # As S3-style stores do beside a signed query.
        if self._world.settings.key in request.query_string:
            self._world.violated("key_at_storage", request.path)
        if "Authorization" in request.headers:
            self._world.violated("authorization_at_storage", request.path)
            message = "Only one auth mechanism allowed; a pre-signed link takes no Authorization header."
            raise RefusalError(400, "InvalidArgument", message, shape="text")
        name = object_name(request.path)
        generation = self._world.find(name.seedream_task_id) if name else None
        endpoint: Endpoint = "thumbnail" if name and name.thumbnail else "download"
        where = {"image_index": name.index if name else None}
        # A fault comes before the check of the link: an outage does not read links.
        fault = self._world.fault("answer", endpoint, generation, **where)
        if fault is not None and (answer := await instead_of_answer(fault, request)) is not None:
            return answer
        self._check_link(request)
        if name is None or generation is None or name.index >= generation.course.results:
            raise RefusalError(404, "NoSuchKey", "The specified key does not exist.", shape="text")
        fault = self._world.fault("image", endpoint, generation, **where)
        if fault is not None and fault.kind == "expired-link":
            # This very link stays dead: a client has to ask the status for a fresh one.
            self._world.dead_links.add(request.raw_path)
            self._check_link(request)
        other: ImageFormat | None = "JPEG" if fault is not None and fault.kind == "other-type" else None
        content = await self._pictures.get(self._world.settings, generation, name, other)
        return await deliver(
            request,
            fault,
            content,
            "image/png" if name.thumbnail else _MEDIA_TYPES[generation.course.image_format],
        )

    def _check_link(self, request: web.Request) -> None:
        """:raises RefusalError: 403: the link is unsigned, forged, expired or made dead by a fault."""
        problem = self._world.signer.check(request.raw_path, self._world.clock.now())
        if problem is None and request.raw_path in self._world.dead_links:
            problem = "expired"
        if problem is not None:
            raise RefusalError(403, "AccessDenied", f"The link is {problem}.", shape="text")
