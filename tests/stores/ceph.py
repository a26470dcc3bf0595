"""A real S3: Debian's Ceph as one monitor, one storage daemon that keeps its data in memory, and the S3
gateway.

Up in about ten seconds with ~130 MB in all. No password guards the daemons: they listen on 127.0.0.1 and live
for one test run.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.stores.processes import answers_http, free_port, run, running, wait_until

PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "monmaptool")

CONF = """
[global]
fsid = {fsid}
mon host = {mon}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
# radosgw asks for an encrypted connection to the monitor, which does not exist without passwords.
ms mon client mode = crc
run dir = {root}
admin socket =
log file =
log to stderr = true
err to stderr = true
mon cluster log file = {root}/cluster.log
# One copy of everything, on one daemon, in memory.
osd objectstore = memstore
memstore device bytes = 4294967296
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
# Stop only when the disk is truly full.
mon data avail crit = 0
[mon.a]
mon data = {root}/mon
[osd.0]
osd data = {root}/osd
[client.rgw]
rgw data = {root}
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw thread pool size = 64
rgw enable gc threads = false
rgw enable lc threads = false
rgw enable quota threads = false
"""


@contextmanager
def s3_server(root: Path, users: dict[str, str]) -> Iterator[str]:
    """Run it with these users (access key -> secret key) and yield its endpoint."""
    port, fsid = free_port(), str(uuid.uuid4())
    mon = f"[v2:127.0.0.1:{free_port()},v1:127.0.0.1:{free_port()}]"
    conf = root / "ceph.conf"
    conf.write_text(CONF.format(fsid=fsid, mon=mon, root=root, port=port))
    endpoint = f"http://127.0.0.1:{port}"
    with ExitStack() as servers:
        servers.enter_context(_monitor(root, conf, fsid, mon))
        servers.enter_context(_storage(root, conf))
        gateway = servers.enter_context(
            running(["radosgw", "-f", "-n", "client.rgw", "-c", conf], root / "rgw.log")
        )
        wait_until(lambda: answers_http(endpoint), gateway, "the S3 gateway")
        for access_key, secret_key in users.items():
            keys = (f"--access-key={access_key}", f"--secret-key={secret_key}")
            run(
                "radosgw-admin",
                "-c",
                conf,
                "user",
                "create",
                f"--uid={access_key}",
                f"--display-name={access_key}",
                *keys,
            )
        yield endpoint


@contextmanager
def _monitor(root: Path, conf: Path, fsid: str, mon: str) -> Iterator[Callable[[], None]]:
    (root / "mon").mkdir()
    run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", mon, root / "monmap")
    run("ceph-mon", "--mkfs", "-i", "a", "-c", conf, "--monmap", root / "monmap")
    with running(["ceph-mon", "-f", "-i", "a", "-c", conf], root / "mon.log") as alive:
        yield alive


@contextmanager
def _storage(root: Path, conf: Path) -> Iterator[Callable[[], None]]:
    (root / "osd").mkdir()
    osd = str(uuid.uuid4())
    run("ceph", "-c", conf, "--connect-timeout", "100", "osd", "new", osd)  # waits for the monitor
    run("ceph-osd", "-i", "0", "-c", conf, "--mkfs", "--osd-uuid", osd)
    with running(["ceph-osd", "-f", "-i", "0", "-c", conf], root / "osd.log") as alive:
        yield alive
