#!/bin/bash
# pytest-xdist's --dist loadgroup groups nothing under pytest 9.2, and says nothing.
#
# Expected: eight tests marked @pytest.mark.xdist_group("one") run in one worker of two, as the documentation of xdist promises
#   ("tests marked with 'xdist_group' are sent to the same worker").
# Happens: they are spread over both workers, so that a server that one group starts once is started by every worker.
#   The worker puts the group's name behind the test's id by setting `item._nodeid`; pytest 9.2 makes the id of another attribute,
#   and an attribute that nobody reads takes any value. Under pytest 9.1.1 the same tests run in one worker.
# Version: pytest-xdist 3.8.0 (the newest), pytest 9.2.0 against 9.1.1 (PyPI).
# Source: run here; xdist/remote.py, pytest_collection_modifyitems; https://pytest-xdist.readthedocs.io/en/stable/distribution.html
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >test_group.py <<'EOF'
import os
import time
from pathlib import Path

import pytest


@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(8))
def test_in_a_group(number):
    time.sleep(0.2)
    with Path(os.environ["RAN_IN"]).open("a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\n")
EOF
workers() { # workers PYTEST: how many workers ran the group
    python3 -m venv "venv-$1"
    "venv-$1/bin/pip" install -q --disable-pip-version-check "pytest==$1" pytest-xdist==3.8.0 2>/dev/null
    RAN_IN=$dir/ran-$1 "venv-$1/bin/python" -m pytest -q -n 2 --dist loadgroup -p no:cacheprovider test_group.py >"out-$1" ||
        { cat "out-$1"; exit 1; }
    sort -u "ran-$1" | wc -l
}
before=$(workers 9.1.1)
after=$(workers 9.2.0)
echo "pytest-xdist 3.8.0, one group of 8 tests, 2 workers: pytest 9.1.1 uses $before, pytest 9.2.0 uses $after"
[ "$before" = 1 ] && [ "$after" = 2 ] && echo "AS DESCRIBED"
