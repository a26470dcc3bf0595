#!/bin/bash
# fsspec's mode="create" overwrites on three file systems, and on local disks when it is put_file, although it promises an error.
#
# Expected: `fs.pipe_file(path, data, mode="create")` and `put_file(..., mode="create")` raise FileExistsError when the file is there
#   (AbstractFileSystem; since fsspec 2024.12). So it can be a lock, a claim or a ledger entry: of two writers one wins.
# Happens: sshfs (sftp://, ssh:// in Airflow's sftp provider), obstore's FsspecStore and fsspec's own simplecache:: take the keyword, do
#   not look at it, and the second writer replaces the first. Both got no error. LocalFileSystem.put_file does the same, while its
#   pipe_file refuses. What lies below could do it: obstore.put(mode="create") and sshfs' open(path, "xb") refuse.
#   memory://, s3fs and adlfs keep the promise in both.
# Version: fsspec 2026.9.0, sshfs 2026.8.0 (asyncssh 2.24.1), obstore 0.12.1 (PyPI).
# Source: run here, over a real SFTP server on 127.0.0.1; `_pipe_file` in sshfs/spec.py and obstore/fsspec.py (an unused argument there).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check fsspec==2026.9.0 sshfs==2026.8.0 asyncssh==2.24.1 obstore==0.12.1 2>/dev/null
venv/bin/python - <<'EOF'
import asyncio
import os
import threading

import asyncssh
import fsspec
import obstore
from obstore.fsspec import FsspecStore
from obstore.store import LocalStore
from sshfs import SSHFileSystem

print("fsspec", fsspec.__version__, "obstore", obstore.__version__, "asyncssh", asyncssh.__version__)
here = os.getcwd()
ready, port = threading.Event(), []


class Anybody(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


async def serve() -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    root = lambda channel: asyncssh.SFTPServer(channel, chroot=here)
    server = await asyncssh.create_server(Anybody, "127.0.0.1", 0, server_host_keys=[key], sftp_factory=root)
    port.append(server.sockets[0].getsockname()[1])
    ready.set()
    await asyncio.Event().wait()


threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
assert ready.wait(30)
ssh = SSHFileSystem("127.0.0.1", port=port[0], username="u", password="p", known_hosts=None)


def twice(fs: object, path: str) -> str:
    said = []
    for data in (b"first", b"second"):
        try:
            fs.pipe_file(path, data, mode="create")
            said.append("ok")
        except FileExistsError:
            said.append("FileExistsError")
    return f"{', '.join(said)}; the file holds {fs.cat_file(path).decode()}"


seen = {
    "file://": twice(fsspec.filesystem("file"), f"{here}/claim1"),
    "sshfs": twice(ssh, "/claim2"),
    "obstore.fsspec": twice(FsspecStore("file"), f"{here}/claim3"),
    "simplecache::file://": twice(fsspec.filesystem("simplecache", target_protocol="file"), f"{here}/claim4"),
}
for data in (b"first", b"second"):
    with open("source", "wb") as file:
        file.write(data)
    fsspec.filesystem("file").put_file(f"{here}/source", f"{here}/claim5", mode="create")
with open("claim5") as file:
    seen["file:// put_file"] = f"ok, ok; the file holds {file.read()}"
for store, said in seen.items():
    print(f"{store:22}{said}")
assert seen.pop("file://") == "ok, FileExistsError; the file holds first"
assert set(seen.values()) == {"ok, ok; the file holds second"}
for name, create in {
    "obstore.put": lambda: obstore.put(LocalStore(here), "claim3", b"third", mode="create"),
    "sshfs open xb": lambda: ssh.open("/claim2", "xb"),
}.items():
    try:
        create()
    except Exception as error:
        print(f"{name:22}{type(error).__name__}")
    else:
        raise SystemExit(f"{name} has no error any more")
print("AS DESCRIBED", flush=True)
os._exit(0)  # the server's thread
EOF
