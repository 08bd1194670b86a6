#!/usr/bin/env bash
# The report is tested in a real browser. A CI machine gets Debian's Chromium here; on your own machine nothing is
# installed behind your back: the browser tests are left out, loudly, until there is a Chromium.
set -euo pipefail
for name in chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null; then exit 0; fi
done
if [ -n "${CI:-}" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
else
  echo "No Chromium found: the browser tests of the report are LEFT OUT (Debian: apt-get install chromium)." >&2
fi
