package main

import (
	"context"
	"net"
	"os"
	"runtime"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	modulelist "github.com/baton-deploy/baton/internal/httpd/modules"
	"github.com/baton-deploy/baton/internal/ticketkeys"
	"github.com/baton-deploy/baton/internal/worker"
)

// workerOptions makes a worker serve HTTP.
func workerOptions() worker.Options {
	return worker.Options{Decode: decodeConfig, NewLog: newErrorLog, New: newService}
}

func newService(c *conf.Config, env worker.Env) (worker.Service, error) {
	site, err := httpd.Compile(c, modulelist.All(), "baton/"+version)
	if err != nil {
		return nil, err
	}
	var tickets *ticketkeys.Ring
	if env.Tickets != nil {
		if tickets, err = ticketkeys.Decode(env.Tickets); err != nil {
			return nil, err
		}
	}
	return service{httpd.NewServer(site, httpd.Env{
		Tickets: tickets,
		Log:     env.Log,
		Logs:    env.Logs,
		Zones:   env.Zones,
		Shared:  env.Stats,
		Slot:    env.Slot,
		// One worker of ours does the work of several of nginx's: it has their room.
		MaxConns: c.Process.WorkerConnections * runtime.GOMAXPROCS(0),
	})}, nil
}

// A service is an HTTP server as a worker knows it.
type service struct{ s *httpd.Server }

func (s service) Start(listeners map[string][]net.Listener) error { return s.s.Start(listeners) }

func (s service) Retire(ctx context.Context, give worker.Give) worker.Result {
	return worker.Result(s.s.Retire(ctx, give))
}

func (s service) Redirect(give worker.Give) { s.s.Redirect(give) }

func (s service) Wants(kind byte, state []byte, fds int) bool { return s.s.Wants(kind, state, fds) }

func (s service) Take(kind byte, state []byte, fds []int) error { return s.s.Take(kind, state, fds) }

func (s service) Reopen(logs map[string]*os.File) { s.s.Reopen(logs) }

func (s service) Close() { s.s.Close() }
