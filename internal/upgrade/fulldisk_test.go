package upgrade_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/upgrade"
)

// A journal that cannot be written any more ends an upgrade that is not committed, is no
// reason not to undo it, and can be written on when there is room again.
func TestJournalOnAFullDisk(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a small disk")
	}
	const page = 4096 // in which the disk is handed out
	for _, tc := range []struct {
		name  string
		room  int    // in the journal
		begun string // that was begun by then, as stdout tells
	}{
		{"from the start", 100, ""},
		{"in between", 1100, "replace"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := commanded(t, kinds()[1])
			s.Sh("mkdir run")
			if err := unix.Mount("tmpfs", s.Path("run"), "tmpfs", 0, "size=64k"); err != nil {
				t.Skipf("mount a small disk: %v", err)
			}
			t.Cleanup(func() { _ = unix.Unmount(s.Path("run"), unix.MNT_DETACH) })
			s.Sh(`sed -i 's,pid logs/nginx.pid;,pid run/server.pid;,' conf/nginx.conf`)
			s.Sh("$P/sbin/nginx -p $P -c $P/conf/nginx.conf -e $P/logs/error.log")
			was := inode(t, s.Binary())
			s.writeJournal(s.Path("run/server.pid.upgrades"), page-tc.room)
			s.Sh("dd if=/dev/zero of=run/fill bs=512 2>/dev/null || true")
			const next = "$BATON upgrade --prefix $P --to $NEW --soak 0 --retry"
			s.wantVerb(next, 1, tc.begun+" .*", `(?is)upgrade failed, the old version serves as before:\n.*no space left on device`)
			if got := inode(t, s.Binary()); got != was {
				t.Errorf("%s is another file now", s.Binary())
			}
			s.wantVerb("$BATON status --prefix $P", 0, `^phase   serving\n`, "^$")
			s.Sh("rm run/fill")
			if interrupted := strings.Contains(s.Sh("$BATON status --prefix $P"), "interrupted"); interrupted != (tc.begun != "") {
				t.Errorf("interrupted = %v, with %q begun", interrupted, tc.begun)
			} else if interrupted {
				s.wantVerb("$BATON rollback --prefix $P", 0, "baton/1.0.0, master .* serves as before", "^$")
			}
			s.wantVerb(next, 0, `commit   the old master \d+ is gone`, "^$")
			past, err := upgrade.History(s.Path("run/server.pid"))
			if err != nil || past[len(past)-1].Outcome != upgrade.Done {
				t.Errorf("history = %v, %v", past, err)
			}
			s.Sh("kill -TERM $(cat run/server.pid)")
			s.WaitShape("")
		})
	}
}

// writeJournal writes a journal of so many bytes that tells of nothing.
func (s *site) writeJournal(path string, size int) {
	s.t.Helper()
	line, err := json.Marshal(map[string]any{"schema": 1, "event": "note", "error": ""})
	if err != nil {
		s.t.Fatal(err)
	}
	line = bytes.Replace(line, []byte(`"error":""`), []byte(`"error":"`+strings.Repeat("x", size-len(line)-1)+`"`), 1)
	if err := os.WriteFile(path, append(line, '\n'), 0o600); err != nil {
		s.t.Fatal(err)
	}
}
