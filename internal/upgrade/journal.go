package upgrade

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/proc"
)

// ErrBusy says that somebody else is upgrading the same server.
var ErrBusy = errors.New("another upgrade is under way")

// journalSuffix makes the path of the journal from that of the pid file.
const journalSuffix = ".upgrades"

// An entry is one line of the journal: JSON, and on disk before what it announces
// begins. Each upgrade opens with a record and closes with a result.
type entry struct {
	Schema int       `json:"schema"`
	Time   time.Time `json:"time"`
	ID     string    `json:"id"`    // of the upgrade
	Event  string    `json:"event"` // "open", "resume", "begin", "done", "failed", "close"
	Step   Step      `json:"step,omitempty"`
	Error  string    `json:"error,omitempty"`
	Record *record   `json:"record,omitempty"`
	// Operator is the process that opened or resumed the upgrade, OperatorStart when it
	// was started: it listens to signals.
	Operator      int     `json:"operator,omitempty"`
	OperatorStart uint64  `json:"operator_start,omitempty"`
	Outcome       Outcome `json:"outcome,omitempty"`
	// Asked: an operator asked for the way back. That says nothing about the build.
	Asked bool `json:"asked,omitempty"`
}

// A record is all that is needed to go on with an upgrade, or to undo it, from
// nothing but the journal.
type record struct {
	To         string `json:"to"`
	Checksum   string `json:"checksum"` // SHA-256 of the new binary
	OldVersion string `json:"old_version"`
	NewVersion string `json:"new_version"`
	Binary     string `json:"binary"` // the file that is replaced
	Backup     string `json:"backup"` // where the old one is kept
	// Link is the link that is moved, and nothing is copied: from where to where. "" when
	// the file itself is replaced.
	Link     string `json:"link,omitempty"`
	LinkFrom string `json:"link_from,omitempty"`
	LinkTo   string `json:"link_to,omitempty"`
	// AsIs: the new binary lies where it belongs, and it is for others to put it there and
	// to take it away.
	AsIs bool `json:"as_is,omitempty"`

	OldMaster  int    `json:"old_master"`
	OldStart   uint64 `json:"old_start"` // in clock ticks after boot: tells it from a later process
	OldWorkers int    `json:"old_workers"`

	// As the command was told; a command that goes on does the same.
	Probes      []string `json:"probes,omitempty"`
	SoakSeconds float64  `json:"soak_seconds,omitempty"`
}

// inPlace reports whether no file is copied: the new binary lies where it is executed.
func (r *record) inPlace() bool { return r.Link != "" || r.AsIs }

// believed finds that r names other files than an upgrade of binary would: the file that
// the master executes, behind all links, as found is. Whoever could write the journal could
// name any. With "" for binary, when nothing runs, what is known is that they lie together.
func (r *record) believed(binary, found string) error {
	switch {
	case r.AsIs && (found == "" || r.Binary == found):
		return nil
	case r.Link != "" && (binary == "" || r.Binary == binary && leadsBy(binary, r.Link)):
		return nil
	case r.Link == "" && !r.AsIs && (found == "" || r.Binary == found) && filepath.IsAbs(r.Binary) &&
		filepath.Dir(r.Backup) == filepath.Dir(r.Binary) && strings.HasPrefix(r.Backup, r.Binary+"."):
		return nil
	}
	return fmt.Errorf("the journal tells of an upgrade of %s, kept as %s: that is not the binary of this server, and not believed", r.Binary, r.Backup)
}

// leadsBy reports whether the link at path is on the way to a file.
func leadsBy(file, path string) bool {
	links, _, err := wayTo(file)
	return err == nil && slices.ContainsFunc(links, func(l link) bool { return l.path == path })
}

// A journal is the file that upgrades of one server are written to. Whoever holds it
// open holds its lock: nobody else upgrades the server meanwhile.
type journal struct {
	f       *os.File
	id      string
	entries []entry // that were there when it was opened
}

// openJournal takes the lock, or fails with [ErrBusy].
func openJournal(pidFile string, now time.Time) (*journal, error) {
	f, err := openOrCreate(pidFile)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &journal{f: f, id: now.UTC().Format("20060102T150405.000")}
	// Not f.Fd, which would make a pipe block that somebody has put there.
	fd, err := proc.FD(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock journal: %w", err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: somebody holds %s", ErrBusy, f.Name())
		}
		return nil, fmt.Errorf("lock journal: %w", err)
	}
	if !isNow(f, pidFile+journalSuffix) {
		f.Close() // whoever had it found nothing to keep in it, and removed it
		return openJournal(pidFile, now)
	}
	if err := j.load(); err != nil {
		f.Close()
		return nil, err
	}
	return j, nil
}

// openOrCreate opens the file. A new one belongs to whoever runs the server, since all
// that is done has no other rights: what root upgrades once its own user looks at and
// upgrades later.
func openOrCreate(pidFile string) (*os.File, error) {
	const flags = os.O_RDWR | os.O_APPEND | unix.O_NOFOLLOW
	f, err := os.OpenFile(pidFile+journalSuffix, flags|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		// Somebody else may have put it there: nothing about it is changed.
		f, err = proc.OpenRegular(pidFile+journalSuffix, flags)
		if isMissing(err) {
			return openOrCreate(pidFile) // whoever had it found nothing to keep in it
		}
	}
	return f, err
}

// maxJournal is more than a journal has: an upgrade takes some kilobytes of it.
const maxJournal = 16 << 20

// readTrusted reads a journal that is open. What it says is believed only when nobody has
// written it but root and the user with whose rights it is read.
func readTrusted(f *os.File) ([]byte, error) {
	text, owner, err := proc.ReadOpen(f, maxJournal)
	if err == nil && owner != 0 && owner != os.Geteuid() {
		err = fmt.Errorf("%s belongs to user %d: it is not believed", f.Name(), owner)
	}
	return text, err
}

// load reads what earlier upgrades wrote. A last line without an end was being
// written when its writer was killed: what it announced had not begun, and it goes.
func (j *journal) load() error {
	text, err := readTrusted(j.f)
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	whole := bytes.LastIndexByte(text, '\n') + 1
	if whole < len(text) {
		if err := j.f.Truncate(int64(whole)); err != nil {
			return fmt.Errorf("mend journal: %w", err)
		}
	}
	if j.entries, err = parseJournal(text[:whole]); err != nil {
		return fmt.Errorf("read journal %s: %w", j.f.Name(), err)
	}
	return nil
}

// parseJournal reads whole lines.
func parseJournal(text []byte) (entries []entry, err error) {
	for line := range bytes.Lines(text) {
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// readJournal reads the journal without the lock: its last line may be half written,
// and is left out then.
func readJournal(pidFile string) ([]entry, error) {
	f, err := proc.OpenRegular(pidFile+journalSuffix, os.O_RDONLY|unix.O_NOFOLLOW)
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	defer f.Close()
	text, err := readTrusted(f)
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	entries, err := parseJournal(text[:bytes.LastIndexByte(text, '\n')+1])
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return entries, nil
}

// isNow reports whether path still leads to the file that is open as f.
func isNow(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Stat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// An account is one upgrade in the journal.
type account struct {
	record  record
	id      string
	begun   []Step    // in order
	opened  time.Time // when it was begun
	closed  time.Time // zero: it was interrupted, or runs
	outcome Outcome   // when it is closed
	err     string
	asked   bool // it went back because an operator asked for that
	// operator is the process that runs it, or ran it last.
	operator process
}

// accounts gathers the upgrades in a journal, oldest first.
func accounts(entries []entry) (all []*account) {
	var a *account
	for _, e := range entries {
		if e.Record != nil {
			a = &account{record: *e.Record, id: e.ID, opened: e.Time}
			all = append(all, a)
		}
		if a == nil || a.id != e.ID {
			continue // a file that somebody cut
		}
		if e.Operator != 0 {
			a.operator = process{pid: e.Operator, start: e.OperatorStart}
		}
		a.asked = a.asked || e.Asked
		switch e.Event {
		case "begin":
			a.begun = append(a.begun, e.Step)
		case "close":
			a.closed, a.outcome, a.err = e.Time, e.Outcome, e.Error
		}
	}
	return all
}

// last returns the newest upgrade, or nil.
func last(entries []entry) *account {
	all := accounts(entries)
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

// write appends an entry and returns when it is on disk.
func (j *journal) write(e entry) error {
	e.Schema, e.Time, e.ID = Schema, time.Now(), j.id
	if e.Event == "open" || e.Event == "resume" {
		self, err := readStat(os.Getpid())
		if err != nil {
			return fmt.Errorf("write journal: %w", err)
		}
		e.Operator, e.OperatorStart = self.pid, self.start
	}
	line, err := json.Marshal(e)
	if err == nil {
		err = j.append(append(line, '\n'))
	}
	if err == nil && e.Event == "open" {
		err = syncFolder(filepath.Dir(j.f.Name())) // it may have just been created
	}
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return nil
}

// append adds a line, whole or, when there is no room for it, not at all: the next one
// would be a part of it.
func (j *journal) append(line []byte) error {
	fi, err := j.f.Stat()
	if err != nil {
		return err
	}
	if _, err = j.f.Write(line); err == nil {
		err = j.f.Sync()
	}
	if err != nil {
		err = errors.Join(err, j.f.Truncate(fi.Size()))
	}
	return err
}

// failedBefore returns the last upgrade to the binary of this checksum, if it failed by
// itself.
func (j *journal) failedBefore(checksum string) (failed *account) {
	for _, a := range accounts(j.entries) {
		switch {
		case a.record.Checksum != checksum || a.closed.IsZero():
		case a.outcome == Done:
			failed = nil
		case a.asked:
		default:
			failed = a
		}
	}
	return failed
}

// close gives the lock back. A journal with nothing in it goes.
func (j *journal) close() {
	if fi, err := j.f.Stat(); err == nil && fi.Size() == 0 {
		os.Remove(j.f.Name())
	}
	// Closing alone gives it back only when no process has a copy of the descriptor,
	// and one that was just forked has it until it executes something.
	if fd, err := proc.FD(j.f); err == nil {
		_ = unix.Flock(fd, unix.LOCK_UN) // closing follows
	}
	j.f.Close()
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
