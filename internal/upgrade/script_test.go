package upgrade_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/tree"
	"github.com/baton-deploy/baton/internal/upgrade"
)

// What each verb prints, and its exit statuses, are specified by the scripts in
// testdata/script, for each kind of server. With -update they are written anew.
//
//	serve ARGV0             start the server, from the folder of its binary
//	verb STATUS ARGS        run baton in the prefix; it must exit with STATUS
//	begin ARGS              the same, without waiting for its end ...
//	says TEXT               ... until it has printed TEXT ...
//	ends STATUS             ... until it ends
//	sh SCRIPT               run a shell script in the prefix; it must succeed
//	phase PHASE             wait until status tells it; - stands for a blank
//	pretend ROLE            make $BAD a binary that does what ROLE says
//	faulty                  make verb and begin run a build with fault points
//
// What differs from run to run is replaced before it is compared: process ids, times,
// paths.
func TestScripts(t *testing.T) {
	t.Parallel()
	for _, k := range kinds() {
		files, err := filepath.Glob(filepath.Join("testdata", "script", k.name, "*.txtar"))
		if err != nil || len(files) == 0 {
			t.Fatalf("scripts for %s: %v, %v", k.name, files, err)
		}
		for _, file := range files {
			t.Run(k.name+"/"+strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
				t.Parallel()
				s := &scripted{site: newSite(t, k)}
				s.Sh("ln -s " + testbed.PlainFor(t, newVersion) + " baton")
				testscript.Run(t, testscript.Params{
					Files: []string{file}, Setup: s.setup, Cmds: s.commands(),
					RequireUniqueNames: true, UpdateScripts: flag.Lookup("update").Value.String() == "true",
				})
			})
		}
	}
}

// A scripted site is one that a script works on.
type scripted struct {
	*site
	under *tree.Proc // what begin started
}

func (s *scripted) setup(e *testscript.Env) error {
	e.Vars = append(e.Vars, "P="+s.Dir, "NEW="+s.new, "ADDR="+s.Addr)
	e.Defer(func() { // whatever is left
		if pid, err := s.PID(); err == nil {
			s.TrySh(fmt.Sprintf("kill -TERM %d", pid))
		}
		if pid, err := s.OldPID(); err == nil {
			s.TrySh(fmt.Sprintf("kill -TERM %d", pid))
		}
		s.WaitShape("")
	})
	return nil
}

func (s *scripted) commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"serve":   func(_ *testscript.TestScript, _ bool, args []string) { s.start(args[0]) },
		"sh":      func(_ *testscript.TestScript, _ bool, args []string) { s.Sh(strings.Join(args, " ")) },
		"verb":    s.verb,
		"begin":   func(ts *testscript.TestScript, _ bool, args []string) { s.under = s.baton(ts, args) },
		"ends":    func(ts *testscript.TestScript, _ bool, args []string) { s.ended(ts, s.under, args[0]) },
		"pretend": s.pretend,
		"says": func(_ *testscript.TestScript, _ bool, args []string) {
			s.WaitFor("output "+args[0], func() bool { return strings.Contains(s.under.Stdout(), args[0]) })
		},
		"phase": func(_ *testscript.TestScript, _ bool, args []string) {
			s.waitPhase(upgrade.Phase(strings.ReplaceAll(args[0], "-", " ")))
		},
		"faulty": func(*testscript.TestScript, bool, []string) {
			s.Sh("ln -sf " + testbed.FaultyFor(s.t, newVersion) + " baton")
		},
	}
}

// baton starts the command in the prefix.
func (s *scripted) baton(ts *testscript.TestScript, args []string) *tree.Proc {
	c := s.Command(append([]string{s.Path("baton")}, args...)...)
	c.Env = append(c.Env, "BATON_FAULT="+ts.Getenv("BATON_FAULT"))
	p, err := s.Tree.Start(c)
	ts.Check(err)
	return p
}

func (s *scripted) verb(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: verb STATUS ARGS")
	}
	s.ended(ts, s.baton(ts, args[1:]), args[0])
}

// ended waits for the end of a command, and takes what it printed for what the script
// looks at.
func (s *scripted) ended(ts *testscript.TestScript, p *tree.Proc, status string) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	got, err := p.Wait(ctx)
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), s.plain(ts, p.Stdout()))
	fmt.Fprint(ts.Stderr(), s.plain(ts, p.Stderr()))
	n := got.ExitStatus()
	if got.Signaled() {
		n = 128 + int(got.Signal())
	}
	if strconv.Itoa(n) != status {
		ts.Fatalf("exit status %d, want %s\n%s%s", n, status, p.Stdout(), p.Stderr())
	}
}

func (s *scripted) pretend(ts *testscript.TestScript, _ bool, args []string) {
	roles := map[string]testbed.Role{
		"exits-at-once": testbed.ExitsAtOnce, "never-ready": testbed.NeverReady, "answers-errors": testbed.AnswersErrors,
	}
	role, ok := roles[args[0]]
	if !ok {
		ts.Fatalf("no role %q", args[0])
	}
	ts.Setenv("BAD", testbed.Pretender(s.t, s.new, role, s.PIDFile()))
}

// varies is what differs from run to run, and what it is replaced by.
var varies = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`(?m)^ *\d+\.\d\ds `), "   0.00s "},
	{regexp.MustCompile(`\b(master|process|worker|old  |new  |kill -[A-Z0-9]+)( +)\d+`), "${1}${2}PID"},
	{regexp.MustCompile(`\bmasters \d+ and \d+`), "masters PID and PID"},
	{regexp.MustCompile(`(\d+m)?\d+s old`), "0s old"},
	{regexp.MustCompile(`well for \S+;`), "well for 0s;"},
	{regexp.MustCompile(`\d{4}[-/]\d\d[-/]\d\d \d\d:\d\d:\d\d`), "DATE"},
	{regexp.MustCompile(`after \d+\.\ds`), "after 0.0s"},
	{regexp.MustCompile(`"(time|opened|closed|id)":"[^"]+"`), `"$1":"…"`},
	{regexp.MustCompile(`,"seconds":[0-9.]+`), ""}, // absent when it was none
	{regexp.MustCompile(`"(age_seconds|master|pid|operator)":[0-9.]+`), `"$1":0`},
	{regexp.MustCompile(`the error log says:\n(  .*\n)+`), "the error log says:\n  …\n"},
	{regexp.MustCompile(`"log":\[.*?\],"`), `"log":["…"],"`},
	{regexp.MustCompile(`nginx([/-])\d+\.\d+\.\d+(\.[0-9a-f]{8})?`), "nginx${1}VERSION"},
}

// plain replaces what differs from run to run.
func (s *scripted) plain(ts *testscript.TestScript, text string) string {
	pairs := []string{s.Dir, "$P", s.new, "$NEW", s.Addr, "$ADDR"}
	if bad := ts.Getenv("BAD"); bad != "" {
		pairs = append(pairs, bad, "$BAD")
	}
	text = strings.NewReplacer(pairs...).Replace(text)
	for _, v := range varies {
		text = v.what.ReplaceAllString(text, v.by)
	}
	return strings.ReplaceAll(text, os.TempDir(), "$TMP")
}
