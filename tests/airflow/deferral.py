"""One wait of a deferred task, as a triggerer lives it: from the stored row to the first event.

The trigger is built from the JSON of its row and its event goes back through JSON, so that what does not
survive storage fails here too. Never imports the provider.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

from airflow.models.trigger import Trigger
from airflow.triggers.base import BaseTrigger, TriggerEvent
from pydantic import TypeAdapter

# what the triggerer stores for a trigger that raised, ended or ran out of time
_RESUME_AS_FAILED = "__fail__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferral:
    """What one deferral stored and what came of it; `row` and `event` are JSON as it lies in the database."""

    classpath: str
    row: str
    next_method: str
    next_kwargs: dict[str, Any]
    timeout: timedelta | None
    event: str | None = None
    failure: str | None = None

    @property
    def kwargs(self) -> dict[str, Any]:
        """The trigger's arguments as a triggerer gets them."""
        return dict(Trigger._decrypt_kwargs(self.row))

    @property
    def payload(self) -> Any:
        return None if self.event is None else json.loads(self.event)

    def trigger(self) -> BaseTrigger:
        """A fresh trigger from the row, as each triggerer makes its own."""
        module, name = self.classpath.rsplit(".", 1)
        return getattr(import_module(module), name)(**self.kwargs)  # type: ignore[no-any-return]


def read_deferral(report: dict[str, Any]) -> Deferral:
    """The deferral the task runner reported."""
    kwargs = report["trigger_kwargs"]
    return Deferral(
        classpath=report["classpath"],
        row=kwargs if isinstance(kwargs, str) else json.dumps(kwargs),
        next_method=report["next_method"],
        next_kwargs=report.get("next_kwargs") or {},
        timeout=TypeAdapter(timedelta | None).validate_python(report.get("trigger_timeout")),
    )


async def first_event(trigger: BaseTrigger) -> TriggerEvent:
    """The first event of a trigger, which is then closed as a finished one is."""
    events = trigger.run()
    try:
        return await anext(events)
    except StopAsyncIteration:
        raise RuntimeError("Trigger exited without sending an event") from None
    finally:
        await events.aclose()  # type: ignore[attr-defined]


async def _race(triggers: list[BaseTrigger]) -> TriggerEvent:
    """The event of the fastest of several copies; the others run to their own end, like orphans do."""
    copies = [asyncio.create_task(first_event(trigger)) for trigger in triggers]
    done, rest = await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    if rest:
        await asyncio.wait(rest)
    return next(iter(done)).result()


def wait_for_event(deferral: Deferral, *, copies: int, patience_seconds: float) -> TriggerEvent:
    """Run the trigger until it speaks; `copies` of them stand for several triggerers on the same row."""
    limit = patience_seconds
    if deferral.timeout is not None:
        limit = min(limit, deferral.timeout.total_seconds())

    async def run() -> TriggerEvent:
        return await asyncio.wait_for(_race([deferral.trigger() for _ in range(copies)]), limit)

    return asyncio.run(run())


def resume_with(deferral: Deferral, run: Callable[[], TriggerEvent]) -> tuple[Deferral, str, dict[str, Any]]:
    """The deferral with its outcome, and the next method and arguments the server stores for the task."""
    try:
        ended = dataclasses.replace(deferral, event=json.dumps(run().payload, default=_as_text))
    except TimeoutError:
        if deferral.timeout is None:
            raise TimeoutError(
                f"no event from {deferral.classpath} within the patience of the test"
            ) from None
        return _failed(deferral, "Trigger timeout", None)
    except Exception as error:
        return _failed(deferral, "Trigger failure", traceback.format_exception(error))
    return (ended, deferral.next_method, encoded({**decoded(deferral.next_kwargs), "event": ended.payload}))


def _as_text(value: Any) -> str:
    """Airflow's own triggers may send a moment, which its messages carry; anything else is an error here
    as there.
    """
    if not isinstance(value, datetime):
        raise TypeError(f"an event cannot carry {value!r}")
    return value.isoformat()


def _failed(deferral: Deferral, reason: str, trace: list[str] | None) -> tuple[Deferral, str, dict[str, Any]]:
    stored = {"error": reason} if trace is None else {"error": reason, "traceback": trace}
    ended = dataclasses.replace(deferral, failure=reason if trace is None else "".join(trace))
    return ended, _RESUME_AS_FAILED, encoded(stored)


def _codec() -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """How this version of Airflow writes and reads the arguments of a resumption."""
    try:
        from airflow.sdk.serde import deserialize, serialize
    except ImportError:  # below 3.2
        from airflow.serialization.serialized_objects import BaseSerialization

        return BaseSerialization.serialize, BaseSerialization.deserialize
    return serialize, deserialize


def encoded(kwargs: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(_codec()[0](kwargs)))  # type: ignore[no-any-return]


def decoded(stored: dict[str, Any]) -> dict[str, Any]:
    return _codec()[1](stored) if stored else {}
