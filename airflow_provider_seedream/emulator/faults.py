"""Faults that are waiting to happen, and the choice of which one strikes a request.

A fault is injected by a test or spelled in a prompt (``magic.py``); both end up in the same list. Nothing in here
touches a socket.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass, fields, replace
from typing import Any, Literal

from airflow_provider_seedream.emulator.kinds import KINDS, Kind, Stage
from airflow_provider_seedream.emulator.settings import ErrorShape, RetryAfterForm

Endpoint = Literal["generate", "edit", "submit", "status", "wallet", "download", "thumbnail"]
_ENDPOINTS: tuple[Endpoint, ...] = ("generate", "edit", "submit", "status", "wallet", "download", "thumbnail")
_HOME: dict[Stage, Endpoint] = {
    "early": "submit",
    "answer": "submit",
    "accepted": "submit",
    "job": "submit",
    "status": "status",
    "image": "download",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of trouble, with the requests that it strikes and how often::

    emulator.inject("rate-limited", seconds=21, times=1)  # makes Fault("rate-limited", seconds=21, times=1)
    """

    kind: str
    _: KW_ONLY
    endpoint: Endpoint | None = None  # None: where this kind is at home; "submit" is generate and edit
    times: int | None = None  # None: every time
    until_epoch: float | None = None  # by the emulator's clock; None: no end
    prompt: str | None = None  # only this very prompt
    prompt_contains: str = ""
    seedream_task_id: str | None = None
    image_index: int | None = None  # from 0; for "one-null", which of the results
    status: int | None = None
    shape: ErrorShape | None = None
    code: str | None = None
    message: str | None = None
    retry_after_seconds: float | None = None
    retry_after_form: RetryAfterForm | None = None
    seconds: float | None = None
    count: int | None = None
    size_bytes: int | None = None
    url: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no such fault: {self.kind!r}; there are {', '.join(KINDS)}")
        if self.endpoint is not None and self.endpoint not in _ENDPOINTS:
            raise ValueError(f"no such endpoint: {self.endpoint!r}; there are {', '.join(_ENDPOINTS)}")

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Fault:
        """From JSON; an unknown key is a ``ValueError``."""
        unknown = sorted(set(value) - {field.name for field in fields(cls)})
        if unknown or "kind" not in value:
            raise ValueError(f"a fault needs 'kind' and knows no {', '.join(unknown)}" if unknown else "'kind' is missing")
        return cls(**value)

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}

    @property
    def info(self) -> Kind:
        return KINDS[self.kind]

    def number(self, argument: Literal["status", "seconds", "count", "size_bytes"]) -> float:
        """The argument, or the default of this kind."""
        value = getattr(self, argument)
        return float(self.info.default or 0) if value is None else float(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """A moment at which a fault may strike."""

    stage: Stage
    endpoint: Endpoint
    now: float
    prompt: str = ""
    seedream_task_id: str | None = None
    image_index: int | None = None


def strikes(fault: Fault, occasion: Occasion) -> bool:
    """Whether a fault is meant for this moment."""
    return (
        fault.info.stage == occasion.stage
        and _same_endpoint(fault, occasion)
        and fault.times != 0
        and (fault.until_epoch is None or occasion.now < fault.until_epoch)
        and (fault.prompt is None or fault.prompt == occasion.prompt)
        and fault.prompt_contains in occasion.prompt
        and fault.seedream_task_id in (None, occasion.seedream_task_id)
        and (occasion.stage == "job" or fault.image_index in (None, occasion.image_index))
    )


def _same_endpoint(fault: Fault, occasion: Occasion) -> bool:
    meant = fault.endpoint or _HOME[fault.info.stage]
    return meant == occasion.endpoint or (meant == "submit" and occasion.endpoint in ("generate", "edit"))


class Faults:
    """The faults in force, in the order they were injected. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def inject(self, *faults: Fault) -> None:
        with self._lock:
            self._faults.extend(faults)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    @property
    def active(self) -> tuple[Fault, ...]:
        with self._lock:
            return tuple(fault for fault in self._faults if fault.times != 0)

    def take(self, occasion: Occasion) -> Fault | None:
        """The first fault meant for this moment, counted as used."""
        with self._lock:
            return next((self._use(at) for at, fault in enumerate(self._faults) if strikes(fault, occasion)), None)

    def take_all(self, occasion: Occasion) -> tuple[Fault, ...]:
        """Every fault meant for this moment, counted as used: a job can be slow and partial at once."""
        with self._lock:
            return tuple(self._use(at) for at, fault in enumerate(self._faults) if strikes(fault, occasion))

    def _use(self, at: int) -> Fault:
        fault = self._faults[at]
        if fault.times is not None:
            self._faults[at] = replace(fault, times=fault.times - 1)
        return fault
