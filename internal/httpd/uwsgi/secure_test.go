package uwsgi_test

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"regexp"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"github.com/baton-deploy/baton/internal/testbed"
)

// tell answers a request with its packet and the name that was asked for.
func tell(c net.Conn, br *bufio.Reader) {
	var head [4]byte
	if _, err := io.ReadFull(br, head[:]); err != nil {
		return
	}
	packet := make([]byte, binary.LittleEndian.Uint16(head[1:]))
	if _, err := io.ReadFull(br, packet); err != nil {
		return
	}
	name := "no TLS"
	if tc, ok := c.(*tls.Conn); ok {
		name = tc.ConnectionState().ServerName
	}
	fmt.Fprintf(c, "Status: 200 Fine\r\nContent-Type: text/plain\r\n\r\n%d %d %q %s", head[0], head[3], packet, name)
}

// Servers that speak uwsgi within TLS are asked and checked as nginx does it.
func TestSecureServers(t *testing.T) {
	t.Parallel()
	ca := testbed.NewAuthority(t, "Test CA")
	leaf := ca.Issue(testbed.Certificate{Name: "app.example.com"})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{Certificate: [][]byte{leaf.Cert.Raw}, PrivateKey: leaf.Key}
	sidebyside.ScriptOn(t, tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}}), tell)
	secure, plain := ln.Addr().String(), sidebyside.Script(t, tell)
	p := sidebyside.Start(t, `
uwsgi_ssl_trusted_certificate ROOT/ca.pem;
uwsgi_param A b;
server {
	listen ADDR;
	location /plain { uwsgi_modifier1 5; uwsgi_modifier2 6; uwsgi_string tail; uwsgi_pass uwsgi://`+plain+`; }
	location /unchecked { uwsgi_ssl_session_reuse off; uwsgi_pass suwsgi://`+secure+`; }
	location /checked { uwsgi_ssl_verify on; uwsgi_ssl_name app.example.com; uwsgi_ssl_server_name on; uwsgi_pass suwsgi://`+secure+`; }
	location /wrong { uwsgi_ssl_verify on; uwsgi_ssl_name other.example.com; uwsgi_pass suwsgi://`+secure+`; }
	location /variable { uwsgi_ssl_session_reuse off; uwsgi_pass $arg_to; }
}`, sidebyside.Files{"ca.pem": ca.CertPEM()})
	for path, code := range map[string]string{
		"/plain": "200", "/unchecked": "200", "/checked": "200", "/wrong": "502",
		"/variable?to=suwsgi://" + secure: "200", "/variable?to=uwsgi://" + plain: "200", "/variable?to=" + plain: "200",
	} {
		if a := p.Same(sidebyside.Get(path)); a.Code() != code {
			t.Errorf("%s: %s", path, a)
		}
	}
	p.SameLogs("logs/error.log", regexp.MustCompile(`certificate|app.example`))
}
