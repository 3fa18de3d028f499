package ssl

import (
	"bytes"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/tlsconf"
)

// variables are nginx's. On a plain connection none has a value.
func variables() map[string]httpd.Variable {
	suites, curves, protocols := tlsconf.SuiteNames(), tlsconf.CurveNames(), tlsconf.ProtocolNames()
	vs := map[string]httpd.Variable{
		"ssl_protocol":       ofTLS(func(t *httpd.TLSState) string { return protocols[t.Version] }),
		"ssl_cipher":         ofTLS(func(t *httpd.TLSState) string { return suites[t.CipherSuite] }),
		"ssl_ciphers":        ofTLS(func(t *httpd.TLSState) string { return offered(t, t.Ciphers, suites) }),
		"ssl_curve":          ofTLS(func(t *httpd.TLSState) string { return curveName(curves, t.CurveID) }),
		"ssl_curves":         ofTLS(func(t *httpd.TLSState) string { return offered(t, t.Curves, curves) }),
		"ssl_session_id":     ofTLS(func(t *httpd.TLSState) string { return hex.EncodeToString(t.SessionID()) }),
		"ssl_session_reused": ofTLS(reused),
		"ssl_early_data":     ofTLS(func(*httpd.TLSState) string { return "" }),
		"ssl_server_name":    ofTLS(func(t *httpd.TLSState) string { return t.Asked }),
		"ssl_alpn_protocol":  ofTLS(func(t *httpd.TLSState) string { return t.NegotiatedProtocol }),
		"ssl_client_verify":  clientVerify,
	}
	for name, f := range map[string]func(c *x509.Certificate) string{
		"cert":         func(c *x509.Certificate) string { return indented(pemOf(c)) },
		"raw_cert":     pemOf,
		"escaped_cert": func(c *x509.Certificate) string { return escaped(pemOf(c)) },
		"fingerprint":  fingerprint,
		"s_dn":         func(c *x509.Certificate) string { return tlsconf.Name(c.RawSubject) },
		"i_dn":         func(c *x509.Certificate) string { return tlsconf.Name(c.RawIssuer) },
		"s_dn_legacy":  func(c *x509.Certificate) string { return tlsconf.LegacyName(c.RawSubject) },
		"i_dn_legacy":  func(c *x509.Certificate) string { return tlsconf.LegacyName(c.RawIssuer) },
		"serial":       serial,
		"v_start":      func(c *x509.Certificate) string { return asn1Time(c.NotBefore) },
		"v_end":        func(c *x509.Certificate) string { return asn1Time(c.NotAfter) },
		"v_remain":     remaining,
	} {
		vs["ssl_client_"+name] = ofClient(f)
	}
	return vs
}

// ofTLS is a variable of a connection; where it is empty it has no value.
func ofTLS(get func(*httpd.TLSState) string) httpd.Variable {
	return func(r *httpd.Request, _ string, dst []byte) ([]byte, bool) {
		t := r.TLS()
		if t == nil {
			return dst, false
		}
		value := get(t)
		return append(dst, value...), value != ""
	}
}

// ofClient is a variable of the client's certificate.
func ofClient(get func(*x509.Certificate) string) httpd.Variable {
	return ofTLS(func(t *httpd.TLSState) string {
		if len(t.PeerCertificates) == 0 {
			return ""
		}
		return get(t.PeerCertificates[0])
	})
}

func reused(t *httpd.TLSState) string {
	if t.DidResume {
		return "r"
	}
	return "."
}

// offered lists what the client offered in a handshake that was not a resumption.
func offered[N ~uint16](t *httpd.TLSState, ids []N, names map[N]string) string {
	if t.DidResume {
		return ""
	}
	var list []string
	for _, id := range ids {
		if id&0x0f0f == 0x0a0a && id>>8 == id&0xff {
			continue // GREASE: it means nothing
		}
		name, ok := names[id]
		if !ok {
			name = fmt.Sprintf("0x%04x", uint16(id))
		}
		list = append(list, name)
	}
	return strings.Join(list, ":")
}

func curveName(names map[tls.CurveID]string, id tls.CurveID) string {
	if name, ok := names[id]; ok || id == 0 {
		return name
	}
	return fmt.Sprintf("0x%04x", uint16(id))
}

// clientVerify is $ssl_client_verify, by the rules of the server that serves.
func clientVerify(r *httpd.Request, _ string, dst []byte) ([]byte, bool) {
	t := r.TLS()
	if t == nil {
		return dst, false
	}
	if len(t.PeerCertificates) == 0 {
		return append(dst, "NONE"...), true
	}
	sv, _ := r.Server.Security().(*server)
	if sv == nil || sv.clients == nil {
		return append(dst, "NONE"...), true
	}
	if v := sv.clients.judge(t); v != tlsconf.Verified {
		return append(append(dst, "FAILED:"...), v.String()...), true
	}
	return append(dst, "SUCCESS"...), true
}

func pemOf(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// indented is a PEM text as a header field can have it: its lines begin with a tab.
func indented(text string) string {
	return strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n\t")
}

// escaped is text as a part of a URI.
func escaped(text string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	var b bytes.Buffer
	for i := range len(text) {
		if strings.IndexByte(plain, text[i]) >= 0 {
			b.WriteByte(text[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", text[i])
		}
	}
	return b.String()
}

func fingerprint(c *x509.Certificate) string {
	sum := sha1.Sum(c.Raw)
	return hex.EncodeToString(sum[:])
}

func serial(c *x509.Certificate) string {
	if c.SerialNumber.Sign() == 0 {
		return "00"
	}
	return strings.ToUpper(hex.EncodeToString(c.SerialNumber.Bytes()))
}

func asn1Time(t time.Time) string { return t.UTC().Format("Jan _2 15:04:05 2006 GMT") }

// remaining is how many days the certificate is still good.
func remaining(c *x509.Certificate) string {
	return strconv.FormatInt(max(int64(time.Until(c.NotAfter)/(24*time.Hour)), 0), 10)
}
