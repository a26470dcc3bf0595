"""How the columns of a table are spelled: ``PROMPT`` is the parameter ``prompt``, and two columns must differ
in more than case.

Compares names; never reads a value.
"""

from typing import Any

from airflow_provider_seedream.batch.rows import PARAMETERS
from airflow_provider_seedream.exceptions import SeedreamInputError


class Spelling:
    """One spelling for each column of a table, compared without case::

        # {"prompt": "a watch", "SKU": "7"}
        Spelling().unified({"PROMPT": "a watch", "SKU": "7"}, "requests[0]")

    Snowflake writes column names in capitals. Spark and DuckDB read two names that differ only in case as one
    column, so the table of results must not have both.
    """

    def __init__(self) -> None:
        self._spelled: dict[str, str] = {name: name for name in PARAMETERS}
        # Columns of earlier rows that are right as they stand: nearly every row of a table has the same.
        self._known: set[tuple[str, ...]] = set()

    def unified(self, columns: dict[str, Any], where: str) -> dict[str, Any]:
        """The same columns with the names of parameters in small letters.

        :param columns: of one row. The object is returned as it is where no name changes.
        :param where: the row for people, for the error.
        :raises SeedreamInputError: a column differs from another one, in this row or an earlier one, only in
            case.
        """
        names = tuple(columns)
        if names in self._known:
            return columns
        unified = [self._unified(name, where) for name in names]
        for name in unified:
            if unified.count(name) > 1:
                raise SeedreamInputError(
                    f"{where}: column {name!r:.80} occurs twice; capital and small letters are the same."
                )
        if tuple(unified) == names:
            self._known.add(names)
            return columns
        return dict(zip(unified, columns.values(), strict=True))

    def _unified(self, name: str, where: str) -> str:
        """The spelling of a column by the first row that has it.

        :raises SeedreamInputError: a free column differs from it in case.
        """
        spelled = self._spelled.setdefault(name.casefold(), name)
        if spelled != name and spelled not in PARAMETERS:
            raise SeedreamInputError(
                f"{where}: columns {spelled!r:.80} and {name!r:.80} differ only in case. Rename one."
            )
        return spelled
