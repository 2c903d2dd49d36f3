package tree

import (
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// proofMagic begins a proof file, c2sp.org/tlog-proof.
const proofMagic = "c2sp.org/tlog-proof@v1\n"

// Proof says that an entry is in the log under a signed head. It can be checked offline.
type Proof struct {
	Index  int64
	Hashes tlog.RecordProof
	Note   string // the signed head
}

// Text is the proof as C2SP tlog-proof writes it.
func (p Proof) Text() string {
	var b strings.Builder
	b.WriteString(proofMagic + "index " + strconv.FormatInt(p.Index, 10) + "\n")
	for _, h := range p.Hashes {
		b.WriteString(h.String() + "\n")
	}
	b.WriteString("\n" + p.Note)
	return b.String()
}

// ParseProof reads what Text writes; extra data is allowed and ignored.
func ParseProof(text string) (Proof, error) {
	const op = "audit.parse_proof"
	rest, ok := strings.CutPrefix(text, proofMagic)
	if !ok {
		return Proof{}, fault.New(fault.Invalid, op, "not a tlog-proof file")
	}
	head, signed, ok := strings.Cut(rest, "\n\n")
	if !ok {
		return Proof{}, fault.New(fault.Invalid, op, "the proof has no head")
	}
	p := Proof{Note: signed}
	lines := strings.Split(head, "\n")
	if strings.HasPrefix(lines[0], "extra ") {
		lines = lines[1:]
	}
	if len(lines) == 0 {
		return Proof{}, fault.New(fault.Invalid, op, "the proof has no index")
	}
	index, ok := strings.CutPrefix(lines[0], "index ")
	n, err := strconv.ParseInt(index, 10, 64)
	if !ok || err != nil || n < 0 {
		return Proof{}, fault.New(fault.Invalid, op, "the proof has no index")
	}
	p.Index = n
	for _, line := range lines[1:] {
		h, err := tlog.ParseHash(line)
		if err != nil {
			return Proof{}, fault.Wrap(fault.Invalid, op, "the proof has a line that is not a hash", err)
		}
		p.Hashes = append(p.Hashes, h)
	}
	return p, nil
}

// Check verifies the head's signature and that leaf is the entry the proof speaks of. A proof that does
// not hold is fault.Denied.
func (p Proof) Check(leaf []byte, keys note.Verifiers) error {
	const op = "audit.check_proof"
	signed, err := note.Open([]byte(p.Note), keys)
	if err != nil {
		return fault.Wrap(fault.Denied, op, "the head is not signed by this log", err)
	}
	size, root, err := ParseHead(signed.Text)
	if err != nil {
		return err
	}
	if err := tlog.CheckRecord(p.Hashes, size, root, p.Index, tlog.RecordHash(leaf)); err != nil {
		return fault.Wrap(fault.Denied, op, "the entry is not in the log under this head", err)
	}
	return nil
}
