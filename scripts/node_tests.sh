#!/usr/bin/env bash
# Runs the JavaScript unit tests and fails where one was skipped or marked as to do, as conftest.py does for Python.
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
node --test --test-reporter=spec --test-reporter-destination=stdout --test-reporter=tap --test-reporter-destination="$log" \
  tests/js/*.test.mjs
grep -qx '# skipped 0' "$log" && grep -qx '# todo 0' "$log" || { echo "node tests: some were skipped (see above)" >&2; exit 1; }
