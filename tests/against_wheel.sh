#!/usr/bin/env bash
# Receives the path of one wheel · runs the tests that need neither a browser nor Node against it, installed into an
# environment of its own · owns nothing: the environment goes when it ends. PYTHON names the interpreter (python3).
set -euo pipefail

wheel=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

"${PYTHON:-python3}" -m venv "$place/venv"
python=$place/venv/bin/python
install() { "$python" -m pip install --quiet --disable-pip-version-check "$@"; }

# With nothing but what the library needs, and from another directory: nothing of the checkout can be imported.
install --require-hashes -r requirements/build.txt
install --no-deps "$wheel"
(cd "$place" && "$python" -I "$OLDPWD/tests/wheel_check.py")

install --require-hashes -r requirements/test.txt
PYTHONDONTWRITEBYTECODE=1 "$python" -m pytest --quiet -p no:cacheprovider tests/protocol tests/unit \
	--ignore tests/unit/test_repository.py -k 'not node_ws'
