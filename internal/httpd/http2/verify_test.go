package http2_test

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"github.com/baton-deploy/baton/internal/testbed"
)

// A client that must show a certificate must do so for HTTP/2, too, and may ask only for
// the host that its handshake was for.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	ca, stranger := testbed.NewAuthority(t, "Test CA"), testbed.NewAuthority(t, "Another CA")
	site := ca.Issue(testbed.Certificate{Name: "www.example.com"})
	p := sidebyside.Start(t, `
		ssl_certificate ROOT/site.crt; ssl_certificate_key ROOT/site.key;
		ssl_client_certificate ROOT/ca.crt;
		server {
			listen ADDR ssl http2; server_name on;
			ssl_verify_client on;
			location / { return 200 "$ssl_client_verify $ssl_client_s_dn\n"; }
			error_page 495 /own;
			location /own { return 403 "own\n"; }
		}
		server { listen ADDR ssl http2; server_name optional; ssl_verify_client optional; return 200 "$ssl_client_verify\n"; }
		server { listen ADDR ssl http2; server_name off; return 200 "off\n"; }
	`, sidebyside.Files{"site.crt": site.CertPEM(), "site.key": site.KeyPEM(), "ca.crt": ca.CertPEM()})
	clients := map[string]*testbed.Authority{
		"none": nil, "good": ca.Issue(testbed.Certificate{Name: "client"}),
		"expired": ca.Issue(testbed.Certificate{Name: "client", Ends: -time.Hour}),
		"strange": stranger.Issue(testbed.Certificate{Name: "client"}),
	}
	for name, cert := range clients {
		for _, named := range []string{"on", "optional", "off", ""} {
			for _, host := range []string{"on", "optional", "off"} {
				t.Run(name+" for "+host+" by "+named, func(t *testing.T) {
					q := of(":method: GET", ":scheme: https", ":path: /", ":authority: "+host)
					nginx := q.overTLS(t, p.Nginx, named, cert)
					baton := q.overTLS(t, p.Baton, named, cert)
					if n, b := p.Neutral(nginx).String(), p.Neutral(baton).String(); n != b {
						t.Errorf("--- nginx\n%s\n--- baton\n%s", n, b)
					}
				})
			}
		}
	}
}

// overTLS asks at addr, with a handshake for the server named and with a certificate, if
// there is one.
func (q question) overTLS(t *testing.T, addr, named string, cert *testbed.Authority) sidebyside.Answer {
	t.Helper()
	conf := &tls.Config{InsecureSkipVerify: true, ServerName: named, NextProtos: []string{"h2"}}
	if cert != nil {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: [][]byte{cert.Cert.Raw}, PrivateKey: cert.Key}, nil
		}
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p := greet(t, tls.Client(c, conf))
	defer p.Conn.Close()
	p.ask(1, true, q.fields...)
	return p.answer(1)
}
