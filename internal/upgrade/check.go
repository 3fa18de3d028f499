package upgrade

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/proc"
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
	op.log, op.before = findErrorLog(op.old.process), op.old.answersSoFar(ctx)
	if s.phase() != Serving {
		return "", fmt.Errorf("master %d has no workers that serve", op.old.pid)
	}
	if r := op.old.report; r != nil && len(r.Changed) > 0 {
		op.note("the new version loads what master %d has not: %s changed since. A reload tells first whether that serves",
			op.old.pid, strings.Join(r.Changed, ", "))
	}
	to, err := op.lookAtBoth(ctx)
	if err != nil {
		return "", err
	}
	if op.same = op.unchanged(); op.same {
		return fmt.Sprintf("unchanged: master %d, %s, runs this build already", op.old.pid, op.record.OldVersion), nil
	}
	for _, look := range []func(context.Context) error{
		op.checkDisk, op.checkHistory, op.checkStaged, op.checkModules, op.checkMemory, op.checkConfig, op.checkProbes,
	} {
		if err := look(ctx); err != nil {
			return "", err
		}
	}
	if r := &op.record; op.o.DryRun && r.Link != "" {
		return fmt.Sprintf("master %d, %s, would become %s; %s would lead to %s", op.old.pid, r.OldVersion, r.NewVersion, r.Link, r.LinkTo), nil
	}
	if op.o.DryRun {
		return fmt.Sprintf("master %d, %s, would become %s; %s would be replaced by %s",
			op.old.pid, op.record.OldVersion, op.record.NewVersion, op.record.Binary, to), nil
	}
	return fmt.Sprintf("master %d, %s, can become %s", op.old.pid, op.record.OldVersion, op.record.NewVersion), nil
}

// lookAtBoth learns all about the running binary and the new one, which it stages, and
// fills in the record. It returns the new one's path.
func (op *operation) lookAtBoth(ctx context.Context) (to string, err error) {
	if to, err = filepath.Abs(op.o.To); err != nil {
		return "", err
	}
	op.o.To = to
	if op.fresh == nil {
		if op.fresh, err = proc.OpenRegular(to, os.O_RDONLY); err != nil {
			return "", fmt.Errorf("look at the new binary: %w%s", err, op.whoReads(err))
		}
	}
	if err := op.checkBinary(); err != nil {
		return "", err
	}
	r := &op.record
	r.To, r.OldMaster, r.OldStart, r.OldWorkers = to, op.old.pid, op.old.start, op.old.serving()
	r.Probes, r.SoakSeconds = op.o.Probes, op.o.Soak.Seconds()
	if r.OldVersion = op.old.version; r.OldVersion == "" {
		return "", fmt.Errorf("master %d does not tell its version (%s -v)", op.old.pid, op.old.exe)
	}
	if r.Checksum, err = sumOf(op.fresh); err != nil {
		return "", err
	}
	if err := op.findPlace(); err != nil {
		return "", err
	}
	if op.wanted, err = listenersOf(op.old); err != nil {
		return "", err
	}
	op.pidMark, err = markOf(op.o.PidFile)
	return to, err
}

// whoReads says with whose rights a file could not be opened, when these are not those of
// whoever runs this.
func (op *operation) whoReads(err error) string {
	uid := os.Geteuid()
	own := uid
	proc.Aside(func() { own = os.Geteuid() })
	if own == uid || !errors.Is(err, fs.ErrPermission) {
		return ""
	}
	return fmt.Sprintf(" (as user %d, whose server it is)", uid)
}

// findPlace finds out what is to be replaced, and how: the file behind all links, or one of
// the links; or nothing, when the new binary is there already and the folder is not for us.
func (op *operation) findPlace() error {
	r := &op.record
	found, err := op.findBinary()
	if err != nil {
		return err
	}
	to, err := filepath.EvalSymlinks(op.o.To)
	if err != nil {
		to = op.o.To // it is open, and need not be within reach
	}
	r.Binary, r.Backup, r.Link, r.AsIs = found, "", "", false
	if op.planLink(to) {
		return nil
	}
	if err := unix.Faccessat(unix.AT_FDCWD, filepath.Dir(found), unix.W_OK|unix.X_OK, 0); os.Geteuid() != 0 && err != nil {
		if !sameFile(to, found) {
			return fmt.Errorf("user %d, whose server it is, may not write to %s: put the new one there as whoever may (%s), then give --to %s",
				os.Geteuid(), filepath.Dir(found), command("cp", "-f", op.o.To, found), shellWord(found))
		}
		r.AsIs = true
		return nil
	}
	if found != op.old.binary {
		op.note("%s leads to %s: that file is replaced", op.old.binary, found)
	}
	r.Backup, err = planBackup(found, op.old.imagePath(), r.OldVersion)
	return err
}

// unchanged reports whether the new binary is what runs, and what will be executed next.
func (op *operation) unchanged() bool {
	sum, err := checksum(op.old.imagePath())
	return err == nil && sum == op.record.Checksum && op.old.runs(op.old.binary) &&
		(op.record.Link == "" || op.record.LinkTo == op.record.LinkFrom)
}

// findBinary returns the file that the running master executes, behind all links.
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
	if !op.old.runs(path) {
		op.note("%s is not what runs: it was replaced since master %d was started", path, op.old.pid)
	}
	return path, nil
}

// checkBinary finds that the new binary cannot be executed on this machine, as running can.
func (op *operation) checkBinary() error {
	path := op.o.To
	fi, err := op.fresh.Stat()
	if err != nil {
		return fmt.Errorf("look at the new binary: %w", err)
	}
	if fi.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is not executable: chmod +x it", path)
	}
	ours, err := machine(op.old.imagePath())
	if err != nil {
		return fmt.Errorf("look at %s: %w", op.old.exe, err)
	}
	theirs, err := machineOf(op.fresh)
	if err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if ours != theirs {
		return fmt.Errorf("%s is for another machine: %s, and here is %s", path, theirs, ours)
	}
	return nil
}

func machine(path string) (string, error) {
	f, err := proc.OpenRegular(path, os.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return machineOf(f)
}

func machineOf(r io.ReaderAt) (string, error) {
	f, err := elf.NewFile(r)
	var format *elf.FormatError
	if errors.As(err, &format) {
		return "", fmt.Errorf("it is no program: %w", err)
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%v %v", f.Machine, f.Class), nil
}

// checkStaged puts the new binary beside the place that it is for, and asks it there what
// it is.
func (op *operation) checkStaged(ctx context.Context) (err error) {
	r := &op.record
	if !r.inPlace() {
		if op.staged, err = stage(op.fresh, r.Binary, op.old.imagePath(), r.Checksum); err != nil {
			return err
		}
	}
	r.NewVersion, err = askVersion(ctx, op.stagedPath(), op.o.To)
	return err
}

// stagedPath is where the new binary is before it is in its place.
func (op *operation) stagedPath() string {
	if op.staged == "" {
		return op.o.To
	}
	return op.staged
}

// checkModules finds that the new binary lacks modules that the old one has.
func (op *operation) checkModules(ctx context.Context) error {
	old, err := modulesOf(ctx, op.old.imagePath(), op.old.exe)
	if err != nil {
		return err
	}
	have, err := modulesOf(ctx, op.stagedPath(), op.o.To)
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

func modulesOf(ctx context.Context, path, name string) (modules, error) {
	out, err := ask(ctx, run{path: path, argv: []string{name, "-V"}, dir: "/", env: cleanEnv(), patience: askPatience})
	if err != nil {
		return modules{}, fmt.Errorf("run %s -V: %w%s", name, err, quoted(out))
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

// checkConfig has the new binary test the configuration, with the options of the running
// master, from the place where it will lie.
func (op *operation) checkConfig(ctx context.Context) error {
	running := op.old.imagePath()
	if same, err := filepath.EvalSymlinks(op.o.To); err == nil && same == op.record.Binary && !sameCapabilities(running, same) {
		op.note("%s has lost the file capabilities that the running one has, or has others: it gets those of the running one", same)
	} else if op.record.inPlace() && !sameCapabilities(running, op.o.To) {
		op.note("%s does not have the file capabilities that the running one has, or has others", op.o.To)
	}
	env := op.old.env
	if len(env) == 0 {
		env = cleanEnv() // the master wrote over its own
	}
	// It looks up all names that the configuration has, as the start does.
	test := run{path: op.stagedPath(), argv: append(slices.Clone(op.old.argv), "-t"), dir: workingFolder(op.old.dir), env: plainEnv(env),
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

// workingFolder returns where a command for a master of this folder runs: there, or in the
// root folder when it was removed, as a release's folder is after a while. A server whose
// names are absolute does not need it.
func workingFolder(dir string) string {
	if _, err := os.Stat(dir); err != nil {
		return "/"
	}
	return dir
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
