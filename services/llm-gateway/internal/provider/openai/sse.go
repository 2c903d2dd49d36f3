package openai

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// eventReader reads the data of server-sent events (WHATWG HTML §9.2). Comments, such as the
// keep-alives some vendors send, and fields other than data are passed over.
type eventReader struct {
	r    *bufio.Reader
	left int // bytes of data that may still come
	data []byte
}

func newEventReader(r io.Reader, limit int) *eventReader {
	// JSON around each token is many times the token: the frames get room for it.
	return &eventReader{r: bufio.NewReaderSize(r, 16<<10), left: limit * framesPerByte}
}

// framesPerByte is how much larger the frames of an answer may be than the answer.
const framesPerByte = 64

// next is the data of the next event that has any; it is valid until the next call. The end is io.EOF.
func (e *eventReader) next() ([]byte, error) {
	e.data = e.data[:0]
	have := false
	for {
		line, err := e.line()
		if err != nil {
			if errors.Is(err, io.EOF) && have {
				return e.data, nil // the last event without its blank line
			}
			return nil, err
		}
		if len(line) == 0 {
			if have {
				return e.data, nil
			}
			continue
		}
		value, ok := bytes.CutPrefix(line, []byte("data:"))
		if !ok {
			continue
		}
		if have {
			e.data = append(e.data, '\n')
		}
		have = true
		e.data = append(e.data, bytes.TrimPrefix(value, []byte(" "))...)
	}
}

// line is one line without its end. It is valid until the next call.
func (e *eventReader) line() ([]byte, error) {
	var long []byte
	for {
		part, err := e.r.ReadSlice('\n')
		e.left -= len(part)
		if e.left < 0 {
			return nil, tooLarge()
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = append(long, part...)
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("read the stream: %w", err)
		case err != nil && len(part) == 0 && len(long) == 0:
			return nil, io.EOF
		}
		if long != nil {
			part = append(long, part...)
		}
		return bytes.TrimRight(part, "\r\n"), nil
	}
}
