"""The hook: authentication, sessions, timeouts, error mapping. A call that costs credits is sent at most
once.

It does not wait for generations, and never imports storage or the ledger: a direct call of ``submit`` is not
recorded.
"""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import requests
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook
from requests.auth import AuthBase
from requests.utils import get_environ_proxies, select_proxy

from airflow_provider_seedream.exceptions import (
    SeedreamError,
    SeedreamInputError,
)
from airflow_provider_seedream.generations import Accepted, GenerationStatus, Wallet
from airflow_provider_seedream.hooks.answers import error_from_answer, failed_poll, read_json
from airflow_provider_seedream.hooks.downloads import Downloads
from airflow_provider_seedream.hooks.failures import no_answer
from airflow_provider_seedream.hooks.first_mistakes import connection_missing
from airflow_provider_seedream.hooks.kept_sessions import KeptSessions
from airflow_provider_seedream.hooks.post_answers import accepted, content_of, post_error, refusal
from airflow_provider_seedream.hooks.resending import (
    DEFAULT_MAX_ATTEMPTS,
    PostWithheld,
    SubmissionBody,
    get_retrying,
    post_retrying,
)
from airflow_provider_seedream.hooks.settings import CONNECT_TIMEOUT_SECONDS, SeedreamSettings
from airflow_provider_seedream.hooks.tls import check_bundle
from airflow_provider_seedream.hooks.transport import session_through
from airflow_provider_seedream.model import clock, contract
from airflow_provider_seedream.model.counting import counted
from airflow_provider_seedream.model.submissions import Submission
from airflow_provider_seedream.observability import metrics
from airflow_provider_seedream.polling.policy import FailedPoll
from airflow_provider_seedream.provider_info import DEFAULT_CONN_ID, UI_FIELD_BEHAVIOUR

# from a claim to the first byte: a host of several addresses takes 10 s for each, and up to 4 tries
FIRST_BYTE_SECONDS = 60.0
PEEK_SECONDS = 5.0
# after a wallet that did not answer: it is asked for the limit, not for each request
PEEK_AGAIN_SECONDS = 60.0


class _BearerAuth(AuthBase):
    """Sets the key as requests' own auth: only then does requests leave a user's .netrc alone."""

    def __init__(self, settings: SeedreamSettings) -> None:
        self._settings = settings

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add key and user agent to a request of the API host."""
        request.headers.update(self._settings.headers)
        return request


class SeedreamHook(BaseHook):
    """Talks to the Seedream API with the key of an Airflow connection::

        hook = SeedreamHook("seedream_default")
        hook.get_wallet().balance  # "120"
        hook.get_generation("b1c2d3").status  # "FINISHED"

    :param seedream_conn_id: the connection, type ``seedream``: password = key, host = base URL.
    :param max_attempts: how often one call may be sent if a resend is safe (see ``hooks/resending.py``); 4.
    """

    conn_name_attr = "seedream_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = "seedream"
    hook_name = "Seedream"

    def __init__(
        self,
        seedream_conn_id: str = DEFAULT_CONN_ID,
        *,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.seedream_conn_id = seedream_conn_id
        self.max_attempts = max_attempts
        self._wallet: Wallet | None = None  # as last seen
        self._peeked_epoch = -math.inf
        self._kept = KeptSessions(lambda: self.get_conn())

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """The connection form on Airflow 3.1; from 3.2 on the provider info says it."""
        return {name.replace("-", "_"): value for name, value in UI_FIELD_BEHAVIOUR.items()}

    @cached_property
    def settings(self) -> SeedreamSettings:
        """:raises SeedreamInputError: the connection does not exist or is incomplete, or names a CA bundle
        that cannot be read.
        """
        try:
            connection = self.get_connection(self.seedream_conn_id)
        except AirflowNotFoundException:
            raise connection_missing(self.seedream_conn_id) from None
        settings = SeedreamSettings.from_connection(connection)
        check_bundle(settings.verify)  # before a claim is written, and before anything is paid
        return settings

    @cached_property
    def _proxies(self) -> dict[str, str]:
        """The proxies that the environment names for the API host, as requests reads them; empty without
        any.
        """
        return get_environ_proxies(self.settings.base_url)

    @property
    def is_reached_by_aiohttp(self) -> bool:
        """True if the triggerer's client goes the same way to the API: it knows no SOCKS proxy, and no
        range in NO_PROXY.
        """
        ours, theirs = select_proxy(self.settings.base_url, self._proxies), self.settings.proxy
        return (ours is None) == (theirs is None) and not (theirs or "").startswith("socks")

    @property
    def requests_per_minute(self) -> float:
        """The rate limit: the connection's, else the wallet's, else 3 [doc]."""
        return self.known_requests_per_minute or contract.DEFAULT_REQUESTS_PER_MINUTE

    @property
    def known_requests_per_minute(self) -> float | None:
        """The rate limit in requests per minute, from the connection, else from the wallet; None if both are
        silent.

        The wallet is called until it has answered once, at most every 60 s; its errors are ignored here.
        """
        if self.settings.requests_per_minute is not None:
            return self.settings.requests_per_minute
        if self._wallet is None and clock.now_epoch() - self._peeked_epoch >= PEEK_AGAIN_SECONDS:
            self._peek_wallet()
        limit = self._wallet.rate_limit if self._wallet else None
        return float(limit) if limit and limit > 0 else None

    def get_conn(self) -> requests.Session:
        """A session whose requests carry the key, so use it for the API host only."""
        session = session_through()
        session.auth = _BearerAuth(self.settings)
        session.verify = self.settings.verify
        # By hand: else requests searches the whole environment twice for each call, which takes a third of
        # the call's CPU.
        session.proxies, session.trust_env = self._proxies, False
        return session

    def submit(
        self, submission: Submission, *, before_first_byte: Callable[[], None] | None = None
    ) -> Accepted:
        """POST a submission. It is sent again only if the first one certainly did not leave.

        :param before_first_byte: called when the connection stands, just before the first byte. If it raises
            :class:`~airflow_provider_seedream.hooks.resending.PostWithheld`, the POST is not sent, and the
            error is raised here.
        :raises SeedreamAmbiguousSubmissionError: the POST may have been accepted and charged.
        :raises SeedreamAPIError: the API refused the POST, so it is not paid; the class says why.
        :raises SeedreamConnectionError: the POST was certainly not sent.
        """
        answer: Accepted = post_retrying(self.max_attempts)(self._post, submission, before_first_byte)
        return answer

    def submission_seconds(self, submission: Submission) -> float:
        """The longest time that :meth:`submit` may take, in seconds: to the first byte, for the upload,
        and for the answer.
        """
        size = submission.body_bytes
        return (
            FIRST_BYTE_SECONDS
            + CONNECT_TIMEOUT_SECONDS
            + self.settings.upload_seconds(size)
            + self.settings.post_timeout_seconds(size)
        )

    def get_generation(self, seedream_task_id: str, *, max_attempts: int | None = None) -> GenerationStatus:
        """The status of a generation, with fresh links.

        :raises SeedreamAPIError: the API refused. :raises SeedreamConnectionError: no answer.
        :raises SeedreamResponseError: an answer that is no status.
        """
        metrics.polled()
        body = self._get_json(self.settings.status_url(seedream_task_id), max_attempts or self.max_attempts)
        return GenerationStatus.from_wire(body)

    def poll(self, seedream_task_id: str) -> GenerationStatus | FailedPoll:
        """One status call, sent once, for the polling core. It raises only if the connection is
        incomplete.
        """
        self.check_connection(seedream_task_id)
        try:
            return self.get_generation(seedream_task_id, max_attempts=1)
        except SeedreamError as error:
            return failed_poll(error)

    def check_connection(self, seedream_task_id: str) -> None:
        """Check the connection before a wait. :raises SeedreamInputError: it is incomplete; the generation
        stays paid.
        """
        try:
            self.settings.status_url(seedream_task_id)
        except SeedreamInputError as error:
            error.paid, error.seedream_task_id = "yes", seedream_task_id
            raise

    def get_wallet(self, *, max_attempts: int | None = None) -> Wallet:
        """Balance and rate limit. Spends nothing; raises as :meth:`get_generation`."""
        body = self._get_json(self.settings.url(contract.WALLET_PATH), max_attempts or self.max_attempts)
        return Wallet.from_wire(body)

    def poll_wallet(self) -> Wallet | FailedPoll:
        """One wallet call, sent once. It raises only if the connection is incomplete."""
        url = self.settings.url(contract.WALLET_PATH)
        try:
            return Wallet.from_wire(self._get_once(url))
        except SeedreamError as error:
            return failed_poll(error)

    def peek_balance(self) -> str | None:
        """The wallet's balance in credits, best effort: None if the wallet does not answer within 5 s."""
        wallet = self._peek_wallet()
        return wallet.balance if wallet else None

    def _peek_wallet(self) -> Wallet | None:
        """The wallet, within 5 s; None if it does not answer. Its last answer is kept, for the rate limit."""
        self._peeked_epoch = clock.now_epoch()
        try:
            url = self.settings.url(contract.WALLET_PATH)
            self._wallet = Wallet.from_wire(self._get_once(url, timeout_seconds=PEEK_SECONDS))
            return self._wallet
        except SeedreamError as error:
            self.log.info("The wallet cannot be read now: %s", error.message)
            return None

    def downloads(self, *, max_bytes: int, hold: Callable[[int], None] | None = None) -> Downloads:
        """A source of result bytes on a session without the key; close it.

        :param max_bytes: larger bodies are refused. :param hold: waits until a body of so many bytes fits
            into memory.
        """
        settings = self.settings
        return Downloads(
            max_bytes=max_bytes,
            timeout_seconds=settings.request_timeout_seconds,
            verify=settings.verify,
            allow_loopback=settings.is_loopback,
            networks=settings.download_networks,
            hold=hold,
        )

    def test_connection(self) -> tuple[bool, str]:
        """Reads the wallet: says balance and rate limit, spends nothing."""
        try:
            wallet = self.get_wallet(max_attempts=1)
        except Exception as error:  # Airflow shows the text of any error
            return False, str(error)
        limit = f"{counted(wallet.rate_limit, 'request')} per minute" if wallet.rate_limit else "not reported"
        return True, f"The key works. Balance: {wallet.balance} credits; rate limit: {limit}."

    def _post(self, submission: Submission, before_first_byte: Callable[[], None] | None) -> Accepted:
        """Send the POST once.

        :raises PostWithheld: ``before_first_byte`` has stopped it. :raises SeedreamError: as :meth:`submit`.
        """
        body = SubmissionBody(submission, before_first_byte)
        try:
            status_code, headers, content = self._send_post(submission, body)
        except PostWithheld:
            raise
        except Exception as error:
            raise post_error(error, self.settings, has_begun=body.has_begun) from None
        if 200 <= status_code < 300:
            return accepted(content, key=self.settings.key)
        raise refusal(
            self._error(status_code, headers, content), status_code, url=self._submit_url(submission)
        )

    def _submit_url(self, submission: Submission) -> str:
        """The endpoint: generate or edit."""
        return self.settings.url(contract.SUBMIT_PATHS[submission.kind])

    def _send_post(self, submission: Submission, body: SubmissionBody) -> tuple[int, Any, bytes]:
        """The status, the headers and the body of the answer to a POST.

        However slowly the body comes, it ends in the time that other tries give this POST: then they treat it
        as ended.
        """
        body.max_seconds, read_seconds = (
            self.settings.upload_seconds(len(body)),
            self.settings.post_timeout_seconds(len(body)),
        )
        with self.get_conn() as session:
            answer = session.post(
                self._submit_url(submission),
                data=body,
                headers={"Content-Type": "application/json"},
                timeout=(CONNECT_TIMEOUT_SECONDS, read_seconds),
                allow_redirects=False,
                verify=self.settings.verify,
                stream=True,
            )
            ends_seconds = body.began_seconds + body.max_seconds + read_seconds  # however it drips
            return (
                answer.status_code,
                answer.headers,
                content_of(answer, ends_seconds - clock.steady_seconds()),
            )

    def _get_json(self, url: str, max_attempts: int) -> Any:
        """A GET, repeated while that is safe: see ``hooks/resending.py``."""
        return get_retrying(max_attempts)(self._get_once, url)

    def _get_once(self, url: str, *, timeout_seconds: float | None = None) -> Any:
        """One GET, sent once. Redirects are not followed: the key would go to another host."""
        timeout = (CONNECT_TIMEOUT_SECONDS, timeout_seconds or self.settings.request_timeout_seconds)
        try:
            with self._kept.session() as session:
                answer = session.get(url, timeout=timeout, allow_redirects=False, verify=self.settings.verify)
        except (requests.RequestException, OSError) as error:
            raise no_answer(self.settings.base_url, error) from None
        if not 200 <= answer.status_code < 300:
            raise self._error(answer.status_code, answer.headers, answer.content)
        return read_json(answer.content, key=self.settings.key)

    def _error(self, status_code: int, headers: Any, content: bytes) -> SeedreamError:
        """The error of an answer outside 2xx, counted in the metrics."""
        metrics.answered(status_code)
        return error_from_answer(
            status_code, headers, content, key=self.settings.key, now_epoch=clock.now_epoch()
        )
