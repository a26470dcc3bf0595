"""Airflow's whole web server in this process, over a database of its own: requests go through the parent
app to the gallery.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from airflow import settings
from fastapi.testclient import TestClient

from airflow_provider_seedream.model.task_ref import TaskRef
from tests.gallery.stage import Database, land

WATCHES = TaskRef(dag_id="watches", run_id="manual__1", task_id="land")
Visitor = Callable[[str | None], TestClient]


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    file = tmp_path_factory.mktemp("gallery") / "airflow.db"
    with airflow_tables(f"sqlite:///{file}", passwords=file.with_name("passwords.json")):
        from airflow_provider_seedream.gallery.rows import known_dags

        yield Database(file=file, is_written=known_dags.clear)


@contextmanager
def airflow_tables(url: str, *, passwords: Path) -> Iterator[None]:
    """Airflow's tables, empty but for two DAGs; afterwards this process gets its settings back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", url)
        patch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "tests.gallery.auth.PerDag")
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "admin:admin")
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(passwords))
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "x" * 64)
        settings.configure_vars()
        settings.configure_orm()
        try:
            _make_tables()
            yield
        finally:
            settings.dispose_orm()
    settings.configure_vars()
    settings.configure_orm()


@pytest.fixture(scope="session")
def web_server(database: Database) -> Any:
    from airflow.api_fastapi.app import create_app

    return create_app(apps="core")


@pytest.fixture
def visitor(web_server: Any, database: Database, roots: Path) -> Visitor:
    """A browser of a user: ``admin``, ``viewer``, ``only-watches`` ...; None is nobody."""
    database.forget()
    return lambda user: TestClient(
        web_server, cookies=cookies_of(user) if user else {}, follow_redirects=False
    )


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one folder that the gallery may read."""
    folder = tmp_path / "public"
    folder.mkdir()
    monkeypatch.setenv("AIRFLOW__SEEDREAM__GALLERY_ROOTS", folder.as_uri())
    return folder


@pytest.fixture
def landed(visitor: Visitor, database: Database, roots: Path) -> dict[str, Any]:
    """Two images of the task ``land`` of the DAG ``watches``."""
    value = land(roots / "watches", WATCHES)
    database.returned(WATCHES, value)
    return value


def cookies_of(user: str) -> dict[str, str]:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    role = {"admin": "ADMIN", "editor": "USER"}.get(user, "VIEWER")
    return {"_token": get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=user, role=role))}


def _make_tables() -> None:
    from airflow.models import import_all_models
    from airflow.models.base import Base
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    import_all_models()
    Base.metadata.create_all(settings.engine)
    with create_session(scoped=False) as session:
        session.add(DagBundleModel(name="dags"))
        session.flush()
        for dag_id in ("watches", "shoes"):
            session.add(DagModel(dag_id=dag_id, bundle_name="dags", fileloc=f"/dags/{dag_id}.py"))
