package bus

import (
	"cmp"
	"slices"

	"github.com/segmentio/kafka-go"
)

// shardBalancer is range assignment that gives partition p of every topic to the same member, if
// the members read the same topics. kafka-go's own range balancer takes the partitions of each topic
// in the order the broker happened to list them, so with it two members can hold parts of one shard.
type shardBalancer struct{}

// ProtocolName is that of range assignment, which this is.
func (shardBalancer) ProtocolName() string { return kafka.RangeGroupBalancer{}.ProtocolName() }

// UserData is empty.
func (shardBalancer) UserData() ([]byte, error) { return nil, nil }

// AssignGroups sorts members and partitions and cuts each topic into one range per member.
func (shardBalancer) AssignGroups(members []kafka.GroupMember, partitions []kafka.Partition) kafka.GroupMemberAssignments {
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b kafka.GroupMember) int { return cmp.Compare(a.ID, b.ID) })
	readers := map[string][]string{}
	out := kafka.GroupMemberAssignments{}
	for _, m := range members {
		out[m.ID] = map[string][]int{}
		for _, topic := range m.Topics {
			readers[topic] = append(readers[topic], m.ID)
		}
	}
	ids := map[string][]int{}
	for _, p := range partitions {
		ids[p.Topic] = append(ids[p.Topic], p.ID)
	}
	for topic, who := range readers {
		all := ids[topic]
		slices.Sort(all)
		for i, id := range who {
			if part := all[i*len(all)/len(who) : (i+1)*len(all)/len(who)]; len(part) > 0 {
				out[id][topic] = part
			}
		}
	}
	return out
}
