"""How the values of a connection's extra are read, which forms and URIs give as texts: networks, numbers,
flags, and the CA bundle. No I/O; it never imports HTTP, storage or Airflow.
"""

import ipaddress
import json
import math
import os
from collections.abc import Mapping
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.hooks.bundles import BUNDLE_VARIABLES

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def network(text: str) -> Network:
    """One network of ``download_networks``. :raises SeedreamInputError: it is none."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise SeedreamInputError(
            f"Connection extra download_networks must hold networks such as 198.18.0.0/15; got {text[:60]!r}."
        ) from None


def positive(extra: Mapping[str, Any], name: str) -> float | None:
    """A number above 0 from the extra, or None without it. :raises SeedreamInputError: it is none, NaN or
    infinite.
    """
    value = extra.get(name)
    if value in (None, ""):
        return None
    try:
        # of a form's checkbox: true is no price of 1 credit
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise SeedreamInputError(
            f"Connection extra {name} must be a number above 0; got {json.dumps(value)[:40]}."
        )
    return number


def flag(extra: Mapping[str, Any], name: str) -> bool:
    """A boolean of the extra, also as text, which forms and URIs give; False without it.

    :raises SeedreamInputError: any other text.
    """
    text = str(extra.get(name) or "false").strip().lower()
    if text not in ("true", "false"):
        raise SeedreamInputError(
            f"Connection extra {name} must be true or false; got {json.dumps(extra[name])[:40]}."
        )
    return text == "true"


def verify(value: Any) -> bool | str:
    """True, False or the path of a CA bundle, as requests takes them; the environment counts where the
    extra is silent.
    """
    text = "true" if value is None else str(value).strip()
    if text.lower() not in ("", "true"):
        return False if text.lower() == "false" else text
    # The library requests does the same by itself; the trigger, which uses aiohttp, needs it said.
    return next((os.environ[name] for name in BUNDLE_VARIABLES if os.environ.get(name)), True)
