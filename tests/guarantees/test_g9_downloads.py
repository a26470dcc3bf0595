"""G9: images are whole, verified, published once, the manifest last; whatever a download does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_seedream.emulator import Emulator
from tests.airflow.runner import Runner
from tests.guarantees.conftest import Build, Connect, images
from tests.guarantees.whole import assert_whole, read_files, served_bytes, the_manifest

THREE = {"num_images": 3, "name": "hero"}
MAX_IMAGE_BYTES = 1_000_000

# Each fault strikes every download of one image; five images of six are spoiled at once, each in another way.
Details = dict[str, Any]
SPOILED: dict[str, dict[str, tuple[str, Details]]] = {
    "broken off": {
        "truncated body": ("truncated", {}),
        "reset in the middle": ("chunked-reset", {}),
        "closed without an answer": ("drop", {}),
        "reset without an answer": ("reset", {}),
        "silence": ("stall", {"seconds": 1.0}),
    },
    "no image": {
        "a length that agrees with the cut": ("wrong-length", {}),
        "text called image/png": ("not-an-image", {}),
        "HTML with 200": ("html", {}),
        "JSON with 200": ("bad-json", {}),
        "empty with 200": ("empty", {}),
    },
    "refused": {
        "500": ("refuse", {"status": 500}),
        "429": ("refuse", {"status": 429}),
        "204": ("refuse", {"status": 204}),
        "404": ("refuse", {"status": 404}),
        "403 to every link": ("expired-link", {}),
    },
    "too much, or elsewhere": {
        "too large, and says so": ("huge", {"size_bytes": 5 * MAX_IMAGE_BYTES}),
        "too large, without saying so": ("endless", {"size_bytes": 5 * MAX_IMAGE_BYTES}),
        "redirected to a file": ("redirect", {"url": "file:///etc/hostname"}),
        "redirected without end": ("redirect", {"url": "?again"}),
        "redirected to a private address": ("redirect", {"url": "http://10.0.0.1/image.png"}),
    },
}
HEALED_IN_THE_SAME_TRY = ("truncated", "chunked-reset", "drop", "reset", "refuse", "expired-link")


@pytest.fixture
def tls() -> bool:
    """Users speak https, so this guarantee is shown over it."""
    return True


class TestNothingPartialIsEverVisible:
    @pytest.mark.parametrize("group", SPOILED)
    def test_a_spoiled_image_is_not_published_and_the_retry_lands_them_all(
        self, emulator: Emulator, connect: Connect, build: Build, folder: Path, deferrable: bool, group: str
    ) -> None:
        connect(emulator, request_timeout_seconds=0.4)
        landing = {"deferrable": deferrable, "retries": 1, "max_image_bytes": MAX_IMAGE_BYTES}
        chain = build(num_images=6, name="hero", land=landing)
        for index, (kind, details) in enumerate(SPOILED[group].values(), 1):
            emulator.inject(kind, endpoint="download", image_index=index, **details)
        runner = Runner()
        runner.run(chain.submit)

        first = runner.run(chain.land, until="up_for_retry")
        assert (first.state, type(first.error).__name__) == ("up_for_retry", "SeedreamLandingError")
        assert images(folder) == ["hero_1.png"]
        assert sorted(read_files(folder)) == ["hero_1.png", "hero_1.thumb.png"]
        assert_whole(read_files(folder))

        emulator.faults.clear()
        assert runner.run(chain.land).state == "success"
        assert images(folder) == [f"hero_{number}.png" for number in range(1, 7)]
        assert the_manifest(read_files(folder))["images_landed"] == 6
        assert (emulator.books.posts, emulator.books.credits_charged, emulator.books.violations) == (
            1,
            60,
            (),
        )

    @pytest.mark.parametrize("kind", ["jpeg", "webp"])
    def test_a_cut_image_of_another_kind_is_seen_although_its_length_agrees(
        self, emulator: Emulator, build: Build, folder: Path, kind: str
    ) -> None:
        chain = build(prompt=f"a watch [{kind}] [wrong-length*1]", name="hero", land={"retries": 1})
        runner = Runner()
        runner.run(chain.submit)
        assert runner.run(chain.land, until="up_for_retry").state == "up_for_retry"
        assert images(folder) == []
        assert runner.run(chain.land).state == "success"
        assert len(images(folder)) == 1
        the_manifest(read_files(folder))


class TestTroubleThatPassesCostsNoRetry:
    @pytest.mark.parametrize("kind", HEALED_IN_THE_SAME_TRY)
    def test_one_failed_download_is_repeated_within_the_try(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool, kind: str
    ) -> None:
        chain = build(submit=THREE, land={"deferrable": deferrable, "retries": 3})
        emulator.inject(kind, endpoint="download", image_index=1, times=1)
        runner = Runner()
        runner.run(chain.submit)
        outcome = runner.run(chain.land)
        assert (outcome.state, outcome.tries) == ("success", 1)
        assert emulator.books.downloads == 4
        assert the_manifest(read_files(folder))["images_landed"] == 3

    def test_slow_downloads_are_not_given_up(self, emulator: Emulator, build: Build, folder: Path) -> None:
        chain = build(prompt="a watch [drip:1]", name="hero")
        runner = Runner()
        runner.run(chain.submit)
        assert runner.run(chain.land).state == "success"
        assert emulator.books.downloads == 1


class TestAnExpiredLinkIsRefreshedByAStatusCall:
    def test_each_dead_link_costs_one_status_call_and_one_download(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        chain = build(submit=THREE, land={"deferrable": deferrable})
        runner = Runner()
        runner.run(chain.submit)
        for index in range(3):
            emulator.inject("expired-link", times=1, image_index=index)
        outcome = runner.run(chain.land)
        assert (outcome.state, outcome.tries) == ("success", 1)
        books = emulator.books
        refused = [
            request for request in books.requests if request.area == "download" and request.status == 403
        ]
        assert (len(refused), books.downloads) == (3, 6)
        last_poll = max(at for at, request in enumerate(books.requests) if request.area == "status")
        assert last_poll > min(at for at, request in enumerate(books.requests) if request.status == 403)
        assert the_manifest(read_files(folder))["images_landed"] == 3

    def test_links_that_died_while_nobody_polled_are_fresh_when_it_lands(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        chain = build(land={"deferrable": deferrable, "retries": 1})
        emulator.inject("drop", endpoint="download")
        runner = Runner()
        runner.run(chain.submit)
        assert runner.run(chain.land, until="up_for_retry").state == "up_for_retry"
        emulator.faults.clear()
        emulator.clock.advance(2 * 3600)  # a link lives for one hour
        assert runner.run(chain.land).state == "success"
        assert [request.status for request in emulator.books.requests if request.area == "download"][
            -1
        ] == 200


class TestWhatTheResultsMayLackOrBe:
    @pytest.mark.parametrize("word", ["asset-url-only", "asset-only"])
    def test_either_of_the_two_links_is_enough(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool, word: str
    ) -> None:
        chain = build(prompt=f"a watch [{word}]", submit=THREE, land={"deferrable": deferrable})
        runner = Runner()
        runner.run(chain.submit)
        assert runner.run(chain.land).state == "success"
        assert the_manifest(read_files(folder))["images_landed"] == 3

    @pytest.mark.parametrize(
        ("word", "extension"), [("other-type", "jpg"), ("jpeg", "jpg"), ("webp", "webp")]
    )
    def test_the_extension_and_the_media_type_follow_the_bytes(
        self, emulator: Emulator, build: Build, folder: Path, word: str, extension: str
    ) -> None:
        chain = build(prompt=f"a watch [{word}]", name="hero")
        runner = Runner()
        runner.run(chain.submit)
        outcome = runner.run(chain.land)
        assert images(folder) == [f"hero_1.{extension}"]
        assert (
            outcome.value["images"][0]["media_type"] == {"jpg": "image/jpeg", "webp": "image/webp"}[extension]
        )
        the_manifest(read_files(folder))

    @pytest.mark.parametrize(
        "word", ["gzip", "trailing:5000", "jpeg] [trailing:5000", "webp] [trailing:5000"]
    )
    def test_a_whole_image_lands_however_it_is_sent(
        self, emulator: Emulator, build: Build, folder: Path, word: str
    ) -> None:
        """Viewers show all of these; refused, they would be paid for and lost."""
        outcome = Runner().run(build(prompt=f"a watch [{word}]", name="hero", wait=True).submit)
        assert (outcome.state, outcome.tries, len(images(folder))) == ("success", 1, 1)
        assert_whole(read_files(folder))

    def test_a_result_without_a_thumbnail_is_whole(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        chain = build(prompt="a watch [no-thumbnail]", name="hero")
        runner = Runner()
        runner.run(chain.submit)
        assert runner.run(chain.land).state == "success"
        assert sorted(read_files(folder)) == ["hero.json", "hero_1.png"]

    @pytest.mark.parametrize("kind", ["truncated", "html", "wrong-length", "expired-link"])
    def test_a_broken_thumbnail_is_left_out_and_fails_nothing(
        self, emulator: Emulator, build: Build, folder: Path, kind: str
    ) -> None:
        chain = build(name="hero")
        emulator.inject(kind, endpoint="thumbnail")
        runner = Runner()
        runner.run(chain.submit)
        outcome = runner.run(chain.land)
        assert (outcome.state, outcome.tries) == ("success", 1)
        assert sorted(read_files(folder)) == ["hero.json", "hero_1.png"]
        assert the_manifest(read_files(folder))["images"][0]["thumbnail"] is None


class TestLandingIsDoneOnce:
    def test_a_clear_of_a_landed_task_downloads_nothing(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        chain = build(submit=THREE, land={"deferrable": deferrable})
        runner = Runner()
        runner.run_dag(chain.dag)
        before, files = emulator.books.downloads, read_files(folder)
        runner.clear(chain.land)
        again = runner.run(chain.land)
        assert (again.state, emulator.books.downloads, read_files(folder)) == ("success", before, files)

    def test_the_bytes_in_the_folder_are_those_the_server_serves(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        chain = build(submit=THREE)
        runner = Runner()
        task_id = runner.run(chain.submit).value["seedream_task_id"]
        runner.run(chain.land)
        assert [(folder / name).read_bytes() for name in images(folder)] == served_bytes(emulator, task_id)
