package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/libs/pid"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

// nobody is a well-formed pid of no process.
const nobody = "p06ar2vr4t7m0yc8h3n5wq1zs8d"

// refusal is one bad request and the answer it must get.
type refusal struct {
	name   string
	req    kernel.Request
	status int
	detail string // part of the problem's detail
}

func spawnBody(fields string) string {
	body := `{"task":"say hello","model":"replay/report"`
	if fields != "" {
		body += "," + fields
	}
	return body + "}"
}

func post(path, body string) kernel.Request {
	return kernel.Request{Method: http.MethodPost, Path: path, Body: body}
}

func get(path string) kernel.Request { return kernel.Request{Method: http.MethodGet, Path: path} }

// TestBadInputIsRefusedWithAFixAndLeavesNoTrace: whatever is wrong with a request, its answer is a problem
// document that says what to do, and no event is written.
func TestBadInputIsRefusedWithAFixAndLeavesNoTrace(t *testing.T) {
	t.Parallel()
	k := kernel.Up(t, nil, "--workspace-root", "{home}")
	ended := endedProcess(t, k)
	events := eventCounter(t, k)
	before := events()
	//nolint:paralleltest // they count the same events
	for _, group := range [][]refusal{badSpawns(t, k), badKeys(), unknownPIDs(), badQueries(ended), badCommands(ended)} {
		for _, r := range group {
			t.Run(r.name, func(t *testing.T) {
				checkProblem(t, k.Do(t, r.req), r)
			})
		}
	}
	if after := events(); after != before {
		t.Errorf("%d events were written", after-before)
	}
}

func checkProblem(t *testing.T, a kernel.Answer, r refusal) {
	t.Helper()
	var p api.Problem
	if err := json.Unmarshal(a.Body, &p); err != nil {
		t.Fatalf("status %d, %q is no problem document: %v", a.Status, clip(a.Body), err)
	}
	media, _, _ := strings.Cut(a.Header.Get("Content-Type"), ";")
	if a.Status != r.status || p.Status != r.status || media != "application/problem+json" {
		t.Errorf("status %d of type %s, want %d: %s", a.Status, media, r.status, clip(a.Body))
	}
	if p.Fix == "" || p.Title == "" || p.Code == "" || !strings.Contains(p.Detail, r.detail) {
		t.Errorf("the problem does not help: %s", clip(a.Body))
	}
}

func clip(b []byte) string { return string(b[:min(len(b), 400)]) }

// eventCounter counts the rows of the event store. The kernel publishes its catalogues after its start, so
// it waits until the number stands still; what audit and learning note later about earlier facts is no
// trace of a request.
const countSQL = "SELECT count(*) FROM eventstore.events WHERE kind NOT LIKE 'learning.%' AND kind NOT LIKE 'audit.%'"

func eventCounter(t *testing.T, k *kernel.Kernel) func() int {
	t.Helper()
	db := k.DB(t)
	return func() int {
		last := -1
		for range 50 {
			var n int
			if err := db.QueryRow(t.Context(), countSQL).Scan(&n); err != nil {
				t.Fatal(err)
			}
			if n == last {
				return n
			}
			last = n
			time.Sleep(400 * time.Millisecond)
		}
		t.Fatal("events are written without end")
		return 0
	}
}

func endedProcess(t *testing.T, k *kernel.Kernel) string {
	t.Helper()
	a, err := k.Client.Spawn(t.Context(), api.AgentSpec{Task: "wait", Model: "replay/report"})
	if err != nil {
		t.Fatal(err)
	}
	if a, err = k.Client.Wait(t.Context(), a.PID); err != nil {
		t.Fatal(err)
	}
	return a.PID
}

func badSpawns(t *testing.T, k *kernel.Kernel) []refusal {
	t.Helper()
	file := filepath.Join(k.Roots, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	outside := t.TempDir()
	link := filepath.Join(k.Roots, "link")
	if err := os.Symlink(outside, link); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 10<<20)
	inside := func(path string) string { return spawnBody(fmt.Sprintf(`"workspace":%q`, path)) }
	var all []refusal
	for _, r := range []struct {
		name, body string
		status     int
		detail     string
	}{
		{"unknown field", spawnBody(`"prio":1`), 400, `unknown field "prio"`},
		{"unknown model", `{"task":"x","model":"nobody/none"}`, 400, `unknown model "nobody/none"`},
		{"no model", `{"task":"x"}`, 400, "model is empty"},
		{"unknown tool", spawnBody(`"tools":["drill"]`), 400, `unknown tool "drill"`},
		{"priority 101", spawnBody(`"priority":101`), 400, "priority is 101"},
		{"priority -1", spawnBody(`"priority":-1`), 400, "priority is -1"},
		{"priority of another type", spawnBody(`"priority":"high"`), 400, `"priority"`},
		{"empty task", `{"task":"","model":"replay/report"}`, 400, "task is empty"},
		{"blank task", `{"task":" \n","model":"replay/report"}`, 400, "task is empty"},
		{"task of 300 KB", `{"task":"` + big[:300<<10] + `","model":"replay/report"}`, 400, "at most"},
		{"task of 10 MB", `{"task":"` + big + `","model":"replay/report"}`, 413, "larger than"},
		{"unknown mode", spawnBody(`"mode":"batch"`), 400, `mode is "batch"`},
		{"negative limit", spawnBody(`"limits":{"max_steps":-1}`), 400, "max_steps"},
		{"unknown limit", spawnBody(`"limits":{"max_step":1}`), 400, `unknown field "max_step"`},
		{"missing workspace", inside(filepath.Join(k.Roots, "missing")), 400, "does not exist"},
		{"workspace that is a file", inside(file), 400, "not a folder"},
		{"relative workspace", inside("files"), 400, "absolute"},
		{"workspace outside the roots", inside(outside), 400, "allowed root"},
		{"workspace that is a link to outside", inside(link), 400, "allowed root"},
		{"workspace inside AGENTOS_HOME", inside(filepath.Join(k.Home, "postgres")), 400, "own data folder"},
		{"AGENTOS_HOME itself", inside(k.Home), 400, "own data folder"},
		{"malformed JSON", `{"task":`, 400, "malformed JSON"},
		{"a list", `[]`, 400, "array"},
		{"two values", spawnBody("") + "{}", 400, "more data"},
		{"form data", "task=x&model=y", 400, "malformed JSON"},
		{"no body", "", 400, "empty"},
		{"not UTF-8", "{\"task\":\"\xff\"}", 400, "UTF-8"},
		{"a NUL in the task", `{"task":"a\u0000b","model":"replay/report"}`, 400, "U+0000"},
	} {
		all = append(all, refusal{r.name, post("/v1/agents", r.body), r.status, r.detail})
	}
	return all
}

func badKeys() []refusal {
	var all []refusal
	for _, path := range []string{"/v1/agents", "/v1/agents/" + nobody, "/v1/models", "/v1/tools", "/v1/audit/head", "/v1/agents/" + nobody + "/events"} {
		missing, wrong := get(path), get(path)
		missing.Key, wrong.Key = "none", strings.Repeat("0", 64)
		all = append(
			all, refusal{"no key for " + path, missing, 401, "missing"}, refusal{"wrong key for " + path, wrong, 401, "wrong"})
	}
	spawn := post("/v1/agents", spawnBody(""))
	spawn.Key = "none"
	return append(all, refusal{"spawn without a key", spawn, 401, "missing"})
}

func unknownPIDs() []refusal {
	var all []refusal
	for name, id := range map[string]string{"unknown pid": nobody, "pid of no form": "42", "fresh pid": pid.New()} {
		at := "/v1/agents/" + id
		stream := get(at + "/events")
		stream.Header = map[string]string{"Accept": "text/event-stream"}
		all = append(
			all, refusal{name + ", get", get(at), 404, ""},
			refusal{name + ", message", post(at+"/messages", `{"content":"hi"}`), 404, ""},
			refusal{name + ", signal", post(at+"/signals", `{"signal":"kill"}`), 404, ""},
			refusal{name + ", events", get(at + "/events"), 404, ""},
			refusal{name + ", stream", stream, 404, ""},
			refusal{name + ", context", get(at + "/context"), 404, ""},
			refusal{name + ", trajectory", get(at + "/trajectory"), 404, ""})
	}
	return append(
		all, refusal{"unknown route", get("/v1/nothing"), 404, "route"},
		refusal{"wrong method", kernel.Request{Method: http.MethodDelete, Path: "/v1/agents"}, 405, "method"})
}

func badQueries(ended string) []refusal {
	at := "/v1/agents/" + ended
	stream := get(at + "/events")
	stream.Header = map[string]string{"Accept": "text/event-stream", "Last-Event-ID": "yesterday"}
	return []refusal{
		{"cursor", get("/v1/agents?cursor=foo"), 400, "cursor"},
		{"cursor of the context", get(at + "/context?cursor=foo"), 400, "cursor"},
		{"limit 0", get("/v1/agents?limit=0"), 400, "limit"},
		{"limit 1001", get("/v1/agents?limit=1001"), 400, "limit"},
		{"limit of letters", get("/v1/agents?limit=many"), 400, "limit"},
		{"limit of events", get(at + "/events?limit=-1"), 400, "limit"},
		{"after of letters", get(at + "/events?after=x"), 400, "after"},
		{"state", get("/v1/agents?state=asleep"), 400, "asleep"},
		{"Last-Event-ID", stream, 400, "yesterday"},
	}
}

func badCommands(ended string) []refusal {
	at := "/v1/agents/" + ended
	long := post("/v1/agents", spawnBody(""))
	long.Header = map[string]string{"Idempotency-Key": strings.Repeat("k", 256)}
	return []refusal{
		{"message to an ended process", post(at+"/messages", `{"content":"hi"}`), 409, "ended"},
		{"signal to an ended process", post(at+"/signals", `{"signal":"kill"}`), 409, "ended"},
		{"message with an unknown field", post(at+"/messages", `{"text":"hi"}`), 400, "unknown field"},
		{"empty message", post(at+"/messages", `{"content":""}`), 400, "content"},
		{"unknown signal", post(at+"/signals", `{"signal":"hup"}`), 400, `"hup"`},
		{"negative grace", post(at+"/signals", `{"signal":"terminate","grace_seconds":-1}`), 400, "grace_seconds"},
		{"Idempotency-Key of 256 characters", long, 400, "Idempotency-Key"},
	}
}
