package httpd

import (
	"bytes"
	"math"
	"net/http"
	"testing"
	"time"
)

func TestAppendDate(t *testing.T) {
	for _, unix := range []int64{0, 784111777, 951782400, 1709164800, 4102444799, time.Now().Unix()} {
		want := time.Unix(unix, 0).UTC().Format(http.TimeFormat)
		if got := string(AppendDate(nil, unix)); got != want {
			t.Errorf("AppendDate(%d) = %q, want %q", unix, got, want)
		}
	}
}

func FuzzHTTPDate(f *testing.F) {
	for _, s := range []string{
		"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Thu, 29 Feb 2024 00:00:00 GMT", "", ",", "Sun,",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := parseHTTPDate(b)
		if want, err := time.Parse(http.TimeFormat, string(b)); err == nil && want.Format(http.TimeFormat) == string(b) && (!ok || got != want.Unix()) {
			t.Errorf("parseHTTPDate(%q) = %d, %v", b, got, ok)
		}
		if !ok {
			return
		}
		again, ok := parseHTTPDate(AppendDate(nil, got))
		if !ok || again != max(got, 0) {
			t.Errorf("%q is %d, which written and read is %d, %v", b, got, again, ok)
		}
	})
}

// What is served lies within the content, is not empty, and is never more than the
// content as a whole.
func FuzzRanges(f *testing.F) {
	for _, s := range []string{"0-0", "0-", "-5", "0-1,3-4", "5-4", "-0", " 1 - 2 , 4 - 5 ", "9223372036854775807-", "0-9223372036854775807", "100-,0-1", ",", "-"} {
		f.Add([]byte(s), int64(36), 5)
	}
	f.Fuzz(func(t *testing.T, spec []byte, size int64, limit int) {
		if size < 0 || size > math.MaxInt64/2 {
			return
		}
		parts, verdict := parseRanges(nil, spec, size, limit)
		if verdict != rangeServed {
			return
		}
		var total int64
		for _, p := range parts {
			if p.start < 0 || p.start >= p.end || p.end > size {
				t.Errorf("ranges %q of %d bytes: part %v", spec, size, p)
			}
			total += p.end - p.start
		}
		if len(parts) == 0 || total > size || limit >= 0 && len(parts) > limit {
			t.Errorf("ranges %q of %d bytes, at most %d: %v", spec, size, limit, parts)
		}
	})
}

// A list matches exactly when one of its elements, or "*", is the tag.
func FuzzETagList(f *testing.F) {
	for _, s := range []string{`"a"`, `*`, `W/"a"`, `"b", "a"`, `"b" , W/"a" ,`, `"a"x`, `,`, ``, `W/`, `"a`} {
		f.Add([]byte(s))
	}
	tag := []byte(`"a"`)
	f.Fuzz(func(t *testing.T, list []byte) {
		if !matchesETag(list, tag, true) {
			if matchesETag(list, tag, false) {
				t.Errorf("%q matches strongly and not weakly", list)
			}
			return
		}
		if !bytes.Equal(list, []byte("*")) && !bytes.Contains(list, tag) {
			t.Errorf("%q matches without containing the tag", list)
		}
		if matchesETag(list, nil, true) && !bytes.Equal(list, []byte("*")) {
			t.Errorf("%q matches content without a tag", list)
		}
	})
}
