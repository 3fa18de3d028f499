package ssl_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"github.com/baton-deploy/baton/internal/testbed"
)

const patience = time.Minute

// authorities are those of all tests: making keys takes time.
type authorities struct {
	ca, site, other *testbed.Authority
}

// files are what the servers' configurations name, below ROOT.
func (a authorities) files() sidebyside.Files {
	return sidebyside.Files{
		"site.crt": a.site.CertPEM(), "site.key": a.site.KeyPEM(), "ca.crt": a.ca.CertPEM(),
		"other.crt": a.other.CertPEM(), "other.key": a.other.KeyPEM(),
		"page": "a page\n", "big": strings.Repeat("0123456789abcdef", 20_000),
	}
}

func newAuthorities(t testing.TB) authorities {
	t.Helper()
	ca := testbed.NewAuthority(t, "Test CA")
	return authorities{
		ca:    ca,
		site:  ca.Issue(testbed.Certificate{Name: "www.example.com", Hosts: []string{"a.example.com"}}),
		other: ca.Issue(testbed.Certificate{Name: "other.example.com"}),
	}
}

const certificate = "ssl_certificate ROOT/site.crt; ssl_certificate_key ROOT/site.key; ssl_protocols TLSv1.2 TLSv1.3; "

// dial opens a connection with TLS.
func dial(t *testing.T, addr string, c *tls.Config) *tls.Conn {
	t.Helper()
	conn, err := tryDial(addr, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func tryDial(addr string, c *tls.Config) (*tls.Conn, error) {
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	_ = raw.SetDeadline(time.Now().Add(patience))
	conn := tls.Client(raw, c)
	if err := conn.Handshake(); err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

// ask sends a request by TLS and returns the answer.
func ask(t *testing.T, addr string, c *tls.Config, raw string) sidebyside.Answer {
	t.Helper()
	conn := dial(t, addr, c)
	defer conn.Close()
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(raw, " ")
	return sidebyside.ReadAnswer(bufio.NewReader(conn), method)
}

// same asks both servers and compares.
func same(t *testing.T, p *sidebyside.Pair, c *tls.Config, raw string) sidebyside.Answer {
	t.Helper()
	nginx, baton := p.Neutral(ask(t, p.Nginx, c, raw)), p.Neutral(ask(t, p.Baton, c, raw))
	if nginx.String() != baton.String() {
		t.Errorf("%q:\n--- nginx\n%s\n--- baton\n%s", raw, nginx, baton)
	}
	return baton
}

func named(name string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: name}
}

func hostOf(name, target string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: " + name + "\r\nConnection: close\r\n\r\n"
}

// all are the variables that are the same for the same client, but for the cipher
// suite, which each library chooses by its own taste.
const all = "$ssl_protocol $ssl_curve $ssl_curves $ssl_ciphers $ssl_server_name $ssl_session_reused $ssl_alpn_protocol " +
	"$ssl_client_verify $ssl_client_s_dn $ssl_client_i_dn $ssl_client_serial $ssl_client_fingerprint $scheme $https $server_name $server_port"

func TestServersByName(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	p := sidebyside.Start(t, certificate+`
		server { listen ADDR ssl; server_name www.example.com; location / { return 200 "first `+all+`"; }
			location /page { root ROOT; } location /big { root ROOT; sendfile on; } location = /r { return 301 /x; } location /dir { root ROOT; } }
		server { listen ADDR ssl; server_name *.example.com; location / { return 200 "star `+all+`"; } }
		server { listen ADDR ssl; server_name other.example.com; ssl_certificate ROOT/other.crt; ssl_certificate_key ROOT/other.key;
			location / { return 200 "other `+all+`"; } }
		server { listen ADDR ssl; server_name ~^(?<x>.+)\.test$; location / { return 200 "test $x `+all+`"; } }
		server { listen ADDR; server_name without.test; location / { return 200 "without $scheme"; } }
		server { listen ADDR ssl; server_name long.test; large_client_header_buffers 4 32k; location / { return 200 long; } }
		server { listen ADDR ssl; server_name refuses.example.org; ssl_reject_handshake on; }
	`, a.files())
	classic := func(name string) *tls.Config {
		c := named(name)
		c.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256}
		return c
	}
	for _, name := range []string{"www.example.com", "WWW.example.com", "a.example.com", "other.example.com", "n.test", "without.test", "unknown.org", ""} {
		t.Run(name, func(t *testing.T) {
			for _, host := range []string{"www.example.com", "other.example.com", "b.test", "without.test", "nobody", "www.example.com:99"} {
				same(t, p, classic(name), hostOf(host, "/"))
			}
			want, got := dial(t, p.Nginx, classic(name)), dial(t, p.Baton, classic(name))
			if w, g := want.ConnectionState().PeerCertificates[0].Subject, got.ConnectionState().PeerCertificates[0].Subject; w.String() != g.String() {
				t.Errorf("certificate of %v, nginx's of %v", g, w)
			}
		})
	}
	for _, raw := range []string{
		hostOf("www.example.com", "/page"), hostOf("www.example.com", "/big"), hostOf("www.example.com", "/r"),
		hostOf("www.example.com", "/page/none"), "HEAD /big HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\n\r\n",
		"GET /big HTTP/1.1\r\nHost: www.example.com\r\nRange: bytes=100000-200000\r\nConnection: close\r\n\r\n",
	} {
		same(t, p, classic("www.example.com"), raw)
	}
	for _, name := range []string{"long.test", "www.example.com"} { // the name counts before a request has one
		same(t, p, classic(name), hostOf("long.test", "/"+strings.Repeat("x", 20_000)))
	}
	alpn := classic("www.example.com")
	alpn.NextProtos = []string{"http/1.1"}
	same(t, p, alpn, hostOf("www.example.com", "/"))
	alpn.NextProtos = []string{"nothing"}
	sameRefusal(t, p, alpn)
	sameRefusal(t, p, classic("refuses.example.org"))
}

// sameRefusal makes sure that neither server takes the client, and that both say the
// same.
func sameRefusal(t *testing.T, p *sidebyside.Pair, c *tls.Config) {
	t.Helper()
	_, want := tryDial(p.Nginx, c)
	_, got := tryDial(p.Baton, c)
	if want == nil || got == nil || want.Error() != got.Error() {
		t.Errorf("%s: refused with %v, by nginx with %v", c.ServerName, got, want)
	}
}

func TestPlainRequestToTLSPort(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	p := sidebyside.Start(t, certificate+`
		server { listen ADDR ssl; server_name www.example.com; }
		server { listen ADDR ssl; server_name b; error_page 497 =301 https://$host$request_uri; }`, a.files())
	for _, raw := range []string{
		hostOf("www.example.com", "/page"), hostOf("b", "/page?x"), "GET / HTTP/1.0\r\n\r\n", "junk\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "GET / HTTP/1.1\r\n\r\n",
	} {
		p.Same(raw)
	}
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	between := a.ca.Issue(testbed.Certificate{Name: "Between CA", CA: true})
	files := a.files()
	revoked := a.ca.Issue(testbed.Certificate{Name: "revoked client"})
	files["crl"] = a.ca.Revoke(revoked)
	stranger := testbed.NewAuthority(t, "Strange CA")
	clients := map[string][]*testbed.Authority{
		"none":     nil,
		"good":     {a.ca.Issue(testbed.Certificate{Name: "a client"})},
		"expired":  {a.ca.Issue(testbed.Certificate{Name: "an old client", Ends: -time.Hour})},
		"revoked":  {revoked},
		"stranger": {stranger.Issue(testbed.Certificate{Name: "a stranger"})},
		"self":     {stranger},
		"behind":   {between.Issue(testbed.Certificate{Name: "a client of another one"}), between},
		"alone":    {between.Issue(testbed.Certificate{Name: "a client without the one between"})},
		"server":   {a.ca.Issue(testbed.Certificate{Name: "a server", Usage: 1})},
	}
	text := certificate + "ssl_client_certificate ROOT/ca.crt; "
	for name, directives := range map[string]string{
		"on": "ssl_verify_client on;", "optional": "ssl_verify_client optional;", "noca": "ssl_verify_client optional_no_ca;",
		"off": "ssl_verify_client off;", "shallow": "ssl_verify_client on; ssl_verify_depth 0;",
		"crl": "ssl_verify_client on; ssl_crl ROOT/crl;",
	} {
		text += "server { listen ADDR ssl; server_name " + name + "; " + directives +
			` location / { return 200 "$ssl_client_verify $ssl_client_s_dn $ssl_client_i_dn $ssl_client_s_dn_legacy $ssl_client_i_dn_legacy ` +
			`$ssl_client_serial $ssl_client_fingerprint $ssl_client_v_start $ssl_client_v_end $ssl_client_v_remain $ssl_client_escaped_cert"; } ` +
			"location /cert { add_header X-Cert $ssl_client_raw_cert; return 204; } }\n"
	}
	p := sidebyside.Start(t, text, files)
	for client, chain := range clients {
		for _, server := range []string{"on", "optional", "noca", "off", "shallow", "crl"} {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				c := named(server)
				c.MinVersion, c.MaxVersion = version, version
				if chain != nil {
					cert := tls.Certificate{PrivateKey: chain[0].Key}
					for _, l := range chain {
						cert.Certificate = append(cert.Certificate, l.Cert.Raw)
					}
					c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
				}
				t.Run(fmt.Sprintf("%s to %s by %s", client, server, tls.VersionName(version)), func(t *testing.T) {
					same(t, p, c, hostOf(server, "/"))
				})
			}
		}
	}
	// For another host than the one that the handshake was for.
	for _, host := range []string{"on", "optional", "off"} {
		same(t, p, named("off"), hostOf(host, "/"))
		same(t, p, named(""), hostOf(host, "/"))
	}
	nginx, baton := p.Logs("logs/error.log")
	for _, line := range []string{
		"client sent no required SSL certificate", "client SSL certificate verify error: (10:certificate has expired)",
		"client attempted to request the server name different from the one that was negotiated",
	} {
		if !strings.Contains(nginx, line) || !strings.Contains(baton, line) {
			t.Errorf("%q is not in both logs", line)
		}
	}
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
