package chaos

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

// load is a number of agents. In each step the model asks for one file to be written, so that a step has
// two effects outside the kernel, which are counted where they happen: the request at the model's server,
// and the file's rename in its folder.
type load struct {
	agents, steps int
	think         time.Duration // the model's, per step
	engine        *kernel.Engine

	mu       sync.Mutex
	requests map[effect]int
	renames  map[effect]int
	pids     map[string]int // accepted tasks: pid to number
	overflow bool           // renames were missed
}

// effect is the outside of one step of one agent.
type effect struct{ agent, step int }

func newLoad(t *testing.T, agents, steps int, think time.Duration) *load {
	t.Helper()
	l := &load{
		agents: agents, steps: steps, think: think,
		requests: map[effect]int{}, renames: map[effect]int{}, pids: map[string]int{},
	}
	l.engine = kernel.NewEngine(t, l.answer)
	return l
}

func taskOf(agent int) string          { return fmt.Sprintf("write the files of agent %d", agent) }
func fileOf(step int) string           { return fmt.Sprintf("step-%04d.txt", step) }
func contentOf(agent, step int) string { return fmt.Sprintf("agent %d, step %d\n", agent, step) }

// answer is the model: a function of the conversation, so that a repeated call gets the same answer.
func (l *load) answer(call kernel.EngineCall) kernel.EngineAnswer {
	var agent int
	if _, err := fmt.Sscanf(call.Task, "write the files of agent %d", &agent); err != nil {
		return kernel.EngineAnswer{Status: 400}
	}
	step := 1
	for _, m := range call.Messages {
		if m.Role == chat.Assistant {
			step++
		}
	}
	l.mu.Lock()
	l.requests[effect{agent, step}]++
	l.mu.Unlock()
	a := kernel.EngineAnswer{Pieces: []string{"Step " + strconv.Itoa(step)}, Pause: l.think}
	if step <= l.steps {
		a.Calls = []chat.ToolCall{{
			ID: fmt.Sprintf("call_%d_%d", agent, step), Type: "function",
			Function: chat.FunctionCall{Name: "write_file", Arguments: fmt.Sprintf(`{"path":%q,"content":%q}`, fileOf(step), contentOf(agent, step))},
		}}
	}
	return a
}

// submit starts all agents, however long the kernel is away meanwhile.
func (l *load) submit(ctx context.Context, clients []*client.Client, roots string) error {
	var wg sync.WaitGroup
	errs := make([]error, l.agents)
	for i := range l.agents {
		wg.Go(func() { errs[i] = l.spawn(ctx, clients, roots, i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (l *load) spawn(ctx context.Context, clients []*client.Client, roots string, agent int) error {
	spec := api.AgentSpec{
		Name: "chaos", Task: taskOf(agent), Model: "openai/" + kernel.EngineModel, Tools: []string{"write_file"},
		Workspace: folderOf(roots, agent), Limits: api.Limits{MaxSteps: l.steps + 10, MaxTokens: 1 << 40},
	}
	for try := agent; ; try++ {
		a, err := clients[try%len(clients)].Spawn(client.WithKey(ctx, "chaos-"+strconv.Itoa(agent)), spec)
		if err == nil {
			l.mu.Lock()
			l.pids[a.PID] = agent
			l.mu.Unlock()
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("agent %d was not accepted: %w", agent, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func folderOf(roots string, agent int) string {
	return filepath.Join(roots, "agent-"+strconv.Itoa(agent))
}

// accepted is how many tasks have been taken.
func (l *load) accepted() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pids)
}

// watch makes the folders and counts each rename onto a file of a step. write_file renames once per
// effect, so a second rename is a second effect.
func (l *load) watch(t *testing.T, roots string) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	agents := map[int32]int{}
	for i := range l.agents {
		dir := folderOf(roots, i)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		wd, err := unix.InotifyAddWatch(fd, dir, unix.IN_MOVED_TO)
		if err != nil {
			t.Fatal(err)
		}
		agents[int32(wd)] = i //nolint:gosec // the kernel's own type
	}
	f := os.NewFile(uintptr(fd), "inotify") // nonblocking, so that Close ends Read
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 64<<10)
		for {
			n, err := f.Read(buf)
			if err != nil {
				return
			}
			l.renamed(agents, buf[:n])
		}
	}()
	t.Cleanup(func() {
		_ = f.Close() // it was only read
		<-done
	})
}

func (l *load) renamed(agents map[int32]int, buf []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(buf) >= unix.SizeofInotifyEvent {
		// struct inotify_event: watch, mask, cookie, length of the name
		watch, mask := int32(binary.NativeEndian.Uint32(buf)), binary.NativeEndian.Uint32(buf[4:]) //nolint:gosec // a descriptor
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(buf[12:]))
		name := unix.ByteSliceToString(buf[unix.SizeofInotifyEvent:end])
		buf = buf[end:]
		if mask&unix.IN_Q_OVERFLOW != 0 {
			l.overflow = true
			continue
		}
		var step int
		if _, err := fmt.Sscanf(name, "step-%d.txt", &step); err == nil {
			l.renames[effect{agents[watch], step}]++
		}
	}
}
