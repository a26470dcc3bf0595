"""The provider info that Airflow reads. Every Airflow process loads it, so it imports no module of ours.

It names classes by their paths: Airflow imports them when it needs them.
"""

from typing import Any

DEFAULT_CONN_ID = "seedream_default"
_MODULES = "airflow_provider_seedream"
# The connection form, for Airflow 3.2+ from here and for 3.1 from the hook: one place for both.
UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["schema", "port", "login", "extra"],
    # The key is the password of the connection: Airflow masks it in the form and in logs.
    "relabeling": {"password": "API key", "host": "Base URL"},
    "placeholders": {"host": "https://api.3daistudio.com"},
}


def _field(label: str, types: list[str], description: str, **schema: Any) -> dict[str, Any]:
    """A field of the connection form, which may stay empty.

    :param types: of JSON Schema; ``null`` is added.
    :param schema: further rules of JSON Schema, e.g. ``minimum=1``.
    """
    return {"label": label, "schema": {"type": [*types, "null"], **schema}, "description": description}


def _option(description: str, **option: Any) -> dict[str, Any]:
    """An option of ``airflow.cfg``, section ``[seedream]``."""
    return {"description": description, "version_added": "0.2.0", **option}


def get_provider_info() -> dict[str, Any]:
    """The provider as Airflow's schema of provider info wants it.

    The entry point ``apache_airflow_provider`` leads here. Airflow checks the dict against its
    schema when it searches for providers, and raises an error if it does not fit.
    """
    return {
        "package-name": "airflow-provider-seedream",
        "name": "Seedream",
        "description": "Image generation with ByteDance's Seedream V5 Lite through the 3D AI Studio API.",
        "integrations": [
            {
                "integration-name": "Seedream",
                "external-doc-url": "https://www.3daistudio.com/",
                "tags": ["ai"],
            }
        ],
        "hooks": [{"integration-name": "Seedream", "python-modules": [f"{_MODULES}.hooks.seedream"]}],
        "operators": [{"integration-name": "Seedream", "python-modules": [f"{_MODULES}.operators.seedream"]}],
        "sensors": [
            {
                "integration-name": "Seedream",
                "python-modules": [f"{_MODULES}.sensors.{name}" for name in ("credits", "seedream")],
            }
        ],
        "triggers": [
            {
                "integration-name": "Seedream",
                "python-modules": [
                    f"{_MODULES}.triggers.{name}" for name in ("batch", "credits", "seedream", "turns")
                ],
            }
        ],
        "extra-links": [f"{_MODULES}.links.SeedreamImagesLink"],
        "task-decorators": [
            {"name": "seedream", "class-name": f"{_MODULES}.decorators.seedream.seedream_task"},
            {"name": "seedream_edit", "class-name": f"{_MODULES}.decorators.seedream.seedream_edit_task"},
            {"name": "seedream_batch", "class-name": f"{_MODULES}.decorators.seedream.seedream_batch_task"},
        ],
        # read by Airflow 3.2+; 3.1 has python -m
        "cli": [f"{_MODULES}.cli.definition.get_seedream_commands"],
        "config": {
            "seedream": {
                "description": "The Seedream provider: how its tasks wait, and its page of images in the "
                "user interface.",
                "options": {
                    "poke_interval": _option(
                        "Seconds between polls of a generation, for tasks that name none. Empty: by the poll "
                        "schedule.",
                        type="string",
                        example="10",
                        default="",
                    ),
                    "installation": _option(
                        "A name for this Airflow, where another one writes into the same bucket with the "
                        "same DAG ids. With it, equal requests of the two are two requests. Choose it once: "
                        "another name later is another request.",
                        type="string",
                        example="prod-eu",
                        default="",
                    ),
                    "gallery_roots": _option(
                        "Storage folders the page may show images from, separated by commas. Empty: it shows "
                        "none.",
                        type="string",
                        example="s3://aws_default@my-bucket/watches, file:///data/images",
                        default="",
                    ),
                    "gallery_tabs": _option(
                        "Also show the images as tabs of DAGs, runs and tasks; of all of them, as Airflow "
                        "knows no other way.",
                        type="boolean",
                        example=None,
                        default="False",
                    ),
                },
            }
        },
        "connection-types": [
            {
                "connection-type": "seedream",
                "hook-class-name": f"{_MODULES}.hooks.seedream.SeedreamHook",
                "hook-name": "Seedream",
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
                "conn-fields": {
                    "destination": _field(
                        "Destination", ["string"], "Where images land when a task names no destination."
                    ),
                    "requests_per_minute": _field(
                        "Requests per minute",
                        ["number"],
                        "Leave empty to use the limit that the wallet reports.",
                        exclusiveMinimum=0,
                    ),
                    "credits_per_image": _field(
                        "Credits per image",
                        ["integer"],
                        "What an image costs; 10 by default. Budgets count with it.",
                        minimum=1,
                    ),
                    "max_credits_per_day": _field(
                        "Max credits per day",
                        ["integer"],
                        "A cap for all requests that are paid through this connection, by UTC day.",
                        minimum=0,
                    ),
                    "max_credits_per_month": _field(
                        "Max credits per month", ["integer"], "The same by UTC month.", minimum=0
                    ),
                    "label_caps": _field(
                        "Caps of labels", ["string"], 'JSON, e.g. {"team=shop": {"day": 500, "month": 9000}}.'
                    ),
                    "warn_at": _field(
                        "Warn at",
                        ["number"],
                        "The share of a cap at which one warning a day is given; 0.8 by default.",
                        exclusiveMinimum=0,
                        maximum=1,
                    ),
                    "books": _field(
                        "Books of the caps",
                        ["string"],
                        "Storage URI where caps are counted; the destination by default.",
                    ),
                    "status_counts_toward_limit": _field(
                        "Status calls count",
                        ["boolean"],
                        "Whether status calls count against the rate limit; false by default.",
                    ),
                    "request_timeout_seconds": _field(
                        "Request timeout (seconds)",
                        ["number"],
                        "How long one answer may take; 60 by default.",
                    ),
                    "verify": _field(
                        "Verify TLS", ["string"], "true (default), false, or the path of a CA bundle."
                    ),
                    "download_networks": _field(
                        "Download networks",
                        ["string"],
                        "Networks, separated by commas, that images may come from although their addresses "
                        "are not public.",
                    ),
                },
            }
        ],
    }
