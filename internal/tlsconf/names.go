package tlsconf

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
)

// attributes are OpenSSL's short names of what a distinguished name consists of.
func attributes() map[string]string {
	return map[string]string{
		"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L",
		"2.5.4.8": "ST", "2.5.4.9": "street", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "title",
		"2.5.4.13": "description", "2.5.4.17": "postalCode", "2.5.4.42": "GN", "2.5.4.43": "initials",
		"2.5.4.46": "dnQualifier", "2.5.4.65": "pseudonym",
		"1.2.840.113549.1.9.1": "emailAddress", "0.9.2342.19200300.100.1.1": "UID",
		"0.9.2342.19200300.100.1.25": "DC",
	}
}

func attribute(oid asn1.ObjectIdentifier) string {
	if name, ok := attributes()[oid.String()]; ok {
		return name
	}
	return oid.String()
}

func parseName(raw []byte) pkix.RDNSequence {
	var name pkix.RDNSequence
	if _, err := asn1.Unmarshal(raw, &name); err != nil {
		return nil
	}
	return name
}

// Name is a distinguished name as RFC 2253 writes it: "CN=www.example.com,O=Example".
func Name(raw []byte) string {
	var parts []string
	for _, set := range slices.Backward(parseName(raw)) {
		var values []string
		for _, a := range set {
			values = append(values, attribute(a.Type)+"="+escapeValue(fmt.Sprint(a.Value)))
		}
		parts = append(parts, strings.Join(values, "+"))
	}
	return strings.Join(parts, ",")
}

// escapeValue does it as X509_NAME_print_ex(3) with XN_FLAG_RFC2253.
func escapeValue(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case strings.IndexByte(`,+"\<>;`, c) >= 0,
			i == 0 && (c == '#' || c == ' '),
			i == len(s)-1 && c == ' ':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ', c >= 0x7f:
			fmt.Fprintf(&b, `\%02X`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// LegacyName is a distinguished name as it was written before: "/O=Example/CN=www.example.com".
func LegacyName(raw []byte) string {
	var b strings.Builder
	for _, set := range parseName(raw) {
		for _, a := range set {
			b.WriteString("/" + attribute(a.Type) + "=")
			value := fmt.Sprint(a.Value)
			for i := range len(value) {
				switch c := value[i]; {
				case c < ' ', c > '~':
					fmt.Fprintf(&b, `\x%02X`, c)
				case c == '/', c == '+':
					b.WriteByte('\\')
					b.WriteByte(c)
				default:
					b.WriteByte(c)
				}
			}
		}
	}
	return b.String()
}
