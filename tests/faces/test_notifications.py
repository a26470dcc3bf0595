"""A landed generation as a message: through Airflow's SMTP notifier to a real mail server, and the message
by itself.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_seedream.emulator import Emulator, Settings
from airflow_provider_seedream.generations import LandedGeneration
from airflow_provider_seedream.notifications import LandedMessage, landed_message
from tests.airflow.runner import Outcome, Runner
from tests.faces.mail_server import MailServer, mail_server
from tests.unit.values import png

EXAMPLE = Path(__file__).parents[2] / "example_dags" / "example_seedream_mail.py"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    with mail_server() as server:
        extra = {"disable_ssl": True, "disable_tls": True}
        connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": server.port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
        yield server


def landed(
    folder: Path, *, prompt: str = "a watch", count: int = 2, thumbnail: bytes | None = png(32, 32)
) -> LandedGeneration:
    """A generation that lies in a folder, as landing leaves it."""
    images = []
    for number in range(1, count + 1):
        if thumbnail:
            (folder / f"hero_{number}.thumb.png").write_bytes(thumbnail)
        images.append(
            {
                "number": number,
                "file": f"hero_{number}.png",
                "thumbnail": f"hero_{number}.thumb.png" if thumbnail else None,
            }
        )
    facts = {"sha256": "0" * 64, "size_bytes": 10, "width": 1024, "height": 576, "media_type": "image/png"}
    manifest = {
        "schema_version": 1,
        "seedream_task_id": "0b8c1f0e",
        "name": "hero",
        "kind": "generate",
        "endpoint": None,
        "submission": {"prompt": prompt},
        "credits": 10 * count,
        "images_requested": count,
        "images": [image | facts for image in images],
        "digital_source_type": None,
        "created_at": None,
        "landed_at": "2026-11-22T10:42:45Z",
        "made_by": None,
        "landed_by": {},
        "record": None,
        "images_landed": count,
    }
    (folder / "hero.json").write_text(json.dumps(manifest))
    return LandedGeneration.from_dict(
        {
            "schema_version": 1,
            "seedream_task_id": "0b8c1f0e",
            "manifest": f"file://{folder}/hero.json",
            "credits": 10 * count,
            "images": [facts | {"uri": f"file://{folder}/{image['file']}"} for image in images],
        }
    )


class TestTheExample:
    def test_the_mail_shows_every_thumbnail_in_its_text(
        self, server: MailServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Emulator(
            Settings.fast(seconds_per_image=(0.0, 0.0), late_assets_seconds=(0.0, 0.0))
        ) as emulator:
            connection = {
                **json.loads(emulator.airflow_connection_json()),
                "extra": {"destination": tmp_path.as_uri()},
            }
            monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(connection))
            outcomes = Runner().run_dag(dag())
        assert [one.state for one in outcomes.values() if isinstance(one, Outcome)] == ["success", "success"]
        [mail] = server.mails
        body, *pictures = mail.iter_parts()
        ids = [str(picture["Content-ID"]).strip("<>") for picture in pictures]
        assert (mail["To"], mail.get_content_type(), len(ids)) == ("art@example.com", "multipart/related", 2)
        assert re.findall(r'src="cid:([^"]+)"', body.get_content()) == ids
        assert ids == ["image_1.thumb.png", "image_2.thumb.png"]
        thumbnails = sorted(path.read_bytes() for path in tmp_path.glob("*.thumb.*"))
        assert sorted(picture.get_content() for picture in pictures) == thumbnails
        assert "a leather watch on a wet stone" in body.get_content()


class TestTheMessage:
    def test_it_names_every_image_and_the_manifest(self, tmp_path: Path) -> None:
        with landed_message(landed(tmp_path)) as message:
            assert message.subject == "Seedream: 2 images, hero"
            assert message.text.splitlines() == [
                "a watch",
                f"Image 1, 1024 x 576: file://{tmp_path}/hero_1.png",
                f"Image 2, 1024 x 576: file://{tmp_path}/hero_2.png",
                "20 credits.",
                f"Manifest: file://{tmp_path}/hero.json",
            ]

    def test_the_thumbnails_are_files_for_as_long_as_the_block_lasts(self, tmp_path: Path) -> None:
        with landed_message(landed(tmp_path)) as message:
            assert [Path(file).name for file in message.files] == ["image_1.thumb.png", "image_2.thumb.png"]
            assert all(Path(file).read_bytes() == png(32, 32) for file in message.files)
        assert not any(Path(file).exists() for file in message.files)

    def test_what_an_xcom_holds_will_do(self, tmp_path: Path) -> None:
        with landed_message(landed(tmp_path).to_dict()) as message:
            assert len(message.files) == 2

    def test_rows_that_a_person_chose_show_the_chosen_images_alone(self, tmp_path: Path) -> None:
        there = landed(tmp_path, count=3)
        row = {"row": 4, "sku": "W-100", "manifest": there.manifest, "images": [there.images[1].uri]}
        with landed_message([row]) as message:
            assert message.subject == "Seedream: 1 image, hero"
            assert [Path(file).name for file in message.files] == ["image_2.thumb.png"]
            assert re.findall(r"hero_\d\.png", message.text) == ["hero_2.png"]

    def test_a_prompt_is_text_and_no_markup(self, tmp_path: Path) -> None:
        with landed_message(landed(tmp_path, prompt='<img src=x onerror="alert(1)">')) as message:
            assert "<img src=x" not in message.html
            assert "&lt;img src=x" in message.html

    def test_thumbnails_that_do_not_fit_are_left_out(self, tmp_path: Path) -> None:
        thumbnail = png(32, 32, padding_bytes=1000)
        with landed_message(
            landed(tmp_path, count=3, thumbnail=thumbnail), max_bytes=2 * len(thumbnail)
        ) as message:
            assert len(message.files) == 2
            assert message.html.count("<img") == 2
            assert "hero_3.png" in message.html

    def test_images_without_thumbnails_are_named(self, tmp_path: Path) -> None:
        with landed_message(landed(tmp_path, thumbnail=None)) as message:
            assert (message.files, message.html.count("<img"), message.html.count("hero_")) == ([], 0, 2)

    @pytest.mark.parametrize("name", ["hero of the day", "h\u00e9ros", "\u6642\u8a08"])
    def test_a_picture_is_found_whatever_its_image_is_called(self, name: str, tmp_path: Path) -> None:
        there = landed(tmp_path)
        fields = json.loads((tmp_path / "hero.json").read_text())
        for image in fields["images"]:
            renamed = image["thumbnail"].replace("hero", name)
            (tmp_path / image["thumbnail"]).rename(tmp_path / renamed)
            image["thumbnail"] = renamed
        (tmp_path / "hero.json").write_text(json.dumps(fields))
        with landed_message(there) as message:
            assert re.findall(r'src="cid:([^"]+)"', message.html) == [
                Path(file).name for file in message.files
            ]
            assert all(re.fullmatch(r"[\w.]+", Path(file).name, re.ASCII) for file in message.files)

    def test_images_that_came_after_the_xcom_was_written_are_told(self, tmp_path: Path) -> None:
        before = landed(tmp_path, count=1)
        landed(tmp_path, count=2)
        with landed_message(before) as message:
            assert message.subject == "Seedream: 2 images, hero"
            assert message.text.count("hero_") == 2

    def test_images_that_did_not_come_are_said(self, tmp_path: Path) -> None:
        there = landed(tmp_path, count=3)
        fields = json.loads((tmp_path / "hero.json").read_text()) | {"images_requested": 4}
        (tmp_path / "hero.json").write_text(json.dumps(fields))
        with landed_message(there) as message:
            assert "Only 3 of 4 images came." in message.text.splitlines()
            assert "Only 3 of 4 images came." in message.html

    def test_the_list_of_a_mapped_task_is_one_message(self, tmp_path: Path) -> None:
        several = []
        for number in range(5):
            (tmp_path / str(number)).mkdir()
            several.append(landed(tmp_path / str(number), prompt=f"watch {number}").to_dict())
        with landed_message(several) as message:
            assert message.subject == "Seedream: 10 images, hero, hero, hero, ..."
            assert len({Path(file).name for file in message.files}) == 10
            assert re.findall(r'src="cid:([^"]+)"', message.html) == [
                Path(file).name for file in message.files
            ]
            assert [line for line in message.text.splitlines() if line.startswith("watch")] == [
                f"watch {n}" for n in range(5)
            ]

    def test_an_empty_list_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="list of landed generations is empty"), landed_message([]):
            pass

    def test_slack_calls_nobody_whatever_is_in_a_prompt(self, tmp_path: Path) -> None:
        with landed_message(landed(tmp_path, prompt="<!channel> a & b")) as message:
            assert message.slack.splitlines()[0] == "&lt;!channel&gt; a &amp; b"
            assert message.text.splitlines()[0] == "<!channel> a & b"

    def test_a_manifest_that_is_gone_is_an_error(self, tmp_path: Path) -> None:
        there = landed(tmp_path)
        (tmp_path / "hero.json").unlink()
        with pytest.raises(ValueError, match="is not there"), landed_message(there):
            pass


def dag() -> Any:
    """The DAG of the example."""
    spec = importlib.util.spec_from_file_location("example_seedream_mail", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.submit.dag


class TestTheDocs:
    def test_every_field_is_told(self) -> None:
        page = (EXAMPLE.parents[1] / "docs" / "notifications.md").read_text()
        assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [
            field.name for field in dataclasses.fields(LandedMessage)
        ]
