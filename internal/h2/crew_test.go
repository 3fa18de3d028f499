package h2

import (
	"runtime"
	"strings"
	"testing"
)

// idleNow is how many goroutines of k wait for work.
func idleNow(k *Crew) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.idle)
}

// goroutine is the number of the one that runs.
func goroutine() string {
	var buf [64]byte
	text := string(buf[:runtime.Stack(buf[:], false)])
	return strings.Fields(text)[1]
}

// One stream after the other is served by one goroutine, as many as there are at once by
// as many, of which no more stay than may, and none for long.
func TestCrew(t *testing.T) {
	t.Parallel()
	conf := config()
	conf.MaxStreams = 2 * mostIdle
	served := make(chan string, conf.MaxStreams)
	begun, release := make(chan struct{}, conf.MaxStreams), make(chan struct{})
	c := start(t, conf, &host{serve: func(st *Stream) {
		if string(st.Head()[:6]) == "GET /s" {
			begun <- struct{}{}
			<-release
		}
		hello("x")(st)
		served <- goroutine()
	}})
	var first string
	id := uint32(1)
	for ; id < 20; id += 2 {
		c.ask(id, true, get("/")...)
		c.answer(id)
		c.waitFor("an idle goroutine", func() bool { return idleNow(conf.Crew) == 1 })
		if by := <-served; first == "" {
			first = by
		} else if by != first {
			t.Fatalf("goroutine %s serves, and then %s", first, by)
		}
	}
	const many = mostIdle + 10
	for range many {
		c.ask(id, true, get("/slow")...)
		id += 2
	}
	for range many {
		<-begun
	}
	if n := idleNow(conf.Crew); n != 0 {
		t.Errorf("%d are idle while all are needed", n)
	}
	close(release)
	by := map[string]bool{}
	for range many {
		by[<-served] = true
	}
	if len(by) != many {
		t.Errorf("%d goroutines served %d streams at once", len(by), many)
	}
	c.waitFor("as many idle goroutines as may be", func() bool { return idleNow(conf.Crew) == mostIdle })
	c.waitFor("the end of all that are idle", func() bool { return idleNow(conf.Crew) == 0 })
}
