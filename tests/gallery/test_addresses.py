"""The address of a picture holds its hash: it leads to these bytes or to none, whatever the task lands
later.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_seedream.model.task_ref import TaskRef
from tests.gallery.conftest import WATCHES, Visitor
from tests.gallery.stage import Database, land, picture

NOBODY = dict.fromkeys(("dag_id", "run_id", "task_id", "map_index", "try_number"))


def hash_of(value: dict[str, Any], number: int = 1) -> str:
    return str(value["images"][number - 1]["sha256"])


def mapped(index: int, run_id: str = "manual__1") -> TaskRef:
    return TaskRef(dag_id="watches", run_id=run_id, task_id="land", map_index=index)


@pytest.mark.parametrize("page", ["thumb", "file", "image"])
def test_after_a_clear_with_another_prompt_the_old_address_is_gone_and_the_new_one_has_the_new_picture(
    page: Any, visitor: Visitor, database: Database, roots: Path
) -> None:
    old = land(roots / "watches", WATCHES, name="one", prompt="a red watch")
    database.returned(WATCHES, old)
    was = f"/{WATCHES.address(page, 1, sha256=hash_of(old))}"
    assert visitor("viewer").get(was).status_code == 200
    new = land(roots / "watches", WATCHES, name="two", prompt="a blue watch")
    database.returned(WATCHES, new)
    assert visitor("viewer").get(was).status_code == 404
    assert visitor("viewer").get(f"/{WATCHES.address(page, 1, sha256=hash_of(new))}").status_code == 200


def test_a_mapped_list_in_another_order_keeps_every_picture(
    visitor: Visitor, database: Database, roots: Path
) -> None:
    values = [
        land(roots / "watches", mapped(index), name=f"n{index}", prompt=f"watch {index}")
        for index in range(3)
    ]
    for index, value in enumerate(reversed(values)):
        database.returned(mapped(index), value)
    for index, value in enumerate(values):
        answer = visitor("viewer").get(f"/{mapped(index).address('file', 1, sha256=hash_of(value))}")
        assert answer.content == (roots / "watches" / f"n{index}_1.png").read_bytes()


def test_a_picture_outlives_the_xcom_of_the_task_that_landed_it(
    visitor: Visitor, database: Database, roots: Path
) -> None:
    first, second = mapped(-1, "manual__1"), mapped(-1, "manual__2")
    shared = land(roots / "watches", first)
    database.returned(second, shared)
    assert visitor("viewer").get(f"/{second.address('thumb', 1, sha256=hash_of(shared))}").status_code == 200


def test_an_approval_of_a_second_run_does_not_show_what_the_first_run_landed_later(
    visitor: Visitor, database: Database, roots: Path
) -> None:
    first, second = mapped(-1, "manual__1"), mapped(-1, "manual__2")
    shared, later = (
        land(roots / "watches", first, name="one"),
        land(roots / "watches", first, name="two", prompt="a later watch"),
    )
    database.returned(second, shared)
    database.returned(first, later)
    answer = visitor("viewer").get(f"/{second.address('file', 1, sha256=hash_of(shared))}")
    assert answer.content == (roots / "watches" / "one_1.png").read_bytes()


def test_the_hash_of_another_dags_image_leads_to_nothing(
    visitor: Visitor, database: Database, roots: Path
) -> None:
    shoes = TaskRef(dag_id="shoes", run_id="manual__1", task_id="land")
    secret = land(roots / "secret", shoes)
    database.returned(shoes, secret)
    database.returned(WATCHES, secret)
    assert (
        visitor("only-watches").get(f"/{WATCHES.address('file', 1, sha256=hash_of(secret))}").status_code
        == 404
    )


def test_a_file_that_was_replaced_is_not_sent_as_the_image_of_the_manifest(
    visitor: Visitor, landed: dict[str, Any], roots: Path
) -> None:
    (roots / "watches" / "hero_1.png").write_bytes(picture(16, 16, "another"))
    for sha256 in (hash_of(landed), None):
        assert visitor("viewer").get(f"/{WATCHES.address('file', 1, sha256=sha256)}").status_code == 404


@pytest.mark.parametrize("sha256", ["0" * 63, "0" * 65, "G" * 64, "..", "0" * 64])
def test_a_hash_that_is_none_of_the_tasks_images_gets_nothing(
    sha256: str, visitor: Visitor, landed: dict[str, Any]
) -> None:
    assert visitor("admin").get(f"/{WATCHES.address('file', 1, sha256=sha256)}").status_code == 404


def test_what_an_approval_of_0_2_points_to_is_shown_and_kept_by_no_browser(
    visitor: Visitor, landed: dict[str, Any]
) -> None:
    answer = visitor("viewer").get(f"/{WATCHES.address('thumb', 1)}")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "private, no-cache")


def test_what_a_person_landed_is_shown_as_the_images_of_the_task_that_paid(
    visitor: Visitor, database: Database, roots: Path
) -> None:
    rescued = land(roots / "watches", WATCHES, landed_by={**NOBODY, "command": "seedream land"})
    database.returned(WATCHES, rescued)
    assert (
        visitor("only-watches").get(f"/{WATCHES.address('file', 1, sha256=hash_of(rescued))}").status_code
        == 200
    )
    assert "<img" in visitor("only-watches").get("/seedream/").text


def test_a_thumbnail_that_was_replaced_is_a_404_that_says_so_as_a_picture(
    visitor: Visitor, landed: dict[str, Any], database: Database, roots: Path
) -> None:
    """Airflow shows the first text of an approval again after a clear:
    findings/airflow-approval-keeps-its-text.sh.
    """
    address = f"/{WATCHES.address('thumb', 1, sha256=hash_of(landed))}"
    database.returned(WATCHES, land(roots / "watches", WATCHES, name="other", prompt="another watch"))
    answer = visitor("viewer").get(address)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "image/svg+xml")
    assert "Approve nothing unseen" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert visitor(None).get(address).status_code == 401
    assert visitor("only-shoes").get(address).headers["content-type"].startswith("text/html")


class TestWhatABrowserHas:
    @pytest.mark.parametrize("sent", ["{etag}", "W/{etag}", '"x", {etag}', '"x", W/{etag}, "y"', "*"])
    @pytest.mark.parametrize("page", ["thumb", "file"])
    def test_it_is_not_sent_again_and_the_storage_is_not_read(
        self, page: Any, sent: str, visitor: Visitor, landed: dict[str, Any], roots: Path
    ) -> None:
        path = f"/{WATCHES.address(page, 1, sha256=hash_of(landed))}"
        first = visitor("viewer").get(path)
        assert first.headers["cache-control"] == "private, max-age=31536000, immutable"
        (roots / "watches").rename(roots / "gone")
        again = visitor("viewer").get(
            path, headers={"If-None-Match": sent.format(etag=first.headers["etag"])}
        )
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])

    @pytest.mark.parametrize("sent", ['"x"', "{hash}", '"{hash}x"', ""])
    def test_another_tag_is_no_match(self, sent: str, visitor: Visitor, landed: dict[str, Any]) -> None:
        sha256 = hash_of(landed)
        path = f"/{WATCHES.address('file', 1, sha256=sha256)}"
        assert (
            visitor("viewer").get(path, headers={"If-None-Match": sent.format(hash=sha256)}).status_code
            == 200
        )
