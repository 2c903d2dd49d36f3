package kernel

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/examples/drive"
	"github.com/agentos-kernel/agentos/libs/cassette"
	"github.com/agentos-kernel/agentos/libs/client"
)

// Airline is the cassette of recorded conversations in the repository.
func Airline(t testing.TB) *cassette.Cassette {
	t.Helper()
	tape, err := cassette.Open(filepath.Join(Root(t), "examples", "airline", "airline.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return tape
}

// Load keeps a number of recorded conversations going, one after the other, until it is stopped: the work
// that a fault must not disturb.
type Load struct {
	ended chan struct{}
	stop  chan struct{}
	once  sync.Once

	mu     sync.Mutex
	next   int
	report drive.Report // its Seconds are those of the slowest conversation
	err    error
}

// StartLoad begins with atOnce conversations. Keys begin with prefix; limit bounds the whole.
func StartLoad(t testing.TB, c *client.Client, prefix string, atOnce int, limit time.Duration) *Load {
	t.Helper()
	tape := Airline(t)
	l := &Load{ended: make(chan struct{}), stop: make(chan struct{})}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() { l.work(ctx, c, tape, prefix) })
	}
	go func() {
		defer close(l.ended)
		defer cancel()
		workers.Wait()
	}()
	t.Cleanup(func() {
		l.Stop()
		cancel()
		<-l.ended
	})
	return l
}

func (l *Load) work(ctx context.Context, c *client.Client, tape *cassette.Cassette, prefix string) {
	for {
		select {
		case <-l.stop:
			return
		default:
		}
		l.mu.Lock()
		n := l.next
		l.next++
		l.mu.Unlock()
		conv := tape.Conversations[n%len(tape.Conversations)]
		r, err := drive.Run(ctx, c, tape, []cassette.Conversation{conv}, drive.Options{Prefix: fmt.Sprintf("%s/%d", prefix, n)})
		l.mu.Lock()
		l.add(r, err)
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (l *Load) add(r drive.Report, err error) {
	if l.err == nil {
		l.err = err
	}
	l.report.Processes += r.Processes
	l.report.Identical += r.Identical
	l.report.Completed += r.Completed
	l.report.ModelCalls += r.ModelCalls
	l.report.ToolCalls += r.ToolCalls
	l.report.Seconds = max(l.report.Seconds, r.Seconds)
	l.report.PIDs = append(l.report.PIDs, r.PIDs...)
	l.report.Differences = append(l.report.Differences, r.Differences...)
}

// Done is how many conversations have ended.
func (l *Load) Done() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.report.Completed
}

// Begun is how many conversations have been begun.
func (l *Load) Begun() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// Stop begins no more conversations; those under way go on to their end.
func (l *Load) Stop() { l.once.Do(func() { close(l.stop) }) }

// Check stops the load, waits for the end of what is under way, and checks that every transcript is the
// recording, with nothing lost or done twice on the way.
func (l *Load) Check(t testing.TB, c *client.Client) {
	t.Helper()
	l.Stop()
	<-l.ended
	if l.err != nil {
		t.Fatal(l.err)
	}
	r := l.report
	if r.Identical != r.Processes || r.Completed != r.Processes {
		t.Errorf("%d of %d transcripts identical, %d completed:\n%s", r.Identical, r.Processes, r.Completed, strings.Join(r.Differences, "\n"))
	}
	for _, pid := range r.PIDs {
		Once(t, c, pid)
	}
	fmt.Printf("%s: %d conversations with %d model and %d tool calls, all identical to their recordings, nothing lost or doubled, the slowest in %.1f s\n",
		t.Name(), r.Processes, r.ModelCalls, r.ToolCalls, r.Seconds)
}
