package deployment

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Kafka clients learn the broker's address from the broker. A proxy before it must therefore put its own
// address into the two answers that carry one, or clients would go past it.

// requests are those under way whose answers carry an address, by correlation id.
type requests struct {
	mu   sync.Mutex
	open map[uint32]kmsg.Response
}

func (r *requests) asked(key, version int16, id uint32) {
	answer := kmsg.ResponseForKey(key)
	switch answer.(type) {
	case *kmsg.MetadataResponse, *kmsg.FindCoordinatorResponse:
	default:
		return
	}
	answer.SetVersion(version)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		r.open = map[uint32]kmsg.Response{}
	}
	r.open[id] = answer
}

func (r *requests) answered(id uint32) kmsg.Response {
	r.mu.Lock()
	defer r.mu.Unlock()
	answer := r.open[id]
	delete(r.open, id)
	return answer
}

// read passes requests on, frame by frame, and remembers those that matter.
func (r *requests) read(src io.Reader) io.Reader {
	out, in := io.Pipe()
	go func() {
		for {
			frame, err := readFrame(src)
			if err == nil && len(frame) >= 12 {
				r.asked(int16(binary.BigEndian.Uint16(frame[4:])), int16(binary.BigEndian.Uint16(frame[6:])), //nolint:gosec // as on the wire
					binary.BigEndian.Uint32(frame[8:]))
			}
			if err == nil {
				_, err = in.Write(frame)
			}
			if err != nil {
				_ = in.CloseWithError(err) // always nil
				return
			}
		}
	}()
	return out
}

// readFrame reads one message with its length before it.
func readFrame(src io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(src, size[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, 4+binary.BigEndian.Uint32(size[:]))
	copy(frame, size[:])
	_, err := io.ReadFull(src, frame[4:])
	return frame, err
}

// advertise passes answers on with the proxy's address in place of the broker's.
func advertise(p *proxy, dst io.Writer, src io.Reader, sent *requests) error {
	host, text, err := net.SplitHostPort(p.addr)
	if err != nil {
		return err
	}
	port, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return err
	}
	for {
		frame, err := readFrame(src)
		if err != nil {
			return err
		}
		if len(frame) >= 8 {
			if frame, err = readdress(frame, sent.answered(binary.BigEndian.Uint32(frame[4:])), host, int32(port)); err != nil {
				return err
			}
		}
		if _, err := dst.Write(frame); err != nil {
			return err
		}
	}
}

// readdress is the frame of an answer with the address in it changed; nil answer: the frame as it is.
func readdress(frame []byte, answer kmsg.Response, host string, port int32) ([]byte, error) {
	if answer == nil {
		return frame, nil
	}
	head := 8
	if answer.IsFlexible() {
		head++ // an empty list of tags
	}
	if len(frame) < head {
		return nil, fmt.Errorf("an answer of %d bytes", len(frame))
	}
	if err := answer.ReadFrom(frame[head:]); err != nil {
		return nil, err
	}
	switch a := answer.(type) {
	case *kmsg.MetadataResponse:
		for i := range a.Brokers {
			a.Brokers[i].Host, a.Brokers[i].Port = host, port
		}
	case *kmsg.FindCoordinatorResponse:
		a.Host, a.Port = host, port
		for i := range a.Coordinators {
			a.Coordinators[i].Host, a.Coordinators[i].Port = host, port
		}
	}
	out := answer.AppendTo(append([]byte(nil), frame[:head]...))
	binary.BigEndian.PutUint32(out, uint32(len(out)-4)) //nolint:gosec // an answer's length
	return out, nil
}
