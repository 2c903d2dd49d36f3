// Package deployment runs a kernel of several replicas and disturbs it as operations do: replicas are
// added, killed, frozen and cut off the network, Kafka and Postgres are restarted, a new version is rolled
// out. The tests know the public API only. The same bodies run on processes of this machine with the
// embedded database and broker, and on containers of Kafka, Postgres and the kernel's image.
package deployment
