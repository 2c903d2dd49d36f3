package service_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/testkit"
)

// A position that moved in memory is not behind for good because it could not be stored: here the first
// tries to store it fail until the sweep has passed the event.
func TestAPositionThatCouldNotBeStoredCatchesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin, err := pgx.Connect(t.Context(), w.Admin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close(context.WithoutCancel(t.Context())) })
	// A sequence counts the refusals: it is not rolled back with them.
	_, err = admin.Exec(t.Context(), `CREATE SEQUENCE llm.refused; GRANT ALL ON SEQUENCE llm.refused TO agentos_llm;
		CREATE FUNCTION llm.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN PERFORM nextval('llm.refused'); RAISE EXCEPTION 'refused' USING ERRCODE = '53100'; END $$;
		CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON llm.positions FOR EACH ROW
			WHEN (NEW.stream = 'agent/p') EXECUTE FUNCTION llm.refuse()`)
	if err != nil {
		t.Fatal(err)
	}
	refused := func() (n int) {
		if err := admin.QueryRow(t.Context(), "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM llm.refused").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	var handled atomic.Int64
	start(t, w, service.Definition{
		Name: "llm", Family: events.LLM, Consumes: []events.Family{events.Agent},
		Handle: func(_ context.Context, _ *service.Unit, in *service.Input) error {
			if in.Event != nil {
				handled.Add(1) // without an effect: the position moves in memory only
			}
			return nil
		},
	})
	rt := start(t, w, writer())
	if _, err := rt.Do(t.Context(), events.DefaultTenant, "p", write{"hello"}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the sweep has brought the event again", func() bool { return handled.Load() >= 2 })
	before := refused()
	testkit.Eventually(t, "storing has failed again", func() bool { return refused() > before })
	if _, err := admin.Exec(t.Context(), "DROP TRIGGER refuse ON llm.positions"); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the position is stored", func() bool {
		var n int
		if err := admin.QueryRow(t.Context(), "SELECT count(*) FROM llm.positions WHERE stream = 'agent/p' AND version = 1").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 1
	})
}
