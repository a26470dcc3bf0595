"""Faults that are waiting to happen, and the choice of which one strikes a request.

A fault is injected by a test or spelled in a prompt (``magic.py``); both end up in the same list. Nothing in
here touches a socket.
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

        # makes Fault("rate-limited", seconds=21, times=1)
        emulator.inject("rate-limited", seconds=21, times=1)

    A field that is None does not restrict the requests, or leaves the argument at the default of the kind.
    ``docs/testing-your-dags.md`` lists the kinds.

    :param kind: e.g. ``refuse``, ``drop-after-accept``, ``late-assets``.
    :param endpoint: where it strikes; ``submit`` means generate and edit.
    :param times: how often; None for every time.
    :raises ValueError: the kind or the endpoint does not exist.
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
        """From JSON, e.g. ``{"kind": "refuse", "endpoint": "status", "status": 503, "times": 3}``.

        :raises ValueError: a key is unknown, or ``kind`` is missing or unknown.
        """
        unknown = sorted(set(value) - {field.name for field in fields(cls)})
        if unknown or "kind" not in value:
            raise ValueError(
                f"a fault needs 'kind' and knows no {', '.join(unknown)}" if unknown else "'kind' is missing"
            )
        return cls(**value)

    def to_dict(self) -> dict[str, Any]:
        """As JSON, without the fields that restrict nothing."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}

    @property
    def info(self) -> Kind:
        """The row of its kind: stage, argument, default."""
        return KINDS[self.kind]

    def number(self, argument: Literal["status", "seconds", "count", "size_bytes"]) -> float:
        """A numeric argument: the fault's own, else the default of its kind, else 0."""
        value = getattr(self, argument)
        return float(self.info.default or 0) if value is None else float(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """A moment at which a fault may strike::

        Occasion(
            stage="answer", endpoint="status", now=clock.now(), prompt="a watch", seedream_task_id="6f2c..."
        )

    :param now: epoch seconds by the emulator's clock, for faults with ``until_epoch``.
    """

    stage: Stage
    endpoint: Endpoint
    now: float
    prompt: str = ""
    seedream_task_id: str | None = None
    image_index: int | None = None


def strikes(fault: Fault, occasion: Occasion) -> bool:
    """True if a fault is meant for this moment: stage, endpoint, count, time, prompt, generation and image
    all fit.

    The image of a fault about the course of a generation is an argument (which asset stays null), so it does
    not restrict.
    """
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
    """True if the endpoint fits. Without one of its own, a fault strikes where its kind is at home."""
    meant = fault.endpoint or _HOME[fault.info.stage]
    return meant == occasion.endpoint or (meant == "submit" and occasion.endpoint in ("generate", "edit"))


class Faults:
    """The faults in force, in the order in which they were injected; of several that fit, the first strikes.
    Thread-safe.

    Example::

        emulator.inject("refuse", status=503, times=2)
        assert emulator.faults.active[0].times == 2
        emulator.faults.clear()
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def inject(self, *faults: Fault) -> None:
        """Put faults in force, behind those that are in force already."""
        with self._lock:
            self._faults.extend(faults)

    def clear(self) -> None:
        """End all faults. The course of a generation that has begun stays disturbed."""
        with self._lock:
            self._faults.clear()

    @property
    def active(self) -> tuple[Fault, ...]:
        """The faults that may still strike; those that are used up are left out."""
        with self._lock:
            return tuple(fault for fault in self._faults if fault.times != 0)

    def take(self, occasion: Occasion) -> Fault | None:
        """The first fault meant for this moment, counted as used."""
        with self._lock:
            return next(
                (self._use(at) for at, fault in enumerate(self._faults) if strikes(fault, occasion)), None
            )

    def take_all(self, occasion: Occasion) -> tuple[Fault, ...]:
        """Every fault meant for this moment, counted as used: a job can be slow and partial at once."""
        with self._lock:
            return tuple(self._use(at) for at, fault in enumerate(self._faults) if strikes(fault, occasion))

    def _use(self, at: int) -> Fault:
        """Count one strike. Faults are values: the list gets a copy with one time less."""
        fault = self._faults[at]
        if fault.times is not None:
            self._faults[at] = replace(fault, times=fault.times - 1)
        return fault
