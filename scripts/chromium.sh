#!/usr/bin/env bash
# Prints the path of the Chromium that tests use: $CHROMIUM, else an installed one. Exits with 1 where there is none.
set -euo pipefail
if [ -n "${CHROMIUM:-}" ]; then
  command -v "$CHROMIUM" || { echo "CHROMIUM=$CHROMIUM cannot be run" >&2; exit 1; }
  exit
fi
for name in chromium chromium-browser google-chrome google-chrome-stable chrome; do
  command -v "$name" && exit
done
for app in "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" "/Applications/Chromium.app/Contents/MacOS/Chromium"; do
  [ -x "$app" ] && printf '%s\n' "$app" && exit
done
exit 1
