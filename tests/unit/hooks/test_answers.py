"""Answers are classified by status, whatever body they have; the server's words are repeated without the
key.
"""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import pytest

from airflow_provider_seedream import exceptions as errors
from airflow_provider_seedream.hooks.answers import error_from_answer, failed_poll, read_json
from tests.unit.values import ERROR_CLASSES, KEY, NOW

DEEP = b"[" * 100_000
SHAPES: list[tuple[str, Any, str | None, str]] = [
    (
        "error_code",
        {"error_code": "validation_failed", "message": "bad size"},
        "validation_failed",
        "bad size",
    ),
    ("code_detail", {"code": "validation_failed", "detail": "bad size"}, "validation_failed", "bad size"),
    ("error_message", {"error": "validation_failed", "message": "bad size"}, "validation_failed", "bad size"),
    (
        "nested",
        {"error": {"code": "validation_failed", "message": "bad size"}},
        "validation_failed",
        "bad size",
    ),
    ("detail", {"detail": "bad size"}, None, "bad size"),
    (
        "upper case",
        {"Error": {"Code": "VALIDATION_FAILED", "Message": "bad size"}},
        "validation_failed",
        "bad size",
    ),
    (
        "list",
        {
            "detail": [
                {"loc": ["body", "image_size"], "msg": "bad", "type": "x"},
                {"loc": ["body"], "msg": "size", "type": "x"},
            ]
        },
        None,
        "body.image_size: bad; body: size",
    ),
    (
        "list without a place",
        {"detail": [{"loc": None, "msg": "bad"}, {"msg": "size"}]},
        None,
        "None: bad; None: size",
    ),
    ("list with a place as text", {"detail": [{"loc": "image_size", "msg": "bad"}]}, None, "image_size: bad"),
    ("fields", {"image_size": ["bad", "size"], "seed": ["x"]}, None, "image_size: bad; size; seed: x"),
    ("attested", {"error": "Bad size.", "error_code": "VALIDATION_FAILED"}, "validation_failed", "Bad size."),
    ("a sentence alone", {"error": "Insufficient credits"}, None, "Insufficient credits"),
    ("a code alone", {"error": "insufficient_credits"}, "insufficient_credits", ""),
    ("two sentences", {"error": "Bad Request", "message": "bad size"}, None, "Bad Request; bad size"),
    ("the sentence twice", {"error": "bad size", "detail": "bad size", "error_code": "X"}, "x", "bad size"),
    ("no sentence", {"error": True, "message": "bad size", "code": "X"}, "x", "bad size"),
    ("a list of sentences", {"error": ["bad", "size"], "error_code": "X"}, "x", "bad; size"),
    ("a code outside", {"error": {"message": "bad size"}, "error_code": "X"}, "x", "bad size"),
    ("nested in detail", {"detail": {"error": "Bad size.", "error_code": "X"}}, "x", "Bad size."),
    ("a list at the top", ["bad", "size"], None, "bad; size"),
    ("a string", "bad size", None, "bad size"),
    (
        "field details beside",
        {
            "error": "Bad.",
            "error_code": "X",
            "image_size": ["not a size"],
            "seed": "no number",
            "request_id": "r1",
        },
        "x",
        "Bad; image_size: not a size; seed: no number",
    ),
    (
        "details beside",
        {"error": "Bad.", "error_code": "X", "details": {"seed": ["x"]}},
        "x",
        "Bad; details: seed: x",
    ),
    (
        "details of a code",
        {"error_code": "X", "prompt": ["may not be blank"]},
        "x",
        "prompt: may not be blank",
    ),
    ("numbers as codes", {"code": 1001, "message": "bad size"}, None, "bad size"),
    ("nested strangely", {"error": {"code": ["x"], "message": {"en": "bad size"}}}, None, "en: bad size"),
    ("empty object", {}, None, ""),
    ("null", None, None, "null"),
    ("text", b"bad   size\n", None, "bad size"),
    ("html", b"<!DOCTYPE HTML><HTML><h1>bad size</h1></HTML>", None, ""),
    ("empty", b"", None, ""),
    ("no utf-8", b"\xff\xfe", None, "\ufffd\ufffd"),
    ("nested for ever", DEEP, None, "[" * 300),
]


def error(status: int, body: Any = b"", **headers: str) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_from_answer(
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
        data,
        key=KEY,
        now_epoch=NOW,
    )


class TestClasses:
    @pytest.mark.parametrize(("status", "cls"), ERROR_CLASSES.items())
    def test_the_status_decides(self, status: int, cls: type[errors.SeedreamError]) -> None:
        assert type(error(status)) is cls

    @pytest.mark.parametrize(("name", "body", "code", "message"), SHAPES, ids=[row[0] for row in SHAPES])
    def test_code_and_message_are_found_in_every_shape_and_change_no_class(
        self, name: str, body: Any, code: str | None, message: str
    ) -> None:
        for status, cls in ERROR_CLASSES.items():
            found = error(status, body)
            assert type(found) is cls
            if issubclass(cls, errors.SeedreamAPIError):
                assert (found.status_code, found.code) == (status, code)
                said = (
                    f"The API answered {status}"
                    + (f" {code}" if code else "")
                    + (f": {message}" if message else "")
                    + "."
                )
                assert found.message == said.replace("..", ".")

    def test_a_long_message_is_cut(self) -> None:
        assert len(error(400, {"message": "x" * 5000, "code": "y" * 5000}).message) < 420

    def test_links_in_a_message_lose_their_query(self) -> None:
        assert "s3cret" not in error(400, {"message": "see https://r2/x?sig=s3cret"}).message


class TestTheKeyIsNotRepeated:
    @pytest.mark.parametrize(
        "body",
        [
            {"message": f"Authorization 'Bearer {KEY}' is not valid"},
            {"error": f"bad key {KEY}"},
            {"code": KEY, "detail": "x"},
            {"message": "x" * (300 - len(KEY) // 2) + KEY},
            {"error_code": "x" * 50 + KEY},
            {KEY: ["x"]},
            {"detail": [{"loc": [KEY], "msg": KEY}]},
            f"plain {KEY}".encode(),
            json.dumps({"message": KEY}).replace("3", "\\u0033").encode(),
        ],
    )
    def test_the_key_is_not_repeated_wherever_it_stands(self, body: Any) -> None:
        found = error(401, body)
        told = f"{found} {found.code}".lower()
        assert KEY.lower() not in told
        assert KEY.lower()[:9] not in told


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("7", 7.0),
            (" 7 ", 7.0),
            ("0", 0.0),
            ("1.5", 1.5),
            ("999999999", 86_400.0),
            ("9" * 400, None),
            ("1e9", None),
            (formatdate(NOW + 90 * 86_400, usegmt=True), 86_400.0),
            (formatdate(NOW + 90, usegmt=True), 90.0),
            (formatdate(NOW - 90, usegmt=True), 0.0),
            ("Wed, 25 Feb 2026 12:01:30", 90.0),
            ("soon", None),
            ("-5", None),
            ("\u00b2", None),
            ("", None),
        ],
    )
    def test_seconds_and_dates_are_understood(self, value: str, seconds: float | None) -> None:
        assert error(429, Retry_After=value).retry_after_seconds == seconds

    @pytest.mark.parametrize("ahead", [-3600, -15, 15, 3600])
    def test_a_date_is_by_the_clock_of_the_answer_whatever_ours_says(self, ahead: float) -> None:
        sent, until = formatdate(NOW + ahead, usegmt=True), formatdate(NOW + ahead + 10, usegmt=True)
        assert error(429, Retry_After=until, Date=sent).retry_after_seconds == 10

    def test_an_answer_whose_date_is_none_is_by_our_clock(self) -> None:
        assert (
            error(429, Retry_After=formatdate(NOW + 90, usegmt=True), Date="today").retry_after_seconds == 90
        )

    def test_it_may_be_absent(self) -> None:
        assert error(429).retry_after_seconds is None

    @pytest.mark.parametrize(
        ("sentence", "seconds"),
        [
            ("Request was throttled. Expected available in 21 seconds.", 21.0),
            ("Request was throttled. Expected available in 1 second.", 1.0),
            ("Rate limit: 3 requests in 60 seconds. Try again in 49.5 s", 49.5),
            ("Please wait 2 minutes and retry.", 120.0),
            ("Retry after 1 hour", 3600.0),
            ("Expected available in 999999 hours.", 86_400.0),
            ("Too many requests: 3 in 60 seconds.", None),
            ("Expected available in 21 seconds of 2026.".replace("seconds", "moons"), None),
        ],
    )
    @pytest.mark.parametrize("header", [{}, {"Retry_After": "soon"}], ids=["without", "unreadable"])
    def test_the_seconds_of_a_429_are_else_read_from_its_sentence(
        self, sentence: str, seconds: float | None, header: dict[str, str]
    ) -> None:
        body = {"error": sentence, "error_code": "RATE_LIMITED"}
        assert error(429, body, **header).retry_after_seconds == seconds

    def test_the_header_comes_first_and_other_statuses_have_no_such_sentence(self) -> None:
        body = {"error": "Expected available in 21 seconds."}
        assert error(429, body, Retry_After="3").retry_after_seconds == 3
        assert error(503, body).retry_after_seconds is None

    def test_it_counts_for_every_status(self) -> None:
        assert error(503, Retry_After="7").retry_after_seconds == 7


class TestForTheDecisionCore:
    @pytest.mark.parametrize(
        ("status", "trouble"),
        [
            (400, "missing"),
            (404, "missing"),
            (401, "refused"),
            (403, "refused"),
            (429, "throttled"),
            (402, "transient"),
            (500, "transient"),
            (302, "transient"),
        ],
    )
    def test_a_status_calls_error_is_one_of_four_troubles(self, status: int, trouble: str) -> None:
        assert failed_poll(error(status)).trouble == trouble

    def test_the_server_may_say_when_to_come_back(self) -> None:
        assert failed_poll(error(429, Retry_After="7")).retry_after_seconds == 7


class TestJSON:
    @pytest.mark.parametrize("body", [b"", b"<html>", b'{"a": ', b"\xff", DEEP])
    def test_what_is_no_json_is_an_answer_outside_the_contract(self, body: bytes) -> None:
        with pytest.raises(errors.SeedreamResponseError):
            read_json(body, key="no-key")


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (rb'{"a": ["\ud83d", {"\u0000": "\ud83d\ude00"}]}', {"a": ["?", {"?": "\U0001f600"}]}),
        (b'"\xed\xa0\xbd"', "?"),  # half a pair as raw bytes, which json.loads takes
        (b'["\xc3\xa9", 1.5, null, true]', ["\xe9", 1.5, None, True]),
    ],
    ids=["escaped", "raw", "nothing of the kind"],
)
def test_what_neither_utf_8_nor_a_database_holds_is_a_question_mark(body: bytes, read: Any) -> None:
    assert read_json(body, key="no-key") == read
    said = error_from_answer(
        500, {}, rb'{"error": "cut \ud83d\u0000", "error_code": "X"}', key="no-key", now_epoch=0.0
    )
    assert "cut ??" in said.message
