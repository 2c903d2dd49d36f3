package backbone_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/testkit"
)

// A raw service takes kinds it does not know; others park them with the reason.
func TestUnknownKinds(t *testing.T) {
	t.Parallel()
	for _, raw := range []bool{true, false} {
		t.Run(fmt.Sprintf("raw=%v", raw), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			l := &listener{}
			def := l.definition()
			def.Raw = raw
			if raw {
				def.Handle = func(_ context.Context, u *service.Unit, in *service.Input) error {
					if in.Event != nil {
						return fault.New(fault.Invalid, "test", "decoded")
					}
					l.note(u, in.Record.Stream, in.Record.StreamVersion)
					u.Exec("SELECT 1")
					return nil
				}
			}
			w.Run(t, w.Runtime(t, def))
			appendUnknown(t, w)
			conn := operator(t, w)
			if raw {
				testkit.Eventually(t, "heard", func() bool { return slices.Equal(l.heard("agent/new"), upTo(1)) })
				return
			}
			testkit.Eventually(t, "parked", func() bool { return waiting(parked(t, conn)) == 1 })
			if p := parked(t, conn)[0]; p.Kind != "agent.from_the_future" || p.Reason == "" {
				t.Errorf("%+v", p)
			}
		})
	}
}

// appendUnknown writes an event of a newer program.
func appendUnknown(t *testing.T, w *testkit.World) {
	t.Helper()
	var b eventstore.Batch
	b.Add(eventstore.Append{Tenant: tenant, Stream: "agent/new", Records: []events.Record{{
		ID: uuid.NewString(), Kind: "agent.from_the_future", SchemaVersion: 7, Time: time.Now(), Data: []byte("{}"),
	}}})
	p := &pgx.Batch{}
	b.Queue(p)
	if err := w.Pool(t, "scheduler").SendBatch(t.Context(), p).Close(); err != nil {
		t.Fatal(err)
	}
}
