"""One value for who acts; files of every version load and keep their form."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_seedream.ledger.records import Record
from airflow_provider_seedream.model.task_ref import NOBODY, TaskRef
from tests.unit.values import record

REF = TaskRef(dag_id="watches", run_id="manual__1", task_id="land", try_number=2)
FILE = {"dag_id": "watches", "run_id": "manual__1", "task_id": "land", "map_index": -1, "try_number": 2}
NAMED = {**FILE, "installation": "prod-eu", "airflow": "https://east.example.com", "command": "seedream land"}
UNKNOWN = dict.fromkeys(FILE)


class TestTheFormInFiles:
    @pytest.mark.parametrize(
        "fields", [FILE, NAMED, {**FILE, "team": {"name": "later"}}, UNKNOWN, {**UNKNOWN, "command": "x"}]
    )
    def test_a_file_keeps_its_fields_and_their_order(self, fields: dict[str, Any]) -> None:
        assert list(TaskRef.from_dict(fields).to_dict().items()) == list(fields.items())

    def test_a_record_is_written_again_to_the_letter(self) -> None:
        fields = {**json.loads(record().to_json()), "made_by": {**NAMED, "later": 1}}
        data = (json.dumps(fields, indent=2) + "\n").encode()
        assert Record.from_json(data).to_json() == data

    @pytest.mark.parametrize("missing", FILE)
    def test_a_file_without_a_field_loads(self, missing: str) -> None:
        fields = {name: value for name, value in FILE.items() if name != missing}
        default = getattr(NOBODY, missing)
        assert TaskRef.from_dict(fields) == replace(REF, **{missing: default})

    @pytest.mark.parametrize(
        "wrong", [{"dag_id": 1}, {"map_index": "x"}, {"try_number": None}, {"installation": []}]
    )
    def test_a_field_of_another_type_is_not_known(self, wrong: dict[str, Any]) -> None:
        [name] = wrong
        assert getattr(TaskRef.from_dict({**FILE, **wrong}), name) == getattr(NOBODY, name)

    @pytest.mark.parametrize("made_by", [None, [], "watches", 1])
    def test_a_record_of_anything_but_an_object_is_refused(self, made_by: Any) -> None:
        fields = {**json.loads(record().to_json()), "made_by": made_by}
        with pytest.raises(ValueError, match="AttributeError"):
            Record.from_json(json.dumps(fields).encode())

    def test_a_person_is_no_task(self) -> None:
        assert NOBODY.to_dict() == UNKNOWN


class TestWhoIsWho:
    def test_the_owner_of_a_file_is_the_same_for_every_try(self) -> None:
        assert TaskRef.of(FILE) == TaskRef.of({**NAMED, "try_number": 7}) == replace(REF, try_number=None)

    @pytest.mark.parametrize(
        "value", [None, UNKNOWN, {"dag_id": "watches"}, {**FILE, "map_index": "x"}, {**FILE, "run_id": 1}]
    )
    def test_a_file_that_does_not_name_the_task_in_full_has_no_owner(self, value: Any) -> None:
        assert TaskRef.of(value) is None

    def test_mapped_instances_and_tries_are_one_task(self) -> None:
        assert REF.is_same_task(replace(REF, map_index=3, try_number=1))

    @pytest.mark.parametrize("field", ["dag_id", "run_id", "task_id"])
    def test_another_id_is_another_task(self, field: str) -> None:
        assert not REF.is_same_task(replace(REF, **{field: "other"}))

    @pytest.mark.parametrize("field", ["installation", "airflow"])
    def test_two_airflows_differ_only_where_both_say_so(self, field: str) -> None:
        east, west = replace(REF, **{field: "east"}), replace(REF, **{field: "west"})
        assert not east.is_same_airflow(west)
        assert east.is_same_airflow(REF)
        assert REF.is_same_airflow(east)
