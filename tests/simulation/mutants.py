"""Mistakes that would cost money or images, one at a time, in a copy of the package: the nights must find
each of them.

Each is one text of our code that becomes another. Nothing is patched: the copy lies in a folder of its own,
and is imported there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "airflow_provider_seedream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One mistake.

    :param file: below the package.
    :param edits: each a text of ours, which must stand there once, and what it becomes.
    :param night: the first seed that has found it. It is played first, as the others would only take time.
    """

    name: str
    file: str
    edits: tuple[tuple[str, str], ...]
    night: int = 0


MUTANTS = (
    Mutant(
        name="the claim is written without exclusive create",
        night=4,
        file="ledger/records.py",
        edits=(
            (
                'lambda: self.folder.create(record.file, data, remember=True), "write", record.file\n        )',
                'lambda: self.folder.replace(record.file, data), "write", record.file\n        ) or True',
            ),
        ),
    ),
    Mutant(
        name="a lost create is taken for a claim",
        night=6,
        file="storage/folder.py",
        edits=(("return there == data\n\n    def try_create", "return True\n\n    def try_create"),),
    ),
    Mutant(
        name="the id is not written after the answer",
        night=1012,
        file="ledger/paying.py",
        edits=(("if self._keeper.keep(claimed, submitted, patience_seconds=KEEP_SECONDS):", "if True:"),),
    ),
    Mutant(
        name="a claim is deleted although another try holds it now",
        night=6464,
        file="ledger/records.py",
        edits=(("if not has_next and self.read(record.file) == record:", "if True:"),),
    ),
    Mutant(
        name="a claim that was given back is taken by two tries at once",
        night=693,
        file="ledger/records.py",
        edits=(
            (
                "or not self._replace(free.to_json(), record)",
                "or not (self.folder.replace(record.file, record.to_json()) or True)",
            ),
        ),
    ),
    Mutant(
        name="a claim is given back without compare and swap",
        night=11,
        file="ledger/records.py",
        edits=(
            ("if retrying(self.read, record.file) != record:", "if False:"),
            (
                "if (\n            self._replace_as_read(record, free)\n            and self._look(",
                "self.folder.replace(free.file, free.to_json())\n        if (\n            self._look(",
            ),
        ),
    ),
    Mutant(
        name="a cap does not count what is under way",
        night=33,
        file="ledger/pages.py",
        edits=(("return ended + sum(one.credits for one in self._open_under(cap, day))", "return ended"),),
    ),
    Mutant(
        name="the books are written over without comparing",
        night=147,
        file="storage/swap.py",
        edits=(
            (
                "self._fs.pipe_file(self._path, data, **condition(self._fs, version, form))",
                "self._fs.pipe_file(self._path, data)",
            ),
        ),
    ),
    Mutant(
        name="an unknown outcome is taken for a free one",
        file="ledger/paying.py",
        edits=(
            (
                "            return self._lost(request, record, error)",
                "            self._claims.free(record)\n            raise",
            ),
        ),
    ),
    Mutant(
        name="a 502 to a POST is taken for a refusal",
        night=3,
        file="hooks/resending.py",
        edits=(
            (
                "return 300 <= status_code < 500 and status_code not in (303, 408)",
                "return 300 <= status_code",
            ),
        ),
    ),
    Mutant(
        name="an intent is given up at once",
        night=57,
        file="ledger/submit.py",
        edits=(
            (
                "if latest is None or latest.is_open_for_next:",
                'if not latest or latest.is_open_for_next or latest.outcome == "intent":',
            ),
        ),
    ),
    Mutant(
        name="an old claim is not looked at before the first byte",
        night=3640,
        file="ledger/claims.py",
        edits=(("if claim.age_seconds(self._clock) <= READ_AGAIN_SECONDS:", "if True:"),),
    ),
    Mutant(
        name="the manifest is written before the images",
        file="landing/images.py",
        edits=(
            (
                "        self._publish(file, data)\n        return ManifestImage(",
                "        return ManifestImage(",
            ),
        ),
    ),
    Mutant(
        name="an image is not checked for its end",
        night=6,
        file="landing/images.py",
        edits=(("if not is_whole(data, facts):", "if False:"),),
    ),
    Mutant(
        name="the budget is counted before the note is written",
        night=69,
        file="ledger/budgets.py",
        edits=(
            (
                "                self._journal.note_spending(spending)\n                others",
                "                others",
            ),
            (
                "            if refusal is None:\n",
                "            self._journal.note_spending(spending)\n            if refusal is None:\n",
            ),
            ("        if spending.name not in names:", "        if False:"),
        ),
    ),
    Mutant(
        name="a budget believes a listing that does not show its own note",
        night=1005,
        file="ledger/budgets.py",
        edits=(("        if spending.name not in names:", "        if False:"),),
    ),
    Mutant(
        name="a budget forgets the price of the request itself",
        night=6,
        file="ledger/budgets.py",
        edits=(
            (
                "if spent_credits + spending.credits <= self.max_credits:",
                "if spent_credits < self.max_credits:",
            ),
        ),
    ),
    Mutant(
        name="a wallet that was read long before the claim is noted as that of its moment",
        night=457,
        file="ledger/claims.py",
        edits=(("now - began_epoch) > LOOK_SECONDS:", "now - began_epoch) > 1e9:"),),
    ),
    Mutant(
        name="resolve by wallet takes the look before a POST for one after it",
        night=199,
        file="accounts/by_wallet.py",
        edits=(
            (
                "for after in [*later[:MAX_LOOKS], *([now] if now else [])]:",
                "for after in [*own, *later[:MAX_LOOKS], *([now] if now else [])]:",
            ),
        ),
    ),
    Mutant(
        name="a price is measured although another task pays at the same time",
        night=19,
        file="ledger/prices.py",
        edits=(
            (
                "if lost != quoted and self._others_may_have_paid(record, sight, is_less=lost < quoted):",
                "if False:",
            ),
        ),
    ),
    Mutant(
        name="an edit of a source that was replaced is taken for the same request",
        night=8,
        file="model/submissions.py",
        edits=(
            (
                'facts["sources"] = [source.sha256 for source in self.sources]',
                'facts["sources"] = [source.origin for source in self.sources]',
            ),
        ),
    ),
    Mutant(
        name="the limiter does not count the requests of the last minute",
        night=43,
        file="rate_limit/limiter.py",
        edits=(
            (
                "free_epoch = self._free_epoch(math.ceil(limit), limit) + MARGIN_SECONDS",
                "free_epoch = -math.inf",
            ),
        ),
    ),
    Mutant(
        name="a POST counts from its turn, however long its claim takes",
        night=674,
        file="rate_limit/limiter.py",
        edits=(
            (
                "if granted_epoch in self._gone and sent_epoch > granted_epoch + MARGIN_SECONDS / 2:",
                "if False:",
            ),
        ),
    ),
    Mutant(
        name="the wait that a 429 asks for is forgotten",
        night=204,
        file="tasks/submitting.py",
        edits=(("return asked + random.random() * min(asked, share) / 2", "return 0.0"),),
    ),
    Mutant(
        name="a failed generation that was not refunded is bought anew",
        file="ledger/record.py",
        edits=(
            (
                'return self.outcome == "failed" and self.refunded',
                'return self.outcome in ("failed", "submitted")',
            ),
        ),
    ),
)


def planted(mutant: Mutant, folder: Path) -> Path:
    """A copy of the package with this mistake, and a way to the tests, in a new folder.

    :raises ValueError: the text does not stand there once: our code has changed, and the table must follow.
    """
    shutil.copytree(ROOT / PACKAGE, folder / PACKAGE, ignore=shutil.ignore_patterns("__pycache__", "gallery"))
    shutil.copytree(ROOT / PACKAGE / "gallery", folder / PACKAGE / "gallery")
    (folder / "tests").symlink_to(ROOT / "tests")
    file = folder / PACKAGE / mutant.file
    text = file.read_text()
    for old, new in mutant.edits:
        if text.count(old) != 1:
            raise ValueError(
                f"{mutant.file} holds a text of the mutant {mutant.name!r} {text.count(old)} times."
            )
        text = text.replace(old, new)
    file.write_text(text)
    return folder


def nights_until_found(mutant: Mutant, folder: Path, *, most: int) -> tuple[int | None, str]:
    """The number of the night that finds the mistake, counted from the first seed; None if these do not. And
    what was said.

    :param most: so many nights are played, if the known one finds it no more, as our code has changed.
    """
    script = (
        "import sys; from tests.simulation.plan import play; from tests.simulation.__main__ import "
        "keep_imports\n"
        "keep_imports()\n"
        f"for seed in ({mutant.night}, *range({most})):\n"
        "    told = play(seed)\n"
        "    if told.violation: print(f'FOUND {seed + 1} {told.violation}'); sys.exit()\n"
    )
    environment = {
        **os.environ,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(planted(mutant, folder)),
    }
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"FOUND (\d+) (.*)", ended.stdout)
    return (int(found[1]), found[2]) if found else (None, ended.stdout[-500:] + ended.stderr[-1500:])


if __name__ == "__main__":
    import tempfile

    for one in MUTANTS:
        with tempfile.TemporaryDirectory(prefix="mutant-") as name:
            print(one.name, "->", *nights_until_found(one, Path(name), most=int(sys.argv[1])), flush=True)
