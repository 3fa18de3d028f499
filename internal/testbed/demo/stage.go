package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/backend"
	"github.com/baton-deploy/baton/internal/testbed/load"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

const (
	stepLimit = 20 * time.Second      // for what a command brings about
	lookEvery = 10 * time.Millisecond // between two looks at the processes
)

// A stage is everything the demo runs on.
type stage struct {
	prefix *testbed.Prefix
	tree   *tree.Tree
	port   *testbed.Port
	env    []string // for commands: P, NEW, ADDR and BATON
	start  string   // command that starts the server

	stopBackend func() error
	load        *load.Load // nil until the load begins
	held        *held      // nil until then, and with servers that do not move connections
	foreign     bool       // some binary was not built here
	done        []stepRecord
}

// A stepRecord is what one finished step took, for the table at the end.
type stepRecord struct {
	name   string
	took   time.Duration
	before *load.Report // nil when there was no load yet
	after  *load.Report
}

// setStage lays out a prefix with oldBinary and starts a backend; foreign says
// that some binary was not built here, so its built-in paths are not known.
func setStage(oldBinary, newBinary string, foreign bool) (s *stage, err error) {
	s = &stage{foreign: foreign}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.takeDown())
		}
	}()
	dir, err := os.MkdirTemp("", "baton-demo-")
	if err != nil {
		return nil, fmt.Errorf("set stage: %w", err)
	}
	s.prefix = &testbed.Prefix{Dir: dir} // from here on takeDown removes it
	if _, err := testbed.NewPrefix(dir); err != nil {
		return nil, err
	}
	if err := s.prefix.Install(oldBinary); err != nil {
		return nil, err
	}
	if s.port, err = testbed.TakePort(); err != nil {
		return nil, err
	}
	backendAddr, err := s.startBackend()
	if err != nil {
		return nil, err
	}
	conf := testbed.Conf{Listen: []string{s.port.Addr()}, Backend: backendAddr,
		// At the usual number of requests a connection ends with an announcement, as
		// it should; that is not what is to be seen here.
		HTTP: "sendfile on;", Server: "location /ws {\n" +
			"            proxy_pass http://" + backendAddr + ";\n" +
			"            proxy_http_version 1.1;\n" +
			"            proxy_set_header Upgrade $http_upgrade;\n" +
			"            proxy_set_header Connection upgrade;\n" +
			"        }"}
	if foreign {
		conf.User = testbed.PackageUser()
	}
	if err := s.prefix.WriteConf(conf); err != nil {
		return nil, err
	}
	s.env = append(os.Environ(), "P="+dir, "NEW="+newBinary, "ADDR="+s.port.Addr())
	s.start = "$P/sbin/nginx"
	if foreign {
		s.start += " -p $P -c $P/conf/nginx.conf -e $P/logs/error.log"
	}
	s.tree, err = tree.Plant()
	return s, err
}

// startBackend serves package backend on a free port, in this process.
func (s *stage) startBackend() (addr string, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("start backend: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- backend.Serve(ctx, ln) }()
	s.stopBackend = func() error { cancel(); return <-ended }
	return ln.Addr().String(), nil
}

// takeDown stops and removes everything there is. It is an error if servers
// were still running although the last step had ended them; after a failure
// before that they are expected.
func (s *stage) takeDown() error {
	var errs []error
	if s.load != nil {
		s.load.Stop()
	}
	s.held.drop()
	if s.tree != nil {
		_, err := s.tree.Uproot()
		errs = append(errs, err)
	}
	if s.stopBackend != nil {
		errs = append(errs, s.stopBackend())
	}
	if s.port != nil {
		s.port.Release()
	}
	if s.prefix != nil {
		errs = append(errs, os.RemoveAll(s.prefix.Dir))
	}
	return errors.Join(errs...)
}

// startLoad puts clients on the server.
func (s *stage) startLoad() (err error) {
	const ms = time.Millisecond
	s.load, err = load.Start(context.Background(),
		load.Group{
			Name: newConnections, Addr: s.port.Addr(), Clients: 8, MinPause: 2 * ms, MaxPause: 20 * ms,
		},
		load.Group{
			Name: "keep-alive GET", Addr: s.port.Addr(), Clients: 16, MaxPause: 20 * ms, KeepAlive: true,
		},
		load.Group{
			Name: "keep-alive POST", Addr: s.port.Addr(), Clients: 16, MaxPause: 16 * ms, KeepAlive: true,
			Path: "/backend/echo", Post: true, Echo: true, Blind: true,
		})
	return err
}

// shell runs one command to its end and returns what it said.
func (s *stage) shell(ctx context.Context, command string) (said string, err error) {
	p, err := s.tree.Start(tree.Command{Args: []string{"sh", "-c", command}, Dir: s.prefix.Dir, Env: s.env})
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	status, err := p.Wait(ctx)
	if err != nil {
		return "", fmt.Errorf("run %q: %w", command, err)
	}
	if !status.Exited() || status.ExitStatus() != 0 {
		return "", fmt.Errorf("run %q: exit status %d: %s", command, status.ExitStatus(), strings.TrimSpace(p.Stderr()))
	}
	return p.Stdout(), nil
}

// waitFor looks at a fact until it holds. what names it when it never does.
func waitFor(ctx context.Context, what string, holds func() (bool, error)) error {
	limit, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	again := time.NewTicker(lookEvery)
	defer again.Stop()
	for {
		if ok, err := holds(); ok || err != nil {
			return err
		}
		select {
		case <-again.C:
		case <-limit.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("wait for %s: not within %v", what, stepLimit)
		}
	}
}

// waitShape waits until the processes look like want.
func (s *stage) waitShape(ctx context.Context, want string) error {
	var got string
	err := waitFor(ctx, "processes", func() (bool, error) {
		found, err := s.tree.Processes()
		got = testbed.Shape(s.tree.Root(), found)
		return got == want, err
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w; they are\n%swant\n%s", err, got, want)
	}
	return err
}

// letLoadRun waits until every group of clients got n more answers.
func (s *stage) letLoadRun(ctx context.Context, n int) error {
	if s.load == nil {
		return nil
	}
	before := s.load.Report()
	return waitFor(ctx, "answers to the load", func() (bool, error) {
		for i, g := range s.load.Report().Groups {
			if g.Total() < before.Groups[i].Total()+n {
				return false, nil
			}
		}
		return true, nil
	})
}
