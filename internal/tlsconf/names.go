package tlsconf

import (
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
)

// attributes are OpenSSL's short names of what a distinguished name consists of.
func attributes() map[string]string {
	names := map[string]string{
		"1.2.840.113549.1.9.1": "emailAddress", "1.2.840.113549.1.9.2": "unstructuredName",
		"1.2.840.113549.1.9.7": "challengePassword", "1.2.840.113549.1.9.8": "unstructuredAddress",
		"1.2.840.113549.1.9.20": "friendlyName", "1.3.6.1.4.1.311.17.1": "CSPName",
		"1.3.6.1.4.1.311.60.2.1.1": "jurisdictionL", "1.3.6.1.4.1.311.60.2.1.2": "jurisdictionST",
		"1.3.6.1.4.1.311.60.2.1.3": "jurisdictionC", "1.3.6.1.5.5.7.9.1": "id-pda-dateOfBirth",
		"1.2.643.3.131.1.1": "INN", "1.2.643.100.1": "OGRN", "1.2.643.100.3": "SNILS", "1.2.643.100.5": "OGRNIP",
		"0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.2": "textEncodedORAddress",
		"0.9.2342.19200300.100.1.3": "mail", "0.9.2342.19200300.100.1.4": "info",
		"0.9.2342.19200300.100.1.5": "favouriteDrink", "0.9.2342.19200300.100.1.25": "DC",
		"0.9.2342.19200300.100.1.43": "friendlyCountryName",
	}
	// X.520's, one after the other from 2.5.4.3 on.
	for i, name := range strings.Fields(`CN SN serialNumber C L ST street O OU title description searchGuide
		businessCategory postalAddress postalCode postOfficeBox physicalDeliveryOfficeName telephoneNumber telexNumber
		teletexTerminalIdentifier facsimileTelephoneNumber x121Address internationaliSDNNumber registeredAddress
		destinationIndicator preferredDeliveryMethod presentationAddress supportedApplicationContext member owner
		roleOccupant seeAlso userPassword userCertificate cACertificate authorityRevocationList
		certificateRevocationList crossCertificatePair name GN initials generationQualifier x500UniqueIdentifier
		dnQualifier enhancedSearchGuide protocolInformation distinguishedName uniqueMember houseIdentifier
		supportedAlgorithms deltaRevocationList dmdName`) {
		names[fmt.Sprintf("2.5.4.%d", 3+i)] = name
	}
	for n, name := range map[int]string{65: "pseudonym", 72: "role", 97: "organizationIdentifier", 98: "c3", 99: "n3", 100: "dnsName"} {
		names[fmt.Sprintf("2.5.4.%d", n)] = name
	}
	return names
}

// A part is one attribute of a name, with its value as it was encoded.
type part struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// partSET is a set of them; encoding/asn1 knows it by its name.
type partSET []part

func parseName(raw []byte) []partSET {
	var name []partSET
	if _, err := asn1.Unmarshal(raw, &name); err != nil {
		return nil
	}
	return name
}

// Name is a distinguished name as RFC 2253 writes it: "CN=www.example.com,O=Example".
func Name(raw []byte) string {
	var parts []string
	names := attributes()
	for _, set := range slices.Backward(parseName(raw)) {
		var values []string
		for _, a := range slices.Backward(set) {
			name, known := names[a.Type.String()]
			text, ok := characters(a.Value)
			if !known {
				name = a.Type.String()
			}
			if text = escapeValue(text); !known || !ok {
				text = fmt.Sprintf("#%X", a.Value.FullBytes)
			}
			values = append(values, name+"="+text)
		}
		parts = append(parts, strings.Join(values, "+"))
	}
	return strings.Join(parts, ",")
}

// characters is the text of a value; it reports false for one that is none.
func characters(v asn1.RawValue) (text string, ok bool) {
	width := 1
	switch v.Tag {
	case asn1.TagUTF8String:
		return string(v.Bytes), true
	case asn1.TagNumericString, asn1.TagPrintableString, asn1.TagT61String, asn1.TagIA5String,
		asn1.TagUTCTime, asn1.TagGeneralizedTime, 26: // VisibleString
	case asn1.TagBMPString:
		width = 2
	case 28: // UniversalString
		width = 4
	default:
		return "", false
	}
	var b strings.Builder
	for rest := v.Bytes; len(rest) >= width; rest = rest[width:] {
		c := rune(0)
		for _, octet := range rest[:width] {
			c = c<<8 | rune(octet)
		}
		b.WriteRune(c)
	}
	return b.String(), true
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
	names := attributes()
	for _, set := range parseName(raw) {
		for i, a := range set {
			name, known := names[a.Type.String()]
			if !known {
				name = a.Type.String()
			}
			b.WriteString(separator(i) + name + "=")
			value := a.Value.Bytes
			if a.Value.Tag == asn1.TagBitString && len(value) > 0 {
				value = value[1:] // how many bits of the last byte do not count
			}
			for _, c := range value {
				switch {
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

// separator stands before an attribute, of which i come before it in its set.
func separator(i int) string {
	if i > 0 {
		return "+"
	}
	return "/"
}
