package gateway

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"testing"
)

// Names are compared as OpenSSL compares them: the common name counts where there is
// no other.
func TestCertificateIsForAHost(t *testing.T) {
	common := func(name string) *x509.Certificate { return &x509.Certificate{Subject: pkix.Name{CommonName: name}} }
	named := common("common.example.com")
	named.DNSNames = []string{"www.example.com", "*.wild.example.com", "192.0.2.7"}
	address := common("common.example.com")
	address.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 1)}
	for _, x := range []struct {
		cert *x509.Certificate
		host string
		want bool
	}{
		{named, "www.example.com", true}, {named, "WWW.Example.com", true}, {named, "a.wild.example.com", true}, {named, "a.b.wild.example.com", false},
		{named, "wild.example.com", false}, {named, "common.example.com", false}, {named, "", false}, {named, "192.0.2.7", true}, {named, "192.0.2.8", false},
		{address, "192.0.2.1", true}, {address, "192.0.2.2", false}, {address, "common.example.com", true},
		{common("a.example.com"), "A.example.com", true}, {common("a.example.com"), "b.example.com", false}, {common("*.example.com"), "b.example.com", true},
		{common("*.example.com"), "a.b.example.com", false}, {common("*.example.com"), "example.com", false}, {common("*.com"), "example.com", false}, {common(""), "", false},
	} {
		if got := isFor(x.cert, x.host); got != x.want {
			t.Errorf("%q with names %v is for %q: %v", x.cert.Subject.CommonName, x.cert.DNSNames, x.host, got)
		}
	}
}
