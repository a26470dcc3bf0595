"""The object stores of the tests, and one value that says how to reach each: an Airflow connection and an
address.

Each ``*_store`` runs a server until its block ends. ``.ci/stores.sh`` installs them all; what is missing says
so by that name.
"""

from __future__ import annotations

import json
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.stores import ceph
from tests.stores.processes import answers_http, free_port, running, wait_until

INSTALL = "bash .ci/stores.sh && make .venv/.stores"
INSTALLED = Path(__file__).parents[2] / ".venvs" / "stores"
AZURITE = INSTALLED / "node_modules" / ".bin" / "azurite-blob"
GCS_PYTHON = INSTALLED / "bin" / "python"
# Azurite's account, the same everywhere and documented by Microsoft: it opens nothing but an emulator.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A fresh, empty destination, and the same place for someone who may not, or whose bucket does not
    exist.
    """

    kind: str
    uri: str
    forbidden_uri: str
    no_bucket_uri: str | None  # None: this kind of store knows no buckets


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A running store: the connection ``seedream_<kind>`` may do everything, ``seedream_forbidden_<kind>``
    nothing.
    """

    kind: str
    scheme: str
    connection: str  # the JSON Airflow reads from AIRFLOW_CONN_<ID>
    forbidden_connection: str
    open_bucket: Callable[[str], object]

    @property
    def environment(self) -> dict[str, str]:
        kind = self.kind.upper()
        return {
            f"AIRFLOW_CONN_SEEDREAM_{kind}": self.connection,
            f"AIRFLOW_CONN_SEEDREAM_FORBIDDEN_{kind}": self.forbidden_connection,
        }

    def fresh_place(self) -> Place:
        bucket, folder = f"bucket-{uuid.uuid4().hex[:12]}", "watches/2026-11-22"
        self.open_bucket(bucket)
        return Place(
            kind=self.kind,
            uri=f"{self.scheme}://seedream_{self.kind}@{bucket}/{folder}",
            forbidden_uri=f"{self.scheme}://seedream_forbidden_{self.kind}@{bucket}/{folder}",
            no_bucket_uri=f"{self.scheme}://seedream_{self.kind}@no-such-bucket/{folder}",
        )


def file_place(root: Path) -> Place:
    (root / "a file").touch()  # nobody, root included, may put anything below a file
    return Place(
        kind="file",
        uri=f"file://{root}/watches",
        forbidden_uri=f"file://{root}/a file/watches",
        no_bucket_uri=None,
    )


def missing(kind: str) -> str | None:
    """What this machine lacks for a store, as a sentence that names the cure; None when all is there."""
    needs: dict[str, tuple[str, list[object]]] = {
        "s3": ("s3fs", [shutil.which(program) for program in ceph.PROGRAMS]),
        "gcs": (
            "gcsfs",
            [GCS_PYTHON.exists(), any(INSTALLED.glob("lib/python3*/site-packages/gcp_storage_emulator"))],
        ),
        "azure": ("adlfs", [AZURITE.exists(), shutil.which("node")]),
    }
    library, there = needs[kind]
    lacking = [f"the Python library {library}"] * (find_spec(library) is None) + ["its server"] * (
        not all(there)
    )
    return f"the {kind} store lacks {' and '.join(lacking)}; install with: {INSTALL}" if lacking else None


@contextmanager
def s3_store(root: Path) -> Iterator[Store]:
    users = {"seedream": "seedream-secret", "stranger": "stranger-secret"}
    with ceph.s3_server(root, users) as endpoint:

        def connection(access_key: str) -> str:
            extra = {"endpoint_url": endpoint, "region_name": "us-east-1"}
            return json.dumps(
                {"conn_type": "aws", "login": access_key, "password": users[access_key], "extra": extra}
            )

        yield Store(
            kind="s3",
            scheme="s3",
            connection=connection("seedream"),
            forbidden_connection=connection("stranger"),
            open_bucket=lambda bucket: s3_client(endpoint, "seedream", users["seedream"]).create_bucket(
                Bucket=bucket
            ),
        )


def s3_client(endpoint: str, access_key: str, secret_key: str) -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
    )


@contextmanager
def azure_store(root: Path) -> Iterator[Store]:
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}"
    options = [
        "--blobHost",
        "127.0.0.1",
        "--blobPort",
        str(port),
        "--inMemoryPersistence",
        "--disableTelemetry",
        "--skipApiVersionCheck",
    ]
    with running([AZURITE, *options], root / "azurite.log") as alive:
        wait_until(lambda: answers_http(endpoint), alive, "Azurite")
        good = f"DefaultEndpointsProtocol=http;AccountName={AZURE_ACCOUNT};AccountKey={AZURE_KEY};BlobEndpoint={endpoint};"
        bad = good.replace(AZURE_KEY, AZURE_KEY.swapcase())

        def open_container(name: str) -> None:
            from azure.storage.blob import BlobServiceClient

            with BlobServiceClient.from_connection_string(good) as client:
                client.create_container(name)

        def connection(text: str) -> str:
            return json.dumps({"conn_type": "wasb", "extra": {"connection_string": text}})

        yield Store(
            kind="azure",
            scheme="abfs",
            connection=connection(good),
            forbidden_connection=connection(bad),
            open_bucket=open_container,
        )


@contextmanager
def gcs_store(root: Path) -> Iterator[Store]:
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with running(
        [GCS_PYTHON, Path(__file__).with_name("gcs_server.py"), str(port)], root / "gcs.log"
    ) as alive:
        wait_until(lambda: answers_http(endpoint), alive, "the GCS emulator")

        def open_bucket(name: str) -> None:
            import requests

            requests.post(f"{endpoint}/storage/v1/b", json={"name": name}, timeout=30).raise_for_status()

        def connection(url: str) -> str:
            extra = {"is_anonymous": True, "project": "seedream", "gcs.endpoint": url}
            return json.dumps({"conn_type": "google_cloud_platform", "extra": extra})

        yield Store(
            kind="gcs",
            scheme="gs",
            connection=connection(endpoint),
            forbidden_connection=connection(f"{endpoint}/forbidden"),
            open_bucket=open_bucket,
        )


STORES = {"s3": s3_store, "gcs": gcs_store, "azure": azure_store}

if __name__ == "__main__":
    lacking = [sentence for kind in STORES if (sentence := missing(kind))]
    print(*(lacking or ["all stores are installed"]), sep="\n")
    sys.exit(bool(lacking))
