package acceptance

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
)

// An addressed is where servers speak HTTP/2: without TLS where they speak HTTP/1, and
// with it.
type addressed struct {
	ca    *testbed.Authority
	plain string
	tls   string
}

// start is a starter of such servers.
func (a *addressed) start(t *testing.T, conf func(m *mover) testbed.Conf) *mover {
	t.Helper()
	a.ca = testbed.NewAuthority(t, "Test CA")
	site := a.ca.Issue(testbed.Certificate{Name: "www.example.com"})
	return newMover(t, func(m *mover) testbed.Conf {
		writeFile(t, m.Path("conf", "site.crt"), site.CertPEM())
		writeFile(t, m.Path("conf", "site.key"), site.KeyPEM())
		c := conf(m)
		a.plain, a.tls = m.Addr, m.TakePort().Addr()
		c.Listen[0] += " http2"
		c.Listen = append(c.Listen, a.tls+" ssl http2")
		c.HTTP += " ssl_certificate site.crt; ssl_certificate_key site.key;"
		return c
	})
}

// client is Go's, that speaks nothing else.
func (a *addressed) client(t *testing.T) *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &protocols, DisableCompression: true,
		TLSClientConfig: &tls.Config{RootCAs: a.ca.Pool(), ServerName: "www.example.com"}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// A multitude are clients that speak HTTP/2 until they are stopped: a few connections
// with many requests each, one after the other and at once. Every answer must be right.
type multitude struct {
	m       *mover
	at      *addressed
	limited [32]byte // sum of /limited/document
	stop    chan struct{}
	clients sync.WaitGroup
	answers [5]atomic.Int64 // by kind of client
	loaded  atomic.Int64    // answers that h2load counted
}

// startMultitude starts them.
func (m *mover) startMultitude(at *addressed) *multitude {
	m.t.Helper()
	l := &multitude{m: m, at: at, limited: m.document("limited/document", 200<<10), stop: make(chan struct{})}
	for i, site := range []string{"http://" + at.plain, "http://" + at.plain, "https://" + at.tls, "https://" + at.tls} {
		c := at.client(m.t)
		for n := range 4 {
			kind := (i + n) % 3
			l.run(kind, func() error { return l.ask(c, site, kind) })
		}
	}
	l.run(3, l.curl)
	l.run(4, l.h2load)
	l.waitAnswers()
	return l
}

// run does f again and again.
func (l *multitude) run(kind int, f func() error) {
	l.clients.Go(func() {
		for {
			select {
			case <-l.stop:
				return
			default:
			}
			err := f()
			if errors.Is(err, errUnsent) {
				continue
			}
			if err != nil {
				l.m.t.Errorf("client of kind %d: %v", kind, err)
				return
			}
			l.answers[kind].Add(1)
		}
	})
}

// waitAnswers waits until each kind has got more answers.
func (l *multitude) waitAnswers() {
	l.m.t.Helper()
	for kind := range l.answers {
		n := l.answers[kind].Load()
		l.m.WaitFor(fmt.Sprintf("an answer for clients of kind %d", kind), func() bool {
			return l.answers[kind].Load() > n+1 || l.m.t.Failed()
		})
	}
}

// end stops them all.
func (l *multitude) end() {
	l.m.t.Helper()
	l.waitAnswers()
	close(l.stop)
	l.clients.Wait()
	for kind := range l.answers {
		l.m.t.Logf("%d answers for clients of kind %d", l.answers[kind].Load(), kind)
	}
	l.m.wantLogged("\"POST /backend/echo HTTP/2.0\"", " 200 ", int(l.answers[1].Load()))
	l.m.wantLogged("\"GET /post?h2load HTTP/2.0\"", " 200 ", int(l.loaded.Load()))
}

// errUnsent: Go's client chose a connection for the request, heard that it retires before
// it sent anything, and cannot choose another because it has closed the body. That the
// server knows nothing of such a request the access log tells, where there is one line
// for each answer.
var errUnsent = errors.New("not sent")

// ask sends one request by Go's client.
func (l *multitude) ask(c *http.Client, site string, kind int) error {
	path, method, body := "/index.html", "GET", make([]byte, 20<<10)
	switch kind {
	case 1:
		path, method = "/backend/echo", "POST"
		rand.Read(body)
	case 2:
		path = "/limited/document"
	}
	if method == "GET" {
		body = nil
	}
	req, err := http.NewRequest(method, site+path, io.NopCloser(bytes.NewReader(body))) // cannot be sent twice
	if err != nil {
		return err
	}
	if body == nil {
		req.Body = nil
	}
	resp, err := c.Do(req)
	if err != nil && strings.Contains(err.Error(), "cannot rewind body after connection loss") {
		return errUnsent
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w after %d bytes", path, err, len(got))
	case resp.StatusCode != 200 || resp.ProtoMajor != 2:
		return fmt.Errorf("%s: %s %s", path, resp.Proto, resp.Status)
	case kind == 1 && !bytes.Equal(got, body), kind == 2 && sha256.Sum256(got) != l.limited:
		return fmt.Errorf("%s: %d bytes, and others than it should be", path, len(got))
	}
	return nil
}

// curl fetches on a connection of its own.
func (l *multitude) curl() error {
	args := []string{"-sS", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"}
	if l.answers[3].Load()%2 == 0 {
		args = append(args, "--http2-prior-knowledge", "http://"+l.at.plain+"/backend/headers")
	} else {
		args = append(args, "--insecure", "--http2", "https://"+l.at.tls+"/backend/headers")
	}
	out, err := exec.Command("curl", args...).CombinedOutput()
	if err != nil || string(out) != "2 200" {
		return fmt.Errorf("curl: %w: %s", err, out)
	}
	return nil
}

var succeeded = regexp.MustCompile(`requests: .*, (\d+) succeeded, `)

// h2load loads. It counts as failed what it never sent, because its connection was
// retired, so that only what the server has served and it has not got is lost: the
// access log tells.
func (l *multitude) h2load() error {
	site := "http://" + l.at.plain
	if l.answers[4].Load()%2 == 1 {
		site = "https://" + l.at.tls
	}
	out, err := exec.Command("h2load", "-n", "300", "-c", "3", "-m", "10", "-T", "20", site+"/post?h2load").CombinedOutput()
	found := succeeded.FindSubmatch(out)
	if err != nil || found == nil {
		return fmt.Errorf("h2load: %w: %s", err, out)
	}
	n, err := strconv.Atoi(string(found[1]))
	l.loaded.Add(int64(n))
	return err
}

// Clients that speak HTTP/2 lose nothing: what is under way is finished where it is,
// what crosses the word that the connection retires is served, and what comes next goes
// to the successor.
func TestHTTP2ClientsLoseNothing(t *testing.T) {
	var at addressed
	inEachDirectionOf(t, at.start, func(m *mover, hop func()) {
		l := m.startMultitude(&at)
		for range 2 {
			hop()
			l.waitAnswers()
		}
		l.end()
		m.wantSoonGone()
	})
}

// An idle connection is told, and gone at once; one that holds a request that lasts is
// told, too, and stays for it.
func TestHTTP2DrainsForItsStreams(t *testing.T) {
	var at addressed
	m := at.start(t, moverConf)
	clients := []*http.Client{at.client(t), at.client(t)}
	get := func(c *http.Client, path string) *http.Response {
		t.Helper()
		resp, err := c.Get("http://" + m.Addr + path)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	get(clients[0], "/index.html").Body.Close()
	events := get(clients[1], "/sse/1000000/20ms")
	defer events.Body.Close()
	old := m.Workers(m.master)
	m.Sh(fmt.Sprintf(`kill -HUP %d`, m.master))
	m.WaitFor("a retiring worker alone with the events", func() bool {
		retiring := 0
		for _, p := range m.Processes() {
			if testbed.IsRetiring(p) {
				retiring++
			}
		}
		return retiring == 1
	})
	get(clients[0], "/index.html").Body.Close()
	lines := bufio.NewScanner(events.Body)
	event := func(id int) {
		for lines.Scan() {
			if text := lines.Text(); strings.HasPrefix(text, "id: ") {
				if text != fmt.Sprintf("id: %d", id) {
					t.Fatalf("%q comes, want event %d", text, id)
				}
				return
			}
		}
		t.Fatalf("no event %d: %v", id, lines.Err())
	}
	began := time.Now()
	for id := 0; id < 20 || time.Since(began) < time.Second; id++ { // more than what was on its way
		event(id)
	}
	events.Body.Close() // the last request ends
	began = time.Now()
	m.WaitFor("the old workers' end", func() bool {
		for _, p := range old {
			if err := processGone(p.PID); err != nil {
				return false
			}
		}
		return true
	})
	t.Logf("the last old worker was gone %v after the last event", time.Since(began).Round(time.Millisecond))
	m.WaitShape(oneMaster)
	m.end()
}

// processGone returns an error while there is such a process.
func processGone(pid int) error {
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
		return fmt.Errorf("process %d is there", pid)
	}
	return nil
}
