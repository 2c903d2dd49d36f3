// Package kafkatest runs real Apache Kafka for tests and benchmarks, without containers: one KRaft node,
// broker and controller in one, from the jars published on Maven Central. It needs java and mvn; the
// jars (43 MB a version) are fetched once into the cache of embedded.CacheDir.
//
// A [Broker] listens on loopback ports below 32768, on request also with TLS and passwords, can be killed
// and started again on the same data, and lose what its newest segments held. It dies with the process
// that started it.
package kafkatest
