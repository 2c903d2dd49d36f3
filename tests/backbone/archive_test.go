package backbone_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/testkit"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

type archived struct {
	DryRun    bool             `json:"dry_run"`
	Processes map[string]int64 `json:"processes"`
	Streams   int64            `json:"streams"`
	Events    int64            `json:"events"`
	Bytes     int64            `json:"bytes"`
}

// Processes that have ended are archived beside a running kernel with others at work: whatever reads them
// gives the bytes it gave before, they take no message, the audit log verifies, and the services' read
// models are still what the events make.
func TestArchivedProcessesReadTheSame(t *testing.T) { //nolint:paralleltest // it wants the machine for itself
	k := kernel.Up(t, nil)
	done := kernel.StartDrive(t, k.Client, "archive", 4, 2*time.Minute)
	done.Check(t, k.Client)
	trajectoriesClosed(t, k, 4)
	before := readings(t, k)

	if ran := kernel.CLI(t, k.Home, "archive", "--status", "running"); ran.Code != fault.Invalid.ExitCode() || !strings.Contains(ran.ErrOut, "completed") {
		t.Errorf("archive of running processes: %+v", ran)
	}
	if got := cliJSON[archived](t, k.Home, "archive"); got.Events != 0 {
		t.Errorf("what ended just now was archived by default: %+v", got)
	}
	dry := cliJSON[archived](t, k.Home, "archive", "--older-than", "0d", "--dry-run")
	if !dry.DryRun || dry.Processes["completed"] != 4 || dry.Events == 0 {
		t.Errorf("dry run: %+v", dry)
	}
	work := kernel.StartDrive(t, k.Client, "beside", 4, 2*time.Minute)
	got := cliJSON[archived](t, k.Home, "archive", "--status", "completed,terminated", "--older-than", "0s")
	if got.Events < dry.Events || got.Streams < 4*4 {
		t.Errorf("archived %+v, the dry run said %+v", got, dry)
	}
	cold := number(t, k, "SELECT count(*) FROM ONLY eventstore.events_archive")
	if int64(cold) != got.Events {
		t.Errorf("%d events in the cold part, want %d", cold, got.Events)
	}
	pid := before["pid"]
	delete(before, "pid")
	for what, want := range before {
		if diff := cmp.Diff(want, read(t, k, what)); diff != "" {
			t.Errorf("%s reads otherwise: %s", what, diff)
		}
	}
	message := kernel.Request{
		Method: http.MethodPost, Path: "/v1/agents/" + pid + "/messages", Body: `{"content":"are you there?"}`,
		Header: map[string]string{"Idempotency-Key": "late"},
	}
	if a := k.Do(t, message); a.Status != http.StatusConflict {
		t.Errorf("a message to an archived process: %d %s", a.Status, a.Body)
	}
	work.Check(t, k.Client)
	kernel.AuditVerified(t, k.Client)
	cliJSON[archived](t, k.Home, "archive", "--older-than", "0s") // those that worked beside it, too
	kernel.AuditVerified(t, k.Client)
	offline(t, k)
}

// offline checks what is done without the services: rebuilds, replay, the broker's refill.
func offline(t *testing.T, k *kernel.Kernel) {
	t.Helper()
	if err := k.Process.Stop(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	kernel.Start(t, k.Home, "infra", nil, "serve", "infra", "--json").Ready(t, time.Minute)
	for _, s := range []string{"scheduler", "context", "llm-gateway", "tools", "learning"} {
		verify(t, k.Home, s)
	}
	cliJSON[rebuilt](t, k.Home, "rebuild", "learning")
	verify(t, k.Home, "learning")
	events := int64(number(t, k, "SELECT count(*) FROM eventstore.events"))
	type republished struct{ Events int64 }
	if got := cliJSON[republished](t, k.Home, "bus", "rebuild", "--from", "1"); got.Events != events {
		t.Errorf("bus rebuild wrote %d events, there are %d", got.Events, events)
	}
}

// readings are the ways to read processes, with what they give: of each process its events as a page, as a
// stream and in the log, its context and its trajectory; and the pid of one under "pid".
func readings(t *testing.T, k *kernel.Kernel) map[string]string {
	t.Helper()
	out := map[string]string{}
	for a, err := range k.Client.Agents(t.Context(), client.AgentFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		agent := "/v1/agents/" + a.PID
		for _, what := range []string{agent, agent + "/events?limit=200", agent + "/context", "/v1/trajectories/" + a.PID, "stream " + a.PID, "logs " + a.PID} {
			out[what] = read(t, k, what)
		}
		out["pid"] = a.PID
	}
	out["tail"] = read(t, k, "tail")
	return out
}

func read(t *testing.T, k *kernel.Kernel, what string) string {
	t.Helper()
	verb, pid, _ := strings.Cut(what, " ")
	switch verb {
	case "stream":
		var b strings.Builder
		for _, f := range kernel.Facts(kernel.OpenStream(t, k.URL, k.Key, pid, "after=0", "").All()) {
			b.WriteString(f.ID + " " + f.Name + " " + f.Data + "\n")
		}
		return b.String()
	case "logs":
		return kernel.CLI(t, k.Home, "logs", "--json", pid).Out
	case "tail":
		out := kernel.CLI(t, k.Home, "events", "tail", "--json", "--from", "1", "--kind", "agent.").Out
		return strings.Join(strings.SplitAfterN(out, "\n", 60)[:59], "") // others go on at its end
	}
	a := k.Do(t, kernel.Request{Method: http.MethodGet, Path: what})
	if a.Status != http.StatusOK {
		t.Errorf("%s: %d %s", what, a.Status, a.Body)
	}
	return string(a.Body)
}

func trajectoriesClosed(t *testing.T, k *kernel.Kernel, n int) {
	t.Helper()
	testkit.Eventually(t, "the trajectories are closed", func() bool {
		return number(t, k, "SELECT count(*) FROM eventstore.events WHERE kind = 'learning.trajectory_closed'") >= n
	})
}

func number(t *testing.T, k *kernel.Kernel, sql string) (n int) {
	t.Helper()
	if err := k.DB(t).QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A kernel that is told to archives by itself what has ended; one that is not does not.
func TestUpArchivesByItself(t *testing.T) { //nolint:paralleltest // it wants the machine for itself
	k := kernel.Up(t, nil, "--archive-after", "1s")
	kernel.StartDrive(t, k.Client, "aged", 1, time.Minute).Check(t, k.Client)
	testkit.Eventually(t, "archived", func() bool {
		return number(t, k, "SELECT count(*) FROM eventstore.events_archive WHERE kind = 'agent.completed'") == 1
	})
	kernel.AuditVerified(t, k.Client)
}
