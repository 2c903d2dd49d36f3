// Package testkit gives tests the real parts: a database on a real Postgres and a Kafka-protocol broker.
//
// Each test process runs one Postgres cluster of its own, without fsync, copied from a template that is
// made once per machine in the cache; each call of [Postgres] gets a fresh database in it. A package
// that uses it has
//
//	func TestMain(m *testing.M) { testkit.Main(m) }
//
// so that the cluster lives as long as the process. Without Main it stops with the last test using it.
// What a killed test process leaves behind is stopped and removed by the next one.
//
// A part that cannot be had skips the test, with the reason, unless AGENTOS_REQUIRE (a list like
// "postgres,kafka,docker") names it: then the test fails.
package testkit
