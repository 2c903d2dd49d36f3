package kafkatest

import (
	"context"
	_ "embed" // the list of jars
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/agentos-kernel/agentos/libs/embedded"
	"github.com/agentos-kernel/agentos/libs/fault"
)

const op = "kafkatest"

//go:embed pom.xml
var pom []byte

// jars is the folder with the jars of a version. Several processes may fetch at once: each into a folder
// of its own, and the first to finish gives its the name that is looked for.
func jars(ctx context.Context, version string) (string, error) {
	cache, err := embedded.CacheDir()
	if err != nil {
		return "", err
	}
	lib := filepath.Join(cache, "kafka-"+version)
	if complete(lib, version) {
		return lib, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil { //nolint:gosec // nothing secret
		return "", fault.Wrap(fault.Unavailable, op, "cannot make the cache", err)
	}
	tmp, err := os.MkdirTemp(cache, "kafka-")
	if err != nil {
		return "", fault.Wrap(fault.Unavailable, op, "cannot write into the cache", err)
	}
	defer os.RemoveAll(tmp)
	list, got := filepath.Join(tmp, "pom.xml"), filepath.Join(tmp, "lib")
	if err := os.WriteFile(list, pom, 0o600); err != nil {
		return "", fault.Wrap(fault.Unavailable, op, "cannot write into the cache", err)
	}
	if err := run(ctx, "mvn", "-B", "-ntp", "-q", "-f", list, "-Dkafka.version="+version,
		"dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+got); err != nil {
		return "", err
	}
	if err := os.Rename(got, lib); err != nil && !errors.Is(err, fs.ErrExist) && !complete(lib, version) {
		return "", fault.Wrap(fault.Unavailable, op, "cannot keep the jars", err).WithFix("remove " + lib)
	}
	return lib, nil
}

func complete(lib, version string) bool {
	_, err := os.Stat(filepath.Join(lib, "kafka-clients-"+version+".jar"))
	return err == nil
}
