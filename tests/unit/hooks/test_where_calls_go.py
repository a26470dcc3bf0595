"""Who hears the key, which proxy and which certificates count: the same for the worker and the triggerer."""

from __future__ import annotations

import gzip
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_seedream import exceptions as errors
from airflow_provider_seedream.generations import GenerationStatus
from airflow_provider_seedream.hooks.downloads import Downloads
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.hooks.settings import SeedreamSettings
from airflow_provider_seedream.polling.policy import FailedPoll
from tests.unit.api import (
    IN_PROGRESS,
    Poll,
    connection_json,
    poll_as_a_trigger,
    poll_as_a_trigger_with,
    poll_as_a_worker,
)
from tests.unit.servers import Answer, json_answer, serving
from tests.unit.values import KEY, TASK_ID, png, submission

API = "http://api.seedream.example"  # nobody resolves it: only a proxy can lead there
BEARER = f"Bearer {KEY}"


@pytest.fixture(params=[poll_as_a_worker, poll_as_a_trigger], ids=["worker", "triggerer"])
def poll(request: pytest.FixtureRequest) -> Poll:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def point_to(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the connection: ``point_to(url, verify=...)``."""
    return lambda url, **extra: monkeypatch.setenv(
        "AIRFLOW_CONN_SEEDREAM_DEFAULT", connection_json(url, **extra)
    )


@pytest.fixture
def netrc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A .netrc in HOME that knows every host."""
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / ".netrc"
    file.write_text(
        "machine 127.0.0.1 login somebody password s3cret\ndefault login somebody password s3cret\n"
    )
    file.chmod(0o600)


def downloads() -> Downloads:
    return Downloads(max_bytes=10_000, timeout_seconds=5, verify=True, allow_loopback=True, max_attempts=1)


class TestTheKey:
    def test_every_call_to_the_api_carries_it(self, point_to: Any, poll: Poll) -> None:
        with serving(json_answer(IN_PROGRESS)) as server:
            point_to(server.url)
            poll()
        assert server.authorizations() == [BEARER]
        assert server.heard[0].target == f"/v1/generation-request/{TASK_ID}/status/"

    @pytest.mark.usefixtures("netrc")
    def test_a_netrc_does_not_replace_it(self, point_to: Any, poll: Poll) -> None:
        with serving(json_answer(IN_PROGRESS)) as server:
            point_to(server.url)
            poll()
        assert server.authorizations() == [BEARER]

    @pytest.mark.usefixtures("netrc")
    def test_a_netrc_does_not_replace_it_on_a_post(self, point_to: Any) -> None:
        with serving(json_answer({"task_id": TASK_ID})) as server:
            point_to(server.url)
            SeedreamHook().submit(submission())
        assert server.authorizations() == [BEARER]

    @pytest.mark.usefixtures("netrc")
    def test_downloads_carry_nothing_at_all(self) -> None:
        with serving(Answer(body=png())) as storage:
            assert downloads().fetch(f"{storage.url}/1.png?sig=x") == png()
        assert storage.authorizations() == [None]
        assert "cookie" not in storage.heard[0].headers

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_it_does_not_follow_a_redirect(self, point_to: Any, poll: Poll, status: int) -> None:
        with (
            serving(json_answer(IN_PROGRESS)) as elsewhere,
            serving(Answer(status=status, headers={"Location": elsewhere.url})) as server,
        ):
            point_to(server.url)
            found = poll()
        assert isinstance(found, FailedPoll)
        assert found.trouble == "transient"
        assert elsewhere.heard == []


class TestProxies:
    @pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
    def test_the_environments_proxy_is_used(
        self, monkeypatch: pytest.MonkeyPatch, point_to: Any, poll: Poll, name: str
    ) -> None:
        with serving(json_answer(IN_PROGRESS)) as proxy:
            monkeypatch.setenv(name, proxy.url)
            point_to(API)
            assert not isinstance(poll(), FailedPoll)
        assert [request.target for request in proxy.heard] == [
            f"{API}/v1/generation-request/{TASK_ID}/status/"
        ]
        assert proxy.authorizations() == [BEARER]

    @pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
    def test_one_without_a_scheme_is_used_as_well(
        self, monkeypatch: pytest.MonkeyPatch, point_to: Any, poll: Poll, name: str
    ) -> None:
        with serving(json_answer(IN_PROGRESS)) as proxy:
            monkeypatch.setenv(name, proxy.url.removeprefix("http://"))
            point_to(API)
            assert not isinstance(poll(), FailedPoll)
        assert [request.target for request in proxy.heard] == [
            f"{API}/v1/generation-request/{TASK_ID}/status/"
        ]

    def test_its_credentials_go_to_the_proxy_alone(
        self, monkeypatch: pytest.MonkeyPatch, point_to: Any, poll: Poll
    ) -> None:
        with serving(json_answer(IN_PROGRESS)) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", "//me:pw@"))
            point_to(API)
            poll()
        assert proxy.heard[0].headers["proxy-authorization"] == "Basic bWU6cHc="
        assert proxy.authorizations() == [BEARER]

    def test_an_excepted_host_is_called_directly(
        self, monkeypatch: pytest.MonkeyPatch, point_to: Any, poll: Poll
    ) -> None:
        with serving(json_answer(IN_PROGRESS)) as server, serving(Answer()) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            point_to(server.url)
            assert not isinstance(poll(), FailedPoll)
        assert (len(server.heard), proxy.heard) == (1, [])

    def test_a_post_goes_through_it(self, monkeypatch: pytest.MonkeyPatch, point_to: Any) -> None:
        with serving(json_answer({"task_id": TASK_ID})) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            point_to(API)
            assert SeedreamHook().submit(submission()).seedream_task_id == TASK_ID
        assert proxy.heard[0].method == "POST"

    def test_a_tunnel_that_is_refused_sent_nothing_and_is_tried_again(
        self, monkeypatch: pytest.MonkeyPatch, point_to: Any
    ) -> None:
        with serving(Answer(status=403)) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            point_to("https://api.seedream.example")
            with pytest.raises(
                errors.SeedreamConnectionError,
                match="The proxy answered 403, so the request did not reach its host",
            ) as unsent:
                SeedreamHook(max_attempts=2).submit(submission())
        assert unsent.value.paid == "no"
        assert [(request.method, request.target) for request in proxy.heard] == [
            ("CONNECT", "api.seedream.example:443")
        ] * 2
        assert proxy.authorizations() == [None, None]

    def test_one_that_wants_credentials_is_told_as_the_proxy(
        self, monkeypatch: pytest.MonkeyPatch, point_to: Any, poll: Poll
    ) -> None:
        """By any call, to an http host and through a tunnel; a status call takes it for an outage, as the
        API has not spoken.
        """
        with serving(Answer(status=407, body=b"<html>Who are you?</html>")) as proxy:
            for scheme, name in (("http", "HTTP_PROXY"), ("https", "HTTPS_PROXY")):
                monkeypatch.setenv(name, proxy.url)
                point_to(API.replace("http", scheme))
                found = poll()
                assert isinstance(found, FailedPoll)
                assert (found.trouble, found.detail[:32]) == ("transient", "The proxy answered 407, so the r")
                with pytest.raises(
                    errors.SeedreamConnectionError, match=r"The proxy answered 407.*HTTPS_PROXY"
                ) as unsent:
                    SeedreamHook(max_attempts=1).submit(submission())
                assert unsent.value.paid == "no"
                with pytest.raises(errors.SeedreamLandingError, match=r"The proxy answered 407.*HTTPS_PROXY"):
                    downloads().fetch(f"{scheme}://storage.example/1.png?sig=x")

    def test_downloads_go_through_it_without_resolving_the_host_here(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with serving(Answer(body=png())) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            assert downloads().fetch("http://storage.example/1.png?sig=x") == png()
        assert [request.target for request in proxy.heard] == ["http://storage.example/1.png?sig=x"]
        assert proxy.authorizations() == [None]

    def test_a_proxy_does_not_make_a_private_address_reachable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with serving(Answer(body=png())) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            with pytest.raises(errors.SeedreamLandingError, match="no public address"):
                downloads().fetch("http://169.254.169.254/latest/meta-data")
        assert proxy.heard == []


class TestWhatIsReadOfAnAnswer:
    """The triggerer reads what the worker reads."""

    @pytest.mark.parametrize(
        "headers",
        [
            {"X-Long": "x" * 20_000},
            {"Content-Security-Policy": "x" * 60_000},
            {"Content-Encoding": "gzip"},
            {"Content-Encoding": "x-gzip"},
            {"Content-Encoding": "GZip, gzip"},
            {"Content-Encoding": "identity"},
        ],
        ids=lambda headers: " ".join(f"{name} {value[:12]}" for name, value in headers.items()),
    )
    def test_long_headers_and_every_encoding_are_read(
        self, point_to: Any, poll: Poll, headers: dict[str, str]
    ) -> None:
        body = json_answer(IN_PROGRESS).body
        for _ in range(headers.get("Content-Encoding", "").lower().count("gzip")):
            body = gzip.compress(body)
        with serving(Answer(body=body, headers=headers)) as server:
            point_to(server.url)
            assert poll() == GenerationStatus.from_wire(IN_PROGRESS)

    def test_an_encoding_that_is_broken_is_trouble_that_passes(self, point_to: Any, poll: Poll) -> None:
        with serving(Answer(headers={"Content-Encoding": "gzip"})) as server:
            point_to(server.url)
            found = poll()
        assert isinstance(found, FailedPoll)
        assert found.trouble == "transient"


class TestNoAnswer:
    def test_it_says_where_and_why(self, point_to: Any, poll: Poll) -> None:
        with serving(Answer()) as gone:
            pass
        for url, why in ((gone.url, "connection refused"), ("http://nohost.invalid", "not known|resolution")):
            point_to(url)
            found = poll()
            assert isinstance(found, FailedPoll)
            assert re.match(rf"No answer from {url}: .*({why}).*\(\w+\)\.$", found.detail), found.detail

    def test_a_certificate_that_is_not_trusted_is_told_as_that(
        self, point_to: Any, poll: Poll, certificate: Path
    ) -> None:
        with serving(json_answer(IN_PROGRESS), certificate=certificate) as server:
            point_to(server.url)
            found = poll()
        assert isinstance(found, FailedPoll)
        assert "certificate verify failed" in found.detail


class TestTLS:
    def test_an_unknown_certificate_is_refused(self, point_to: Any, poll: Poll, certificate: Path) -> None:
        with serving(json_answer(IN_PROGRESS), certificate=certificate) as server:
            point_to(server.url)
            found = poll()
        assert isinstance(found, FailedPoll)
        assert found.trouble == "transient"
        assert server.heard == []

    # which is what verify=false means
    @pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
    @pytest.mark.parametrize("elsewhere", [None, "/no/such/bundle.pem"])
    @pytest.mark.parametrize("verify", ["the certificate", False, "false"])
    def test_the_connection_says_what_to_trust_whatever_the_environment_says(
        self,
        monkeypatch: pytest.MonkeyPatch,
        point_to: Any,
        poll: Poll,
        certificate: Path,
        verify: Any,
        elsewhere: str | None,
    ) -> None:
        if elsewhere:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", elsewhere)
        with serving(json_answer(IN_PROGRESS), certificate=certificate) as server:
            point_to(server.url, verify=str(certificate) if verify == "the certificate" else verify)
            assert not isinstance(poll(), FailedPoll)

    @pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
    def test_a_bundle_of_the_environment_is_trusted(
        self, monkeypatch: pytest.MonkeyPatch, point_to: Any, poll: Poll, certificate: Path, name: str
    ) -> None:
        monkeypatch.setenv(name, str(certificate))
        with serving(json_answer(IN_PROGRESS), certificate=certificate) as server:
            point_to(server.url)
            assert not isinstance(poll(), FailedPoll)

    def test_downloads_trust_the_same_certificates(self, certificate: Path) -> None:
        with serving(Answer(body=png()), certificate=certificate) as storage:
            trusting = Downloads(
                max_bytes=10_000, timeout_seconds=5, verify=str(certificate), allow_loopback=True
            )
            assert trusting.fetch(f"{storage.url}/1.png") == png()
            with pytest.raises(errors.SeedreamLandingError, match="SSLError"):
                downloads().fetch(f"{storage.url}/1.png")

    @pytest.mark.parametrize(
        ("verify", "why"),
        [
            ("no", "No such file"),
            ("/no/such/ca.pem", "No such file"),
            (0, "No such file"),
            (__file__, "PEM|X509"),
        ],
    )
    def test_a_bundle_that_cannot_be_read_is_refused_by_name_before_anything_is_sent(
        self, point_to: Any, verify: Any, why: str
    ) -> None:
        with serving(json_answer({"task_id": TASK_ID})) as server:
            point_to(server.url, verify=verify)
            with pytest.raises(
                errors.SeedreamInputError, match=rf"extra verify names the CA bundle '{verify}'.*\(.*({why})"
            ) as unread:
                SeedreamHook().submission_seconds(submission())
            assert SeedreamHook().test_connection() == (False, str(unread.value))
            with pytest.raises(errors.SeedreamInputError, match="extra verify names"):
                poll_as_a_trigger_with(
                    SeedreamSettings.from_connection(SeedreamHook.get_connection("seedream_default"))
                )
        assert server.connections == 0

    def test_a_bundle_of_the_environment_is_named_as_one(
        self, monkeypatch: pytest.MonkeyPatch, point_to: Any
    ) -> None:
        monkeypatch.setenv("CURL_CA_BUNDLE", "/no/such/ca.pem")
        point_to("http://127.0.0.1:9")
        with pytest.raises(
            errors.SeedreamInputError, match="CURL_CA_BUNDLE of the environment names the CA bundle"
        ):
            SeedreamHook().submission_seconds(submission())

    def test_the_bundle_is_read_once_for_all_connections_of_a_process(
        self, certificate: Path, tmp_path: Path
    ) -> None:
        bundle = Path(shutil.copy(certificate, tmp_path / "bundle.pem"))
        with serving(Answer(body=png()), certificate=certificate) as storage:
            for _ in range(2):
                trusting = Downloads(
                    max_bytes=10_000, timeout_seconds=5, verify=str(bundle), allow_loopback=True
                )
                assert trusting.fetch(f"{storage.url}/1.png") == png()
                bundle.write_text("")
        assert storage.connections == 2

    @pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
    def test_a_body_that_drips_is_given_up_however_little_comes_at_a_time(
        self, certificate: Path, tls: bool
    ) -> None:
        dripping = Answer(body=b"x" * 10_000, drip_seconds=0.05)
        with serving(dripping, certificate=certificate if tls else None) as storage:
            trusting = Downloads(
                max_bytes=10_000,
                timeout_seconds=0.3,
                verify=str(certificate),
                allow_loopback=True,
                max_attempts=1,
            )
            with pytest.raises(errors.SeedreamLandingError, match="took longer than"):
                trusting.fetch(f"{storage.url}/1.png")
