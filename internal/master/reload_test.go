package master_test

import (
	"os"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/load"
)

var servesLine = regexp.MustCompile(`a generation serves: (\d+) goroutines, (\d+) worker processes`)

// Reloads under load leave nothing behind in the master, and no kept connection
// notices one.
func TestManyReloads(t *testing.T) {
	t.Parallel()
	const reloads = 20
	s := start(t, testbed.Conf{Main: "error_log logs/debug.log debug;"})
	l := s.Load(
		load.Group{Name: "new connections", Clients: 1, MinPause: 1e6, MaxPause: 5e6},
		load.Group{Name: "kept", Clients: 10, KeepAlive: true, MinPause: 1e6, MaxPause: 9e6},
	)
	s.WaitAnswers(l, 20)
	serves := func() [][]string {
		text, err := os.ReadFile(s.Path("logs", "debug.log"))
		if err != nil {
			t.Fatal(err)
		}
		return servesLine.FindAllStringSubmatch(string(text), -1)
	}
	descriptors := 0
	for i := range reloads {
		s.Signal(s.master, syscall.SIGHUP)
		s.WaitFor("the next generation to serve", func() bool { return len(serves()) >= i+2 })
		s.WaitShape(oneMaster)
		if i == 4 {
			descriptors = s.descriptors(s.Process(s.master))
		}
	}
	s.WaitFor("the number of descriptors to be what it was", func() bool {
		return s.descriptors(s.Process(s.master)) <= descriptors
	})
	counts := serves()
	number := func(line []string) int {
		n, err := strconv.Atoi(line[1])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	early, late := counts[5], counts[reloads]
	if early[2] != late[2] || number(late) > number(early) {
		t.Errorf("after 5 reloads %q, after %d %q", early[0], reloads, late[0])
	}
	r := l.Stop()
	for _, name := range []string{"new connections", "kept"} {
		if g := r.Group(name); g.Noticed() > 0 {
			t.Errorf("%s:\n%s\n%s", name, r, r.Trouble())
		}
	}
	s.quit()
}
