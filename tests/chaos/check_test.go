package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

// tally is what went wrong, in the three words that count.
type tally struct {
	lost, doubled, reordered []string
}

func (y *tally) lose(format string, args ...any) {
	y.lost = append(y.lost, fmt.Sprintf(format, args...))
}

func (y *tally) double(format string, args ...any) {
	y.doubled = append(y.doubled, fmt.Sprintf(format, args...))
}

func (y *tally) reorder(format string, args ...any) {
	y.reordered = append(y.reordered, fmt.Sprintf(format, args...))
}

func (y *tally) String() string {
	return fmt.Sprintf("%d lost / %d doubled / %d reordered", len(y.lost), len(y.doubled), len(y.reordered))
}

func (y *tally) report(t *testing.T) {
	t.Helper()
	for word, list := range map[string][]string{"lost": y.lost, "doubled": y.doubled, "reordered": y.reordered} {
		if len(list) > 0 {
			t.Errorf("%d %s:\n  %s", len(list), word, strings.Join(list[:min(len(list), 20)], "\n  "))
		}
	}
}

const (
	restLimit  = 60 * time.Second // for everything to be heard after the last process has ended
	kafkaLimit = 60 * time.Second
)

// behindSQL is the streams that a service has not handled to their end, of those families it handles.
const behindSQL = `SELECT count(*), coalesce(min(h.stream || ' ' || coalesce(p.version, 0) || ' of ' || h.version), '')
	FROM eventstore.streams h LEFT JOIN %[1]s.positions p USING (tenant, stream)
	WHERE split_part(h.stream, '/', 1) IN (SELECT DISTINCT split_part(stream, '/', 1) FROM %[1]s.positions)
	  AND coalesce(p.version, 0) < h.version`

func schemas() []string { return []string{"scheduler", "context", "llm", "tools", "audit", "learning"} }

// rest waits until nothing is on its way any more: the outbox is empty and every service has handled
// every event, durably.
func (w *world) rest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, restLimit)
	defer cancel()
	for {
		what, err := w.unrest(ctx)
		if err == nil && what == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no rest within %s: %s %w", restLimit, what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (w *world) unrest(ctx context.Context) (string, error) {
	var n int
	var example string
	if err := w.db.QueryRow(ctx, "SELECT count(*) FROM eventstore.outbox WHERE family <> 'control'").Scan(&n); err != nil || n > 0 {
		return fmt.Sprintf("%d events wait in the outbox", n), err
	}
	for _, s := range schemas() {
		if err := w.db.QueryRow(ctx, fmt.Sprintf(behindSQL, s)).Scan(&n, &example); err != nil || n > 0 {
			return fmt.Sprintf("%s is behind in %d streams, such as %s", s, n, example), err
		}
	}
	return "", nil
}

// stored is what the event store says about the load.
type stored struct {
	events int
	ends   map[string]int // of each call and process
	models map[effect]int // requests that attempts on record allow
	tools  map[effect]int // runs that attempts on record allow
	done   map[effect]bool
}

// readStore reads every event and checks what it can see alone: versions without holes, one end for each
// call and process.
func (w *world) readStore(ctx context.Context, l *load, y *tally) (stored, error) {
	s := stored{ends: map[string]int{}, models: map[effect]int{}, tools: map[effect]int{}, done: map[effect]bool{}}
	versions := map[string]int64{}
	for after := int64(0); ; {
		recs, err := eventstore.ReadAll(ctx, w.db, after, 1<<62, 5000)
		if err != nil {
			return s, err
		}
		for _, r := range recs {
			after = r.Position
			if r.Tenant == control {
				continue
			}
			s.events++
			if want := versions[r.Stream] + 1; r.StreamVersion > want {
				y.lose("%s goes from version %d to %d", r.Stream, want-1, r.StreamVersion)
			} else if r.StreamVersion < want {
				y.reorder("%s: version %d comes after %d", r.Stream, r.StreamVersion, want-1)
			}
			versions[r.Stream] = r.StreamVersion
			if err := s.add(l, r); err != nil {
				return s, err
			}
		}
		if len(recs) == 0 {
			break
		}
	}
	for pid := range l.pids {
		if s.ends["agent/"+pid] == 0 {
			y.lose("%s was accepted and has no end", pid)
		}
	}
	for what, n := range s.ends {
		if n > 1 {
			y.double("%s ended %d times", what, n)
		}
	}
	return s, nil
}

func (s *stored) add(l *load, r events.Record) error {
	agent, ours := l.pids[r.Subject()]
	if !ours {
		return nil
	}
	var v struct {
		Call struct {
			ID   string `json:"id"`
			Step int    `json:"step"`
		} `json:"call"`
		Tries int `json:"tries"`
	}
	if err := json.Unmarshal(r.Data, &v); err != nil {
		return fmt.Errorf("%s %d: %w", r.Stream, r.StreamVersion, err)
	}
	at := effect{agent, v.Call.Step}
	switch r.Kind {
	case "agent.completed", "agent.failed", "agent.terminated":
		s.ends[r.Stream]++
	case "llm.call_started":
		s.models[at]++
	case "tool.call_started":
		s.tools[at]++
	case "llm.call_finished":
		s.models[at] += v.Tries - 1 // an attempt may send its request again when it got no answer
		s.ends["llm "+v.Call.ID]++
	case "tool.call_finished":
		s.done[at] = true
		s.ends["tool "+v.Call.ID]++
	case "llm.call_failed", "llm.call_cancelled", "llm.call_refused":
		s.ends["llm "+v.Call.ID]++
	case "tool.call_failed", "tool.call_cancelled":
		s.ends["tool "+v.Call.ID]++
	}
	return nil
}

// effects compares what happened outside with what is on record: each step has its effects, and no more
// of them than attempts were recorded before they began.
func (l *load) effects(s stored, roots string, y *tally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.overflow {
		y.lose("the queue of renames ran over: they were not all counted")
	}
	for agent := range l.agents {
		for step := 1; step <= l.steps+1; step++ {
			at := effect{agent, step}
			asked, wrote := l.requests[at], l.renames[at]
			if asked == 0 {
				y.lose("agent %d step %d: the model was never asked", agent, step)
			}
			if asked > s.models[at] {
				y.double("agent %d step %d: the model was asked %d times in %d attempts", agent, step, asked, s.models[at])
			}
			if wrote > s.tools[at] {
				y.double("agent %d step %d: the file was written %d times in %d attempts", agent, step, wrote, s.tools[at])
			}
			if step > l.steps {
				continue
			}
			got, err := os.ReadFile(filepath.Join(folderOf(roots, agent), fileOf(step)))
			if wrote == 0 || !s.done[at] || err != nil || string(got) != contentOf(agent, step) {
				y.lose("agent %d step %d: written %d times, recorded %v, file %q %v", agent, step, wrote, s.done[at], got, err)
			}
		}
	}
}

// kafka reads every topic to its end: after dropping what came twice each stream must be whole and in
// order, as far as the store has it.
func (w *world) kafka(ctx context.Context, y *tally) (repeated int, err error) {
	ctx, cancel := context.WithTimeout(ctx, kafkaLimit)
	defer cancel()
	heads, err := storedHeads(ctx, w.db, 1<<62)
	if err != nil {
		return 0, err
	}
	missing := 0
	for stream, head := range heads {
		if strings.HasPrefix(stream, control+"/") {
			delete(heads, stream)
			continue
		}
		missing += int(head)
	}
	var topics []string
	for _, f := range events.Families() {
		topics = append(topics, f.Topic())
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	at := map[string]int64{}
	for missing > 0 {
		polled := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			break
		}
		polled.EachRecord(func(r *kgo.Record) {
			stream, version := position(r)
			switch last := at[stream]; {
			case version <= last:
				repeated++
				return
			case version > last+1:
				y.reorder("kafka: %s goes from version %d to %d", stream, last, version)
			}
			if version <= heads[stream] {
				missing -= int(version - at[stream])
			}
			at[stream] = version
		})
	}
	for stream, head := range heads {
		if at[stream] < head {
			y.lose("kafka: %s has %d of %d versions", stream, at[stream], head)
		}
	}
	return repeated, nil
}

// position is the stream and the version a record carries.
func position(r *kgo.Record) (stream string, version int64) {
	for _, h := range r.Headers {
		switch h.Key {
		case "ce_stream":
			stream = string(h.Value)
		case "ce_streamversion":
			_, _ = fmt.Sscan(string(h.Value), &version) // 0 stays behind every other
		}
	}
	return stream, version
}

// parked fails the test for everything that was put aside.
func (w *world) parked(t *testing.T) {
	t.Helper()
	for _, s := range schemas() {
		var n int
		var example string
		err := w.db.QueryRow(t.Context(), "SELECT count(*), coalesce(min(stream || ' ' || version || ': ' || reason), '') FROM "+s+".parked").
			Scan(&n, &example)
		if err != nil || n > 0 {
			t.Errorf("%s has parked %d events, such as %s (%v)", s, n, example, err)
		}
	}
}

// audited has the command line verify the audit log.
func (w *world) audited(t *testing.T) {
	t.Helper()
	up := client.Up{
		URL: "http://127.0.0.1:" + w.ports[replicaName("audit", 0)], APIKeyFile: filepath.Join(w.services, "api.key"), OSPID: os.Getpid(),
	}
	if err := client.WriteUp(w.services, up); err != nil {
		t.Fatal(err)
	}
	ran := kernel.CLI(t, w.services, "audit", "verify")
	if ran.Code != 0 {
		t.Errorf("agentos audit verify: exit %d: %s%s", ran.Code, ran.Out, ran.ErrOut)
	}
	fmt.Printf("%s: %s", t.Name(), ran.Out)
}

// rebuilt has the command line compare the read models with what the events make. The services must have
// ended. Those whose tables are the only record of what they hold cannot be rebuilt.
func (w *world) rebuilt(t *testing.T) {
	t.Helper()
	for _, s := range []string{"scheduler", "tools", "learning"} {
		ran := kernel.CLI(t, w.services, "rebuild", s, "--verify")
		if ran.Code != 0 {
			t.Errorf("agentos rebuild %s --verify: exit %d: %s%s", s, ran.Code, ran.Out, ran.ErrOut)
		}
	}
}
