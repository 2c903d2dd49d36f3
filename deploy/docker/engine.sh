#!/usr/bin/env bash
# A Docker engine for this repository's containers.
#
#   engine.sh start   find a healthy engine; else install docker.io and start dockerd; print its DOCKER_HOST
#   engine.sh stop    stop the dockerd that start started; any other engine is left alone
#   engine.sh host    print the DOCKER_HOST of the engine in use; fails when there is none
#
# An engine of yours is used as it is: the one DOCKER_HOST or the docker context names, else the usual socket. Our own
# has a socket, a process folder and a data folder of its own, so it never meets another engine's files.
# AGENTOS_ENGINE_DATA names the data folder (default /var/lib/agentos-docker).
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

run=/run/agentos-docker
data=${AGENTOS_ENGINE_DATA:-/var/lib/agentos-docker}
socket=unix://$run/docker.sock

# healthy tells whether an engine answers at the address: `docker version` fails when only the client does.
healthy() { DOCKER_HOST=$1 timeout 20 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# find prints the address of a healthy engine; empty is docker's own choice (its context, the usual socket).
find_engine() {
  command -v docker >/dev/null || return 1
  if [ -n "${DOCKER_HOST:-}" ]; then
    healthy "$DOCKER_HOST" && echo "$DOCKER_HOST" && return
    die "DOCKER_HOST=$DOCKER_HOST does not answer: start that engine, or unset DOCKER_HOST"
  fi
  local context
  context=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null || echo unix:///var/run/docker.sock)
  for host in "$context" "$socket"; do
    if healthy "$host"; then echo "$host"; return; fi
  done
  return 1
}

install_engine() {
  if ! command -v dockerd >/dev/null || ! command -v iptables >/dev/null; then apt_install docker.io iptables; fi
  # Debian 13 has the client in a package of its own.
  command -v docker >/dev/null || apt_install docker-cli
}

start() {
  local host
  if host=$(find_engine); then
    say "Docker engine $(DOCKER_HOST=$host docker version --format '{{.Server.Version}}') answers at $host"
    echo "$host"
    return
  fi
  [ -z "${DOCKER_HOST:-}" ] || exit 1
  [ "$(id -u)" = 0 ] || die "no Docker engine answers, and starting one needs root: start yours, or run this as root"
  install_engine
  mkdir -p "$run" "$data"
  rm -f "$run/docker.pid"
  say "starting $(dockerd --version) with its data in $data"
  # In a session of its own: it outlives this script and the terminal until `engine.sh stop`.
  setsid dockerd --host "$socket" --data-root "$data" --exec-root "$run/exec" --pidfile "$run/docker.pid" \
    --log-level warn >"$run/dockerd.log" 2>&1 </dev/null &
  local tries
  for tries in $(seq 120); do
    if healthy "$socket"; then
      say "Docker engine ready after $((tries / 2)) s; stop it with: bash deploy/docker/engine.sh stop"
      echo "$socket"
      return
    fi
    kill -0 $! 2>/dev/null || break
    sleep 0.5
  done
  tail -n 20 "$run/dockerd.log" >&2
  die "dockerd did not start; its log is $run/dockerd.log"
}

stop() {
  local pid
  pid=$(cat "$run/docker.pid" 2>/dev/null) || { say "no engine of ours is running"; return; }
  if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != dockerd ]; then
    rm -f "$run/docker.pid"
    return
  fi
  say "stopping dockerd ($pid)"
  kill "$pid"
  for _ in $(seq 60); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.5
  done
  die "dockerd ($pid) did not stop within 30 s"
}

case "${1:-}" in
start) start ;;
stop) stop ;;
host) find_engine || die "no Docker engine answers: bash deploy/docker/engine.sh start" ;;
*) die "usage: engine.sh start|stop|host" ;;
esac
