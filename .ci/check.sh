#!/usr/bin/env bash
# The checks of `make check`, one after the other, each with its time.
set -euo pipefail
cd "$(dirname "$0")/.."
step() {
  local name=$1 start
  shift
  start=$(date +%s)
  echo "=== $name"
  "$@"
  echo "=== $name: $(($(date +%s) - start)) s"
}
step build make --no-print-directory build
step drift make --no-print-directory drift
step lint make --no-print-directory lint
step test make --no-print-directory test
if ! command -v mvn >/dev/null || ! command -v java >/dev/null; then
  echo "installing java and maven with apt-get: the tests on real Kafka need them"
  apt-get update -q && apt-get install -y -q --no-install-recommends openjdk-17-jre-headless maven
fi
step "real Kafka" make --no-print-directory kafka
# Another kernel may serve on the default port.
step "main job" env AGENTOS_HOME="$(mktemp -d)" AGENTOS_HTTP="127.0.0.1:$((20000 + RANDOM % 12000))" make --no-print-directory run ONESHOT=1
step "benchmarks run" go run ./bench smoke
