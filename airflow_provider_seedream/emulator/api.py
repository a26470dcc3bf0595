"""The API origin: generate, edit, status, wallet. The endpoints that the vendor documents, and nothing beyond
them.

Each handler passes the same gate (fault, key, rate limit) and then acts on the ``World``. Never imports the
provider's hook, so that a mistake of the client is not repeated here.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

from aiohttp import web

from airflow_provider_seedream.emulator import facts
from airflow_provider_seedream.emulator.bookkeeping import answer_and_close, refused
from airflow_provider_seedream.emulator.clock import iso
from airflow_provider_seedream.emulator.errors import RefusalError, throttled_text
from airflow_provider_seedream.emulator.faults import Endpoint
from airflow_provider_seedream.emulator.generations import Generation
from airflow_provider_seedream.emulator.mischief import (
    after_accept,
    early_refusal,
    instead_of_answer,
    status_answer,
)
from airflow_provider_seedream.emulator.validation import InvalidFieldError, Submission, validate
from airflow_provider_seedream.emulator.world import World

_LARGE_BODY_BYTES = 100_000  # above it, reading and checking would block the event loop


class Api:
    """The handlers of the API origin::

        web.Application().add_routes(Api(world).routes())

    Each request passes the same gates in the same order: latency, key, faults, rate limit, rules, wallet.

    :param world: the account on which the handlers act.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._answers = 0

    def routes(self) -> list[web.AbstractRouteDef]:
        """The four endpoints of the vendor. Their paths end in a slash, which is part of them."""
        return [
            web.post(facts.GENERATE_PATH, self.generate),
            web.post(facts.EDIT_PATH, self.edit),
            web.get(facts.STATUS_PATH, self.status, allow_head=False),
            web.get(facts.WALLET_PATH, self.wallet, allow_head=False),
        ]

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """``POST .../generate/``: one image or more from a prompt.

        :returns: ``{"task_id": ..., "created_at": ...}``; the images come later, through the status.
        :raises RefusalError: a gate refuses the request; nothing is charged.
        """
        return await self._submit(request, "generate")

    async def edit(self, request: web.Request) -> web.StreamResponse:
        """``POST .../edit/``: one image or more from a prompt and 1 to 10 source images.

        :returns: as :meth:`generate`.
        :raises RefusalError: a gate refuses the request; nothing is charged.
        """
        return await self._submit(request, "edit")

    async def _submit(self, request: web.Request, kind: facts.SubmissionKind) -> web.StreamResponse:
        """Judge a submission, charge it and answer with its id.

        The rate limit is asked before the rules: a refused field uses up a turn. A fault may strike before
        the body is read, instead of an answer, or after the charge.

        :param kind: chooses the rules; price and answer are the same for both.
        :raises RefusalError: a gate refuses the request; nothing is charged.
        :raises HangupError: a fault ends the connection, before or after the charge.
        """
        await self._enter(request)
        early = self._world.fault("early", kind)
        if early is not None:
            return await answer_and_close(request, refused(self._world, early_refusal(early)))
        limit = self._world.settings.max_body_bytes
        # The header first: a body that is too large need not be read to be refused.
        if (request.content_length or 0) > limit:
            raise RefusalError(413, "request_too_large", f"The body may have at most {limit} bytes.")
        content = await request.read()
        if len(content) > limit:
            raise RefusalError(413, "request_too_large", f"The body may have at most {limit} bytes.")
        body = await self._json(request, content)
        prompt = str(body.get("prompt", "")) if isinstance(body, dict) else ""
        # Before the faults are asked: a magic word in this prompt may strike this very request.
        self._world.learn(prompt)
        fault = self._world.fault("answer", kind, prompt=prompt)
        if fault is not None and (answer := await instead_of_answer(fault, request)) is not None:
            return answer
        self._limit()
        submission = await self._validated(kind, body, len(content))
        generation = self._world.accept(submission)
        # Charged already: from here on an error of the connection is an unknown outcome for the client.
        fault = self._world.fault("accepted", generation.submission.kind, generation)
        if fault is not None and (answer := await after_accept(fault, generation)) is not None:
            return answer
        body = {"task_id": generation.seedream_task_id, "created_at": iso(generation.created_at)}
        return web.json_response(self._with_quirks(body), status=self._world.settings.submit_status)

    async def status(self, request: web.Request) -> web.StreamResponse:
        """``GET .../status/``: the state of a generation, with fresh links once its images are ready.

        It counts toward the rate limit only with ``status_counts``.

        :raises RefusalError: 404 for an unknown id; ``expired_status`` for one whose results are deleted.
        """
        await self._enter(request)
        task_id = request.match_info["seedream_task_id"]
        generation = self._world.find(task_id)
        answer = await self._disturbed(request, "status", generation, task_id)
        if answer is not None:
            return answer
        if self._world.settings.status_counts:
            self._limit()
        if generation is None:
            return self._gone(task_id)
        body = self._with_quirks(self._world.status(generation))
        return status_answer(self._world.fault("status", "status", generation), body)

    def _gone(self, seedream_task_id: str) -> web.Response:
        """The answer about an unknown id, or about a generation whose results are deleted.

        :raises RefusalError: 404, or the status that the settings choose for expired results.
        """
        expired = self._world.expired(seedream_task_id)
        status = self._world.settings.expired_status if expired else 404
        if expired and status == 200:
            return web.json_response(self._with_quirks(self._world.status_without_links(expired)))
        raise RefusalError(status, "not_found", "Generation request not found.")

    async def wallet(self, request: web.Request) -> web.StreamResponse:
        """``GET .../wallet/``: the balance as text, and the rate limit if the settings show it.

        It never counts toward the rate limit.
        """
        await self._enter(request)
        # No turn of the rate limit is taken here: reports contest it for status calls alone.
        answer = await self._disturbed(request, "wallet", None, None)
        if answer is not None:
            return answer
        body: dict[str, Any] = {"balance": f"{self._world.balance_credits()}.00"}
        settings = self._world.settings
        if settings.wallet_shows_rate_limit and settings.rate_limit_per_minute:
            body["rate_limit"] = settings.rate_limit_per_minute
        return web.json_response(body)

    async def _enter(self, request: web.Request) -> None:
        """Wait for the latency, then check the key. One that is missing or stands in the URL is noted as a
        violation.

        :raises RefusalError: 401, with a code of its own for an expired and a revoked key.
        """
        await asyncio.sleep(random.uniform(*self._world.settings.latency_seconds))
        settings = self._world.settings
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not key:
            self._world.violated("no_bearer", f"{request.method} {request.path}")
        if settings.key in request.query_string:
            self._world.violated("key_in_url", f"{request.method} {request.path}")
        if scheme == "Bearer" and key == settings.key:
            return
        # Clients must treat all three as a dead key: the code differs, the meaning does not.
        if key and key == settings.expired_key:
            raise RefusalError(401, "api_key_expired", "The API key has expired.")
        if key and key == settings.revoked_key:
            raise RefusalError(401, "api_key_revoked", "The API key has been revoked.")
        raise RefusalError(401, "invalid_api_key", "The API key is missing or not valid.")

    def _limit(self) -> None:
        """Count this request.

        :raises RefusalError: 429: the limit of the last minute is used up.
        """
        wait = self._world.rate_limit.ask(self._world.settings.rate_limit_per_minute, self._world.clock.now())
        if wait > 0:
            raise RefusalError(429, "rate_limited", throttled_text(wait), retry_after_seconds=wait)

    async def _disturbed(
        self, request: web.Request, endpoint: Endpoint, generation: Generation | None, task_id: str | None
    ) -> web.StreamResponse | None:
        """The answer of a fault that strikes instead of a handler's own; None to go on as normal.

        :param generation: of the id in the path; None if it is unknown or its results are deleted.
        :param task_id: the id in the path; None for the wallet.
        """
        # An unknown id can be meant by a fault as well; a known generation brings its own id.
        where = {} if generation else {"seedream_task_id": task_id}
        fault = self._world.fault("answer", endpoint, generation, **where)
        return None if fault is None else await instead_of_answer(fault, request)

    async def _json(self, request: web.Request, content: bytes) -> Any:
        """The body as JSON, whatever its Content-Type. A wrong Content-Type is noted as a violation.

        :raises RefusalError: 400: it cannot be parsed.
        """
        if request.content_type != "application/json":
            self._world.violated("not_json", f"Content-Type {request.content_type}")
        try:
            return await _off_loop_if(len(content), json.loads, content)
        except ValueError:
            self._world.violated("not_json", "the body cannot be parsed")
            raise RefusalError(400, "validation_failed", "The body is not JSON.") from None

    async def _validated(self, kind: facts.SubmissionKind, body: Any, size_bytes: int) -> Submission:
        """The submission, with violations noted.

        :raises RefusalError: 400 or 422: a field breaks a rule, or is unknown where the settings refuse that.
        """
        try:
            submission: Submission = await _off_loop_if(size_bytes, validate, kind, body)
        except InvalidFieldError as invalid:
            self._world.violated("invalid_request", str(invalid))
            raise self._invalid(str(invalid), invalid.field) from None
        for field in submission.unknown_fields:
            self._world.violated("unknown_field", field)
        if submission.unknown_fields and self._world.settings.unknown_fields == "refuse":
            field = submission.unknown_fields[0]
            raise self._invalid(f"{field}: this field is not known", field)
        return submission

    def _invalid(self, message: str, field: str) -> RefusalError:
        """The refusal of a field, with 400 or 422 as the settings choose."""
        return RefusalError(self._world.settings.validation_status, "validation_failed", message, field=field)

    def _with_quirks(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body with an undocumented key now and then, or without progress: clients must bear both."""
        self._answers += 1
        if not self._world.settings.quirks:
            return body
        if self._answers % 3 == 0:
            body = {**body, "request_id": f"req_{self._answers:08d}", "queue": {"position": None}}
        return {key: value for key, value in body.items() if key != "progress" or self._answers % 4}


async def _off_loop_if(size_bytes: int, work: Any, *arguments: Any) -> Any:
    """Call a function, in a thread if it works on a large body: decoding ten images would hold up all
    other answers.
    """
    if size_bytes < _LARGE_BODY_BYTES:
        return work(*arguments)
    return await asyncio.to_thread(work, *arguments)
