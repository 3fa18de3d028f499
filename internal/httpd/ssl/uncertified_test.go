package ssl_test

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"github.com/baton-deploy/baton/internal/testbed"
)

// A server without a certificate shows that of the default server. All else that it
// says of TLS counts, whether the client names it in the handshake or in the request.
func TestSettingsOfServerWithoutCertificate(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	files := a.files()
	between := a.ca.Issue(testbed.Certificate{Name: "Between CA", CA: true})
	deep := between.Issue(testbed.Certificate{Name: "far away"})
	revoked := a.ca.Issue(testbed.Certificate{Name: "revoked"})
	files["crl"], files["deep.crl"] = a.ca.Revoke(revoked), a.ca.Revoke()+between.Revoke()
	const place = ` location / { return 200 "$server_name $ssl_protocol $ssl_client_verify $ssl_alpn_protocol"; } }
		server { listen ADDR; server_name `
	p := sidebyside.StartAlone(t, `server { listen ADDR ssl default_server; http2 on; server_name plain; ssl_protocols TLSv1.2 TLSv1.3;
		ssl_certificate ROOT/site.crt; ssl_certificate_key ROOT/site.key; `+place+
		`on; ssl_verify_client on; ssl_client_certificate ROOT/ca.crt; `+place+
		`optional; ssl_verify_client optional; ssl_client_certificate ROOT/ca.crt; `+place+
		`trusted; ssl_verify_client on; ssl_trusted_certificate ROOT/ca.crt; `+place+
		`nobody; ssl_verify_client on; `+place+
		`noca; ssl_verify_client optional_no_ca; `+place+
		`depth; ssl_verify_client on; ssl_verify_depth 2; ssl_client_certificate ROOT/ca.crt; `+place+
		`crl; ssl_verify_client on; ssl_client_certificate ROOT/ca.crt; ssl_crl ROOT/crl; `+place+
		`old; ssl_protocols TLSv1.2; `+place+
		`new; ssl_protocols TLSv1.3; `+place+
		`one; http2 off; `+place+
		`two; http2 on; `+place+
		`refused; ssl_reject_handshake on; return 200 refused; } server { listen ADDR; server_name last; }`, files)
	client := func(chain ...*testbed.Authority) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		cert := &tls.Certificate{}
		for i, c := range chain {
			if i == 0 {
				cert.PrivateKey = c.Key
			}
			cert.Certificate = append(cert.Certificate, c.Cert.Raw)
		}
		return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	none, good := client(), client(a.ca.Issue(testbed.Certificate{Name: "good"}))
	stranger := client(testbed.NewAuthority(t, "Strange CA"))
	for _, c := range []struct {
		name   string // in the handshake
		host   string // in the request; "" is the same
		shows  func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
		status string
		body   string
	}{
		{"on", "", none, "400", "No required SSL certificate was sent"},
		{"on", "", good, "200", "on TLSv1.3 SUCCESS"},
		{"on", "", stranger, "400", "The SSL certificate error"},
		{"optional", "", none, "200", "optional TLSv1.3 NONE"},
		{"optional", "", good, "200", "optional TLSv1.3 SUCCESS"},
		{"optional", "", stranger, "400", "The SSL certificate error"},
		{"trusted", "", none, "400", "No required SSL certificate was sent"},
		{"trusted", "", good, "200", "trusted TLSv1.3 SUCCESS"},
		{"nobody", "", none, "400", "No required SSL certificate was sent"},
		{"nobody", "", good, "400", "The SSL certificate error"},
		{"noca", "", stranger, "200", "noca TLSv1.3 FAILED:self-signed certificate"},
		{"depth", "", client(deep, between), "200", "depth TLSv1.3 SUCCESS"},
		{"on", "", client(deep, between), "200", "on TLSv1.3 SUCCESS"},
		{"crl", "", good, "200", "crl TLSv1.3 SUCCESS"},
		{"crl", "", client(revoked), "400", "The SSL certificate error"},
		{"old", "", none, "200", "old TLSv1.2 NONE"},
		{"new", "", none, "200", "new TLSv1.3 NONE"},
		// One that is asked for over a connection for another one.
		{"plain", "on", none, "421", "Misdirected"},
		{"plain", "optional", good, "421", "Misdirected"},
		{"old", "crl", good, "421", "Misdirected"},
		{"on", "optional", good, "421", "Misdirected"},
		{"on", "plain", good, "200", "plain TLSv1.3 NONE"},
		{"plain", "old", none, "200", "old TLSv1.3 NONE"},
		{"", "on", none, "400", "No required SSL certificate was sent"},
		{"unknown", "on", none, "400", "No required SSL certificate was sent"},
		{"unknown", "optional", good, "200", "optional TLSv1.3 NONE"}, // the default server asks for none
	} {
		host := c.host
		if host == "" {
			host = c.name
		}
		t.Run(fmt.Sprintf("%s by %q: %s %s", host, c.name, c.status, c.body), func(t *testing.T) {
			config := named(c.name)
			config.GetClientCertificate = c.shows
			got := ask(t, p.Baton, config, hostOf(host, "/"))
			if got.Code() != c.status || !strings.Contains(got.Body, c.body) {
				t.Errorf("%s %q", got.Status, got.Body)
			}
		})
	}
	for name, want := range map[string]string{"plain": "h2", "two": "h2", "on": "http/1.1", "one": "http/1.1", "unknown": "h2"} {
		config := named(name)
		config.NextProtos = []string{"h2", "http/1.1"}
		if got := dial(t, p.Baton, config).ConnectionState().NegotiatedProtocol; got != want {
			t.Errorf("%s agrees on %s, not %s", name, got, want)
		}
	}
	for name, version := range map[string]uint16{"old": tls.VersionTLS13, "new": tls.VersionTLS12} {
		config := named(name)
		config.MinVersion, config.MaxVersion = version, version
		if _, err := tryDial(p.Baton, config); err == nil || !strings.Contains(err.Error(), "protocol version") {
			t.Errorf("%s speaks %s: %v", name, tls.VersionName(version), err)
		}
	}
	if _, err := tryDial(p.Baton, named("refused")); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("a handshake that is to be refused: %v", err)
	}
}

// Suites whose time tells something of the text are spoken only where they are named.
func TestTimedSuitesMustBeNamed(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	p := sidebyside.StartAlone(t, certificate+`server { listen ADDR ssl; server_name default; }
		server { listen ADDR ssl; server_name high; ssl_ciphers HIGH:!aNULL; }
		server { listen ADDR ssl; server_name named; ssl_ciphers HIGH:ECDHE-ECDSA-AES128-SHA256; location / { return 200 "$ssl_cipher"; } }`, a.files())
	for _, name := range []string{"default", "high", "named"} {
		config := named(name)
		config.MaxVersion, config.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256}
		if name == "named" {
			if got := ask(t, p.Baton, config, hostOf(name, "/")); got.Body != "ECDHE-ECDSA-AES128-SHA256" {
				t.Errorf("the suite that is named: %s %q", got.Status, got.Body)
			}
		} else if _, err := tryDial(p.Baton, config); err == nil || !strings.Contains(err.Error(), "handshake failure") {
			t.Errorf("%s: a suite that nobody named: %v", name, err)
		}
	}
}

// A certificate of a client is one line in a field: what begins its lines stays, so that
// whoever gets it can put it together.
func TestFoldedCertificateInFields(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	client := a.ca.Issue(testbed.Certificate{Name: "a client"})
	p := sidebyside.StartAlone(t, `server { listen ADDR ssl; `+certificate+`ssl_verify_client on; ssl_client_certificate ROOT/ca.crt;
		location / { add_header X-Cert $ssl_client_cert; add_header X-Raw $ssl_client_raw_cert; return 200 x; }
		location /proxy { proxy_set_header X-Cert $ssl_client_cert; proxy_pass http://unix:ROOT/s; } }
		server { listen unix:ROOT/s; location / { return 200 "$http_x_cert"; } }`, a.files())
	config := named("a")
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{client.Cert.Raw}, PrivateKey: client.Key}, nil
	}
	want := strings.ReplaceAll(strings.TrimSpace(client.CertPEM()), "\n", "\t")
	got := ask(t, p.Baton, config, hostOf("a", "/"))
	if got.Field("X-Cert") != want || got.Field("X-Raw") != "" {
		t.Errorf("fields %q, %q", got.Field("X-Cert"), got.Field("X-Raw"))
	}
	if got := ask(t, p.Baton, config, hostOf("a", "/proxy")); got.Body != want {
		t.Errorf("the server behind gets %q", got.Body)
	}
}
