// Package bus carries Watermill messages over Kafka: a publisher, a subscriber with Watermill's
// semantics, a batch consumer and a tail reader, all on segmentio/kafka-go.
//
// Delivery is at least once and in order per key: the Kafka key is the metadata entry [KeyMetadata],
// and [Partition] maps it to a partition. A publish that failed, a consumer that died between
// handling and commit and a broker that lost its tail all lead to the same message twice, so
// handlers drop what they have seen.
//
// Three readers share one fetch loop per topic partition:
//
//   - [Consumer] joins one group over all its topics. Partition p of every topic is shard p, and one
//     goroutine hands the shard's messages to a [Handler] in batches.
//   - [Subscriber] is Watermill's message.Subscriber: one un-acked message at a time per partition.
//   - [Tail] reads without a group from the oldest or the newest message.
//
// A poll that waits at the broker ends at once with its context, so neither a rebalance nor a
// shutdown waits for Config.MaxWait.
package bus
