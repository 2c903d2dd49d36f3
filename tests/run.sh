#!/usr/bin/env bash
# Runs go test and says what ends as it ends, then what failed, what was skipped and why, and what was slow.
# Usage: tests/run.sh [-logs] [go test flags] packages; -logs also prints what tests log: their figures.
set -euo pipefail
cd "$(dirname "$0")/.."
logs=
if [ "${1:-}" = -logs ]; then
  logs=-logs
  shift
fi
report=$(mktemp)
trap 'rm -f "$report"' EXIT
go build -o "$report" ./tests/report
go test -json "$@" | "$report" $logs
