package doctor

import (
	"testing"

	"github.com/agentos-kernel/agentos/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// TestGivenPostgres: a real server with pgvector. The test's cluster runs without fsync, which doctor must see.
func TestGivenPostgres(t *testing.T) {
	t.Parallel()
	checks := postgres(t.Context(), Config{DatabaseURL: testkit.Postgres(t)})
	if len(checks) != 2 || checks[0].Name != "postgres" || checks[1].Name != "pgvector" {
		t.Fatalf("checks %+v", checks)
	}
	if checks[0].Status != Warn || checks[0].Fix != "turn fsync on" {
		t.Errorf("fsync off was not seen: %+v", checks[0])
	}
	if checks[1].Status == Fail || checks[1].Detail == "" {
		t.Errorf("pgvector %+v", checks[1])
	}
}
