"""Every example DAG is imported without a warning and run to its end; the server's count says what that
cost.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import airflow.sdk
import pytest
from airflow.sdk.definitions._internal.contextmanager import DagContext
from airflow.sdk.definitions.dag import DAG

from airflow_provider_seedream.emulator import Books, Emulator, Settings
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.model.submissions import build_submission
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.operators.seedream import SeedreamEditOperator, SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamCreditsSensor, SeedreamGenerationSensor
from tests.airflow.runner import Outcome, Runner
from tests.faces.mail_server import mail_server

EXAMPLES = Path(__file__).parents[1] / "example_dags"
HAS_LOOPS = hasattr(airflow.sdk, "LoopDecision")  # from Airflow 3.4 on
FILES = sorted(
    path for path in EXAMPLES.glob("*.py") if HAS_LOOPS or path.stem != "example_seedream_until_good"
)
# else a batch waits for the turns that tests before it took in this process
UNPACED = {"requests_per_minute": 6000}
READING = {"example_seedream_morning"}  # pays nothing and waits for nothing
WAITING = (
    SeedreamGenerateOperator,
    SeedreamEditOperator,
    SeedreamBatchOperator,
    SeedreamGenerationSensor,
    SeedreamCreditsSensor,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """An account at the emulator and the folder that its connection names."""

    emulator: Emulator
    folder: Path

    @property
    def books(self) -> Books:
        return self.emulator.books

    def names(self, pattern: str) -> list[str]:
        return sorted(path.name for path in self.folder.glob(pattern))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Jobs are done at the first poll, as the examples' own waits are as long as real jobs need them."""
    settings = Settings.fast(seconds_per_image=(0.0, 0.0), late_assets_seconds=(0.0, 0.0))
    with Emulator(settings) as emulator:
        connection = {
            **json.loads(emulator.airflow_connection_json()),
            "extra": {"destination": tmp_path.as_uri(), **UNPACED},
        }
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(connection))
        monkeypatch.delenv("SEEDREAM_EXAMPLE_BUCKET", raising=False)
        yield World(emulator=emulator, folder=tmp_path)


def load(name: str) -> DAG:
    """The DAG of an example, found as Airflow finds it; imported afresh, every warning being an error."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    DagContext.autoregistered_dags.clear()
    DagContext.current_autoregister_module_name = name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            spec.loader.exec_module(module)
        [(dag, _)] = DagContext.autoregistered_dags
    finally:
        DagContext.current_autoregister_module_name = None
        del sys.modules[name]
    return dag


def run(name: str, **options: Any) -> dict[str, Outcome | list[Outcome]]:
    """Run an example from its first task to its last, each of which must succeed in its first try, without
    a logical date.
    """
    dag = load(name)
    outcomes = Runner(**{"logical_date": None, **options}).run_dag(dag)
    assert set(outcomes) == set(dag.task_ids)
    for outcome in flat(outcomes):
        assert (outcome.state, outcome.tries) == ("success", 1)
    return outcomes


def flat(outcomes: dict[str, Outcome | list[Outcome]]) -> list[Outcome]:
    return [
        one for outcome in outcomes.values() for one in (outcome if isinstance(outcome, list) else [outcome])
    ]


def value(outcomes: dict[str, Outcome | list[Outcome]], task_id: str) -> Any:
    outcome = outcomes[task_id]
    return [one.value for one in outcome] if isinstance(outcome, list) else outcome.value


class TestEveryExample:
    @pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
    def test_every_example_is_a_dag_of_its_files_name_with_a_docstring_of_two_sentences(
        self, file: Path
    ) -> None:
        dag = load(file.stem)
        assert dag.dag_id == file.stem
        # each a paragraph
        assert len(file.read_text().split('"""')[1].strip().split("\n\n")) == 2

    @pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
    def test_every_example_has_a_description_for_the_list_of_dags(self, file: Path) -> None:
        description = load(file.stem).description or ""
        assert 20 < len(description) <= 100
        assert not description.endswith(".")

    @pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
    def test_every_example_gives_each_task_that_waits_two_retries(self, file: Path) -> None:
        """Airflow itself fails healthy deferred tasks now and then; a retry attaches for free."""
        waiting = [
            task
            for task in load(file.stem).tasks
            if issubclass(getattr(task, "operator_class", type(task)), WAITING)
        ]
        assert waiting or file.stem in READING
        assert all((task.retries or 0) >= 2 for task in waiting)


class TestGenerate:
    def test_one_prompt_becomes_two_landed_images(self, world: World) -> None:
        outcomes = run("example_seedream_generate")
        task_id = value(outcomes, "submit")["seedream_task_id"]
        assert (world.books.posts, world.books.credits_charged, world.books.violations) == (1, 20, ())
        assert world.names("*_?.png") == [f"{task_id}_1.png", f"{task_id}_2.png"]

    def test_it_waits_in_the_triggerer_when_there_is_something_to_wait_for(self, world: World) -> None:
        world.emulator.configure(seconds_per_image=(1.0, 1.0))
        outcomes = run("example_seedream_generate")
        land = outcomes["land"]
        assert isinstance(land, Outcome)
        assert [deferral.payload["outcome"] for deferral in land.deferrals] == ["done"]
        assert world.books.posts == 1


class TestEdit:
    def test_two_images_from_a_bucket_become_one_in_a_single_task(self, world: World) -> None:
        landed = value(run("example_seedream_edit"), "edit")
        assert (world.books.posts, world.books.credits_charged, world.books.violations) == (1, 10, ())
        assert [(post.kind, len(post.payload["image_urls"])) for post in world.books.submissions] == [
            ("edit", 2)
        ]
        manifest = json.loads(Path(landed["manifest"].removeprefix("file://")).read_text())
        sources = [Path(source["uri"]).name for source in manifest["submission"]["sources"]]
        assert sources == ["watch.jpg", "wet_stone.jpg"]

    def test_the_bucket_can_be_another_one(
        self, world: World, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bucket = tmp_path_factory.mktemp("bucket")
        for source in (EXAMPLES / "sources").iterdir():
            (bucket / source.name).write_bytes(source.read_bytes())
        monkeypatch.setenv("SEEDREAM_EXAMPLE_BUCKET", bucket.as_uri())
        landed = value(run("example_seedream_edit"), "edit")
        manifest = json.loads(Path(landed["manifest"].removeprefix("file://")).read_text())
        assert manifest["submission"]["sources"][0]["uri"] == f"{bucket.as_uri()}/watch.jpg"


class TestCampaign:
    def test_each_product_is_paid_for_once_and_landed(self, world: World) -> None:
        outcomes = run("example_seedream_campaign")
        assert (world.books.posts, world.books.credits_charged, world.books.violations) == (3, 30, ())
        landed = {generation["seedream_task_id"] for generation in value(outcomes, "land")}
        assert landed == {post.seedream_task_id for post in world.books.submissions}
        assert len(world.names("*_1.png")) == 3


class TestBatch:
    def test_each_row_is_paid_once_and_what_did_not_land_is_listed(self, world: World) -> None:
        dag, runner = load("example_seedream_batch"), Runner(logical_date=None)
        campaign = dag.get_task("campaign")
        assert isinstance(campaign, SeedreamBatchOperator)
        campaign.poke_interval = 0.05  # the example waits for real jobs
        outcome, listed = runner.run(campaign), runner.run(dag.get_task("list_unlanded"))
        assert (outcome.state, outcome.value["count"]["landed"], listed.value) == ("success", 3, [])
        assert (world.books.posts, world.books.credits_charged, world.books.violations) == (3, 40, ())
        assert "a canvas rucksack on a plain table, morning light" in {
            post.prompt for post in world.books.submissions
        }
        assert len(world.names("campaign-*.jsonl")) == 1


class TestWarehouse:
    def test_a_query_gives_the_requests_and_the_results_go_back_by_key(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if importlib.util.find_spec("airflow.providers.sqlite") is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(
                "apache-airflow-providers-sqlite is not installed"
            )
        monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
        monkeypatch.setenv(
            "AIRFLOW_CONN_WAREHOUSE",
            json.dumps({"conn_type": "sqlite", "host": f"{world.folder}/warehouse.db"}),
        )
        with sqlite3.connect(world.folder / "warehouse.db") as database:
            database.execute("CREATE TABLE catalogue (sku TEXT, product TEXT)")
            database.executemany("INSERT INTO catalogue VALUES (?, ?)", [("7", "watch"), ("8", "bag")])
            database.execute(
                "CREATE TABLE catalogue_images (sku TEXT PRIMARY KEY, status TEXT, images JSON, credits "
                "INTEGER)"
            )
        summary = value(run("example_seedream_warehouse"), "catalogue")
        assert summary["results_table"] == {
            "table": "catalogue_images",
            "inserted": 2,
            "updated": 0,
            "unchanged": 0,
        }
        rows = database.execute(
            "SELECT sku, status, credits, json_array_length(images) FROM catalogue_images ORDER BY sku"
        )
        assert rows.fetchall() == [("7", "landed", 10, 1), ("8", "landed", 10, 1)]
        assert world.books.credits_charged == 20
        database.close()


class TestChained:
    def test_the_edit_works_on_the_very_bytes_that_were_landed(self, world: World) -> None:
        outcomes = run("example_seedream_chained")
        assert [post.kind for post in world.books.submissions] == ["generate", "edit"]
        assert (world.books.credits_charged, world.books.violations) == (20, ())
        manifest = json.loads(
            Path(value(outcomes, "land_edit")["manifest"].removeprefix("file://")).read_text()
        )
        [first] = value(outcomes, "land")["images"]
        [source] = manifest["submission"]["sources"]
        assert (source["uri"], source["sha256"]) == (first["uri"], first["sha256"])


class TestRescue:
    def test_a_bare_id_is_landed_without_a_post(self, world: World) -> None:
        task_id = paid_by_somebody_else()
        landed = value(run("example_seedream_rescue", conf={"seedream_task_id": task_id}), "land")
        assert (landed["seedream_task_id"], landed["credits"]) == (task_id, None)
        assert world.books.posts == 1  # the somebody else's
        assert world.names("*_?.png") == [f"{task_id}_1.png"]

    def test_it_lands_where_the_run_says(self, world: World) -> None:
        conf = {
            "seedream_task_id": paid_by_somebody_else(),
            "destination": f"{world.folder.as_uri()}/rescued",
        }
        run("example_seedream_rescue", conf=conf)
        assert len(world.names("rescued/*_1.png")) == 1


class TestApproval:
    def test_a_person_is_shown_the_images_and_what_is_approved_is_copied(self, world: World) -> None:
        """The person is in tests/gallery/test_browser.py, which presses the button."""
        dag, runner = load("example_seedream_approval"), Runner(logical_date=None)
        _, _, show, publish = (
            runner.run(dag.get_task(name)) for name in ("submit", "land", "show", "publish")
        )
        assert (world.books.posts, world.books.credits_charged) == (1, 30)
        assert show.value.count("](seedream/thumb/example_seedream_approval/") == 3
        assert world.names("public/*") == [Path(uri).name for uri in publish.value] == world.names("*_?.png")
        assert dag.get_task("publish").upstream_task_ids == {"land", "approve"}


class TestNight:
    """Buttons and pictures are in tests/gallery/test_browser.py; here the person's answer comes as the
    server hands it on.
    """

    def test_only_the_chosen_images_are_published_and_rows_over_the_budget_stop_nothing(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dag, runner = load("example_seedream_night"), Runner(logical_date=None)
        images, choose = dag.get_task("images"), dag.get_task("choose")
        assert isinstance(images, SeedreamBatchOperator)
        images.poke_interval = 0.05  # the example waits for real jobs
        count = runner.run(images).value["count"]
        assert (count["landed"], count["skipped_budget"], world.books.credits_charged) == (2, 1, 30)
        [page] = runner.run(dag.get_task("sheets")).value
        question = runner.ask(choose, map_index=0)
        assert (question["options"], question["body"]) == (page["options"], page["body"])
        assert page["body"].count("](seedream/thumb/example_seedream_night/") == 3
        assert "Row 3: skipped budget" in page["body"]
        second_of_the_watches = next(
            option for option in page["options"] if option.startswith("1.2 · 1001 · ")
        )
        assert runner.answer(choose, [second_of_the_watches], map_index=0).state == "success"
        with mail_server() as server:
            smtp = {
                "conn_type": "smtp",
                "host": "127.0.0.1",
                "port": server.port,
                "extra": {"disable_ssl": True, "disable_tls": True},
            }
            monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(smtp))
            [published] = runner.run(dag.get_task("publish")).value
            [mail] = server.mails
        [image] = [Path(uri).name for uri in published["images"]]
        assert (published["sku"], world.names("public/*")) == ("1001", [image])
        assert image.endswith("_2.png")
        assert (mail["Subject"].startswith("Seedream: 1 image"), len(list(mail.iter_parts()))) == (True, 2)

    def test_a_night_of_which_nothing_landed_asks_nobody(self, world: World) -> None:
        dag, runner = load("example_seedream_night"), Runner(logical_date=None)
        images = dag.get_task("images")
        assert isinstance(images, SeedreamBatchOperator)
        images.poke_interval, images.max_credits = 0.05, 5
        assert runner.run(images).value["count"]["skipped_budget"] == 3
        # Airflow skips a task that is mapped over nothing
        assert runner.run(dag.get_task("sheets")).value == []


class TestFirstNight:
    def test_two_rows_are_paid_before_a_person_says_yes_and_the_third_after(self, world: World) -> None:
        dag, runner = load("example_seedream_first_night"), Runner(logical_date=None)
        assert runner.run(dag.get_task("plan")).value["plan"]["credits"] == 40
        images = dag.get_task("images")
        assert isinstance(images, SeedreamBatchOperator)
        images.poke_interval = 0.05
        assert "up to 10 credits" in runner.ask(images)["body"]
        assert world.books.posts == 2
        assert runner.answer(images, ["Approve"]).state == "success"
        assert world.books.posts == 3
        assert "'landed': 3" in runner.run(dag.get_task("explain")).value


class TestMorning:
    @pytest.mark.parametrize(
        "trouble", ["", " [drop-after-accept]"], ids=["a quiet night", "an unknown outcome"]
    )
    def test_a_mail_goes_out_only_if_a_person_is_needed(
        self, trouble: str, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with DAG("night", schedule=None):
            landed = SeedreamGenerateOperator(
                task_id="landed", prompt="a watch", wait=True, poke_interval=0.05
            )
            other = SeedreamGenerateOperator(
                task_id="other", prompt=f"a strap{trouble}", wait=True, poke_interval=0.05
            )
        for task in (landed, other):
            Runner().run(task)
        for record in (world.folder / "_seedream" / "ledger").iterdir():
            # as a POST of some minutes ago, which has ended
            fields = json.loads(record.read_text())
            record.write_text(json.dumps(fields | {"settles_at": fields["intent_at"]}))
        with mail_server() as server:
            smtp = {
                "host": "127.0.0.1",
                "port": server.port,
                "extra": {"disable_ssl": True, "disable_tls": True},
            }
            monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps({"conn_type": "smtp", **smtp}))
            said = value(run("example_seedream_morning"), "explain")
            mails = list(server.mails)
        assert (said["adds_up"], said["charged"]) == (not trouble, 10 if trouble else 20)
        assert world.books.posts_received == 2
        assert len(mails) == (1 if trouble else 0)
        if trouble:
            [part] = mails[0].iter_parts()
            assert "= 1 request with an unknown outcome was charged: up to 10 credits." in part.get_content()


class TestTaskFlow:
    def test_functions_write_the_prompts_and_read_the_results(self, world: World) -> None:
        outcomes = run("example_seedream_taskflow")
        assert (world.books.posts, world.books.credits_charged, world.books.violations) == (2, 20, ())
        images = [Path(uri.removeprefix("file://")) for uri in value(outcomes, "list_images")]
        assert sorted(path.name for path in images) == world.names("*_1.png")

    def test_an_empty_wallet_stops_it_before_anything_is_sent(self, world: World) -> None:
        world.emulator.configure(balance_credits=10)
        [first] = flat(Runner(logical_date=None).run_dag(load("example_seedream_taskflow")))
        assert (first.state, first.tries) == ("failed", 1)
        assert world.books.posts_received == 0


class TestDecorators:
    def test_each_drawn_image_becomes_another_by_an_edit(self, world: World) -> None:
        outcomes = run("example_seedream_decorators")
        assert sorted(post.kind for post in world.books.submissions) == [
            "edit",
            "edit",
            "generate",
            "generate",
        ]
        assert (world.books.credits_charged, world.books.violations) == (40, ())
        assert [len(landed["images"]) for landed in value(outcomes, "at_night")] == [1, 1]


class TestHouse:
    def test_each_prompt_gets_the_style_and_is_landed(self, world: World) -> None:
        outcomes = run("example_seedream_house")
        assert sorted(post.prompt for post in world.books.submissions) == [
            "a canvas bag, in the style of a Swiss poster of 1960",
            "a leather watch, in the style of a Swiss poster of 1960",
        ]
        assert [len(landed["images"]) for landed in value(outcomes, "draw")] == [1, 1]
        assert world.books.violations == ()


@pytest.mark.skipif(not HAS_LOOPS, reason="Airflow has loops from 3.4 on")
class TestUntilGood:
    def test_each_round_draws_another_set_and_the_last_one_ends_the_loop(self, world: World) -> None:
        stops = []
        for index in range(3):
            outcomes = run("example_seedream_until_good", loop_index=index)
            gate = outcomes["rounds.is_over"]
            assert isinstance(gate, Outcome)
            stops.append(gate.steps[-1].report["loop_decision"]["stop"])
        assert (stops, world.books.posts, world.books.credits_charged) == ([False, False, True], 3, 30)
        assert len(world.names("*_1.png")) == 3


class TestAssets:
    def test_the_landing_task_tells_the_asset_and_each_image(self, world: World) -> None:
        land = run("example_seedream_assets")["land"]
        assert isinstance(land, Outcome)
        events = land.steps[-1].report["outlet_events"]
        assert [event["dest_asset_key"]["name"].endswith((".png", "watches")) for event in events] == [
            True
        ] * 3


class TestCredits:
    def test_a_night_is_drawn_for_what_the_wallet_had_to_hold(self, world: World) -> None:
        world.emulator.configure(balance_credits=60)
        outcomes = run("example_seedream_credits")
        assert value(outcomes, "top_up") == {"balance": "60.00"}
        assert (world.books.posts, world.books.credits_charged, world.books.violations) == (3, 60, ())
        assert len(world.names("*_?.png")) == 6

    def test_it_waits_for_a_top_up(self, world: World) -> None:
        world.emulator.configure(balance_credits=59)
        runner, top_up = Runner(logical_date=None), load("example_seedream_credits").get_task("top_up")
        assert runner.run(top_up, until="deferred").state == "deferred"
        assert runner.deferral(top_up).kwargs["min_credits"] == "60"


class TestCaps:
    def test_a_row_beyond_the_cap_is_skipped_one_warning_is_given_and_the_last_picture_waits(
        self, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        connection = json.loads(os.environ["AIRFLOW_CONN_SEEDREAM_DEFAULT"])
        connection["extra"] |= {"label_caps": {"team=shop": {"day": 20}}}
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(connection))
        dag, runner = load("example_seedream_caps"), Runner(logical_date=None)
        catalogue = runner.run(dag.get_task("catalogue"))
        assert (catalogue.value["count"]["landed"], catalogue.value["count"]["skipped_budget"]) == (2, 1)
        assert runner.run(dag.get_task("hero"), until="deferred").state == "deferred"
        assert world.books.credits_charged == 20
        assert caplog.text.count("label_caps team=shop day=20: 20 credits are spent") == 1


class TestPatient:
    def test_one_run_pays_once_and_lands(self, world: World) -> None:
        run("example_seedream_patient")
        assert (world.books.posts, world.books.credits_charged, world.books.violations) == (1, 20, ())

    @pytest.mark.skipif(
        not hasattr(airflow.sdk, "RetryPolicy"), reason="retry policies came with Airflow 3.3"
    )
    def test_an_empty_wallet_only_delays_it(self, world: World) -> None:
        world.emulator.configure(balance_credits=10)
        runner, submit = Runner(logical_date=None), load("example_seedream_patient").get_task("submit")
        if hasattr(airflow.sdk.RetryDecision, "reschedule"):
            # Airflow 3.4: the same try again, half an hour later
            assert (runner.run(submit, until="up_for_reschedule").tries, world.books.posts) == (1, 0)
            return
        assert runner.run(submit, until="up_for_retry").steps[-1].report["retry_delay_seconds"] >= 1800
        world.emulator.configure(balance_credits=100)
        assert (runner.run(submit).state, world.books.posts) == ("success", 1)


def paid_by_somebody_else() -> str:
    """The id of a generation that no DAG here knows of."""
    submission = build_submission(
        kind="generate",
        prompt="a leather watch",
        image_size="square",
        num_images=1,
        seed=None,
        enable_safety_checker=True,
        take=1,
    )
    return SeedreamHook().submit(submission).seedream_task_id
