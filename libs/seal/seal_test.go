package seal_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/seal"
	"github.com/agentos-kernel/agentos/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// masterFile is a file with a new master key.
func masterFile(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "master.key")
	if err := seal.MakeMasterFile(path); err != nil {
		tb.Fatal(err)
	}
	return path
}

func readMaster(tb testing.TB, path string) *seal.Master {
	tb.Helper()
	m, err := seal.ReadMaster(path)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// store is an event store with one role, and a connection of its owner.
func store(tb testing.TB) (pool *pgxpool.Pool, owner *pgx.Conn) {
	tb.Helper()
	admin := testkit.Postgres(tb)
	svc := eventstore.Service{Name: "scheduler", Family: events.Agent, Password: "scheduler"}
	if err := eventstore.Setup(tb.Context(), admin, testkit.Partitions, []eventstore.Service{svc}); err != nil {
		tb.Fatal(err)
	}
	owner, err := pgx.Connect(tb.Context(), admin)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = owner.Close(context.WithoutCancel(tb.Context())) })
	w := testkit.World{Admin: admin}
	return w.Pool(tb, "scheduler"), owner
}

func keyring(tb testing.TB, db eventstore.Querier, m *seal.Master) *seal.Keyring {
	tb.Helper()
	k, err := seal.NewKeyring(tb.Context(), db, m)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// body is a record of a tenant with a body.
func body(tenant, text string) events.Record {
	return events.Record{
		ID: uuid.Must(uuid.NewV7()).String(), Tenant: tenant, Stream: "agent/p", Kind: "agent.spawned", SchemaVersion: 1,
		Time: time.Now(), Data: []byte(text),
	}
}

func sealed(tb testing.TB, k *seal.Keyring, r events.Record) events.Record {
	tb.Helper()
	if err := k.Seal(tb.Context(), r.Tenant, r.Stream, &r); err != nil {
		tb.Fatal(err)
	}
	return r
}

const plain = `{"task":"the secret of the tenant"}`

func TestMasterKeyFiles(t *testing.T) {
	t.Parallel()
	raw := bytes.Repeat([]byte{7, 250}, 16)
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want fault.Kind
	}{
		"hexadecimal":          {hex.EncodeToString(raw) + "\n", 0o600, 0},
		"base64":               {base64.StdEncoding.EncodeToString(raw), 0o400, 0},
		"base64 for addresses": {base64.RawURLEncoding.EncodeToString(raw), 0o440, 0},
		"readable by others":   {hex.EncodeToString(raw), 0o644, fault.Denied},
		"writable by others":   {hex.EncodeToString(raw), 0o620, fault.Denied},
		"too short":            {hex.EncodeToString(raw[:31]), 0o600, fault.Invalid},
		"empty":                {"", 0o600, fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			_, err := seal.ReadMaster(path)
			if c.want == 0 && err != nil || c.want != 0 && (!fault.Is(err, c.want) || !strings.Contains(err.Error(), seal.Variable)) {
				t.Errorf("got %v, want kind %v", err, c.want)
			}
		})
	}
	path := masterFile(t)
	if err := seal.MakeMasterFile(path); !fault.Is(err, fault.Conflict) {
		t.Errorf("a master key is written over: %v", err)
	}
}

func TestBodiesAreBoundToTheirEvent(t *testing.T) {
	t.Parallel()
	db, owner := store(t)
	k := keyring(t, db, readMaster(t, masterFile(t)))
	was := body("a", plain)
	r := sealed(t, k, was)
	if !events.Sealed(r.Data) || bytes.Contains(r.Data, []byte("secret")) {
		t.Fatalf("stored is %q", r.Data)
	}
	if got, err := k.Open(r); err != nil || string(got) != plain {
		t.Fatalf("opened %q, %v", got, err)
	}
	if again := sealed(t, k, was); bytes.Equal(again.Data, r.Data) {
		t.Error("the same body is sealed to the same bytes twice")
	}
	sealed(t, k, body("b", plain)) // so that b has a key of the same number
	for name, change := range map[string]func(*events.Record){
		"tenant":         func(r *events.Record) { r.Tenant = "b" },
		"stream":         func(r *events.Record) { r.Stream = "agent/q" },
		"id":             func(r *events.Record) { r.ID = uuid.Must(uuid.NewV7()).String() },
		"kind":           func(r *events.Record) { r.Kind = "agent.completed" },
		"schema version": func(r *events.Record) { r.SchemaVersion = 2 },
		"last byte":      func(r *events.Record) { r.Data[len(r.Data)-1] ^= 1 },
		"number of key":  func(r *events.Record) { r.Data[8] = 9 },
		"length":         func(r *events.Record) { r.Data = r.Data[:20] },
		"nothing left":   func(r *events.Record) { r.Data = r.Data[:len(events.SealMark)] },
	} {
		moved := r
		moved.Data = bytes.Clone(r.Data)
		change(&moved)
		if _, err := k.Open(moved); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s changed: %v", name, err)
		}
	}
	heads := body("a", `{"size":1}`)
	heads.Stream = "audit/log"
	if got := sealed(t, k, heads); events.Sealed(got.Data) {
		t.Error("what is about the installation is sealed")
	}
	var n int
	if err := owner.QueryRow(t.Context(), "SELECT count(DISTINCT wrapped) FROM eventstore.data_keys").Scan(&n); err != nil || n != 2 {
		t.Errorf("%d keys for two tenants, %v", n, err)
	}
	if _, err := db.Exec(t.Context(), "SELECT wrapped FROM eventstore.data_keys"); err == nil {
		t.Error("a service's role reads the table of keys")
	}
	if _, err := db.Exec(t.Context(), "UPDATE eventstore.data_keys SET wrapped = NULL"); err == nil {
		t.Error("a service's role erases keys")
	}
}

func TestReplicasShareOneKey(t *testing.T) {
	t.Parallel()
	db, _ := store(t)
	m := readMaster(t, masterFile(t))
	recs := make([]events.Record, 8)
	rings := make([]*seal.Keyring, len(recs))
	var wg sync.WaitGroup
	for i := range recs {
		rings[i], recs[i] = keyring(t, db, m), body("a", plain)
		wg.Go(func() {
			if err := rings[i].Seal(t.Context(), "a", recs[i].Stream, &recs[i]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i, k := range rings {
		for _, r := range recs {
			if got, err := k.Open(r); err != nil || string(got) != plain {
				t.Fatalf("replica %d reads %q, %v", i, got, err)
			}
		}
	}
}

func TestTheRightMasterKey(t *testing.T) {
	t.Parallel()
	db, owner := store(t)
	if k := keyring(t, db, nil); k != nil {
		t.Error("a store that is not sealed has a keyring")
	}
	oldFile, newFile := masterFile(t), masterFile(t)
	first, second := readMaster(t, oldFile), readMaster(t, newFile)
	if _, err := seal.NewReader(t.Context(), db, second); err != nil {
		t.Fatal(err) // who only reads makes the store nobody's
	}
	r := sealed(t, keyring(t, db, first), body("a", plain))
	for name, m := range map[string]*seal.Master{"another": second, "none": nil} {
		if _, err := seal.NewKeyring(t.Context(), db, m); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), seal.Variable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := seal.Rekey(t.Context(), owner, second, first); err == nil {
		t.Error("rewrapped from a key that is not the store's")
	}
	if n, err := seal.Rekey(t.Context(), owner, first, second); err != nil || n != 1 {
		t.Fatalf("%d keys rewrapped, %v", n, err)
	}
	if _, err := seal.NewKeyring(t.Context(), db, first); !fault.Is(err, fault.Invalid) {
		t.Errorf("the old master key is still good: %v", err)
	}
	if got, err := keyring(t, db, second).Open(r); err != nil || string(got) != plain {
		t.Errorf("with the new one: %q, %v", got, err)
	}
}

func TestErasedIsGone(t *testing.T) {
	t.Parallel()
	db, owner := store(t)
	m := readMaster(t, masterFile(t))
	k := keyring(t, db, m)
	gone, kept := sealed(t, k, body("a", plain)), sealed(t, k, body("b", plain))
	if n, err := seal.Erase(t.Context(), owner, "a"); err != nil || n != 1 {
		t.Fatalf("%d keys deleted, %v", n, err)
	}
	k = keyring(t, db, m)
	if _, err := k.Open(gone); !errors.As(err, new(*events.ErasedError)) {
		t.Errorf("the erased body: %v", err)
	}
	if got, err := k.Open(kept); err != nil || string(got) != plain {
		t.Errorf("the other tenant's: %q, %v", got, err)
	}
	again := sealed(t, k, body("a", plain))
	if got, err := k.Open(again); err != nil || string(got) != plain {
		t.Errorf("what the tenant says afterwards: %q, %v", got, err)
	}
	if _, err := k.Open(gone); !errors.As(err, new(*events.ErasedError)) {
		t.Errorf("the erased body beside a new key: %v", err)
	}
}

func BenchmarkSeal(b *testing.B) {
	db, _ := store(b)
	k := keyring(b, db, readMaster(b, masterFile(b)))
	r := body("a", strings.Repeat("x", 1000))
	b.Run("seal 1 KB", func(b *testing.B) {
		for b.Loop() {
			s := r
			if err := k.Seal(b.Context(), s.Tenant, s.Stream, &s); err != nil {
				b.Fatal(err)
			}
		}
	})
	s := sealed(b, k, r)
	b.Run("open 1 KB", func(b *testing.B) {
		for b.Loop() {
			if _, err := k.Open(s); err != nil {
				b.Fatal(err)
			}
		}
	})
}
