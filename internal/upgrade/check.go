package upgrade

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// check looks whether the upgrade can work, and stages the new binary.
func (op *operation) check(ctx context.Context) (string, error) {
	s, err := examine(ctx, op.o.PidFile)
	if err != nil {
		return "", err
	}
	if s.phase() == Committed {
		return "", fmt.Errorf("%w: it is committed, and the old master %d finishes what it has (%s ends that)", ErrBusy, s.old.pid, s.old.endDrain())
	}
	if s.old != nil {
		return "", fmt.Errorf("%w: masters %d and %d run (%s)", ErrBusy, s.old.pid, s.new.pid, s.phase())
	}
	op.old = s.new
	op.log, op.before = findErrorLog(op.old.pid), op.old.answersSoFar(ctx)
	if s.phase() != Serving {
		return "", fmt.Errorf("master %d has no workers that serve", op.old.pid)
	}
	to, err := op.lookAtBoth(ctx)
	if err != nil {
		return "", err
	}
	for _, look := range []func(context.Context) error{
		op.checkModules, op.checkMemory, op.checkDisk, op.checkHistory, op.checkConfig, op.checkProbes,
	} {
		if err := look(ctx); err != nil {
			return "", err
		}
	}
	if op.o.DryRun {
		return fmt.Sprintf("master %d, %s, would become %s; %s would be replaced by %s",
			op.old.pid, op.record.OldVersion, op.record.NewVersion, op.record.Binary, to), nil
	}
	return fmt.Sprintf("master %d, %s, can become %s", op.old.pid, op.record.OldVersion, op.record.NewVersion), nil
}

// lookAtBoth learns all about the running binary and the new one, and fills in the
// record. It returns the new one's path.
func (op *operation) lookAtBoth(ctx context.Context) (to string, err error) {
	if to, err = filepath.Abs(op.o.To); err != nil {
		return "", err
	}
	op.o.To = to
	if err := checkBinary(to, procPath(op.old.pid, "exe")); err != nil {
		return "", err
	}
	r := &op.record
	r.To, r.OldMaster, r.OldStart, r.OldWorkers = to, op.old.pid, op.old.start, op.old.serving()
	r.Probes, r.SoakSeconds = op.o.Probes, op.o.Soak.Seconds()
	if r.OldVersion = op.old.version; r.OldVersion == "" {
		return "", fmt.Errorf("master %d does not tell its version (%s -v)", op.old.pid, op.old.exe)
	}
	if r.NewVersion, err = askVersion(ctx, to, to); err != nil {
		return "", err
	}
	if r.Checksum, err = checksum(to); err != nil {
		return "", err
	}
	if r.Binary, err = op.findBinary(); err != nil {
		return "", err
	}
	if r.Backup, err = planBackup(r.Binary, procPath(op.old.pid, "exe"), r.OldVersion); err != nil {
		return "", err
	}
	if op.wanted, err = listenersOf(op.old); err != nil {
		return "", err
	}
	op.pidMark, err = markOf(op.o.PidFile)
	return to, err
}

// findBinary returns the file that is to be replaced: behind all links the one that
// the running master executes.
func (op *operation) findBinary() (string, error) {
	path, err := filepath.EvalSymlinks(op.old.binary)
	if isMissing(err) {
		return "", fmt.Errorf("master %d was started as %q in %s, so USR2 executes %s, which is not there: start it by its full path",
			op.old.pid, op.old.argv[0], op.old.dir, op.old.binary)
	}
	if err != nil {
		return "", err
	}
	if argv0 := op.old.argv[0]; argv0 != op.old.binary {
		op.note("master %d was started as %q in %s: what it executes is %s", op.old.pid, argv0, op.old.dir, op.old.binary)
	}
	if path != op.old.binary {
		op.note("%s leads to %s: that file is replaced", op.old.binary, path)
	}
	if !op.old.runs(path) {
		op.note("%s is not what runs: it was replaced since master %d was started", path, op.old.pid)
	}
	return path, nil
}

// checkBinary finds that path cannot be executed on this machine, as running can.
func checkBinary(path, running string) error {
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("look at the new binary: %w", err)
	case !fi.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file", path)
	}
	if err := unix.Access(path, unix.X_OK); err != nil || fi.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is not executable: chmod +x it", path)
	}
	ours, err := machine(running)
	if err != nil {
		return fmt.Errorf("look at %s: %w", running, err)
	}
	theirs, err := machine(path)
	if err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if ours != theirs {
		return fmt.Errorf("%s is for another machine: %s, and here is %s", path, theirs, ours)
	}
	return nil
}

func machine(path string) (string, error) {
	f, err := elf.Open(path)
	var format *elf.FormatError
	if errors.As(err, &format) {
		return "", fmt.Errorf("it is no program: %w", err)
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	return fmt.Sprintf("%v %v", f.Machine, f.Class), nil
}

// checkModules finds that the new binary lacks modules that the old one has.
func (op *operation) checkModules(ctx context.Context) error {
	old, err := modulesOf(ctx, procPath(op.old.pid, "exe"))
	if err != nil {
		return err
	}
	have, err := modulesOf(ctx, op.o.To)
	if err != nil {
		return err
	}
	var lacks []string
	for m := range old.with {
		if !have.with[m] {
			lacks = append(lacks, m)
		}
	}
	for m := range have.without {
		if !old.without[m] {
			lacks = append(lacks, m)
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	slices.Sort(lacks)
	if op.o.AllowMissingModules {
		op.note("the new binary lacks %s", strings.Join(lacks, ", "))
		return nil
	}
	return fmt.Errorf("the new binary lacks %s, which the running one has; --allow-missing-modules accepts that", strings.Join(lacks, ", "))
}

// modules are those that a build names: what it has besides the usual ones, and what
// of these it has not.
type modules struct{ with, without map[string]bool }

func modulesOf(ctx context.Context, path string) (modules, error) {
	out, err := ask(ctx, run{path: path, argv: []string{path, "-V"}, env: plainEnv(os.Environ()), patience: askPatience})
	if err != nil {
		return modules{}, fmt.Errorf("run %s -V: %w%s", path, err, quoted(out))
	}
	return parseModules(out), nil
}

// parseModules reads the arguments of configure that -V prints.
func parseModules(out string) modules {
	m := modules{map[string]bool{}, map[string]bool{}}
	for word := range strings.FieldsSeq(out) {
		option, value, _ := strings.Cut(word, "=") // =dynamic, or a folder
		with, isWith := strings.CutPrefix(option, "--with-")
		without, isWithout := strings.CutPrefix(option, "--without-")
		switch {
		case isWithout:
			m.without[without] = true
		case isWith && (strings.HasSuffix(with, "_module") || with == "stream" || with == "mail"):
			m.with[with] = true
		case option == "--add-module" || option == "--add-dynamic-module":
			// The folder has the module's name, and often its version, which may change.
			m.with[folderVersion.ReplaceAllString(filepath.Base(value), "")] = true
		}
	}
	return m
}

var folderVersion = regexp.MustCompile(`-v?[0-9][0-9A-Za-z._]*$`)

// checkHistory refuses a build that has failed here.
func (op *operation) checkHistory(context.Context) error {
	if op.journal == nil || op.o.Retry {
		return nil
	}
	if a := op.journal.failedBefore(op.record.Checksum); a != nil {
		return fmt.Errorf("this build failed here on %s (%s); --retry tries it again", a.closed.Format(time.DateTime), a.err)
	}
	return nil
}

// checkConfig stages the new binary and has it test the configuration, with the
// options of the running master, from the place where it will lie.
func (op *operation) checkConfig(ctx context.Context) error {
	var err error
	running := procPath(op.old.pid, "exe")
	if op.staged, err = stage(op.o.To, op.record.Binary, running, op.record.Checksum); err != nil {
		return err
	}
	if same, err := filepath.EvalSymlinks(op.o.To); err == nil && same == op.record.Binary && !sameCapabilities(running, same) {
		op.note("%s has lost the file capabilities that the running one has, or has others: it gets those of the running one", same)
	}
	env := op.old.env
	if len(env) == 0 {
		env = os.Environ() // the master wrote over its own
	}
	// It looks up all names that the configuration has, as the start does.
	test := run{path: op.staged, argv: append(slices.Clone(op.old.argv), "-t"), dir: op.old.dir, env: plainEnv(env),
		patience: max(askPatience, op.o.ReadyTimeout)}
	out, err := ask(ctx, test)
	if err != nil {
		return fmt.Errorf("the new binary does not take the configuration: -t: %w\n%s", err, lastWords(out))
	}
	// A build may have another place for it built in.
	reads := testedFile(out)
	test.path = running
	// What is on disk may be for the new one only: then the old one does not tell.
	out, _ = ask(ctx, test)
	if is := testedFile(out); is != "" && reads != "" && !sameFile(is, reads) {
		return fmt.Errorf("the new binary would read %s, and the running one has read %s: "+
			"build it for the same paths, or start the server with -p and -c", reads, is)
	}
	return nil
}

var testedLine = regexp.MustCompile(`configuration file (.+) test is successful`)

// testedFile returns the configuration that -t has tested; "" when it does not tell.
func testedFile(out string) string {
	if m := testedLine.FindStringSubmatch(out); m != nil {
		return m[1]
	}
	return ""
}

// sameFile reports whether two paths lead to one file.
func sameFile(a, b string) bool {
	x, errX := identify(a)
	y, errY := identify(b)
	return a == b || errX == nil && errY == nil && x == y
}

// checkProbes makes sure that a probe that fails later means something.
func (op *operation) checkProbes(ctx context.Context) error {
	if err := probe(ctx, op.o.Probes); err != nil {
		return fmt.Errorf("before anything was done: %w", err)
	}
	return nil
}

func (op *operation) unstage() {
	if op.staged != "" {
		os.Remove(op.staged)
		op.staged = ""
	}
}

// keepStranger gives a file a second name, unless it is the new binary.
func keepStranger(path, newSum string) error {
	sum, err := checksum(path)
	if err != nil || sum == newSum {
		return err
	}
	if err := os.Link(path, path+"."+sum[:8]); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("keep %s, which is not what runs: %w", path, err)
	}
	return nil
}
