package backend_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/testbed/backend"
	"golang.org/x/net/websocket"
)

// serve runs a backend for the length of the test.
func serve(t *testing.T) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- backend.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

func TestPathsChooseTheAnswer(t *testing.T) {
	addr := serve(t)
	for _, tc := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"/echo", "a body", 200, "a body"},
		{"/status/204", "", 204, ""},
		{"/status/503", "", 503, "status 503\n"},
		{"/status/1", "", 400, "bad number in path\n"},
		{"/big/20", "", 200, "00000000000000\r\n0000"},
		{"/chunked/3", "", 200, "000"},
		{"/slow/1ms", "", 200, "slow\n"},
		{"/slow/never", "", 400, "bad duration in path\n"},
		{"/sse/2/1ms", "", 200, "id: 0\ndata: event 0\n\nid: 1\ndata: event 1\n\n"},
	} {
		resp, err := http.Post("http://"+addr+tc.path, "text/plain", strings.NewReader(tc.body))
		if err != nil {
			t.Errorf("%s: %v", tc.path, err)
			continue
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != tc.status || string(got) != tc.want {
			t.Errorf("%s: %d %q, %v; want %d %q", tc.path, resp.StatusCode, got, err, tc.status, tc.want)
		}
		if resp.Header.Get("Server") != "backend" {
			t.Errorf("%s: Server is %q", tc.path, resp.Header.Get("Server"))
		}
	}
	if _, err := http.Get("http://" + addr + "/close"); err == nil {
		t.Error("/close was answered")
	}
}

func TestWebSocketEchoes(t *testing.T) {
	addr := serve(t)
	ws, err := websocket.Dial("ws://"+addr+"/ws", "", "http://"+addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	for _, message := range []string{"one", strings.Repeat("long", 5000)} {
		if _, err := io.WriteString(ws, message); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(message))
		if _, err := io.ReadFull(ws, got); err != nil || string(got) != message {
			t.Errorf("echo of %d bytes differs: %v", len(message), err)
		}
	}
}

// Reads of any size give the same bytes.
func TestBigIsTheSameInAnyPieces(t *testing.T) {
	whole, err := io.ReadAll(backend.Big(1000))
	if err != nil || len(whole) != 1000 {
		t.Fatalf("%d bytes, %v", len(whole), err)
	}
	r := backend.Big(1000)
	var pieces []byte
	for size := 1; ; size = size%37 + 1 {
		b := make([]byte, size)
		n, err := r.Read(b)
		pieces = append(pieces, b[:n]...)
		if err == io.EOF {
			break
		}
	}
	if !bytes.Equal(whole, pieces) {
		t.Error("pieces differ from the whole")
	}
}
