"""The arguments of a batch, as the runner reads them. The batch operator has these attributes; the runner does not import it."""

from datetime import timedelta
from typing import Any, Protocol

from airflow_provider_seedream.tasks.wait_options import (
    OnPartial,
)


class AskedBatch(Protocol):
    """The rendered arguments of a batch, and Airflow's way to defer it. Durations are seconds, money is credits."""

    seedream_conn_id: str
    requests: list[dict[str, Any]] | str
    template: str | None
    image_size: Any
    num_images: Any
    enable_safety_checker: Any
    take: Any
    destination: str | None
    results: str | None
    parquet: bool | None
    max_in_flight: int
    max_credits: Any
    max_credits_per_run: Any
    on_error: str
    on_partial: OnPartial
    on_unknown_submit: str
    reuse: str
    is_dry_run: bool
    deferrable: bool
    poke_interval: float | None
    timeout: float
    max_image_bytes: int
    embed_metadata: bool
    settling_seconds: float
    execution_timeout: Any

    def defer(self, *, trigger: Any, method_name: str, kwargs: dict[str, Any] | None = ..., timeout: timedelta | None = ...) -> Any:
        """Leave the worker until the trigger fires, or for the timeout; never returns."""

    def check_rendered_fields(self) -> None:
        """:raises SeedreamInputError: a template gave nothing."""
