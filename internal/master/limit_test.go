package master_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
)

// limited is a page of which a client may have so many at once, and then one a minute.
func limited(burst int) testbed.Conf {
	return testbed.Conf{
		HTTP:   "limit_req_zone $arg_k zone=one:64k rate=1r/m;",
		Server: fmt.Sprintf("location = /index.html { limit_req zone=one burst=%d nodelay; }", burst-1),
	}
}

// passes asks until a request is refused, at most n times, and returns how many passed.
func (s *server) passes(n int) (passed int) {
	s.t.Helper()
	for range n {
		switch a := s.Get("/index.html?k=client"); a.Status {
		case 200:
			passed++
		case 503:
			return passed
		default:
			s.t.Fatalf("status %d", a.Status)
		}
	}
	return passed
}

// TestLimitGoesOn: two workers count together, and what they counted is there after a
// reload, after a worker was killed, in a new master, and after the roll-back.
func TestLimitGoesOn(t *testing.T) {
	t.Parallel()
	const burst = 14
	s := start(t, limited(burst))
	began := time.Now()
	passed := s.passes(2)
	reload := func() {
		before := s.Workers(s.master)
		s.Signal(s.master, syscall.SIGHUP)
		s.WaitFor("new workers", func() bool {
			now := s.Workers(s.master)
			return len(now) == 2 && now[0].PID != before[0].PID && now[1].PID != before[1].PID &&
				now[0].PID != before[1].PID && now[1].PID != before[0].PID
		})
	}
	reload()
	passed += s.passes(2)
	killed := s.Workers(s.master)[0].PID
	s.Signal(killed, syscall.SIGKILL)
	s.WaitFor("another worker", func() bool {
		now := s.Workers(s.master)
		return len(now) == 2 && now[0].PID != killed && now[1].PID != killed
	})
	passed += s.passes(2)
	young := s.upgrade()
	s.Signal(s.master, syscall.SIGWINCH)
	s.WaitShape(oldMasterAlone)
	passed += s.passes(2)
	s.Signal(s.master, syscall.SIGHUP)
	s.WaitShape(twoMasters)
	s.Signal(young, syscall.SIGQUIT)
	s.WaitShape(oneMaster)
	passed += s.passes(2)
	s.upgrade()
	s.Signal(s.master, syscall.SIGQUIT)
	s.WaitShape(oneMaster)
	passed += s.passes(100)
	if most := burst + 1 + int(time.Since(began).Minutes()); passed < burst || passed > most {
		t.Errorf("%d requests passed, want %d to %d", passed, burst, most)
	}
	s.waitLog(`limiting requests, excess: `)
	s.quit()
}

// TestLimitAfterARefusedKey: a reload with another key for a zone changes nothing.
func TestLimitAfterARefusedKey(t *testing.T) {
	t.Parallel()
	s := start(t, limited(3))
	if n := s.passes(2); n != 2 {
		t.Fatalf("%d requests passed", n)
	}
	c := limited(3)
	c.HTTP = strings.Replace(c.HTTP, "$arg_k", "$arg_other", 1)
	s.Configure(c)
	s.Signal(s.master, syscall.SIGHUP)
	s.waitLog(`[emerg] ` + fmt.Sprintf("%d#%d: ", s.master, s.master) + `limit_req "one" uses the "$arg_other" key while previously it used the "$arg_k" key`)
	if n := s.passes(100); n < 1 || n > 5 {
		t.Errorf("%d more requests passed, want 1", n)
	}
	s.quit()
}

// TestRubbishInAZone: whatever somebody writes into a zone, the lock's owner too, requests
// are answered and nobody dies of it.
func TestRubbishInAZone(t *testing.T) {
	t.Parallel()
	s := start(t, limited(3))
	s.passes(2)
	workers := s.Workers(s.master)
	ds, err := s.Process(s.master).Descriptors()
	if err != nil {
		t.Fatal(err)
	}
	var zone *os.File
	for fd, target := range ds {
		if strings.Contains(target, "zone one") {
			if zone, err = os.OpenFile(fmt.Sprintf("/proc/%d/fd/%d", s.master, fd), os.O_RDWR, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if zone == nil {
		t.Fatalf("the master has no zone: %v", ds)
	}
	defer zone.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		rubbish := make([]byte, 65536)
		for i := range rubbish {
			rubbish[i] = byte(rnd.Uint32N(4))
		}
		if _, err := zone.WriteAt(rubbish, 0); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if a := s.Get("/index.html?k=client"); a.Status != 200 && a.Status != 503 {
				t.Fatalf("status %d", a.Status)
			}
		}
	}
	now := s.Workers(s.master)
	if len(now) != 2 || now[0].PID != workers[0].PID || now[1].PID != workers[1].PID {
		t.Errorf("workers are %v, were %v", now, workers)
	}
	s.Signal(s.master, syscall.SIGHUP)
	s.waitLog(`shared memory zone "one" begins empty: `)
	s.WaitShape(oneMaster)
	s.WaitFor("an answer by the new zone", func() bool { return s.Get("/index.html?k=client").Status == 200 })
	s.quit()
}
