package bus

import (
	"fmt"
	"slices"
	"testing"

	"github.com/segmentio/kafka-go"
	"pgregory.net/rapid"
)

// Whatever the order in which a broker lists them: every partition has one member, the loads differ
// by at most one, and a shard lies with one member.
func TestShardBalancer(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		topics := []string{"a", "b", "c"}
		n := rapid.IntRange(1, 20).Draw(t, "partitions")
		var members []kafka.GroupMember
		for i := range rapid.IntRange(1, 25).Draw(t, "members") {
			members = append(members, kafka.GroupMember{ID: fmt.Sprint("m", i), Topics: topics})
		}
		var parts []kafka.Partition
		for _, topic := range topics {
			for p := range n {
				parts = append(parts, kafka.Partition{Topic: topic, ID: p})
			}
		}
		parts = rapid.Permutation(parts).Draw(t, "order")
		members = rapid.Permutation(members).Draw(t, "member order")
		owner := map[int]string{}
		for id, byTopic := range (shardBalancer{}).AssignGroups(members, parts) {
			for _, topic := range topics {
				if !slices.Equal(byTopic[topic], byTopic["a"]) {
					t.Fatalf("%s has %v of %s but %v of a", id, byTopic[topic], topic, byTopic["a"])
				}
			}
			if l := len(byTopic["a"]); l < n/len(members) || l > n/len(members)+1 {
				t.Fatalf("%s has %d of %d partitions, %d members", id, l, n, len(members))
			}
			for _, p := range byTopic["a"] {
				if owner[p] != "" {
					t.Fatalf("partition %d has two owners", p)
				}
				owner[p] = id
			}
		}
		if len(owner) != n {
			t.Fatalf("%d of %d partitions have an owner", len(owner), n)
		}
	})
}
