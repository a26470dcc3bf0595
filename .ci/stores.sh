#!/usr/bin/env bash
# Install the object stores the tests marked `stores` run against: a real S3 (Ceph), Azurite and a GCS emulator.
# Needs root for apt, and npm from Debian (installed if missing). Idempotent, and quick when all is there. The tests start and stop
# the servers themselves (tests/stores/servers.py), on 127.0.0.1 and free ports; nothing stays behind and nothing is configured.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "${1:-install}" != stop ] || exit 0 # there is nothing to stop
export DEBIAN_FRONTEND=noninteractive
servers=.venvs/stores # ignored by git; holds a virtual environment and node_modules

azurite=3.35.0
gcs_emulator=2026.7.19

system_packages() {
    local package missing=()
    for package in ceph-common ceph-mon ceph-osd radosgw python3-venv; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    command -v npm >/dev/null || missing+=(npm)
    [ ${#missing[@]} -gt 0 ] || return 0
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

azurite() {
    local package=$servers/node_modules/azurite/package.json
    if ! grep -qs "\"version\": \"$azurite\"" "$package"; then
        npm install --prefix "$servers" --silent --no-audit --no-fund --no-save "azurite@$azurite"
    fi
}

gcs_emulator() {
    [ -x "$servers/bin/pip" ] || "${PYTHON:-python3}" -m venv "$servers"
    ls -d "$servers"/lib/python3*/site-packages/gcp_storage_emulator-"$gcs_emulator".dist-info >/dev/null 2>&1 ||
        "$servers/bin/pip" install -q --disable-pip-version-check "gcp-storage-emulator==$gcs_emulator"
}

system_packages
gcs_emulator
azurite
echo "stores: ceph, azurite $azurite and gcp-storage-emulator $gcs_emulator are installed"
