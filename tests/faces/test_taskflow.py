"""`@task.seedream` and `@task.seedream_edit`: what a function returns is what is sent, once, as it stands."""

from __future__ import annotations

import base64
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task
from PIL import Image

from airflow_provider_seedream.decorators import seedream as decorators
from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.operators.seedream import SeedreamEditOperator, SeedreamGenerateOperator
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import Connect
from tests.guarantees.woken import Woken
from tests.unit.test_import_cost import HEAVY, imported_by, within

Decorated = Callable[..., Any]


@pytest.fixture
def drawn(destination: str) -> Decorated:
    """The task of a function: `drawn(lambda: "a fox", wait=True)`."""

    def drawn(
        function: Callable[..., Any],
        *,
        decorator: Any = task.seedream,
        given: dict[str, Any] | None = None,
        **more: Any,
    ) -> Any:
        with DAG("taskflow", schedule=None):
            options = {"task_id": "draw", "destination": destination, "poke_interval": 0.05, **more}
            return decorator(**options)(function)(**(given or {})).operator

    return drawn


def sent(emulator: Emulator) -> list[dict[str, Any]]:
    return [post.payload for post in emulator.books.submissions]


def saved(folder: Path, name: str) -> str:
    """A source image of 64 x 64, as a path."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), "teal").save(folder / name)
    return str(folder / name)


def refused(outcome: Outcome, emulator: Emulator) -> str:
    """The message of a request that was refused in the first try, before anything was sent."""
    assert (outcome.state, outcome.tries, emulator.books.requests) == ("failed", 1, ())
    assert isinstance(outcome.error, SeedreamInputError)
    return outcome.error.message


class TestWhatAFunctionReturns:
    def test_what_a_function_returns_is_the_prompt(self, emulator: Emulator, drawn: Decorated) -> None:
        outcome = Runner().run(drawn(lambda: "a fox", num_images=2))
        assert (outcome.state, outcome.value["kind"], outcome.value["num_images"]) == (
            "success",
            "generate",
            2,
        )
        assert [payload["prompt"] for payload in sent(emulator)] == ["a fox"]
        assert outcome.xcoms["seedream_task_id"] == outcome.value["seedream_task_id"]

    def test_what_a_function_returns_may_be_the_request_which_goes_before_what_the_decorator_was_given(
        self, emulator: Emulator, drawn: Decorated, folder: Path
    ) -> None:
        request = {"prompt": "a fox", "num_images": 3, "seed": 7, "name": "fox", "image_size": "square"}
        outcome = Runner().run(drawn(lambda: request, num_images=1, enable_safety_checker=False))
        assert (outcome.value["name"], outcome.value["credits"]) == ("fox", 30)
        assert sent(emulator) == [
            {
                "prompt": "a fox",
                "num_images": 3,
                "seed": 7,
                "image_size": "square",
                "enable_safety_checker": False,
            }
        ]

    def test_what_a_function_returns_is_sent_as_it_stands_while_arguments_are_rendered(
        self, emulator: Emulator, drawn: Decorated
    ) -> None:
        task = drawn(
            lambda sign: f"a sign that reads {{{{ ds }}}} {{% of %}} {sign}", given={"sign": "{{ ds }}"}
        )
        assert Runner().run(task).state == "success"
        assert sent(emulator)[0]["prompt"] == "a sign that reads {{ ds }} {% of %} 2026-03-01"

    def test_what_a_function_returns_shows_in_the_rendered_fields(
        self, emulator: Emulator, drawn: Decorated
    ) -> None:
        assert Runner().run(drawn(lambda: "a fox {{ ds }}")).rendered_fields["prompt"] == "a fox {{ ds }}"

    def test_what_a_function_returns_may_depend_on_the_context_and_on_other_tasks(
        self, emulator: Emulator, destination: str
    ) -> None:
        with DAG("taskflow", schedule=None) as dag:

            @task
            def animal() -> str:
                return "fox"

            @task.seedream(destination=destination)
            def draw(animal: str, ds: str | None = None) -> str:
                return f"a {animal} of {ds}"

            draw(animal())  # type: ignore[arg-type]
        Runner().run_dag(dag)
        assert sent(emulator)[0]["prompt"] == "a fox of 2026-03-01"

    def test_what_a_function_returns_is_one_xcom_whatever_type_the_function_names(
        self, emulator: Emulator, drawn: Decorated
    ) -> None:
        def request() -> dict[str, Any]:
            return {"prompt": "a fox"}

        outcome = Runner().run(drawn(request))
        assert {key for key in outcome.xcoms if not key.startswith("_link_")} == {
            "return_value",
            "seedream_task_id",
        }

    @pytest.mark.parametrize(
        ("returned", "said"),
        [
            (None, "must return a prompt"),
            ("", "prompt must not be blank"),
            (" \n", "prompt must not be blank"),
            (7, "must return a prompt"),
            (["a fox"], "must return a prompt"),
            ({"num_images": 2}, "must return a prompt"),
            ({"prompt": None}, "prompt must be a string"),
            ({"prompt": "a fox", "num_image": 2}, "'num_image'"),
            ({"prompt": "a fox", "seedream_conn_id": "another"}, "'seedream_conn_id'"),
            ({"prompt": "a fox", "num_images": 7}, "num_images must be an integer from 1 to 6"),
            ({"prompt": "a fox", "images": []}, "'images'"),
        ],
    )
    def test_what_a_function_returns_is_refused_before_anything_is_sent_when_it_is_no_request(
        self, emulator: Emulator, drawn: Decorated, returned: Any, said: str
    ) -> None:
        assert said in refused(Runner().run(drawn(lambda: returned, retries=2)), emulator)


class TestWhatTheDecoratorIsGiven:
    def test_what_the_decorator_is_given_is_checked_when_the_dag_is_parsed(self, drawn: Decorated) -> None:
        with pytest.raises(SeedreamInputError, match="num_images"):
            drawn(lambda: "a fox", num_images=7)

    @pytest.mark.parametrize("extra", [{"prompt": "a fox"}, {"multiple_outputs": True}])
    def test_what_the_decorator_is_given_cannot_be_what_the_function_decides_or_what_never_is(
        self, drawn: Decorated, extra: dict[str, Any]
    ) -> None:
        with pytest.raises(TypeError, match=next(iter(extra))):
            drawn(lambda: "a fox", **extra)

    def test_what_the_decorator_is_given_cannot_be_a_coroutine_function(self, drawn: Decorated) -> None:
        async def draw() -> str:
            return "a fox"

        with pytest.raises(SeedreamInputError, match="plain function"):
            drawn(draw)

    def test_what_the_decorator_is_given_can_be_nothing_at_all(
        self, emulator: Emulator, connect: Connect, destination: str
    ) -> None:
        connect(emulator, destination=destination)
        with DAG("taskflow", schedule=None) as dag:

            @task.seedream
            def draw() -> str:
                return "a fox"

            draw()
        assert Runner().run(dag.get_task("draw")).state == "success"


class TestWaiting:
    def test_waiting_lands_what_the_function_asked_for_without_asking_it_again(
        self, emulator: Emulator, drawn: Decorated, folder: Path, deferrable: bool
    ) -> None:
        # still going at the first poll, however busy the machine is
        emulator.configure(seconds_per_image=(1.5, 1.5))
        calls = itertools.count()
        outcome = Runner().run(
            drawn(lambda: f"fox {next(calls)}", wait=True, deferrable=deferrable, name="fox")
        )
        assert (outcome.state, len(outcome.deferrals)) == ("success", int(deferrable))
        assert next(calls) == 1
        assert [image["uri"] for image in outcome.value["images"]] == [f"file://{folder}/fox_1.png"]
        assert json.loads((folder / "fox.json").read_text())["submission"]["prompt"] == "fox 0"

    def test_waiting_for_a_turn_asks_for_the_same_images_afterwards(
        self, emulator: Emulator, connect: Connect, drawn: Decorated
    ) -> None:
        """The API refuses the first POST for a while; the resumed task sends what was returned then."""
        connect(emulator, requests_per_minute=600)
        emulator.inject("rate-limited", seconds=6, times=1)
        calls = itertools.count()
        outcome = Woken().run(drawn(lambda: f"fox {{{{ {next(calls)} }}}}", deferrable=True))
        assert (outcome.state, outcome.tries, len(outcome.deferrals)) == ("success", 1, 1)
        assert ([payload["prompt"] for payload in sent(emulator)], next(calls)) == (["fox {{ 0 }}"], 1)

    def test_waiting_keeps_no_images_in_airflows_database(
        self, emulator: Emulator, connect: Connect, drawn: Decorated
    ) -> None:
        """What is too large is asked for again, as nothing is paid before a turn."""
        connect(emulator, requests_per_minute=600)
        emulator.inject("rate-limited", seconds=6, times=1)
        data = io.BytesIO()
        Image.effect_noise((256, 256), 50).save(data, "PNG")
        uri = f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
        runner = Woken()
        edit = drawn(
            lambda: {"prompt": "make it red", "images": [uri]},
            decorator=task.seedream_edit,
            deferrable=True,
            wait=True,
            retries=1,
        )
        waiting = runner.run(edit, until="deferred")
        assert len(json.dumps(waiting.steps[-1].report)) < 4096 < len(uri)
        outcome = runner.run(edit)
        assert (outcome.state, outcome.error) == ("success", None)
        assert len(sent(emulator)[0]["image_urls"]) == 1

    def test_a_retry_finds_what_was_paid_for(self, emulator: Emulator, drawn: Decorated) -> None:
        runner = Runner()
        runner.fail_xcom_pushes("return_value", times=1)
        outcome = runner.run(drawn(lambda: "a fox", retries=2))
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("success", 2, 1)

    def test_with_a_name_a_retry_that_asks_for_something_else_pays_nothing(
        self, emulator: Emulator, drawn: Decorated, folder: Path
    ) -> None:
        calls = itertools.count()
        runner = Runner()
        runner.fail_xcom_pushes("return_value", times=1)
        outcome = runner.run(drawn(lambda: f"fox {next(calls)}", retries=2, name="fox"))
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("failed", 2, 1)
        assert isinstance(outcome.error, SeedreamInputError)


class TestMapping:
    def test_each_argument_is_one_request(self, emulator: Emulator, destination: str) -> None:
        with DAG("taskflow", schedule=None) as dag:

            @task.seedream(destination=destination, wait=True, poke_interval=0.05, deferrable=True)
            def draw(animal: str, place: str) -> str:
                return f"a {animal} in {place}"

            draw.partial(place="the snow").expand(animal=["fox", "hare"])
        outcomes = Runner().run_mapped(dag.get_task("draw"))
        assert [len(outcome.value["images"]) for outcome in outcomes] == [1, 1]
        assert sorted(payload["prompt"] for payload in sent(emulator)) == [
            "a fox in the snow",
            "a hare in the snow",
        ]

    def test_mapping_over_a_bare_string_is_refused_when_the_dag_is_parsed(self, destination: str) -> None:
        """Else each character would be a paid request."""
        with DAG("taskflow", schedule=None), pytest.raises(ValueError, match="expand"):

            @task.seedream(destination=destination)
            def draw(animal: str) -> str:
                return animal

            draw.expand(animal="fox")


class TestEditing:
    def test_images_come_from_the_decorator(
        self, emulator: Emulator, drawn: Decorated, tmp_path: Path
    ) -> None:
        images = [saved(tmp_path, "a.png"), saved(tmp_path, "b.png")]
        outcome = Runner().run(drawn(lambda: "make it red", decorator=task.seedream_edit, images=images))
        assert (outcome.state, outcome.value["kind"]) == ("success", "edit")
        assert len(sent(emulator)[0]["image_urls"]) == 2

    def test_editing_takes_a_landed_generation_that_comes_with_the_prompt_too(
        self, emulator: Emulator, destination: str
    ) -> None:
        with DAG("taskflow", schedule=None) as dag:

            @task.seedream(destination=destination, wait=True, poke_interval=0.05)
            def draw() -> str:
                return "a fox"

            @task.seedream_edit(destination=destination)
            def recolour(landed: dict[str, Any]) -> dict[str, Any]:
                return {"prompt": "make it red", "images": landed, "name": "red-fox"}

            recolour(draw())  # type: ignore[arg-type]
        outcomes = Runner().run_dag(dag)
        assert outcomes["recolour"].state == "success"  # type: ignore[union-attr]
        assert [post.kind for post in emulator.books.submissions] == ["generate", "edit"]

    @pytest.mark.parametrize("operator", ["class", "decorator", "function"])
    def test_editing_takes_what_the_instances_of_a_mapped_task_returned(
        self, emulator: Emulator, connect: Connect, destination: str, tmp_path: Path, operator: str
    ) -> None:
        """Airflow hands it over as a sequence that is no list, and cannot store it when the task defers:
        here for a turn.
        """
        connect(emulator, requests_per_minute=600)
        emulator.inject("rate-limited", seconds=6, times=1)
        folder, usual = tmp_path / "sources", {"destination": destination, "deferrable": True}
        with DAG("taskflow", schedule=None) as dag:

            @task
            def picture(name: str) -> str:
                return saved(folder, name)

            pictures = picture.expand(name=["a.png", "b.png"])
            if operator == "class":
                SeedreamEditOperator(task_id="edit", prompt="make it red", images=pictures, **usual)
            elif operator == "decorator":
                task.seedream_edit(task_id="edit", images=pictures, **usual)(lambda: "make it red")()
            else:
                task.seedream_edit(task_id="edit", **usual)(
                    lambda images: {"prompt": "make it red", "images": images}
                )(pictures)
        edited = Woken().run_dag(dag)["edit"]
        assert isinstance(edited, Outcome)
        assert (edited.state, edited.error, len(edited.deferrals)) == ("success", None, 1)
        assert len(sent(emulator)[0]["image_urls"]) == 2

    @pytest.mark.parametrize("images", ["s3://bucket/watch.png", "/data/watch.png"])
    def test_a_bare_string_of_images_is_refused(
        self, emulator: Emulator, drawn: Decorated, images: str
    ) -> None:
        edit = drawn(lambda: {"prompt": "make it red", "images": images}, decorator=task.seedream_edit)
        assert refused(Runner().run(edit), emulator) == "images must be a list of images, not str."
        with pytest.raises(SeedreamInputError, match="images must be a list"):
            drawn(lambda: "make it red", decorator=task.seedream_edit, images=images)

    def test_no_images_at_all_are_refused(self, emulator: Emulator, drawn: Decorated) -> None:
        edit = drawn(lambda: "make it red", decorator=task.seedream_edit)
        assert "images are missing" in refused(Runner().run(edit), emulator)


class TestABatch:
    @pytest.fixture(autouse=True)
    def unlimited(self, emulator: Emulator, connect: Connect) -> None:
        connect(emulator, requests_per_minute=100_000)

    def test_a_batch_works_off_the_requests_that_the_function_returns(
        self, emulator: Emulator, drawn: Decorated, folder: Path, deferrable: bool
    ) -> None:
        calls = itertools.count()
        rows = [{"prompt": f"a {animal}", "name": animal} for animal in ("fox", "hare")]
        outcome = Runner().run(
            drawn(
                lambda: rows if next(calls) == 0 else [], decorator=task.seedream_batch, deferrable=deferrable
            )
        )
        assert (outcome.state, outcome.error) == ("success", None)
        assert (outcome.value["rows"], outcome.value["count"]["landed"], next(calls)) == (2, 2, 1)
        assert sorted(payload["prompt"] for payload in sent(emulator)) == ["a fox", "a hare"]
        assert (folder / "fox_1.png").exists()

    def test_a_batch_refuses_braces_as_the_operator_does_unless_they_are_said_to_be_meant(
        self, emulator: Emulator, drawn: Decorated
    ) -> None:
        sign = [{"prompt": "a sign that reads {{ ds }}"}]
        refused = Runner().run(drawn(lambda: sign, decorator=task.seedream_batch))
        assert (refused.state, emulator.books.posts_received) == ("failed", 0)
        Runner().run(drawn(lambda: sign, decorator=task.seedream_batch, template="{{ prompt }}"))
        assert [payload["prompt"] for payload in sent(emulator)] == ["a sign that reads {{ ds }}"]

    def test_a_batch_works_off_the_table_whose_uri_the_function_returns(
        self, emulator: Emulator, drawn: Decorated, tmp_path: Path
    ) -> None:
        table = tmp_path / "requests.csv"
        table.write_text("animal\nfox\nhare\n")
        batch = drawn(
            lambda: str(table), decorator=task.seedream_batch, template="a {{ animal }}", deferrable=True
        )
        outcome = Runner().run(batch)
        assert (outcome.state, outcome.value["count"]["landed"]) == ("success", 2)

    @pytest.mark.parametrize("large", [False, True], ids=["kept", "too large to keep"])
    def test_a_batch_takes_the_same_requests_after_a_wait(
        self, emulator: Emulator, drawn: Decorated, large: bool
    ) -> None:
        """What is too large for Airflow's database is asked for again."""
        emulator.configure(seconds_per_image=0.0, late_assets_seconds=0.0)
        calls = itertools.count(1)
        rows = [{"prompt": f"fox {n}", "note": "x" * (20_000 if large else 1)} for n in range(3)]
        batch = drawn(
            lambda: rows if next(calls) else [],
            decorator=task.seedream_batch,
            deferrable=True,
            poke_interval=30,
        )
        runner = Woken()
        waiting = runner.run(batch, until="deferred")
        assert len(json.dumps(waiting.steps[-1].report)) < 4096
        outcome = runner.run(batch)
        assert (outcome.state, outcome.value["count"]["landed"], emulator.books.posts_received) == (
            "success",
            3,
            3,
        )
        assert (next(calls) - 1 > 1) == large

    @pytest.mark.parametrize("returned", [None, {}, "", "a fox", 7, ["a fox"], ("a fox",)])
    def test_a_batch_is_refused_before_anything_is_sent_when_it_is_no_table(
        self, emulator: Emulator, drawn: Decorated, returned: Any
    ) -> None:
        """A bare string above all: each character would be a paid request."""
        outcome = Runner().run(drawn(lambda: returned, decorator=task.seedream_batch, retries=2))
        assert isinstance(outcome.error, SeedreamInputError), outcome
        assert (outcome.tries, emulator.books.posts_received) == (1, 0)


class TestRegistration:
    def test_airflow_finds_them_by_their_names(self) -> None:
        assert task.seedream is decorators.seedream_task
        assert task.seedream_edit is decorators.seedream_edit_task
        assert task.seedream_batch is decorators.seedream_batch_task

    def test_the_tasks_are_operators_of_ours(self, drawn: Decorated) -> None:
        generate, edit = (
            drawn(lambda: "a fox"),
            drawn(lambda: "a fox", decorator=task.seedream_edit, images=["/a.png"]),
        )
        assert isinstance(generate, SeedreamGenerateOperator)
        assert isinstance(edit, SeedreamEditOperator)
        assert (generate.operator_name, edit.operator_name) == ("@task.seedream", "@task.seedream_edit")

    def test_a_dag_file_that_names_none_does_not_import_them(self) -> None:
        added = imported_by("airflow.sdk; from airflow.sdk import task; task.python")
        assert [name for name in added if name.startswith("airflow_provider_seedream.decorators")] == []

    def test_one_that_does_pays_for_no_http_or_storage_library(self) -> None:
        added = imported_by("airflow.sdk; task.seedream", before="from airflow.sdk import task; task.python")
        assert "airflow_provider_seedream.decorators.seedream" in added
        assert within(added, HEAVY) == []
