"""A question to a person in the middle of a task, by Airflow's human-in-the-loop: any operator may ask, not
only ``HITLOperator``.

Airflow keeps the question for the task instance, and its page Required Actions shows it. From 3.3 on the task
waits in the state ``awaiting_input``, which needs no triggerer; before that it is deferred to Airflow's own
trigger.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from airflow.providers.common.compat.sdk import BaseOperator, Context

YES, NO = "Approve", "Reject"  # as Airflow's ApprovalOperator calls them: its page draws them as two buttons
MAX_BODY_BYTES = 60_000  # MySQL keeps 64 KiB of a text


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a question with a yes and a no::

        # True
        Answer.from_event(
            {"chosen_options": ["Approve"], "responded_by_user": {"id": "1", "name": "anna"}}
        ).is_yes

    :param is_yes: True only for a yes: an answer of another form is not a permission.
    :param by: the name of the person, if Airflow tells it.
    :param error: why there is no answer, as a sentence; None if there is one.
    """

    is_yes: bool
    by: str | None = None
    error: str | None = None

    @classmethod
    def from_event(cls, event: Any) -> "Answer":
        """Read the event that resumes the task: from Airflow's trigger, its server or its scheduler."""
        told = event if isinstance(event, Mapping) else {}
        if "error" in told:
            return cls(is_yes=False, error=f"{told['error']}".rstrip(".") + ".")
        user = told.get("responded_by_user")
        name = user.get("name") if isinstance(user, Mapping) else getattr(user, "name", None)
        return cls(is_yes=told.get("chosen_options") == [YES], by=str(name) if name else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question with a yes and a no::

        Question(
            subject="Send the other 4,980 rows?", body="...", progress="_seedream/batch/5f/progress.json"
        )

    :param subject: the headline. :param body: markdown, which stands above the buttons.
    :param progress: the file that the task goes on from.
    :param timeout: how long the person has; None for ever.
    :param notifiers: called when the question is asked. :param assigned_users: may answer; empty for all
        users who may edit.
    """

    subject: str
    body: str
    progress: str
    timeout: timedelta | None = None
    notifiers: Sequence[Any] = ()
    assigned_users: Sequence[Mapping[str, str]] = ()


def ask(
    task: BaseOperator, context: Context, question: Question, *, method: str, kwargs: dict[str, Any]
) -> NoReturn:
    """Ask, and leave the worker until the answer comes. Never returns: Airflow resumes the task.

    :param method: of the task, which gets the context, ``event`` and ``kwargs``.
    """
    from airflow.sdk.execution_time.hitl import upsert_hitl_detail

    ti: Any = context["ti"]
    users: Any = [dict(user) for user in question.assigned_users]
    upsert_hitl_detail(
        ti_id=ti.id,
        options=[YES, NO],
        subject=question.subject,
        body=question.body,
        params={},
        assigned_users=users,
    )
    task.log.info("Asked a person: %s Answer in Airflow, under Browse, Required Actions.", question.subject)
    for notifier in question.notifiers:
        try:
            notifier(context)
        except Exception:  # e.g. of a mail server that is away: the question stands in Airflow all the same
            task.log.exception(
                "%s failed. The question waits for its answer in Airflow.", type(notifier).__name__
            )
    try:
        from airflow.sdk.exceptions import TaskAwaitingInput
    except ImportError:  # before Airflow 3.3
        _defer(task, ti.id, method=method, kwargs=kwargs, timeout=question.timeout)
    raise TaskAwaitingInput(method_name=method, kwargs=kwargs, timeout=question.timeout)


def _defer(
    task: BaseOperator, ti_id: Any, *, method: str, kwargs: dict[str, Any], timeout: timedelta | None
) -> NoReturn:
    """Wait in Airflow's own trigger, as ``HITLOperator`` does before 3.3."""
    from airflow.providers.standard.triggers.hitl import HITLTrigger
    from airflow.sdk.timezone import utcnow

    until = utcnow() + timeout if timeout else None
    trigger = HITLTrigger(ti_id=ti_id, options=[YES, NO], params={}, timeout_datetime=until)
    task.defer(trigger=trigger, method_name=method, kwargs=kwargs)
    raise AssertionError("defer() has raised")
