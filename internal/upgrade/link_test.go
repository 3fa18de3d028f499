package upgrade_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/upgrade"
)

// releases makes of a site one with release folders, by a link to the folder or to the file,
// and returns the names of both releases' binaries.
func (s *site) releases(byFile bool) (names [2]string) {
	s.t.Helper()
	names = [2]string{"releases/1/nginx", "releases/2/nginx"}
	s.Setenv("NEW", s.new)
	if byFile {
		names = [2]string{"sbin/nginx-1", "sbin/nginx-2"}
		s.Sh("mv sbin/nginx sbin/nginx-1 && cp $NEW sbin/nginx-2 && ln -s nginx-1 sbin/nginx")
		return names
	}
	s.Sh("mkdir -p releases/1 releases/2 && mv sbin/nginx releases/1/nginx && cp $NEW releases/2/nginx")
	s.Sh("ln -s $P/releases/1 current && ln -s ../current/nginx sbin/nginx")
	return names
}

// Releases that lie beside each other are what they were, and a link leads to one of them:
// forth, back, back when the upgrade fails, and when somebody has moved the link before.
func TestReleaseFolders(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		byFile bool
		kind   kind
	}{{"folder/baton", false, kinds()[1]}, {"folder/nginx", false, kinds()[0]}, {"file/baton", true, kinds()[1]}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, tc.kind)
			names := s.releases(tc.byFile)
			inodes := [2]uint64{inode(t, s.Path(names[0])), inode(t, s.Path(names[1]))}
			s.start("$P/sbin/nginx")
			check := func(what string, n int) {
				t.Helper()
				if got := inode(t, s.Path("sbin/nginx")); got != inodes[n] {
					t.Errorf("%s: sbin/nginx is not release %d", what, n+1)
				}
				st := s.waitPhase(upgrade.Serving)
				if g := st.Generations[0]; g.File != "same" {
					t.Errorf("%s: what runs is not what sbin/nginx leads to: %+v", what, g)
				}
				for i, name := range names {
					if inode(t, s.Path(name)) != inodes[i] {
						t.Errorf("%s: %s is another file", what, name)
					}
				}
				files, err := filepath.Glob(s.Path(filepath.Dir(names[0]), "*"))
				if want := map[bool]int{true: 3, false: 1}[tc.byFile]; err != nil || len(files) != want {
					t.Errorf("%s: beside the old release are %q, %v", what, files, err)
				}
			}
			done := func(what string, n int, outcome upgrade.Outcome, err error) {
				t.Helper()
				if outcome != upgrade.Done || err != nil {
					t.Fatalf("%s: %s, %v", what, outcome, err)
				}
				check(what, n)
			}
			outcome, err := s.upgrade(s.Path(names[1]), func(o *upgrade.Options) { o.ReadyTimeout = time.Nanosecond })
			if outcome == upgrade.Done { // likewise
				outcome, err = upgrade.Rollback(t.Context(), upgrade.Options{PidFile: s.PIDFile(), Pace: quick})
				done("rollback", 0, outcome, err)
			} else if outcome != upgrade.Failed || err == nil {
				t.Fatalf("upgrade that fails: %s, %v", outcome, err)
			}
			check("upgrade that fails", 0)
			outcome, err = s.upgrade(s.Path(names[1]), nil)
			done("upgrade", 1, outcome, err)
			outcome, err = upgrade.Rollback(t.Context(), upgrade.Options{PidFile: s.PIDFile(), Pace: quick})
			done("rollback", 0, outcome, err)
			link := s.Path("sbin/nginx")
			if !tc.byFile {
				link = s.Path("current")
			}
			text, err := os.Readlink(link)
			if err != nil {
				t.Fatal(err)
			}
			s.Setenv("LINK", link)
			s.Setenv("TEXT", text[:len(text)-1]+"2")
			s.Sh("ln -sfn $TEXT $LINK")
			outcome, err = s.upgrade(s.Path("sbin/nginx"), func(o *upgrade.Options) { o.ReadyTimeout = time.Nanosecond })
			if outcome == upgrade.Done { // it was ready by the first look
				outcome, err = upgrade.Rollback(t.Context(), upgrade.Options{PidFile: s.PIDFile(), Pace: quick})
				done("rollback of a link that was moved", 0, outcome, err)
			} else if outcome != upgrade.Failed || err == nil {
				t.Fatalf("upgrade that fails, of a link that was moved: %s, %v", outcome, err)
			}
			check("upgrade that fails, of a link that was moved", 0)
			s.Sh("ln -sfn $TEXT $LINK")
			outcome, err = s.upgrade(s.Path("sbin/nginx"), nil)
			done("upgrade of a link that was moved", 1, outcome, err)
			s.stop()
		})
	}
}

// What runs already is not upgraded to.
func TestSameBuildIsUnchanged(t *testing.T) {
	t.Parallel()
	s := newSite(t, kinds()[1])
	master := s.start("$P/sbin/nginx")
	was := s.remember(master)
	for _, to := range []string{s.kind.old(t), s.Binary()} {
		if outcome, err := s.upgrade(to, nil); outcome != upgrade.Unchanged || err != nil || upgrade.ExitStatus(outcome, err) != 0 {
			t.Errorf("upgrade to %s: %s, %v; want unchanged", to, outcome, err)
		}
	}
	s.wantAsBefore(was)
	s.stop()
}

// The folder that a server was started in may be gone by the time it is upgraded.
func TestWorkingFolderIsRemoved(t *testing.T) {
	eachKind(t, func(t *testing.T, s *site) {
		s.start("mkdir $P/release; cd $P/release; $P/sbin/nginx")
		s.Sh("rmdir release")
		if outcome, err := s.upgrade(s.new, nil); outcome != upgrade.Done || err != nil {
			t.Errorf("upgrade: %s, %v; want committed", outcome, err)
		}
		s.stop()
	})
}

// A server whose pid file is lost is found by its socket, and is told of as one that runs.
func TestPidFileIsLost(t *testing.T) {
	t.Parallel()
	s := commanded(t, kinds()[1])
	master := s.start("$P/sbin/nginx")
	for _, lose := range []string{"rm logs/nginx.pid", ": >logs/nginx.pid", "echo 4194303 >logs/nginx.pid", "echo $$ >logs/nginx.pid"} {
		s.Sh(lose)
		st, err := upgrade.Look(t.Context(), s.PIDFile())
		if err != nil || !st.PidFileLost || st.Generations[0].Master != master || st.Phase != upgrade.Serving {
			t.Fatalf("%s: status %+v, %v", lose, st, err)
		}
		for _, verb := range []string{"upgrade --soak 0 --to $NEW", "rollback", "commit", "upgrade --resume"} {
			s.wantVerb("$BATON "+verb+" --pid-file logs/nginx.pid", 1, "^$", `but master \d+ has its socket beside it and runs: "echo \d+ > /\S+" writes the pid file again$`)
		}
		s.Sh(st.Next[0].Command)
		if st := s.look(); st.PidFileLost || st.Generations[0].Master != master {
			t.Errorf("%s: after %q: %+v", lose, st.Next[0].Command, st)
		}
	}
	s.stop()
}

// Of nginx, which has no socket, status tells which masters may be meant.
func TestPidFileOfNginxIsLost(t *testing.T) {
	t.Parallel()
	s := commanded(t, kinds()[0])
	master := s.start("$P/sbin/nginx")
	s.Sh("mv logs/nginx.pid logs/kept")
	s.wantVerb("$BATON status --pid-file logs/nginx.pid", 3, "^$", `^\S+: nothing is running there: .*; master \d+ \(nginx: master process .*"echo \d+ > /\S+" writes the pid file again$`)
	s.Sh("mv logs/kept logs/nginx.pid")
	if s.Pid() != master {
		t.Error("the master is another one")
	}
	s.stop()
}
