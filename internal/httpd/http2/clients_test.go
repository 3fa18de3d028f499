package http2_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// serve answers on ln until the test ends with what it was asked.
func serve(t *testing.T, ln net.Listener) {
	t.Helper()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var fields []string
		for name, values := range r.Header {
			fields = append(fields, name+"="+strings.Join(values, ","))
		}
		slices.Sort(fields)
		w.Header()["Date"] = nil
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprintf(w, "%s %s %s length %d %v\n%v\n%s\n", r.Method, r.RequestURI, r.Proto, r.ContentLength, r.TransferEncoding, fields, body)
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(ln)
	}()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
}
