package audit_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/events"
	auditevents "github.com/agentos-kernel/agentos/events/audit"
	"github.com/agentos-kernel/agentos/events/catalog"
	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/httpserver"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/testkit"
	"github.com/agentos-kernel/agentos/services/audit"
	"github.com/agentos-kernel/agentos/services/audit/internal/audittest"
	"github.com/agentos-kernel/agentos/services/audit/internal/tree"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// start runs the service in the real harness until the returned function is called.
func start(t *testing.T, e *audittest.Env, broker, keyFile string) (*audit.Service, func()) {
	t.Helper()
	svc, err := audit.New(audit.Config{KeyFile: keyFile, HeadEvery: 10 * time.Millisecond, AnnounceEvery: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	reg, err := catalog.New()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	cfg := bus.Config{Brokers: []string{broker}, SessionTimeout: 2 * time.Second, Logger: log}
	topics := []bus.TopicSpec{}
	for _, f := range events.Families() {
		topics = append(topics, bus.TopicSpec{Name: f.Topic(), Partitions: audittest.Partitions, Retention: time.Hour})
	}
	if err := bus.EnsureTopics(t.Context(), cfg, topics); err != nil {
		t.Fatal(err)
	}
	rt, err := service.New(svc.Definition(), service.Deps{
		DB: e.Audit, Bus: cfg, Partitions: audittest.Partitions, Registry: reg, Logger: log, Now: time.Now,
		NewID: func() string { return uuid.Must(uuid.NewV7()).String() }, GraceTime: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	svc.Bind(rt)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- rt.Run(ctx) }()
	stop := func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	return svc, stop
}

// until polls for a condition that another goroutine brings about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Every event written, before and while the service runs and while it was away, is in the log once; the
// head is announced; a proof served over HTTP can be checked with the public key.
func TestService(t *testing.T) {
	t.Parallel()
	e := audittest.New(t)
	broker := testkit.Broker(t)
	keyFile := filepath.Join(t.TempDir(), "audit.key")
	e.Write(t, 300)
	svc, stop := start(t, e, broker, keyFile)
	e.Write(t, 100)
	complete := func(n int64) func() bool {
		return func() bool {
			r, err := svc.Verify(t.Context())
			return err == nil && r.OK && r.Size == n && r.Pending == 0
		}
	}
	until(t, "400 entries", complete(400))
	stop()
	recs := e.Write(t, 57)
	svc, stop = start(t, e, broker, keyFile)
	defer stop()
	until(t, "457 entries", complete(457))

	until(t, "an announced head over all", func() bool {
		rec, err := eventstore.Last(t.Context(), e.Admin, events.DefaultTenant, "audit/log", "audit.head_signed")
		if err != nil || rec == nil {
			return false
		}
		var head auditevents.HeadSigned
		return json.Unmarshal(rec.Data, &head) == nil && head.Size == 457
	})
	checkHTTP(t, svc, recs[20])
}

func checkHTTP(t *testing.T, svc *audit.Service, rec events.Record) {
	t.Helper()
	srv, err := httpserver.New(httpserver.Config{
		APIKeys: httpserver.StaticKey("k", events.DefaultTenant), Logger: slog.New(slog.DiscardHandler),
		Ready: func(context.Context) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	svc.Definition().Routes(srv.Group())
	get := func(path, accept string) (int, []byte) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
		r.Header.Set("Authorization", "Bearer k")
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		srv.Handler().ServeHTTP(w, r)
		body, err := io.ReadAll(w.Result().Body)
		if err != nil {
			t.Fatal(err)
		}
		return w.Code, body
	}
	var head api.AuditHead
	if code, body := get("/v1/audit", ""); code != 200 || json.Unmarshal(body, &head) != nil || head.Size != 457 ||
		head.VerifierKey != svc.VerifierKey() {
		t.Errorf("head: %d %s", code, body)
	}
	var found api.AuditVerification
	if code, body := get("/v1/audit/verify", ""); code != 200 || json.Unmarshal(body, &found) != nil || !found.OK || found.Size != 457 {
		t.Errorf("verify: %d %s", code, body)
	}
	if code, body := get("/v1/audit/proof/nonsense", ""); code != 400 {
		t.Errorf("bad id: %d %s", code, body)
	}
	if code, body := get("/v1/audit/proof/"+uuid.NewString(), ""); code != 404 {
		t.Errorf("unknown id: %d %s", code, body)
	}
	var proof api.AuditProof
	if code, body := get("/v1/audit/proof/"+rec.ID, "application/json"); code != 200 || json.Unmarshal(body, &proof) != nil ||
		proof.EventID != rec.ID || proof.Size != 457 {
		t.Errorf("proof: %d %s", code, body)
	}
	code, text := get("/v1/audit/proof/"+rec.ID, "text/plain")
	parsed, err := tree.ParseProof(string(text))
	if code != 200 || err != nil || parsed.Index != proof.Index {
		t.Errorf("proof file: %d %s %v", code, text, err)
	}
	keys, err := audit.Verifiers(svc.VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	if err := parsed.Check(audit.Leaf(rec), keys); err != nil {
		t.Error(err)
	}
}

func BenchmarkAppend256(b *testing.B) {
	e := audittest.New(b)
	recs := e.Write(b, 256*max(b.N, 1))
	b.ResetTimer()
	for i := range b.N {
		e.Log(b, recs[i*256:(i+1)*256])
	}
	b.ReportMetric(float64(256*b.N)/b.Elapsed().Seconds(), "entries/s")
}
