package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/testbed/backend"
	"github.com/baton-deploy/baton/internal/testbed/load"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

const (
	postClients   = 200
	postPause     = 200 * time.Millisecond // at most, before each request
	heldSockets   = 100                    // beside the POST clients
	heldDownloads = 10
	downloadRate  = 128 << 10 // bytes in a second

	warmFor   = 2 * time.Second // not counted
	steadyFor = 5 * time.Second // before the switch
	afterFor  = 4 * time.Second
	around    = 500 * time.Millisecond // before and after the switch: "the second around it"

	crowdSockets = 1000             // when it is measured how long the old process stays
	goneLimit    = 20 * time.Second // how long is waited for that

	idleClients = 10000
)

// hotRounds is how often a server is replaced: of the second around one switch p99.9 is
// two requests of two thousand, which a single process of the machine can make late.
func hotRounds(rounds int) int { return 2*rounds - 1 }

// A hotRow is one peer's result.
type hotRow struct {
	name, how string
	count     load.Count // of the POST clients, over all rounds
	// Answered requests by when they were sent, relative to the switch.
	steady, switching []load.Sample
	timeline          []load.Sample // of the first round

	sockets, socketsKept     int
	downloads, downloadsKept int

	sameProcess bool // nothing has to go
	gone        bool // the old processes were gone within goneLimit
	goneAfter   time.Duration
}

// An idleRow is what moving many idle connections costs Baton.
type idleRow struct {
	clients, failed int
	took            time.Duration // from QUIT until the old processes were gone
	bytes           int           // resident in the new worker, for each connection
}

// bigDocument is what the backend's /big has, too.
func bigDocument() []byte {
	b, err := io.ReadAll(backend.Big(bigBytes))
	if err != nil {
		panic(err) // it reads from memory
	}
	return b
}

// hot measures what clients notice when a server is replaced.
func (r *report) hot(ctx context.Context, o options, tr *tree.Tree, progress io.Writer) (err error) {
	chosen := slices.DeleteFunc(peers(o.baton), func(p peer) bool { return !o.only.MatchString("hot deployment of " + p.name) })
	if len(chosen) == 0 {
		return nil
	}
	addr, stop, err := startBackend(ctx, tr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	for _, p := range chosen {
		row := hotRow{name: p.label(ctx), how: p.how}
		if p.name == "Baton" {
			row.name = p.name
		}
		for round := range max(hotRounds(o.rounds), 1) {
			if err := row.replace(ctx, p, addr, round == 0); err != nil {
				return fmt.Errorf("hot deployment of %s: %w", p.name, err)
			}
			fmt.Fprintf(progress, "%-14s round %d  %s\n", row.name, round+1, row.summary())
		}
		if err := row.measureStay(ctx, p, addr); err != nil {
			return fmt.Errorf("stay of old %s: %w", p.name, err)
		}
		fmt.Fprintf(progress, "%-14s old process gone: %s\n", row.name, row.stay())
		r.hotRows = append(r.hotRows, row)
	}
	if chosen[0].name != "Baton" {
		return nil
	}
	r.idle, err = measureIdle(ctx, chosen[0], addr)
	if err == nil {
		fmt.Fprintln(progress, r.idle)
	}
	return err
}

// startBackend serves package backend in a process of its own. stop ends it.
func startBackend(ctx context.Context, tr *tree.Tree) (addr string, stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	return startService(ctx, tr, self, "-backend")
}

// startService starts a process that prints its address.
func startService(ctx context.Context, tr *tree.Tree, args ...string) (addr string, stop func() error, err error) {
	p, err := tr.Start(tree.Command{Args: args})
	if err != nil {
		return "", nil, err
	}
	stop = func() error {
		found, err := tree.Look(p.PID)
		if err == nil {
			err = found.Signal(syscall.SIGTERM)
		}
		if err == nil {
			_, err = tr.Wait(context.WithoutCancel(ctx), p.PID)
		}
		return err
	}
	err = until(ctx, "address of "+args[len(args)-1], func() bool {
		_, err := fmt.Sscanln(p.Stdout(), &addr)
		return err == nil
	})
	return addr, stop, err
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// clients are all clients of one measurement.
type clients struct {
	began    time.Time
	post     *load.Load
	sockets  *load.SocketLoad
	download *load.DownloadLoad
}

func startClients(ctx context.Context, p peer, addr string) (c *clients, err error) {
	c = &clients{}
	defer func() {
		if err != nil {
			c.stop()
		}
	}()
	const ms = time.Millisecond
	c.sockets, err = load.StartSockets(ctx, load.Sockets{
		Addr: addr, Path: "/ws", Clients: heldSockets, MinPause: 100 * ms, MaxPause: 500 * ms,
	})
	if err != nil {
		return c, err
	}
	c.download, err = load.StartDownloads(ctx, load.Downloads{
		Addr: addr, Path: p.big, Then: "/echo", Clients: heldDownloads, Bytes: bigBytes,
		Sum: sha256.Sum256(bigDocument()), Rate: downloadRate,
	})
	if err != nil {
		return c, err
	}
	c.began = time.Now()
	c.post, err = load.Start(ctx, load.Group{
		Name: "POST", Addr: addr, Clients: postClients, MaxPause: postPause, KeepAlive: true, Post: true, Echo: true, Path: "/echo",
	})
	return c, err
}

func (c *clients) stop() {
	if c.post != nil {
		c.post.Stop()
	}
	if c.sockets != nil {
		c.sockets.Stop()
	}
	if c.download != nil {
		c.download.Stop()
	}
}

// replace replaces a peer once under load and adds what clients saw.
func (row *hotRow) replace(ctx context.Context, p peer, backendAddr string, first bool) (err error) {
	h, err := newHost(ctx, p, backendAddr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	c, err := startClients(ctx, p, h.addr())
	if err != nil {
		return err
	}
	defer c.stop()
	if err := pause(ctx, warmFor+steadyFor); err != nil {
		return err
	}
	told, _, err := p.change(ctx, h)
	if err != nil {
		return err
	}
	if err := pause(ctx, time.Until(told.Add(afterFor))); err != nil {
		return err
	}
	g := c.post.Stop().Groups[0]
	if err := g.Check(); err != nil {
		return err
	}
	row.addPosts(g, told.Sub(c.began), first)

	sockets := c.sockets.Stop()
	row.sockets += heldSockets
	row.socketsKept += sockets.Opened - sockets.Dropped
	c.download.Hurry()
	select {
	case <-c.download.Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	row.downloads += heldDownloads
	row.downloadsKept += c.download.Stop().Whole
	return nil
}

// addPosts sorts the samples of a round by their time before or after the switch.
func (row *hotRow) addPosts(g load.GroupReport, told time.Duration, first bool) {
	row.count.Sent += g.Sent
	row.count.Lost += g.Lost
	row.count.Wrong += g.Wrong
	row.count.Refused += g.Refused
	row.count.Unopened += g.Unopened
	row.count.IdleFIN += g.IdleFIN
	row.count.IdleRST += g.IdleRST
	row.count.Announced += g.Announced
	row.count.Reconnects += g.Reconnects
	for _, s := range g.Samples {
		s.At -= told
		switch {
		case s.At >= -around && s.At < around:
			row.switching = append(row.switching, s)
		case s.At >= -steadyFor && s.At < -around:
			row.steady = append(row.steady, s)
		}
		if first && s.At >= -2*time.Second && s.At <= 2*time.Second {
			row.timeline = append(row.timeline, s)
		}
	}
}

// measureStay measures how long the old process stays with many WebSockets.
func (row *hotRow) measureStay(ctx context.Context, p peer, backendAddr string) (err error) {
	h, err := newHost(ctx, p, backendAddr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	l, err := load.StartSockets(ctx, load.Sockets{
		Addr: h.addr(), Path: "/ws", Clients: crowdSockets, MinPause: time.Second, MaxPause: 3 * time.Second,
	})
	if err != nil {
		return err
	}
	defer l.Stop()
	if got := l.Report(); got.Opened != crowdSockets {
		return fmt.Errorf("open WebSockets: %v", got)
	}
	told, old, err := p.change(ctx, h)
	if err != nil {
		return err
	}
	if row.sameProcess = len(old) == 0; row.sameProcess {
		return nil
	}
	row.gone, row.goneAfter = waitGone(ctx, told, old)
	return ctx.Err()
}

// waitGone waits until processes are gone, for at most goneLimit.
func waitGone(ctx context.Context, told time.Time, old []tree.Process) (gone bool, after time.Duration) {
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		living := 0
		for _, p := range old {
			if now, err := tree.Look(p.PID); err == nil && now.Start == p.Start && !now.Zombie() {
				living++
			}
		}
		after = time.Since(told)
		if living == 0 || after > goneLimit || ctx.Err() != nil {
			return living == 0, after
		}
		<-again.C
	}
}

// measureIdle moves many idle connections from one Baton to the next.
func measureIdle(ctx context.Context, p peer, backendAddr string) (row idleRow, err error) {
	h, err := newHost(ctx, p, backendAddr)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	empty, err := h.resident()
	if err != nil {
		return row, err
	}
	get := "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	crowd := load.Gather(ctx, load.Idler{Name: "idle", Addr: h.addr(), Clients: idleClients, Before: get, After: get})
	defer crowd.Close()
	told, old, err := p.change(ctx, h)
	if err != nil {
		return row, err
	}
	gone, took := waitGone(ctx, told, old)
	if !gone {
		return row, fmt.Errorf("move %d idle connections: the old process is still there after %v", idleClients, took)
	}
	full, err := h.resident()
	if err != nil {
		return row, err
	}
	crowd.Speak(ctx)
	got := crowd.Report()
	return idleRow{got.Opened, got.Failed(), took, int((full - empty) * (1 << 20) / idleClients)}, nil
}

// resident returns the megabytes of the workers.
func (h *host) resident() (sum float64, err error) {
	workers, err := h.below(h.master)
	for _, w := range workers {
		mb, residentErr := resident(w.PID)
		err = errors.Join(err, residentErr)
		sum += mb
	}
	return sum, err
}
