package fastcgi_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// An answer in records that is under way when the server retires stays and comes to
// its end, while what is idle moves.
func TestAnswerUnderWayDrains(t *testing.T) {
	t.Parallel()
	half := make(chan struct{})
	addr := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		if _, err := readRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(c, out(plain+"first "))
		<-half
		_, _ = io.WriteString(c, out("second")+finish())
	})
	p := sidebyside.Start(t, `server { listen ADDR; location / { fastcgi_pass `+addr+`; } location = /idle { return 200; } }`, nil)
	dial := func(path string) (net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", p.Baton)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		return c, bufio.NewReader(c)
	}
	idle, ir := dial("/idle")
	sidebyside.ReadAnswer(ir, "GET")
	busy, br := dial("/")
	if _, err := br.Peek(1); err != nil {
		t.Fatal(err)
	}
	retiring, retired := make(chan struct{}, 100), make(chan struct{})
	give := func(_ byte, _ []byte, fds ...int) error {
		if len(fds) != 1 {
			t.Errorf("%d sockets were given, want the idle client's alone", len(fds))
		}
		retiring <- struct{}{}
		return errors.New("nobody takes anything")
	}
	go func() {
		defer close(retired)
		p.Server().Retire(t.Context(), give)
	}()
	<-retiring
	p.Server().Redirect(give) // everybody's turn has come when it returns
	close(half)
	if a := sidebyside.ReadAnswer(br, "GET"); a.Body != "first second" || a.Err != "" {
		t.Errorf("answer = %s", a)
	}
	idle.Close()
	busy.Close()
	<-retired
}
