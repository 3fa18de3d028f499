package proxy_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"github.com/baton-deploy/baton/internal/testbed"
)

// A secureSite is servers with TLS and what is needed to trust them, or not.
type secureSite struct {
	ca, deep, client *testbed.Authority
	files            sidebyside.Files
	conns            atomic.Int64 // accepted by servers
}

func newSecureSite(t *testing.T) *secureSite {
	t.Helper()
	ca := testbed.NewAuthority(t, "Test CA")
	s := &secureSite{ca: ca, deep: ca.Issue(testbed.Certificate{Name: "Deep CA", CA: true})}
	s.client = ca.Issue(testbed.Certificate{Name: "a client"})
	s.files = sidebyside.Files{
		"ca.pem": ca.CertPEM(), "other.pem": testbed.NewAuthority(t, "Another CA").CertPEM(), "client.pem": s.client.CertPEM(), "client.key": s.client.KeyPEM(),
		"locked.key": locked(t, ecKey(t, s.client)), "passwords": "wrong\nsecret\n", "none.crl": ca.Revoke(), "big": strings.Repeat("0123456789abcdef", 100_000),
	}
	return s
}

// locked is a key that the password "secret" opens. One in 256 would seem to be opened by
// "wrong", too, which comes first: what it is decrypted to has a right end by chance, and
// nginx tries no other password then.
func locked(t *testing.T, der []byte) string {
	t.Helper()
	for {
		block, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", der, []byte("secret"), x509.PEMCipherAES128) //nolint:staticcheck // what is in use
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x509.DecryptPEMBlock(block, []byte("wrong")); err != nil { //nolint:staticcheck // likewise
			return string(pem.EncodeToMemory(block))
		}
	}
}

func ecKey(t *testing.T, a *testbed.Authority) []byte {
	t.Helper()
	block, _ := pem.Decode([]byte(a.KeyPEM()))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// serve serves https with the certificate of a; what it says of a request is its body.
func (s *secureSite) serve(t *testing.T, a *testbed.Authority, change func(*tls.Config)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{Certificate: [][]byte{a.Cert.Raw, s.deep.Cert.Raw}, PrivateKey: a.Key}
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	if change != nil {
		change(config)
	}
	srv := &http.Server{TLSConfig: config, ErrorLog: log.New(io.Discard, "", 0), ConnState: func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			s.conns.Add(1)
		}
	}, Handler: http.HandlerFunc(tellSecure)}
	go func() { _ = srv.ServeTLS(ln, "", "") }() // ends with Close
	t.Cleanup(func() { _ = srv.Close() })
	return ln.Addr().String()
}

func tellSecure(w http.ResponseWriter, r *http.Request) {
	w.Header()["Date"] = nil
	body, _ := io.ReadAll(r.Body)
	who := "nobody"
	if len(r.TLS.PeerCertificates) > 0 {
		who = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	fmt.Fprintf(w, "%s %s host=%s name=%q version=%x resumed=%v from %s, %d bytes", r.Method, r.URL, r.Host, r.TLS.ServerName, r.TLS.Version, r.TLS.DidResume, who, len(body))
	if strings.HasPrefix(r.URL.Path, "/large") {
		_, _ = io.WriteString(w, strings.Repeat("much to be encrypted, ", 100_000))
	}
}

// Every answer and every line of the logs is nginx's, whatever is wrong with a server's
// certificate.
func TestSecureServersSameAsNginx(t *testing.T) {
	t.Parallel()
	s := newSecureSite(t)
	site := s.ca.Issue(testbed.Certificate{Name: "www.example.com", Hosts: []string{"*.wild.example.com"}})
	good := s.serve(t, site, nil)
	old := s.serve(t, s.ca.Issue(testbed.Certificate{Name: "www.example.com", Ends: -time.Hour}), nil)
	deep := s.serve(t, s.deep.Issue(testbed.Certificate{Name: "www.example.com"}), nil)
	gone := s.ca.Issue(testbed.Certificate{Name: "www.example.com"})
	revoked := s.serve(t, gone, nil)
	s.files["gone.crl"] = s.ca.Revoke(gone)
	self := s.serve(t, testbed.NewAuthority(t, "www.example.com"), nil)
	asks := s.serve(t, site, func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, s.ca.Pool() })
	asks12 := s.serve(t, site, func(c *tls.Config) {
		c.ClientAuth, c.ClientCAs, c.MaxVersion = tls.RequireAndVerifyClientCert, s.ca.Pool(), tls.VersionTLS12
	})
	only13 := s.serve(t, site, func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 })
	plain := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		_, _ = br.Peek(100)
		_, _ = io.WriteString(c, "HTTP/1.0 400 What?\r\n\r\n")
	})
	shut := sidebyside.Script(t, func(_ net.Conn, br *bufio.Reader) { _, _ = br.Peek(100) })
	mute := sidebyside.Script(t, func(_ net.Conn, br *bufio.Reader) { _, _ = br.WriteTo(discard{}) })

	const checked = "proxy_ssl_verify on; proxy_ssl_trusted_certificate ROOT/ca.pem; proxy_ssl_name www.example.com; "
	const ours = "proxy_ssl_certificate ROOT/client.pem; proxy_ssl_certificate_key ROOT/client.key; "
	locations := []struct{ server, settings string }{
		{good, ""}, {good, "proxy_ssl_server_name on;"}, {good, "proxy_ssl_server_name on; proxy_ssl_name www.example.com:80;"}, {good, "proxy_ssl_server_name on; proxy_ssl_name [::1]:80;"},
		{good, "proxy_ssl_server_name on; proxy_ssl_name 192.0.2.1;"}, {good, "proxy_ssl_server_name on; proxy_ssl_name $arg_name;"}, {good, "proxy_ssl_name www.example.com;"},
		{good, checked}, {good, checked + "proxy_ssl_name $arg_name;"}, {good, "proxy_ssl_verify on; proxy_ssl_trusted_certificate ROOT/ca.pem;"},
		{good, "proxy_ssl_verify on; proxy_ssl_trusted_certificate ROOT/other.pem;"}, {old, checked}, {old, ""}, {self, checked}, {self, "proxy_ssl_verify on; proxy_ssl_name www.example.com; proxy_ssl_trusted_certificate ROOT/self.pem;"},
		{deep, checked}, {deep, checked + "proxy_ssl_verify_depth 0;"}, {deep, checked + "proxy_ssl_verify_depth 2;"}, {revoked, checked}, {revoked, checked + "proxy_ssl_crl ROOT/gone.crl;"}, {good, checked + "proxy_ssl_crl ROOT/none.crl;"},
		{asks12, ""}, {asks12, ours}, {asks, ours}, {asks12, "proxy_ssl_certificate ROOT/$arg_cert.pem; proxy_ssl_certificate_key ROOT/$arg_cert.key;"},
		{asks12, "proxy_ssl_certificate ROOT/client.pem; proxy_ssl_certificate_key ROOT/locked.key; proxy_ssl_password_file ROOT/passwords;"},
		{only13, "proxy_ssl_protocols TLSv1.2;"}, {good, "proxy_ssl_protocols TLSv1.3;"}, {good, "proxy_ssl_protocols TLSv1.2; proxy_ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256;"}, {plain, ""}, {shut, ""}, {mute, "proxy_connect_timeout 200ms;"},
	}
	s.files["self.pem"] = selfOf(t, self)
	var b strings.Builder
	b.WriteString("log_format up '$uri $status $upstream_addr $upstream_status $proxy_host $proxy_port'; access_log logs/up.log up; proxy_ssl_session_reuse off; proxy_ssl_protocols TLSv1.2 TLSv1.3; server { listen ADDR;\n")
	for i, l := range locations {
		settings := l.settings
		if strings.Count(settings, "proxy_ssl_name") > 1 {
			settings = strings.Replace(settings, "proxy_ssl_name www.example.com; ", "", 1)
		}
		fmt.Fprintf(&b, "location /%d { proxy_pass https://%s; %s }\n", i, l.server, settings)
	}
	fmt.Fprintf(&b, "location /vars { proxy_pass $arg_to; proxy_redirect off; add_header X-To $proxy_host:$proxy_port; }\n")
	fmt.Fprintf(&b, "location /host { proxy_pass https://%s/x/; proxy_set_header Host $proxy_host; proxy_set_header Port $proxy_port; } }", good)
	p := sidebyside.Start(t, b.String(), s.files)
	for i := range locations {
		p.Same(sidebyside.Get(fmt.Sprintf("/%d", i)))
		p.Same(sidebyside.Get(fmt.Sprintf("/%d?name=www.example.com&cert=client", i)))
	}
	for _, name := range []string{"a.wild.example.com", "wild.example.com", "a.b.wild.example.com", "WWW.example.com", "example.com", ""} {
		p.Same(sidebyside.Get("/8?name=" + name))
		p.Same(sidebyside.Get("/5?name=" + name))
	}
	for _, to := range []string{"https://" + good + "/y", "HTTPS://" + good, "https://" + good + "?a", "https://127.0.0.1:1", "ftp://x"} {
		p.Same(sidebyside.Get("/vars?to=" + to))
	}
	p.Same(sidebyside.Get("/host/page"))
	p.Same(sidebyside.Get("/0/large"))
	p.SameLogs("logs/up.log", nil)
	p.SameLogs("logs/error.log", regexp.MustCompile(`upstream|SSL|certificate|URL`))
}

func selfOf(t *testing.T, addr string) string {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.ConnectionState().PeerCertificates[0].Raw}))
}

// Sessions are resumed unless the configuration says no, and connections are kept, but
// not for another name.
func TestSecureConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	s := newSecureSite(t)
	cert := s.ca.Issue(testbed.Certificate{Name: "www.example.com"})
	addr, addr12 := s.serve(t, cert, nil), s.serve(t, cert, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
	p := sidebyside.Start(t, `
		proxy_ssl_server_name on;
		proxy_ssl_name $arg_name;
		proxy_ssl_protocols TLSv1.2 TLSv1.3;
		upstream kept { server `+addr+`; keepalive 4; }
		server { listen ADDR;
			location /new { proxy_pass https://`+addr+`; }
			location /old { proxy_pass https://`+addr12+`; }
			location /named { proxy_pass https://`+addr+`; proxy_ssl_name www.example.com; }
			location /never { proxy_pass https://`+addr+`; proxy_ssl_session_reuse off; }
			location /kept { proxy_pass https://kept; proxy_set_header Connection ""; }
		}`, s.files)
	get := func(target string) string {
		_, a := p.Do(sidebyside.Get(target))
		return a.Body
	}
	for target, want := range map[string]string{"/new": "resumed=true", "/old": "resumed=true", "/never": "resumed=false", "/named": "resumed=true"} {
		if first := get(target); !strings.Contains(first, "resumed=false") {
			t.Errorf("%s: %s", target, first)
		}
		for range 3 {
			if got := get(target); !strings.Contains(got, want) {
				t.Errorf("%s: %s, want %s", target, got, want)
			}
		}
	}
	ask := func(name string) (opened int64) {
		before := s.conns.Load()
		c, err := net.Dial("tcp", p.Baton)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patienceForSecure))
		fmt.Fprint(c, sidebyside.Get("/kept?name="+name))
		if a := sidebyside.ReadAnswer(bufio.NewReader(c), "GET"); a.Code() != "200" || !strings.Contains(a.Body, fmt.Sprintf("name=%q", name)) {
			t.Errorf("%s: %s", name, a)
		}
		return s.conns.Load() - before
	}
	if first, second, other, again := ask("a.example.com"), ask("a.example.com"), ask("b.example.com"), ask("a.example.com"); first != 1 || second != 0 || other != 1 || again != 0 {
		t.Errorf("opened %d, %d, %d for another name, %d connections", first, second, other, again)
	}
}

const patienceForSecure = time.Minute

// Bodies of any kind go through, also when the server answers before it has all.
func TestSecureBodies(t *testing.T) {
	t.Parallel()
	s := newSecureSite(t)
	addr := s.serve(t, s.ca.Issue(testbed.Certificate{Name: "x"}), nil)
	early := secureScript(t, s.ca, func(c *tls.Conn) {
		br := bufio.NewReader(c)
		for {
			if line, err := br.ReadString('\n'); err != nil || line == "\r\n" {
				break
			}
		}
		fmt.Fprint(c, "HTTP/1.1 413 Too much\r\nContent-Length: 2\r\n\r\nno")
		_, _ = io.Copy(io.Discard, br)
	})
	p := sidebyside.Start(t, `
		client_max_body_size 100m;
		proxy_ssl_session_reuse off;
		proxy_ssl_protocols TLSv1.2 TLSv1.3;
		server { listen ADDR; proxy_http_version 1.1;
			location / { proxy_pass https://`+addr+`; }
			location /stream/ { proxy_pass https://`+addr+`; proxy_request_buffering off; }
			location /early/ { proxy_pass https://`+early+`; proxy_request_buffering off; }
			location /unbuffered/ { proxy_pass https://`+addr+`/large/; proxy_buffering off; }
		}`, nil)
	body := strings.Repeat("0123456789", 300_000)
	for _, target := range []string{"/", "/stream/", "/unbuffered/", "/large"} {
		p.Same(sidebyside.Ask("POST", target, fmt.Sprintf("Content-Length: %d", len(body))) + body)
		p.Same(sidebyside.Ask("POST", target, "Transfer-Encoding: chunked") + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body))
	}
	if _, a := p.Do(sidebyside.Ask("POST", "/early/", fmt.Sprintf("Content-Length: %d", len(body))) + body); a.Code() != "413" {
		t.Errorf("an early answer: %s", a)
	}
}

// secureScript is a script that speaks TLS.
func secureScript(t *testing.T, ca *testbed.Authority, serve func(c *tls.Conn)) string {
	t.Helper()
	cert := ca.Issue(testbed.Certificate{Name: "script"})
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Cert.Raw}, PrivateKey: cert.Key}}}
	return sidebyside.Script(t, func(c net.Conn, _ *bufio.Reader) {
		conn := tls.Server(c, config)
		if conn.Handshake() == nil {
			serve(conn)
			_ = conn.CloseWrite()
		}
	})
}

// A tunnel through a server with TLS works both ways, and stays where it is when the
// process retires: it cannot move.
func TestSecureTunnelStays(t *testing.T) {
	t.Parallel()
	s := newSecureSite(t)
	addr := secureScript(t, s.ca, func(c *tls.Conn) {
		br := bufio.NewReader(c)
		for {
			if line, err := br.ReadString('\n'); err != nil || line == "\r\n" {
				break
			}
		}
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
		_, _ = io.Copy(c, br)
	})
	p := sidebyside.Start(t, `server { listen ADDR; location / {
		proxy_pass https://`+addr+`; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; } }`, nil)
	c, err := net.Dial("tcp", p.Baton)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patienceForSecure))
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
	br := bufio.NewReader(c)
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "\r\n" {
			break
		}
	}
	echo := func(text string) {
		t.Helper()
		go func() { _, _ = io.WriteString(c, text) }()
		got := make([]byte, len(text))
		if _, err := io.ReadFull(br, got); err != nil || string(got) != text {
			t.Fatalf("%d bytes went through the tunnel and came back as others: %v", len(text), err)
		}
	}
	echo("hello")
	echo(strings.Repeat("0123456789", 200_000))
	retired := make(chan struct{})
	go func() {
		defer close(retired)
		p.Server().Retire(context.Background(), func(kind byte, _ []byte, _ ...int) error {
			t.Errorf("a ticket of kind %d was given away", kind)
			return net.ErrClosed
		})
	}()
	for range 20 {
		echo("still here")
	}
	c.Close()
	<-retired
}
