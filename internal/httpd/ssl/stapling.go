package ssl

import (
	"crypto/tls"
	"sync/atomic"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/tlsconf"
)

// A stapled is a certificate with what its issuer says of it by OCSP.
type stapled struct {
	cert tls.Certificate
	name string
	now  atomic.Pointer[tls.Certificate] // with an answer; nil: there is none
	from *responder                      // who is asked for an answer; nil: nobody
}

// current is the certificate as it is sent now.
func (s *stapled) current() *tls.Certificate {
	if c := s.now.Load(); c != nil {
		return c
	}
	return &s.cert
}

// answer makes a response of the issuer go with the certificate; nil takes it away.
func (s *stapled) answer(response []byte) {
	if response == nil {
		s.now.Store(nil)
		return
	}
	c := s.cert
	c.OCSPStaple = response
	s.now.Store(&c)
}

// staple reads what is to be sent of the issuers' answers.
func (in *instance) staple(s *conf.Scope, certs *certificates) error {
	on, err := s.Flag("ssl_stapling", false)
	if err != nil || !on {
		return err
	}
	if name := s.String("ssl_stapling_file", ""); name != "" {
		response, err := tlsconf.OCSPResponse(in.read(name))
		if err != nil {
			return conf.Errorf(nil, "%s", err)
		}
		for _, c := range certs.fixed {
			c.answer(response)
		}
		return nil
	}
	return in.askIssuers(s, certs)
}
