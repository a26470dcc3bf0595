"""The table of the commands: each with its function, its help and its arguments, as data.

Loaded by every ``airflow`` command, so it imports no Airflow, and of ours only the pieces of such a table.
"""

import argparse

from airflow_provider_seedream.cli.accounting import ACCOUNTING
from airflow_provider_seedream.cli.parts import CONN_ID, OUTPUT, Command, argument
from airflow_provider_seedream.provider_info import DEFAULT_CONN_ID

OUTCOMES = ("intent", "unknown", "submitted", "landed", "partial", "failed", "expired")


_ID = argument("seedream_task_id", metavar="ID", help="the API's id of the generation")
_TABLE = (
    argument(
        "table",
        metavar="TABLE",
        help="a table of JSON lines, CSV or Parquet, or a folder of part files: path or storage URI",
    ),
    argument(
        "--template", metavar="JINJA", help="makes the prompt of each row, as the operator's `template` does"
    ),
    argument(
        "--num-images", type=int, default=1, help="the operator's num_images, for rows without; 1 by default"
    ),
    argument(
        "--date",
        metavar="DATE",
        help="the run's date for {{ ds }} and its kind in the template; today by default",
    ),
    argument(
        "--params", metavar="JSON", default="{}", help="the run's params for the template, as a JSON object"
    ),
    argument(
        "--credits-per-image", type=int, default=10, metavar="N", help="what an image costs; 10 (default)"
    ),
)
_DESTINATION = argument(
    "destination",
    metavar="DESTINATION",
    help="storage URI of the folder, e.g. s3://aws_default@bucket/watches",
)
_RATE = argument(
    "--requests-per-minute",
    type=float,
    default=3.0,
    metavar="N",
    help="the key's rate limit; 3 (default) without a raise",
)

COMMANDS = (
    Command(
        name="balance", act="account.balance", help="the credits in the wallet", arguments=(CONN_ID, OUTPUT)
    ),
    Command(
        name="status",
        act="generation.status",
        help="how a generation stands",
        arguments=(_ID, CONN_ID, OUTPUT),
    ),
    Command(
        name="land",
        act="generation.land",
        help="land a paid generation within its 24 h; costs nothing",
        arguments=(
            _ID,
            _DESTINATION,
            argument("--name", help="file stem of the images; by default the ledger's, else the ID"),
            argument(
                "--timeout",
                type=float,
                default=300.0,
                metavar="SECONDS",
                help="how long to wait for it; 300 by default",
            ),
            argument(
                "--embed-metadata",
                action=argparse.BooleanOptionalAction,
                help="say inside the files that AI made them, or do not; by default as the task was told, by "
                "its record",
            ),
            argument(
                "--max-image-bytes",
                type=int,
                metavar="BYTES",
                help="largest image to land; by default as the task was told, by its record, else 64 MiB",
            ),
            CONN_ID,
            OUTPUT,
        ),
    ),
    Command(
        name="ledger",
        act="books.ledger",
        help="the payments and the unknown outcomes of a folder, per run",
        arguments=(
            _DESTINATION,
            argument(
                "--outcome", action="append", choices=OUTCOMES, help="only these outcomes; may be repeated"
            ),
            argument("--dag-id", help="only this DAG"),
            argument("--run-id", help="only this DAG run"),
            argument("--task-id", help="only this task"),
            argument("--since", metavar="INSTANT", help="only requests from this instant on, ISO 8601"),
            argument("--records", action="store_true", help="list every record, not only the unknown ones"),
            argument(
                "--recursive", action="store_true", help="add up the ledgers of all folders below as well"
            ),
            argument(
                "--fail-on",
                metavar="WHAT",
                default="",
                help="exit code 1 if there are any: unknown, unreadable, or both with a comma",
            ),
            argument(
                "--conn-id",
                default=DEFAULT_CONN_ID,
                help="the connection that the printed commands name; it is not used",
            ),
            OUTPUT,
        ),
    ),
    *ACCOUNTING,
    Command(
        name="resolve",
        act="resolving.resolve",
        help="settle a record with an unknown outcome: paid, or not paid",
        arguments=(
            argument(
                "record",
                metavar="RECORD",
                nargs="?",
                help="URI of the record, as the error and `ledger` name it; or its folder",
            ),
            argument(
                "key",
                metavar="KEY",
                nargs="?",
                help="after a folder: first letters of the record, as in a task's log",
            ),
            argument(
                "--all",
                metavar="DESTINATION",
                help="ask about every unknown record of this folder, one after the other",
            ),
            argument(
                "--paid", metavar="ID", help="it was accepted, and this is its id: the task attaches to it"
            ),
            argument(
                "--not-paid", action="store_true", help="it was not accepted: the task may send it again"
            ),
            argument(
                "--by-wallet",
                action="store_true",
                help="not paid, if the wallet proves it; else say what it tells, change nothing",
            ),
            argument(
                "--also",
                action="append",
                metavar="DESTINATION",
                help="with --by-wallet: another folder that this key pays for",
            ),
            argument("-y", "--yes", action="store_true", help="do not ask"),
            CONN_ID,
            OUTPUT,
        ),
    ),
    Command(
        name="check",
        act="checking.check",
        help="test whether a destination can keep the ledger safely",
        arguments=(_DESTINATION, OUTPUT),
    ),
    Command(
        name="price",
        act="pricing.price",
        help="what a table of requests would cost, and which of its rows are wrong",
        arguments=(
            *_TABLE,
            _RATE,
            OUTPUT,
        ),
    ),
    Command(
        name="plan",
        act="planning.plan",
        help="the cost of a run of a table now: the difference between the table and the folder's ledger",
        arguments=(
            _TABLE[0],
            _DESTINATION,
            *_TABLE[1:],
            argument(
                "--image-size",
                default="auto_2K",
                help="the operator's image_size, for rows without; auto_2K by default",
            ),
            argument(
                "--take", type=int, default=1, help="the operator's take, for rows without; 1 by default"
            ),
            argument(
                "--dag-id", help="of the run that would pay; give all three ids, or none for a new DAG run"
            ),
            argument("--run-id", help="of the same run"),
            argument("--task-id", help="of the batch in it"),
            argument(
                "--reuse", choices=("run", "content"), default="run", help="as the operator's; run by default"
            ),
            argument(
                "--on-unknown-submit",
                choices=("fail", "resubmit"),
                default="fail",
                help="as the operator's; fail by default: rows with an unknown outcome are not paid again",
            ),
            argument("--max-credits", type=int, metavar="N", help="as the operator's; no limit by default"),
            argument(
                "--conn-id",
                metavar="CONN_ID",
                help="also say for how many requests the caps of this connection leave room now",
            ),
            argument(
                "--label",
                action="append",
                metavar="KEY=VALUE",
                help="one of the operator's labels, for caps of labels; may be repeated",
            ),
            _RATE,
            OUTPUT,
        ),
    ),
    Command(
        name="stop",
        act="stopping.stop",
        help="stop the batches that run in a folder: no more rows are sent, what is in flight is landed",
        arguments=(
            _DESTINATION,
            argument("--dag-id", help="only batches of this DAG"),
            argument("--run-id", help="only of this DAG run"),
            argument("--task-id", help="only of this task"),
            argument("--results", metavar="NAME", help="only the batch whose table of results has this name"),
            OUTPUT,
        ),
    ),
    Command(
        name="emulator",
        act="emulating.emulator",
        help="a local stand-in for the API, until Ctrl-C",
        arguments=(
            argument("--port", type=int, default=0, help="port of the API; 0 (default) takes a free one"),
            argument(
                "--storage-port",
                type=int,
                default=0,
                help="port of the image links; 0 (default) takes a free one",
            ),
            argument(
                "--tls",
                action="store_true",
                help="https on both ports; prints the path of the CA file to trust",
            ),
            argument("--key", help="the API key it accepts; seedream-emulator-key by default"),
            argument(
                "--rate-limit", type=int, metavar="N", help="requests per minute, 3 by default; 0: no limit"
            ),
            argument("--balance", type=int, metavar="CREDITS", help="credits in the wallet, 1000 by default"),
            argument("--speed", type=float, metavar="X", help="jobs take 1/X of the real time"),
            argument(
                "--fast", action="store_true", help="sub-second jobs, small images, no rate limit: for tests"
            ),
            argument(
                "--set",
                action="append",
                default=[],
                metavar="NAME=VALUE",
                help="any other setting, its value as JSON, e.g. --set status_counts=true; may be repeated",
            ),
        ),
    ),
)
