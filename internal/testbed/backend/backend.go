// Package backend is a small HTTP/1.1 server for proxies to stand in front of.
// What it does is chosen by the path of the request:
//
//	/echo        answers with the body of the request, streaming both ways
//	/headers     answers with the head of the request as it arrived here
//	/status/N    answers with status N
//	/big/N       answers with N bytes (see [Big]), with Content-Length
//	/chunked/N   the same without Content-Length
//	/slow/D      answers after D, a duration such as 250ms
//	/sse/N/D     sends N server-sent events, D apart
//	/close       closes the connection without an answer
//	/ws          a WebSocket that sends every message back
//
// Every answer has "Server: backend" and keeps its connection alive.
package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/net/websocket"
)

// Serve answers on ln until ctx is done. It closes ln, and it returns when
// every connection is closed; it returns nil when ctx ended it.
func Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler:     Handler(),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan error, 1)
	go func() { // waited for below
		<-ctx.Done()
		stopped <- server.Close()
	}()
	err := server.Serve(ln)
	cancel()
	closeErr := <-stopped
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve backend: %w", err)
	}
	return closeErr
}

// Handler returns the backend as a handler for a server of the caller's own.
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/headers", headers)
	mux.HandleFunc("/status/{n}", status)
	mux.HandleFunc("/big/{n}", big)
	mux.HandleFunc("/chunked/{n}", big)
	mux.HandleFunc("/slow/{d}", slow)
	mux.HandleFunc("/sse/{n}/{d}", events)
	mux.HandleFunc("/close", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	// A server of its own, not a websocket.Handler: that one wants an Origin.
	mux.Handle("/ws", websocket.Server{Handler: echoMessages})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "backend")
		mux.ServeHTTP(w, r)
	})
}

func echo(w http.ResponseWriter, r *http.Request) {
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if r.ContentLength >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
	io.Copy(w, r.Body) // what fails is the connection, and the client sees that
}

// echoMessages sends every message back whole: a copy of bytes would make two
// messages of one that comes in two pieces.
func echoMessages(ws *websocket.Conn) {
	for {
		var message []byte
		if websocket.Message.Receive(ws, &message) != nil || websocket.Message.Send(ws, message) != nil {
			return
		}
	}
}

func headers(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %s %s\nHost: %s\n", r.Method, r.RequestURI, r.Proto, r.Host)
	r.Header.Write(w)
}

// number returns the path's {n}, answering 400 when it is none below limit.
func number(w http.ResponseWriter, r *http.Request, limit int64) (n int64, ok bool) {
	n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
	if err != nil || n < 0 || n > limit {
		http.Error(w, "bad number in path", http.StatusBadRequest)
		return 0, false
	}
	return n, true
}

// pause waits for the path's {d}; it returns false when the client left or d
// is no duration, which is answered with 400.
func pause(w http.ResponseWriter, r *http.Request) bool {
	d, err := time.ParseDuration(r.PathValue("d"))
	if err != nil {
		http.Error(w, "bad duration in path", http.StatusBadRequest)
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

func status(w http.ResponseWriter, r *http.Request) {
	n, ok := number(w, r, 599)
	if !ok || n < 200 {
		if ok {
			http.Error(w, "bad number in path", http.StatusBadRequest)
		}
		return
	}
	w.WriteHeader(int(n))
	if n != http.StatusNoContent && n != http.StatusNotModified {
		fmt.Fprintf(w, "status %d\n", n)
	}
}

func big(w http.ResponseWriter, r *http.Request) {
	n, ok := number(w, r, 1<<40)
	if !ok {
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.Pattern == "/big/{n}" {
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	}
	io.Copy(w, Big(n))
}

func slow(w http.ResponseWriter, r *http.Request) {
	if pause(w, r) {
		io.WriteString(w, "slow\n")
	}
}

func events(w http.ResponseWriter, r *http.Request) {
	n, ok := number(w, r, 1<<20)
	if !ok {
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w).Flush
	for i := range n {
		if i > 0 && !pause(w, r) {
			return
		}
		fmt.Fprintf(w, "id: %d\ndata: event %d\n\n", i, i)
		if flush() != nil {
			return
		}
	}
}

// Big returns n bytes that are easy to check and do not repeat within 64 KB:
// 16-byte lines, each with its own offset.
func Big(n int64) io.Reader { return &pattern{left: n} }

type pattern struct{ at, left int64 }

func (p *pattern) Read(b []byte) (n int, err error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	for n < len(b) && p.left > 0 {
		line := fmt.Sprintf("%014x\r\n", p.at&^15)
		copied := copy(b[n:], line[p.at&15:])
		copied = int(min(int64(copied), p.left))
		n += copied
		p.at += int64(copied)
		p.left -= int64(copied)
	}
	return n, nil
}
