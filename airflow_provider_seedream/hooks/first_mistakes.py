"""First mistakes, by name: a connection that does not exist, a library that is not installed, a bucket that
is missing.

A retry cannot mend them, so they end a task at once. They arrive as errors of Airflow, of fsspec or of a
store's library, each with a class and words of its own. Never imports one of those libraries: a class is
recognised by its name or its fields.
"""

import os
import shlex
from dataclasses import dataclass
from typing import TypeVar

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_seedream.exceptions import SeedreamError, SeedreamInputError, final
from airflow_provider_seedream.model.close_matches import did_you_mean
from airflow_provider_seedream.model.commands import command
from airflow_provider_seedream.model.extras import EXTRAS_OF_SCHEMES, INSTALL, install_command
from airflow_provider_seedream.provider_info import DEFAULT_CONN_ID
from airflow_provider_seedream.storage.uris import LOCAL, connection_of, split_uri

_ENVIRONMENT = "AIRFLOW_CONN_"
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "FilesystemNotFound")  # S3; Azure, blobs and data lake
# The words of Airflow, and of universal_pathlib for a scheme that it does not know either: a ValueError has
# no field that says it.
_NO_LIBRARY = ("No filesystem registered for scheme", "Unsupported filesystem: ")

E = TypeVar("E", bound=SeedreamError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A first mistake: its verdict, a sentence, and what to do about it.

    Example::

        Mistake(
            verdict="BUCKET MISSING",
            message="There is no bucket 'watchs'.",
            to_do="Create it, then clear the task.",
        )

    :param verdict: one of ``model.verdicts.VERDICTS``.
    :param to_do: a sentence that replaces the one about a retry.
    :param commands: to be copied, one a line.
    """

    verdict: str
    message: str
    to_do: str
    commands: tuple[str, ...] = ()

    def named_in(self, error: E) -> E:
        """The same error under this name. It keeps what it knows of payment, and ends the task without
        retries.
        """
        error.verdict, error.message = self.verdict, self.message
        error.on_retry, error.commands = self.to_do, list(self.commands)
        return final(error)


def connection_missing(conn_id: str) -> SeedreamInputError:
    """The error of a Seedream connection that Airflow does not have."""
    return _no_connection(conn_id, "seedream").named_in(SeedreamInputError("", cause=None))


def named(failed: E, error: BaseException, uri: str, *, begins: str = "") -> E:
    """Our error of a store, under the name of the first mistake behind it; as it is where a retry may help.

    :param error: of the store.
    :param uri: the destination or file, with its connection id if it has one.
    :param begins: goes before the sentence that says the mistake.
    """
    if mistake := mistake_of_store(error, uri):
        failed = mistake.named_in(failed)
        failed.message = f"{begins}{failed.message}"
    return failed


def mistake_of_store(error: BaseException, uri: str) -> Mistake | None:
    """The first mistake behind an error of a store; None where a retry may help.

    :param uri: the destination or file, with its connection id if it has one.
    """
    scheme, place = split_uri(uri)
    bucket = place.partition("/")[0]
    for one in _chain(error):
        if isinstance(one, ImportError) or (isinstance(one, ValueError) and str(one).startswith(_NO_LIBRARY)):
            return _no_library(scheme)
        if isinstance(one, AirflowNotFoundException):
            return _no_connection(connection_of(uri) or f"{scheme}_default", scheme)
        if scheme not in LOCAL and (_code(one) in _NO_BUCKET or isinstance(one, FileNotFoundError)):
            what = f"There is no bucket {bucket!r} (destination {uri})."
            to_do = (
                "Create the bucket, or correct its name in the destination, then clear the task. To see "
                "whether it holds:"
            )
            return Mistake(
                verdict="BUCKET MISSING", message=what, to_do=to_do, commands=(command("check", uri),)
            )
    # Without its connection Airflow's S3 file system asks all the same, with the worker's own credentials or
    # none.
    conn_id = (
        connection_of(uri) if scheme in EXTRAS_OF_SCHEMES and any(map(_is_forbidden, _chain(error))) else None
    )
    return _no_connection(conn_id, scheme) if conn_id and not _has_connection(conn_id) else None


def _no_library(scheme: str) -> Mistake:
    """A scheme that no installed file system opens. We have extras for S3, GCS and Azure alone."""
    extra = EXTRAS_OF_SCHEMES.get(scheme)
    what = f"No installed provider opens {scheme}:// on this worker."
    to_do = (
        INSTALL
        if extra
        else f"Install the Airflow provider that serves {scheme}://, or choose another destination."
    )
    return Mistake(
        verdict="EXTRA MISSING",
        message=what,
        to_do=to_do,
        commands=(install_command(extra),) if extra else (),
    )


def _no_connection(conn_id: str, kind: str) -> Mistake:
    """A connection that is nowhere. A task cannot list Airflow's connections: a close match comes from the
    environment alone.
    """
    known = [name.removeprefix(_ENVIRONMENT).lower() for name in os.environ if name.startswith(_ENVIRONMENT)]
    kind = {"s3": "aws", "gs": "google_cloud_platform", "gcs": "google_cloud_platform", "abfs": "wasb"}.get(
        kind, kind
    )
    password = ("--conn-password", "KEY") if kind == "seedream" else ()
    add = shlex.join(("airflow", "connections", "add", conn_id, "--conn-type", kind, *password))
    known = [DEFAULT_CONN_ID, *known] if kind == "seedream" else known
    meant = did_you_mean(conn_id, [one for one in known if one != conn_id])
    return Mistake(
        verdict="CONNECTION MISSING",
        message=f"Airflow has no connection {conn_id!r}.{meant}",
        to_do="Correct the connection id in the task, or create the connection, then clear the task:",
        commands=(add,),
    )


def _has_connection(conn_id: str) -> bool:
    """False only if Airflow says clearly that there is none."""
    try:
        BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return False
    except Exception:  # a secrets backend that fails does not say that there is none
        return True
    return True


def _chain(error: BaseException) -> list[BaseException]:
    """An error and what it was raised from, the outermost first."""
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in found:
        found.append(one)
        # not its context: a store's client may have searched for a missing file on the way
        one = one.__cause__
    return found


def _is_forbidden(error: BaseException) -> bool:
    """True for an error that missing credentials may cause. An error of the moment is not one: a retry may
    help.
    """
    # botocore's NoCredentialsError
    return isinstance(error, PermissionError) or "Credentials" in type(error).__name__


def _code(error: BaseException) -> str | None:
    """The error code of a store: botocore keeps it in a response, Azure in a field."""
    response = getattr(error, "response", None)
    inner = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return inner or getattr(error, "error_code", None)
