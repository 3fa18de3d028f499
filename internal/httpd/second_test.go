package httpd_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd"
)

// secondAnswers are handlers that have more to say than one response, by path.
var secondAnswers = map[string]func(r *httpd.Request, body []byte) int{
	"/send-send": func(r *httpd.Request, body []byte) int {
		r.Out.Send(200, nil, body)
		return r.Out.Send(404, nil, body)
	},
	"/send-head": func(r *httpd.Request, body []byte) int {
		r.Out.Send(200, nil, body)
		r.Out.Status, r.Out.ContentLength = 500, 0
		_ = r.Out.SendHead()
		return httpd.Done
	},
	"/send-write": func(r *httpd.Request, body []byte) int {
		r.Out.Send(200, nil, body)
		_, _ = r.Out.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
		return httpd.Done
	},
	"/send-status": func(r *httpd.Request, body []byte) int {
		r.Out.Send(200, nil, body)
		return 403
	},
	"/head-send": func(r *httpd.Request, body []byte) int {
		r.Out.Status, r.Out.ContentLength = 200, int64(2*len(body))
		_ = r.Out.SendHead()
		return r.Out.Send(200, nil, body)
	},
	"/too-long": func(r *httpd.Request, body []byte) int {
		r.Out.Status, r.Out.ContentLength = 200, int64(len(body))
		_, _ = r.Out.Write(append(body, " and more"...))
		return httpd.Done
	},
	"/chunked-send": func(r *httpd.Request, body []byte) int {
		r.Out.Status = 200
		_, _ = r.Out.Write(body)
		return r.Out.Send(200, nil, body)
	},
}

// Whatever a handler does, a client gets one response to a request and nothing behind
// it: where there would be more the connection ends instead.
func TestNoSecondResponse(t *testing.T) {
	addr, _ := start(t, `server { LISTEN http2 on; echo the-body; }`)
	for path := range secondAnswers {
		c := dial(t, addr)
		next := "GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n"
		if _, err := io.WriteString(c.nc, next+next); err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(c.br)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if got := string(all); strings.Count(got, "HTTP/1.1 ") > 1 || strings.Count(got, "the-body") > 1 || strings.Contains(got, "more") {
			t.Errorf("%s: the client got\n%s", path, got)
		}
		var protocols http.Protocols
		protocols.SetUnencryptedHTTP2(true)
		tr := &http.Transport{Protocols: &protocols}
		resp, err := tr.RoundTrip(mustRequest(t, "http://"+addr+path))
		if err != nil {
			continue // the stream was reset before its head was read
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		tr.CloseIdleConnections()
		if resp.ProtoMajor != 2 || resp.StatusCode != 200 || strings.Count(string(body), "the-body") > 1 || strings.Contains(string(body), "more") {
			t.Errorf("%s by %s: %d %q", path, resp.Proto, resp.StatusCode, body)
		}
	}
}

func mustRequest(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}
