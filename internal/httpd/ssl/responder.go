package ssl

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/tlsconf"
	"golang.org/x/crypto/ocsp"
)

// A responder is where an issuer tells by OCSP what it thinks of a certificate. It is
// asked when a client comes and what it said last is old; the client does not wait.
type responder struct {
	in      *instance
	staple  *stapled
	issuer  *x509.Certificate
	url     string
	host    string           // in url
	servers []netip.AddrPort // addresses of the host in url, found when the configuration was loaded

	mu     sync.Mutex
	asking bool
	next   time.Time // nobody is asked before
	valid  time.Time // until when the answer holds
}

// As nginx has it.
const (
	maxAnswerAge = time.Hour
	minAnswerAge = 5 * time.Minute
	askTimeout   = time.Minute
	maxAnswer    = 64 << 10
)

// askIssuers has the issuers of certificates asked for their answers. Who cannot be
// asked is no fault, as in nginx.
func (in *instance) askIssuers(s *conf.Scope, certs *certificates) error {
	known, err := in.issuers(s)
	if err != nil {
		return err
	}
	for _, c := range certs.fixed {
		r, why := in.newResponder(s, c, known)
		if why != "" {
			in.b.Warn(nil, "\"ssl_stapling\" ignored, "+why)
			continue
		}
		c.from = r
	}
	return nil
}

// issuers are the certificates that a server has of others.
func (in *instance) issuers(s *conf.Scope) (certs []*x509.Certificate, err error) {
	for _, d := range []string{"ssl_client_certificate", "ssl_trusted_certificate"} {
		if name := s.String(d, ""); name != "" {
			more, err := tlsconf.Authorities(in.read(name))
			if err != nil {
				return nil, conf.Errorf(nil, "%s", err)
			}
			certs = append(certs, more...)
		}
	}
	return certs, nil
}

// newResponder returns that of a certificate, or why there is none.
func (in *instance) newResponder(s *conf.Scope, c *stapled, known []*x509.Certificate) (r *responder, why string) {
	r = &responder{in: in, staple: c}
	for _, der := range c.cert.Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			known = append(known, cert)
		}
	}
	leaf := c.cert.Leaf
	for _, cert := range known {
		if bytes.Equal(cert.RawSubject, leaf.RawIssuer) && leaf.CheckSignatureFrom(cert) == nil {
			r.issuer = cert
		}
	}
	if r.issuer == nil {
		return nil, fmt.Sprintf("issuer certificate not found for certificate \"%s\"", c.name)
	}
	if r.url = s.String("ssl_stapling_responder", ""); r.url == "" && len(leaf.OCSPServer) > 0 {
		r.url = leaf.OCSPServer[0]
	}
	where := fmt.Sprintf("OCSP responder \"%s\" in the certificate \"%s\"", r.url, c.name)
	u, err := url.Parse(r.url)
	switch {
	case r.url == "":
		return nil, fmt.Sprintf("no OCSP responder URL in the certificate \"%s\"", c.name)
	case err != nil || u.Scheme != "http":
		return nil, "invalid URL prefix in " + where
	case u.Hostname() == "":
		return nil, "empty host in " + where
	}
	r.host = u.Hostname()
	port := uint16(80)
	if u.Port() != "" {
		ap, err := netip.ParseAddrPort("0.0.0.0:" + u.Port())
		if err != nil {
			return nil, "invalid port in " + where
		}
		port = ap.Port()
	}
	ips, err := in.b.Config.LookupHost(r.host)
	if err != nil {
		return nil, "host not found in " + where
	}
	for _, ip := range ips {
		r.servers = append(r.servers, netip.AddrPortFrom(ip, port))
	}
	return r, ""
}

// refresh asks for a new answer, in the background, if it is time.
func (r *responder) refresh(h *httpd.Handshake) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.valid.IsZero() && now.After(r.valid) {
		r.valid = time.Time{}
		r.staple.answer(nil)
	}
	if r.asking || now.Before(r.next) || r.in.ctx.Err() != nil {
		return
	}
	r.asking = true
	log := h.Logger()
	r.in.asking.Go(func() { // ends with the request, at the latest with Close
		response, parsed, err := r.ask()
		if err != nil && r.in.ctx.Err() == nil {
			log.Error(fmt.Sprintf("%v while requesting certificate status, responder: %s, certificate: \"%s\"", err, r.host, r.staple.name))
		}
		r.asked(response, parsed, err)
	})
}

// asked notes what came of it.
func (r *responder) asked(response []byte, parsed *ocsp.Response, err error) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asking, r.next = false, now.Add(minAnswerAge)
	if err != nil {
		return
	}
	r.staple.answer(response)
	r.next = now.Add(maxAnswerAge)
	if r.valid = parsed.NextUpdate; r.valid.IsZero() {
		return
	}
	if early := r.valid.Add(-minAnswerAge); early.Before(r.next) {
		r.next = early
	}
	if soonest := now.Add(minAnswerAge); r.next.Before(soonest) {
		r.next = soonest
	}
}

// ask gets an answer that the certificate is good.
func (r *responder) ask() (response []byte, parsed *ocsp.Response, err error) {
	question, err := ocsp.CreateRequest(r.staple.cert.Leaf, r.issuer, nil)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(r.in.ctx, askTimeout)
	defer cancel()
	to := strings.TrimSuffix(r.url, "/") + "/" + url.PathEscape(base64.StdEncoding.EncodeToString(question))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to, nil)
	if err != nil {
		return nil, nil, err
	}
	client := http.Client{Transport: &http.Transport{DialContext: r.dial, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if response, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return nil, nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("the responder answers %s", resp.Status)
	}
	if kind := resp.Header.Get("Content-Type"); kind != "application/ocsp-response" {
		return nil, nil, fmt.Errorf("the responder answers with %q", kind)
	}
	parsed, err = ocsp.ParseResponseForCert(response, r.staple.cert.Leaf, r.issuer)
	switch {
	case err != nil:
		return nil, nil, err
	case parsed.Status != ocsp.Good:
		return nil, nil, errors.New("the certificate is not called good")
	case !parsed.NextUpdate.IsZero() && time.Now().After(parsed.NextUpdate):
		return nil, nil, errors.New("the answer has expired")
	}
	return response, parsed, nil
}

// dial connects to the responder, wherever an URL that it redirects to points to.
func (r *responder) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	var d net.Dialer
	err := errors.New("no address")
	for _, a := range r.servers {
		var c net.Conn
		if c, err = d.DialContext(ctx, "tcp", a.String()); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// Close ends what is still being asked.
func (in *instance) Close() {
	in.cancel()
	in.asking.Wait()
}
