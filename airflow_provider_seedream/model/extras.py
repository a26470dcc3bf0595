"""Python packages that only some tasks need: the commands that install a missing one. Does no I/O."""

from airflow_provider_seedream.exceptions import SeedreamInputError

# scheme of a destination -> the extra that brings its library
EXTRAS_OF_SCHEMES = {
    **dict.fromkeys(("s3", "s3a", "s3n"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("abfs", "abfss", "adl", "wasb", "wasbs", "az"), "azure"),
}
INSTALL = "Install it on this worker, and where other workers run, then clear the task."


def install_command(extra: str) -> str:
    """The command that installs an extra of this provider, for the error's text.

    :param extra: ``s3``, ``gcs``, ``azure``, ``parquet``, ``delta``, ``metadata``, ...
    """
    return f"pip install 'airflow-provider-seedream[{extra}]'"


def missing_extra(needs: str, extra: str) -> SeedreamInputError:
    """The error of a package that is not installed::

        # EXTRA MISSING: parquet=True needs pyarrow, which is not ...
        missing_extra("parquet=True needs pyarrow", "parquet")

    :param needs: the argument and the package that it needs.
    :param extra: the extra that brings the package.
    :returns: an error with the command to copy; the caller raises it.
    """
    error = SeedreamInputError(f"{needs}, which is not installed on this worker.", verdict="EXTRA MISSING")
    error.on_retry, error.commands = INSTALL, [install_command(extra)]
    return error
