"""A connection as values: what is taken, what is refused, and what the environment adds."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import Connection

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.hooks.settings import USER_AGENT
from tests.unit.api import settings
from tests.unit.values import KEY, TASK_ID


class TestTheBaseURL:
    @pytest.mark.parametrize(
        ("connection", "base_url"),
        [
            ({}, "https://api.3daistudio.com"),
            ({"host": ""}, "https://api.3daistudio.com"),
            ({"host": "http://127.0.0.1:8123/"}, "http://127.0.0.1:8123"),
            ({"host": " https://proxy.example/seedream/ "}, "https://proxy.example/seedream"),
            ({"host": "api.example"}, "https://api.example"),
            ({"host": "api.example", "schema": "http", "port": 8080}, "http://api.example:8080"),
            ({"host": "https://api.example:8443", "port": 1}, "https://api.example:8443"),
            ({"host": "https://api.example/seedream", "port": 8443}, "https://api.example:8443/seedream"),
            ({"host": "http://[::1]:80"}, "http://[::1]:80"),
            ({"host": "::1", "schema": "http", "port": 8080}, "http://[::1]:8080"),
            ({"host": "2001:db8::7"}, "https://[2001:db8::7]"),
            ({"host": "https://api.example/v1"}, "https://api.example"),
            ({"host": "https://api.example//v1"}, "https://api.example"),
            ({"host": "https://api.example/v1/", "port": 8443}, "https://api.example:8443"),
            ({"host": "api.example/v1"}, "https://api.example"),
            ({"host": "https://proxy.example/seedream/v1"}, "https://proxy.example/seedream"),
            ({"host": "https://proxy.example/v10"}, "https://proxy.example/v10"),
            ({"host": "api.example", "schema": "HTTPS/"}, "https://api.example"),
            ({"host": "https://api.example", "schema": "v1"}, "https://api.example"),
        ],
    )
    def test_it_is_the_host_with_what_is_missing(self, connection: dict[str, Any], base_url: str) -> None:
        assert settings(**connection).base_url == base_url

    @pytest.mark.parametrize(
        "host",
        [
            "ftp://x",
            "https://user:pw@x",
            "https://x?key=1",
            "https://x/#y",
            "http://x:port",
            "http://[::1",
            "file:///etc",
            "https://",
            "https//api.example",
            "http:/api.example",
            "api example",
        ],
    )
    def test_anything_but_a_plain_base_url_is_refused(self, host: str) -> None:
        with pytest.raises(SeedreamInputError, match="'c': host must be"):
            settings(host=host)

    def test_a_path_of_the_api_is_told_from_the_base_url(self) -> None:
        with pytest.raises(
            SeedreamInputError, match="'c': host must be the base URL alone, such as https://"
        ):
            settings(host="https://api.3daistudio.com/v1/images/seedream/v5/lite/generate/")

    def test_a_schema_that_is_none_is_refused_by_name(self) -> None:
        with pytest.raises(SeedreamInputError, match="'c': schema must be http, https or empty; got 'v1'"):
            settings(host="api.example", schema="v1")

    @pytest.mark.parametrize(
        ("uri", "base_url"),
        [
            ("seedream://:k@[::1]:8080/http", "http://[::1]:8080"),
            ("seedream://:k@https%3A%2F%2Fapi.example%2Fv1/", "https://api.example"),
            ("seedream://:k@api.example:8443/https", "https://api.example:8443"),
        ],
    )
    def test_a_connection_uri_may_hold_all_of_them(
        self, monkeypatch: pytest.MonkeyPatch, uri: str, base_url: str
    ) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_MINE", uri)
        assert SeedreamHook("mine").settings.base_url == base_url

    def test_paths_keep_their_trailing_slash(self) -> None:
        url = settings(host="https://x").status_url(TASK_ID)
        assert url == f"https://x/v1/generation-request/{TASK_ID}/status/"

    @pytest.mark.parametrize(
        ("host", "is_loopback"),
        [
            ("http://127.0.0.1:1", True),
            ("http://localhost", True),
            ("http://[::1]", True),
            ("https://x", False),
        ],
    )
    def test_a_local_api_is_told_from_a_remote_one(self, host: str, is_loopback: bool) -> None:
        assert settings(host=host).is_loopback is is_loopback


class TestTheKey:
    def test_space_around_a_pasted_key_is_taken_off(self) -> None:
        assert settings(password=f" {KEY}\n").headers["Authorization"] == f"Bearer {KEY}"

    @pytest.mark.parametrize("password", [None, "", "  \n"])
    def test_no_key_is_an_error_that_says_where_it_belongs(self, password: Any) -> None:
        with pytest.raises(SeedreamInputError, match="'c' has no password"):
            settings(password=password)

    @pytest.mark.parametrize("password", ["ab\ncd", "ab cd", "ab\x00", "schlüssel", "ab\u2026"])
    def test_a_key_that_no_header_can_carry_is_refused_without_repeating_it(self, password: str) -> None:
        with pytest.raises(SeedreamInputError, match="characters that no API key has") as refused:
            settings(password=password)
        assert password not in str(refused.value)

    def test_the_key_is_in_no_repr(self) -> None:
        assert KEY not in repr(settings())

    def test_every_call_says_who_is_calling(self) -> None:
        assert settings().headers["User-Agent"] == USER_AGENT
        assert USER_AGENT.startswith("airflow-provider-seedream/0.")


FORM_FIELDS = (
    "destination",
    "requests_per_minute",
    "status_counts_toward_limit",
    "request_timeout_seconds",
    "verify",
    "download_networks",
)


class TestExtras:
    def test_the_defaults_are_the_documented_ones(self) -> None:
        plain = settings()
        assert (
            plain.destination,
            plain.requests_per_minute,
            plain.request_timeout_seconds,
            plain.verify,
        ) == (None, None, 60, True)
        assert plain.status_counts_toward_limit is False

    def test_fields_of_the_form_come_as_text_or_numbers(self) -> None:
        filled = settings(
            extra_dejson={"destination": "s3://b", "requests_per_minute": "60", "request_timeout_seconds": 5}
        )
        assert (filled.destination, filled.requests_per_minute, filled.request_timeout_seconds) == (
            "s3://b",
            60,
            5,
        )

    @pytest.mark.parametrize("empty", [None, ""])
    def test_an_empty_field_of_the_form_is_the_default(self, empty: Any) -> None:
        extra = dict.fromkeys(FORM_FIELDS, empty)
        assert settings(extra_dejson=extra) == settings()

    @pytest.mark.parametrize("field", ["requests_per_minute", "request_timeout_seconds", "credits_per_image"])
    @pytest.mark.parametrize(
        "value", [0, -1, "fast", "nan", "inf", [], {"a": 1}, True, 10**400], ids=lambda value: str(value)[:9]
    )
    def test_a_number_that_is_none_is_refused_by_name(self, field: str, value: Any) -> None:
        with pytest.raises(SeedreamInputError, match=f"extra {field} must be a number above 0"):
            settings(extra_dejson={field: value})

    @pytest.mark.parametrize(
        ("value", "flag"),
        [(True, True), ("true", True), ("True", True), (False, False), ("false", False), (" False ", False)],
    )
    def test_whether_status_calls_count_is_yes_or_no(self, value: Any, flag: bool) -> None:
        assert settings(extra_dejson={"status_counts_toward_limit": value}).status_counts_toward_limit is flag

    @pytest.mark.parametrize("value", [1, 60, "yes", "on", [True], {"a": 1}])
    def test_anything_else_is_refused_by_name(self, value: Any) -> None:
        with pytest.raises(
            SeedreamInputError, match="extra status_counts_toward_limit must be true or false"
        ):
            settings(extra_dejson={"status_counts_toward_limit": value})

    @pytest.mark.parametrize(
        ("value", "verify"),
        [
            (None, True),
            (True, True),
            ("true", True),
            ("True", True),
            (False, False),
            ("false", False),
            (" False ", False),
            ("/etc/ca.pem", "/etc/ca.pem"),
        ],
    )
    def test_verify_is_yes_no_or_a_path(self, value: Any, verify: Any) -> None:
        assert settings(extra_dejson={"verify": value}).verify == verify

    def test_a_bundle_in_the_environment_counts_unless_the_connection_says_otherwise(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/env/ca.pem")
        said = [
            settings(extra_dejson={"verify": value}).verify for value in (None, "true", "false", "/my/ca.pem")
        ]
        assert said == ["/env/ca.pem", "/env/ca.pem", False, "/my/ca.pem"]

    @pytest.mark.parametrize(
        ("value", "networks"),
        [
            (["198.18.0.0/15", "fd00::/8"], ["198.18.0.0/15", "fd00::/8"]),
            ("198.18.0.0/15, fd00::/8", ["198.18.0.0/15", "fd00::/8"]),
            (" 10.1.2.3 ", ["10.1.2.3/32"]),
            ("10.1.2.3/8", ["10.0.0.0/8"]),
            ([], []),
        ],
    )
    def test_download_networks_are_a_list_or_text_with_commas(self, value: Any, networks: list[str]) -> None:
        assert [
            str(network) for network in settings(extra_dejson={"download_networks": value}).download_networks
        ] == networks

    @pytest.mark.parametrize(
        "value", ["vpn", "10.0.0.0/64", "10.0.0.0/8; 192.168.0.0/16", [7.5], {"a": 1}, True]
    )
    def test_networks_that_are_none_are_refused_by_name(self, value: Any) -> None:
        with pytest.raises(SeedreamInputError, match="extra download_networks must hold networks such as "):
            settings(extra_dejson={"download_networks": value})

    def test_an_upload_gets_time_by_its_size(self) -> None:
        assert settings().post_timeout_seconds(500) == pytest.approx(60, abs=0.01)
        assert settings().post_timeout_seconds(140_000_000) == 200
        assert settings().upload_seconds(140_000_000) == 1460


class TestProxies:
    @pytest.mark.parametrize(
        ("no_proxy", "proxy"),
        [
            ("", "http://p:1"),
            ("other.example", "http://p:1"),
            ("api.example", None),
            (".example", None),
            ("*", None),
            ("api.example:8443", None),
            ("api.example:1", "http://p:1"),
        ],
    )
    def test_the_environments_proxy_counts_unless_the_host_is_excepted(
        self, monkeypatch: pytest.MonkeyPatch, no_proxy: str, proxy: str | None
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://p:1")
        monkeypatch.setenv("NO_PROXY", no_proxy)
        assert settings(host="https://api.example:8443").proxy == proxy

    def test_each_scheme_has_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("http_proxy", "http://p:1")
        assert settings(host="https://api.example").proxy is None
        monkeypatch.setenv("ALL_PROXY", "http://p:2")
        assert settings(host="https://api.example").proxy == "http://p:2"
        assert settings(host="http://api.example").proxy == "http://p:1"


class TestAirflowConnections:
    @pytest.mark.parametrize(
        "written",
        [
            '{"conn_type": "seedream", "host": "http://127.0.0.1:8123", "password": "k%/1", "extra": '
            '{"verify": false}}',
            "seedream://:k%25%2F1@http%3A%2F%2F127.0.0.1%3A8123/?verify=false",
        ],
    )
    def test_both_forms_of_a_connection_variable_work(
        self, monkeypatch: pytest.MonkeyPatch, written: str
    ) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_MINE", written)
        read = SeedreamHook("mine").settings
        assert (read.base_url, read.key, read.verify) == ("http://127.0.0.1:8123", "k%/1", False)

    def test_an_airflow_connection_has_all_that_is_read(self) -> None:
        assert (
            settings(host=Connection(conn_id="c", conn_type="seedream", host="https://x").host).base_url
            == "https://x"
        )
