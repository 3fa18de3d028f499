package ssl

import (
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/tlsconf"
)

// clients is what a server wants of the certificates of its clients. A handshake never
// fails for them: who does not suit gets an answer that says so, as in nginx.
type clients struct {
	mode     string
	named    *x509.CertPool // whose certificates the client is asked for
	verifier tlsconf.Verifier
}

// Values of ssl_verify_client.
const (
	verifyOn         = "on"
	verifyOptional   = "optional"
	verifyOptionalNo = "optional_no_ca"
)

const (
	statusCertError = 495
	statusNoCert    = 496
)

// newClients returns nil when clients need no certificate. The files are read all the
// same: a fault in them is one. A server that is certified must name somebody whom it
// trusts; as in nginx another one need not, and then no client suits.
func (in *instance) newClients(s *conf.Scope, certified bool) (*clients, error) {
	mode, err := s.Enum("ssl_verify_client", "off", "off", verifyOn, verifyOptional, verifyOptionalNo)
	if err != nil {
		return nil, err
	}
	depth, err := s.Int("ssl_verify_depth", 1)
	if err != nil {
		return nil, err
	}
	c := &clients{mode: mode, named: x509.NewCertPool()}
	c.verifier.Depth, c.verifier.Usage = depth, x509.ExtKeyUsageClientAuth
	asked := s.String("ssl_client_certificate", "")
	trusted := s.String("ssl_trusted_certificate", "")
	if certified && asked == "" && trusted == "" && (mode == verifyOn || mode == verifyOptional) {
		return nil, conf.Errorf(nil, "no ssl_client_certificate or ssl_trusted_certificate for ssl_verify_client")
	}
	for _, name := range []string{asked, trusted} {
		if name == "" {
			continue
		}
		certs, err := tlsconf.Authorities(in.read(name))
		if err != nil {
			return nil, conf.Errorf(nil, "%s", err)
		}
		c.verifier.Trusted = append(c.verifier.Trusted, certs...)
		if name == asked {
			for _, cert := range certs {
				c.named.AddCert(cert)
			}
		}
	}
	if name := s.String("ssl_crl", ""); name != "" {
		if c.verifier.CRLs, err = tlsconf.RevocationLists(in.read(name)); err != nil {
			return nil, conf.Errorf(nil, "%s", err)
		}
	}
	if mode == "off" {
		return nil, nil
	}
	return c, nil
}

// describe writes what makes a session of this server's no good for another one.
func (c *clients) describe(w io.Writer) {
	fmt.Fprint(w, c.mode)
	for _, cert := range c.verifier.Trusted {
		_, _ = w.Write(cert.Raw) // a hash
	}
}

// A judgement is what came of looking at the certificate of a connection's client, by
// one server.
type judgement struct {
	by      *clients
	verdict tlsconf.Verdict
}

// judge looks at the client's certificate, which must be there, once for a connection;
// more often when requests come at once.
func (c *clients) judge(t *httpd.TLSState) tlsconf.Verdict {
	if j, ok := t.Verdict.Load().(judgement); ok && j.by == c {
		return j.verdict
	}
	v := c.verifier.Verify(t.PeerCertificates, time.Now())
	t.Verdict.Store(judgement{c, v})
	return v
}

// admit returns 0, or the status of a client that does not suit.
func (c *clients) admit(r *httpd.Request) int {
	t := r.TLS()
	if len(t.PeerCertificates) == 0 {
		if c.mode == verifyOn {
			r.Log(slog.LevelInfo, "client sent no required SSL certificate", nil)
			return statusNoCert
		}
		return 0
	}
	v := c.judge(t)
	if v == tlsconf.Verified || c.mode == verifyOptionalNo && v.AboutIssuer() {
		return 0
	}
	r.Log(slog.LevelInfo, fmt.Sprintf("client SSL certificate verify error: (%d:%s)", int(v), v), nil)
	return statusCertError
}
