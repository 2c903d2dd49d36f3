package bus

// Partition is the partition, in [0, n), of a key on a topic of n partitions: FNV-1a, signed
// remainder, absolute value, exactly as kafka-go's Hash balancer and Sarama's hash partitioner.
// It is 0 if n is below 2.
func Partition(key string, n int) int {
	if n < 2 {
		return 0
	}
	const offset, prime uint32 = 2166136261, 16777619
	h := offset
	for i := range len(key) {
		h = (h ^ uint32(key[i])) * prime
	}
	// The conversion to a signed number is part of the format: without it half of all keys would
	// land elsewhere than with the other two clients.
	p := int32(h) % int32(n) //nolint:gosec // see above; n is a partition count
	if p < 0 {
		p = -p
	}
	return int(p)
}
