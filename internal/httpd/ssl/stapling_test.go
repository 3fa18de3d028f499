package ssl_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"github.com/baton-deploy/baton/internal/testbed"
	"golang.org/x/crypto/ocsp"
)

// serveOCSP answers for ca what status says.
func serveOCSP(t *testing.T, ca *testbed.Authority, status *atomic.Int32) (addr string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), "/"))
		if err != nil {
			t.Error(err)
		}
		der, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Errorf("question %q: %v", text, err)
			return
		}
		q, err := ocsp.ParseRequest(der)
		if err != nil {
			t.Error(err)
			return
		}
		answer, err := ocsp.CreateResponse(ca.Cert, ca.Cert, ocsp.Response{
			Status: int(status.Load()), SerialNumber: q.SerialNumber,
			ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour),
			Certificate: ca.Cert,
		}, ca.Key)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/ocsp-response")
		_, _ = w.Write(answer)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestStapling(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	var good, bad atomic.Int32
	bad.Store(ocsp.Revoked)
	files := a.files()
	for name, at := range map[string]string{"good": serveOCSP(t, a.ca, &good), "bad": serveOCSP(t, a.ca, &bad)} {
		cert := a.ca.Issue(testbed.Certificate{Name: name + ".example.com", OCSP: at})
		files[name+".crt"], files[name+".key"] = cert.CertPEM(), cert.KeyPEM()
	}
	fixed, err := ocsp.CreateResponse(a.ca.Cert, a.ca.Cert, ocsp.Response{SerialNumber: a.site.Cert.SerialNumber, ThisUpdate: time.Now()}, a.ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	files["response"] = string(fixed)
	p := sidebyside.Start(t, certificate+`
		server { listen ADDR ssl; server_name none; }
		server { listen ADDR ssl; server_name fixed; ssl_stapling on; ssl_stapling_file ROOT/response; }
		server { listen ADDR ssl; server_name good; ssl_stapling on; ssl_trusted_certificate ROOT/ca.crt;
			ssl_certificate ROOT/good.crt; ssl_certificate_key ROOT/good.key; }
		server { listen ADDR ssl; server_name bad; ssl_stapling on; ssl_trusted_certificate ROOT/ca.crt;
			ssl_certificate ROOT/bad.crt; ssl_certificate_key ROOT/bad.key; }`, files)
	got := func(addr, name string) []byte {
		return dial(t, addr, named(name)).ConnectionState().OCSPResponse
	}
	for _, addr := range []string{p.Nginx, p.Baton} {
		if r := got(addr, "none"); r != nil {
			t.Errorf("%s: a response of %d bytes that nobody asked for", addr, len(r))
		}
		if r := got(addr, "fixed"); string(r) != string(fixed) {
			t.Errorf("%s: a response of %d bytes, want that of the file", addr, len(r))
		}
		c := named("good")
		for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
			conn, err := tryDial(addr, c)
			if err != nil {
				t.Fatal(err)
			}
			state := conn.ConnectionState()
			conn.Close()
			if r, err := ocsp.ParseResponse(state.OCSPResponse, a.ca.Cert); err == nil && r.Status == ocsp.Good {
				break
			}
			if time.Now().After(end) {
				t.Errorf("%s: no response is stapled", addr)
				break
			}
		}
		if r := got(addr, "bad"); r != nil {
			t.Errorf("%s: a response of %d bytes for a certificate that is not good", addr, len(r))
		}
	}
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if _, log := p.Logs("logs/error.log"); strings.Contains(log, "the certificate is not called good while requesting certificate status, responder: 127.0.0.1, certificate: ") {
			break
		}
		if time.Now().After(end) {
			t.Error("the log does not say that the responder does not like the certificate")
			break
		}
	}
	if r := got(p.Baton, "bad"); r != nil {
		t.Errorf("a response of %d bytes for a certificate that is not good", len(r))
	}
}
