"""Names this Airflow installation: two of them may write into one bucket, with the same DAG, run and task
ids.
"""

from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import conf

from airflow_provider_seedream.exceptions import SeedreamInputError

_LOOPBACK = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "")  # noqa: S104 - nothing is bound here


def describe_installation() -> dict[str, str]:
    """The fields about the installation for records and manifests.

    ``installation`` is the name that ``[seedream] installation`` gives it. It is part of the key of a
    request. ``airflow`` is the address of its user interface (``[api] base_url``), unless that is this
    machine. It tells installations without a name apart.

    :raises SeedreamInputError: when the name is not plain.
    :returns: only the fields that are known, so an installation without both gives an empty dict.
    """
    name = str(conf.get("seedream", "installation", fallback="") or "").strip()
    if len(name) > 100 or any(not letter.isprintable() for letter in name):
        raise SeedreamInputError(
            "[seedream] installation must be a plain name of at most 100 characters, e.g. 'prod-eu'."
        )
    address = str(conf.get("api", "base_url", fallback="") or "").strip().rstrip("/")
    said = {"installation": name, "airflow": "" if _is_loopback(address) else address}
    return {field: value for field, value in said.items() if value}


def _is_loopback(address: str) -> bool:
    """True for an address of this machine, which many installations have, and for one that cannot be read."""
    try:
        return (urlsplit(address).hostname or "") in _LOOPBACK
    except ValueError:
        return True
