package testbed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/testbed/tree"
	"golang.org/x/sys/unix"
)

// keepBuilds is how long an unused build stays in the cache.
const keepBuilds = 24 * time.Hour

// Build builds cmd/baton of the module around the working directory, with this
// version, and returns the binary's path. A process gets the same binary for
// the same version each time, whatever becomes of the source meanwhile.
// Binaries are kept in a folder under the system's temporary one and shared by
// all programs that test the same source: nobody may write to them. With the
// race detector in this program the binary has it too.
func Build(ctx context.Context, version string) (path string, err error) {
	return build(ctx, variant{version: version, race: raceEnabled})
}

// BuildPlain is Build without the race detector in any case: for tests of how long
// something takes, or how much memory.
func BuildPlain(ctx context.Context, version string) (path string, err error) {
	return build(ctx, variant{version: version})
}

// BuildFaulty is BuildPlain of a binary whose commands can be killed at any point by an
// environment variable, see cmd/baton/fault_on.go.
func BuildFaulty(ctx context.Context, version string) (path string, err error) {
	return build(ctx, variant{version: version, tags: "faultpoints"})
}

// A variant is one way to build cmd/baton.
type variant struct {
	version string
	race    bool
	tags    string // build tags
}

// kind names it among the builds of the same source.
func (v variant) kind() string {
	kind := v.version
	if v.race {
		kind += "-race"
	}
	if v.tags != "" {
		kind += "-" + v.tags
	}
	return kind
}

func build(ctx context.Context, v variant) (path string, err error) {
	path, err = cached(ctx, v)
	if err != nil {
		return "", fmt.Errorf("build version %s: %w", v.kind(), err)
	}
	return path, nil
}

// cached returns the binary that this process got before, or that is in the cache, or
// else builds it.
func cached(ctx context.Context, v variant) (path string, err error) {
	kind := v.kind()
	dir, err := cacheDir("builds")
	if err != nil {
		return "", err
	}
	self, err := tree.Look(os.Getpid())
	if err != nil {
		return "", err
	}
	// A link for each process and version remembers what the process got.
	mine := filepath.Join(dir, fmt.Sprintf("run-%d-%d-%s", self.PID, self.Start, kind))
	if path, err := os.Readlink(mine); err == nil {
		return path, nil
	}
	unlock, err := lock(filepath.Join(dir, "lock"), true)
	if err != nil {
		return "", err
	}
	defer unlock()
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	sum, err := hashSource(root)
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, fmt.Sprintf("baton-%.12x-%s", sum, kind))
	if _, err := os.Stat(path); err != nil {
		dropOld(dir)
		if err := goBuild(ctx, root, v, path); err != nil {
			return "", err
		}
	}
	now := time.Now()
	if err := os.Chtimes(path, now, now); err != nil { // in use: not old
		return "", err
	}
	if err := os.Symlink(path, mine); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return path, nil
}

func goBuild(ctx context.Context, root string, v variant, path string) error {
	args := []string{"build", "-o", path + ".new", "-ldflags", "-X main.version=" + v.version}
	if v.race {
		args = append(args, "-race")
	} else {
		args = append(args, "-pgo=auto") // as "make build", which what tests are built with is not
	}
	if v.tags != "" {
		args = append(args, "-tags", v.tags)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/baton")...)
	cmd.Dir = root
	if !v.race { // likewise; the race detector needs cgo
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run go build: %w\n%s", err, out.Bytes())
	}
	return os.Rename(path+".new", path)
}

// dropOld removes builds that nobody has used for long, and the links of
// processes to them. The lock is held.
func dropOld(dir string) {
	old, _ := filepath.Glob(filepath.Join(dir, "*-*"))
	for _, path := range old {
		if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > keepBuilds {
			os.Remove(path)
		}
	}
}

// moduleRoot returns the closest folder at or above the working directory that
// has a go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find module: %w", err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("find module: no go.mod at or above %s", dir)
		}
	}
}

// hashSource hashes everything a build of cmd/baton may depend on: the Go
// version, go.mod, go.sum, and what is in cmd and internal but tests.
func hashSource(root string) ([]byte, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version())
	add := func(path string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		fmt.Fprintln(h, path)
		_, err = io.Copy(h, f)
		return err
	}
	err := errors.Join(add(filepath.Join(root, "go.mod")), add(filepath.Join(root, "go.sum")))
	if err != nil {
		return nil, fmt.Errorf("hash source: %w", err)
	}
	for _, top := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "testdata" || d.Name() == "testbed"):
				return fs.SkipDir
			case !d.Type().IsRegular() || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			return add(path)
		})
		if err != nil {
			return nil, fmt.Errorf("hash source: %w", err)
		}
	}
	return h.Sum(nil), nil
}

// cacheDir returns a folder that all test programs of this user share.
func cacheDir(name string) (string, error) {
	top := filepath.Join(os.TempDir(), fmt.Sprintf("baton-testbed-%d", os.Getuid()))
	if err := os.Mkdir(top, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	info, err := os.Lstat(top)
	if err != nil {
		return "", err
	}
	// The name can be guessed and the place is open to all: binaries from a
	// folder of somebody else are not run.
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(st.Uid) != os.Getuid() {
		return "", fmt.Errorf("use %s: it belongs to somebody else", top)
	}
	dir := filepath.Join(top, name)
	return dir, os.MkdirAll(dir, 0o700)
}

// lock takes the lock of a file that it creates when it is missing. Without
// wait it returns an error wrapping EWOULDBLOCK when another process has it.
func lock(path string, wait bool) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
