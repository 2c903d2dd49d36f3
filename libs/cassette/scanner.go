package cassette

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// scanner gives the lines of a cassette with their numbers; blank lines are passed over.
type scanner struct {
	s      *bufio.Scanner
	number int
}

func newScanner(r io.Reader) (*scanner, error) {
	b := bufio.NewReader(r)
	magic, err := b.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fault.Wrap(fault.Unavailable, "cassette.read", "the cassette cannot be read", err)
	}
	var plain io.Reader = b
	if bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, fault.Wrap(fault.Invalid, "cassette.read", "the gzip header is damaged", err)
		}
		plain = z
	}
	s := bufio.NewScanner(&limited{r: plain, left: MaxTotalBytes})
	s.Buffer(make([]byte, 0, 64<<10), MaxLineBytes)
	return &scanner{s: s}, nil
}

func (s *scanner) next() bool {
	for s.s.Scan() {
		s.number++
		if len(bytes.TrimSpace(s.s.Bytes())) > 0 {
			return true
		}
	}
	return false
}

func (s *scanner) line() []byte { return s.s.Bytes() }

func (s *scanner) header() (Header, error) {
	var h Header
	if !s.next() {
		if err := s.err(); err != nil {
			return h, err
		}
		return h, fault.New(fault.Invalid, "cassette.read", "the cassette is empty: its header is missing")
	}
	if err := decodeStrict(s.line(), &h); err != nil {
		return h, s.invalid("not a cassette header", err)
	}
	return h, h.validate()
}

func (s *scanner) err() error {
	if err := s.s.Err(); err != nil {
		return s.invalid("the line cannot be read", err)
	}
	return nil
}

func (s *scanner) invalid(what string, err error) error {
	return fault.Wrap(fault.Invalid, "cassette.read", fmt.Sprintf("line %d: %s", s.number, what), err)
}

var errTooLarge = errors.New("the cassette is larger than 256 MB")

// limited is an io.Reader that fails, rather than ends, when its limit is passed.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLarge
	}
	n, err := l.r.Read(p)
	l.left -= int64(n)
	return n, err //nolint:wrapcheck // an io.Reader passes errors on as they are
}
