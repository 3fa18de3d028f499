package ssl_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"github.com/baton-deploy/baton/internal/testbed"
)

// rawDial opens a plain connection.
func rawDial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// ends reads until the connection ends and tells what came, and how it ended.
func ends(c net.Conn) (got []byte, how string) {
	got, err := io.ReadAll(c)
	switch {
	case err == nil:
		return got, "closed"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return got, "cut"
	case strings.Contains(err.Error(), "reset"):
		return got, "reset"
	}
	return got, err.Error()
}

// bothLog waits until a line is in both servers' error logs.
func bothLog(t *testing.T, p *sidebyside.Pair, line string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		nginx, baton := p.Logs("logs/error.log")
		n, b := strings.Contains(nginx, line), strings.Contains(baton, line)
		if n && b {
			return
		}
		if time.Now().After(end) {
			t.Errorf("%q: in nginx's log %v, in Baton's %v:\n%s", line, n, b, baton)
			return
		}
	}
}

func TestBrokenHandshakes(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	p := sidebyside.Start(t, certificate+`server { listen ADDR ssl; server_name www.example.com; client_header_timeout 300ms; }`, a.files())
	addrs := []string{p.Nginx, p.Baton}
	for name, first := range map[string]string{
		"cut in the first record": "\x16\x03\x01\x02\x00\x01\x00", "no handshake": "\x16\x03\x01\x00\x05hello",
		"alert": "\x16\x03\x01\x00\x02\x01\x00", "oversized": "\x16\x03\x01\xff\xff" + strings.Repeat("x", 100),
	} {
		for _, addr := range addrs {
			c := rawDial(t, addr)
			_, _ = io.WriteString(c, first)
			_ = c.(*net.TCPConn).CloseWrite()
			if _, how := ends(c); how != "closed" && how != "reset" {
				t.Errorf("%s, %s: %s", name, addr, how)
			}
		}
	}
	bothLog(t, p, "peer closed connection in SSL handshake while SSL handshaking, client: 127.0.0.1, server: ")
	bothLog(t, p, "SSL_do_handshake() failed (SSL: ")
	for _, addr := range addrs { // silent, and silent in the middle
		for _, first := range []string{"", "\x16\x03\x01\x02\x00\x01\x00"} {
			began := time.Now() // before the server's time runs
			c := rawDial(t, addr)
			_, _ = io.WriteString(c, first)
			if got, how := ends(c); how != "closed" || len(got) > 0 {
				t.Errorf("slow handshake with %s: %q, %s", addr, got, how)
			}
			if took := time.Since(began); took < 250*time.Millisecond {
				t.Errorf("slow handshake with %s was ended after %v", addr, took)
			}
		}
	}
	bothLog(t, p, "client timed out (110: Connection timed out) while SSL handshaking, client: 127.0.0.1, server: ")
	for _, addr := range addrs {
		rawDial(t, addr).Close()
	}
	bothLog(t, p, "client closed connection while SSL handshaking, client: 127.0.0.1, server: ")
	for _, addr := range addrs {
		if _, err := tryDial(addr, &tls.Config{ServerName: "www.example.com", RootCAs: a.other.Pool()}); err == nil {
			t.Error("the client does not look at the certificate")
		}
	}
	old := named("www.example.com")
	old.MaxVersion = tls.VersionTLS11
	old.MinVersion = tls.VersionTLS10
	sameRefusal(t, p, old)
	same(t, p, named("www.example.com"), hostOf("www.example.com", "/none"))
}

// Why a client did not get through the handshake is in the log in nginx's words,
// whether the server says so or openssl.
func TestRefusalsAreLoggedAsNginxLogsThem(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	files := a.files()
	rsa := a.ca.Issue(testbed.Certificate{Name: "rsa", RSA: true})
	files["rsa.crt"], files["rsa.key"] = rsa.CertPEM(), rsa.KeyPEM()
	p := sidebyside.Start(t, `ssl_protocols TLSv1.2 TLSv1.3; server { listen ADDR ssl; server_name rsa; ssl_certificate ROOT/rsa.crt; ssl_certificate_key ROOT/rsa.key; }
		server { listen ADDR ssl; server_name no; ssl_reject_handshake on; }`, files)
	said := regexp.MustCompile(`(failed|rejected).* while SSL handshaking`)
	for _, options := range []string{
		"-tls1_1 -cipher ALL:@SECLEVEL=0", "-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256", "-alpn foo", "-tls1_3 -sigalgs ECDSA+SHA512", "-servername no",
		"-verify_return_error -tls1_2", "-verify_return_error -tls1_3", "-verify_return_error -tls1_3 -servername no",
	} {
		for _, addr := range []string{p.Nginx, p.Baton} {
			certificateFor(t, addr, "rsa", options)
		}
	}
	p.SameLogs("logs/error.log", said)
}

// cutter passes on what is written up to a number of bytes.
type cutter struct {
	net.Conn
	left int
}

func (c *cutter) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	if _, err := c.Conn.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

func TestTruncatedAndAlteredRecords(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	p := sidebyside.Start(t, certificate+`server { listen ADDR ssl; location / { return 200 x; } }`, a.files())
	for _, addr := range []string{p.Nginx, p.Baton} {
		cut := &cutter{rawDial(t, addr), 1 << 20}
		c := tls.Client(cut, named("www.example.com"))
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		cut.left = 20 // of a record that is longer
		_, _ = io.WriteString(c, hostOf("a", "/"))
		_ = cut.Conn.(*net.TCPConn).CloseWrite()
		if got, _ := ends(c); len(got) > 0 {
			t.Errorf("%s answers %q to a part of a request", addr, got)
		}
		raw := rawDial(t, addr)
		c = tls.Client(raw, named("www.example.com"))
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		_, _ = raw.Write(append([]byte{23, 3, 3, 0, 40}, bytes.Repeat([]byte("x"), 40)...))
		if got, how := ends(c); len(got) > 0 || how == "closed" {
			t.Errorf("%s says %q to a record that it cannot read, %s", addr, got, how)
		}
	}
	same(t, p, named("www.example.com"), hostOf("a", "/"))
}

// refusal is what OpenSSL hears of a server of OpenSSL's, or of crypto/tls.
var refusal = regexp.MustCompile(`no renegotiation|alert unexpected message`)

// A client that wants another handshake is refused, and the server goes on.
func TestRenegotiation(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	p := sidebyside.Start(t, certificate+`server { listen ADDR ssl; location / { return 200 x; } }`, a.files())
	for _, addr := range []string{p.Nginx, p.Baton} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		cmd := exec.CommandContext(ctx, "openssl", "s_client", "-connect", addr, "-tls1_2")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.WriteString(in, "R\n") }() // it ends by itself, unless it is served
		out, err := cmd.CombinedOutput()
		if err == nil || ctx.Err() != nil || !refusal.Match(out) {
			t.Errorf("%s: openssl ended with %v, and said\n%s", addr, err, out)
		}
		cancel()
	}
	same(t, p, named("www.example.com"), hostOf("a", "/"))
}

// A recorder keeps what is read.
type recorder struct {
	net.Conn
	got []byte
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.got = append(r.got, p[:n]...)
	return n, err
}

// last is the kind of the last record.
func (r *recorder) last() string {
	kind := byte(0)
	for b := r.got; len(b) >= 5; {
		kind = b[0]
		b = b[min(len(b), 5+int(b[3])<<8+int(b[4])):]
	}
	if kind == 21 {
		return "an alert"
	}
	return "no alert"
}

// A server that ends a connection says so, before the end of the connection itself.
func TestCloseNotify(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	p := sidebyside.Start(t, certificate+`server { listen ADDR ssl; keepalive_timeout 200ms; lingering_timeout 200ms; location / { return 200 x; }
		location /post { client_max_body_size 1; } }`, a.files())
	for _, raw := range []string{
		hostOf("a", "/"), "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "junk\r\n\r\n",
		"POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 50_000),
	} {
		var got [2]string
		for i, addr := range []string{p.Nginx, p.Baton} {
			seen := &recorder{Conn: rawDial(t, addr)}
			config := named("a")
			config.MaxVersion = tls.VersionTLS12 // in which kinds of records can be told apart
			c := tls.Client(seen, config)
			_, _ = io.WriteString(c, raw)
			_, got[i] = ends(c)
			got[i] += " after " + seen.last()
		}
		// nginx 1.22 does not say so where it goes on reading.
		if got[0] != got[1] && !strings.HasPrefix(raw, "POST") || got[1] != "closed after an alert" {
			t.Errorf("%.20q: %s, by nginx %s", raw, got[1], got[0])
		}
	}
}

// A client that reads slowly gets all, and one that does not read at all is given up.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	files := a.files()
	files["large"] = strings.Repeat("0123456789abcdef", 2_000_000)
	p := sidebyside.Start(t, certificate+`log_format s "$request_completion $body_bytes_sent"; access_log logs/slow.log s;
		server { listen ADDR ssl sndbuf=32k; root ROOT; sendfile on; } server { listen ADDR ssl; server_name stuck; send_timeout 2s; root ROOT; sendfile on; }`, files)
	c := dial(t, p.Baton, named("a"))
	_ = c.SetDeadline(time.Now().Add(4 * patience))
	_, _ = io.WriteString(c, hostOf("a", "/large"))
	var got bytes.Buffer
	for pause := time.NewTicker(time.Millisecond); got.Len() < 8_000_000; <-pause.C {
		if _, err := io.CopyN(&got, c, 50_000); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.Copy(&got, c); err != nil || !strings.HasSuffix(got.String(), "\r\n\r\n"+files["large"]) {
		t.Errorf("a slow client got %d bytes, %v", got.Len(), err)
	}
	c = dial(t, p.Baton, named("stuck"))
	_ = c.NetConn().(*net.TCPConn).SetReadBuffer(16 << 10)
	_, _ = io.WriteString(c, hostOf("stuck", "/large"))
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		_, log := p.Logs("logs/slow.log")
		if lines := strings.Split(strings.TrimSpace(log), "\n"); len(lines) == 2 {
			if !strings.HasPrefix(lines[0], "OK 32000000") || strings.HasPrefix(lines[1], "OK") {
				t.Errorf("logged %q", lines)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatalf("a client that does not read is still served: %q", log)
		}
	}
}

// A client gets the kind of certificate that it can use, and of two the one that it
// would rather have, unless the server has its own mind.
func TestTwoKindsOfCertificate(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	files := a.files()
	rsa := a.ca.Issue(testbed.Certificate{Name: "www.example.com", RSA: true})
	files["rsa.crt"], files["rsa.key"] = rsa.CertPEM(), rsa.KeyPEM()
	const both = `ssl_certificate ROOT/rsa.crt; ssl_certificate_key ROOT/rsa.key; ssl_certificate ROOT/site.crt; ssl_certificate_key ROOT/site.key; `
	p := sidebyside.Start(t, `ssl_protocols TLSv1.2 TLSv1.3;
		server { listen ADDR ssl; `+both+` location / { return 200 "$ssl_cipher"; } }
		server { listen ADDR ssl; server_name prefers; ssl_prefer_server_ciphers on; `+both+` }
		server { listen ADDR ssl; server_name twice; ssl_certificate ROOT/other.crt; ssl_certificate_key ROOT/other.key; `+both+` }`, files)
	const ecdsaSuite, rsaSuite = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"
	for want, names := range map[string]string{
		"-tls1_2 -cipher " + ecdsaSuite + ":" + rsaSuite: "a", "-tls1_2 -cipher " + rsaSuite + ":" + ecdsaSuite: "a prefers",
		"-tls1_2 -sigalgs RSA+SHA256:ECDSA+SHA256": "a", "-tls1_2 -sigalgs RSA+SHA256": "a", "-sigalgs RSA-PSS+SHA256": "a prefers",
		"-sigalgs RSA-PSS+SHA256:ECDSA+SHA256": "a prefers", "-tls1_3": "a twice",
	} {
		for name := range strings.FieldsSeq(names) {
			nginx, baton := certificateFor(t, p.Nginx, name, want), certificateFor(t, p.Baton, name, want)
			if nginx != baton || nginx == "" {
				t.Errorf("%s by %s: %q, from nginx %q", name, want, baton, nginx)
			}
		}
	}
	for name, suite := range map[string]uint16{"ECDSA": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "RSA": tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256} {
		c := named("other.name")
		c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{suite}
		if got := same(t, p, c, hostOf("a", "/")); !strings.Contains(got.Body, name) {
			t.Errorf("a client of %s gets %s", name, got.Body)
		}
	}
	weak := named("a")
	weak.MaxVersion, weak.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_RC4_128_SHA}
	sameRefusal(t, p, weak)
}

var certificateText = regexp.MustCompile(`(?s)-----BEGIN CERTIFICATE-----.*-----END CERTIFICATE-----`)

// certificateFor is the certificate that openssl gets which is started with these options.
func certificateFor(t *testing.T, addr, name, options string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, _ := exec.CommandContext(ctx, "openssl", append([]string{"s_client", "-connect", addr, "-servername", name}, strings.Fields(options)...)...).CombinedOutput()
	return certificateText.FindString(string(out))
}

// Names of certificates may have variables; they are read for each handshake.
func TestCertificatesWithVariables(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	files := a.files()
	for name, auth := range map[string]*testbed.Authority{"www.example.com": a.site, "other.example.com": a.other} {
		files[name+".crt"], files[name+".key"] = auth.CertPEM(), auth.KeyPEM()
	}
	p := sidebyside.Start(t, `ssl_protocols TLSv1.2 TLSv1.3; server { listen ADDR ssl;
		ssl_certificate ROOT/$ssl_server_name.crt; ssl_certificate_key ROOT/$ssl_server_name.key; location / { return 200 x; } }
		server { listen ADDR ssl; server_name data.example.com; ssl_certificate "data:`+a.other.CertPEM()+`"; ssl_certificate_key "data:`+a.other.KeyPEM()+`"; }`, files)
	for name, want := range map[string]*testbed.Authority{"www.example.com": a.site, "other.example.com": a.other, "data.example.com": a.other} {
		for range 2 {
			got := dial(t, p.Baton, named(name)).ConnectionState().PeerCertificates[0]
			if !got.Equal(want.Cert) {
				t.Errorf("for %s a certificate of %s came", name, got.Subject)
			}
		}
	}
	for _, addr := range []string{p.Nginx, p.Baton} {
		if _, err := tryDial(addr, named("nobody.example.com")); err == nil {
			t.Errorf("%s: a handshake without a certificate", addr)
		}
	}
	bothLog(t, p, `cannot load certificate "`+p.Dir+`/nobody.example.com.crt": BIO_new_file() failed (SSL: error:80000002:system library::No such file or directory:`)
}

// Whatever the size of records is, the answer comes.
func TestRecordSizes(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	p := sidebyside.Start(t, certificate+`root ROOT;
		server { listen ADDR ssl; server_name one; ssl_buffer_size 1; location = /few { return 200 few; } }
		server { listen ADDR ssl; server_name small; ssl_buffer_size 1000; }
		server { listen ADDR ssl; server_name large; ssl_buffer_size 1m; }
		server { listen ADDR ssl; server_name zero; ssl_buffer_size 0; }`, a.files())
	same(t, p, named("one"), hostOf("one", "/few"))
	same(t, p, named("small"), hostOf("small", "/big"))
	want := same(t, p, named("large"), hostOf("large", "/big"))
	if got := ask(t, p.Baton, named("zero"), hostOf("zero", "/big")); got.Code() != "200" || got.Body != want.Body {
		t.Errorf("with records of no bytes: %s, %d bytes", got.Status, len(got.Body))
	}
}

// What begins neither with a handshake nor with a request is refused at once: whoever
// sends it may wait for an answer without ever ending a line.
func TestFirstBytesOfNoRequest(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	for _, text := range []string{certificate + `server { listen ADDR ssl; }`, `server { listen ADDR; }`} {
		p := sidebyside.Start(t, text, a.files())
		firsts := []string{
			"\x15\x03\x01\x00\x02\x02\x28", "\x18\x03\x03\x00\x03\x01\x00\x00", "\x17\x03\x03\x00\x02hi", "\x14\x03\x03\x00\x01\x01", "\x15",
			"SSH-2.0-OpenSSH_9.2", "get", "\x00", "GET\x01",
		}
		if !strings.Contains(text, "ssl") {
			firsts = append(firsts, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "\x80\x2e\x01")
		}
		for _, first := range firsts {
			if got := p.Same(first); got.Code() != "400" {
				t.Errorf("%q is answered with %s", first, got.Status)
			}
		}
		nginx, baton := p.Logs("logs/error.log")
		const why = "client sent invalid method while reading client request line, client: "
		if n := strings.Count(nginx, why); n != len(firsts) || n != strings.Count(baton, why) {
			t.Errorf("of %d nginx refuses %d as ones without a method, Baton %d", len(firsts), n, strings.Count(baton, why))
		}
	}
}
