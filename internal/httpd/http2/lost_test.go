package http2_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
)

// A connection that had as many requests as there may be ends, again and again, and no
// request is lost by that, also none whose body cannot be sent a second time.
func TestEndOfAConnectionLosesNothing(t *testing.T) {
	t.Parallel()
	withBoth(t, ` keepalive_requests 10; location /few { return 200 few; }`, func(t *testing.T, c clients) {
		const connections, streams, requests = 3, 4, 60
		var all sync.WaitGroup
		for range connections {
			client := &http.Client{Transport: c.transport(t), Timeout: waitLimit}
			for range streams {
				all.Go(func() {
					for range requests {
						body := struct{ io.Reader }{strings.NewReader("hello")}
						if got, err := fetch(client, "POST", c.url("/few"), body); err != nil || got != "few" {
							t.Errorf("got %q, %v", got, err)
							return
						}
					}
				})
			}
		}
		all.Wait()
	})
}

// transport is the client of x/net, which keeps its connections by itself: that of
// net/http gives up a body that it did not begin to send.
//
//nolint:staticcheck // it is deprecated, and what many programs are built with
func (c clients) transport(t *testing.T) http.RoundTripper {
	tr := &http2.Transport{
		AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, network, _ string, config *tls.Config) (net.Conn, error) {
			d := tls.Dialer{Config: &tls.Config{RootCAs: c.ca.Pool(), ServerName: config.ServerName, NextProtos: config.NextProtos}}
			if c.secure {
				return d.DialContext(ctx, network, c.Baton)
			}
			return new(net.Dialer).DialContext(ctx, network, c.Baton)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}
