"""Renders the pages: Jinja with autoescape, as prompts and file names are untrusted.

Holds no state but the compiled templates. Reads neither the database nor the storage.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from airflow_provider_seedream import __version__
from airflow_provider_seedream.gallery.shell import base_path
from airflow_provider_seedream.model.task_ref import PREFIX, Page, TaskRef

_HERE = Path(__file__).parent
_TITLES = {401: "Please log in", 403: "Not yours to see", 404: "Nothing here", 500: "This page has failed"}
_WORDS = {
    401: "Airflow does not know who you are, or your session has ended.",
    403: "You may not read the XComs of this DAG, or this asset, and so not the images.",
    404: "There is no such page, or the task has no such image any more.",
    500: "The web server's log says why. The images and their files are not affected.",
}


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page from a template, with the addresses that it needs below Airflow's base path.

    :param template: a file of ``templates/``.
    :param status: the HTTP status.
    :param values: what the template names; a missing one is an error, not an empty place.
    :returns: HTML that a browser keeps for this user and asks about again each time.
    """
    base, page = base_path(request), _jinja().get_template(template)
    html = page.render(
        **values,
        home=f"{base}/{PREFIX}/",
        airflow=f"{base}/",
        static=lambda name: f"{base}/{PREFIX}/static/{name}?{__version__}",
        address=partial(_address, base),
        task_page=lambda place, region: f"{base}/{_task_page(place, region)}",
        dag_page=lambda dag_id: f"{base}/{PREFIX}/dag/{quote(dag_id, safe='')}",
        with_query=lambda **query: f"?{urlencode({name: value for name, value in query.items() if value})}",
    )
    shown = html.encode("utf-8", "replace")  # a prompt may hold half of a surrogate pair
    return HTMLResponse(shown, status_code=status, headers={"Cache-Control": "private, no-cache"})


def render_error(request: Request, status: int) -> HTMLResponse:
    """The page of an error; a status without words of its own is shown with those of 404 or 500.

    :param status: the HTTP status of the answer, 400 to 599.
    """
    nearest = 500 if status > 499 else 404
    shown = status if status in _TITLES else nearest
    return render(request, "error.html", status=status, title=_TITLES[shown], words=_WORDS[shown])


@cache
def _jinja() -> Environment:
    """The environment, made once per process; templates are compiled at their first use."""
    # A template that names a missing value fails here and in tests, and not as an empty place on a page.
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters.update(instant=_instant, filesize=_size, instance=_instance)
    return environment


def _address(base: str, place: TaskRef, page: Page, *image: Any, **query: Any) -> str:
    """A page of the gallery.

    :param image: the number of the image, its name and its hash, as far as they are meant.
    :param query: further parameters.
    """
    path = f"{base}/{place.address(page, *image)}"
    return f"{path}{'&' if '?' in path else '?'}{urlencode(query)}" if query else path


def _instance(place: TaskRef) -> str:
    """A task instance for people: ``land[3]``, and in a loop ``land[3], round 2``."""
    mapped = "" if place.map_index < 0 else f"[{place.map_index}]"
    return f"{place.task_id}{mapped}" + (
        "" if place.loop_index is None else f", round {place.loop_index + 1}"
    )


def _task_page(place: TaskRef, region: Mapping[str, str]) -> str:
    """Airflow's own page of a task instance. :param region: of a round of a loop, without which that page
    says error 400.
    """
    mapped = "" if place.map_index < 0 else f"/mapped/{place.map_index}"
    ids = [quote(part, safe=":+") for part in (place.dag_id, place.run_id, place.task_id)]
    return f"dags/{ids[0]}/runs/{ids[1]}/tasks/{ids[2]}{mapped}" + (f"?{urlencode(region)}" if region else "")


def _instant(value: datetime | str) -> str:
    """An instant for people, in UTC; empty if it cannot be read, as a manifest may hold any text."""
    try:
        instant = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except (TypeError, ValueError, OverflowError):
        return ""


def _size(size_bytes: int) -> str:
    """A size for people: ``83 KiB``, ``1.4 MiB``."""
    return (
        f"{size_bytes / 1024:,.0f} KiB"
        if size_bytes < 1024 * 1024
        else f"{size_bytes / 1024 / 1024:,.1f} MiB"
    )
