package acceptance

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
)

// A census is connections to a server whose numbers must be right.
type census struct {
	*mover
	waiting, reading []net.Conn
	opened           int // connections ever
}

// newCensus has n connections that were answered once, and m in the middle of a head.
func newCensus(t *testing.T, n, m int) *census {
	t.Helper()
	c := &census{mover: newMover(t, func(m *mover) testbed.Conf {
		conf := moverConf(m)
		conf.Server += "location = /status { stub_status; }"
		return conf
	})}
	for i := range n + m {
		conn, err := net.Dial("tcp", c.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		c.opened++
		if i >= n {
			fmt.Fprint(conn, "GET / HT")
			c.reading = append(c.reading, conn)
			continue
		}
		c.waiting = append(c.waiting, conn)
		c.speak(conn, "")
	}
	return c
}

// speak sends a request, or what is left of one, and reads the answer.
func (c *census) speak(conn net.Conn, begun string) {
	c.t.Helper()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: site\r\n\r\n"[len(begun):])
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	}
	if err != nil {
		c.t.Errorf("request on a connection that was kept: %v", err)
	}
}

// want waits until the server's numbers are right: those of now at once, unless a
// process was killed, and the totals to the last one.
func (c *census) want(when string, extra int) {
	c.t.Helper()
	var page, want string
	defer func() {
		if page != want {
			c.t.Logf("%s:\n%swant\n%s", when, page, want)
		}
	}()
	c.WaitFor("numbers "+when, func() bool {
		c.opened++ // for each look
		page = c.Get("/status").Body
		want = fmt.Sprintf("Active connections: %d \nserver accepts handled requests\n %d %d %d \nReading: %d Writing: 1 Waiting: %d \n",
			len(c.waiting)+len(c.reading)+1, c.opened, c.opened, c.opened+extra, len(c.reading), len(c.waiting))
		return page == want
	})
}

// leaveAll closes the connections, for which the server would stay, and ends it.
func (c *census) leaveAll() {
	c.t.Helper()
	for _, conn := range append(c.waiting, c.reading...) {
		conn.Close()
	}
	c.end()
}

// alive returns those of conns that the server did not cut.
func alive(t *testing.T, conns []net.Conn) (left []net.Conn) {
	t.Helper()
	for _, conn := range conns {
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			left = append(left, conn)
		}
	}
	return left
}

// What stub_status says goes on over upgrade, roll-back and reload, in every
// generation: nothing is counted twice and nothing is forgotten.
func TestCountersGoOn(t *testing.T) {
	c := newCensus(t, 20, 5)
	c.want("before", 0)
	for _, hop := range []struct {
		name string
		hop  func()
	}{
		{"after an upgrade", c.upgrade}, {"after a roll-back", c.rollBack}, {"after a reload", c.reload}, {"after another upgrade", c.upgrade}, {"and another", c.upgrade},
	} {
		hop.hop()
		c.want(hop.name, 0)
	}
	// While two generations serve, either knows of both.
	newPid := c.start()
	for range 8 {
		c.want("of two generations", 0)
	}
	c.leave("QUIT", c.master, oneMaster)
	c.master = newPid
	c.speak(c.reading[0], "GET / HT")
	c.waiting, c.reading = append(c.waiting, c.reading[0]), c.reading[1:]
	c.want("when a head became whole", 0)
	c.speak(c.waiting[0], "")
	c.want("after a second request", 1)
	c.leaveAll()
}

// Whoever is killed leaves its totals and nothing else.
func TestCountersOfTheKilled(t *testing.T) {
	c := newCensus(t, 20, 5)
	c.upgrade()
	for _, w := range c.Workers(c.master) {
		c.kill(w.PID, syscall.SIGKILL)
		c.WaitFor("end of the worker", func() bool { return c.parent(w.PID) == 0 })
		c.WaitShape(oneMaster)
		c.waiting, c.reading = alive(t, c.waiting), alive(t, c.reading)
		c.want("after a worker was killed", 0)
	}
	if len(c.waiting)+len(c.reading) > 0 {
		t.Errorf("%d connections outlived their workers", len(c.waiting)+len(c.reading))
	}
	newPid := c.start()
	conn, err := net.Dial("tcp", c.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c.opened++
	c.speak(conn, "")
	c.waiting = append(c.waiting, conn)
	// The new master and its workers at once.
	victims := append(c.Workers(newPid), c.Process(newPid))
	for _, v := range victims {
		c.kill(v.PID, syscall.SIGSTOP) // so that no worker is replaced
	}
	for _, v := range victims {
		c.kill(v.PID, syscall.SIGKILL)
	}
	c.WaitShape(oneMaster)
	c.waiting = alive(t, c.waiting)
	c.want("after a new master was killed with its workers", 0)
	c.leaveAll()
}
