package master

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/proc"
)

// badWorker plays a worker that is not what it should be: a process that does nothing, and
// a control socket on which the test speaks. said is what the master makes of it, until it
// is gone.
func badWorker(t *testing.T, patience time.Duration) (says *control.Conn, said func() []string) {
	t.Helper()
	ours, file, err := control.Pair()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := proc.FD(file)
	if err != nil {
		t.Fatal(err)
	}
	dup, err := syscall.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	if says, err = control.Open(dup); err != nil {
		t.Fatal(err)
	}
	pid, err := proc.Start(proc.Spec{Path: "/bin/sleep", Argv: []string{"sleep", "300"}, FDs: []int{0, 1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	ours.MaxFiles(0)
	m := &Master{events: make(chan event), ended: make(chan int), exitPatience: patience}
	go m.listen(pid, ours)
	return says, func() (heard []string) {
		defer says.Close()
		defer ours.Close()
		for {
			select {
			case ev := <-m.events:
				heard = append(heard, strings.ReplaceAll(fmt.Sprintf("%T %+v", ev, ev), fmt.Sprint(pid), "PID"))
			case <-m.ended:
				exit, err := proc.Reap(pid)
				if err != nil {
					t.Fatal(err)
				}
				return append(heard, exit.String())
			}
		}
	}
}

// A worker that somebody has taken over harms its master by nothing that it says: what it
// may say is little, and whoever says anything else is killed.
func TestWorkersThatBreakTheRules(t *testing.T) {
	t.Parallel()
	say := func(c *control.Conn, kind string, body any, files ...control.File) { _ = c.Send(kind, body, files...) }
	null := control.File{Name: "f", FD: 0}
	for _, tt := range []struct {
		name  string
		speak func(c *control.Conn)
		want  string // of what is heard last
	}{
		{"ready twice", func(c *control.Conn) { say(c, control.KindReady, nil); say(c, control.KindReady, nil) }, `unexpected "ready"`},
		{"reopen", func(c *control.Conn) { say(c, control.KindReopen, nil) }, `unexpected "reopen"`},
		{"retired before ready", func(c *control.Conn) { say(c, control.KindRetired, control.Retired{}) }, `unexpected "retired"`},
		{"failed after ready", func(c *control.Conn) { say(c, control.KindReady, nil); say(c, control.KindFailed, nil) }, `unexpected "failed"`},
		{"after its last word", func(c *control.Conn) { say(c, control.KindFailed, nil); say(c, control.KindFailed, nil) }, `"failed" after its last word`},
		{"a master's word", func(c *control.Conn) { say(c, control.KindHello, control.Hello{Max: 2}) }, `unexpected "hello"`},
		{"no word", func(c *control.Conn) { say(c, strings.Repeat("x", 1<<16), nil) }, `unexpected "xxxxxxxxxxxxxxxxxxxx"`},
		{"a descriptor", func(c *control.Conn) { say(c, control.KindReady, nil, null) }, control.ErrManyFiles.Error()},
		{"many descriptors", func(c *control.Conn) {
			for range 80 {
				say(c, control.KindFiles, nil, null, null, null)
			}
		}, control.ErrManyFiles.Error()},
		{"messages of nothing", func(c *control.Conn) { say(c, control.KindFiles, nil) }, "message of descriptors without any"},
		{"impossible counts", func(c *control.Conn) {
			say(c, control.KindReady, nil)
			say(c, control.KindRetired, control.Retired{Moved: -1})
		}, "it counts -1"},
		{"another form", func(c *control.Conn) { say(c, control.KindFailed, []int{1}) }, "decode failed message"},
		{"a long stage", func(c *control.Conn) { say(c, control.KindFailed, control.Failed{Stage: strings.Repeat("x", 99)}) }, "a stage of 99 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, said := badWorker(t, time.Hour)
			go tt.speak(c)
			heard := said()
			if n := len(heard); n < 2 || heard[n-1] != "exited on signal 9" || !strings.Contains(heard[n-2], tt.want) ||
				!strings.Contains(heard[n-2], "misled") {
				t.Errorf("heard %q, want %q and its end", heard, tt.want)
			}
		})
	}
}

// A worker that closes its ear cannot be told to go: it is given time to exit, and then it
// is killed. One that its master hung up on has all the time that it needs.
func TestWorkerThatStays(t *testing.T) {
	t.Parallel()
	c, said := badWorker(t, 10*time.Millisecond)
	c.Close()
	if heard := said(); len(heard) != 2 || !strings.Contains(heard[0], "it does not exit") || heard[1] != "exited on signal 9" {
		t.Errorf("heard %q", heard)
	}
}
