#!/usr/bin/env bash
# Runs go test, then says what was skipped and what was slow. Usage: tests/run.sh [go test flags] packages
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
go test -json "$@" >"$log" || status=$?
go run ./tests/report <"$log" || status=$?
exit "$status"
