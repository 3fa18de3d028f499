package ssl_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"github.com/baton-deploy/baton/internal/testbed"
)

// visits asks n times and tells which of the answers came in a resumed session.
func visits(t *testing.T, addr string, c *tls.Config, n int) (told string) {
	t.Helper()
	for range n {
		conn := dial(t, addr, c)
		_, _ = io.WriteString(conn, hostOf(c.ServerName, "/"))
		got, how := ends(conn)
		if how != "closed" {
			t.Errorf("the connection was %s", how)
		}
		answer := string(got[len(got)-1:])
		if (answer == "r") != conn.ConnectionState().DidResume {
			t.Errorf("the server says %q of a session, the client %v", answer, conn.ConnectionState().DidResume)
		}
		told += answer
	}
	return told
}

func TestSessions(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	files := a.files()
	files["keys"] = strings.Repeat("0123456789abcdef", 3)
	files["more"] = strings.Repeat("fedcba9876543210", 5)
	const place = ` location / { return 200 $ssl_session_reused; } } `
	p := sidebyside.Start(t, certificate+`
		server { listen ADDR ssl; server_name plain; `+place+`
		server { listen ADDR ssl; server_name again; `+place+`
		server { listen ADDR ssl; server_name off; ssl_session_tickets off;`+place+`
		server { listen ADDR ssl; server_name kept; ssl_session_tickets off; ssl_session_cache shared:S:1m;`+place+`
		server { listen ADDR ssl; server_name mine; ssl_session_tickets off; ssl_session_cache builtin:100;`+place+`
		server { listen ADDR ssl; server_name same; ssl_session_tickets off; ssl_session_cache shared:S:1m;`+place+`
		server { listen ADDR ssl; server_name judges; ssl_session_tickets off; ssl_session_cache shared:S:1m;
			ssl_verify_client optional; ssl_client_certificate ROOT/ca.crt;`+place+`
		server { listen ADDR ssl; server_name asks; ssl_verify_client optional; ssl_client_certificate ROOT/ca.crt;`+place+`
		server { listen ADDR ssl; server_name wants; ssl_verify_client on; ssl_client_certificate ROOT/other.crt;`+place+`
		server { listen ADDR ssl; server_name file; ssl_session_ticket_key ROOT/keys; ssl_session_ticket_key ROOT/more; `+place+`
		server { listen ADDR ssl; server_name turned; ssl_session_ticket_key ROOT/more; ssl_session_ticket_key ROOT/keys; `+place,
		files)
	client := testbed.NewAuthority(t, "Client")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		fresh := func() *tls.Config {
			c := named("")
			c.MinVersion, c.MaxVersion, c.ClientSessionCache = version, version, oneSession{tls.NewLRUClientSessionCache(1)}
			return c
		}
		to := func(c *tls.Config, name string) *tls.Config {
			c = c.Clone()
			c.ServerName = name
			return c
		}
		for name, want := range map[string]string{
			"plain": ".rr", "off": "...", "file": ".rr", "asks": ".rr", "kept": ".rr", "mine": ".rr", "judges": ".rr",
		} {
			if got := visits(t, p.Baton, to(fresh(), name), 3); got != want {
				t.Errorf("%s, %s: sessions %q, want %q", tls.VersionName(version), name, got, want)
			}
		}
		// From one server to another: the same certificate and the same rules will do.
		for _, names := range [][3]string{{"plain", "again", "r"}, {"plain", "asks", "."}, {"asks", "plain", "."}, {"file", "turned", "r"}, {"file", "plain", "."},
			{"kept", "same", "r"}, {"kept", "judges", "."}, {"kept", "mine", "."}, {"kept", "plain", "."}, {"plain", "kept", "."}} {
			c := fresh()
			visits(t, p.Baton, to(c, names[0]), 1)
			if got := visits(t, p.Baton, to(c, names[1]), 1); got != names[2] {
				t.Errorf("%s: a session with %s, taken to %s: %q, want %q", tls.VersionName(version), names[0], names[1], got, names[2])
			}
		}
		c := to(fresh(), "asks")
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: [][]byte{client.Cert.Raw}, PrivateKey: client.Key}, nil
		}
		for range 2 { // what was wrong with a client is wrong with it when it comes back
			if got := ask(t, p.Baton, c, hostOf("asks", "/")); got.Code() != "400" {
				t.Errorf("%s: a strange client is answered with %s", tls.VersionName(version), got.Status)
			}
		}
	}
}

// oneSession is a cache of clients with one place, whatever the name of the server.
type oneSession struct{ tls.ClientSessionCache }

func (c oneSession) Get(string) (*tls.ClientSessionState, bool) { return c.ClientSessionCache.Get("") }

func (c oneSession) Put(_ string, s *tls.ClientSessionState) { c.ClientSessionCache.Put("", s) }

// A session's id is as by OpenSSL: of TLS 1.3 random, of TLS 1.2 what the client calls
// the session that it resumes.
func TestSessionIDs(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	p := sidebyside.Start(t, certificate+`server { listen ADDR ssl; location / { return 200 "id=$ssl_session_id."; } }`, a.files())
	id := regexp.MustCompile(`id=([0-9a-f]*)\.`)
	for _, addr := range []string{p.Nginx, p.Baton} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c := named("a")
			c.MaxVersion, c.ClientSessionCache = version, tls.NewLRUClientSessionCache(1)
			seen := map[string]bool{}
			for n := range 3 {
				sent := &sender{Conn: rawDial(t, addr)}
				conn := tls.Client(sent, c)
				_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"+hostOf("a", "/"))
				got, _ := ends(conn)
				ids := id.FindAllStringSubmatch(string(got), -1)
				if len(ids) != 2 || ids[0][1] != ids[1][1] || seen[ids[0][1]] {
					t.Fatalf("%s, %s: ids %q, those before are %v", addr, tls.VersionName(version), ids, seen)
				}
				seen[ids[0][1]] = true
				offered := hex.EncodeToString(sent.first[44 : 44+int(sent.first[43])])
				switch now := ids[0][1]; {
				case conn.ConnectionState().DidResume != (n > 0):
					t.Errorf("%s: resumed %v", addr, n == 0)
				case version == tls.VersionTLS13 && (len(now) != 64 || now == offered),
					version == tls.VersionTLS12 && n == 0 && now != "",
					version == tls.VersionTLS12 && n > 0 && now != offered:
					t.Errorf("%s, %s, connection %d: id %s, the client has offered %s", addr, tls.VersionName(version), n, now, offered)
				}
			}
		}
	}
}

// A sender keeps what is written first.
type sender struct {
	net.Conn
	first []byte
}

func (s *sender) Write(p []byte) (int, error) {
	if s.first == nil {
		s.first = bytes.Clone(p)
	}
	return s.Conn.Write(p)
}

// A client that changes its keys, and has the server change its own, goes on.
func TestKeyUpdate(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	p := sidebyside.Start(t, certificate+`server { listen ADDR ssl; location / { return 200 answer; } }`, a.files())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", "s_client", "-connect", p.Baton, "-tls1_3")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	cmd.Stdout, cmd.Stderr = write, write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	lines := bufio.NewScanner(read)
	said := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), want) {
				return
			}
		}
		t.Errorf("openssl did not say %q", want)
	}
	said("Verify return code")
	for range 3 { // its commands must come in reads of their own
		_, _ = io.WriteString(in, "K\n")
		said("KEYUPDATE")
	}
	_, _ = io.WriteString(in, "GET / HTTP/1.1\nHost: a\nConnection: close\n\n")
	said("answer")
	_ = cmd.Wait() // its status tells of the certificate
}
