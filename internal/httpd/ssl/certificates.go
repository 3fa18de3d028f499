package ssl

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"slices"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/tlsconf"
)

// certificates are those of a server, of which the client gets one that it can use.
type certificates struct {
	// fixed has one of each kind, by rank.
	fixed []*stapled
	// open are those whose names have variables; then all are read for each handshake.
	open      []openPair
	passwords [][]byte
	conf      *conf.Config
}

var errNoCertificate = errors.New("no certificate")

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
	return c, nil
}

// rank is the kind of a certificate: OpenSSL keeps one of each, and prefers them in
// this order where the client does not.
func rank(c *tls.Certificate) int {
	switch c.PrivateKey.(type) {
	case *ecdsa.PrivateKey:
		return 0
	case ed25519.PrivateKey:
		return 1
	}
	return 2
}

// keep adds a certificate, in the place of one of the same kind.
func (c *certificates) keep(s *stapled) {
	at, found := slices.BinarySearchFunc(c.fixed, rank(&s.cert), func(s *stapled, kind int) int { return rank(&s.cert) - kind })
	if found {
		c.fixed[at] = s
		return
	}
	c.fixed = slices.Insert(c.fixed, at, s)
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
	c.keep(&stapled{cert: pair, name: in.b.Config.AbsConf(cert.Arg(0))})
	return nil
}

// file is a file's content, or that of a text that begins with "data:".
func (in *instance) file(name string) tlsconf.File {
	if data, ok := strings.CutPrefix(name, "data:"); ok {
		return tlsconf.File{Name: name, Data: []byte(data)}
	}
	return in.read(name)
}

// choose returns the one of certs that a client gets.
func (sv *server) choose(c *certificates, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	switch len(c.fixed) {
	case 0:
		return nil, errNoCertificate
	case 1:
		return c.fixed[0].current(), nil
	}
	anonymous := *hello
	anonymous.ServerName = "" // the server was chosen; nginx does not compare names
	if sv.ownOrder {
		if s := c.suits(&anonymous); s != nil {
			return s.current(), nil
		}
	} else if s := c.wished(&anonymous, sv.settings.MaxVersion); s != nil {
		return s.current(), nil
	}
	return c.fixed[0].current(), nil
}

// suits is the first certificate that the client can use; nil for none.
func (c *certificates) suits(hello *tls.ClientHelloInfo) *stapled {
	for _, s := range c.fixed {
		if hello.SupportsCertificate(&s.cert) == nil {
			return s
		}
	}
	return nil
}

// wished is the certificate that the client would rather have: as in OpenSSL the first
// of its signatures tells, and before TLS 1.3 the first of its cipher suites. newest is
// the highest version of the protocol that is spoken.
func (c *certificates) wished(hello *tls.ClientHelloInfo, newest uint16) *stapled {
	one := *hello
	if newest >= tls.VersionTLS13 && slices.Contains(hello.SupportedVersions, tls.VersionTLS13) {
		for i := range hello.SignatureSchemes {
			one.SignatureSchemes = hello.SignatureSchemes[i : i+1]
			if s := c.suits(&one); s != nil {
				return s
			}
		}
		return nil
	}
	for i := range hello.CipherSuites {
		one.CipherSuites = hello.CipherSuites[i : i+1]
		if s := c.suits(&one); s != nil {
			return s
		}
	}
	return nil
}

// read reads the certificates of a handshake, as the process that does it may.
func (c *certificates) read(h *httpd.Handshake) (*certificates, error) {
	now := &certificates{fixed: slices.Clone(c.fixed)}
	for _, p := range c.open {
		cert, err := tlsconf.Certificate(c.load(h.Text(p.cert)), c.load(h.Text(p.key)), c.passwords)
		if err != nil {
			return nil, err
		}
		now.keep(&stapled{cert: cert})
	}
	return now, nil
}

func (c *certificates) load(name string) tlsconf.File {
	if data, ok := strings.CutPrefix(name, "data:"); ok {
		return tlsconf.File{Name: "data:", Data: []byte(data)} // a key may be in it
	}
	f := tlsconf.File{Name: c.conf.AbsConf(name)}
	f.Data, f.Err = c.conf.ReadLate(name)
	return f
}
