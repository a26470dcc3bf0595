#!/bin/bash
# Jinja's native environment changes texts in which there is no template.
#
# Expected: a text without {{ }} comes out as it went in; "native" is about the values of expressions.
# Happens: NativeEnvironment puts the result through ast.literal_eval whenever that works, and a text without a template is a result too: quotes around a text
#   vanish, two quoted texts become one word, 1e3 becomes 1000.0, None a None, ... an Ellipsis. In Airflow, render_template_as_native_obj=True
#   does this to every template field of a DAG: a prompt '"Summer sale"' is sent, and paid for, without its quotes.
# Version: Jinja2 3.1.6 (PyPI).
# Source: run here; jinja2.nativetypes.native_concat ("If the result can be parsed with ast.literal_eval, the parsed value is returned").
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check jinja2==3.1.6 2>/dev/null
venv/bin/python - <<'EOF'
from importlib.metadata import version

from jinja2 import Environment
from jinja2.nativetypes import NativeEnvironment

texts = {
    '"Summer sale"': "Summer sale",
    "'a fox' 'in snow'": "a foxin snow",
    "'50%' # off": "50%",
    "1e3": 1000.0,
    "1_000": 1000,
    "None": None,
    "...": ...,
    "a fox": "a fox",
}
print("Jinja2", version("jinja2"))
for text, native in texts.items():
    rendered = NativeEnvironment().from_string(text).render()
    print(f"{text:20} -> {rendered!r}")
    assert (rendered, type(rendered)) == (native, type(native))
    assert Environment().from_string(text).render() == text
print("AS DESCRIBED")
EOF
