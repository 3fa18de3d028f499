package acceptance

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/load"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// A secured is a mover that serves TLS as well, at addr.
type secured struct {
	*mover
	addr   string
	client *tls.Config
}

// inEachSecuredDirection is inEachDirection with TLS.
func inEachSecuredDirection(t *testing.T, test func(s *secured, hop func())) {
	t.Helper()
	ca := testbed.NewAuthority(t, "Test CA")
	site := ca.Issue(testbed.Certificate{Name: "www.example.com"})
	s := &secured{client: &tls.Config{RootCAs: ca.Pool(), ServerName: "www.example.com"}}
	start := func(t *testing.T, _ func(m *mover) testbed.Conf) *mover {
		return newMover(t, func(m *mover) testbed.Conf {
			writeFile(t, m.Path("conf", "site.crt"), site.CertPEM())
			writeFile(t, m.Path("conf", "site.key"), site.KeyPEM())
			c := moverConf(m)
			s.addr = m.TakePort().Addr()
			c.Listen = append(c.Listen, s.addr+" ssl")
			c.HTTP += " ssl_certificate site.crt; ssl_certificate_key site.key; ssl_session_timeout 1h;"
			return c
		})
	}
	inEachDirectionOf(t, start, func(m *mover, hop func()) {
		s.mover = m
		test(s, hop)
	})
}

// Connections with TLS do not move: each is answered once more, is told that it ends
// with that, and no request is lost.
func TestTLSClientsLoseNothing(t *testing.T) {
	const ms = time.Millisecond
	inEachSecuredDirection(t, func(s *secured, hop func()) {
		kept := load.Group{Name: "POST by TLS", Addr: s.addr, TLS: s.client, Clients: 12, MaxPause: 10 * ms, KeepAlive: true, Post: true,
			Blind: true, Path: "/post", Timeout: patience}
		proxied := kept
		proxied.Name, proxied.Path, proxied.Echo = "POST by TLS, proxied", "/backend/echo", true
		new := kept
		new.Name, new.KeepAlive, new.Clients, new.MaxPause = "new connections by TLS", false, 3, 50*ms
		l := s.Load(kept, proxied, new)
		for range 2 {
			s.WaitAnswers(l, 100)
			hop()
		}
		s.WaitAnswers(l, 100)
		r := l.Stop()
		t.Logf("\n%v", r)
		for _, g := range r.Groups {
			if err := g.Check(); err != nil {
				s.t.Errorf("%s: %v", g.Name, err)
			}
		}
		if trouble := r.Trouble(); trouble != "" {
			s.t.Error(trouble)
		}
	})
}

// So does a client that is no program of ours, and a download that was under way.
func TestCurlByTLSLosesNothing(t *testing.T) {
	inEachSecuredDirection(t, func(s *secured, hop func()) {
		s.document("big", 3_000_000)
		curl := s.Start("curl", "-sSk", "--rate", "300/s", "https://"+s.addr+"/post?[1-600]", "-o", "/dev/null")
		slow := s.Start("curl", "-sSk", "--limit-rate", "1M", "https://"+s.addr+"/big", "-o", s.Path("logs", "big"))
		s.WaitFor("curl at work", func() bool { return strings.Count(s.accesses(), "/post") > 20 })
		hop()
		for name, p := range map[string]*tree.Proc{"requests": curl, "download": slow} {
			ctx, cancel := context.WithTimeout(s.t.Context(), patience)
			if status, err := p.Wait(ctx); err != nil || status.ExitStatus() != 0 {
				s.t.Errorf("curl, %s: status %d, %v: %s", name, status.ExitStatus(), err, p.Stderr())
			}
			cancel()
		}
		if got := strings.Count(s.accesses(), `/post?`); got != 600 {
			s.t.Errorf("%d of 600 requests are in the log", got)
		}
	})
}

// accesses is the access log.
func (m *mover) accesses() string {
	m.t.Helper()
	text, err := os.ReadFile(m.Path("logs", "access.log"))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(text)
}

// A client that comes back after a hop resumes its session with whoever serves now.
func TestSessionsResumeAcrossHops(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			inEachSecuredDirection(t, func(s *secured, hop func()) {
				c := s.client.Clone()
				c.MaxVersion, c.ClientSessionCache = version, tls.NewLRUClientSessionCache(1)
				for i := range 3 {
					for range 3 {
						if resumed := s.visit(c); !resumed && i > 0 {
							s.t.Errorf("after %d hops: the session was not resumed", i)
						}
					}
					if i < 2 {
						hop()
					}
				}
			})
		})
	}
}

// visit asks for a page on a connection of its own and reports whether a session was
// resumed for it.
func (s *secured) visit(c *tls.Config) (resumed bool) {
	s.t.Helper()
	conn, err := tls.Dial("tcp", s.addr, c)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
		s.t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	return conn.ConnectionState().DidResume
}
