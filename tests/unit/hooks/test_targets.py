"""Which addresses a download may go to. Pure but for two downloads from servers of our own on loopback."""

from __future__ import annotations

import ipaddress

import pytest

from airflow_provider_seedream.exceptions import SeedreamLandingError
from airflow_provider_seedream.hooks.downloads import Downloads
from airflow_provider_seedream.hooks.extra_values import Network
from airflow_provider_seedream.hooks.targets import is_in, is_public, refuse_target
from tests.unit.servers import Answer, serving
from tests.unit.values import png

PUBLIC = (
    "8.8.8.8",
    "2606:4700::1",
    "2a00:1450:4001::8",
    "64:ff9b::8.8.8.8",  # NAT64 of a public host
    "::ffff:8.8.8.8",
    "2002:808:808::1",
)
NOT_PUBLIC = (
    "10.0.0.1",
    "100.64.0.1",  # CGNAT
    "198.18.0.7",  # benchmarks, and VPN clients' own DNS
    "169.254.169.254",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "0.0.0.0",
    "127.0.0.1",
    "fec0::1",  # site-local
    "fe80::1",
    "fd00::1",
    "ff0e::1",  # multicast, global scope
    "ff02::1",
    "4000::1",
    "::",
    "::1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::10.0.0.1",  # compatible
    "::a9fe:a9fe",
    "64:ff9b::10.0.0.1",  # NAT64 of a private host
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:1",
    "2002:a00:1::1",  # 6to4 of 10.0.0.1
    "2002:7f00:1::1",
    "2001:0:a00:1::1",  # Teredo
    "2001:db8::1",
)


def networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


def refuse(link: str, *named: str, allow_loopback: bool = False) -> None:
    refuse_target(link, allow_loopback=allow_loopback, networks=networks(*named), proxied=False)


class TestPublicAddresses:
    @pytest.mark.parametrize("address", PUBLIC)
    def test_these_addresses_are_public(self, address: str) -> None:
        assert is_public(ipaddress.ip_address(address))
        refuse(f"https://[{address}]/x" if ":" in address else f"https://{address}/x")

    @pytest.mark.parametrize("address", NOT_PUBLIC)
    def test_these_addresses_are_not_public_with_any_python(self, address: str) -> None:
        assert not is_public(ipaddress.ip_address(address))
        with pytest.raises(SeedreamLandingError, match="no public address: refused"):
            refuse(f"https://[{address}]/x" if ":" in address else f"https://{address}/x")

    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::7f00:1]", "[64:ff9b::7f00:1]"]
    )
    def test_loopback_passes_beside_a_loopback_api_however_it_is_wrapped(self, host: str) -> None:
        refuse(f"http://{host}/x", allow_loopback=True)
        with pytest.raises(SeedreamLandingError, match="no public address"):
            refuse(f"http://{host}/x")

    @pytest.mark.parametrize("link", ["http://[::1", "http://a..b/x", f"http://{'a' * 64}.example/x"])
    def test_a_host_that_is_none_is_refused(self, link: str) -> None:
        with pytest.raises(SeedreamLandingError, match="refused"):
            refuse(link)


class TestNetworksOfTheConnection:
    @pytest.mark.parametrize(
        ("address", "named"),
        [
            ("198.18.0.7", "198.18.0.0/15"),
            ("100.64.0.1", "100.64.0.0/10"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("[fd00::1]", "fd00::/8"),
            ("[64:ff9b::10.0.0.1]", "10.0.0.0/8"),  # by the address inside
            ("[64:ff9b::10.0.0.1]", "64:ff9b::/96"),
        ],
    )
    def test_an_address_of_theirs_passes_and_others_do_not(self, address: str, named: str) -> None:
        refuse(f"https://{address}/x", "192.168.0.0/16", named)
        with pytest.raises(SeedreamLandingError):
            refuse(f"https://{address}/x", "192.168.0.0/16")

    def test_the_error_names_the_address_and_the_setting(self) -> None:
        with pytest.raises(SeedreamLandingError) as refused:
            refuse("https://localhost/x?sig=s3cret")
        text = str(refused.value)
        assert "leads to localhost (" in text
        assert "the connection's extra download_networks, for example '" in text
        assert "s3cret" not in text

    @pytest.mark.parametrize(
        "address",
        [
            *("169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "224.0.0.1", "0.0.0.0"),
            *("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
            *("64:ff9b::100.100.100.200", "::ffff:168.63.129.16"),
        ],
    )
    def test_no_setting_opens_the_way_to_a_clouds_credentials(self, address: str) -> None:
        assert not is_in(ipaddress.ip_address(address), networks("0.0.0.0/0", "::/0"))
        with pytest.raises(SeedreamLandingError) as refused:
            refuse(f"http://[{address}]/x" if ":" in address else f"http://{address}/x", "0.0.0.0/0", "::/0")
        assert "download_networks" not in str(refused.value)

    def test_a_download_from_one_of_them_reaches_its_server_and_another_is_never_contacted(self) -> None:
        with serving(Answer(body=png())) as storage:
            port = storage.url.rpartition(":")[2]
            for link in (f"http://127.0.0.1:{port}/1.png", f"http://[::ffff:127.0.0.1]:{port}/1.png"):
                assert downloads("127.0.0.0/8").fetch(link) == png()
                with pytest.raises(
                    SeedreamLandingError, match=r"127\.0\.0\.1\)?, which is no public address"
                ):
                    downloads("10.0.0.0/8").fetch(link)
        assert len(storage.heard) == 2


def downloads(named: str) -> Downloads:
    return Downloads(
        max_bytes=10_000,
        timeout_seconds=5,
        verify=True,
        allow_loopback=False,
        networks=networks(named),
        max_attempts=1,
    )


@pytest.mark.parametrize(
    "host", ["localhost", "localhost.", "LOCALHOST", "store.localhost", "127.0.0.1.", "10.0.0.1."]
)
def test_a_name_that_is_no_public_address_by_itself_is_refused_behind_a_proxy_too(host: str) -> None:
    with pytest.raises(SeedreamLandingError, match="which is no public address"):
        refuse_target(f"http://{host}/1.png", allow_loopback=False, proxied=True)
