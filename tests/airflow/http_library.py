"""The HTTP library that Airflow's client is built on: httpx until Airflow 3.3, httpx2 from 3.4 on. Both
have the same names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx
else:
    from airflow.sdk.api import client

    httpx = getattr(client, "httpx2", None) or client.httpx

__all__ = ["httpx"]
