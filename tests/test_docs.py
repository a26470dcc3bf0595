"""The documentation against the code: every snippet runs, every table of fields, errors and parameters is
complete.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import airflow.sdk
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSensorTimeout, BaseOperator
from airflow.sdk.definitions._internal.contextmanager import DagContext
from airflow.sdk.definitions.dag import DAG
from airflow.sdk.definitions.mappedoperator import MappedOperator

from airflow_provider_seedream import __version__, exceptions
from airflow_provider_seedream.batch.rows import PARAMETERS, RESULT_COLUMNS, check_column
from airflow_provider_seedream.batch.statuses import Status
from airflow_provider_seedream.emulator import Emulator, Settings, facts
from airflow_provider_seedream.emulator.errors import error_body, throttled_text
from airflow_provider_seedream.generations import Generation, LandedGeneration, LandedImage
from airflow_provider_seedream.ledger.outcomes import Freed
from airflow_provider_seedream.ledger.records import Outcome as LedgerOutcome
from airflow_provider_seedream.ledger.records import Record
from airflow_provider_seedream.manifest import Manifest, ManifestImage
from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.verdicts import VERDICTS
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.operators.seedream import SeedreamEditOperator, SeedreamGenerateOperator
from airflow_provider_seedream.provider_info import get_provider_info
from airflow_provider_seedream.sensors.seedream import SeedreamCreditsSensor, SeedreamGenerationSensor
from tests.airflow.runner import Outcome, Runner
from tools import compatibility
from tools.matrix import CORNERS, Corner

CHECKOUT = Path(__file__).parents[1]
DOCS = CHECKOUT / "docs"
PACKAGE = CHECKOUT / "airflow_provider_seedream"
PAGES = [*sorted(DOCS.glob("*.md")), CHECKOUT / "README.md"]
# Compiled, not run: snippets for a test module of the reader's, and what imports Airflow's retry policies
# before there were any.
FRAGMENTS = {"testing-your-dags.md", *([] if hasattr(airflow.sdk, "RetryPolicy") else ["retries.md"])}
GUARANTEES = range(1, 21)
# else a batch waits for the turns that tests before it took in this process
UNPACED = {"requests_per_minute": 6000}
ERRORS = {
    name: cls
    for name, cls in vars(exceptions).items()
    if inspect.isclass(cls) and issubclass(cls, exceptions.SeedreamError) and name.startswith("Seedream")
}


def snippets(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def section(page: str, heading: str) -> str:
    """The text from a heading to the next of the same or a higher level."""
    text = (DOCS / page).read_text()
    found = re.search(rf"^(#+) {re.escape(heading)}$\n(.*?)(?=^#{{1,6}} |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found is not None, f"{page} has no heading {heading!r}"
    return found[2]


def rows(text: str) -> list[list[str]]:
    """The cells of every table row, headings left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for number, row in enumerate(table) if not is_heading(lines, number)]


def is_heading(lines: list[str], number: int) -> bool:
    rule = re.compile(r"[|\s-]+")
    after = lines[number + 1] if number + 1 < len(lines) else ""
    return rule.fullmatch(lines[number]) is not None or (rule.fullmatch(after) is not None and "-" in after)


def names(text: str) -> list[str]:
    """The names in code in the first column."""
    return [name for row in rows(text) for name in re.findall(r"`(\w+)`", row[0])]


def field_names(*classes: type) -> list[str]:
    return [field.name for cls in classes for field in dataclasses.fields(cls)]


def parameters(cls: type) -> dict[str, Any]:
    """The parameters of an operator that are its own, with their defaults."""
    signature = inspect.signature(vars(cls)["__init__"])
    own = [one for one in signature.parameters.values() if one.kind is inspect.Parameter.KEYWORD_ONLY]
    return {one.name: one.default for one in own}


class TestMenu:
    MENU = re.findall(r"^ +- ([^:]+): (\S+\.md)$", (CHECKOUT / "mkdocs.yml").read_text(), re.MULTILINE)

    def test_every_page_is_in_it_once(self) -> None:
        assert sorted(file for _, file in self.MENU) == sorted(page.name for page in DOCS.glob("*.md"))

    @pytest.mark.parametrize(("entry", "file"), MENU)
    def test_an_entry_says_the_title_of_its_page(self, entry: str, file: str) -> None:
        text = (CHECKOUT / "CHANGELOG.md" if file == "changelog.md" else DOCS / file).read_text()
        assert re.findall(r"^# (.+)$", text, re.MULTILINE)[0] == entry


class TestSnippets:
    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
    def test_every_python_block_runs_after_those_before_it(self, page: Path) -> None:
        namespace: dict[str, Any] = {"__name__": page.stem}
        for number, code in enumerate(snippets(page, "python"), 1):
            compiled = compile(code, f"{page.name}, block {number}", "exec")
            if page.name not in FRAGMENTS:
                exec(compiled, namespace)

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
    def test_a_block_that_needs_a_logical_date_says_so(self, page: Path) -> None:
        """Runs that REST, an asset or `airflow dags trigger` has started have none, and no `ds`."""
        for code in snippets(page, "python"):
            assert not re.search(r"\{\{ *(ds|ts|logical_date|data_interval)", code) or "logical date" in code

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
    def test_every_json_block_is_json(self, page: Path) -> None:
        for code in snippets(page, "json"):
            json.loads(code)

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
    def test_every_link_to_a_file_leads_to_one(self, page: Path) -> None:
        for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), link


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """Jobs are done at the first poll; images land below `tmp_path`."""
    with Emulator(Settings.fast(seconds_per_image=(0.0, 0.0), late_assets_seconds=(0.0, 0.0))) as emulator:
        connection = {
            **json.loads(emulator.airflow_connection_json()),
            "extra": {"destination": tmp_path.as_uri(), **UNPACED},
        }
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(connection))
        yield emulator


class TestDags:
    @pytest.mark.parametrize(
        "page",
        [
            "README.md",
            *(
                f"docs/{name}.md"
                for name in ("index", "quickstart", "operators", "taskflow", "assets-and-lineage")
            ),
        ],
    )
    def test_the_first_dag_of_a_page_lands_what_it_promises(
        self, page: str, emulator: Emulator, tmp_path: Path
    ) -> None:
        code = snippets(CHECKOUT / page, "python")[0].replace("s3://aws_default@my-bucket", tmp_path.as_uri())
        outcomes = Runner(logical_date=None).run_dag(dag_of(code))  # as `airflow dags trigger` starts it
        assert all(isinstance(one, Outcome) and one.state == "success" for one in outcomes.values())
        landed = [path for path in tmp_path.rglob("*.png") if ".thumb." not in path.name]
        assert len(landed) * 10 == emulator.books.credits_charged == 20
        assert emulator.books.violations == ()

    def test_the_batch_lands_what_it_promises(self, emulator: Emulator, tmp_path: Path) -> None:
        code = snippets(DOCS / "batch.md", "python")[0].replace(
            "s3://aws_default@my-bucket", tmp_path.as_uri()
        )
        [task] = dag_of(code.replace("deferrable=True", "poke_interval=0.1")).tasks
        outcome = Runner().run(task)
        assert (outcome.state, outcome.value["count"]["landed"], emulator.books.credits_charged) == (
            "success",
            2,
            20,
        )


CREDITS_OF_RECIPES = {
    "nightly_campaign": 20,
    "ab_sets": 40,
    "localised_sale": 40,
    "catalogue_backfill": 20,
    "paid_night": 20,
    "approved_watches": 30,
}


class TestRecipes:
    """Each is a DAG of its own, run to its end; a person's yes is taken for granted."""

    @pytest.fixture
    def recipes(self, tmp_path: Path) -> dict[str, DAG]:
        for table in ("tables/2026-03-01.csv", "catalogue/products.csv"):
            (tmp_path / table).parent.mkdir()
            (tmp_path / table).write_text("prompt,product,sku\na watch,watch,1\na bag,bag,2\n")
        # A loop is a DAG from Airflow 3.4 on; its example runs in tests/test_example_dags.py there.
        codes = [code for code in snippets(DOCS / "recipes.md", "python") if ".loop(" not in code]
        dags = [dag_of(code.replace("s3://aws_default@my-bucket", tmp_path.as_uri())) for code in codes]
        return {dag.dag_id: dag for dag in dags}

    def test_all_recipes_are_tested(self, recipes: dict[str, DAG]) -> None:
        assert list(recipes) == list(CREDITS_OF_RECIPES)

    @pytest.mark.parametrize("name", CREDITS_OF_RECIPES)
    def test_it_runs_as_it_stands_and_pays_what_it_should(
        self, name: str, recipes: dict[str, DAG], emulator: Emulator
    ) -> None:
        runner = Runner()
        tasks = [task for task in recipes[name].topological_sort() if task.task_id != "approve"]
        for task in tasks:
            outcomes = runner.run_mapped(task) if isinstance(task, MappedOperator) else [runner.run(task)]
            assert {outcome.state for outcome in outcomes} == {"success"}
        assert emulator.books.credits_charged == CREDITS_OF_RECIPES[name]
        assert emulator.books.violations == ()

    def test_the_sets_lie_side_by_side(self, recipes: dict[str, DAG], emulator: Emulator) -> None:
        sides = Runner().run_dag(recipes["ab_sets"])["sides"]
        assert isinstance(sides, Outcome)
        assert {side: [uri.rpartition("/")[2] for uri in uris] for side, uris in sides.value.items()} == {
            "A": ["poster_1.png", "poster_2.png"],
            "B": ["poster_take2_1.png", "poster_take2_2.png"],
        }

    def test_the_catalogue_is_paid_once(self, recipes: dict[str, DAG], emulator: Emulator) -> None:
        for day in (1, 8):
            runner = Runner(run_id=f"scheduled__{day}", logical_date=datetime(2026, 3, day, tzinfo=UTC))
            runner.run_dag(recipes["catalogue_backfill"])
        assert emulator.books.posts == 2

    def test_the_night_waits_for_what_its_table_costs(
        self, recipes: dict[str, DAG], emulator: Emulator
    ) -> None:
        emulator.configure(balance_credits=19)
        runner, dag = Runner(), recipes["paid_night"]
        assert runner.run(dag.get_task("price")).value["credits"] == 20
        assert runner.run(dag.get_task("top_up"), until="deferred").state == "deferred"


class TestAdvice:
    """What "Manifest and ledger" tells people to do does what it says."""

    def test_an_unknown_record_that_was_given_its_id_is_attached_to(
        self, emulator: Emulator, tmp_path: Path
    ) -> None:
        runner, submit, record = self.lost_answer("[drop-after-accept]", tmp_path)
        fields = json.loads(record.read_text())
        fields |= {"outcome": "submitted", "seedream_task_id": emulator.books.submissions[0].seedream_task_id}
        record.write_text(json.dumps(fields))
        runner.clear(submit)
        assert runner.run(submit).value["seedream_task_id"] == fields["seedream_task_id"]
        assert emulator.books.posts_received == 1

    def test_a_request_that_was_not_accepted_is_sent_once_its_record_is_deleted(
        self, emulator: Emulator, tmp_path: Path
    ) -> None:
        runner, submit, record = self.lost_answer("[drop*1]", tmp_path)
        record.unlink()
        runner.clear(submit)
        assert runner.run(submit).state == "success"
        assert (emulator.books.posts_received, emulator.books.posts) == (2, 1)

    def test_a_copied_folder_is_landed_already(self, emulator: Emulator, tmp_path: Path) -> None:
        runner = Runner()
        with DAG("watches", schedule=None):
            submit = SeedreamGenerateOperator(task_id="submit", prompt="a watch", name="hero")
            land = SeedreamGenerationSensor(task_id="land", generation=submit.output)
            copied = f"{tmp_path.as_uri()}/copy"
            land_again = SeedreamGenerationSensor(
                task_id="land_again", generation=submit.output, destination=copied
            )
        runner.run(submit)
        runner.run(land)
        downloads = emulator.books.downloads
        shutil.copytree(tmp_path, tmp_path / "copy")
        assert runner.run(land_again).value["images"][0]["uri"] == f"{copied}/hero_1.png"
        assert emulator.books.downloads == downloads

    def lost_answer(self, trouble: str, folder: Path) -> tuple[Runner, SeedreamGenerateOperator, Path]:
        """A submitting task that failed, as its answer got lost, and its record."""
        runner = Runner()
        with DAG("watches", schedule=None):
            submit = SeedreamGenerateOperator(task_id="submit", prompt=f"a watch {trouble}", retries=2)
        outcome = runner.run(submit)
        assert (outcome.state, outcome.tries) == ("failed", 1)
        [record] = (folder / "_seedream" / "ledger").iterdir()
        assert json.loads(record.read_text())["outcome"] == "unknown"
        return runner, submit, record


def dag_of(code: str) -> DAG:
    """The DAG that a snippet makes, found as Airflow finds it."""
    DagContext.autoregistered_dags.clear()
    DagContext.current_autoregister_module_name = __name__
    try:
        exec(code, {})
        [(dag, _)] = DagContext.autoregistered_dags
    finally:
        DagContext.current_autoregister_module_name = None
    return dag


class TestReliability:
    def test_the_table_of_guarantees_is_complete(self) -> None:
        table = rows(section("reliability-and-cost.md", "The guarantees"))
        assert [row[0] for row in table] == [f"G{number}" for number in GUARANTEES]
        assert all(len(row) == 4 for row in table)

    @pytest.mark.parametrize("number", GUARANTEES)
    def test_each_guarantee_has_a_test_that_names_it(self, number: int) -> None:
        word = re.compile(rf"\bG{number}\b")
        tests = [
            file
            for folder in ("guarantees", "scheduler")
            for file in (CHECKOUT / "tests" / folder).glob("test_*.py")
        ]
        assert any(word.search(file.read_text()) for file in tests)

    def test_the_table_of_errors_has_exactly_the_classes_there_are_in_their_order(self) -> None:
        assert names(section("reliability-and-cost.md", "Every error")) == list(ERRORS)

    def test_the_api_reference_has_every_error(self) -> None:
        assert re.findall(
            r"^::: airflow_provider_seedream\.exceptions\.(\w+)$", (DOCS / "api.md").read_text(), re.M
        ) == list(ERRORS)

    @pytest.mark.parametrize("name", ERRORS)
    def test_it_says_which_errors_end_a_task_without_retries(self, name: str) -> None:
        """Three classes are made final by who raises them; the table says "no" and when that is otherwise."""
        final = issubclass(ERRORS[name], AirflowFailException | AirflowSensorTimeout)
        raised_final = {
            "SeedreamInsufficientCreditsError",
            "SeedreamAmbiguousSubmissionError",
            "SeedreamGenerationFailedError",
        }
        [verdict] = [
            row[3] for row in rows(section("reliability-and-cost.md", "Every error")) if row[0] == f"`{name}`"
        ]
        if name in raised_final:
            assert "no" in re.split(r"\W+", verdict)
        elif name != "SeedreamAPIError":
            assert verdict.startswith("no" if final else "yes")

    @pytest.mark.parametrize("name", ERRORS)
    def test_it_says_of_each_error_whether_it_was_paid_for(self, name: str) -> None:
        [paid] = [
            row[2] for row in rows(section("reliability-and-cost.md", "Every error")) if row[0] == f"`{name}`"
        ]
        said = paid.split()[0].rstrip(";:,")
        exceptions_to_the_class = {"SeedreamNotFoundError": "yes", "SeedreamModerationError": "no"}
        assert said == exceptions_to_the_class.get(name, ERRORS[name].paid)


class TestTroubleshooting:
    PAGE = (DOCS / "troubleshooting.md").read_text()
    SECTIONS = re.findall(r"^### ([A-Z -]+)$\n(.*?)(?=^#|\Z)", PAGE, re.DOTALL | re.MULTILINE)

    @pytest.mark.parametrize("name", ERRORS)
    def test_the_section_of_its_verdict_names_each_error(self, name: str) -> None:
        named = {verdict for verdict, text in self.SECTIONS if f"`{name}`" in text}
        assert ERRORS[name].verdict in named or (name == "SeedreamError" and named)

    def test_the_section_of_a_verdict_names_each_class_that_is_raised_under_it(self) -> None:
        """A class may be raised under another verdict than its own: a ledger error at a store that cannot
        hold the ledger.
        """
        sections = dict(self.SECTIONS)
        for file in PACKAGE.rglob("*.py"):
            raised = re.findall(
                r"\b(Seedream\w*Error)\((?:[^()]|\([^()]*\))*verdict=\"([A-Z -]+)\"", file.read_text()
            )
            for cls, verdict in raised:
                assert f"`{cls}`" in sections[verdict], f"{cls} under {verdict} in {file.name}"

    def test_every_verdict_has_a_section(self) -> None:
        """An error's last line leads to it: ``troubleshooting.md#unknown-outcome``."""
        assert {verdict for verdict, _ in self.SECTIONS} == set(VERDICTS)

    @pytest.mark.parametrize(("verdict", "text"), SECTIONS, ids=[verdict for verdict, _ in SECTIONS])
    def test_a_section_says_what_it_means_what_it_cost_and_what_to_do(self, verdict: str, text: str) -> None:
        assert re.findall(r"^\*\*(It means|It cost|Do)\*\*", text, re.MULTILINE) == [
            "It means",
            "It cost",
            "Do",
        ]

    def test_each_command_that_it_prints_is_one(self) -> None:
        from airflow_provider_seedream.cli.definition import build_parser

        for command in re.findall(r"^airflow seedream (.+?)(?:  +#.*)?$", self.PAGE, re.MULTILINE):
            words = shlex.split(command)
            build_parser().parse_args(words)


class TestDocstrings:
    def test_each_example_is_indented_below_its_colons(self) -> None:
        """A formatter takes the indentation of an example away where no line of prose stands beside it:
        then it is prose.
        """
        package = Path(exceptions.__file__).parent
        for file in package.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Module):
                    told = ast.get_docstring(node) or ""
                    assert not re.search(r"::\n\n(?! )", told), f"{file.name}: {told[:80]}"


class TestTheMap:
    """The pages for those who change the code: their modules exist, and the drawing has the rooms in the
    order that is held.
    """

    @pytest.mark.parametrize(
        "page", [DOCS / "how-it-works.md", CHECKOUT / "CONTRIBUTING.md"], ids=lambda page: page.name
    )
    def test_each_module_that_it_names_exists(self, page: Path) -> None:
        named = re.findall(r"`([\w./]+/[\w.]*\w)`", page.read_text())
        assert len(named) > 10
        assert [one for one in named if not any((root / one).exists() for root in (CHECKOUT, PACKAGE))] == []

    def test_its_drawing_has_the_rooms_in_their_order(self) -> None:
        [layers] = re.findall(
            r"^layers = \[\n(.*?)^\]", (CHECKOUT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE
        )
        held = [line.split(" | ") for line in re.findall(r'"(.+)"', layers)]
        drawn = [
            line.split(" · ")
            for line in re.findall(r"<text[^>]*>([^<]+)", (DOCS / "assets" / "rooms.svg").read_text())
        ]
        known = {room for layer in held for room in layer}
        # the last layer stands apart: in words
        *rooms, _ = [[room for room in layer if room != "__main__"] for layer in held]
        assert [line for line in drawn if known.issuperset(line)] == rooms


class TestWhatTheApiDoes:
    """The client's and the emulator's readings of the API are two; the page is held to both."""

    PAGE = (DOCS / "what-the-api-does.md").read_text()

    def test_its_paths_and_sizes_are_those_of_client_and_emulator(self) -> None:
        assert set(re.findall(r"`POST (\S+)`", self.PAGE)) == set(contract.SUBMIT_PATHS.values())
        assert set(re.findall(r"`POST (\S+)`", self.PAGE)) == {facts.GENERATE_PATH, facts.EDIT_PATH}
        [sizes] = re.findall(r"^\| `image_size` \| (.+?);", self.PAGE, re.MULTILINE)
        assert (
            tuple(re.findall(r"`(\w+)`", sizes)) == get_args(contract.ImageSize) == tuple(facts.IMAGE_SIZES)
        )

    def test_its_limits_are_those_of_client_and_emulator(self) -> None:
        for said, theirs, ours in [
            (
                rf"each side above {contract.MIN_SOURCE_SIDE - 1} px",
                facts.MIN_SOURCE_SIDE,
                contract.MIN_SOURCE_SIDE,
            ),
            (
                rf"at most {contract.MAX_SOURCE_PIXELS:,} px",
                facts.MAX_SOURCE_PIXELS,
                contract.MAX_SOURCE_PIXELS,
            ),
            (rf"1:{contract.MAX_SOURCE_RATIO} to", facts.MAX_SOURCE_ASPECT, contract.MAX_SOURCE_RATIO),
            (
                rf"{contract.MIN_IMAGES} to {contract.MAX_IMAGES} \| \[doc\]",
                facts.MAX_IMAGES,
                contract.MAX_IMAGES,
            ),
            (
                rf"{contract.CREDITS_PER_IMAGE} credits per image",
                Settings().credits_per_image,
                contract.CREDITS_PER_IMAGE,
            ),
            (
                rf"{contract.DEFAULT_REQUESTS_PER_MINUTE} requests per minute",
                Settings().rate_limit_per_minute,
                3,
            ),
        ]:
            assert re.search(said, self.PAGE), said
            assert theirs == ours, said

    def test_the_emulators_images_have_the_pixels_it_says(self) -> None:
        low, high = (
            int(number.replace(",", ""))
            for number in re.findall(r"([\d,]{9,}) to ([\d,]{9,}) px", self.PAGE)[0]
        )
        assert all(low <= width * height <= high for width, height in facts.IMAGE_SIZES.values())

    def test_the_emulators_error_has_the_shape_it_says(self) -> None:
        [said] = [json.loads(code) for code in snippets(DOCS / "what-the-api-does.md", "json")]
        made = error_body(Settings().error_shape, "rate_limited", throttled_text(21))
        assert json.loads(made.content) == said


class TestFiles:
    def test_every_field_of_the_manifest_is_explained(self) -> None:
        listed = names(section("manifest-and-ledger.md", "The manifest"))
        [written] = [json.loads(code) for code in snippets(DOCS / "manifest-and-ledger.md", "json")]
        assert set(listed) == set(field_names(Manifest, ManifestImage)) | {"images_landed"}
        # written only where it is false
        assert set(written) == (set(field_names(Manifest)) - {"settled"}) | {"images_landed"}
        assert written["provider"] == f"airflow-provider-seedream/{__version__}"

    def test_the_manifest_that_is_shown_is_one(self) -> None:
        [shown] = snippets(DOCS / "manifest-and-ledger.md", "json")
        assert Manifest.from_json(shown.encode()).missing_images == 0

    def test_every_field_and_every_outcome_of_a_record_is_explained(self) -> None:
        listed = names(section("manifest-and-ledger.md", "The ledger"))
        assert set(listed) == set(field_names(Record)) | set(get_args(LedgerOutcome)) | set(get_args(Freed))

    def test_every_field_of_what_travels_through_xcom_is_explained(self) -> None:
        generation = names(section("operators.md", "What it returns"))
        landed = section("sensor.md", "What it returns")
        assert generation == ["schema_version", *field_names(Generation)]
        assert set(names(landed)) == {"schema_version", *field_names(LandedGeneration)}
        assert all(f"`{field}`" in landed for field in field_names(LandedImage))


class TestBatchTables:
    def test_every_column_and_every_status_of_the_results_is_explained(self) -> None:
        assert names(section("batch.md", "Results")) == [*RESULT_COLUMNS, *get_args(Status)]

    def test_every_column_of_a_request_is_explained(self) -> None:
        listed = names(
            "\n".join(line for line in section("batch.md", "Columns").splitlines() if line.startswith("| `"))
        )
        assert listed == list(PARAMETERS)

    @pytest.mark.parametrize("column", ["promt", "num_image", "imageSize", "image_urls", "status"])
    def test_a_column_that_it_says_is_refused_is(self, column: str) -> None:
        with pytest.raises(exceptions.SeedreamInputError):
            check_column(column)

    @pytest.mark.parametrize("column", ["prompt_de", "image_id", "file_name", "negative_prompt"])
    def test_a_column_that_it_says_is_free_is(self, column: str) -> None:
        check_column(column)


class TestParameters:
    def test_every_parameter_of_the_generate_operator_is_explained_with_its_default(self) -> None:
        self.check(SeedreamGenerateOperator, rows(section("operators.md", "Parameters"))[:-2])

    def test_the_edit_operator_has_two_more(self) -> None:
        told = rows(section("operators.md", "Parameters"))
        self.check(SeedreamEditOperator, [told[0], *told[-2:], *told[1:-2]])

    def test_the_edit_operator_spells_the_parameters_of_the_generate_operator_with_the_same_types_and_defaults(
        self,
    ) -> None:
        """An editor completes what is spelled; what is spelled twice could drift."""
        generate = inspect.signature(vars(SeedreamGenerateOperator)["__init__"]).parameters
        edit = inspect.signature(vars(SeedreamEditOperator)["__init__"]).parameters
        assert {name: edit[name] for name in generate} == dict(generate)
        assert set(edit) - set(generate) == {"images", "pick"}

    def test_every_parameter_of_the_batch_operator_is_explained_with_its_default(self) -> None:
        self.check(SeedreamBatchOperator, rows(section("batch.md", "Parameters")))

    def test_every_parameter_of_the_sensor_is_explained_with_its_default(self) -> None:
        self.check(SeedreamGenerationSensor, rows(section("sensor.md", "Parameters")))

    def test_every_parameter_of_the_credits_sensor_is_explained_with_its_default(self) -> None:
        self.check(SeedreamCreditsSensor, rows(section("sensor.md", "Wait for a top-up")))

    def check(self, cls: type[BaseOperator], table: list[list[str]]) -> None:
        said = {row[0].strip("`"): row for row in table}
        actual = parameters(cls)
        assert list(said) == list(actual)
        for name, default in actual.items():
            shown = "required" if default is inspect.Parameter.empty else f"`{default!r}`".replace("'", '"')
            assert (name, said[name][1], said[name][2] == "yes") == (name, shown, name in cls.template_fields)

    def test_every_field_of_the_connection_is_explained(self) -> None:
        [connection] = get_provider_info()["connection-types"]
        listed = re.findall(r"^\| extra `(\w+)`", (DOCS / "connection.md").read_text(), re.MULTILINE)
        assert listed == list(connection["conn-fields"])


class TestExamples:
    def test_each_is_in_the_table(self) -> None:
        files = {path.name for path in (CHECKOUT / "example_dags").glob("*.py")}
        assert files == {
            f"{name}.py" for name in re.findall(r"`(\w+)\.py`", section("operators.md", "Examples"))
        }


class TestCompatibility:
    def test_the_table_of_what_was_run_is_made_of_what_was_run(self) -> None:
        assert compatibility.table_of_the_page() == compatibility.table(compatibility.kept())

    def test_every_python_of_the_package_is_a_corner_that_is_run_where_there_is_one(self) -> None:
        classifiers = (CHECKOUT / "pyproject.toml").read_text()
        declared = re.findall(r'"Programming Language :: Python :: (\d\.\d+)"', classifiers)
        assert sorted({corner.python for corner in CORNERS}) == declared

    @pytest.mark.parametrize("corner", CORNERS, ids=lambda corner: corner.name)
    def test_each_corner_pins_the_airflow_it_speaks_of(self, corner: Corner) -> None:
        assert re.search(
            rf"^apache-airflow=={corner.airflow}\.\d+{'b[0-9]+' * corner.is_beta}$",
            (CHECKOUT / corner.constraints).read_text(),
            re.MULTILINE,
        )


class TestChangelog:
    def test_it_speaks_of_this_version(self) -> None:
        assert f"## [{__version__}] - " in (CHECKOUT / "CHANGELOG.md").read_text()

    def test_each_version_has_each_heading_once_and_in_order(self) -> None:
        text = (CHECKOUT / "CHANGELOG.md").read_text()
        assert not re.findall(r"^(?:<{7}|={7}|>{7})", text, re.MULTILINE)
        assert max(map(len, text.splitlines())) <= 150
        for version in text.split("\n## ")[1:]:
            kinds = re.findall(r"^### (.+)$", version, re.MULTILINE)
            known = ["Added", "Changed", "Fixed", "Not in this version"]
            assert kinds == [kind for kind in known if kind in kinds], version.splitlines()[0]
            bullets = re.findall(r"^- (.{30})", version, re.MULTILINE)
            assert not [bullet for bullet in bullets if bullets.count(bullet) > 1], (
                "a merge has put an entry back"
            )
