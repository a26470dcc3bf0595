"""What a landing task tells its outlets, and through them the DAGs that are scheduled on those."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import airflow.sdk
import pytest
from airflow.sdk import DAG, Asset, AssetAlias, task
from airflow.sdk.execution_time.context import OutletEventAccessor

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamInputError, SeedreamPartialResultError
from airflow_provider_seedream.observability.asset_uris import asset_uri
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import Build, Connect
from tests.test_docs import names, section

WATCHES = Asset(name="watches", uri="s3://bucket/watches")
IMAGES = AssetAlias("watch-images")
PARTIAL = {"settling_seconds": 0.5, "outlets": [WATCHES, IMAGES]}


def events(outcome: Outcome) -> list[dict[str, Any]]:
    """What the server is told of assets."""
    assert outcome.state == "success", outcome.error
    return list(outcome.steps[-1].report["outlet_events"])


class TestAnAsset:
    def test_an_asset_gets_the_summary_of_the_manifest(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        chain = build(num_images=2, name="hero", land={"deferrable": deferrable, "outlets": [WATCHES]})
        runner = Runner()
        submitted = runner.run(chain.submit).value
        [event] = events(runner.run(chain.land))
        assert event["dest_asset_key"] == {"name": "watches", "uri": "s3://bucket/watches"}
        assert event["extra"] == {
            "seedream_task_id": submitted["seedream_task_id"],
            "manifest": f"file://{folder}/hero.json",
            "kind": "generate",
            "credits": 20,
            "images_landed": 2,
            "images_requested": 2,
        }

    @pytest.mark.parametrize("reference", [Asset.ref(name="by-name"), Asset.ref(uri="s3://bucket/by-uri")])
    def test_an_asset_that_is_named_by_reference_gets_the_same_as_the_asset_itself(
        self, emulator: Emulator, build: Build, folder: Path, reference: Any
    ) -> None:
        runner, chain = Runner(), build(num_images=2, name="hero", land={"outlets": [reference, WATCHES]})
        runner.api.assets = {"by-name": "s3://bucket/by-name", "by-uri": "s3://bucket/by-uri"}
        runner.run(chain.submit)
        by_key = {event["dest_asset_key"]["uri"]: event["extra"] for event in events(runner.run(chain.land))}
        [referred] = set(by_key) - {WATCHES.uri}
        assert referred == f"s3://bucket/{getattr(reference, 'name', 'by-uri')}"
        assert by_key[referred] == by_key[WATCHES.uri]
        assert by_key[referred]["manifest"] == f"file://{folder}/hero.json"

    def test_a_batch_tells_an_asset_that_is_named_by_reference_of_its_table(
        self, emulator: Emulator, connect: Connect, destination: str
    ) -> None:
        connect(emulator, requests_per_minute=100_000)
        runner = Runner()
        runner.api.assets = {"tables": "s3://bucket/tables"}
        with DAG("batches", schedule=None):
            batch = SeedreamBatchOperator(
                task_id="batch",
                requests=[{"prompt": "a watch"}],
                destination=destination,
                poke_interval=0.05,
                outlets=[Asset.ref(name="tables")],
            )
        [event] = events(runner.run(batch))
        assert event["dest_asset_key"] == {"name": "tables", "uri": "s3://bucket/tables"}
        assert (event["extra"]["rows"], event["extra"]["images"]) == (1, 1)

    def test_a_reference_to_an_asset_that_no_dag_defines_is_a_warning_and_never_fails_the_task(
        self, emulator: Emulator, build: Build, caplog: pytest.LogCaptureFixture
    ) -> None:
        outcome = Runner().run(build(submit={"wait": True, "outlets": [Asset.ref(name="nobodys")]}).submit)
        assert outcome.state == "success", outcome.error
        assert "No asset event for" in caplog.text

    def test_an_asset_gets_it_from_an_operator_that_waits_too(self, emulator: Emulator, build: Build) -> None:
        [event] = events(Runner().run(build(submit={"wait": True, "outlets": [WATCHES]}).submit))
        assert event["extra"]["images_landed"] == 1

    def test_an_asset_gets_it_again_when_all_is_landed_already(
        self, emulator: Emulator, build: Build
    ) -> None:
        chain = build(land={"outlets": [WATCHES]})
        runner = Runner()
        runner.run(chain.submit)
        first = events(runner.run(chain.land))
        runner.clear(chain.land)
        assert events(runner.run(chain.land)) == first

    def test_an_asset_hears_how_many_of_how_many_came(self, emulator: Emulator, build: Build) -> None:
        chain = build(prompt="a watch [partial:2]", num_images=3, land={**PARTIAL, "on_partial": "accept"})
        runner = Runner()
        runner.run(chain.submit)
        event, *_ = events(runner.run(chain.land))
        assert (event["extra"]["images_landed"], event["extra"]["images_requested"]) == (2, 3)

    def test_an_asset_hears_nothing_of_a_task_that_failed(self, emulator: Emulator, build: Build) -> None:
        chain = build(prompt="a watch [partial:2]", num_images=3, land=PARTIAL)
        runner = Runner()
        runner.run(chain.submit)
        outcome = runner.run(chain.land)
        assert isinstance(outcome.error, SeedreamPartialResultError)
        assert not outcome.steps[-1].report.get("outlet_events")

    def test_an_asset_can_be_on_a_decorated_task(self, emulator: Emulator, destination: str) -> None:
        with DAG("assets", schedule=None):

            @task.seedream(destination=destination, wait=True, poke_interval=0.05, outlets=[WATCHES])
            def draw() -> str:
                return "a fox"

            drawn = draw()
        [event] = events(Runner().run(drawn.operator))
        assert event["extra"]["credits"] == 10


class TestAnAlias:
    def test_an_alias_gets_one_event_for_each_image(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        chain = build(num_images=2, name="hero", land={"deferrable": deferrable, "outlets": [IMAGES]})
        runner = Runner()
        runner.run(chain.submit)
        landing = runner.run(chain.land)
        landed, found = landing.value, events(landing)
        assert [event["source_alias_name"] for event in found] == ["watch-images"] * 2
        assert [event["dest_asset_key"]["uri"] for event in found] == [
            f"file://{folder}/hero_{n}.png" for n in (1, 2)
        ]
        for event, image in zip(found, landed["images"], strict=True):
            assert event["extra"] == {
                "sha256": image["sha256"],
                "size_bytes": image["size_bytes"],
                "media_type": "image/png",
                "seedream_task_id": landed["seedream_task_id"],
                "manifest": f"file://{folder}/hero.json",
            }

    def test_an_alias_gets_one_event_for_the_generation_where_that_is_asked_for(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        """Airflow 3.4 starts a run for each event."""
        chain = build(
            num_images=2, name="hero", land={"announce": "generation", "outlets": [WATCHES, IMAGES]}
        )
        runner = Runner()
        runner.run(chain.submit)
        of_asset, of_alias = events(runner.run(chain.land))
        assert of_alias["dest_asset_key"]["uri"] == f"file://{folder}/hero.json"
        assert of_alias["extra"] == {
            **of_asset["extra"],
            "images": [f"file://{folder}/hero_{n}.png" for n in (1, 2)],
        }

    def test_an_alias_gets_one_event_from_an_operator_that_waits_too(
        self, emulator: Emulator, build: Build
    ) -> None:
        waits = {"wait": True, "num_images": 3, "announce": "generation", "outlets": [IMAGES]}
        assert len(events(Runner().run(build(submit=waits).submit))) == 1

    def test_an_alias_has_events_for_images_or_generations_and_for_no_other_thing(self) -> None:
        with pytest.raises(SeedreamInputError, match="announce"), DAG("assets", schedule=None):
            SeedreamGenerateOperator(task_id="draw", prompt="a fox", announce="batch")

    def test_an_alias_names_no_connection(self, emulator: Emulator, folder: Path) -> None:
        with DAG("assets", schedule=None):
            draw = SeedreamGenerateOperator(
                task_id="draw",
                prompt="a fox",
                destination=f"file://my_conn@{folder}",
                wait=True,
                poke_interval=0.05,
                outlets=[IMAGES],
            )
        [event] = events(Runner().run(draw))
        assert event["dest_asset_key"]["uri"].startswith(f"file://{folder}/")

    def test_an_image_no_asset_can_name_has_no_event_but_is_landed(
        self, emulator: Emulator, folder: Path
    ) -> None:
        """An asset has at most 1,500 characters."""
        with DAG("assets", schedule=None):
            deep = f"file://{folder}/" + "/".join(["x" * 250] * 6)
            draw = SeedreamGenerateOperator(
                task_id="draw",
                prompt="a fox",
                destination=deep,
                wait=True,
                poke_interval=0.05,
                outlets=[IMAGES],
            )
        outcome = Runner().run(draw)
        assert (outcome.state, events(outcome)) == ("success", [])
        assert "No asset event for" in outcome.log_text

    def test_an_alias_is_documented_like_the_asset_field_by_field(
        self, emulator: Emulator, build: Build
    ) -> None:
        found = events(Runner().run(build(submit={"wait": True, "outlets": [WATCHES, IMAGES]}).submit))
        assert names(section("assets-and-lineage.md", "Assets")) == [
            key for event in found for key in event["extra"]
        ]


class TestSchedules:
    """Which schedule takes the events that wait together, as the page says: before Airflow 3.4 each of
    them does.
    """

    @pytest.mark.skipif(
        not hasattr(airflow.sdk, "AssetTriggeredTimetable"),
        reason="one run for each event came with Airflow 3.4",
    )
    def test_only_a_condition_of_several_takes_all_events_at_once(self) -> None:
        taken = {}
        for name, schedule in {
            "alias": [IMAGES],
            "asset": [WATCHES],
            "both": IMAGES & WATCHES,
            "either": IMAGES | WATCHES,
        }.items():
            taken[name] = DAG(name, schedule=schedule).timetable.batch_asset_events
        assert taken == {"alias": False, "asset": False, "both": True, "either": False}
        timetable = airflow.sdk.AssetTriggeredTimetable(IMAGES, batch_asset_events=True)
        assert DAG("told", schedule=timetable).timetable.batch_asset_events


class TestABatch:
    def test_a_batch_tells_both_of_its_table(
        self, emulator: Emulator, connect: Connect, destination: str
    ) -> None:
        connect(emulator, requests_per_minute=100_000)
        with DAG("assets", schedule=None):
            rows = [{"prompt": "a fox", "num_images": 2}, {"prompt": "a hare"}]
            batch = SeedreamBatchOperator(
                task_id="batch",
                requests=rows,
                destination=destination,
                poke_interval=0.05,
                outlets=[WATCHES, IMAGES],
            )
        outcome = Runner().run(batch)
        summary = outcome.value
        extra = {field: summary[field] for field in ("results", "rows", "count", "credits", "images")}
        assert (extra["rows"], extra["images"], extra["credits"]) == (2, 3, 30)
        assert [event["extra"] for event in events(outcome)] == [extra, extra]
        assert [event["dest_asset_key"]["uri"] for event in events(outcome)] == [
            "s3://bucket/watches",
            summary["results"],
        ]

    def test_a_batch_tells_nothing_of_what_it_only_priced(self, emulator: Emulator, destination: str) -> None:
        with DAG("assets", schedule=None):
            batch = SeedreamBatchOperator(
                task_id="batch",
                requests=[{"prompt": "a fox"}],
                destination=destination,
                dry_run=True,
                outlets=[IMAGES],
            )
        assert events(Runner().run(batch)) == []


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://my_conn@bucket/a/b_1.png", "s3://bucket/a/b_1.png"),
        ("S3://bucket/a.png", "s3://bucket/a.png"),
        ("s3://bucket/a.png?X-Amz-Signature=secret", "s3://bucket/a.png"),
        ("s3://my_conn@bucket/watch #1/a_1.png", "s3://bucket/watch %231/a_1.png"),
        ("s3://my_conn@bucket/watch #1/a.png?X-Amz-Signature=secret", "s3://bucket/watch %231/a.png"),
        ("s3://my#conn@bucket/a.png", "s3://bucket/a.png"),
        ("/data/#1/a?.png", "file:///data/%231/a%3F.png"),
        ("gs://user:password@bucket/a.png", "gs://bucket/a.png"),
        ("abfs://my_conn@container/a.png", "abfs://container/a.png"),
        ("/data/a.png", "file:///data/a.png"),
        ("file:///data/x/../a.png", "file:///data/a.png"),
        ("local:///data/a.png", "file:///data/a.png"),
    ],
)
def test_a_file_is_named_without_connection_and_query(uri: str, expected: str) -> None:
    assert asset_uri(uri) == expected
    assert Asset(uri=expected).uri == expected


class TestPartitions:
    """What the page says of keys; the run's own key is put on by Airflow's server."""

    @pytest.mark.skipif(
        not hasattr(OutletEventAccessor, "add_partitions"), reason="keys at run time came with Airflow 3.3"
    )
    def test_keys_that_are_chosen_when_all_is_landed_travel_with_the_event(
        self, emulator: Emulator, destination: str, deferrable: bool
    ) -> None:
        def by_folder(context: Any, result: Any) -> None:
            for image in result["images"]:
                context["outlet_events"][WATCHES].add_partitions(image["uri"].split("/")[-2])

        emulator.configure(seconds_per_image=(0.5, 0.5))
        with DAG("shops", schedule=None):
            draw = SeedreamGenerateOperator(
                task_id="draw",
                prompt="a watch",
                destination=f"{destination}/berlin",
                wait=True,
                deferrable=deferrable,
                poke_interval=0.1,
                outlets=[WATCHES],
                post_execute=by_folder,
            )
        outcome = Runner().run(draw)
        [event] = events(outcome)
        assert (event["partition_key"], event["extra"]["images_landed"]) == ("berlin", 1)
        assert bool(outcome.deferrals) == deferrable
