"""The routes: GET only, each with a guard, all with the same security headers. What they show is put together elsewhere.

Plain functions, not coroutines: storage and database block, and FastAPI runs these in threads.
"""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path as FilePath
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.responses import FileResponse

from airflow_provider_seedream.gallery import rows
from airflow_provider_seedream.gallery.cards import Card, card_of, card_of_row, cards_of_rows, entry_of
from airflow_provider_seedream.gallery.guards import IMAGES_OF_THE_DAG, ReaderDep
from airflow_provider_seedream.gallery.listing import CARDS, beside, turn_page
from airflow_provider_seedream.gallery.pages import render, render_error
from airflow_provider_seedream.gallery.reading import CannotShowError, read_image
from airflow_provider_seedream.gallery.roots import gallery_roots, is_bare
from airflow_provider_seedream.gallery.rows import Cursor, Filter, Row
from airflow_provider_seedream.gallery.shell import SECURITY_HEADERS, into_the_shell, is_document, login
from airflow_provider_seedream.manifest import ManifestImage
from airflow_provider_seedream.model.task_ref import Place

_STATIC = FilePath(__file__).parent / "static"
_FILES = {"gallery.css": "text/css", "gallery.js": "text/javascript", "icon.svg": "image/svg+xml", "icon-dark.svg": "image/svg+xml"}
_OF_TASK = "/{dag_id}/{run_id}/{task_id}/{map_index}"
_PAGE = [Depends(into_the_shell)]
_PAGE_OF_DAG = [*_PAGE, IMAGES_OF_THE_DAG]

Text = Annotated[str, Query(max_length=500)]
Start = Annotated[int, Query(ge=0, le=2**40)]
Number = Annotated[int, Path(ge=1)]  # the API's own number, looked up, never an index


def create_gallery() -> FastAPI:
    app = FastAPI(title="Seedream gallery", docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(_secured)
    app.exception_handler(AnyHTTPException)(_refused)
    app.exception_handler(RequestValidationError)(_misread)
    app.get("/", dependencies=_PAGE)(show_newest)
    app.get("/dag/{dag_id}", dependencies=_PAGE_OF_DAG)(show_newest)
    app.get("/task" + _OF_TASK, dependencies=_PAGE_OF_DAG)(show_task)
    app.get("/image" + _OF_TASK, dependencies=_PAGE_OF_DAG)(show_image)
    app.get("/image" + _OF_TASK + "/{number}", dependencies=_PAGE_OF_DAG)(show_image)
    app.get("/thumb" + _OF_TASK + "/{number}", dependencies=[IMAGES_OF_THE_DAG])(send_thumbnail)
    app.get("/file" + _OF_TASK + "/{number}", dependencies=[IMAGES_OF_THE_DAG])(send_file)
    app.get("/static/{name}")(send_static)
    return app


def place_of(dag_id: str, run_id: str, task_id: str, map_index: str) -> Place:
    """The task instance of a path. Airflow leaves ``{MAP_INDEX}`` as it is on tasks that are not mapped."""
    index = int(map_index) if map_index.isascii() and map_index.isdecimal() else -1
    return Place(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=index)


PlaceDep = Annotated[Place, Depends(place_of)]


def show_newest(
    request: Request,
    reader: ReaderDep,
    dag_id: str = "",
    dag: Text = "",
    run: Text = "",
    task: Text = "",
    text: Text = "",
    before: Text = "",
) -> Response:
    """The newest generations, of all DAGs that the user may read or of one."""
    readable, asked = reader.dag_ids(rows.dag_ids()), dag_id or dag
    run = run.strip().replace(" ", "+")  # Airflow 3.1 puts run ids into a tab's address as they are; none has a space
    wanted = Filter(dag_ids=readable & {asked} if asked else readable, run=run, task=task.strip())
    roots = gallery_roots()
    turned = turn_page(wanted, text.strip(), older_than=Cursor.parse(before), roots=roots, may_read=reader.may_read)
    asked_for = {"dag": "" if dag_id else dag, "run": run, "task": task.strip(), "text": text.strip()}
    return render(
        request, "newest.html", turned=turned, dag_id=dag_id, dag_ids=sorted(readable), roots=roots, asked=asked_for, before=before
    )


def show_task(request: Request, place: PlaceDep, reader: ReaderDep, start: Start = 0) -> Response:
    """The images of one task instance; of a batch, a page of its rows from a byte of its table on."""
    roots = gallery_roots()
    row = rows.find(place)
    entry = entry_of(row) if row else None
    if entry and entry.batch:
        cards, more, trouble = cards_of_rows(entry, roots, reader.may_read, start=start, limit=CARDS)
        return render(
            request, "batch.html", batch=entry.batch, cards=cards, more=more, trouble=trouble, start=start, place=place, roots=roots
        )
    card = card_of(entry, roots, reader.may_read) if entry else None
    return render(request, "task.html", card=card, place=place, roots=roots)


def show_image(
    request: Request, place: PlaceDep, reader: ReaderDep, number: Number | None = None, last: bool = False, name: Text = ""
) -> Response:
    """One image, large, with all that is known about it; without a number the first, or the last."""
    row, card = _card(place, name, reader)
    if card.manifest is None:
        return render(request, "task.html", card=card, place=place, roots=gallery_roots())
    images = card.manifest.images
    image = images[-1 if last else 0] if number is None else _numbered(images, number)
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


def send_thumbnail(request: Request, place: PlaceDep, number: Number, reader: ReaderDep, name: Text = "") -> Response:
    """The API's own thumbnail, else the image itself."""
    card, image = _own_image(place, number, name, reader)
    return _send(request, card, image.thumbnail or image.file)


def send_file(
    request: Request, place: PlaceDep, number: Number, reader: ReaderDep, download: bool = False, name: Text = ""
) -> Response:
    """The image as it was landed."""
    card, image = _own_image(place, number, name, reader)
    return _send(request, card, image.file, attachment=download)


def send_static(name: str, reader: ReaderDep) -> Response:
    if name not in _FILES:
        raise HTTPException(404)
    return FileResponse(_STATIC / name, media_type=_FILES[name], headers={"Cache-Control": "private, max-age=3600"})


def _card(place: Place, name: str, reader: ReaderDep) -> tuple[Row, Card]:
    """The card of a task instance, or of the row of that name where it is a batch."""
    row = rows.find(place)
    entry = entry_of(row) if row else None
    if row is None or entry is None or (entry.batch and not is_bare(name)):
        raise HTTPException(404)
    if entry.batch:
        return row, card_of_row(entry, entry.batch, name, gallery_roots(), reader.may_read)
    return row, card_of(entry, gallery_roots(), reader.may_read)


def _own_image(place: Place, number: int, name: str, reader: ReaderDep) -> tuple[Card, ManifestImage]:
    """An image that this very task instance landed. An XCom that points to another's manifest gets nothing from here."""
    _, card = _card(place, name, reader)
    if card.manifest is None or card.owner != place:
        raise HTTPException(404)
    return card, _numbered(card.manifest.images, number)


def _numbered(images: tuple[ManifestImage, ...], number: int) -> ManifestImage:
    found = next((image for image in images if image.number == number), None)
    if found is None:
        raise HTTPException(404)
    return found


def _send(request: Request, card: Card, file: str, *, attachment: bool = False) -> Response:
    try:
        data, media_type = read_image(card.folder, file)
    except CannotShowError:
        raise HTTPException(404) from None
    etag = f'"{hashlib.sha256(data).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": "private, max-age=600"}
    if attachment:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(file, safe='')}"
    if request.headers.get("If-None-Match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=media_type, headers=headers)


async def _secured(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers.update(SECURITY_HEADERS)
    return response


def _refused(request: Request, error: Any) -> Response:
    """Errors as pages, or the frame would show JSON."""
    if error.status_code < 400:
        return Response(status_code=error.status_code, headers=error.headers)
    if error.status_code == 401 and is_document(request):
        return login(request)
    return render_error(request, error.status_code)


def _misread(request: Request, error: Any) -> Response:
    return render_error(request, 404)
