"""What a task read and wrote, as Airflow's hook lineage and OpenLineage's own extractor see it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from airflow.providers.common.compat.lineage import hook as compat_lineage
from airflow.providers.openlineage.extractors import ExtractorManager
from airflow.sdk import DAG
from PIL import Image

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.operators.seedream import SeedreamEditOperator, SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import Connect
from tests.test_docs import names, section

try:
    from airflow.sdk.lineage import HookLineageCollector
except ImportError:  # below Airflow 3.2
    from airflow.lineage.hook import HookLineageCollector


class Stage:
    """A folder with a source image, and the operators that ran: as they were when they ended, which is
    what a listener gets.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.ended = folder, []  # type: tuple[Path, list[Any]]
        folder.mkdir(parents=True, exist_ok=True)
        self.source = folder / "source.png"
        Image.new("RGB", (64, 64), "teal").save(self.source)

    def options(self, **more: Any) -> dict[str, Any]:
        keep = {
            name: lambda context: self.ended.append(context["task"])
            for name in ("on_success_callback", "on_failure_callback")
        }
        return {"poke_interval": 0.05, **keep, **more}

    def run(self, operator: type[Any], *, runner: Runner | None = None, **options: Any) -> Outcome:
        with DAG("lineage", schedule=None):
            task = operator(task_id=options.pop("task_id", "one"), **self.options(**options))
        return (runner or Runner()).run(task)

    def edit(self, **options: Any) -> Outcome:
        return self.run(
            SeedreamEditOperator,
            prompt="make it red",
            images=[str(self.source)],
            destination=f"file://{self.folder}",
            **options,
        )

    def draw(self, **options: Any) -> Outcome:
        return self.run(
            SeedreamGenerateOperator, **{"prompt": "a fox", "destination": f"file://{self.folder}", **options}
        )

    def extracted(self, state: str = "success") -> Any:
        """What OpenLineage's extractor makes of the operator that ended last."""
        return ExtractorManager().extract_metadata(
            dagrun=SimpleNamespace(run_id="a run"),
            task=self.ended[-1],
            task_instance_state=state,
            task_instance=None,
        )


@pytest.fixture
def stage(emulator: Emulator, folder: Path) -> Stage:
    return Stage(folder)


def named(datasets: Any) -> list[tuple[str, str]]:
    return [(dataset.namespace, dataset.name) for dataset in datasets]


class TestOpenLineage:
    def test_openlineage_sees_an_edit_made_from_its_sources(
        self, stage: Stage, folder: Path, deferrable: bool
    ) -> None:
        landed = stage.edit(wait=True, deferrable=deferrable, num_images=2, name="red").value
        lineage = stage.extracted()
        assert named(lineage.inputs) == [("file", str(stage.source))]
        assert named(lineage.outputs) == [
            ("file", f"{folder}/{file}") for file in ("red_1.png", "red_2.png", "red.json")
        ]
        sizes = [dataset.outputFacets["outputStatistics"].size for dataset in lineage.outputs[:2]]
        assert sizes == [image["size_bytes"] for image in landed["images"]]

    def test_openlineage_sees_which_generation_it_was_and_what_it_cost(
        self, stage: Stage, folder: Path
    ) -> None:
        landed = stage.draw(wait=True, name="fox").value
        facet = stage.extracted().run_facets["seedream"]
        assert (facet.seedreamTaskId, facet.kind, facet.credits) == (
            landed["seedream_task_id"],
            "generate",
            10,
        )
        assert (facet.imagesRequested, facet.imagesLanded) == (1, 1)
        assert (facet.manifest, facet.model) == (
            f"file://{folder}/fox.json",
            json.loads((folder / "fox.json").read_text())["model"],
        )

    def test_openlineage_is_told_what_the_documentation_says(self, stage: Stage) -> None:
        stage.draw(wait=True)
        told = [
            name
            for name in attrs.asdict(stage.extracted().run_facets["seedream"])
            if not name.startswith("_")
        ]
        assert names(section("assets-and-lineage.md", "Lineage")) == told

    def test_openlineage_sees_what_a_sensor_landed_with_the_sources_of_the_task_that_submitted(
        self, stage: Stage, folder: Path
    ) -> None:
        submitted = stage.edit(name="red")
        assert (named(stage.extracted().inputs), stage.extracted().outputs) == (
            [("file", str(stage.source))],
            [],
        )
        stage.run(SeedreamGenerationSensor, generation=submitted.value)
        assert named(stage.extracted().inputs) == [("file", str(stage.source))]
        assert named(stage.extracted().outputs) == [
            ("file", f"{folder}/red_1.png"),
            ("file", f"{folder}/red.json"),
        ]

    def test_openlineage_sees_what_was_landed_by_a_task_that_failed_over_a_partial_result(
        self, stage: Stage, folder: Path
    ) -> None:
        assert (
            stage.draw(
                prompt="a fox [partial:1]", num_images=2, wait=True, settling_seconds=0.5, name="fox"
            ).state
            == "failed"
        )
        assert named(stage.extracted("failed").outputs) == [
            ("file", f"{folder}/fox_1.png"),
            ("file", f"{folder}/fox.json"),
        ]

    def test_openlineage_sees_nothing_of_a_task_that_only_submitted(self, stage: Stage) -> None:
        stage.draw()
        assert (stage.extracted().inputs, stage.extracted().outputs) == ([], [])

    def test_openlineage_is_told_no_prompt_no_link_and_no_connection(
        self, stage: Stage, folder: Path, emulator: Emulator
    ) -> None:
        stage.run(
            SeedreamEditOperator,
            prompt="a secret prompt",
            images=[f"file://my_conn@{stage.source}"],
            destination=f"file://my_conn@{folder}",
            wait=True,
        )
        told = repr(stage.extracted())
        assert str(stage.source) in told
        for secret in ("a secret prompt", "my_conn", "http://", "?", emulator.key):
            assert secret not in told

    def test_openlineage_sees_the_tables_of_a_batch(
        self, stage: Stage, connect: Connect, emulator: Emulator, tmp_path: Path
    ) -> None:
        connect(emulator, requests_per_minute=100_000)
        table = tmp_path / "requests.csv"
        table.write_text("prompt\na fox\n")
        stage.run(SeedreamBatchOperator, requests=str(table), destination=f"file://{stage.folder}")
        assert named(stage.extracted().inputs) == [("file", str(table))]
        assert named(stage.extracted().outputs) == [("file", f"{stage.folder}/results.jsonl")]

    def test_openlineage_has_no_name_for_data_uris(self, stage: Stage) -> None:
        stage.run(
            SeedreamEditOperator,
            prompt="make it red",
            images=[data_uri(stage.source)],
            destination=f"file://{stage.folder}",
        )
        assert stage.extracted().inputs == []


class TestHookLineage:
    """Airflow collects it where a plugin reads it; this one is collected by hand, as a reader would find
    it.
    """

    @pytest.fixture
    def collector(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        found = HookLineageCollector()
        monkeypatch.setattr(compat_lineage, "get_hook_lineage_collector", lambda: found)
        if find_spec("airflow.sdk.plugins_manager"):  # from Airflow 3.2 on
            monkeypatch.setattr(
                "airflow.sdk.plugins_manager.get_hook_lineage_readers_plugins", lambda: ["a reader"]
            )
        return found

    def test_hook_lineage_has_the_sources_the_images_and_the_manifest(
        self, stage: Stage, folder: Path, collector: Any
    ) -> None:
        stage.edit(wait=True, num_images=2, name="red")
        assert uris(collector.collected_assets.inputs) == [f"file://{stage.source}"]
        assert uris(collector.collected_assets.outputs) == [
            f"file://{folder}/{file}" for file in ("red.json", "red_1.png", "red_2.png")
        ]

    def test_hook_lineage_has_the_sources_of_a_task_that_only_submitted(
        self, stage: Stage, collector: Any
    ) -> None:
        stage.edit()
        assert uris(collector.collected_assets.inputs) == [f"file://{stage.source}"]
        assert collector.collected_assets.outputs == []

    def test_hook_lineage_names_the_hook_that_read_and_wrote(self, stage: Stage, collector: Any) -> None:
        stage.draw(wait=True)
        assert {type(found.context) for found in collector.collected_assets.outputs} == {SeedreamHook}

    def test_hook_lineage_does_without_what_no_asset_can_name(self, stage: Stage, collector: Any) -> None:
        deep = f"file://{stage.folder}/" + "/".join(["x" * 250] * 6)
        assert stage.draw(wait=True, destination=deep).state == "success"
        assert collector.collected_assets.outputs == []

    def test_hook_lineage_does_without_what_airflow_will_not_name(
        self, stage: Stage, collector: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The images lie there: a name that Airflow keeps out of a MySQL database fails no task."""
        monkeypatch.setattr("airflow.sdk.definitions.asset.SQL_ALCHEMY_CONN", "mysql://airflow")
        green = stage.source = stage.source.rename(folder / "grün.png")
        outcome = stage.edit(wait=True, name="hut", take=2, retries=2)
        assert (outcome.state, outcome.tries) == ("success", 1)
        assert f"No lineage for file://{green}: " in outcome.log_text
        assert collector.collected_assets.inputs == []
        assert uris(collector.collected_assets.outputs) == [
            f"file://{folder}/hut_take2.json",
            f"file://{folder}/hut_take2_1.png",
        ]
        assert stage.draw(wait=True, name="grüner_hut", retries=2).tries == 1
        assert len(collector.collected_assets.outputs) == 2


class TestTheWholeWay:
    def test_an_event_in_a_file_tells_what_was_made_of_what(self, stage: Stage, tmp_path: Path) -> None:
        """OpenLineage's listener, in a process of its own, as its transport is read once."""
        events = tmp_path / "events.jsonl"
        transport = json.dumps({"type": "file", "log_file_path": str(events), "append": True})
        environment = {
            **os.environ,
            "AIRFLOW__OPENLINEAGE__TRANSPORT": transport,
            "AIRFLOW__OPENLINEAGE__EXECUTION_TIMEOUT": "60",
        }
        script = WHOLE_WAY.format(source=str(stage.source), destination=f"file://{stage.folder}")
        subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=600, cwd=CHECKOUT)
        told = [json.loads(line) for line in events.read_text().splitlines()]
        [complete] = [event for event in told if event["eventType"] == "COMPLETE"]
        assert [dataset["name"] for dataset in complete["inputs"]] == [str(stage.source)]
        assert [Path(dataset["name"]).name for dataset in complete["outputs"]] == ["red_1.png", "red.json"]
        assert complete["run"]["facets"]["seedream"]["credits"] == 10

    def test_lineage_that_a_plugin_reads_is_collected(self, stage: Stage, tmp_path: Path) -> None:
        (tmp_path / "a_plugin.py").write_text(READER_PLUGIN)
        environment = {**os.environ, "AIRFLOW__CORE__PLUGINS_FOLDER": str(tmp_path)}
        asked = [sys.executable, "-c", COLLECTED, str(stage.source)]
        answer = subprocess.run(
            asked, env=environment, check=True, timeout=600, cwd=CHECKOUT, capture_output=True, text=True
        )
        assert answer.stdout.splitlines()[-1] == f"['file://{stage.source}']"


CHECKOUT = Path(__file__).parents[2]
READER_PLUGIN = """
from airflow.providers.common.compat.sdk import AirflowPlugin

try:
    from airflow.sdk.lineage import HookLineageReader
except ImportError:  # below Airflow 3.2
    from airflow.lineage.hook import HookLineageReader


class Reading(AirflowPlugin):
    name = "reading"
    hook_lineage_readers = [HookLineageReader]
"""
COLLECTED = """
import sys
from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector
from airflow_provider_seedream.observability.lineage import report

report(object(), reads=[sys.argv[1]])
print([one.asset.uri for one in get_hook_lineage_collector().collected_assets.inputs])
"""
WHOLE_WAY = """
from airflow.sdk import DAG
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.operators.seedream import SeedreamEditOperator
from tests.airflow.runner import Runner

usual = dict(prompt="make it red", name="red", wait=True, poke_interval=0.1)
with DAG("lineage", schedule=None):
    task = SeedreamEditOperator(task_id="edit", images=[{source!r}], destination={destination!r}, **usual)
assert Runner().run(task).state == "success"
"""


def uris(collected: Any) -> list[str]:
    return sorted(found.asset.uri for found in collected)


def data_uri(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
