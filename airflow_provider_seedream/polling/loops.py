"""The two loops of a wait: one holds its thread while it pauses, one frees the event loop. Both feed a
:class:`Poller`.

Only these read the clock. Polls are functions of the caller, so no HTTP library is imported here.
"""

import asyncio
from collections.abc import Awaitable, Callable

from airflow_provider_seedream.model import clock
from airflow_provider_seedream.polling.decision import Answer
from airflow_provider_seedream.polling.policy import PollOutcome
from airflow_provider_seedream.polling.poller import Poller


def wait(poller: Poller, poll: Callable[[], Answer], pause: Callable[[float], None]) -> PollOutcome:
    """Poll, when the poller says so, until the wait ends; return how it ended::

        outcome = wait(poller, lambda: hook.poll(seedream_task_id), clock.sleep)

    :param poll: one call of the API; a failure is returned, not raised.
    :param pause: takes the seconds until the next poll. It may also leave the loop by an exception, as a
        deferral does.
    """
    while True:
        if (seconds := poller.due_epoch - clock.now_epoch()) > 0:
            pause(seconds)
        answer = poll()
        outcome = poller.heard(answer, now_epoch=clock.now_epoch())
        if outcome.verdict != "wait":
            return outcome


async def wait_async(poller: Poller, poll: Callable[[], Awaitable[Answer]]) -> PollOutcome:
    """The same on an event loop, for triggers::

        outcome = await wait_async(poller, lambda: client.poll(seedream_task_id))

    To end it from outside, cancel it: the state of the poller is that of the last answer.
    """
    while True:
        await asyncio.sleep(poller.due_epoch - clock.now_epoch())
        # the clock is read after the answer
        outcome = poller.heard(await poll(), now_epoch=clock.now_epoch())
        if outcome.verdict != "wait":
            return outcome
