package gateway

import (
	"errors"

	"github.com/baton-deploy/baton/internal/bufpool"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/netconn"
)

// tunnel sends the head of a 101 answer and passes bytes both ways from then on.
func (x *Exchange) tunnel() int {
	r := x.R
	r.CloseAfter()
	if r.HTTP2() != "" {
		// A stream has no other protocol to switch to.
		x.done(false)
		return 502
	}
	if len(r.Field("Upgrade")) == 0 {
		// The client did not ask for it: it would not know what follows.
		return x.finish(r.Out.SendHead(), nil, false)
	}
	r.Out.Upgraded = true
	if err := r.Out.SendHead(); err != nil {
		return x.finish(err, nil, false)
	}
	if err := r.Out.Flush(); err != nil {
		return x.finish(err, nil, false)
	}
	x.doing = "proxying upgraded connection"
	x.conn.SetBuffer(bufpool.Page, bufpool.Large)
	t := &httpd.Tunnel{
		Client: &x.client, Server: x.conn.Socket,
		ReadTimeout: x.loc.readTimeout, SendTimeout: x.loc.sendTimeout,
		ClientTimeout: r.Location().SendTimeout(),
	}
	// What came with the head is counted as it is passed on, here or where the tunnel
	// moves to.
	raw, sent, counted := x.raw-int64(len(x.conn.Buffered())), x.now().Sent, int64(0)
	settle := func() {
		x.raw = raw + t.FromServer
		x.now().Sent = sent + t.FromClient
		r.Out.CountTunnel(t.FromServer - counted)
		counted = t.FromServer
		x.Settle()
	}
	err := r.ServeTunnel(t, settle)
	if errors.Is(err, httpd.ErrMoved) {
		x.done(false)
		return httpd.Done
	}
	if errors.Is(err, netconn.ErrTimeout) {
		x.logTimeout()
	}
	settle()
	x.done(false)
	return r.Lost(0)
}
