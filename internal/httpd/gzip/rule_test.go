package gzip

import "testing"

func TestAcceptsGzip(t *testing.T) {
	for text, want := range map[string]bool{"gzip": true, "": false, "deflate": false, "gzip;q=0": false, "a, gzip;q=0.5": true} {
		if got := acceptsGzip([]byte(text)); got != want {
			t.Errorf("acceptsGzip(%q) = %v", text, got)
		}
	}
}

// Whatever a client sends, only a value that names gzip is taken for one.
func FuzzAccept(f *testing.F) {
	for _, s := range []string{"gzip", "gzip;q=0", "deflate, gzip;q=1.000", "xgzip,gzip", "gzip;", "gzip;q", "gzip;q=0."} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if acceptsGzip(b) && indexFold(b, "gzip") < 0 {
			t.Errorf("%q names no gzip", b)
		}
	})
}
