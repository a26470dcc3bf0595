"""The routes: GET only, each with a guard, all with the same security headers.

Storage and database block, so each route runs in one of the gallery's few threads, not in Airflow's.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.responses import FileResponse

from airflow_provider_seedream.gallery import rows
from airflow_provider_seedream.gallery.addresses import (
    AssetDep,
    HashDep,
    Number,
    PlaceDep,
    Prompt,
    Start,
    Text,
    asset_of,
)
from airflow_provider_seedream.gallery.answering import misread, refused, secured, threaded
from airflow_provider_seedream.gallery.assets import announced_of
from airflow_provider_seedream.gallery.cards import Card, card_of, card_of_row, cards_of_rows, entry_of
from airflow_provider_seedream.gallery.cursor import Cursor
from airflow_provider_seedream.gallery.guards import IMAGES_OF_THE_DAG, THE_ASSET, ReaderDep
from airflow_provider_seedream.gallery.listing import CARDS, beside, landing_of, spent_in_run, turn_page
from airflow_provider_seedream.gallery.pages import render
from airflow_provider_seedream.gallery.roots import gallery_roots, is_bare
from airflow_provider_seedream.gallery.rows import Filter, Row
from airflow_provider_seedream.gallery.sending import etag_of, has, send, unchanged
from airflow_provider_seedream.gallery.shell import into_the_shell
from airflow_provider_seedream.manifest import ManifestImage
from airflow_provider_seedream.model.task_ref import TaskRef

_STATIC = FilePath(__file__).parent / "static"
_FILES = {
    "gallery.css": "text/css",
    "gallery.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    "icon-dark.svg": "image/svg+xml",
}
_OF_TASK = "/{dag_id}/{run_id}/{task_id}/{map_index}"
_PAGE = [Depends(into_the_shell)]
_PAGE_OF_DAG = [*_PAGE, IMAGES_OF_THE_DAG]


def create_gallery() -> FastAPI:
    """The gallery's app, which the plugin mounts at ``/seedream``: twelve GET routes and nothing else.

    FastAPI's documentation and schema are off, as they would have no guard.
    """
    app = FastAPI(title="Seedream gallery", docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(secured)
    app.exception_handler(AnyHTTPException)(refused)
    app.exception_handler(RequestValidationError)(misread)
    app.get("/", dependencies=_PAGE)(threaded(show_newest))
    app.get("/dag/{dag_id}", dependencies=_PAGE_OF_DAG)(threaded(show_newest))
    app.get("/asset/{asset_id}", dependencies=[*_PAGE, Depends(asset_of), THE_ASSET])(threaded(show_asset))
    app.get("/task" + _OF_TASK, dependencies=_PAGE_OF_DAG)(threaded(show_task))
    app.get("/image" + _OF_TASK, dependencies=_PAGE_OF_DAG)(threaded(show_first_image))
    for which in ("/{number}", "/{number}/{sha256}"):
        # approvals that 0.2 has pushed have no hash in their addresses
        app.get("/image" + _OF_TASK + which, dependencies=_PAGE_OF_DAG)(threaded(show_image))
        app.get("/thumb" + _OF_TASK + which, dependencies=[IMAGES_OF_THE_DAG])(threaded(send_thumbnail))
        app.get("/file" + _OF_TASK + which, dependencies=[IMAGES_OF_THE_DAG])(threaded(send_file))
    app.get("/static/{name}")(send_static)
    return app


def show_newest(
    request: Request,
    reader: ReaderDep,
    dag_id: str = "",
    dag: Text = "",
    run: Text = "",
    task: Text = "",
    text: Prompt = "",
    before: Text = "",
) -> Response:
    """The newest generations, of all DAGs that the user may read or of one."""
    asked = dag_id or dag
    # one that is asked for by name may be too new for the list of all
    readable = reader.dag_ids(rows.dag_ids() | {asked})
    # Airflow 3.1 puts run ids into a tab's address as they are; none has a space
    run = run.strip().replace(" ", "+")
    wanted = Filter(dag_ids=readable & {asked} if asked else readable, run=run, task=task.strip())
    roots = gallery_roots()
    turned = turn_page(
        wanted, text.strip(), older_than=Cursor.parse(before), roots=roots, may_read=reader.may_read
    )
    asked_for = {"dag": "" if dag_id else dag, "run": run, "task": task.strip(), "text": text.strip()}
    return render(
        request,
        "newest.html",
        turned=turned,
        dag_id=dag_id,
        dag_ids=sorted(readable),
        roots=roots,
        asked=asked_for,
        before=before,
    )


def show_asset(request: Request, asset_id: AssetDep, reader: ReaderDep, before: Text = "") -> Response:
    """The newest generations that were announced as an asset, of DAGs that the user may read; of an
    image's asset that image.
    """
    asset, roots = announced_of(asset_id), gallery_roots()
    wanted = Filter(dag_ids=reader.dag_ids(set(asset.dag_ids)), asset_id=asset_id)
    turned = turn_page(wanted, "", older_than=Cursor.parse(before), roots=roots, may_read=reader.may_read)
    turned.cards = [replace(card, hashes=asset.hashes) for card in turned.cards]
    return render(request, "asset.html", asset=asset, turned=turned, roots=roots, before=before)


def show_task(request: Request, place: PlaceDep, reader: ReaderDep, start: Start = 0) -> Response:
    """The images of one task instance; of a batch, a page of its rows from a byte of its table on."""
    roots = gallery_roots()
    row = rows.find(place)
    entry, region = (entry_of(row), row.region) if row else (None, {})
    if entry and entry.batch:
        cards, more, trouble = cards_of_rows(entry, roots, reader.may_read, start=start, limit=CARDS)
        shown: dict[str, Any] = {
            "batch": entry.batch,
            "cards": cards,
            "more": more,
            "trouble": trouble,
            "start": start,
        }
        return render(
            request,
            "batch.html",
            **shown,
            place=place,
            region=region,
            roots=roots,
            run_credits=spent_in_run(place),
        )
    card = card_of(entry, roots, reader.may_read) if entry else None
    landing = landing_of(entry) if entry else None
    known: dict[str, Any] = {"card": card, "landing": landing, "run_credits": spent_in_run(place)}
    return render(request, "task.html", **known, place=place, region=region, roots=roots)


def show_first_image(
    request: Request, place: PlaceDep, reader: ReaderDep, last: bool = False, name: Text = ""
) -> Response:
    """The first image of a task instance, or the last; its own page where there are none."""
    row, card = _card(place, name, reader)
    if card.manifest is None:
        return _without_images(request, card)
    return _image_page(request, row, card, card.manifest.images[-1 if last else 0], reader)


def show_image(
    request: Request, place: PlaceDep, number: Number, reader: ReaderDep, sha256: HashDep, name: Text = ""
) -> Response:
    """One image, large, with all that is known about it; the task's own page where its manifest cannot be
    shown.
    """
    if sha256 is None and (card := _card(place, name, reader)[1]).manifest is None:
        return _without_images(request, card)
    row, card, image = _shown(place, number, name, sha256, reader)
    return _image_page(request, row, card, image, reader)


def _without_images(request: Request, card: Card) -> Response:
    """The page of a task instance whose manifest cannot be shown."""
    of = card.entry.row
    return render(
        request,
        "task.html",
        card=card,
        place=of.place,
        region=of.region,
        roots=gallery_roots(),
        landing=None,
        run_credits=None,
    )


def _image_page(request: Request, row: Row, card: Card, image: ManifestImage, reader: ReaderDep) -> Response:
    images = card.manifest.images if card.manifest else ()
    at = images.index(image)
    return render(
        request,
        "image.html",
        card=card,
        image=image,
        before=images[at - 1] if at else None,
        after=images[at + 1] if at + 1 < len(images) else None,
        newer=None if card.name else beside(row, newer=True, may_read=reader.may_read),
        older=None if card.name else beside(row, newer=False, may_read=reader.may_read),
    )


def send_thumbnail(
    request: Request, place: PlaceDep, number: Number, reader: ReaderDep, sha256: HashDep, name: Text = ""
) -> Response:
    """The API's own thumbnail, else the image itself. Where the hash is gone, a 404 that can be seen as a
    picture.

    Airflow keeps the first text of an approval that is asked again after a clear, with the addresses of the
    first pictures.
    """
    if sha256 and has(request, etag_of(sha256, is_thumbnail=True)):
        return unchanged(sha256, is_thumbnail=True)
    try:
        _, card, image = _shown(place, number, name, sha256, reader)
        return send(request, card, image, is_thumbnail=True, forever=sha256 is not None)
    except HTTPException:
        if sha256 is None:
            raise
        return FileResponse(
            _STATIC / "gone.svg", 404, media_type="image/svg+xml", headers={"Cache-Control": "no-store"}
        )


def send_file(
    request: Request,
    place: PlaceDep,
    number: Number,
    reader: ReaderDep,
    sha256: HashDep,
    download: bool = False,
    name: Text = "",
) -> Response:
    """The image as it was landed."""
    if sha256 and has(request, etag_of(sha256)):
        return unchanged(sha256)
    _, card, image = _shown(place, number, name, sha256, reader)
    return send(request, card, image, forever=sha256 is not None, attachment=download)


def send_static(name: str, reader: ReaderDep) -> Response:
    """One of the four files of the gallery's own: its name is compared, never used as a path."""
    if name not in _FILES:
        raise HTTPException(404)
    return FileResponse(
        _STATIC / name, media_type=_FILES[name], headers={"Cache-Control": "private, max-age=3600"}
    )


def _card(place: TaskRef, name: str, reader: ReaderDep) -> tuple[Row, Card]:
    """The card of a task instance, or of the row of that name where it is a batch."""
    row = rows.find(place)
    card = _card_of_row(row, name, reader) if row else None
    if row is None or card is None:
        raise HTTPException(404)
    return row, card


def _shown(
    place: TaskRef, number: int, name: str, sha256: str | None, reader: ReaderDep
) -> tuple[Row, Card, ManifestImage]:
    """The image that an address means: by its hash, wherever the DAG run has it now; without a hash the
    one of that number.
    """
    for found in _candidates(place, sha256, name):
        card = _card_of_row(found, name, reader)
        images = card.manifest.images if card and card.manifest else ()
        for image in images:
            if image.sha256 == sha256 or (sha256 is None and image.number == number):
                # a card without images has none to return
                return found, card, image  # type: ignore[return-value]
    raise HTTPException(404)


def _candidates(place: TaskRef, sha256: str | None, name: str) -> Iterator[Row]:
    """The task instance of an address, and only if that has not the image, the others of its DAG run that may
    have it.

    A task's result names the hashes of its images; a batch's names only its table, and ``name`` says which
    row is meant.
    """
    if row := rows.find(place):
        yield row
    if sha256:
        yield from rows.holding(place, '"results"' if name else sha256)


def _card_of_row(row: Row, name: str, reader: ReaderDep) -> Card | None:
    """The card of a row; of a batch the card of its row of that name. None if the XCom is about something
    else.
    """
    entry = entry_of(row)
    if entry is None or (entry.batch and not is_bare(name)):
        return None
    if entry.batch:
        return card_of_row(entry, entry.batch, name, gallery_roots(), reader.may_read)
    return card_of(entry, gallery_roots(), reader.may_read)
