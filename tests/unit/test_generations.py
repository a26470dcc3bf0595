"""What the API says is read tolerantly; what we wrote ourselves is read strictly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_seedream.exceptions import SeedreamInputError, SeedreamResponseError
from airflow_provider_seedream.generations import (
    Accepted,
    Generation,
    GenerationStatus,
    LandedGeneration,
    LandedImage,
    ResultLinks,
    Wallet,
    without_queries,
)
from tests.unit.values import TASK_ID, generation

LANDED = LandedGeneration(
    seedream_task_id=TASK_ID,
    manifest="s3://bucket/hero.json",
    credits=60,
    images=tuple(
        LandedImage(
            uri=f"s3://bucket/{'n' * 150}_{number}.png",
            sha256="f" * 64,
            size_bytes=20_000_000,
            width=3072,
            height=3072,
            media_type="image/png",
        )
        for number in range(1, 7)
    ),
)


class TestAnAcceptedPost:
    def test_the_id_and_the_instant_are_read(self) -> None:
        accepted = Accepted.from_wire({"task_id": TASK_ID, "created_at": "2026-02-25T12:00:00Z", "new": 1})
        assert accepted == Accepted(seedream_task_id=TASK_ID, created_at="2026-02-25T12:00:00Z")

    @pytest.mark.parametrize("created_at", [None, 1_772_020_800, ["x"]])
    def test_the_instant_is_only_a_hint(self, created_at: Any) -> None:
        assert Accepted.from_wire({"task_id": TASK_ID, "created_at": created_at}).created_at is None

    @pytest.mark.parametrize(
        "body",
        [
            None,
            [],
            "ok",
            {},
            {"task_id": None},
            {"task_id": ""},
            {"task_id": 7},
            {"task_id": "../x"},
            {"id": "abc"},
        ],
    )
    def test_without_a_usable_id_nobody_knows_whether_it_was_paid(self, body: Any) -> None:
        with pytest.raises(SeedreamResponseError) as unknown:
            Accepted.from_wire(body)
        assert unknown.value.paid == "unknown"


class TestAStatusAnswer:
    def test_the_documented_answer_is_read(self) -> None:
        result = {
            "asset_url": "https://b/1",
            "asset": "https://a/1",
            "asset_type": "IMAGE",
            "thumbnail": "https://a/t",
            "metadata": None,
        }
        read = GenerationStatus.from_wire(
            {"status": "FINISHED", "progress": 100, "failure_reason": None, "results": [result]}
        )
        assert (read.status, read.progress, read.failure_reason, read.images_ready) == (
            "FINISHED",
            100,
            None,
            1,
        )
        assert read.results == (ResultLinks(image="https://a/1", thumbnail="https://a/t"),)

    @pytest.mark.parametrize(
        ("result", "image"),
        [
            ({"asset": None, "asset_url": "https://b/1"}, "https://b/1"),
            ({"asset_url": "HTTPS://b/1"}, "HTTPS://b/1"),
            ({"asset": "http://a/1"}, "http://a/1"),
            ({"asset": "file:///etc/passwd", "asset_url": None}, None),
            ({"asset": "ftp://a/1"}, None),
            ({"asset": {"url": "https://a"}}, None),
            ({"asset": ""}, None),
            ({}, None),
            (None, None),
            ("https://a/1", None),
        ],
    )
    def test_an_image_is_an_http_link_in_asset_or_else_in_asset_url(
        self, result: Any, image: str | None
    ) -> None:
        assert (
            GenerationStatus.from_wire({"status": "FINISHED", "results": [result]}).results[0].image == image
        )

    @pytest.mark.parametrize(
        "extra",
        [
            {},
            {"progress": "half"},
            {"progress": None},
            {"results": None},
            {"results": {}},
            {"failure_reason": 7},
        ],
    )
    def test_hints_may_be_missing_or_strange(self, extra: dict[str, Any]) -> None:
        read = GenerationStatus.from_wire({"status": "pending", **extra})
        assert (read.status, read.progress, read.results, read.failure_reason) == ("PENDING", None, (), None)

    @pytest.mark.parametrize("reason", ["", "  ", None])
    def test_an_empty_reason_is_none(self, reason: str | None) -> None:
        assert (
            GenerationStatus.from_wire({"status": "FINISHED", "failure_reason": reason}).failure_reason
            is None
        )

    @pytest.mark.parametrize(
        "body", [None, [], "FINISHED", {}, {"status": None}, {"status": 3}, {"detail": "x"}]
    )
    def test_something_that_is_no_status_is_an_error(self, body: Any) -> None:
        with pytest.raises(SeedreamResponseError):
            GenerationStatus.from_wire(body)

    def test_links_appear_in_no_repr(self) -> None:
        result = {"asset": "https://a/1?X-Amz-Signature=s3cret", "thumbnail": "https://a/t?sig=s3cret"}
        assert "https" not in repr(GenerationStatus.from_wire({"status": "FINISHED", "results": [result]}))

    def test_links_in_a_reason_lose_their_query(self) -> None:
        read = GenerationStatus.from_wire(
            {"status": "FAILED", "failure_reason": "cannot write HTTPS://r2/x?sig=s3cret now"}
        )
        assert read.failure_reason == "cannot write HTTPS://r2/x?... now"

    def test_text_without_links_stays_as_it_is(self) -> None:
        assert without_queries("why? because. http://a/b c?d") == "why? because. http://a/b c?d"


class TestTheWallet:
    @pytest.mark.parametrize(
        ("balance", "text"), [("150.00", "150.00"), (150, "150"), (1.5, "1.5"), ("0", "0")]
    )
    def test_the_balance_is_kept_as_the_api_writes_it(self, balance: Any, text: str) -> None:
        assert Wallet.from_wire({"balance": balance}) == Wallet(balance=text, rate_limit=None)

    @pytest.mark.parametrize(("limit", "read"), [(3, 3), (None, None), ("3", None), ([], None)])
    def test_the_rate_limit_may_be_absent(self, limit: Any, read: int | None) -> None:
        assert Wallet.from_wire({"balance": "1", "rate_limit": limit}).rate_limit == read

    @pytest.mark.parametrize("body", [None, {}, {"balance": None}, {"balance": []}, [1]])
    def test_no_balance_is_an_error(self, body: Any) -> None:
        with pytest.raises(SeedreamResponseError):
            Wallet.from_wire(body)


class TestWhatTravelsThroughXCom:
    @pytest.mark.parametrize(
        "value",
        [generation(), generation(kind=None, created_at=None, num_images=None, credits=None, record=None)],
    )
    def test_a_generation_survives_json(self, value: Generation) -> None:
        assert Generation.from_dict(json.loads(json.dumps(value.to_dict()))) == value

    def test_a_landed_generation_survives_json(self) -> None:
        assert LandedGeneration.from_dict(json.loads(json.dumps(LANDED.to_dict()))) == LANDED

    def test_six_images_with_long_names_stay_below_four_kilobytes(self) -> None:
        assert len(json.dumps(LANDED.to_dict())) < 4096

    def test_the_fields_are_the_documented_ones(self) -> None:
        documented = (
            "schema_version seedream_task_id kind created_at num_images credits destination name "
            "record image_size claim"
        )
        documented += " billed_credits"
        assert list(generation().to_dict()) == documented.split()
        assert sorted(LANDED.to_dict()) == sorted(
            ["schema_version", "seedream_task_id", "manifest", "images", "credits", "billed_credits"]
        )

    def test_unknown_keys_are_left_aside(self) -> None:
        assert Generation.from_dict({**generation().to_dict(), "added_later": 1}) == generation()

    @pytest.mark.parametrize(
        "field",
        [
            name
            for name in generation().to_dict()
            if name not in ("schema_version", "image_size", "claim", "billed_credits")
        ],
    )
    def test_a_missing_field_is_named(self, field: str) -> None:
        fields = {name: value for name, value in generation().to_dict().items() if name != field}
        with pytest.raises(SeedreamInputError, match=f"has no {field}"):
            Generation.from_dict(fields)

    def test_one_of_version_0_1_has_no_image_size(self) -> None:
        fields = {name: value for name, value in generation().to_dict().items() if name != "image_size"}
        assert Generation.from_dict(fields) == generation(image_size=None)

    @pytest.mark.parametrize("size", ["huge", 7, ["auto_2K"], {}])
    def test_an_image_size_that_is_none_does_not_keep_a_paid_generation_from_landing(self, size: Any) -> None:
        assert Generation.from_dict({**generation().to_dict(), "image_size": size}).image_size is None

    @pytest.mark.parametrize(
        "value",
        [
            None,
            "abc",
            [],
            {},
            {**generation().to_dict(), "schema_version": 2},
            {**generation().to_dict(), "schema_version": "1"},
        ],
    )
    def test_another_schema_is_refused(self, value: Any) -> None:
        with pytest.raises(SeedreamInputError, match="no Generation of schema version 1"):
            Generation.from_dict(value)

    @pytest.mark.parametrize("task_id", [None, "", "../x", 7])
    def test_an_id_that_is_none_is_refused(self, task_id: Any) -> None:
        with pytest.raises(SeedreamInputError, match="no id"):
            Generation.from_dict({**generation().to_dict(), "seedream_task_id": task_id})

    @pytest.mark.parametrize("images", [None, [1], [{"uri": "x"}], {}, "x"])
    def test_landed_images_of_another_shape_are_refused(self, images: Any) -> None:
        with pytest.raises(SeedreamInputError):
            LandedGeneration.from_dict({**LANDED.to_dict(), "images": images})

    def test_unknown_keys_of_a_landed_image_are_left_aside(self) -> None:
        images = [{**image, "added_later": 1} for image in LANDED.to_dict()["images"]]
        assert LandedGeneration.from_dict({**LANDED.to_dict(), "images": images}) == LANDED

    def test_it_can_be_landed_elsewhere(self) -> None:
        moved = generation().at(destination="gs://b/x", name="again")
        assert (moved.destination, moved.name, moved.record) == ("gs://b/x", "again", generation().record)
