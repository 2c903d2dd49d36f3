#!/usr/bin/env bash
# compose-plugin.sh: see to it that `docker compose` works, and say what it did.
#
# In this order: what is there; the machine's own package (Ubuntu: docker-compose-v2, Debian 13: docker-compose); on Debian 12
# the package of Debian 13 from the same mirror, by lists of its own that leave the machine's sources alone; a build from the
# Go module. The plugin is one file and goes to ~/.docker/cli-plugins; nothing is installed.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

module=v5.6.0 # what is built when no package is to be had
plugins=${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins

works() { docker compose version --short 2>/dev/null; }

# unpack takes the plugin out of a package, if it is one of compose 2 or newer.
unpack() {
  local found
  dpkg-deb -x "$1"/docker-compose*.deb "$1/root"
  found=$(find "$1/root" -path '*cli-plugins/docker-compose' -type f | head -n 1)
  [ -n "$found" ] || return 1
  mkdir -p "$plugins"
  install -m 755 "$found" "$plugins/docker-compose"
}

from_own_packages() {
  local dir name
  dir=$(mktemp -d)
  for name in docker-compose-v2 docker-compose; do
    if (cd "$dir" && apt-get -q download "$name" >/dev/null 2>&1) && unpack "$dir"; then
      say "docker compose from this machine's package $name"
      rm -rf "$dir"
      return
    fi
    rm -rf "${dir:?}"/*
  done
  rm -rf "$dir"
  return 1
}

# from_trixie asks the mirror the machine itself uses for Debian 13's package.
from_trixie() {
  local dir mirror
  mirror=$(apt-get indextargets --format '$(SITE) $(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null | awk 'NR == 1 { print $NF }')
  [ -n "$mirror" ] && [ -f /usr/share/keyrings/debian-archive-keyring.gpg ] || return 1
  dir=$(mktemp -d)
  chmod 755 "$dir" # apt fetches as another account
  mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/deb"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$dir/sources.list"
  local -a apt=(apt-get -q -o "Dir::Etc::sourcelist=$dir/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$dir/lists"
    -o "Dir::Cache=$dir/cache" -o APT::Get::List-Cleanup=0 -o Debug::NoLocking=1)
  if "${apt[@]}" update >"$dir/log" 2>&1 && (cd "$dir/deb" && "${apt[@]}" download docker-compose >>"$dir/log" 2>&1) && unpack "$dir/deb"; then
    say "docker compose from Debian 13's package, in $plugins"
    rm -rf "$dir"
    return
  fi
  rm -rf "$dir"
  return 1
}

from_module() {
  local dir
  command -v go >/dev/null || return 1
  say "building docker compose $module from its Go module (some minutes, once)"
  dir=$(mktemp -d)
  mkdir -p "$plugins"
  (
    cd "$dir"
    go mod init compose >/dev/null 2>&1
    go get "github.com/docker/compose/v5/cmd@$module" >/dev/null 2>&1
    CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X github.com/docker/compose/v5/internal.Version=$module" \
      -o "$plugins/docker-compose" github.com/docker/compose/v5/cmd
  ) || return 1
  rm -rf "$dir"
}

if version=$(works); then
  say "docker compose $version is there"
  exit 0
fi
if command -v apt-get >/dev/null && { from_own_packages || from_trixie; }; then :; elif ! from_module; then
  die "docker compose is missing and cannot be had from packages or the Go module: install the compose plugin"
fi
version=$(works) || die "the compose plugin in $plugins does not run"
say "docker compose $version is ready"
