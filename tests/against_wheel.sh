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
"$python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt -r requirements/test.txt
"$python" -m pip install --quiet --disable-pip-version-check --no-deps "$wheel"

# From another directory, so that nothing of the checkout's `python` folder can be imported.
(cd "$place" && "$python" -I "$OLDPWD/tests/wheel_check.py")
PYTHONDONTWRITEBYTECODE=1 "$python" -m pytest --quiet -p no:cacheprovider tests/protocol tests/unit \
	--ignore tests/unit/test_repository.py
