package rewrite

import (
	"bytes"
	"testing"
)

// Decoding never makes a control character or a blank of what the client sent, so
// that a Location field stays one line; what is behind a question mark stays.
func FuzzUnescapeRedirect(f *testing.F) {
	for _, s := range []string{"/a%20b", "/%41%25%3f%41", "/a?%41", "%", "%4", "%zz", "/%0d%0aSet-Cookie:x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got := unescapeRedirect(nil, b)
		for _, c := range []byte("\r\n \x00\x7f%") {
			if bytes.Count(got, []byte{c}) > bytes.Count(b, []byte{c}) {
				t.Errorf("%q became %q", b, got)
			}
		}
		if len(got) > len(b) {
			t.Errorf("%q grew to %q", b, got)
		}
	})
}
