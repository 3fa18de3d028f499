package tlsconf

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
)

// ErrorText words a failure of crypto/tls as OpenSSL words the same one; one that it
// does not have is in the words of crypto/tls.
func ErrorText(err error) string {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "SSL: error:0A00010B:SSL routines::wrong version number"
	}
	remote, ok := errors.AsType[*net.OpError](err)
	if !ok || remote.Op != "remote error" {
		return "SSL: " + ownText(err.Error())
	}
	// The type of an alert is crypto/tls's own; it is a number of RFC 8446, appendix B.2.
	v := reflect.ValueOf(remote.Err)
	if v.Kind() != reflect.Uint8 {
		return "SSL: " + err.Error()
	}
	n := int(v.Uint())
	text, ok := alertTexts()[n]
	if !ok {
		return "SSL: " + err.Error()
	}
	const first = 1000 // SSL_AD_REASON_OFFSET
	return fmt.Sprintf("SSL: error:%08X:SSL routines::%s:SSL alert number %d", 0x0a000000|first+n, text, n)
}

// ownText words what a server of ours does not like of its client. crypto/tls has no
// other names for these errors than how they begin.
func ownText(text string) string {
	for begin, openssl := range map[string]string{
		"tls: client offered only unsupported versions":                           "error:0A000102:SSL routines::unsupported protocol",
		"tls: no cipher suite supported by both client and server":                "error:0A0000C1:SSL routines::no shared cipher",
		"tls: no key exchanges supported by both client and server":               "error:0A000065:SSL routines::no suitable key share",
		"tls: client requested unsupported application protocols":                 "error:0A0000EB:SSL routines::no application protocol",
		"tls: peer doesn't support any of the certificate's signature algorithms": "error:0A000076:SSL routines::no suitable signature algorithm",
	} {
		if strings.HasPrefix(text, begin) {
			return openssl
		}
	}
	return text
}

func alertTexts() map[int]string {
	return map[int]string{
		10: "sslv3 alert unexpected message", 20: "sslv3 alert bad record mac", 22: "tlsv1 alert record overflow",
		40: "sslv3 alert handshake failure", 42: "sslv3 alert bad certificate", 43: "sslv3 alert unsupported certificate",
		44: "sslv3 alert certificate revoked", 45: "sslv3 alert certificate expired", 46: "sslv3 alert certificate unknown",
		47: "sslv3 alert illegal parameter", 48: "tlsv1 alert unknown ca", 49: "tlsv1 alert access denied",
		50: "tlsv1 alert decode error", 51: "tlsv1 alert decrypt error", 70: "tlsv1 alert protocol version",
		71: "tlsv1 alert insufficient security", 80: "tlsv1 alert internal error", 86: "tlsv1 alert inappropriate fallback",
		90: "tlsv1 alert user cancelled", 100: "tlsv1 alert no renegotiation", 109: "tlsv13 alert missing extension",
		110: "tlsv1 unsupported extension", 112: "tlsv1 unrecognized name", 113: "tlsv1 bad certificate status response",
		116: "tlsv13 alert certificate required", 120: "tlsv1 alert no application protocol",
	}
}
