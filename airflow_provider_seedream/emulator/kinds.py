"""The kinds of fault, one row each: where it strikes, what its argument is, what happens.

The same name works in ``Fault("...")``, at ``/__admin/faults`` and, in brackets, as a magic word in a prompt.
The table only names the faults: ``mischief`` acts them out on the API, ``delivery`` on downloads,
``generations`` on jobs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# early: before the body of a submission is read, so no prompt is known: these are injected, never spelled.
# answer: instead of, or before, the normal answer of any endpoint.
# accepted: after a submission was accepted and charged.
# job: how a generation goes, fixed when it is submitted. status: inside a status answer.
# image: the bytes of a download.
Stage = Literal["early", "answer", "accepted", "job", "status", "image"]
Argument = Literal["status", "seconds", "count", "size_bytes", "url"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of fault::

        KINDS["stall"] == Kind(
            stage="answer", argument="seconds", default=30, says="waits, then goes on as normal"
        )

    :param stage: the moment at which it strikes.
    :param argument: the field of a fault that a magic word's ``:value`` fills.
    :param default: of that argument.
    :param says: the effect, for people.

    Without an ``argument`` the kind takes none, and ``default`` is None.
    """

    stage: Stage
    says: str
    argument: Argument | None = None
    default: float | str | None = None


KINDS: dict[str, Kind] = {
    # Submissions: as a server or proxy that reads the headers alone; nothing is accepted or charged.
    "early-answer": Kind(
        stage="early",
        argument="status",
        default=413,
        says="answers this HTTP status before it reads the body, then closes",
    ),
    # Any endpoint; on a submission nothing is accepted or charged (but for a stall, which only delays).
    "refuse": Kind(stage="answer", argument="status", default=503, says="answers this HTTP status"),
    "rate-limited": Kind(
        stage="answer", argument="seconds", default=1, says="429, to come back after so many seconds"
    ),
    "moderation": Kind(stage="answer", says="400 validation_failed: the prompt was rejected by moderation"),
    "echo-key": Kind(stage="answer", says="401 whose message repeats the Authorization header it got"),
    "stall": Kind(stage="answer", argument="seconds", default=30, says="waits, then goes on as normal"),
    "interim": Kind(
        stage="answer",
        argument="status",
        default=103,
        says="a 1xx answer first (count: several), then as normal",
    ),
    "drop": Kind(stage="answer", says="closes the connection without an answer"),
    "reset": Kind(stage="answer", says="resets the connection without an answer"),
    "html": Kind(stage="answer", says="200 with an HTML page"),
    "bad-json": Kind(stage="answer", says="200 with JSON cut off in the middle"),
    "empty": Kind(stage="answer", says="200 with an empty body"),
    # Submissions only: accepted and charged before the trouble starts.
    "drop-after-accept": Kind(stage="accepted", says="accepted and charged, then the connection is closed"),
    "reset-after-accept": Kind(stage="accepted", says="accepted and charged, then the connection is reset"),
    "stall-after-accept": Kind(
        stage="accepted",
        argument="seconds",
        default=30,
        says="accepted and charged, answered only after so many seconds",
    ),
    "error-after-accept": Kind(
        stage="accepted",
        argument="status",
        default=502,
        says="accepted and charged, then answered this HTTP status",
    ),
    "no-id": Kind(stage="accepted", says="accepted and charged, then 200 without a task_id"),
    "html-after-accept": Kind(stage="accepted", says="accepted and charged, then 200 with an HTML page"),
    # The course of a generation.
    "fail": Kind(stage="job", says="FAILED with a reason; refunded"),
    "safety": Kind(stage="job", says="FAILED with a safety text; refunded"),
    "finished-failed": Kind(stage="job", says="FINISHED with a failure_reason and null assets"),
    "never-ends": Kind(stage="job", says="IN_PROGRESS for ever"),
    "takes": Kind(
        stage="job", argument="seconds", default=60, says="takes so many seconds, whatever the settings say"
    ),
    "late-assets": Kind(
        stage="job", argument="seconds", default=60, says="assets stay null so long after FINISHED"
    ),
    "null-assets": Kind(stage="job", says="assets stay null for ever"),
    "one-null": Kind(stage="job", says="the last asset stays null for ever"),
    "partial": Kind(stage="job", argument="count", default=1, says="only so many results"),
    "asset-url-only": Kind(stage="job", says="results carry asset_url, but no asset"),
    "asset-only": Kind(stage="job", says="results carry asset, but no asset_url"),
    "no-thumbnail": Kind(stage="job", says="results carry no thumbnail"),
    "jpeg": Kind(stage="job", says="the images are JPEG"),
    "webp": Kind(stage="job", says="the images are WEBP"),
    # Inside a status answer.
    "unknown-status": Kind(stage="status", says="a status word the contract does not know"),
    "no-progress": Kind(stage="status", says="an answer without progress"),
    "zero-progress": Kind(stage="status", says="an answer whose progress is 0"),
    "long-header": Kind(
        stage="status", argument="size_bytes", default=20_000, says="an answer with a header of so many bytes"
    ),
    "x-gzip": Kind(stage="status", says="an answer with Content-Encoding: x-gzip, as gzip was called before"),
    # The bytes of a download.
    "truncated": Kind(
        stage="image", says="the right Content-Length, half the bytes, then the connection is closed"
    ),
    "wrong-length": Kind(stage="image", says="half the image, with a Content-Length that matches the half"),
    "chunked-reset": Kind(stage="image", says="no Content-Length, half the bytes in chunks, then a reset"),
    "not-an-image": Kind(stage="image", says="text, called image/png"),
    "other-type": Kind(stage="image", says="JPEG bytes, called image/png"),
    "gzip": Kind(stage="image", says="the image with Content-Encoding: gzip, whatever was asked for"),
    "trailing": Kind(
        stage="image",
        argument="size_bytes",
        default=5000,
        says="the image, then so many bytes behind its end",
    ),
    "expired-link": Kind(stage="image", says="403, and this very link stays dead; a fresh link works"),
    "redirect": Kind(
        stage="image", argument="url", default="http://127.0.0.1:9/", says="302 to the URL given"
    ),
    "huge": Kind(stage="image", argument="size_bytes", default=100_000_000, says="an image of so many bytes"),
    "endless": Kind(
        stage="image",
        argument="size_bytes",
        default=100_000_000,
        says="so many bytes in chunks, no Content-Length",
    ),
    "drip": Kind(
        stage="image", argument="seconds", default=10, says="the image in small pieces over so many seconds"
    ),
}
