package client

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxEvent bounds one line of a stream, in bytes.
const maxEvent = 64 << 20

// frame is one server-sent event as it came.
type frame struct {
	id, name string
	data     []byte
}

// readFrames gives the events of a stream to fn as they come. It ends with nil at the end of the
// stream, or with the error of the connection or of fn. An event that the stream breaks off in is
// dropped, as the standard has it (WHATWG HTML, 9.2.6).
func readFrames(r io.Reader, fn func(frame) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxEvent)
	var f frame
	var data [][]byte
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 {
			if data != nil {
				f.data = bytes.Join(data, []byte("\n"))
				if err := fn(f); err != nil {
					return err
				}
			}
			f, data = frame{}, nil
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "id":
			f.id = string(value)
		case "event":
			f.name = string(value)
		case "data":
			data = append(data, bytes.Clone(value))
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("an event is larger than %d bytes: %w", maxEvent, err)
	} else if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	return nil
}
