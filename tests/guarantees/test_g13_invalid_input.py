"""G13: invalid input costs nothing: no request leaves, the error names the field and the rule, retries are
not wasted.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, literal
from PIL import Image

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.operators.seedream import SeedreamEditOperator, SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import Build

ONE_TO_SIX = "num_images must be an integer from 1 to 6"
SEED = "seed must be an integer of at least 0"
SIZES = "image_size must be one of square_hd, square, "
TRUE_OR_FALSE = "enable_safety_checker must be true or false"
TAKE = "take must be an integer of at least 1"
NAME = "name must be a bare file name of 1 to 150"
PLAIN_URI = "destination must be a plain storage URI"

# Values as a DAG file spells them.
STATIC: list[tuple[dict[str, Any], str]] = [
    *[({"num_images": value}, ONE_TO_SIX) for value in (0, 7, -1, True, False, 1.5, "2x", "", None, [2])],
    *[({"seed": value}, SEED) for value in (-1, True, 1.5, "-1", "x", [1])],
    *[({"image_size": value}, SIZES) for value in ("huge", "Square", "auto_2k", "", None, ["square"])],
    *[({"prompt": value}, "prompt must not be blank") for value in ("", " ", "\n\t")],
    *[({"prompt": value}, "prompt must be a string") for value in (None, 5, ["a watch"])],
    ({"prompt": "half a pair: \ud83d"}, "prompt must be"),
    *[({"enable_safety_checker": value}, TRUE_OR_FALSE) for value in ("maybe", None, 1, 0)],
    *[({"take": value}, TAKE) for value in (0, -1, "x", None, True)],
    *[
        ({"name": value}, NAME)
        for value in ("../up", "a/b", "", ".hidden", " a", "a ", "x" * 151, "画" * 60, 5)
    ],
    ({"destination": "relative/folder"}, "destination must be absolute"),
    ({"destination": " "}, "destination must be a storage URI"),
    *[
        ({"destination": value}, PLAIN_URI)
        for value in ("https://host/x", "s3://b/../c", "s3://b/x?versionId=1")
    ],
    ({"on_unknown_submit": "again"}, "on_unknown_submit must be 'fail' or 'resubmit'"),
    ({"on_partial": "shrug"}, "on_partial must be 'fail' or 'accept'"),
    *[({"timeout": value}, "timeout must be") for value in (-1, "1h", None, float("nan"), float("inf"))],
    *[({"poke_interval": value}, "poke_interval must be") for value in (-1, "10", float("nan"))],
    *[({"max_image_bytes": value}, "max_image_bytes must be") for value in (0, -5, "64MB", None, True)],
]
# What templates render to: always text.
RENDERED: list[tuple[dict[str, str], str]] = [
    *[({"num_images": text}, ONE_TO_SIX) for text in ("0", "7", "True", "2x", "1.5", "None", "")],
    *[({"seed": text}, SEED) for text in ("-1", "1.5", "x")],
    *[({"image_size": text}, SIZES) for text in ("huge", "None", "")],
    *[({"prompt": text}, "prompt must not be blank") for text in ("", "  ")],
    ({"enable_safety_checker": "maybe"}, TRUE_OR_FALSE),
    ({"take": "0"}, TAKE),
    *[({"name": text}, NAME) for text in ("../up", "a/b")],
    ({"name": ""}, "name must not be blank: its template gave nothing"),
    ({"destination": "relative/folder"}, "destination must be absolute"),
    *[
        ({field: "a {{ ds }}"}, f"{field} still holds a template after rendering")
        for field in ("prompt", "name", "num_images")
    ],
    ({"destination": "s3://bucket/{% if %}"}, "destination still holds a template after rendering"),
    ({"seedream_conn_id": "{{ conn }}"}, "seedream_conn_id still holds a template after rendering"),
]


def picture(width: int, height: int, kind: str = "PNG") -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(target, kind)
    return target.getvalue()


def data_uri(content: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


BAD_SOURCES: dict[str, tuple[bytes, str]] = {
    "text": (b"not an image at all", "is not a JPEG, PNG, WEBP, BMP, TIFF or GIF image"),
    "nothing": (b"", "is empty (0 bytes)"),
    "an SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is a file of type SVG"),
    "a PNG's first bytes": (picture(20, 20)[:12], "is not a JPEG, PNG, WEBP, BMP, TIFF or GIF image"),
    "a cut JPEG": (
        picture(512, 512, "JPEG")[:3000],
        "is not whole: its 3000 bytes end before the image/jpeg image does",
    ),
    "too wide": (picture(321, 20), "is 321x20; aspect must be 1:16 to 16:1"),
    "too tall": (picture(20, 321), "is 20x321; aspect must be 1:16 to 16:1"),
    "too small": (picture(14, 20), "is 14x20; each side must have at least 15 pixels"),
    "too large": (picture(20, 20) + bytes(10 * 1024 * 1024), "has more than 10485760 bytes"),
}


def edit(images: Any, destination: str, **more: Any) -> Any:
    with DAG("edits", schedule=None):
        return SeedreamEditOperator(
            task_id="edit", prompt="bluer", images=images, destination=destination, **more
        )


def assert_refused(outcome: Outcome, emulator: Emulator, folder: Path, says: str) -> None:
    """Failed in the first of four tries, nothing sent, nothing written."""
    assert (outcome.state, outcome.tries, type(outcome.error).__name__) == ("failed", 1, "SeedreamInputError")
    assert says in str(outcome.error)
    assert "Paid: no." in str(outcome.error)
    assert emulator.books.requests == ()
    assert not folder.exists()


@pytest.fixture
def tls() -> bool:
    """Users speak https, so this guarantee is shown over it."""
    return True


class TestStaticValuesFailWhenTheDagIsParsed:
    @pytest.mark.parametrize(("values", "says"), STATIC, ids=str)
    def test_each_invalid_value_is_refused_by_name_and_rule(
        self, emulator: Emulator, destination: str, values: dict[str, Any], says: str
    ) -> None:
        with pytest.raises(SeedreamInputError, match=f"^WRONG INPUT: Task 'x': {says}"):
            SeedreamGenerateOperator(
                task_id="x", **{"prompt": "a watch", "destination": destination, **values}
            )
        assert emulator.books.requests == ()

    @pytest.mark.parametrize(
        ("images", "says"),
        [
            ([], "images must hold 1 to 10 images; got 0"),
            (["a.png"] * 11, "images must hold 1 to 10 images; got 11"),
            ("s3://bucket/a.png", "images must be a list of images, not str"),
            (None, "images must be a list of images, not NoneType"),
            (
                ["a.png", ""],
                "images must hold storage URIs, paths, data URIs or what a Seedream sensor returned",
            ),
            ([5], "images must hold storage URIs, paths, data URIs or what a Seedream sensor returned"),
            ({"images": []}, "images must hold 1 to 10 images; got 0"),
        ],
        ids=str,
    )
    def test_the_images_of_an_edit_are_counted(
        self, emulator: Emulator, destination: str, images: Any, says: str
    ) -> None:
        with pytest.raises(SeedreamInputError, match=f"^WRONG INPUT: Task 'edit': {says}"):
            edit(images, destination)
        assert emulator.books.requests == ()

    @pytest.mark.parametrize(
        "values",
        [
            {"on_partial": "shrug"},
            {"settling_seconds": -1},
            {"max_image_bytes": "64MB"},
            {"name": "../up"},
            {"destination": "relative/folder"},
            {"generation": "not an id!"},
            {"generation": 5},
            {"generation": {"seedream_task_id": "half a generation"}},
        ],
        ids=str,
    )
    def test_static_values_of_a_sensor_fail_when_the_dag_is_parsed_too(self, values: dict[str, Any]) -> None:
        (field,) = values
        with pytest.raises(SeedreamInputError, match=field.replace("generation", "(?i)generation")):
            SeedreamGenerationSensor(task_id="x", **{"generation": "5cc8f0d8", **values})


class TestTemplatedValuesFailBeforeAnythingIsSent:
    @pytest.mark.parametrize(("values", "says"), RENDERED, ids=str)
    @pytest.mark.parametrize("wait", [True, False], ids=["waiting", "submitting"])
    def test_each_invalid_value_is_refused_by_name_and_rule(
        self, emulator: Emulator, build: Build, folder: Path, values: dict[str, str], says: str, wait: bool
    ) -> None:
        templates = {field: f"{{{{ dag_run.conf['{field}'] }}}}" for field in values}
        chain = build(submit={**templates, "retries": 3, "wait": wait, "deferrable": wait})
        assert_refused(Runner(conf=values).run(chain.submit), emulator, folder, says)

    @pytest.mark.parametrize("count", [0, 11])
    def test_the_images_of_an_edit_are_counted(
        self, emulator: Emulator, destination: str, folder: Path, count: int
    ) -> None:
        with DAG("edits", schedule=None, render_template_as_native_obj=True):
            task = SeedreamEditOperator(
                task_id="edit",
                prompt="x",
                images="{{ dag_run.conf['images'] }}",
                destination=destination,
                retries=3,
            )
        outcome = Runner(conf={"images": ["a.png"] * count}).run(task)
        assert_refused(outcome, emulator, folder, f"images must hold 1 to 10 images; got {count}")

    def test_one_text_for_many_images_is_refused_not_taken_apart(
        self, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        outcome = Runner(conf={"image": "s3://b/a.png"}).run(
            edit("{{ dag_run.conf['image'] }}", destination, retries=3)
        )
        assert_refused(outcome, emulator, folder, "images must be a list of images, not str")

    def test_a_mapped_task_pays_for_its_valid_rows_alone(self, emulator: Emulator, destination: str) -> None:
        with DAG("mapped", schedule=None):
            task = SeedreamGenerateOperator.partial(task_id="x", destination=destination, retries=3).expand(
                prompt=["a watch", "  ", "a clock"]
            )
        outcomes = Runner().run_mapped(task)
        assert [outcome.state for outcome in outcomes] == ["success", "failed", "success"]
        assert (outcomes[1].tries, emulator.books.posts_received) == (1, 2)

    def test_braces_that_are_meant_are_sent_as_they_stand(self, emulator: Emulator, build: Build) -> None:
        chain = build(prompt=literal("a mug that says {{ hello }}"))
        assert Runner().run(chain.submit).state == "success"
        assert emulator.books.submissions[0].prompt == "a mug that says {{ hello }}"


class TestSourcesAreJudgedBeforeAnythingIsSent:
    @pytest.mark.parametrize("case", BAD_SOURCES)
    @pytest.mark.parametrize("form", ["path", "URI", "data URI"])
    def test_a_bad_image_is_named_with_its_rule(
        self, emulator: Emulator, destination: str, folder: Path, tmp_path: Path, case: str, form: str
    ) -> None:
        content, says = BAD_SOURCES[case]
        good, bad = tmp_path / "good.png", tmp_path / "bad.png"
        good.write_bytes(picture(20, 20))
        bad.write_bytes(content)
        given, named = {
            "path": (str(bad), "bad.png"),
            "URI": (f"file://{bad}", "bad.png"),
            "data URI": (data_uri(content), "(image 2)"),
        }[form]
        outcome = Runner().run(edit([str(good), given], destination, retries=3))
        assert_refused(outcome, emulator, folder, says)
        assert named in str(outcome.error)
        assert len(str(outcome.error)) < 500

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            ("/nowhere/at/all.png", "there is no file /nowhere/at/all.png"),
            ("/tmp", "there is no file /tmp"),
            ("https://host/a.png", "http(s) links are not read"),
            ("data:image/png;base64,not base64!", "image 1 is a data URI with broken base64"),
            (
                "data:text/plain;base64,aGVsbG8=",
                "image 1 is no data URI of the form data:image/...;base64,...",
            ),
            ("data:image/png,plain", "image 1 is no data URI of the form data:image/...;base64,..."),
        ],
    )
    def test_a_source_that_cannot_be_had_is_refused_before_anything_is_sent(
        self, emulator: Emulator, destination: str, folder: Path, given: str, says: str
    ) -> None:
        assert_refused(Runner().run(edit([given], destination, retries=3)), emulator, folder, says)


class TestAnImageAsText:
    """Given by mistake where a URI is meant, it was logged, quoted and written into the results whole:
    tens of megabytes.
    """

    TEXT = base64.b64encode(bytes(range(1, 252)) * 2_000).decode()  # 0.7 MB that are no image

    @pytest.mark.parametrize("before", ["", " ", "\n  "])
    @pytest.mark.parametrize("head", ["", "data:image/png;base64,"], ids=["plain base64", "data URI"])
    def test_an_image_as_text_is_taken_if_it_is_one(
        self, emulator: Emulator, destination: str, folder: Path, before: str, head: str
    ) -> None:
        image = base64.b64encode(picture(64, 48)).decode()
        outcome = Runner().run(edit([f"{before}{head}{image}"], destination))
        assert outcome.state == "success", outcome.error
        [source] = json.loads(next(folder.glob("_seedream/ledger/*.json")).read_text())["submission"][
            "sources"
        ]
        assert source["sha256"] == hashlib.sha256(picture(64, 48)).hexdigest()
        assert emulator.books.posts == 1

    @pytest.mark.parametrize(
        "given",
        [TEXT, f" {TEXT}", f"{TEXT}\n", f" data:image/png;base64,{TEXT}", f"data:,{TEXT}"],
        ids=range(5),
    )
    def test_an_image_as_text_is_refused_at_once_and_never_quoted(
        self, emulator: Emulator, destination: str, folder: Path, given: str
    ) -> None:
        with DAG("edits", schedule=None):
            task = SeedreamEditOperator(
                task_id="edit",
                prompt="bluer",
                images="{{ params.images }}",
                destination=destination,
                retries=3,
            )
        task.images = [given]  # as a template that rendered to it
        outcome = Runner().run(task)
        assert_refused(outcome, emulator, folder, "images:")
        assert len(str(outcome.error)) < 500
        assert len(outcome.log_text) < 20_000

    def test_an_image_as_text_does_not_swell_the_results_of_a_batch(
        self, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        rows = [
            {"prompt": "bluer", "images": self.TEXT},
            {"prompt": "bluer", "images": [f" data:image/png;base64,{self.TEXT}"]},
            {"prompt": "bluer", "images": ["/no.png"], "image_size": self.TEXT},
            {"prompt": "bluer", "name": self.TEXT},
        ]
        with DAG("edits", schedule=None):
            task = SeedreamBatchOperator(
                task_id="batch", requests=rows, destination=destination, on_error="continue", retries=3
            )
        outcome = Runner().run(task)
        assert outcome.tries == 1
        assert len((folder / "results.jsonl").read_bytes()) < 10_000
        assert len(outcome.log_text) < 40_000
        assert emulator.books.posts_received == 0


class TestAnIncompleteConnectionSendsNothing:
    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"password": ""}, "has no password"),
            ({"password": "key\nwith a line break"}, "the password holds characters that no API key has"),
            ({"password": "schlüssel"}, "the password holds characters that no API key has"),
            ({"host": "ftp://host"}, "host must be a plain http(s) base URL"),
            (
                {"extra": {"request_timeout_seconds": "soon"}},
                "request_timeout_seconds must be a number above 0",
            ),
            ({"extra": {"requests_per_minute": 0}}, "requests_per_minute must be a number above 0"),
            (
                {"extra": {"verify": "no"}},
                "Connection extra verify names the CA bundle 'no', which cannot be read",
            ),
            ({"extra": {"verify": "/no/such/ca.pem"}}, "names the CA bundle '/no/such/ca.pem'"),
            ({"extra": {"download_networks": "vpn"}}, "extra download_networks must hold networks"),
            ({"host": "api.example", "schema": "v1"}, "schema must be http, https or empty"),
        ],
        ids=str,
    )
    def test_the_wrong_field_is_named(
        self,
        emulator: Emulator,
        build: Build,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        change: dict[str, Any],
        says: str,
    ) -> None:
        connection = json.loads(emulator.airflow_connection_json()) | change
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(connection))
        assert_refused(Runner().run(build(submit={"retries": 3}).submit), emulator, folder, says)

    def test_no_destination_anywhere_is_an_error_before_paying(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        chain = build(submit={"destination": None, "retries": 3})
        assert_refused(Runner().run(chain.submit), emulator, folder, "destination is missing")


class TestASensorAsksAboutNothingInvalid:
    @pytest.mark.parametrize(
        "given",
        [
            None,
            "",
            "not an id!",
            "../../etc/passwd",
            "a" * 200,
            [],
            {"schema_version": 99},
            {"schema_version": 1},
        ],
        ids=str,
    )
    def test_what_is_no_generation_is_refused(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool, given: Any
    ) -> None:
        chain = build(land={"deferrable": deferrable, "retries": 3})
        runner = Runner()
        runner.push("submit", given, dag_id="guarantees")
        assert_refused(runner.run(chain.land), emulator, folder, "")
