"""The room under caps, as a plan finds it: the same answers as the admission gives."""

from __future__ import annotations

import pytest

from airflow_provider_seedream.ledger.cap_rules import Refusal, admit
from airflow_provider_seedream.ledger.pages import Entry, Page, month_of
from airflow_provider_seedream.ledger.room import CapRoom
from airflow_provider_seedream.model.caps import Cap
from airflow_provider_seedream.model.clock import to_iso

NOON = 1_795_953_600.0  # 2026-11-29 12:00 UTC
YESTERDAY = NOON - 86_400
CAPS = (
    Cap(period="day", credits=50),
    Cap(period="month", credits=80),
    Cap(period="month", credits=40, label="team=shop"),
)


def entry(number: int, credits: int, *, at: float = NOON, labels: tuple[str, ...] = ()) -> Entry:
    return Entry(
        key=f"{number:064x}",
        attempt=1,
        claims=("a",),
        credits=credits,
        at=int(at),
        destination="d",
        by="w/s",
        labels=labels,
    )


OPEN = {
    one.id: one for one in (entry(1, 20), entry(2, 10, at=YESTERDAY), entry(3, 10, labels=("team=shop",)))
}


@pytest.mark.parametrize("labels", [(), ("team=shop",)])
@pytest.mark.parametrize("numbers", [(1, 2, 3), (4, 5, 6), (2, 4, 1, 5, 3)])
def test_a_room_admits_what_an_admission_admits(labels: tuple[str, ...], numbers: tuple[int, ...]) -> None:
    page = Page(month=month_of(NOON), way="lock", open=OPEN)
    mine = tuple(cap for cap in CAPS if cap.label in (None, *labels))
    room = CapRoom(caps=mine, page=page, now_epoch=NOON)
    for number in numbers:
        asked = entry(number, 20, labels=labels)
        page, answer = admit(page, asked, CAPS, warn_at=1)
        assert room.admits(asked.id, 20) is not isinstance(answer, Refusal), (number, answer)


def test_before_the_first_request_of_a_month_each_cap_has_all_its_room() -> None:
    room = CapRoom(caps=CAPS[:1], page=None, now_epoch=NOON)
    assert [room.admits(f"{number}", 20) for number in range(3)] == [True, True, False]
    until = to_iso(NOON + 43_200)
    caps = [{"cap": "max_credits_per_day=50", "spent": 0, "left": 50, "until": until}]
    assert room.to_dict() == {"requests": 2, "credits": 40, "caps": caps}
