"""The error tree does what the page at its top says: what derives from what, what a retry does, what was
paid.
"""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from dataclasses import dataclass

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, AirflowSensorTimeout

from airflow_provider_seedream import exceptions
from airflow_provider_seedream.exceptions import SeedreamError, final
from tests.unit.values import TASK_ID

RECORD = "s3://bucket/_seedream/ledger/aa.json"
ENDS_A_TASK = (AirflowFailException, AirflowSensorTimeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the page."""

    name: str
    base: str
    paid: str
    retried: str

    @property
    def cls(self) -> type[SeedreamError]:
        return getattr(exceptions, self.name)  # type: ignore[no-any-return]


def read_page() -> list[Row]:
    rows, above = [], ["AirflowException"]
    line_of_tree = re.compile(
        r"(?P<indent> *)(?P<name>Seedream\w+) .*?(?P<paid>nothing paid|unknown|see ``paid``|paid)?  +"
        r"(?P<retried>not retried|retried, free|retried|see below)"
    )
    for line in inspect.getdoc(exceptions).splitlines():  # type: ignore[union-attr]
        if found := line_of_tree.fullmatch(line):
            depth = len(found["indent"]) // 2
            rows.append(
                Row(name=found["name"], base=above[depth], paid=found["paid"] or "", retried=found["retried"])
            )
        elif line == "SeedreamError":
            depth, found = 0, re.match(r"(?P<name>\w+)", line)
        elif found := re.fullmatch(r"(?P<indent> +)(?P<name>SeedreamAPIError) .*", line):
            depth = 1
        if found:
            above[depth + 1 :] = [found["name"]]
    return rows


PAGE = read_page()
CLASSES = [
    cls for _, cls in inspect.getmembers(exceptions, inspect.isclass) if issubclass(cls, SeedreamError)
]


class TestThePage:
    def test_it_lists_every_class(self) -> None:
        assert {row.name for row in PAGE} | {"SeedreamError", "SeedreamAPIError"} == {
            cls.__name__ for cls in CLASSES
        }

    @pytest.mark.parametrize("row", PAGE, ids=lambda row: row.name)
    def test_a_class_stands_under_its_base(self, row: Row) -> None:
        assert row.cls.__mro__[1].__name__ == row.base

    @pytest.mark.parametrize("row", PAGE, ids=lambda row: row.name)
    def test_whether_it_is_retried_is_what_airflow_does_with_it(self, row: Row) -> None:
        assert issubclass(row.cls, ENDS_A_TASK) == (row.retried == "not retried")
        assert issubclass(row.cls, AirflowException)

    @pytest.mark.parametrize(
        "row",
        [row for row in PAGE if row.paid in ("nothing paid", "paid", "unknown")],
        ids=lambda row: row.name,
    )
    def test_what_was_paid_is_the_classes_own_answer(self, row: Row) -> None:
        assert row.cls.paid == {"nothing paid": "no", "paid": "yes", "unknown": "unknown"}[row.paid]


class TestAnErrorTellsAll:
    @pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
    def test_an_error_tells_what_happened_what_was_paid_and_what_a_retry_does(
        self, cls: type[SeedreamError]
    ) -> None:
        text = str(cls("It rains."))
        assert text == f"{cls.verdict}: It rains. Paid: {cls.paid}. {cls.on_retry}"
        assert len(cls.on_retry) > 10

    @pytest.mark.parametrize(
        "cls",
        [cls for cls in CLASSES if cls is not exceptions.SeedreamLandingError],
        ids=lambda cls: cls.__name__,
    )
    def test_the_id_and_the_record_once_there_are_some(self, cls: type[SeedreamError]) -> None:
        error = cls("It rains.", seedream_task_id=TASK_ID, record=RECORD, paid="refunded")
        assert str(error).endswith(f"Seedream task id: {TASK_ID}. Record: {RECORD}.")
        assert "Paid: refunded." in str(error)

    def test_a_landing_error_tells_the_id(self) -> None:
        error = exceptions.SeedreamLandingError("It rains.", stale_link=True, seedream_task_id=TASK_ID)
        assert error.stale_link and TASK_ID in str(error)

    def test_an_input_error_is_a_value_error_too(self) -> None:
        assert issubclass(exceptions.SeedreamInputError, ValueError)


class TestFinal:
    @pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
    def test_it_ends_the_task_and_stays_what_it_was(self, cls: type[SeedreamError]) -> None:
        error = cls("It rains.")
        before = str(error)
        assert final(error) is error
        assert isinstance(error, AirflowFailException) and isinstance(error, cls)
        assert (str(error), type(error).__name__) == (before, cls.__name__)

    def test_it_leaves_the_class_alone(self) -> None:
        final(exceptions.SeedreamServerError("x"))
        assert not isinstance(exceptions.SeedreamServerError("y"), AirflowFailException)

    def test_the_class_of_a_final_error_is_made_once(self) -> None:
        first, second = (final(exceptions.SeedreamServerError("x")) for _ in range(2))
        assert type(first) is type(second)


class TestCopies:
    """An error may travel between processes, e.g. in Celery's result."""

    @pytest.mark.parametrize(
        "travel", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]
    )
    @pytest.mark.parametrize("is_final", [False, True])
    def test_a_copy_says_the_same(self, travel: object, is_final: bool) -> None:
        error: SeedreamError = exceptions.SeedreamRateLimitError(
            "Slow down.",
            status_code=429,
            code="rate_limited",
            retry_after_seconds=7,
            seedream_task_id=TASK_ID,
            record=RECORD,
            paid="yes",
        )
        if is_final:
            final(error)
        copied = travel(error)  # type: ignore[operator]
        assert (str(copied), vars(copied)) == (str(error), vars(error))
        assert isinstance(copied, exceptions.SeedreamRateLimitError)
        assert isinstance(copied, AirflowFailException) is is_final

    @pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
    def test_every_class_can_be_pickled(self, cls: type[SeedreamError]) -> None:
        error = cls("It rains.", seedream_task_id=TASK_ID)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
