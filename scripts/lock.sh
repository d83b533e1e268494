#!/bin/sh
# Rewrites both lock files from pyproject.toml. Needs uv on the PATH.
set -eu
cd "$(dirname "$0")/.."
compile="uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml"
$compile --group build -o requirements.lock "$@"
$compile --group build --group dev -o requirements-dev.lock "$@"
