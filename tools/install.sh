#!/bin/sh
# Usage: tools/install.sh VENV CONSTRAINTS EXTRAS [GROUP...]
# Makes the virtual environment if missing and installs this checkout into it, editable, with the pinned versions.
# uv does it in half the time of pip and is fetched by pip; where uv cannot reach its index, pip does all of it.
# Quiet: everything goes to VENV/install.log, which is shown when something fails.
set -eu
venv=$1 constraints=$2 extras=$3
shift 3
python=${PYTHON:-python3}
unset PYTHONDONTWRITEBYTECODE # else every Airflow process compiles Airflow again
export PIP_DISABLE_PIP_VERSION_CHECK=1

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed; '$python' is $("$python" --version 2>&1). Set PYTHON=..." >&2
    exit 1
}
[ -x "$venv/bin/pip" ] || "$python" -m venv "$venv" || {
    echo "could not make $venv; on Debian: apt install python3-venv" >&2
    exit 1
}
log=$venv/install.log
groups=
for group in "$@"; do groups="$groups --group $group"; done

with_uv() {
    [ -x "$venv/bin/uv" ] || "$venv/bin/pip" install -q -c "$constraints" uv
    # shellcheck disable=SC2086
    "$venv/bin/uv" pip install -q --compile-bytecode --python "$venv/bin/python" -c "$constraints" -e ".[$extras]" $groups
}
with_pip() {
    "$venv/bin/pip" install -q --upgrade 'pip>=25.1' # the first to know --group
    # shellcheck disable=SC2086
    "$venv/bin/pip" install -q -c "$constraints" -e ".[$extras]" $groups
}
echo "Installing into $venv, a minute or two; more in $log" >&2
{ with_uv || with_pip; } >"$log" 2>&1 || {
    cat "$log" >&2
    echo "installing failed; see $log" >&2
    exit 1
}
