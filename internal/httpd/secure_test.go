package httpd_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/bufpool"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/netconn"
	"github.com/baton-deploy/baton/internal/testbed"
	"golang.org/x/sys/unix"
)

// securedServer answers with what it was sent, by TLS.
func securedServer(t *testing.T) (addr string, client *tls.Config) {
	t.Helper()
	ca := testbed.NewAuthority(t, "Test CA")
	cert := ca.Issue(testbed.Certificate{Name: "server.test"})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Cert.Raw}, PrivateKey: cert.Key}}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), &tls.Config{RootCAs: ca.Pool(), ServerName: "server.test"}
}

// socketTo is a connected socket.
func socketTo(t *testing.T, addr string) *netconn.Socket {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	_ = raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil {
		t.Fatal(err)
	}
	s, err := netconn.NewSocket(fd, "server")
	if err != nil {
		t.Fatal(err)
	}
	s.SetBuffer(bufpool.Large, bufpool.Large)
	t.Cleanup(s.Drop)
	return s
}

// reader reads what a socket gives.
type reader struct{ s *netconn.Socket }

func (r reader) Read(p []byte) (int, error) {
	if len(r.s.Buffered()) == 0 {
		if err := r.s.Fill(10 * time.Second); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.s.Buffered())
	r.s.Consume(n)
	return n, nil
}

func TestSocketTowardsServerWithTLS(t *testing.T) {
	addr, config := securedServer(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c := config.Clone()
		c.MaxVersion = version
		s := socketTo(t, addr)
		if _, err := httpd.SecureSocket(s, c, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(reader{s})
		for _, size := range []int{3, 100_000, 3_000_000} {
			body := strings.Repeat("x", size)
			head := fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)
			if n, err := s.Ask([]byte(head), 10*time.Millisecond); n != len(head) || !errors.Is(err, netconn.ErrTimeout) && err != nil {
				t.Fatalf("Ask = %d, %v", n, err)
			}
			wrote := make(chan error, 1)
			go func() { wrote <- s.Write([]byte(body), nil, 10*time.Second) }()
			if err := s.WaitInput(10 * time.Second); err != nil || !s.Ready() || s.Idle() {
				t.Errorf("the answer has begun: WaitInput = %v, Ready %v, Idle %v", err, s.Ready(), s.Idle())
			}
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			if err != nil || string(got) != body {
				t.Errorf("%s: %d of %d bytes came back, %v", tls.VersionName(version), len(got), size, err)
			}
			if err := <-wrote; err != nil {
				t.Fatal(err)
			}
			// Its session tickets are no answer: the connection can be used again.
			if !s.Idle() || s.Ready() || s.HungUp() {
				t.Errorf("%s: Idle %v, Ready %v, HungUp %v", tls.VersionName(version), s.Idle(), s.Ready(), s.HungUp())
			}
		}
	}
}

func TestSocketTowardsStrangerWithTLS(t *testing.T) {
	addr, config := securedServer(t)
	config.ServerName = "other.test"
	if _, err := httpd.SecureSocket(socketTo(t, addr), config, 10*time.Second); err == nil || !strings.Contains(err.Error(), "other.test") {
		t.Errorf("a server of another name is taken: %v", err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if _, err := httpd.SecureSocket(socketTo(t, silent.Addr().String()), config, 50*time.Millisecond); !errors.Is(err, netconn.ErrTimeout) {
		t.Errorf("a silent server: %v, want a time-out", err)
	}
}
