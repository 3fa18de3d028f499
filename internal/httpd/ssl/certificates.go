package ssl

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/tls"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/tlsconf"
)

// certificates are those of a server, of which the client gets one that it can use.
type certificates struct {
	fixed []*stapled
	// open are those whose names have variables; then all are read for each handshake.
	open      []openPair
	passwords [][]byte
	conf      *conf.Config
}

// An openPair is the names of a certificate and its key.
type openPair struct {
	cert, key httpd.Template
	text      string // of cert
}

// newCertificates returns nil when there are none.
func (in *instance) newCertificates(s *conf.Scope) (*certificates, error) {
	certs, keys := s.All("ssl_certificate"), s.All("ssl_certificate_key")
	if len(certs) == 0 {
		return nil, nil
	}
	if len(keys) < len(certs) {
		return nil, conf.Errorf(nil, "no \"ssl_certificate_key\" is defined for certificate \"%s\"",
			certs[len(certs)-1].Arg(0))
	}
	c := &certificates{conf: in.b.Config}
	if d := s.One("ssl_password_file"); d != nil {
		f := in.read(d.Arg(0))
		if f.Err != nil {
			return nil, conf.Errorf(d, "%s", f.Err)
		}
		c.passwords = tlsconf.Passwords(f.Data)
	}
	for i, d := range certs {
		if err := in.add(c, d, keys[i]); err != nil {
			return nil, err
		}
	}
	// OpenSSL, asked by a client that takes any, gives the newer kind.
	slices.SortStableFunc(c.fixed, func(a, b *stapled) int { return rank(&a.cert) - rank(&b.cert) })
	return c, nil
}

func rank(c *tls.Certificate) int {
	switch c.PrivateKey.(type) {
	case *ecdsa.PrivateKey, ed25519.PrivateKey:
		return 0
	}
	return 1
}

func (in *instance) add(c *certificates, cert, key *conf.Directive) error {
	p := openPair{text: cert.Arg(0)}
	var err error
	// Faults have no place: nginx finds them when it has read all.
	if p.cert, err = in.b.Template(nil, cert.Arg(0)); err != nil {
		return conf.Errorf(nil, "%s", err)
	}
	if p.key, err = in.b.Template(nil, key.Arg(0)); err != nil {
		return conf.Errorf(nil, "%s", err)
	}
	_, certFixed := p.cert.Static()
	_, keyFixed := p.key.Static()
	if !certFixed || !keyFixed {
		c.open = append(c.open, p)
		return nil
	}
	pair, err := tlsconf.Certificate(in.file(cert.Arg(0)), in.file(key.Arg(0)), c.passwords)
	if err != nil {
		return conf.Errorf(nil, "%s", err)
	}
	c.fixed = append(c.fixed, &stapled{cert: pair, name: in.b.Config.AbsConf(cert.Arg(0))})
	return nil
}

// file is a file's content, or that of a text that begins with "data:".
func (in *instance) file(name string) tlsconf.File {
	if data, ok := strings.CutPrefix(name, "data:"); ok {
		return tlsconf.File{Name: name, Data: []byte(data)}
	}
	return in.read(name)
}

// choose returns the certificate for a client.
func (c *certificates) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if len(c.fixed) == 0 {
		return nil, fmt.Errorf("no certificate")
	}
	anonymous := *hello
	anonymous.ServerName = "" // the server was chosen; nginx does not compare names
	for _, s := range c.fixed {
		cert := s.current()
		if len(c.fixed) == 1 || anonymous.SupportsCertificate(cert) == nil {
			return cert, nil
		}
	}
	return c.fixed[0].current(), nil
}

// read reads the certificates of a handshake, as the process that does it may.
func (c *certificates) read(h *httpd.Handshake) (*certificates, error) {
	now := &certificates{fixed: slices.Clone(c.fixed)}
	for _, p := range c.open {
		cert, err := tlsconf.Certificate(c.load(h.Text(p.cert)), c.load(h.Text(p.key)), c.passwords)
		if err != nil {
			return nil, err
		}
		now.fixed = append(now.fixed, &stapled{cert: cert})
	}
	return now, nil
}

func (c *certificates) load(name string) tlsconf.File {
	if data, ok := strings.CutPrefix(name, "data:"); ok {
		return tlsconf.File{Name: "data:", Data: []byte(data)} // a key may be in it
	}
	f := tlsconf.File{Name: c.conf.AbsConf(name)}
	f.Data, f.Err = os.ReadFile(f.Name)
	return f
}
