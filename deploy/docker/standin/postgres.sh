#!/bin/bash
# docker-entrypoint.sh of the stand-in: makes the cluster on the first start as the official image does, from
# POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB (each also as …_FILE), POSTGRES_INITDB_ARGS and /docker-entrypoint-initdb.d,
# then runs the server. Started as root it goes on as postgres.
set -euo pipefail

# from_file sets a variable from the file that NAME_FILE names.
from_file() {
  local file=$1_FILE
  if [ -n "${!file:-}" ]; then
    if [ -n "${!1:-}" ]; then echo "error: both $1 and $file are set" >&2; exit 1; fi
    export "$1=$(cat "${!file}")"
    unset "$file"
  fi
}

make_cluster() {
  if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "${POSTGRES_HOST_AUTH_METHOD:-}" != trust ]; then
    echo "error: the cluster is not there yet, and no password is given: set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE" >&2
    exit 1
  fi
  # shellcheck disable=SC2086 # options are words
  initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "${POSTGRES_PASSWORD:-none}") -E UTF8 \
    -c unix_socket_directories=/var/run/postgresql,/tmp -c "listen_addresses=*" ${POSTGRES_INITDB_ARGS:-}
  echo "host all all all ${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"
  pg_ctl -D "$PGDATA" -o "-c listen_addresses=" -w start
  export PGHOST=/tmp PGUSER=$POSTGRES_USER PGPASSWORD=${POSTGRES_PASSWORD:-}
  [ "$POSTGRES_DB" = postgres ] || psql -qv ON_ERROR_STOP=1 -d postgres -v db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
  local file
  for file in /docker-entrypoint-initdb.d/*; do
    case $file in
    *.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
    *.sql) psql -qv ON_ERROR_STOP=1 -d "$POSTGRES_DB" -f "$file" ;;
    esac
  done
  pg_ctl -D "$PGDATA" -m fast -w stop
  unset PGHOST PGUSER PGPASSWORD
}

case "${1:-}" in -*) set -- postgres "$@" ;; esac
if [ "${1:-}" = postgres ]; then
  from_file POSTGRES_PASSWORD
  from_file POSTGRES_USER
  from_file POSTGRES_DB
  POSTGRES_USER=${POSTGRES_USER:-postgres}
  export POSTGRES_DB=${POSTGRES_DB:-$POSTGRES_USER} POSTGRES_USER
  if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    chown -R postgres:postgres "$PGDATA" /var/run/postgresql
    chmod 700 "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --clear-groups "$0" "$@"
  fi
  mkdir -p "$PGDATA"
  [ -s "$PGDATA/PG_VERSION" ] || make_cluster
fi
exec "$@"
