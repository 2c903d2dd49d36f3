# What the scripts beside it share; sourced, never run.
set -euo pipefail

# cache is where everything fetched is kept: the folder the kernel itself uses (AGENTOS_CACHE).
if [ "$(id -u)" = 0 ]; then default_cache=/var/cache/agentos; else default_cache=${XDG_CACHE_HOME:-$HOME/.cache}/agentos; fi
cache=${AGENTOS_CACHE:-$default_cache}/docker

# say goes to standard error: standard output of these scripts is for results.
say() { echo "$*" >&2; }
die() { echo "error: $*" >&2; exit 1; }

# apt installs packages without recommendations, as root only.
apt_install() {
  command -v apt-get >/dev/null || die "$* missing, and there is no apt-get: install it with this system's package manager"
  [ "$(id -u)" = 0 ] || die "$* missing; run: sudo apt-get install --no-install-recommends $*"
  say "installing with apt-get: $*"
  apt-get update -q >&2 || true
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2
}
