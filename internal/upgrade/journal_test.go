package upgrade

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Only what went back by itself counts as a failure of the build, until that went well.
func TestFailedBefore(t *testing.T) {
	const sum = "abc"
	upgradeOf := func(id, sum string, more ...entry) []entry {
		es := append([]entry{{Event: "open", Record: &record{Checksum: sum}}, {Event: "begin", Step: Replace}}, more...)
		for i := range es {
			es[i].ID, es[i].Time = id, time.Unix(1, 0)
		}
		return es
	}
	failed := entry{Event: "close", Outcome: Failed, Error: "no"}
	for _, tt := range []struct {
		name    string
		entries []entry
		want    string // id of the upgrade
	}{
		{"nothing", nil, ""},
		{"failed", upgradeOf("1", sum, failed), "1"},
		{"another build failed", upgradeOf("1", "def", failed), ""},
		{"failed twice", slices.Concat(upgradeOf("1", sum, failed), upgradeOf("2", sum, failed)), "2"},
		{"interrupted", upgradeOf("1", sum), ""},
		{"went well later", slices.Concat(upgradeOf("1", sum, failed), upgradeOf("2", sum, entry{Event: "close", Outcome: Done})), ""},
		{"went well although it was asked back", slices.Concat(upgradeOf("1", sum, failed),
			upgradeOf("2", sum, entry{Event: "resume", Asked: true}, entry{Event: "close", Outcome: Done})), ""},
		{"asked back", upgradeOf("1", sum, entry{Event: "close", Outcome: Failed, Asked: true}), ""},
		{"asked back, and killed on the way", upgradeOf("1", sum, entry{Event: "failed", Step: Soak, Asked: true}, entry{Event: "resume"}, failed), ""},
		{"failed, and then one was asked back", slices.Concat(upgradeOf("1", sum, failed),
			upgradeOf("2", sum, entry{Event: "close", Outcome: Failed, Asked: true})), "1"},
	} {
		got := ""
		if a := (&journal{entries: tt.entries}).failedBefore(sum); a != nil {
			got = a.id
		}
		if got != tt.want {
			t.Errorf("%s: upgrade %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A line that finds no room is not there at all: what is written later, when there is
// room again, stands in a line of its own.
func TestJournalHasWholeLines(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a small disk")
	}
	const page = 4096 // in which the disk is handed out
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", 2*page)); err != nil {
		t.Skipf("mount a small disk: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	fill, pidFile := filepath.Join(dir, "fill"), filepath.Join(dir, "pid")
	j, err := openJournal(pidFile, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	if err := os.WriteFile(fill, make([]byte, page), 0o600); err != nil {
		t.Fatal(err)
	}
	lines := 0
	for ; j.write(entry{Event: "begin", Step: Soak}) == nil; lines++ {
		if lines > page {
			t.Fatal("a full disk takes everything")
		}
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	if err := j.write(entry{Event: "close"}); err != nil {
		t.Fatal(err)
	}
	entries, err := readJournal(pidFile)
	if err != nil || len(entries) != lines+1 || entries[lines].Event != "close" {
		t.Errorf("read %d entries, %v; want %d and the end", len(entries), err, lines)
	}
}

// What root writes for somebody else's server, that one may read and write on.
func TestJournalBelongsToWhoRunsTheServer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may give files away")
	}
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	pidFile := filepath.Join(dir, "pid")
	if err := os.WriteFile(pidFile, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, pidFile} {
		if err := os.Chown(path, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	var j *journal
	if aerr := actFor(pidFile, func() { j, err = openJournal(pidFile, time.Now()) }); aerr != nil || err != nil {
		t.Fatal(aerr, err)
	}
	defer j.close()
	var st unix.Stat_t
	if err := unix.Stat(pidFile+journalSuffix, &st); err != nil || st.Uid != 65534 || st.Gid != 65534 || st.Mode&0o777 != 0o600 {
		t.Errorf("journal: %v, owner %d:%d, mode %o; want that of the pid file, and 600", err, st.Uid, st.Gid, st.Mode)
	}
}
