"""The command that settles a record whose outcome is unknown: a person has found out whether it was paid.

It changes this record only, and sends no paid request. It refuses a record with a known outcome, and one
whose request may still be on its way.
"""

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

from airflow_provider_seedream.accounts.reading import record_files
from airflow_provider_seedream.cli.printing import asked, err, print_facts, print_json
from airflow_provider_seedream.cli.records import describe, find_record
from airflow_provider_seedream.exceptions import SeedreamError, SeedreamInputError
from airflow_provider_seedream.generations import GenerationStatus
from airflow_provider_seedream.hooks.answers import failed_poll
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.records import RECORDS, Ledger, Record, record_at, record_file
from airflow_provider_seedream.ledger.settling import GRAIN_SECONDS
from airflow_provider_seedream.model import clock, contract
from airflow_provider_seedream.model.commands import command
from airflow_provider_seedream.model.counting import counted
from airflow_provider_seedream.polling.policy import FailedPoll, PollPolicy
from airflow_provider_seedream.polling.poller import Poller

KEY_CHARACTERS = 64  # of a SHA-256, the name of a record
_LATER = "A later attempt has been made at this request, so this record has to stay."


def tell(plan: str) -> None:
    """Show the plan: ``--yes`` has confirmed it."""
    err().print(plan, markup=False)


def ask(plan: str) -> None:
    """Show the plan, and ask.

    :raises SeedreamInputError: the person declined, or there is no terminal to ask at.
    """
    tell(plan)
    if not sys.stdin.isatty():
        raise SeedreamInputError("Nothing was changed. Add --yes where nobody can be asked.")
    if not asked("Proceed?"):
        raise SeedreamInputError("Nothing was changed.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """The answer of a person about one record::

        # it was paid
        Say(seedream_task_id="5cc8f0d8-b4da-4716-90b0-e71d0678beb4", hook=SeedreamHook("seedream_default"))

    :param seedream_task_id: the API's id of the generation that the request became; None: it was not paid.
    :param hook: by which the API is asked about the id.
    :param confirm: gets the plan before anything is written, and raises SeedreamInputError if the person
        declines.
    """

    seedream_task_id: str | None
    hook: SeedreamHook
    confirm: Callable[[str], None] = ask


def resolve(options: argparse.Namespace) -> int:
    """`airflow seedream resolve`: write into a record what a person knows about its payment.

    ``--paid ID`` writes the id: the cleared task attaches to that generation and pays nothing. ``--not-paid``
    gives the record back: the cleared task sends the request again. ``--by-wallet`` does the same if the
    wallet proves that it was not paid. The plan is shown first, and a person is asked to confirm it.

    :param options: ``record`` (its URI, or a folder with ``key``), ``paid``, ``not_paid`` or ``by_wallet``
        with ``also``; or ``all``; ``yes``, ``conn_id``, ``output``.
    :returns: 0; with ``--all`` see `resolving_all.resolve_all`.
    :raises SeedreamInputError: the options contradict each other, there is no such record, or it may not be
        resolved so.
    :raises SeedreamError: the API did not answer about the id.
    """
    if bool(options.all) == bool(options.record):
        raise SeedreamInputError("Name either one RECORD, or with --all a DESTINATION.")
    if options.all and (options.paid or options.not_paid):
        raise SeedreamInputError("--all asks about each record: --paid and --not-paid are for one RECORD.")
    if not options.all and [bool(options.paid), options.not_paid, options.by_wallet].count(True) != 1:
        raise SeedreamInputError("Say one of --paid ID, --not-paid and --by-wallet.")
    if options.also and not options.by_wallet:
        raise SeedreamInputError("--also belongs to --by-wallet: the other ways look at one folder.")
    if options.by_wallet or options.all:
        # Imported here, as both go through this module to settle a record.
        from airflow_provider_seedream.cli import resolving_all, resolving_by_wallet

        return (
            resolving_by_wallet.resolve_by_wallet(options)
            if options.by_wallet
            else resolving_all.resolve_all(options)
        )
    ledger, record = find_named(options.record, options.key)
    settled = settle_one(
        ledger,
        record,
        Say(
            seedream_task_id=options.paid,
            hook=SeedreamHook(options.conn_id),
            confirm=tell if options.yes else ask,
        ),
    )
    facts = describe(settled, ledger.uri(settled))
    if options.not_paid:
        facts |= {"outcome": "removed", "paid": "no"}
    show = print_json if options.output == "json" else print_facts
    show(facts)
    return 0


def settle_one(ledger: Ledger, record: Record, say: Say) -> Record:
    """Write what a person says into a record, or give the record back if the request was not paid.

    :param ledger: of the record's folder.
    :param record: as it was read; a record that has changed since is left alone.
    :returns: the record as it is now; as it was, if it was given back.
    :raises SeedreamInputError: the record may not be resolved so, or the person did not confirm. Nothing was
        changed.
    """
    if record.outcome not in ("intent", "unknown"):
        raise SeedreamInputError(
            f"Its outcome is known: {record.outcome!r}. Only an unknown one can be resolved."
        )
    # A POST under way could still be accepted after "not paid" was written, and its task would pay a second
    # time.
    left = seconds_left(ledger, record) if record.outcome == "intent" else 0.0
    if left > 0:
        raise SeedreamInputError(f"Its request may still be on its way, for {left:.0f} s more.")
    settled = _paid(ledger, record, say.seedream_task_id, say.hook) if say.seedream_task_id else None
    # Checked before the person is asked, and by `free` again: a task may begin another attempt meanwhile.
    # Where a store cannot compare and swap, the record would be deleted, and leave a gap that hides the later
    # attempt.
    is_last = ledger.read(record_file(record.key, record.attempt + 1)) is None
    if settled is None and not is_last and not ledger.swaps:
        raise SeedreamInputError(_LATER)
    say.confirm(_plan(record, settled, is_last=is_last, conn_id=say.hook.seedream_conn_id))
    _settle(ledger, record, settled)
    return settled or record


def find_named(uri: str, key: str | None) -> tuple[Ledger, Record]:
    """The record that the arguments name, with the ledger of its folder.

    :raises SeedreamInputError: the text is not the URI of a record, or there is no such record.
    """
    found = record_at(uri) if key is None else _in_folder(Ledger(uri), key)
    if found is None:
        raise SeedreamInputError(
            f"RECORD must be the URI of a ledger record (.../_seedream/ledger/<key>.json); got {uri[:200]!r}."
        )
    ledger, file = found
    record = ledger.read(file)
    if record is None:
        raise SeedreamInputError(f"There is no record {uri}.")
    return ledger, record


def _in_folder(ledger: Ledger, key: str) -> tuple[Ledger, str]:
    """A record by the first letters of its name, which is what a line of a task's log has room for:
    ``3f2a9c1b``, ``3f2a9c1b.2``.

    :raises SeedreamInputError: no record, or more than one, begins with them.
    """
    letters, _, attempt = key.partition(".")
    ending = f".{attempt}.json" if attempt else ".json"
    names = [file.rsplit("/", 1)[-1] for file in record_files(ledger)]
    found = [name for name in names if name.startswith(letters) and name[KEY_CHARACTERS:] == ending]
    if len(found) != 1:
        many = f"{counted(len(found), 'record')} begin" if found else "No record begins"
        listing = command("ledger", ledger.folder.base)
        raise SeedreamInputError(f"{many} with {key[:80]!r} in {ledger.folder.base}: `{listing}` names them.")
    return ledger, f"{RECORDS}/{found[0]}"


def seconds_left(ledger: Ledger, record: Record) -> float:
    """Seconds for which its request may still be under way; 0 or less if it is over.

    The store's clock decides, as the record's writer may have had a wrong one; our own clock only where the
    store dates nothing.
    """
    if record.seconds_in_flight <= 0:
        return 0.0
    age = ledger.age_seconds(record)
    if age is None:
        age = clock.now_epoch() - (clock.to_epoch(record.intent_at) or 0.0)
    return record.seconds_in_flight + GRAIN_SECONDS - age


def _paid(ledger: Ledger, record: Record, seedream_task_id: str, hook: SeedreamHook) -> Record:
    """The record with its id, not yet written. A generation whose results are gone is noted as expired.

    :raises SeedreamInputError: the id is not one, belongs to another record of this folder, or the API does
        not know it.
    """
    if not contract.is_seedream_task_id(seedream_task_id):
        raise SeedreamInputError(f"--paid must be a seedream task id; got {seedream_task_id[:80]!r}.")
    if other := find_record(ledger, seedream_task_id):
        raise SeedreamInputError(f"This id belongs to another request: {ledger.uri(other)}.")
    answer: GenerationStatus | FailedPoll
    try:
        answer = hook.get_generation(seedream_task_id)
    except SeedreamError as error:
        answer = failed_poll(error)
        if answer.trouble != "missing":
            raise
    # No deadline: only the age of the request and the API's answer count here.
    policy = PollPolicy(
        deadline_epoch=math.inf,
        poke_interval_seconds=None,
        num_images=None,
        created_epoch=clock.to_epoch(record.intent_at),
    )
    outcome = Poller(policy).heard(answer, now_epoch=clock.now_epoch())
    if outcome.verdict == "missing":
        raise SeedreamInputError("The API does not know this id.")
    return replace(
        record,
        outcome="expired" if outcome.verdict == "expired" else "submitted",
        seedream_task_id=seedream_task_id,
        created_at=record.intent_at,
        detail="resolved by hand: paid",
        updated_at=clock.to_iso(clock.now_epoch()),
    )


def _plan(record: Record, settled: Record | None, *, is_last: bool, conn_id: str) -> str:
    """The consequences of this for the task and for the money, in one or two sentences."""
    if settled is None:
        return (
            "This removes the record; its task, cleared, sends the request again for "
            f"{counted(record.credits, 'credit')}."
        )
    then = "its task, cleared, attaches to it and pays nothing"
    if settled.outcome == "expired":
        then = "its results are gone"
    elif not is_last:
        land = command("land", settled.seedream_task_id or "ID", settled.destination, conn_id=conn_id)
        then = f"its task attaches to the later attempt; land this one with `{land}`"
    known = (
        "The API knows the id, not which request it was made for: only the records of this folder were "
        "compared."
    )
    return (
        f"This writes that the request became {settled.seedream_task_id} for "
        f"{counted(record.credits, 'credit')}; {then}.\n{known}"
    )


def _settle(ledger: Ledger, record: Record, settled: Record | None) -> None:
    """Write the record, or give it back with its name and its share of the budget.

    :raises SeedreamInputError: the record has changed since it was read, e.g. by a task that was cleared
        meanwhile.
    """
    # The person may have thought for minutes: the record is read again right before the change.
    if ledger.read(record.file) != record:
        raise SeedreamInputError("The record has changed meanwhile; nothing was done.")
    if settled is not None:
        if not ledger.advance(record, settled):
            raise SeedreamInputError("The record has changed meanwhile; it was left as it is.")
        return
    ledger.free(record)
    # It stays if it has changed in between, or, where the store cannot compare and swap, if a later attempt
    # began: that one would be hidden. Another claim may stand there by now.
    there = ledger.read(record.file)
    if there is not None and there.claim == record.claim:
        why = _LATER if there == record else "The record has changed."
        raise SeedreamInputError(
            f"{why} It was written while this ran. The name and the share of the budget were given back."
        )
