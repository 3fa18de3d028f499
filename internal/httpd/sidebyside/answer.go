package sidebyside

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
	"time"
)

// An Answer is one response.
type Answer struct {
	Status string   // the whole status line
	Fields []string // "Name: value", in the order in which they came
	Body   string   // without the framing of chunks
	// Err is what went wrong while the answer was read, "EOF" for a connection that
	// was closed without one, or "".
	Err string
}

// Field returns the first field of that name, in any case, or "".
func (a Answer) Field(name string) string {
	for _, f := range a.Fields {
		if k, v, _ := strings.Cut(f, ": "); strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

// Code is the status as text: "200"; "" when no answer came.
func (a Answer) Code() string {
	if parts := strings.SplitN(a.Status, " ", 3); len(parts) > 1 {
		return parts[1]
	}
	return ""
}

// String is the answer as on the wire, with plain line ends.
func (a Answer) String() string {
	var b strings.Builder
	fmt.Fprintln(&b, a.Status)
	for _, f := range a.Fields {
		fmt.Fprintln(&b, f)
	}
	if a.Err != "" {
		fmt.Fprintf(&b, "(error: %s)\n", a.Err)
	}
	fmt.Fprintf(&b, "\n%s", a.Body)
	return b.String()
}

// Do sends raw to both servers, each on a connection of its own, and returns the
// first answer of each as it came. The methods of raw's first request counts for
// whether a body follows.
func (p *Pair) Do(raw string) (nginx, baton Answer) {
	return exchange(p.Nginx, raw, 1)[0], exchange(p.Baton, raw, 1)[0]
}

// DoBaton is [Pair.Do] with Baton only.
func (p *Pair) DoBaton(raw string) Answer { return exchange(p.Baton, raw, 1)[0] }

// DoAll sends raw, which may hold several requests, and returns all answers until
// each server closes the connection: the last request must make them.
func (p *Pair) DoAll(raw string) (nginx, baton []Answer) {
	return exchange(p.Nginx, raw, -1), exchange(p.Baton, raw, -1)
}

// Get is a GET request for target on a connection that is closed afterwards, with
// further fields ("Range: bytes=0-1").
func Get(target string, fields ...string) string { return Ask("GET", target, fields...) }

// Ask is [Get] with any method.
func Ask(method, target string, fields ...string) string {
	raw := method + " " + target + " HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n"
	for _, f := range fields {
		raw += f + "\r\n"
	}
	return raw + "\r\n"
}

// Same sends raw to both servers and fails the test unless the first answers are
// equal but for what must differ: the time, the address, a boundary between
// ranges. It returns Baton's.
func (p *Pair) Same(raw string) Answer {
	p.t.Helper()
	return p.SameAs(raw, func(a Answer) Answer { return a })
}

// SameAs is [Pair.Same] for what form makes of either answer.
func (p *Pair) SameAs(raw string, form func(Answer) Answer) Answer {
	p.t.Helper()
	var n, b, baton Answer
	for range expiresTries {
		var nginx Answer
		nginx, baton = p.Do(raw)
		n, b = p.Neutral(form(nginx)), p.Neutral(form(baton))
		if n.String() == b.String() {
			return baton
		}
		if n.withoutExpires().String() != b.withoutExpires().String() {
			break
		}
	}
	p.t.Errorf("%q:\n--- nginx\n%s\n--- baton\n%s", firstLine(raw), clip(n.String()), clip(b.String()))
	return baton
}

// expiresTries is how often two servers are asked whose answers differ in Expires only: it
// may be counted from now, and a second may have begun between the two.
const expiresTries = 5

// withoutExpires is a without the fields of that name.
func (a Answer) withoutExpires() Answer {
	a.Fields = slices.DeleteFunc(slices.Clone(a.Fields), func(f string) bool { return strings.HasPrefix(f, "Expires: ") })
	return a
}

// SameBody is [Pair.Same] for a large body, of which nothing differs: it compares that,
// and the status.
func (p *Pair) SameBody(raw string) Answer {
	p.t.Helper()
	nginx, baton := p.Do(raw)
	if nginx.Code() != baton.Code() || nginx.Body != baton.Body || nginx.Err != baton.Err {
		p.t.Errorf("%q:\n--- nginx\n%s\n--- baton\n%s", firstLine(raw), clip(nginx.String()), clip(baton.String()))
	}
	return baton
}

func firstLine(raw string) string {
	if len(raw) > 300 {
		raw = raw[:300]
	}
	return raw
}

func clip(s string) string {
	if len(s) > 3000 {
		return s[:3000] + "…"
	}
	return s
}

var boundary = regexp.MustCompile(`boundary=([0-9]{20})`)

// Neutral is a with what must differ between the servers replaced.
func (p *Pair) Neutral(a Answer) Answer {
	between := ""
	if m := boundary.FindStringSubmatch(a.Field("Content-Type")); m != nil {
		between = m[1]
	}
	clean := func(s string) string {
		s = strings.NewReplacer(p.Nginx, "ADDR", p.Baton, "ADDR", nginxIP, "IP", batonIP, "IP").Replace(s)
		if between != "" {
			s = strings.ReplaceAll(s, between, "BOUNDARY")
		}
		return s
	}
	n := Answer{Status: a.Status, Body: clean(a.Body), Err: a.Err}
	for _, f := range a.Fields {
		if strings.HasPrefix(f, "Date: ") {
			f = "Date: now"
		}
		n.Fields = append(n.Fields, clean(f))
	}
	return n
}

// exchange sends raw and reads n answers, or all when n is negative.
func exchange(addr, raw string, n int) []Answer {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return []Answer{{Err: "dial failed"}}
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(waitLimit))
	go func() { _, _ = io.WriteString(c, raw) }() // ends with the connection
	var answers []Answer
	method, _, _ := strings.Cut(raw, " ")
	for br := bufio.NewReaderSize(c, 64<<10); n != 0; n-- {
		if _, err := br.Peek(1); err != nil && len(answers) > 0 {
			break
		}
		a := ReadAnswer(br, method)
		answers = append(answers, a)
		if a.Err != "" {
			break
		}
		method = ""
	}
	return answers
}

// ReadAnswer reads one answer; to a request with method HEAD none has a body.
func ReadAnswer(br *bufio.Reader, method string) Answer {
	var a Answer
	head := textproto.NewReader(br)
	var err error
	if a.Status, err = head.ReadLine(); err != nil {
		a.Err = cause(err)
		return a
	}
	for {
		line, err := head.ReadLine()
		if err != nil {
			a.Err = cause(err)
			return a
		}
		if line == "" {
			break
		}
		a.Fields = append(a.Fields, line)
	}
	var body bytes.Buffer
	code := a.Code()
	switch {
	case method == http.MethodHead, code == "204", code == "304", strings.HasPrefix(code, "1"):
	case a.Field("Transfer-Encoding") == "chunked":
		if _, err = io.Copy(&body, httputil.NewChunkedReader(br)); err == nil {
			_, err = head.ReadLine()
		}
	case a.Field("Content-Length") != "":
		var size int64
		_, _ = fmt.Sscan(a.Field("Content-Length"), &size)
		_, err = io.CopyN(&body, br, size)
	default:
		_, err = io.Copy(&body, br)
	}
	a.Body = body.String()
	if err != nil {
		a.Err = cause(err)
	}
	return a
}

// cause is the same text for the same fault of both servers.
func cause(err error) string {
	switch {
	case strings.Contains(err.Error(), "reset by peer"):
		return "reset"
	case strings.Contains(err.Error(), "timeout"):
		return "timeout"
	case strings.Contains(err.Error(), "EOF"):
		return "EOF"
	}
	return err.Error()
}
