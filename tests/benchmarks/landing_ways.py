"""What one would write, or run, instead of our landing: images from https links into storage."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import requests

from airflow_provider_seedream.landing.land import PARALLEL_IMAGES

IMAGES_PER_GENERATION = 6
WARM_UP_BYTES = 1000  # of the images of the first generation, which is not measured
Land = Callable[[list[str]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is measured."""

    way: str
    url: str
    size_bytes: int
    images: int
    destination: str
    bundle: str

    def links(self) -> list[str]:
        """New ones, with those of the first generation in front."""
        sizes = [WARM_UP_BYTES] * IMAGES_PER_GENERATION + [self.size_bytes] * self.images
        return [f"{self.url}/images/{size}/{uuid.uuid4().hex}" for size in sizes]

    @property
    def bucket(self) -> str:
        return self.destination.partition("@")[2].partition("/")[0]

    def key(self, link: str) -> str:
        return f"{self.destination.partition('@')[2].partition('/')[2]}/{file_name(link)}"

    def get(self, session: requests.Session, link: str) -> requests.Response:
        return session.get(link, verify=self.bundle, stream=True, timeout=60)


def file_name(link: str) -> str:
    return f"{link.rpartition('/')[2]}.png"


def by_streaming(task: Task) -> Land:
    """The obvious way in Airflow: ObjectStoragePath.open, and pieces of 8 KB as in requests'
    documentation.
    """
    from airflow.sdk import ObjectStoragePath

    folder = ObjectStoragePath(task.destination)
    folder.mkdir(parents=True, exist_ok=True)

    def stream(session: requests.Session, link: str) -> None:
        with task.get(session, link) as answer, (folder / file_name(link)).open("wb") as file:
            for piece in answer.iter_content(8192):
                file.write(piece)

    return partial(_each, stream)


def by_boto3(task: Task) -> Land:
    """Without Airflow's storage: one boto3 client for all, upload_fileobj straight from the socket;
    nothing is looked at.
    """
    return partial(_each, _upload(task))


def by_boto3_with_one_session(task: Task) -> Land:
    """The same with one requests session for all generations, which tasks, being processes of their own,
    cannot have.
    """
    upload, session = _upload(task), requests.Session()

    def land(links: list[str]) -> None:
        with ThreadPoolExecutor(max_workers=PARALLEL_IMAGES) as pool:
            list(pool.map(partial(upload, session), links))

    return land


def _upload(task: Task) -> Callable[[requests.Session, str], None]:
    client = _boto3_client()

    def upload(session: requests.Session, link: str) -> None:
        with task.get(session, link) as answer:
            client.upload_fileobj(answer.raw, task.bucket, task.key(link))

    return upload


def by_boto3_with_hash(task: Task) -> Land:
    """boto3 with the promise of ours that costs most: the sha256 of each image."""
    client = _boto3_client()

    def put(session: requests.Session, link: str) -> None:
        with task.get(session, link) as answer:
            data = answer.content
        hashlib.sha256(data).hexdigest()
        client.put_object(Bucket=task.bucket, Key=task.key(link), Body=data, IfNoneMatch="*")

    return partial(_each, put)


def _boto3_client() -> Any:
    import boto3

    known = _connection()
    return boto3.client(
        "s3", aws_access_key_id=known["login"], aws_secret_access_key=known["password"], **known["extra"]
    )


def by_obstore(task: Task) -> Land:
    """The library that was fastest: Rust's object_store."""
    store = obstore_store(task)

    def put(session: requests.Session, link: str) -> None:
        with task.get(session, link) as answer:
            store.put(task.key(link), answer.content, mode="create")

    return partial(_each, put)


def obstore_store(task: Task) -> Any:
    """Told by hand what the connection says."""
    from obstore.store import S3Store

    known = _connection()
    return S3Store(
        task.bucket,
        endpoint=known["extra"]["endpoint_url"],
        region=known["extra"]["region_name"],
        access_key_id=known["login"],
        secret_access_key=known["password"],
        client_options={"allow_http": True},
    )


def by_rclone(task: Task) -> Land:
    """A process per image."""
    known = _connection()
    told = {
        "TYPE": "s3",
        "PROVIDER": "Ceph",
        "ACCESS_KEY_ID": known["login"],
        "SECRET_ACCESS_KEY": known["password"],
        "ENDPOINT": known["extra"]["endpoint_url"],
    }
    environment = os.environ | {f"RCLONE_CONFIG_STORE_{name}": value for name, value in told.items()}
    environment.pop("AWS_CA_BUNDLE", None)  # rclone's own transport cannot take it

    def copy(link: str) -> None:
        argv = ["rclone", "copyurl", "--ca-cert", task.bundle, link, f"store:{task.bucket}/{task.key(link)}"]
        subprocess.run(argv, env=environment, check=True, capture_output=True)

    return partial(_programs, copy)


def by_aws_cli(task: Task) -> Land:
    """``curl | aws s3 cp -``: two processes per image."""
    known = _connection()
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": known["login"],
        "AWS_SECRET_ACCESS_KEY": known["password"],
        "AWS_DEFAULT_REGION": known["extra"]["region_name"],
    }

    def copy(link: str) -> None:
        target = f"s3://{task.bucket}/{task.key(link)}"
        with subprocess.Popen(["curl", "-sf", "--cacert", task.bundle, link], stdout=subprocess.PIPE) as curl:
            argv = [
                "aws",
                "s3",
                "cp",
                "--quiet",
                "--endpoint-url",
                known["extra"]["endpoint_url"],
                "-",
                target,
            ]
            subprocess.run(argv, env=environment, stdin=curl.stdout, check=True, capture_output=True)

    return partial(_programs, copy)


def _connection() -> Any:
    return json.loads(os.environ["AIRFLOW_CONN_SEEDREAM_S3"])


def _each(act: Callable[[requests.Session, str], None], links: list[str]) -> None:
    """As many threads as our landing has, and one session, as a careful author would."""
    with requests.Session() as session, ThreadPoolExecutor(max_workers=PARALLEL_IMAGES) as pool:
        list(pool.map(partial(act, session), links))


def _programs(act: Callable[[str], None], links: list[str]) -> None:
    with ThreadPoolExecutor(max_workers=PARALLEL_IMAGES) as pool:
        list(pool.map(act, links))


OTHERS: dict[str, Callable[[Task], Land]] = {
    "streaming": by_streaming,
    "boto3": by_boto3,
    "boto3 with one session": by_boto3_with_one_session,
    "boto3 with hash": by_boto3_with_hash,
    "obstore": by_obstore,
    "rclone": by_rclone,
    "aws": by_aws_cli,
}
