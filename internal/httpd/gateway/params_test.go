package gateway_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// A protocol is one that tells a server parameters. read returns them, as NAME and value
// in turn, and write answers.
type protocol struct {
	name  string
	read  func(br *bufio.Reader) ([]string, error)
	write func(w io.Writer, answer string)
}

func plainAnswer(w io.Writer, answer string) { _, _ = io.WriteString(w, answer) }

func protocols() []protocol {
	return []protocol{
		{"fastcgi", readFastCGI, writeFastCGI},
		{"scgi", readSCGI, plainAnswer},
		{"uwsgi", readUWSGI, plainAnswer},
	}
}

// readFastCGI reads records up to the end of the client's body.
func readFastCGI(br *bufio.Reader) ([]string, error) {
	var params []byte
	for {
		var head [8]byte
		if _, err := io.ReadFull(br, head[:]); err != nil {
			return nil, err
		}
		n := int(binary.BigEndian.Uint16(head[4:]))
		content := make([]byte, n+int(head[6]))
		if _, err := io.ReadFull(br, content); err != nil {
			return nil, err
		}
		switch {
		case head[1] == 4:
			params = append(params, content[:n]...)
		case head[1] == 5 && n == 0:
			return fastCGIPairs(params)
		}
	}
}

// fastCGIPairs takes name-value pairs apart: both lengths, in one byte or in four, then
// both.
func fastCGIPairs(b []byte) (list []string, err error) {
	for len(b) > 0 {
		var sizes [2]int
		for i := range sizes {
			if sizes[i] = int(b[0]); b[0] > 127 {
				if len(b) < 4 {
					return nil, io.ErrUnexpectedEOF
				}
				sizes[i] = int(binary.BigEndian.Uint32(b) &^ (1 << 31))
				b = b[3:]
			}
			if b = b[1:]; len(b) == 0 {
				return nil, io.ErrUnexpectedEOF
			}
		}
		for _, n := range sizes {
			if n > len(b) {
				return nil, io.ErrUnexpectedEOF
			}
			list, b = append(list, string(b[:n])), b[n:]
		}
	}
	return list, nil
}

func writeFastCGI(w io.Writer, answer string) {
	for len(answer) > 0 {
		n := min(len(answer), 1<<15)
		_, _ = w.Write([]byte{1, 6, 0, 1, byte(n >> 8), byte(n), 0, 0})
		_, _ = io.WriteString(w, answer[:n])
		answer = answer[n:]
	}
	_, _ = w.Write([]byte{1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
}

func readSCGI(br *bufio.Reader) ([]string, error) {
	size, err := br.ReadString(':')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(size, ":"))
	if err != nil {
		return nil, err
	}
	b := make([]byte, n+1)
	if _, err := io.ReadFull(br, b); err != nil {
		return nil, err
	}
	list := strings.Split(string(b[:n]), "\x00")
	return list[:len(list)-1], nil
}

func readUWSGI(br *bufio.Reader) (list []string, err error) {
	var head [4]byte
	if _, err := io.ReadFull(br, head[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.LittleEndian.Uint16(head[1:]))
	if _, err := io.ReadFull(br, b); err != nil {
		return nil, err
	}
	for len(b) >= 2 {
		n := int(binary.LittleEndian.Uint16(b))
		if n > len(b)-2 {
			return nil, io.ErrUnexpectedEOF
		}
		list, b = append(list, string(b[2:2+n])), b[2+n:]
	}
	return list, nil
}

// behind starts a server of protocol s that answers with its parameters, a line each, and
// Baton before it with the location's further directives.
func behind(t *testing.T, s protocol, directives string) *sidebyside.Pair {
	t.Helper()
	addr := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		list, err := s.read(br)
		if err != nil || len(list)%2 != 0 {
			list = []string{"fault", fmt.Sprint(err, list)}
		}
		answer := "Content-Type: text/plain\r\n\r\n"
		for i := 0; i < len(list); i += 2 {
			answer += list[i] + "=" + list[i+1] + "\n"
		}
		s.write(c, answer)
	})
	return sidebyside.Start(t, strings.ReplaceAll(`
large_client_header_buffers 4 32k;
server {
	listen ADDR;
	location / { PASS_pass `+addr+`; `+directives+` }
	location /fixed/ { PASS_pass `+addr+`; }
	location /chosen/ { set $to `+addr+`; PASS_pass $to; }
}`, "PASS", s.name), nil)
}

// TestRepeatedFieldsAreOneParameter: a name comes once, with all values. nginx does that
// since 1.23.
func TestRepeatedFieldsAreOneParameter(t *testing.T) {
	t.Parallel()
	for _, s := range protocols() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			p := behind(t, s, `PASS_param HTTP_X_SET "set here"; PASS_param HTTP_X_GONE "";`)
			_, a := p.Do(sidebyside.Get("/", "X-Forwarded-For: one", "Cookie: a=1", "Foo: 1", "x-forwarded-for: two", "COOKIE: b=2",
				"X-Set: client", "Foo:", "cookie: c=3", "Bar: only", "X-Forwarded-For: three", "x-set: again", "X-Gone: 1", "X-Gone: 2", "Foo: 1"))
			want := "HTTP_HOST=www.example.com\nHTTP_CONNECTION=close\nHTTP_X_FORWARDED_FOR=one, two, three\n" +
				"HTTP_COOKIE=a=1; b=2; c=3\nHTTP_FOO=1, , 1\nHTTP_BAR=only\n"
			if _, got, _ := strings.Cut(a.Body, "HTTP_X_SET=set here\n"); got != want {
				t.Errorf("the server was told\n%s\nwant\n%s\nin %s", got, want, a)
			}
		})
	}
}

// TestManyFieldsOfOneName: a client cannot make joining cost more than its head is worth.
func TestManyFieldsOfOneName(t *testing.T) {
	t.Parallel()
	var fields []string
	want := make([]string, 900)
	for i := range want {
		want[i] = strconv.Itoa(i)
		fields = append(fields, "X-Many: "+want[i])
	}
	for _, s := range protocols() {
		p := behind(t, s, "")
		if _, a := p.Do(sidebyside.Get("/", fields...)); !strings.Contains(a.Body, "HTTP_X_MANY="+strings.Join(want, ", ")+"\n") {
			t.Errorf("%s: %s", s.name, a)
		}
	}
}

// TestLongNamesOfParameters: lengths on both sides of what goes into one byte.
func TestLongNamesOfParameters(t *testing.T) {
	t.Parallel()
	for _, s := range protocols() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			var fields []string
			want, params := "", ""
			for _, n := range []int{127, 128, 129, 255, 256, 300} {
				name, value := "P"+strings.Repeat("N", n-1), strings.Repeat("v", n)
				params += s.name + "_param " + name + " " + value + ";\n"
				want += name + "=" + value + "\n"
			}
			want += "HTTP_HOST=www.example.com\nHTTP_CONNECTION=close\n"
			for _, n := range []int{127, 128, 129, 255, 256, 1000, 20000} {
				name, value := strings.Repeat("N", n-len("HTTP_")), strings.Repeat("v", min(n, 1000))
				fields = append(fields, name+": "+value)
				want += "HTTP_" + name + "=" + value + "\n"
			}
			_, a := behind(t, s, params).Do(sidebyside.Get("/", fields...))
			if got := strings.TrimPrefix(a.Body, "CONTENT_LENGTH=0\n"); got != want {
				t.Errorf("the server was told\n%.3000s\nwant\n%.3000s", got, want)
			}
		})
	}
}

// TestNoSlashIsAddedWhereTheServerIsAVariable: scgi_pass and uwsgi_pass differ there from
// proxy_pass and fastcgi_pass, in all versions of nginx.
func TestNoSlashIsAddedWhereTheServerIsAVariable(t *testing.T) {
	t.Parallel()
	for _, s := range protocols() {
		p := behind(t, s, "")
		if a := p.Same(sidebyside.Get("/fixed")); a.Code() != "301" {
			t.Errorf("%s: /fixed: %s", s.name, a)
		}
		want := "200"
		if s.name == "fastcgi" {
			want = "301"
		}
		if a := p.Same(sidebyside.Get("/chosen")); a.Code() != want {
			t.Errorf("%s: /chosen: %s, want %s", s.name, a, want)
		}
	}
}
