package tlsconf

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
)

// firstVersion is a list of ca's as one of version 1: it does not say its version, and has
// no extensions.
func firstVersion(t *testing.T, ca *testbed.Authority, text string) []byte {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	var list struct {
		Signed    asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(block.Bytes, &list); err != nil {
		t.Fatal(err)
	}
	var kept []byte
	for rest := list.Signed.Bytes; len(rest) > 0; {
		var part asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &part); err != nil {
			t.Fatal(err)
		}
		if part.Tag != asn1.TagInteger && part.Class == asn1.ClassUniversal {
			kept = append(kept, part.FullBytes...)
		}
	}
	var err error
	list.Signed = asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: kept}
	if list.Signed.FullBytes, err = asn1.Marshal(list.Signed); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(list.Signed.FullBytes)
	if list.Signature.Bytes, err = ca.Key.Sign(rand.Reader, sum[:], crypto.SHA256); err != nil {
		t.Fatal(err)
	}
	list.Signature.BitLength = 8 * len(list.Signature.Bytes)
	der, err := asn1.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// A list of revoked certificates counts, also when it is of version 1.
func TestRevocationListsOfVersion1(t *testing.T) {
	t.Parallel()
	ca := testbed.NewAuthority(t, "Test CA")
	good, bad := ca.Issue(testbed.Certificate{Name: "good"}), ca.Issue(testbed.Certificate{Name: "bad"})
	for name, revoked := range map[string][]*testbed.Authority{"with one": {bad}, "empty": nil} {
		der := firstVersion(t, ca, ca.Revoke(revoked...))
		if _, err := x509.ParseRevocationList(der); err == nil {
			t.Fatal("the list is not of version 1")
		}
		lists, err := RevocationLists(File{Name: "crl", Data: pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		v := &Verifier{Trusted: []*x509.Certificate{ca.Cert}, CRLs: lists, Depth: 1, Usage: x509.ExtKeyUsageClientAuth}
		want := Verified
		if revoked != nil {
			want = 23
		}
		for cert, want := range map[*testbed.Authority]Verdict{good: Verified, bad: want} {
			if got := v.Verify([]*x509.Certificate{cert.Cert}, time.Now()); got != want {
				t.Errorf("%s: %s is %v, not %v", name, cert.Cert.Subject.CommonName, got, want)
			}
		}
		der[len(der)-1] ^= 1 // of the signature
		if lists, err = RevocationLists(File{Name: "crl", Data: pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})}); err == nil {
			v.CRLs = lists
			if got := v.Verify([]*x509.Certificate{good.Cert}, time.Now()); got != noCRL {
				t.Errorf("a list that nobody signed counts: %v", got)
			}
		}
	}
	for _, data := range []string{"", "\x30\x00", "\x30\x03\x02\x01\x01", strings.Repeat("\x30", 100)} {
		if _, err := parseRevocationList([]byte(data)); err == nil {
			t.Errorf("%q is a list", data)
		}
	}
}

// Of what is wrong in a chain the last counts, from the certificate up, as in OpenSSL.
func TestRevokedAuthority(t *testing.T) {
	t.Parallel()
	ca := testbed.NewAuthority(t, "Test CA")
	between := ca.Issue(testbed.Certificate{Name: "Between CA", CA: true})
	leaf := between.Issue(testbed.Certificate{Name: "leaf"})
	lists, err := RevocationLists(File{Name: "crl", Data: []byte(ca.Revoke(between))})
	if err != nil {
		t.Fatal(err)
	}
	v := &Verifier{Trusted: []*x509.Certificate{ca.Cert}, CRLs: lists, Depth: 2, Usage: x509.ExtKeyUsageClientAuth}
	if got := v.Verify([]*x509.Certificate{leaf.Cert, between.Cert}, time.Now()); got != revoked {
		t.Errorf("a certificate of an authority that was revoked, without a list of its own: %v", got)
	}
}
