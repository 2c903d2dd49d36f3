package deployment

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	docker "github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"
	tcnetwork "github.com/testcontainers/testcontainers-go/network"

	"github.com/agentos-kernel/agentos/tests/kernel"
)

func TestMain(m *testing.M) {
	// Where /.dockerenv exists testcontainers looks for published ports at the gateway, which is not this
	// machine. Its reaper is an image of its own that often cannot be pulled: what we start has a label.
	for name, value := range map[string]string{"TESTCONTAINERS_HOST_OVERRIDE": "127.0.0.1", "TESTCONTAINERS_RYUK_DISABLED": "true"} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	tclog.SetDefault(tclog.NewNoopLogger()) // each step would be a line
	os.Exit(m.Run())
}

// TestContainers runs the suite on containers. `make integration` sees to an engine and to the images.
func TestContainers(t *testing.T) { //nolint:paralleltest // sixteen containers want the machine for themselves
	if os.Getenv("AGENTOS_TEST_DEPLOYMENT") == "" {
		t.Skip("opt-in: `make integration` runs it; it needs a Docker engine and the images")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	engine, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err == nil {
		_, err = engine.Ping(ctx, docker.PingOptions{})
	}
	if err != nil {
		unavailable(t, "no Docker engine answers: %v", err)
	}
	defer func() { _ = engine.Close() }()
	for _, name := range images(t) {
		if _, err := engine.ImageInspect(ctx, name); err != nil {
			unavailable(t, "the image %s is not there (`make integration` makes it): %v", name, err)
		}
	}
	sweep(t, engine)
	suite(t, newContainers)
}

// unavailable ends the test: failed if AGENTOS_REQUIRE names docker, else skipped.
func unavailable(t *testing.T, format string, args ...any) {
	t.Helper()
	if strings.Contains(os.Getenv("AGENTOS_REQUIRE"), "docker") {
		t.Fatalf("docker is required (AGENTOS_REQUIRE): "+format, args...)
	}
	t.Skipf(format, args...)
}

// images are the images by the variables that name them; deploy/compose/compose.yaml has the defaults.
func images(t *testing.T) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(kernel.Root(t), "deploy", "compose", "compose.yaml"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, m := range regexp.MustCompile(`\$\{(KAFKA_IMAGE|POSTGRES_IMAGE|AGENTOS_IMAGE):-([^}]+)\}`).FindAllStringSubmatch(string(raw), -1) {
		names[m[1]] = m[2]
	}
	for _, variable := range []string{"KAFKA_IMAGE", "POSTGRES_IMAGE", "AGENTOS_IMAGE"} {
		if v := os.Getenv(variable); v != "" {
			names[variable] = v
		}
		if names[variable] == "" {
			t.Fatalf("deploy/compose/compose.yaml does not name the default of %s", variable)
		}
	}
	return names
}

// label marks what is ours in an engine; its value is the process that it belongs to.
const label = "agentos.test.deployment"

func labels() map[string]string { return map[string]string{label: strconv.Itoa(os.Getpid())} }

// sweep removes what test processes left behind that have ended.
func sweep(t *testing.T, engine *testcontainers.DockerClient) {
	t.Helper()
	ours := make(docker.Filters).Add("label", label)
	boxes, err := engine.ContainerList(t.Context(), docker.ContainerListOptions{All: true, Filters: ours})
	if err != nil {
		t.Fatal(err)
	}
	var errs []error
	for _, c := range boxes.Items {
		if abandoned(c.Labels) {
			_, err := engine.ContainerRemove(t.Context(), c.ID, docker.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			errs = append(errs, err)
		}
	}
	nets, err := engine.NetworkList(t.Context(), docker.NetworkListOptions{Filters: ours})
	errs = append(errs, err)
	for _, n := range nets.Items {
		if abandoned(n.Labels) {
			_, err := engine.NetworkRemove(t.Context(), n.ID, docker.NetworkRemoveOptions{})
			errs = append(errs, err)
		}
	}
	volumes, err := engine.VolumeList(t.Context(), docker.VolumeListOptions{Filters: ours})
	errs = append(errs, err)
	for _, v := range volumes.Items {
		if abandoned(v.Labels) {
			_, err := engine.VolumeRemove(t.Context(), v.Name, docker.VolumeRemoveOptions{Force: true})
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("remove what was left behind: %v", err)
	}
}

func abandoned(of map[string]string) bool {
	pid, err := strconv.Atoi(of[label])
	return err == nil && pid != os.Getpid() && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// newNetwork is a network for the test. From an internal one nothing leads out.
func newNetwork(t *testing.T, internal bool) *testcontainers.DockerNetwork {
	t.Helper()
	opts := []tcnetwork.NetworkCustomizer{tcnetwork.WithLabels(labels())}
	if internal {
		opts = append(opts, tcnetwork.WithInternal())
	}
	n, err := tcnetwork.New(t.Context(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Remove(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return n
}

// previousImage is the image of the commit before, until the test ends.
func previousImage(t *testing.T, engine *testcontainers.DockerClient) string {
	t.Helper()
	name := "agentos-test:previous-" + strconv.Itoa(os.Getpid())
	build := exec.CommandContext(t.Context(), "make", "-C", previousTree(t), "--no-print-directory", "image", "AGENTOS_IMAGE="+name) //nolint:gosec // our own source
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the image of the commit before: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if _, err := engine.ImageRemove(context.WithoutCancel(t.Context()), name, docker.ImageRemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	})
	return name
}
