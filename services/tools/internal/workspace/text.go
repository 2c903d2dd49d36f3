package workspace

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"

	"github.com/agentos-kernel/agentos/libs/fault"
)

const bufferBytes = 64 << 10

// Lines calls each for every line of a text file, from the first: its number from 1 and its bytes with
// the line ending, valid until the next call. A line longer than 64 KiB comes in pieces with the same
// number. It ends early when each returns false and when ctx ends. A file with NUL in a piece that was
// read is refused as binary.
func Lines(ctx context.Context, f *os.File, path string, each func(number int, piece []byte) bool) error {
	r := bufio.NewReaderSize(f, bufferBytes)
	if head, err := r.Peek(SniffBytes); err != nil && !errors.Is(err, io.EOF) {
		return Explain(path, err)
	} else if Binary(head) {
		return notText(path)
	}
	number := 1
	for {
		piece, err := r.ReadSlice('\n')
		if err := ctx.Err(); err != nil {
			return fault.Wrap(fault.Canceled, op, "reading was stopped", err)
		}
		if Binary(piece) {
			return notText(path)
		}
		if len(piece) > 0 && !each(number, piece) {
			return nil
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
		case err != nil:
			return Explain(path, err)
		default:
			number++
		}
	}
}

func notText(path string) error {
	return fault.Newf(fault.Invalid, op, "%q is not text", path).WithFix("Only text files can be read.")
}
