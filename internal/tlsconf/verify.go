package tlsconf

import (
	"bytes"
	"crypto/x509"
	"slices"
	"time"
)

// A Verdict is what came of looking at a peer's certificate: one of OpenSSL's codes,
// 0 when all is well.
type Verdict int

// OpenSSL's codes, X509_V_ERR_… in x509_vfy.h.
const (
	Verified          Verdict = 0
	noIssuer          Verdict = 2
	noCRL             Verdict = 3
	notYetValid       Verdict = 9
	hasExpired        Verdict = 10
	crlNotYetValid    Verdict = 11
	crlExpired        Verdict = 12
	selfSigned        Verdict = 18
	selfSignedInChain Verdict = 19
	noLocalIssuer     Verdict = 20
	unverifiedLeaf    Verdict = 21
	revoked           Verdict = 23
	wrongPurpose      Verdict = 26
	wrongName         Verdict = 62
	invalidCA         Verdict = 79
)

// String is OpenSSL's text.
func (v Verdict) String() string {
	switch v {
	case Verified:
		return "ok"
	case noIssuer:
		return "unable to get issuer certificate"
	case noCRL:
		return "unable to get certificate CRL"
	case notYetValid:
		return "certificate is not yet valid"
	case hasExpired:
		return "certificate has expired"
	case crlNotYetValid:
		return "CRL is not yet valid"
	case crlExpired:
		return "CRL has expired"
	case selfSigned:
		return "self-signed certificate"
	case selfSignedInChain:
		return "self-signed certificate in certificate chain"
	case noLocalIssuer:
		return "unable to get local issuer certificate"
	case unverifiedLeaf:
		return "unable to verify the first certificate"
	case revoked:
		return "certificate revoked"
	case wrongPurpose:
		return "unsuitable certificate purpose"
	case wrongName:
		return "hostname mismatch"
	}
	return "invalid CA certificate"
}

// AboutIssuer reports whether the fault is only that nobody we know vouches for the
// certificate.
func (v Verdict) AboutIssuer() bool {
	return slices.Contains([]Verdict{noIssuer, selfSigned, selfSignedInChain, noLocalIssuer, unverifiedLeaf}, v)
}

// A Verifier checks the certificates of peers as OpenSSL does when its callback lets
// nothing end the check: of several faults the last counts.
type Verifier struct {
	Trusted []*x509.Certificate
	CRLs    []*x509.RevocationList
	// Depth is how many certificates may be between that of the peer and the one that
	// is trusted.
	Depth int
	// Usage is what the certificate must be for.
	Usage x509.ExtKeyUsage
}

// A chain is a certificate and those that vouch for it, as far as they are known.
type chain struct {
	certs   []*x509.Certificate
	trusted int // how many of the last ones are among those that are trusted
}

// Verify looks at the certificates that a peer has sent, its own first.
func (v *Verifier) Verify(sent []*x509.Certificate, now time.Time) Verdict {
	c, verdict := v.build(sent)
	for _, look := range []func(*chain, time.Time) Verdict{v.purposes, v.revocations, v.signatures} {
		if found := look(c, now); found != Verified {
			verdict = found
		}
	}
	return verdict
}

// build finds who vouches for whom.
func (v *Verifier) build(sent []*x509.Certificate) (*chain, Verdict) {
	c := &chain{certs: sent[:1:1]}
	if v.trusts(sent[0]) {
		c.trusted = 1
	}
	for {
		last := c.certs[len(c.certs)-1]
		if vouchesFor(last, last) {
			return c, v.endOf(c)
		}
		if len(c.certs) > v.Depth+1 {
			// OpenSSL says so, too, and then what follows from it, which is what counts.
			if c.trusted > 0 {
				return c, noIssuer
			}
			return c, noLocalIssuer
		}
		issuer := find(v.Trusted, last)
		switch {
		case issuer != nil:
			c.trusted++
		case c.trusted > 0:
			return c, noIssuer
		default:
			if issuer = find(sent[1:], last); issuer == nil || slices.Contains(c.certs, issuer) {
				return c, noLocalIssuer
			}
		}
		c.certs = append(c.certs, issuer)
	}
}

// endOf judges a chain that ends with a certificate that vouches for itself.
func (v *Verifier) endOf(c *chain) Verdict {
	switch {
	case c.trusted > 0:
		return Verified
	case len(c.certs) == 1:
		return selfSigned
	}
	return selfSignedInChain
}

func (v *Verifier) trusts(cert *x509.Certificate) bool {
	return slices.ContainsFunc(v.Trusted, cert.Equal)
}

// find returns the one of certs that vouches for cert.
func find(certs []*x509.Certificate, cert *x509.Certificate) *x509.Certificate {
	for _, c := range certs {
		if vouchesFor(c, cert) {
			return c
		}
	}
	return nil
}

// vouchesFor reports whether issuer has signed cert, by name and key; what it may sign
// is looked at later.
func vouchesFor(issuer, cert *x509.Certificate) bool {
	return bytes.Equal(issuer.RawSubject, cert.RawIssuer) &&
		issuer.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil
}

// purposes looks whether each certificate may be used as it is.
func (v *Verifier) purposes(c *chain, _ time.Time) Verdict {
	verdict := Verified
	for i, cert := range c.certs {
		if i > 0 && cert.Version >= 3 && (!cert.BasicConstraintsValid || !cert.IsCA) {
			verdict = invalidCA
		}
		uses := cert.ExtKeyUsage
		if len(uses)+len(cert.UnknownExtKeyUsage) > 0 &&
			!slices.Contains(uses, v.Usage) && !slices.Contains(uses, x509.ExtKeyUsageAny) {
			verdict = wrongPurpose
		}
	}
	return verdict
}

// revocations looks whether any certificate was revoked, when there are lists at all.
func (v *Verifier) revocations(c *chain, now time.Time) Verdict {
	if len(v.CRLs) == 0 {
		return Verified
	}
	verdict := Verified
	for i, cert := range c.certs {
		issuer := c.certs[min(i+1, len(c.certs)-1)]
		if found := v.revocation(cert, issuer, now); found != Verified {
			verdict = found
		}
	}
	return verdict
}

func (v *Verifier) revocation(cert, issuer *x509.Certificate, now time.Time) Verdict {
	verdict := noCRL
	for _, list := range v.CRLs {
		if !bytes.Equal(list.RawIssuer, cert.RawIssuer) || list.CheckSignatureFrom(issuer) != nil {
			continue
		}
		for _, e := range list.RevokedCertificateEntries {
			if e.SerialNumber.Cmp(cert.SerialNumber) == 0 {
				return revoked
			}
		}
		switch {
		case now.Before(list.ThisUpdate):
			verdict = crlNotYetValid
		case !list.NextUpdate.IsZero() && now.After(list.NextUpdate):
			verdict = crlExpired
		default:
			return Verified
		}
	}
	return verdict
}

// signatures looks at the times, and at a certificate that nobody vouches for.
func (v *Verifier) signatures(c *chain, now time.Time) Verdict {
	verdict := Verified
	if first := c.certs[0]; len(c.certs) == 1 && c.trusted == 0 && !vouchesFor(first, first) {
		verdict = unverifiedLeaf
	}
	for _, cert := range slices.Backward(c.certs) {
		switch {
		case now.Before(cert.NotBefore):
			verdict = notYetValid
		case now.After(cert.NotAfter):
			verdict = hasExpired
		}
	}
	return verdict
}

// VerifyName is Verified when the certificate is for host.
func VerifyName(cert *x509.Certificate, host string) Verdict {
	if cert.VerifyHostname(host) != nil {
		return wrongName
	}
	return Verified
}
