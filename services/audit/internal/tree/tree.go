// Package tree is what the audit log adds to golang.org/x/mod/sumdb/tlog: a frontier that grows leaf by
// leaf, and the texts of heads and proofs.
package tree

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// Origin names the log in its heads and is the name of its key.
const Origin = "agentos/audit"

// Frontier is a growing tree kept as the roots of its complete subtrees, largest first. The zero value is
// the empty tree.
type Frontier struct {
	size  int64
	peaks []tlog.Hash
}

// Size is the number of leaves.
func (f *Frontier) Size() int64 { return f.size }

// Add appends a leaf and returns the nodes it completes in the order tlog stores them: the leaf's hash,
// then its ancestors upwards.
func (f *Frontier) Add(leaf []byte) []tlog.Hash {
	hash := tlog.RecordHash(leaf)
	nodes := []tlog.Hash{hash}
	for n := f.size; n&1 == 1; n >>= 1 {
		last := len(f.peaks) - 1
		hash = tlog.NodeHash(f.peaks[last], hash)
		f.peaks = f.peaks[:last]
		nodes = append(nodes, hash)
	}
	f.peaks = append(f.peaks, hash)
	f.size++
	return nodes
}

// Root is the hash of the whole tree; all zero for the empty one.
func (f *Frontier) Root() tlog.Hash {
	if f.size == 0 {
		return tlog.Hash{}
	}
	root := f.peaks[len(f.peaks)-1]
	for i := len(f.peaks) - 2; i >= 0; i-- {
		root = tlog.NodeHash(f.peaks[i], root)
	}
	return root
}

// HeadText is the body of a head, as C2SP tlog-checkpoint writes it.
func HeadText(size int64, root tlog.Hash) string {
	return fmt.Sprintf("%s\n%d\n%s\n", Origin, size, root)
}

// ParseHead reads the body of a head of this log.
func ParseHead(text string) (int64, tlog.Hash, error) {
	const op = "audit.parse_head"
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] != Origin || lines[3] != "" {
		return 0, tlog.Hash{}, fault.New(fault.Invalid, op, "not a head of "+Origin)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return 0, tlog.Hash{}, fault.New(fault.Invalid, op, "the head's size is not a number")
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return 0, tlog.Hash{}, fault.Wrap(fault.Invalid, op, "the head's root is not a hash", err)
	}
	return size, root, nil
}
