package tlsconf

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A suite is a cipher suite of TLS 1.2 and before with what OpenSSL's words say of
// it: its key exchange, authentication, cipher and digest, and the protocol that
// brought it.
type suite struct {
	id    uint16
	name  string
	words string
}

// suites are those that crypto/tls has. What is between the commas of OpenSSL's manual,
// ciphers(1), is in words.
func suites() []suite {
	const (
		ecdsa = "ECDH ECDHE EECDH kECDHE kEECDH ECDSA aECDSA "
		ecrsa = "ECDH ECDHE EECDH kECDHE kEECDH aRSA "
		rsa   = "RSA kRSA aRSA "
		gcm   = "HIGH FIPS AES AESGCM TLSv1.2 "
		cbc2  = "HIGH FIPS AES TLSv1.2 CBC "
		cbc1  = "HIGH FIPS AES SHA SHA1 TLSv1 TLSv1.0 CBC "
		cbc0  = "HIGH FIPS AES SHA SHA1 SSLv3 CBC "
		chaa  = "HIGH CHACHA20 TLSv1.2 "
	)
	return []suite{
		{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", ecdsa + gcm + "AES256"},
		{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", ecrsa + gcm + "AES256"},
		{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", ecdsa + chaa},
		{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", ecrsa + chaa},
		{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", ecdsa + gcm + "AES128"},
		{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", ecrsa + gcm + "AES128"},
		{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, "ECDHE-ECDSA-AES128-SHA256", ecdsa + cbc2 + "AES128 SHA256"},
		{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, "ECDHE-RSA-AES128-SHA256", ecrsa + cbc2 + "AES128 SHA256"},
		{tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE-ECDSA-AES256-SHA", ecdsa + cbc1 + "AES256"},
		{tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "ECDHE-RSA-AES256-SHA", ecrsa + cbc1 + "AES256"},
		{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "ECDHE-ECDSA-AES128-SHA", ecdsa + cbc1 + "AES128"},
		{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "ECDHE-RSA-AES128-SHA", ecrsa + cbc1 + "AES128"},
		{tls.TLS_RSA_WITH_AES_256_GCM_SHA384, "AES256-GCM-SHA384", rsa + gcm + "AES256"},
		{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, "AES128-GCM-SHA256", rsa + gcm + "AES128"},
		{tls.TLS_RSA_WITH_AES_128_CBC_SHA256, "AES128-SHA256", rsa + cbc2 + "AES128 SHA256"},
		{tls.TLS_RSA_WITH_AES_256_CBC_SHA, "AES256-SHA", rsa + cbc0 + "AES256"},
		{tls.TLS_RSA_WITH_AES_128_CBC_SHA, "AES128-SHA", rsa + cbc0 + "AES128"},
	}
}

// suites13 are those of TLS 1.3, which no directive chooses.
func suites13() map[uint16]string {
	return map[uint16]string{
		tls.TLS_AES_128_GCM_SHA256:       "TLS_AES_128_GCM_SHA256",
		tls.TLS_AES_256_GCM_SHA384:       "TLS_AES_256_GCM_SHA384",
		tls.TLS_CHACHA20_POLY1305_SHA256: "TLS_CHACHA20_POLY1305_SHA256",
		0x00ff:                           "TLS_EMPTY_RENEGOTIATION_INFO_SCSV",
	}
}

// SuiteNames returns OpenSSL's names of cipher suites by their numbers.
func SuiteNames() map[uint16]string {
	names := suites13()
	for _, s := range suites() {
		names[s.id] = s.name
	}
	for id, name := range foreignSuites() {
		names[id] = name
	}
	return names
}

// foreignSuites are suites that clients offer and crypto/tls has not.
func foreignSuites() map[uint16]string {
	return map[uint16]string{
		0x009f: "DHE-RSA-AES256-GCM-SHA384", 0xccaa: "DHE-RSA-CHACHA20-POLY1305", 0x009e: "DHE-RSA-AES128-GCM-SHA256",
		0xc024: "ECDHE-ECDSA-AES256-SHA384", 0xc028: "ECDHE-RSA-AES256-SHA384", 0x006b: "DHE-RSA-AES256-SHA256",
		0x0067: "DHE-RSA-AES128-SHA256", 0x0039: "DHE-RSA-AES256-SHA", 0x0033: "DHE-RSA-AES128-SHA",
		0x003d: "AES256-SHA256", 0x1304: "TLS_AES_128_CCM_SHA256",
	}
}

// errNoCipher is OpenSSL's.
var errNoCipher = errors.New("SSL: error:0A0000B9:SSL routines::no cipher match")

// Ciphers returns the cipher suites that an OpenSSL cipher string names, of those that
// crypto/tls has. Their order means nothing: crypto/tls has its own. A word that is
// none is passed over, as OpenSSL does; when no suite is left that is an error.
//
// Suites that a rule must name, see [suite.onlyNamed], are not among those that words
// such as HIGH and DEFAULT stand for.
func Ciphers(text string) ([]uint16, error) {
	all := suites()
	const (
		out = iota
		in
		dead
	)
	state := make([]int, len(all))
	set := func(rule string, to int) {
		for i, s := range all {
			if state[i] != dead && s.matches(rule) && (to != in || !s.onlyNamed() || s.isNamed(rule)) {
				state[i] = to
			}
		}
	}
	// A word ends where the next rule begins, be there a colon or not: DEFAULT@SECLEVEL=1.
	apart := strings.NewReplacer("!", ":!", "@", ":@").Replace(text)
	for n, rule := range strings.FieldsFunc(apart, func(c rune) bool { return strings.ContainsRune(":, ;", c) }) {
		switch {
		case rule == "DEFAULT" && n == 0:
			set("ALL", in)
		case rule[0] == '@' || rule[0] == '+': // an order, a level
		case rule[0] == '!':
			set(rule[1:], dead)
		case rule[0] == '-':
			set(rule[1:], out)
		default:
			set(rule, in)
		}
	}
	var ids []uint16
	for i, s := range all {
		if state[i] == in {
			ids = append(ids, s.id)
		}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf(`SSL_CTX_set_cipher_list("%s") failed (%w)`, text, errNoCipher)
	}
	return ids, nil
}

// matches reports whether all words of rule, with a plus between them, are true of s.
func (s suite) matches(rule string) bool {
	for word := range strings.SplitSeq(rule, "+") {
		if word != "ALL" && word != s.name && !s.has(word) {
			return false
		}
	}
	return true
}

// onlyNamed reports whether the suite is used only where a rule names it. How long
// crypto/tls takes for the digest of a record of AES-CBC with SHA-256 depends on the
// padding, which lets an attacker guess plain text by time (Lucky Thirteen). Of those with
// SHA-1 it does not.
func (s suite) onlyNamed() bool { return s.has("CBC") && s.has("SHA256") }

// isNamed reports whether rule has the suite's name in it, or the name of its digest or
// of its mode.
func (s suite) isNamed(rule string) bool {
	words := strings.Split(rule, "+")
	return slices.Contains(words, s.name) || slices.Contains(words, "SHA256") || slices.Contains(words, "CBC")
}

func (s suite) has(word string) bool { return slices.Contains(strings.Fields(s.words), word) }

// curves are the groups of crypto/tls by OpenSSL's names for them, in lower case.
func curves() map[string]tls.CurveID {
	return map[string]tls.CurveID{
		"x25519":         tls.X25519,
		"prime256v1":     tls.CurveP256,
		"secp256r1":      tls.CurveP256,
		"p-256":          tls.CurveP256,
		"secp384r1":      tls.CurveP384,
		"p-384":          tls.CurveP384,
		"secp521r1":      tls.CurveP521,
		"p-521":          tls.CurveP521,
		"x25519mlkem768": tls.X25519MLKEM768,
	}
}

// CurveNames returns OpenSSL's names of groups.
func CurveNames() map[tls.CurveID]string {
	return map[tls.CurveID]string{
		tls.X25519: "X25519", tls.CurveP256: "prime256v1", tls.CurveP384: "secp384r1", tls.CurveP521: "secp521r1",
		0x001e: "X448", 0x0100: "ffdhe2048", 0x0101: "ffdhe3072", 0x0102: "ffdhe4096", 0x0103: "ffdhe6144", 0x0104: "ffdhe8192",
	}
}

// foreignCurves are groups of OpenSSL that crypto/tls has not.
func foreignCurves() []string {
	return []string{
		"x448", "secp256k1", "brainpoolp256r1", "brainpoolp384r1", "brainpoolp512r1", "secp224r1", "p-224",
		"ffdhe2048", "ffdhe3072", "ffdhe4096", "ffdhe6144", "ffdhe8192",
	}
}

// Curves reads the value of ssl_ecdh_curve; nil stands for auto. A group that OpenSSL
// has and crypto/tls has not is passed over as long as another one is left.
func Curves(text string) ([]tls.CurveID, error) {
	if text == "auto" {
		return nil, nil
	}
	known := curves()
	var ids []tls.CurveID
	for name := range strings.SplitSeq(text, ":") {
		id, ok := known[strings.ToLower(name)]
		switch {
		case ok && !slices.Contains(ids, id):
			ids = append(ids, id)
		case !ok && !slices.Contains(foreignCurves(), strings.ToLower(name)):
			return nil, curveError(text, name)
		}
	}
	if len(ids) == 0 {
		return nil, curveError(text, text)
	}
	return ids, nil
}

func curveError(text, name string) error {
	return fmt.Errorf(`SSL_CTX_set1_curves_list("%s") failed (SSL: error:0A080106:SSL routines::passed invalid argument:group '%s' cannot be set)`, text, name)
}

// A Protocols is the range of protocol versions that are spoken.
type Protocols struct{ Min, Max uint16 }

// ProtocolNames returns nginx's names of versions.
func ProtocolNames() map[uint16]string {
	return map[uint16]string{
		tls.VersionTLS10: "TLSv1", tls.VersionTLS11: "TLSv1.1", tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3",
	}
}

// ReadProtocols reads the arguments of ssl_protocols. SSLv2 and SSLv3 are names and
// nothing else. unknown is a word that is no name, "" for none; twice is one that is
// there twice.
func ReadProtocols(args []string) (p Protocols, unknown, twice string) {
	seen := map[string]bool{}
	for _, arg := range args {
		version, ok := uint16(0), strings.EqualFold(arg, "SSLv2") || strings.EqualFold(arg, "SSLv3")
		for v, name := range ProtocolNames() {
			if strings.EqualFold(arg, name) {
				version, ok = v, true
			}
		}
		if !ok {
			return p, arg, ""
		}
		if seen[strings.ToLower(arg)] {
			twice = arg
		}
		seen[strings.ToLower(arg)] = true
		if version == 0 {
			continue
		}
		p.Max = max(p.Max, version)
		if p.Min == 0 || version < p.Min {
			p.Min = version
		}
	}
	return p, "", twice
}
