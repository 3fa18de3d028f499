package testbed

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// An Authority issues certificates, or is one that was issued.
type Authority struct {
	Cert *x509.Certificate
	Key  crypto.Signer
	t    testing.TB
}

// NewAuthority returns one that vouches for itself, for the length of a test.
func NewAuthority(t testing.TB, name string) *Authority {
	t.Helper()
	return (&Authority{t: t}).Issue(Certificate{Name: name, CA: true})
}

// A Certificate is what is to be in one.
type Certificate struct {
	Name  string // common name, and a host name unless CA is set
	Hosts []string
	CA    bool
	RSA   bool          // else ECDSA P-256
	Ends  time.Duration // from now; 0 means in an hour, less than 0 that it has expired
	Usage x509.ExtKeyUsage
	OCSP  string // URL of a responder; "" for none
}

// Issue makes a certificate and its key. Without a certificate of a's own it vouches
// for itself.
func (a *Authority) Issue(c Certificate) *Authority {
	a.t.Helper()
	var key crypto.Signer
	var err error
	if c.RSA {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		a.t.Fatal(err)
	}
	ends := c.Ends
	if ends == 0 {
		ends = time.Hour
	}
	want := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: c.Name, Organization: []string{"Example, Inc."}, Country: []string{"NZ"}},
		NotBefore:    time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(ends),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true, IsCA: c.CA,
	}
	if c.CA {
		want.KeyUsage |= x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	} else {
		want.DNSNames = append([]string{c.Name}, c.Hosts...)
		if c.OCSP != "" {
			want.OCSPServer = []string{c.OCSP}
		}
		if c.Usage != 0 {
			want.ExtKeyUsage = []x509.ExtKeyUsage{c.Usage}
		}
	}
	issuer, signer := want, key
	if a.Cert != nil {
		issuer, signer = a.Cert, a.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, want, issuer, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return &Authority{Cert: cert, Key: key, t: a.t}
}

// CertPEM is the certificate, and KeyPEM its key, as a file holds it.
func (a *Authority) CertPEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Cert.Raw}))
}

// KeyPEM: see CertPEM.
func (a *Authority) KeyPEM() string {
	a.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(a.Key)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// Pool trusts the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Cert)
	return pool
}

// Revoke returns a list that names certificates, as a file holds it.
func (a *Authority) Revoke(certs ...*Authority) string {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range certs {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.Cert.SerialNumber, RevocationTime: time.Now().Add(-time.Hour)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.Cert, a.Key)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}
