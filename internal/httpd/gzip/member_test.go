package gzip_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// titled is text as a member with a header that tells more than it must.
func titled(t *testing.T, h gzip.Header, text string) string {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	zw.Header = h
	if _, err := zw.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// summed is titled with a sum of the header, which is wrong by off.
func summed(t *testing.T, off uint16, text string) string {
	t.Helper()
	m := titled(t, gzip.Header{Name: strings.Repeat("n", 5000), Comment: strings.Repeat("c", 7000), Extra: bytes.Repeat([]byte("e"), 20_000)}, text)
	end := 10 + 2 + 20_000 + 5001 + 7001
	head := []byte(m[:end])
	head[3] |= 2
	sum := uint16(crc32.ChecksumIEEE(head)) + off
	return string(head) + string([]byte{byte(sum), byte(sum >> 8)}) + m[end:]
}

// Whatever the header of a member tells, how long it may be, and what is behind the last
// member: the content comes, or does not, as from nginx.
func TestGunzipHeadersAndEnds(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("some words in a text ", 30)
	plain := packed(t, text)
	files := sidebyside.Files{
		"name.gz": titled(t, gzip.Header{Name: "a name"}, text), "longname.gz": titled(t, gzip.Header{Name: strings.Repeat("n", 600)}, text),
		"comment.gz": titled(t, gzip.Header{Comment: strings.Repeat("c", 70_000)}, text), "extra.gz": titled(t, gzip.Header{Extra: bytes.Repeat([]byte("e"), 60_000)}, text),
		"summed.gz": summed(t, 0, text), "wrongsum.gz": summed(t, 1, text), "two.gz": summed(t, 0, text) + summed(t, 0, text), "many.gz": strings.Repeat(packed(t, ""), 3000) + plain,
	}
	for n := 1; n < 20; n += 3 {
		files[fmt.Sprintf("cut%d.gz", n)] = summed(t, 0, text)[:n*1500]
		files[fmt.Sprintf("zeros%d.gz", n)] = plain + strings.Repeat("\x00", n)
		files[fmt.Sprintf("lines%d.gz", n)] = plain + strings.Repeat("\n", n)
		files[fmt.Sprintf("next%d.gz", n)] = plain + plain[:n]
	}
	for bit := range 10 * 8 {
		b := []byte(plain)
		b[bit/8] ^= 1 << (bit % 8)
		files[fmt.Sprintf("bit%d.gz", bit)] = string(b)
	}
	p := sidebyside.Start(t, `server { listen ADDR; root ROOT; gzip_static always; gunzip on; }`, files)
	for name := range files {
		nginx, baton := p.Do(sidebyside.Get("/" + strings.TrimSuffix(name, ".gz")))
		if nginx.Body != baton.Body || nginx.Err != baton.Err {
			t.Errorf("%s: nginx %q %.50q, Baton %q %.50q", name, nginx.Err, nginx.Body, baton.Err, baton.Body)
		}
	}
	if got := p.Same(sidebyside.Get("/summed")); got.Body != text {
		t.Errorf("a member with a long header: %s", got)
	}
}
