package conf

import (
	"math"
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0": 0, "5": 5 * time.Second, "5s": 5 * time.Second, "250ms": 250 * time.Millisecond, "1h30m": 90 * time.Minute,
		"1w": 7 * day, "1w2d3h4m5s6ms": 9*day + 3*time.Hour + 4*time.Minute + 5*time.Second + 6*time.Millisecond,
		"1h 30m": 90 * time.Minute, "1m 5": 65 * time.Second, "5 ": 5 * time.Second, " 5": 5 * time.Second, "5s5": 10 * time.Second,
		"s5": 5 * time.Second, "9223372036s": 9223372036 * time.Second, "9999999999999s": time.Duration(math.MaxInt64).Truncate(time.Millisecond),
	} {
		if got, err := ParseTime(text); err != nil || got != want {
			t.Errorf("ParseTime(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", " ", "s", "x", "1x", "-1", "+1", "1.5s", "1y", "1M", "5s5s", "5s1m", "5ms5ms", "5 5 5", "5 5s", "1S", "99999999999999999999", "9223372036854775807", "9223372036854775s1", "5\t", "５"} {
		if got, err := ParseTime(text); err == nil {
			t.Errorf("ParseTime(%q) = %v, want an error", text, got)
		}
	}
}

func TestParseSeconds(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"1y": 365 * day, "1M": 30 * day, "1y1M1w1d": (365 + 30 + 7 + 1) * day, "90": 90 * time.Second, "300y": time.Duration(math.MaxInt64).Truncate(time.Second),
	} {
		if got, err := ParseSeconds(text); err != nil || got != want {
			t.Errorf("ParseSeconds(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5ms", "1M1y", "1m1M"} {
		if got, err := ParseSeconds(text); err == nil {
			t.Errorf("ParseSeconds(%q) = %v, want an error", text, got)
		}
	}
}

func TestParseSizes(t *testing.T) {
	t.Parallel()
	const unknown = -1
	for _, c := range []struct {
		text         string
		size, offset int64
	}{
		{"0", 0, 0}, {"1", 1, 1}, {"8k", 8 << 10, 8 << 10}, {"8K", 8 << 10, 8 << 10}, {"1m", 1 << 20, 1 << 20}, {"1M", 1 << 20, 1 << 20},
		{"2g", unknown, 2 << 30}, {"2G", unknown, 2 << 30}, {"1t", unknown, unknown}, {"", unknown, unknown}, {"k", unknown, unknown},
		{"-1", unknown, unknown}, {"1.5m", unknown, unknown}, {"1kk", unknown, unknown}, {"1 k", unknown, unknown}, {"0x10", unknown, unknown},
		{"9223372036854775807", math.MaxInt64, math.MaxInt64}, {"9223372036854775808", unknown, unknown}, {"9223372036854775807k", unknown, unknown},
		{"\x2b", unknown, unknown}, {"1\x0d", unknown, unknown}, // 0x0d|0x20 is "-": no unit hides behind the folded case
	} {
		for _, p := range []struct {
			name  string
			parse func(string) (int64, error)
			want  int64
		}{{"ParseSize", ParseSize, c.size}, {"ParseOffset", ParseOffset, c.offset}} {
			got, err := p.parse(c.text)
			if p.want == unknown && err == nil || p.want != unknown && (err != nil || got != p.want) {
				t.Errorf("%s(%q) = %d, %v, want %d", p.name, c.text, got, err, p.want)
			}
		}
	}
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"1h30m", "5", "250ms", "1y", "9999999999w", "s5", "5 5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) (time.Duration, error){ParseTime, ParseSeconds} {
			if d, err := parse(s); err == nil && d < 0 {
				t.Errorf("%q is %v, a negative time", s, d)
			}
		}
	})
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"1k", "2m", "3g", "9223372036854775807", "K"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if err == nil && n < 0 {
			t.Errorf("%q is %d, a negative size", s, n)
		}
		if o, oerr := ParseOffset(s); err == nil && (oerr != nil || o != n) {
			t.Errorf("%q is the size %d and the offset %d, %v", s, n, o, oerr)
		}
	})
}
