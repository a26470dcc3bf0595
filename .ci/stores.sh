#!/usr/bin/env bash
# Install the object stores the tests marked `stores` run against: a real S3 (Ceph), Azurite, a GCS emulator, and those that the
# provider refuses: an S3 look-alike without conditional writes (s3rver) and a mount without hard links (rclone).
# Needs root for apt, and npm from Debian (installed if missing). Idempotent, and quick when all is there. The tests start and stop
# the servers themselves (tests/stores/servers.py), on 127.0.0.1 and free ports; nothing stays behind and nothing is configured.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "${1:-install}" != stop ] || exit 0 # there is nothing to stop
export DEBIAN_FRONTEND=noninteractive
servers=.venvs/stores # ignored by git; holds a virtual environment and node_modules

azurite=3.35.0
gcs_emulator=2026.7.19
s3rver=3.7.1

system_packages() {
    local package missing=()
    for package in ceph-common ceph-mon ceph-osd radosgw python3-venv rclone fuse3; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    command -v npm >/dev/null || missing+=(npm)
    [ ${#missing[@]} -gt 0 ] || return 0
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

from_npm() {
    local package
    for package in "azurite $azurite" "s3rver $s3rver"; do
        grep -qs "\"version\": \"${package#* }\"" "$servers/node_modules/${package% *}/package.json" && continue
        # both at once: npm removes what it was not asked for
        npm install --prefix "$servers" --silent --no-audit --no-fund --no-save "azurite@$azurite" "s3rver@$s3rver"
    done
}

gcs_emulator() {
    [ -x "$servers/bin/pip" ] || "${PYTHON:-python3}" -m venv "$servers"
    ls -d "$servers"/lib/python3*/site-packages/gcp_storage_emulator-"$gcs_emulator".dist-info >/dev/null 2>&1 ||
        "$servers/bin/pip" install -q --disable-pip-version-check "gcp-storage-emulator==$gcs_emulator"
}

system_packages
gcs_emulator
from_npm
echo "stores: ceph, azurite $azurite, gcp-storage-emulator $gcs_emulator, s3rver $s3rver and rclone are installed"
