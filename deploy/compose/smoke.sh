#!/usr/bin/env bash
# smoke.sh [short]: run compose.yaml as a user would, break it, and look at what it says. The whole also upgrades
# from the commit before (or BEFORE); short leaves that out, for CI. It has a project, a port and volumes of its own and removes them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=deploy/compose
form=${1:-whole}

DOCKER_HOST=$(bash deploy/docker/engine.sh start)
export DOCKER_HOST
bash deploy/docker/compose-plugin.sh
bash deploy/docker/images.sh

export COMPOSE_PROJECT_NAME=agentos-smoke-$$
AGENTOS_PORT=$(for _ in $(seq 50); do port=$((20000 + RANDOM % 12000)); (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; break; }; done)
export AGENTOS_PORT
image=agentos:smoke-$$
before=agentos:smoke-before-$$
compose() { docker compose -f $here/compose.yaml "$@"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
seconds() { echo $((($(date +%s%N) - $1) / 100000000)) | sed 's/.$/.&/; s/^\./0./'; }

finish() {
  local code=$?
  if [ $code != 0 ]; then
    compose logs --no-color >bin/smoke-containers.log 2>&1 || true
    echo "what the containers logged is in bin/smoke-containers.log" >&2
  fi
  compose down -v --remove-orphans >/dev/null 2>&1 || true
  docker image rm "$image" "$before" >/dev/null 2>&1 || true
  git worktree remove --force "bin/before-$$" >/dev/null 2>&1 || true
  exit $code
}
trap finish EXIT

# get asks the one address with the key.
get() { curl -sS --fail-with-body --max-time 30 -H "Authorization: Bearer $key" "http://127.0.0.1:$AGENTOS_PORT$1" "${@:2}"; }

# task submits README's task and waits until it has ended.
task() {
  local name=$1 answer pid
  answer=$(get /v1/agents -H "Idempotency-Key: smoke-$$-$name" -d '{"task": "Add up 2 and 40.", "model": "replay/hello", "tools": ["calculator"], "limits": {"max_cost_usd": 0.05}}')
  pid=$(sed -n 's/.*"pid":"\([^"]*\)".*/\1/p' <<<"$answer")
  [ -n "$pid" ] || fail "no process was made: $answer"
  for _ in $(seq 300); do
    answer=$(get "/v1/agents/$pid")
    case $answer in *'"state":"completed"'*) echo "$pid"; return ;; *'"state":"failed"'* | *'"state":"terminated"'*) fail "the task ended otherwise: $answer" ;; esac
    sleep 0.1
  done
  fail "the task did not end in 30 s: $answer"
}

up() {
  local began
  began=$(date +%s%N)
  compose up -d --wait --wait-timeout 180 --quiet-pull >/dev/null 2>bin/smoke.log || { tail -n 20 bin/smoke.log >&2; fail "compose up"; }
  echo "$1: ready after $(seconds "$began") s"
}

# mistake runs one container, several of them at once, with a setting that is wrong and looks for the name of the variable in what it says.
mistake() {
  local want=$1 service=$2 said; shift 2
  said=$(timeout 120 docker compose -f $here/compose.yaml run --rm --no-deps -T "$@" "$service" 2>&1) && fail "$* was no mistake for $service"
  grep -q "$want" <<<"$said" || fail "$* does not name $want: $said"
  echo "  ${*:-$service}: $(grep -m1 -o 'fix.*' <<<"$said")"
}

make --no-print-directory image AGENTOS_IMAGE="$image" >/dev/null
if [ "$form" = whole ]; then
  git worktree add -q --detach "bin/before-$$" "${BEFORE:-HEAD~1}"
  make --no-print-directory -C "bin/before-$$" image AGENTOS_IMAGE="$before" >/dev/null
  AGENTOS_IMAGE=$before up "the commit before"
  key=$(AGENTOS_IMAGE=$before compose exec -T edge agentos keys api)
  old=$(task before)
  export AGENTOS_IMAGE=$image
  up "upgraded from it"
  get "/v1/agents/$old" | grep -q '"state":"completed"' || fail "the upgrade lost $old"
else
  export AGENTOS_IMAGE=$image
  up "first start"
fi
key=$(compose exec -T edge agentos keys api)

began=$(date +%s%N)
first=$(task first)
echo "a task by curl: completed after $(seconds "$began") s"
containers() { compose ps -q | sort; }
running=$(containers)
up "up once more"
[ "$running" = "$(containers)" ] || fail "a second up made containers anew"

limits=0
for id in $(compose ps -aq); do
  limits=$((limits + $(docker inspect --format '{{.HostConfig.Memory}}' "$id") / 1048576))
  docker inspect --format '{{.Name}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Memory}}' "$id" |
    grep -q ' \[ALL\] \[no-new-privileges:true\] [1-9]' || fail "a container with privileges or without a memory limit: $id"
done
[ $limits -le 4096 ] || fail "the memory limits are $limits MB together"
services="scheduler context llm-gateway tools audit learning"
for service in $services edge; do
  docker inspect --format '{{.Config.User}} {{.HostConfig.ReadonlyRootfs}}' "$(compose ps -q "$service")" | grep -q '^65532:65532 true$' ||
    fail "$service runs as root or can write its image"
  if docker logs "$(compose ps -q "$service")" 2>&1 | grep -v '^{' | grep -q .; then fail "$service logs something that is not JSON"; fi
done
# shellcheck disable=SC2086 # names are words
idle=$(docker stats --no-stream --format '{{.MemUsage}}' $(compose ps -q $services) | awk '/GiB/ { s += $1 * 1024 } /MiB/ { s += $1 } END { printf "%.0f", s }')
[ "$idle" -le 300 ] || fail "the six services use $idle MB when idle"
echo "memory: limits $limits MB together, the six services use $idle MB"

compose kill -s KILL >/dev/null 2>&1
up "after kill -9 of everything"
get "/v1/agents/$first" | grep -q '"state":"completed"' || fail "kill -9 lost $first"
task second >/dev/null
get /v1/audit/verify | grep -q '"ok":true' || fail "the audit log does not verify"
echo "kill -9 of everything: the data is there, a task completes, the audit log verifies"

echo "mistakes and what is said:"
asked=()
url=postgres://agentos@postgres:5432/agentos
mistake DATABASE_URL migrate -e DATABASE_URL= & asked+=($!)
mistake DATABASE_PASSWORD_FILE migrate -e DATABASE_URL=postgres://agentos:wrong@postgres:5432/agentos & asked+=($!)
mistake DATABASE_PASSWORD_FILE migrate -e DATABASE_PASSWORD_FILE=/no/such/file & asked+=($!)
mistake DATABASE_URL migrate -e DATABASE_URL="${url/5432/5433}" & asked+=($!)
mistake KAFKA_BROKERS migrate -e KAFKA_BROKERS= & asked+=($!)
mistake KAFKA_BROKERS migrate -e KAFKA_BROKERS=kafka & asked+=($!)
mistake KAFKA_BROKERS migrate -e KAFKA_BROKERS=kafka:9999 & asked+=($!)
mistake KAFKA_PARTITIONS migrate -e KAFKA_PARTITIONS=6 & asked+=($!)
mistake KAFKA_BROKERS context -e KAFKA_BROKERS= & asked+=($!)
mistake AGENTOS_HOME keys --user 1000:1000 & asked+=($!)
for job in "${asked[@]}"; do wait "$job" || fail "see above"; done

compose down -v >/dev/null 2>&1
mine=label=com.docker.compose.project=$COMPOSE_PROJECT_NAME
left=$(docker ps -aq --filter "$mine"; docker volume ls -q --filter "$mine"; docker network ls -q --filter "$mine")
[ -z "$left" ] || fail "down -v left: $left"
echo "down -v leaves nothing"
echo "compose smoke: passed ($form)"
