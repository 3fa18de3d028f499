package tlsconf

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/youmark/pkcs8"
)

// A File is the content of a file, or why it could not be read.
type File struct {
	Name string
	Data []byte
	Err  error
}

const (
	noStartLine = "error:0480006C:PEM routines::no start line:Expecting: "
	wrongTag    = "error:068000A8:asn1 encoding routines::wrong tag error:0688010A:asn1 encoding routines::nested asn1 error:Type=X509 error:0488000D:PEM routines::ASN1 lib"
)

// openError words why a file cannot be opened, in this mode, as OpenSSL does; behind it
// stands more where OpenSSL says more.
func (f File) openError(mode, more string) string {
	var errno syscall.Errno
	if !errors.As(f.Err, &errno) {
		return f.Err.Error()
	}
	text := errno.Error()
	text = strings.ToUpper(text[:1]) + text[1:]
	kind := "error:10080002:BIO routines::system lib"
	if errors.Is(errno, fs.ErrNotExist) {
		kind = "error:10000080:BIO routines::no such file"
	}
	return fmt.Sprintf("SSL: error:%08X:system library::%s:calling fopen(%s, %s) %s%s",
		0x80000000|int(errno), text, f.Name, mode, kind, more)
}

// opens reports whether the file could at least be opened. A folder can be, and has
// no content.
func (f File) opens() bool { return f.Err == nil || errors.Is(f.Err, syscall.EISDIR) }

// Chain reads a certificate and those that are to be sent with it.
func Chain(f File) (ders [][]byte, leaf *x509.Certificate, err error) {
	fail := func(call, cause string) error {
		return fmt.Errorf(`cannot load certificate "%s": %s failed (%s)`, f.Name, call, cause)
	}
	if !f.opens() {
		return nil, nil, fail("BIO_new_file()", f.openError("r", ""))
	}
	for rest := f.Data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if !isCertificate(block.Type) {
			continue
		}
		cert, err := parseCertificate(block)
		if err != nil && leaf == nil {
			return nil, nil, fail("PEM_read_bio_X509_AUX()", "SSL: "+wrongTag)
		}
		if err != nil {
			return nil, nil, fail("PEM_read_bio_X509()", "SSL: "+wrongTag)
		}
		if leaf == nil {
			leaf = cert
		}
		ders = append(ders, cert.Raw)
	}
	if leaf == nil {
		return nil, nil, fail("PEM_read_bio_X509_AUX()", "SSL: "+noStartLine+"TRUSTED CERTIFICATE")
	}
	return ders, leaf, nil
}

func isCertificate(kind string) bool {
	return kind == "CERTIFICATE" || kind == "X509 CERTIFICATE" || kind == "TRUSTED CERTIFICATE"
}

// parseCertificate reads the certificate in a block; what a trusted one has behind it
// does not count.
func parseCertificate(b *pem.Block) (*x509.Certificate, error) {
	der := b.Bytes
	if b.Type == "TRUSTED CERTIFICATE" {
		var first asn1.RawValue
		if _, err := asn1.Unmarshal(der, &first); err != nil {
			return nil, err
		}
		der = first.FullBytes
	}
	return x509.ParseCertificate(der)
}

var (
	errNoKey     = errors.New("SSL: error:1E08010C:DECODER routines::unsupported:No supported data to decode. Input type: PEM")
	errNoPass    = errors.New("SSL: error:1C80009F:Provider routines::unable to get passphrase error:04800068:PEM routines::bad password read")
	errWrongPass = errors.New("SSL: error:1C800064:Provider routines::bad decrypt error:11800074:PKCS12 routines::pkcs12 cipherfinal error:maybe wrong password")
	errOldPass   = errors.New("SSL: error:1C800064:Provider routines::bad decrypt error:04800065:PEM routines::bad decrypt")
)

// Key reads a private key. One that is encrypted is tried with each of passwords.
func Key(f File, passwords [][]byte) (crypto.Signer, error) {
	fail := func(call string, cause any) error {
		return fmt.Errorf(`cannot load certificate key "%s": %s failed (%v)`, f.Name, call, cause)
	}
	if !f.opens() {
		return nil, fail("BIO_new_file()", f.openError("r", ""))
	}
	for rest := f.Data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fail("PEM_read_bio_PrivateKey()", errNoKey)
		}
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		key, err := readKey(block, passwords)
		if err != nil {
			return nil, fail("PEM_read_bio_PrivateKey()", err)
		}
		return key, nil
	}
}

func readKey(b *pem.Block, passwords [][]byte) (crypto.Signer, error) {
	switch {
	case b.Type == "ENCRYPTED PRIVATE KEY":
		return eachPassword(passwords, errWrongPass, func(p []byte) (crypto.Signer, error) {
			key, err := pkcs8.ParsePKCS8PrivateKey(b.Bytes, p)
			if err != nil {
				return nil, err
			}
			return signer(key)
		})
	case x509.IsEncryptedPEMBlock(b): //nolint:staticcheck // what OpenSSL wrote for decades is still in use
		return eachPassword(passwords, errOldPass, func(p []byte) (crypto.Signer, error) {
			der, err := x509.DecryptPEMBlock(b, p) //nolint:staticcheck // likewise
			if err != nil {
				return nil, err
			}
			return parseKey(der)
		})
	}
	return parseKey(b.Bytes)
}

func eachPassword(passwords [][]byte, wrong error, try func([]byte) (crypto.Signer, error)) (crypto.Signer, error) {
	if len(passwords) == 0 {
		return nil, errNoPass
	}
	for _, p := range passwords {
		if key, err := try(p); err == nil {
			return key, nil
		}
	}
	return nil, wrong
}

// parseKey reads a key in any of the forms that there are.
func parseKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return signer(key)
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	return nil, errNoKey
}

func signer(key any) (crypto.Signer, error) {
	if s, ok := key.(crypto.Signer); ok {
		return s, nil
	}
	return nil, errNoKey
}

// Passwords are the lines of a password file.
func Passwords(data []byte) [][]byte {
	var ps [][]byte
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		if line = bytes.TrimSuffix(line, []byte("\r")); len(line) > 0 {
			ps = append(ps, line)
		}
	}
	return ps
}

// Certificate reads a certificate with its key, and makes sure that they are one
// another's.
func Certificate(cert, key File, passwords [][]byte) (tls.Certificate, error) {
	ders, leaf, err := Chain(cert)
	if err != nil {
		return tls.Certificate{}, err
	}
	signer, err := Key(key, passwords)
	if err != nil {
		return tls.Certificate{}, err
	}
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(signer.Public()) {
		return tls.Certificate{}, fmt.Errorf(
			`SSL_CTX_use_PrivateKey("%s") failed (SSL: error:05800074:x509 certificate routines::key values mismatch)`, key.Name)
	}
	return tls.Certificate{Certificate: ders, PrivateKey: signer, Leaf: leaf}, nil
}

// Authorities reads the certificates that others are checked against. None is a fault.
func Authorities(f File) ([]*x509.Certificate, error) {
	fail := func(cause string) error {
		return fmt.Errorf(`SSL_CTX_load_verify_locations("%s") failed (%s)`, f.Name, cause)
	}
	if !f.opens() {
		return nil, fail(f.openError("r", " error:05880002:x509 certificate routines::system lib"))
	}
	var certs []*x509.Certificate
	for rest := f.Data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if !isCertificate(block.Type) {
			continue
		}
		cert, err := parseCertificate(block)
		if err != nil {
			return nil, fail("SSL: " + wrongTag)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fail("SSL: error:05800088:x509 certificate routines::no certificate or crl found")
	}
	return certs, nil
}

// RevocationLists reads the lists of a file.
func RevocationLists(f File) ([]*x509.RevocationList, error) {
	fail := func(cause string) error {
		return fmt.Errorf(`X509_LOOKUP_load_file("%s") failed (%s)`, f.Name, cause)
	}
	if !f.opens() {
		return nil, fail(f.openError("r", " error:05880002:x509 certificate routines::system lib"))
	}
	var lists []*x509.RevocationList
	for rest := f.Data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			continue
		}
		list, err := parseRevocationList(block.Bytes)
		if err != nil {
			return nil, fail("SSL: " + strings.ReplaceAll(wrongTag, "Type=X509 ", "Type=X509_CRL "))
		}
		lists = append(lists, list)
	}
	if len(lists) == 0 {
		return nil, fail("SSL: error:05800088:x509 certificate routines::no certificate or crl found")
	}
	return lists, nil
}

// parseRevocationList reads a list, also one of version 1, which crypto/x509 does not take.
// Such a one has nothing that version 2 has not, and does not say its version. So it is read
// as one that does; what was signed is what came.
func parseRevocationList(der []byte) (*x509.RevocationList, error) {
	list, err := x509.ParseRevocationList(der)
	if err == nil {
		return list, nil
	}
	var first struct{ Signed, Algorithm, Signature asn1.RawValue }
	rest, wrong := asn1.Unmarshal(der, &first)
	if wrong != nil || len(rest) > 0 || first.Signed.Tag != asn1.TagSequence || !first.Signed.IsCompound {
		return nil, err
	}
	signed := first.Signed.FullBytes
	first.Signed.Bytes = append([]byte{asn1.TagInteger, 1, 1}, first.Signed.Bytes...)
	first.Signed.FullBytes = nil
	second, wrong := asn1.Marshal(first)
	if wrong != nil {
		return nil, err
	}
	list, wrong = x509.ParseRevocationList(second)
	if wrong != nil {
		return nil, err
	}
	list.Raw, list.RawTBSRevocationList = der, signed
	return list, nil
}

// OCSPResponse reads a response that is sent along with a certificate.
func OCSPResponse(f File) ([]byte, error) {
	if !f.opens() {
		return nil, fmt.Errorf(`BIO_new_file("%s") failed (%s)`, f.Name, f.openError("rb", ""))
	}
	var response asn1.RawValue
	if _, err := asn1.Unmarshal(f.Data, &response); err != nil || response.Tag != asn1.TagSequence {
		return nil, fmt.Errorf(`d2i_OCSP_RESPONSE_bio("%s") failed (SSL: error:0680008E:asn1 encoding routines::not enough data)`, f.Name)
	}
	return f.Data, nil
}

// CheckParameters makes sure that a file has parameters of a Diffie-Hellman exchange.
func CheckParameters(f File) error {
	if !f.opens() {
		return fmt.Errorf(`BIO_new_file("%s") failed (%s)`, f.Name, f.openError("r", ""))
	}
	for rest := f.Data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return fmt.Errorf(`PEM_read_bio_DHparams("%s") failed (SSL: %sDH PARAMETERS)`, f.Name, noStartLine)
		}
		if strings.HasSuffix(block.Type, "DH PARAMETERS") {
			return nil
		}
	}
}
