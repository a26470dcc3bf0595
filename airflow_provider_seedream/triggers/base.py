"""The common part of our triggers: the arguments as Airflow stores them, the one event, and the rule that
no trigger raises.
"""

from abc import abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass, fields
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

EVENT_VERSION = 1


@dataclass(eq=False, kw_only=True)
class SeedreamTrigger(BaseTrigger):
    """A trigger whose fields are its stored arguments, and which sends one event::

        @dataclass(eq=False, kw_only=True)
        class SeedreamNightTrigger(SeedreamTrigger):
            until_epoch: float

            async def wait(self) -> dict[str, Any]:
                await asyncio.sleep(self.until_epoch - clock.now_epoch())
                return {"outcome": "morning"}

            async def give_up(self, error: Exception) -> dict[str, Any]:
                return {"outcome": "lost"}

    Rows in Airflow's database hold the class path and the fields. So a path never changes, and a field is
    never renamed or removed; a new one gets a default, as rows of earlier versions lack it. Fields are JSON
    values: ids and numbers, no key and no link.
    """

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the arguments, for Airflow's database."""
        # Derived from the fields: an argument that is added cannot be missing after a restart of the
        # triggerer.
        arguments = {field.name: getattr(self, field.name) for field in fields(self)}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Send one event. An error becomes an event, too: if it were raised, the worker would learn only
        that a trigger failed.
        """
        try:
            event = await self.wait()
        except Exception as error:
            self.log.exception("%s failed; its task continues without it.", type(self).__name__)
            event = await self.give_up(error)
        # One event: Airflow resumes the task at the first and drops the trigger.
        yield TriggerEvent({"schema_version": EVENT_VERSION, **event})

    @abstractmethod
    async def wait(self) -> dict[str, Any]:
        """Wait, and return the fields of the event: less than 1 KB of JSON, as Airflow logs all of it."""

    @abstractmethod
    async def give_up(self, error: Exception) -> dict[str, Any]:
        """The fields of the event after an error of ``wait``. It must not raise."""


def fields_of(event: Any) -> dict[str, Any]:
    """The fields of an event; empty for an event of another version or form, e.g. one that a user's code
    has sent.
    """
    return event if isinstance(event, dict) and event.get("schema_version") == EVENT_VERSION else {}
