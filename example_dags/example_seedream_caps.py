"""Caps of a connection: whose credits they are, a warning when most of them are spent, and a task that waits
for the next day.

The caps stand in the connection, e.g. {"max_credits_per_day": 2000, "label_caps": {"team=shop": {"day":
500}}, "warn_at": 0.8}.
"""

import logging
from datetime import timedelta

from airflow.sdk import Context, dag

from airflow_provider_seedream.operators.seedream import SeedreamBatchOperator, SeedreamGenerateOperator

log = logging.getLogger(__name__)


def tell_the_shop(context: Context) -> None:
    """In the place of a notifier: called once a day, by the first request that passes the share."""
    budget = context["seedream_budget"]  # type: ignore[typeddict-item]  # ours, beside Airflow's own
    log.warning(
        "%s: %s credits are spent, until %s.", budget["cap"], budget["spent_credits"], budget["ends_at"]
    )


@dag(
    description="Caps and labels: rows beyond a cap are skipped, one picture waits for the next day",
    schedule=None,
    default_args={"retries": 2, "labels": {"team": "shop"}, "on_budget_warning": tell_the_shop},
    tags=["seedream"],
)
def example_seedream_caps() -> None:
    catalogue = SeedreamBatchOperator(
        task_id="catalogue",
        requests=[
            {"prompt": f"a {metal} watch on a white table", "name": metal}
            for metal in ("steel", "gold", "silver")
        ],
        deferrable=True,
    )
    hero = SeedreamGenerateOperator(
        task_id="hero",
        prompt="a leather watch on a wet stone",
        name="hero",
        wait=True,
        on_budget="wait",
        timeout=timedelta(hours=25),  # reaches the next midnight of UTC
        deferrable=True,
    )
    catalogue >> hero


example_seedream_caps()
