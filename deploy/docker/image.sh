#!/usr/bin/env bash
# image.sh NAME: make the kernel's image of what `make rootfs` has put into bin/image, with the settings of the Dockerfile
# beside it but its last stage only, so nothing is pulled. The files come as one archive: COPY gives folders the time of the
# build in some versions of BuildKit, while every builder makes the same layer of an archive.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=deploy/docker
into=bin/image/context
mkdir -p $into
archive=(tar --format=ustar --sort=name --mtime=@0 --numeric-owner --no-recursion -f $into/layer.tar)
"${archive[@]}" --owner=0 --group=0 -C bin/image/rootfs -c usr usr/bin usr/bin/agentos -C ../volumes var var/lib
"${archive[@]}" --owner=65532 --group=65532 -C bin/image/volumes -r var/lib/agentos workspaces
sed -e '1,/^FROM scratch/{/^FROM scratch/!d}' -e 's|^COPY .*/rootfs/ /|ADD layer.tar /|; /^COPY/d' $here/Dockerfile >$into/Dockerfile
DOCKER_HOST=$(bash $here/engine.sh host) docker build -q -t "$1" $into >/dev/null 2>bin/image/log || { cat bin/image/log >&2; exit 1; }
say "made the image $1"
