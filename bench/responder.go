package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"os"

	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// startResponder serves FastCGI in a process of its own on the load's core. stop ends
// it.
func startResponder(ctx context.Context, tr *tree.Tree) (addr string, stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	return startService(ctx, tr, "taskset", "-c", loadCore, self, "-responder")
}

// respond answers every FastCGI request with a kilobyte until ctx is done.
func respond(ctx context.Context, ln net.Listener) error {
	kilobyte := bytes.Repeat([]byte("0123456789abcdef"), 64)
	context.AfterFunc(ctx, func() { ln.Close() })
	err := fcgi.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(kilobyte)
	}))
	if ctx.Err() != nil {
		err = nil // it is what was asked for
	}
	return err
}
