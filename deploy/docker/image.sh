#!/usr/bin/env bash
# image.sh NAME: make the kernel's image of what `make rootfs` has put into bin/image. Only the last stage of the
# Dockerfile beside it is used, so nothing is pulled.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
sed -e '1,/^FROM scratch/{/^FROM scratch/!d}' -e 's|--from=build ||; s|/src/bin/image/||' deploy/docker/Dockerfile >bin/image/Dockerfile
DOCKER_HOST=$(bash deploy/docker/engine.sh host) docker build -q -t "$1" bin/image >/dev/null 2>bin/image/log || { cat bin/image/log >&2; exit 1; }
say "made the image $1"
