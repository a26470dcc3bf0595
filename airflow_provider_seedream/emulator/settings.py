"""Every knob of the emulator, with its unit; the defaults are the vendor's documented or reported behaviour.

A ``Settings`` is a value: it is replaced as a whole, never changed in place, so a request sees one consistent
set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

ErrorShape = Literal[
    "sentence",
    "error_code",
    "code_detail",
    "error_message",
    "nested",
    "detail",
    "detail_list",
    "fields",
    "text",
    "html",
    "empty",
]
RetryAfterForm = Literal["seconds", "date", "none"]
UnknownFields = Literal["ignore", "refuse"]
LinkNames = Literal["plain", "escaped"]
Range = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The behaviour of the emulator while no fault is injected; by default that of the API, as far as it is
    known::

        Emulator(Settings(balance_credits=20, rate_limit_per_minute=0))

    Each field says its unit and its source: [doc] documented by the vendor, [seen] reported by users.
    ``docs/testing-your-dags.md`` has them as a table.
    """

    tls: bool = False  # https with a certificate of its own, on both ports; chosen at the start alone
    key: str = "seedream-emulator-key"
    expired_key: str = "seedream-emulator-expired-key"  # answered with api_key_expired
    revoked_key: str = "seedream-emulator-revoked-key"  # answered with api_key_revoked
    balance_credits: int = 1000  # in the wallet at the start and after a reset
    # [doc]; a user of a sister endpoint was billed about six times its page [seen]
    credits_per_image: int = 10
    rate_limit_per_minute: int = 3  # [doc]; 0 switches it off
    status_counts: bool = False  # whether status calls count against the rate limit: contested [seen]
    wallet_shows_rate_limit: bool = True
    retry_after: RetryAfterForm = "seconds"  # how a 429 says when to come back
    error_shape: ErrorShape = "sentence"  # the only one that live clients attest [seen]
    validation_status: int = 400  # 400 or 422 [doc]
    unknown_fields: UnknownFields = "ignore"  # contested: a sister endpoint refused one [seen]
    submit_status: int = 200  # of an accepted submission: any 2xx
    # answer to a status call once the results are gone: undocumented; 200: FINISHED with null assets
    expired_status: int = 404
    max_body_bytes: int = 160_000_000  # above it: 413; ten allowed inputs make ~140 MB
    speed: float = 1.0  # divides the time a job and its late assets take
    seconds_per_image: Range = (20.0, 40.0)  # [doc]
    late_assets_seconds: Range = (3.0, 12.0)  # assets stay null this long after FINISHED [seen]
    result_lifetime_seconds: float = 24 * 3600.0  # [doc]
    link_lifetime_seconds: float = 3600.0  # [seen]
    latency_seconds: Range = (0.3, 1.0)  # waited before every answer of the API
    # of result files: with percent-escapes that a client must not rewrite, or without
    link_names: LinkNames = "escaped"
    # whether a seed repeats an image: the model's owner says that this model has none [seen]
    honour_seed: bool = False
    quirks: bool = True  # unknown keys now and then, progress now and then missing
    image_scale: float = 1.0  # 0.125 draws a 2048 px image at 256 px
    flat_images: bool = False  # one tiny cached PNG for everything: for load tests

    @classmethod
    def fast(cls, **changes: Any) -> Settings:
        """Settings for tests: sub-second jobs, small images, no rate limit, a full wallet.

        Example::

            Settings.fast(balance_credits=30)  # fast, but for an almost empty wallet

        :param changes: fields that differ from these.
        """
        quick = cls(
            balance_credits=100_000,
            rate_limit_per_minute=0,
            seconds_per_image=(0.2, 0.2),
            late_assets_seconds=(0.1, 0.1),
            latency_seconds=(0.0, 0.0),
            image_scale=0.125,
        )
        return quick.changed(changes)

    def changed(self, changes: Mapping[str, Any]) -> Settings:
        """A copy with some fields replaced. A number may be given for a range, an integer for a float.

        :raises ValueError: a name or a type is wrong; the text names the field.
        :param changes: values by the name of the field, as JSON has them.
        """
        known = {field.name for field in fields(self)}
        unknown = sorted(set(changes) - known)
        if unknown:
            raise ValueError(f"no such setting: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        return replace(
            self, **{name: _coerced(name, getattr(self, name), value) for name, value in changes.items()}
        )

    def to_dict(self) -> dict[str, Any]:
        """Every setting, ready for JSON."""
        return asdict(self)


_CHOICES: dict[str, tuple[str, ...]] = {
    "error_shape": get_args(ErrorShape),
    "link_names": get_args(LinkNames),
    "retry_after": get_args(RetryAfterForm),
    "unknown_fields": get_args(UnknownFields),
}


def _coerced(name: str, current: Any, value: Any) -> Any:
    """The value as the field's type, e.g. 3 as 3.0.

    :param name: of the field, for the message.
    :param current: the value in force, whose type the new one must have.
    :raises ValueError: it has another type, or is none of the choices.
    """
    if name in _CHOICES and value not in _CHOICES[name]:
        raise ValueError(f"{name} must be one of {', '.join(_CHOICES[name])}, not {value!r}")
    if isinstance(current, tuple):
        # A pair ``(low, high)``; a single number is both.
        pair = (value, value) if isinstance(value, int | float) else tuple(value)
        if len(pair) != 2 or pair[0] > pair[1]:
            raise ValueError(f"{name} must be a number or a [low, high] pair, not {value!r}")
        return (float(pair[0]), float(pair[1]))
    if isinstance(current, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(current):
        raise ValueError(f"{name} must be of type {type(current).__name__}, not {value!r}")
    return value
