"""The API of a night: the emulator's world, with its books, behind a session of requests that has no sockets.

The hook is the real one; its session gets a transport adapter that answers from here. Only the downloads are
ours, as the real ones look up hosts.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Self

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from airflow_provider_seedream.emulator.clock import Clock, iso
from airflow_provider_seedream.emulator.errors import RefusalError, error_body, throttled_text
from airflow_provider_seedream.emulator.generations import Generation
from airflow_provider_seedream.emulator.settings import Settings
from airflow_provider_seedream.emulator.validation import validate
from airflow_provider_seedream.emulator.world import World
from airflow_provider_seedream.exceptions import SeedreamLandingError
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.hooks.settings import SeedreamSettings
from airflow_provider_seedream.model.contract import Kind
from tests.simulation.night import Night
from tests.simulation.pace import Pace

HOST = "https://api.example"
IMAGES = "https://images.example"
SETTINGS = SeedreamSettings.from_connection(
    SimpleNamespace(  # type: ignore[arg-type]
        conn_id="sim", host=HOST, password="a-key-of-the-simulation", extra_dejson={}, schema=None, port=None
    )
)


def picture(seedream_task_id: str, index: int, *, thumbnail: bool = False, side: int = 1) -> bytes:
    """The bytes of an image: a whole PNG of one pixel, or of ``side`` x ``side``, that names its
    generation.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    named = f"Comment\0{seedream_task_id} {index} {thumbnail}".encode()
    pixels = zlib.compress(bytes(side * (side + 1)))
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            chunk(b"IHDR", head),
            chunk(b"tEXt", named),
            chunk(b"IDAT", pixels),
            chunk(b"IEND", b""),
        )
    )


class Api:
    """The account of one night.

    :param charged: called when a POST is accepted, before its answer leaves: the invariants look there.
    :param connection: with its prices and caps.
    """

    def __init__(
        self,
        night: Night,
        settings: Settings,
        charged: Callable[[Generation], None],
        connection: SeedreamSettings = SETTINGS,
    ) -> None:
        self.night = night
        self.connection = connection
        self.world = World(settings)
        self.world.clock = Clock(lambda: night.now)
        self.world.storage_url = IMAGES
        self._charged = charged
        self.looks: list[tuple[float, str]] = []  # at the wallet: when, and what it held
        self.told: set[str] = set()  # the ids whose answer has left for the client
        # Without a limit in the connection the wallet's counts, else 3 [doc]; a wallet of a night says 3, or
        # nothing.
        self.pace = Pace(night, connection.requests_per_minute or 3)

    def post(self, request: requests.PreparedRequest, timeout: Any) -> requests.Response:
        """One POST. From its first byte to its last the process is not stopped: the ledger looks just
        before.
        """
        night, weather, choices = self.night, self.night.weather, self.night.choices
        night.interlude("the connection to the API")
        if not night.is_calm and choices.happens(weather.unreachable):
            night.tell("POST: the API cannot be reached, nothing sent")
            raise requests.ConnectionError("connection refused")
        content = b"".join(request.body)  # type: ignore[arg-type]  # the claim is checked in here
        body = json.loads(content)
        kind: Kind = "edit" if "/edit/" in str(request.url) else "generate"
        night.interlude("the POST has arrived", stops=False)
        fault = 0 if night.is_calm else choices.below(7, chance=weather.drop)
        if fault == 1:
            night.hurt.add("drop")
            night.tell("POST: lost on its way, NOT charged")
            raise requests.ConnectionError("connection reset")
        if fault == 2:
            night.hurt.add("drop")
            night.tell("POST: 502 of a proxy, NOT charged")
            return _response(502, b"bad gateway")
        generation = self._accept(kind, body)
        if isinstance(generation, requests.Response):
            night.interlude("the answer to the POST", stops=False)
            return generation
        if fault:
            night.hurt.add("drop")
            return self._unanswered(fault, timeout)
        self.told.add(generation.seedream_task_id)
        night.interlude("the answer to the POST", stops=False)
        answer = {"task_id": generation.seedream_task_id, "created_at": iso(generation.created_at)}
        return _json(answer)

    def _accept(self, kind: Kind, body: dict[str, Any]) -> Generation | requests.Response:
        """Judge and charge it, as the emulator does: the rate limit, the rules, the wallet."""
        night, world, prompt = self.night, self.world, body["prompt"]
        self.pace.arrives()
        try:
            wait = world.rate_limit.ask(world.settings.rate_limit_per_minute, night.now)
            if wait == 0 and not night.is_calm and night.choices.happens(night.weather.limit):
                wait = 7.0
            if wait > 0:
                self.pace.refused(wait)
                raise RefusalError(429, "rate_limited", throttled_text(wait), retry_after_seconds=wait)
            generation = world.accept(validate(kind, body))
        except RefusalError as refusal:
            night.tell(f"POST {prompt!r}: {refusal.status}, NOT charged")
            answer = error_body("sentence", refusal.code, refusal.message)
            return _response(refusal.status, answer.content, _waits(refusal))
        night.tell(
            f"POST {prompt!r}: ACCEPTED AND CHARGED {generation.credits} credits, "
            f"{generation.seedream_task_id[:8]}"
        )
        night.charges += 1
        self._charged(generation)
        return generation

    def _unanswered(self, fault: int, timeout: Any) -> requests.Response:
        """The POST is charged, and its answer says too little."""
        night = self.night
        if fault == 3:
            night.tell("  (its answer is lost: reset)")
            raise requests.ConnectionError("connection reset")
        if fault == 4:
            night.tell("  (its answer comes too late)")
            night.current.pause(timeout[1])  # type: ignore[union-attr]
            raise requests.ReadTimeout("read timed out")
        if fault == 5:
            night.tell("  (its answer is a 502)")
            return _response(502, b"bad gateway")
        night.tell("  (its answer names no id)")
        return _json({"created_at": iso(night.now)})

    def get(self, request: requests.PreparedRequest) -> requests.Response:
        """A status or a wallet call."""
        path, night = str(request.url).removeprefix(HOST), self.night
        night.interlude(f"GET {path}")
        fault = 0 if night.is_calm else night.choices.below(4, chance=night.weather.error)
        if fault:
            night.tell(f"GET {path}: {('', '503', '429', 'reset')[fault]}")
        if fault == 3:
            raise requests.ConnectionError("connection reset")
        if fault:
            return _response(503 if fault == 1 else 429, b"{}")
        if "wallet" in path:
            settings = self.world.settings
            balance = f"{self.world.balance_credits()}.00"
            self.looks.append((night.now, balance))
            body: dict[str, Any] = {"balance": balance, "rate_limit": settings.rate_limit_per_minute}
        else:
            task_id = path.rstrip("/").split("/")[-2]
            found, expired = self.world.find(task_id), self.world.expired(task_id)
            if found is None and expired and self.world.settings.expired_status == 200:
                night.tell(f"GET status of {task_id[:8]}: FINISHED, its images are deleted")
                return _json(self.world.status_without_links(expired))
            if found is None:
                night.tell(f"GET status of {task_id[:8]}: 404")
                return _response(
                    404, error_body("sentence", "not_found", "Generation request not found.").content
                )
            body = self.world.status(found)
            night.tell(f"GET status of {task_id[:8]}: {body['status']}")
        answer = _json(body)
        night.interlude(f"the answer of GET {path}")
        return answer

    def fetch(self, link: str) -> bytes:
        """A download: the whole image, or half of it, or a link that is too old."""
        night = self.night
        path = link.removeprefix(IMAGES)
        problem = self.world.signer.check(path, night.now)
        fault = 0 if night.is_calm else night.choices.below(4, chance=night.weather.broken)
        if problem or fault == 1:
            night.tell("downloads an image: the link has expired")
            raise SeedreamLandingError("images.example answered 403 to a download.", stale_link=True)
        if fault == 2:
            night.tell("downloads an image: it breaks off")
            raise SeedreamLandingError("Download from images.example broke off (ReadTimeout).")
        task_id, index, is_thumb = _object(path)
        data = picture(task_id, index, thumbnail=is_thumb)
        night.tell(f"downloads image {index + 1} of {task_id[:8]}{', its end MISSING' if fault == 3 else ''}")
        return data[:-6] if fault == 3 else data


class SimHook(SeedreamHook):
    """The real hook, on the API of the night."""

    is_reached_by_aiohttp = False  # a night has no sockets, so the batch polls through this hook, too

    api: Api

    @cached_property
    def settings(self) -> SeedreamSettings:
        return self.api.connection

    def get_conn(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.adapters.clear()
        session.mount("https://", _Wire())
        session.auth = self._signed
        return session

    def downloads(self, *, max_bytes: int, hold: Callable[[int], None] | None = None) -> Any:
        return _Downloads()

    def _signed(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self.settings.headers)
        return request


class _Downloads:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def fetch(self, link: str) -> bytes:
        api = SimHook.api
        return api.night.act("downloads", lambda: api.fetch(link))


class _Wire(BaseAdapter):
    """The transport adapter: a request goes to the API of the night."""

    def send(
        self, request: requests.PreparedRequest, timeout: Any = None, **options: Any
    ) -> requests.Response:  # type: ignore[override]
        api = SimHook.api
        response = api.post(request, timeout) if request.method == "POST" else api.get(request)
        response.request, response.url = request, str(request.url)
        return response

    def close(self) -> None:
        pass


def _object(path: str) -> tuple[str, int, bool]:
    from airflow_provider_seedream.emulator.links import object_name

    name = object_name(path.partition("?")[0])
    if name is None:
        raise ValueError(path)
    return name.seedream_task_id, name.index, name.thumbnail


def _response(status: int, content: bytes, headers: dict[str, str] | None = None) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response._content = content
    response._content_consumed = True  # type: ignore[attr-defined]
    response.headers = CaseInsensitiveDict(headers or {})
    response.raw = SimpleNamespace(shutdown=lambda: None)
    return response


def _json(body: dict[str, Any]) -> requests.Response:
    return _response(200, json.dumps(body).encode())


def _waits(refusal: RefusalError) -> dict[str, str]:
    return (
        {}
        if refusal.retry_after_seconds is None
        else {"Retry-After": str(int(refusal.retry_after_seconds + 1))}
    )
