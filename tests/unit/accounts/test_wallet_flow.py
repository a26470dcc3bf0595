"""The credits from outside are found where they came and went, whatever the requests did in between."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from airflow_provider_seedream.accounts.candidates import candidates_for
from airflow_provider_seedream.accounts.wallet_flow import Flow, Look, Move, flow_of, number, plain

APART = 60.0  # seconds between two events: more than the margin between clocks


def told(flow: Flow) -> tuple[list[int], int]:
    return [int(one.credits) for one in flow.top_ups], int(flow.unexplained)


def night(chance: random.Random) -> tuple[list[Look], list[Move], list[int], int]:
    """Looks, moves, top-ups and the credits that others spent, of a night in which no two events are close
    together.
    """
    balance, at, moves, looks, top_ups, spent = 1000, 0.0, [], [Look(0.0, Decimal(1000))], [], 0
    for _ in range(chance.randint(1, 30)):
        at += APART
        event = chance.choice(["charge", "charge", "refund", "top-up", "other", "look"])
        amount = 10 * chance.randint(1, 6)
        if event in ("charge", "refund"):
            balance += amount if event == "refund" else -amount
            moves.append(Move(at - 5, at + 5, Decimal(amount if event == "charge" else -amount)))
        elif event == "other":
            balance, spent = balance - amount, spent + amount
        elif event == "top-up":
            looks.append(Look(at - 20, Decimal(balance)))
            balance += 100 * amount
            top_ups.append(100 * amount)
            looks.append(Look(at + 20, Decimal(balance)))
        else:
            looks.append(Look(at, Decimal(balance)))
    return [*looks, Look(at + APART, Decimal(balance))], moves, top_ups, spent


def test_top_ups_and_the_spending_of_others_are_told_apart() -> None:
    for seed in range(200):
        looks, moves, top_ups, spent = night(random.Random(seed))
        assert told(flow_of(looks, moves)) == (top_ups, spent), seed


@pytest.mark.parametrize("seed", range(20))
def test_the_column_adds_up_however_close_the_looks_lie_to_the_moves(seed: int) -> None:
    chance = random.Random(seed)
    moves = [
        Move(at, at + chance.uniform(0, 40), Decimal(chance.choice([10, 20, -10])), chance.random() < 0.8)
        for at in sorted(chance.uniform(0, 100) for _ in range(20))
    ]
    looks = [
        Look(at, Decimal(chance.randint(0, 1000))) for at in sorted(chance.uniform(0, 100) for _ in range(8))
    ]
    flow = flow_of(looks, moves)
    sure = sum(move.credits for move in moves if move.is_sure)
    came = sum(one.credits for one in flow.top_ups)
    assert looks[0].balance + came - sure - flow.unexplained == looks[-1].balance
    assert all(one.credits > 0 for one in flow.top_ups)


def test_two_workers_that_look_and_pay_at_once_make_no_top_up() -> None:
    """Their looks are noted in the wrong order: the second balance is the higher one."""
    moves = [Move(5, 6, Decimal(10)), Move(5, 7, Decimal(10))]
    looks = [
        Look(0, Decimal(1000)),
        Look(5, Decimal(990), (moves[0],)),
        Look(5, Decimal(1000), (moves[1],)),
        Look(99, Decimal(980)),
    ]
    assert told(flow_of(looks, moves)) == ([], 0)


def test_an_unknown_outcome_is_neither_taken_for_charged_nor_for_a_change_from_outside_on_the_way() -> None:
    unknown = Move(10, 20, Decimal(10), is_sure=False)
    charged = flow_of([Look(0, Decimal(100)), Look(60, Decimal(90)), Look(120, Decimal(90))], [unknown])
    assert told(charged) == ([], 10)
    assert told(
        flow_of([Look(0, Decimal(100)), Look(60, Decimal(100)), Look(120, Decimal(100))], [unknown])
    ) == ([], 0)


def test_credits_are_written_as_people_write_them() -> None:
    assert [f"{plain(Decimal(text)):f}" for text in ("150.00", "149.50", "0.00")] == ["150", "149.5", "0"]
    assert [number(None), number(Decimal("20.00")), number(Decimal("0.5"))] == [None, 20, 0.5]


@pytest.mark.parametrize(("off", "is_said"), [(0.0, False), (14.0, False), (3600.0, True)])
def test_clocks_that_differ_are_named_where_they_make_a_top_up_and_a_loss_of_the_same_credits(
    off: float, is_said: bool
) -> None:
    looks, moves, balance = [], [], 1000
    for turn in range(240):  # two workers take turns, and each notes the balance once a minute
        at = turn * 2.5 + off * (turn % 2)
        moves.append(Move(at, at + 1, Decimal(10)))
        if turn % 24 < 2:
            looks.append(Look(at, Decimal(balance), (moves[-1],)))
        balance -= 10
    flow = flow_of([*sorted(looks), Look(600 + off + 60, Decimal(balance))], moves)
    said = [
        one for one in candidates_for(flow, [], [], start_at=0.0, is_moving=False) if "clocks" in one.what
    ]
    assert [one.fits for one in said] == [True] * is_said
    assert bool(flow.unexplained) == is_said
