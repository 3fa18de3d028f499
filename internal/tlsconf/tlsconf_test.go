package tlsconf

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
)

// What a cipher string chooses of the suites that we have is what OpenSSL chooses of
// them, but for those that it would have to name.
func TestCipherStringsAreOpenSSLs(t *testing.T) {
	var ours []string
	for _, s := range suites() {
		ours = append(ours, s.name)
	}
	// What these take to encrypt tells something of the text; names are the strings that
	// ask for them all the same.
	timed := map[string]bool{"ECDHE-ECDSA-AES128-SHA256": true, "ECDHE-RSA-AES128-SHA256": true, "AES128-SHA256": true}
	names := map[string]bool{"SHA256": true, "CBC": true, "HIGH:ECDHE-RSA-AES128-SHA256:AES128-SHA256:ECDHE+SHA256": true}
	for _, text := range []string{
		"HIGH:ECDHE-RSA-AES128-SHA256:AES128-SHA256:ECDHE+SHA256", "HIGH:!aNULL:!MD5", "DEFAULT", "ALL", "ALL:!aNULL:!eNULL", "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256",
		"EECDH+AESGCM:EDH+AESGCM:AES256+EECDH:AES256+EDH", "ECDHE+AESGCM", "ECDHE:!SHA", "HIGH:-SHA1:AES128-SHA", "kRSA", "aRSA+ECDHE",
		"ECDSA", "CHACHA20", "AES128:!kRSA", "AES256,AES128", "TLSv1.2", "TLSv1", "SSLv3", "SHA256", "RSA:!AES256", "!AESGCM:ALL", "AESGCM:+aRSA",
		"ECDHE-RSA-AES256-GCM-SHA384 ECDHE-RSA-CHACHA20-POLY1305", "HIGH:!aNULL:!eNULL:!EXPORT:!DES:!RC4:!MD5:!PSK:!SRP:!CAMELLIA:@STRENGTH",
		"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:DHE-RSA-AES128-GCM-SHA256", "FOO:HIGH", "AES",
		"ECDH+AESGCM:DH+AESGCM:ECDH+AES256:DH+AES256:ECDH+AES128:DH+AES:RSA+AESGCM:RSA+AES:!aNULL:!MD5:!DSS", "FIPS", "FIPS:!RSA", "CBC",
		"DEFAULT@SECLEVEL=1", "DEFAULT!RSA", "ALL@SECLEVEL=1", "ECDHE!ECDSA:!AES256", "HIGH:!RSA@STRENGTH",
	} {
		out, err := exec.Command("openssl", "ciphers", text).Output()
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		var want []string
		for name := range strings.SplitSeq(strings.TrimSpace(string(out)), ":") {
			if slices.Contains(ours, name) && (names[text] || !timed[name]) {
				want = append(want, name)
			}
		}
		ids, err := Ciphers(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		var got []string
		for _, id := range ids {
			got = append(got, SuiteNames()[id])
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n%v\nopenssl:\n%v", text, got, want)
		}
	}
	for _, text := range []string{"", "FOO", "!ALL", "HIGH:!ALL", "DHE", "TLS_AES_128_GCM_SHA256"} {
		if ids, err := Ciphers(text); err == nil {
			t.Errorf("%q chooses %x", text, ids)
		}
	}
}

// The table names what crypto/tls has, and all of it that OpenSSL would use.
func TestSuitesAreThoseOfTheLibrary(t *testing.T) {
	for _, s := range suites() {
		if name := tls.CipherSuiteName(s.id); strings.HasPrefix(name, "0x") {
			t.Errorf("%s: crypto/tls does not know %s", s.name, name)
		}
	}
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if _, ok := SuiteNames()[s.ID]; !ok && !strings.Contains(s.Name, "RC4") && !strings.Contains(s.Name, "3DES") {
			t.Errorf("%s has no name of OpenSSL's", s.Name)
		}
	}
}

func TestNamesAreOpenSSLs(t *testing.T) {
	t.Parallel()
	a := testbed.NewAuthority(t, `Å strange, "name" + <more>; a/b #1 \ `)
	sameNames(t, a.CertPEM(), a.Cert.RawSubject)
	long := "/CN=a+OU=b+O=c/c3=USA/n3=840"
	for n := range 98 {
		long += fmt.Sprintf("/2.5.4.%d=US", n) // openssl passes over those that it does not know
	}
	for _, oid := range slices.Sorted(maps.Keys(attributes())) {
		if !strings.HasPrefix(oid, "2.5.4.") && !strings.HasPrefix(oid, "1.2.643.") {
			long += "/" + oid + "=US"
		}
	}
	for _, subject := range []string{long, "/CN=#x/OU= x /O=a\\+b\\,c;<d>\\\\", "/1.2.643.3.131.1.1=123456789012/1.2.643.100.1=1234567890123/1.2.643.100.3=12345678901/1.2.643.100.5=123456789012345"} {
		for _, mask := range []string{"utf8only", "MASK:2048", "MASK:256", "MASK:4"} {
			text, raw := certificateOf(t, subject, mask)
			sameNames(t, text, raw)
		}
	}
	// A value that is no text, and one that is in four bytes each.
	for _, value := range []asn1.RawValue{{Tag: asn1.TagBitString, Bytes: []byte{0, 'a', 0xff}}, {Tag: 28, Bytes: []byte("\x00\x00\x00A\x00\x00\x20\xac")}} {
		raw, err := asn1.Marshal([]partSET{{{Type: asn1.ObjectIdentifier{2, 5, 4, 45}, Value: value}}, {{Type: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: value}}})
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), RawSubject: raw}, a.Cert, a.Key.Public(), a.Key)
		if err != nil {
			t.Fatal(err)
		}
		sameNames(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), raw)
	}
}

// certificateOf has openssl write a certificate, with strings of the kinds in mask.
func certificateOf(t *testing.T, subject, mask string) (text string, raw []byte) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, []byte("[req]\nstring_mask="+mask+"\ndistinguished_name=dn\n[dn]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("openssl", "req", "-x509", "-config", config, "-utf8", "-multivalue-rdn", "-newkey", "ed25519", "-nodes", "-keyout", os.DevNull, "-subj", subject).Output()
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	block, _ := pem.Decode(out)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return string(out), cert.RawSubject
}

// sameNames compares the subject of a certificate with what openssl says of it.
func sameNames(t *testing.T, text string, raw []byte) {
	t.Helper()
	cmd := func(format string) string {
		c := exec.Command("openssl", "x509", "-noout", "-subject", "-nameopt", format)
		c.Stdin = strings.NewReader(text)
		out, err := c.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return strings.TrimPrefix(strings.TrimSuffix(string(out), "\n"), "subject=")
	}
	if got, want := Name(raw), cmd("RFC2253"); got != want {
		t.Errorf("name %s\nopenssl %s", got, want)
	}
	if got, want := LegacyName(raw), cmd("compat"); got != want {
		t.Errorf("legacy name %s\nopenssl %s", got, want)
	}
}

func TestProtocols(t *testing.T) {
	for text, want := range map[string]string{
		"TLSv1.2": "{303 303}  ", "TLSv1.3 TLSv1.2": "{303 304}  ", "tlsv1 SSLv3": "{301 301}  ",
		"TLSv9": "{0 0} TLSv9 ", "TLSv1.3 TLSv1.3": "{304 304}  TLSv1.3", "SSLv2": "{0 0}  ",
	} {
		p, unknown, twice := ReadProtocols(strings.Fields(text))
		if got := fmt.Sprintf("{%x %x} %s %s", p.Min, p.Max, unknown, twice); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestVerifyName(t *testing.T) {
	cert := testbed.NewAuthority(t, "CA").Issue(testbed.Certificate{Name: "a.example.com"}).Cert
	if v := VerifyName(cert, "a.example.com"); v != Verified {
		t.Errorf("its own name: %v", v)
	}
	if v := VerifyName(cert, "b.example.com"); v != wrongName || v.String() != "hostname mismatch" {
		t.Errorf("another name: %v", v)
	}
}

// Certificates that vouch for each other in a circle are no chain, and no trap.
func TestCirclesEnd(t *testing.T) {
	one, two := testbed.NewAuthority(t, "One"), testbed.NewAuthority(t, "Two")
	cross := func(by, of *testbed.Authority) *x509.Certificate {
		t.Helper()
		der, err := x509.CreateCertificate(rand.Reader, of.Cert, by.Cert, of.Key.Public(), by.Key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	leaf := one.Issue(testbed.Certificate{Name: "leaf"})
	v := Verifier{Depth: 100, Usage: x509.ExtKeyUsageClientAuth}
	sent := []*x509.Certificate{leaf.Cert, cross(two, one), cross(one, two)}
	if got := v.Verify(sent, time.Now()); got != noLocalIssuer {
		t.Errorf("a circle: %v, want %v", got, noLocalIssuer)
	}
	v.Trusted = []*x509.Certificate{two.Cert}
	if got := v.Verify(sent, time.Now()); got != Verified {
		t.Errorf("a circle with a way out: %v", got)
	}
}
