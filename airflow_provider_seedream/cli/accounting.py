"""The commands that explain a night, as data: the sums of its payments, their export, and the statement of
the wallet.

Loaded by every ``airflow`` command, so it imports only the pieces of the table.
"""

from airflow_provider_seedream.cli.parts import CONN_ID, OUTPUT, Command, argument

_DESTINATIONS = argument(
    "destinations",
    metavar="DESTINATION",
    nargs="+",
    help="storage URIs of one or more folders, e.g. s3://aws_default@bucket/watches",
)
_SINCE = argument(
    "--since",
    metavar="INSTANT",
    help="only requests from this instant on: ISO 8601, a date is its midnight UTC",
)
_UNTIL = argument("--until", metavar="INSTANT", help="only requests before this instant")
_RECURSIVE = argument("--recursive", action="store_true", help="the ledgers of all folders below as well")

ACCOUNTING = (
    Command(
        name="spending",
        act="spending.spending",
        help="the credits of one or more folders by day, DAG, run, task or label",
        arguments=(
            _DESTINATIONS,
            argument(
                "--by",
                choices=("day", "dag", "run", "task", "label"),
                default="day",
                help="what a line is for; day by default",
            ),
            _SINCE,
            _UNTIL,
            _RECURSIVE,
            argument(
                "--conn-id", metavar="CONN_ID", help="also say what is left of the caps of this connection"
            ),
            OUTPUT,
        ),
    ),
    Command(
        name="export",
        act="exporting.export",
        help="the ledgers of one or more folders as one Parquet file, a row for each paid request",
        arguments=(
            _DESTINATIONS,
            argument(
                "file",
                metavar="FILE",
                help="the file to write, a path or storage URI ending in .parquet; replaced if it is there",
            ),
            _SINCE,
            _UNTIL,
            _RECURSIVE,
            OUTPUT,
        ),
    ),
    Command(
        name="reconcile",
        act="reconciling.reconcile",
        help="every credit of a wallet explained by its ledgers, what a person has to do, and one "
        "unexplained number",
        arguments=(
            argument(
                "destinations",
                metavar="DESTINATION",
                nargs="*",
                help="storage URIs of all folders that this key pays for; the connection's by default",
            ),
            argument(
                "--by",
                choices=("dag", "run", "task", "row", "image"),
                default="task",
                help="what a line is for; task by default",
            ),
            argument(
                "--since",
                metavar="INSTANT",
                help="begin with the first request from this instant on; the first of all by default",
            ),
            argument(
                "--topped-up",
                metavar="CREDITS",
                type=int,
                action="append",
                help="a top-up of the period that you know of; may be repeated. One that shows as well "
                "counts once",
            ),
            _RECURSIVE,
            CONN_ID,
            OUTPUT,
        ),
    ),
)
