"""The page and the dashboard against the table of metrics."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_seedream.observability.metrics import METRICS, SPANS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "observability.md").read_text()
DASHBOARD: dict[str, Any] = json.loads((DOCS / "assets" / "grafana-seedream.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
SUFFIXES = {"counter": ("", "_total"), "timer": ("_sum", "_count")}


def exported() -> dict[str, str]:
    """Every name that Prometheus may have, and the metric it is of."""
    return {
        f"airflow_{metric.name.replace('.', '_')}{suffix}": metric.name
        for metric in METRICS
        for suffix in SUFFIXES[metric.kind]
    }


def named(expression: str) -> set[str]:
    """The names that an expression may match, optional endings spelled out."""
    found = re.findall(r'__name__=~?"([^"]+)"', expression)
    return {
        name.replace("(_total)?", ending)
        for name in found
        for ending in (("", "_total") if "(" in name else ("",))
    }


class TestThePage:
    def test_its_table_is_the_modules(self) -> None:
        rows = re.findall(r"^\| `(seedream\.[\w.]+)` \| (counter|timer) \| (.+) \|$", PAGE, re.MULTILINE)
        assert rows == [(metric.name, metric.kind, metric.counts) for metric in METRICS]

    def test_its_spans_are_the_modules(self) -> None:
        assert dict(re.findall(r"^\| `(seedream\.[\w.]+)` \| ([^|]+) \|$", PAGE, re.MULTILINE)) == SPANS


class TestTheDashboard:
    def test_it_is_one_that_grafana_imports(self) -> None:
        assert isinstance(DASHBOARD["schemaVersion"], int)
        assert {"title", "uid", "time", "templating", "panels"} <= set(DASHBOARD)
        assert "id" not in DASHBOARD  # the id of another Grafana's database

    def test_its_panels_have_ids_of_their_own_and_do_not_overlap(self) -> None:
        assert len({panel["id"] for panel in PANELS}) == len(PANELS)
        taken: set[tuple[int, int]] = set()
        for place in (panel["gridPos"] for panel in PANELS):
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken
            assert max(x for x, _ in cells) < 24
            taken |= cells

    @pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
    def test_every_panel_asks_the_chosen_data_source(self, panel: dict[str, Any]) -> None:
        assert panel["type"] in ("stat", "timeseries")
        assert panel["title"] and panel["description"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}

    @pytest.mark.parametrize("expression", EXPRESSIONS)
    def test_every_query_names_our_metrics_and_balances_its_brackets(self, expression: str) -> None:
        assert named(expression) and named(expression) <= set(exported())
        assert all(expression.count(left) == expression.count(right) for left, right in ("()", "{}", "[]"))

    def test_every_metric_is_shown(self) -> None:
        assert {exported()[name] for expression in EXPRESSIONS for name in named(expression)} == {
            metric.name for metric in METRICS
        }

    def test_every_variable_that_is_used_is_there(self) -> None:
        used = set(re.findall(r"\$\{?(\w+)", json.dumps([EXPRESSIONS, PANELS]))) - {
            "__range",
            "__rate_interval",
        }
        assert used == {variable["name"] for variable in DASHBOARD["templating"]["list"]}
