package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/baton-deploy/baton/internal/testbed/load"
)

const (
	webSockets = 20
	downloads  = 3
	// A download would take minutes: it is made to hurry when the play is over.
	downloadBytes = 32 << 20
	downloadRate  = 128 << 10 // bytes in a second
)

// held are the connections that stay open through all steps.
type held struct {
	sockets  *load.SocketLoad
	download *load.DownloadLoad
}

// hold opens the connections.
func (s *stage) hold() (err error) {
	content := make([]byte, downloadBytes)
	rand.Read(content)
	if err := os.WriteFile(s.prefix.Path("html", "big.bin"), content, 0o644); err != nil {
		return fmt.Errorf("hold connections: %w", err)
	}
	const ms = time.Millisecond
	s.held = &held{}
	s.held.sockets, err = load.StartSockets(context.Background(), load.Sockets{
		Addr: s.port.Addr(), Path: "/ws", Clients: webSockets, MinPause: 10 * ms, MaxPause: 100 * ms,
	})
	if err != nil {
		return err
	}
	s.held.download, err = load.StartDownloads(context.Background(), load.Downloads{
		Addr: s.port.Addr(), Path: "/big.bin", Clients: downloads, Bytes: downloadBytes, Sum: sha256.Sum256(content),
		Rate: downloadRate,
	})
	return err
}

// drop ends what is held, in whatever state it is.
func (h *held) drop() {
	if h == nil {
		return
	}
	if h.sockets != nil {
		h.sockets.Stop()
	}
	if h.download != nil {
		h.download.Stop()
	}
}

// finish lets the downloads come to their end, and ends the WebSockets.
func (h *held) finish(ctx context.Context) error {
	h.sockets.Stop()
	h.download.Hurry()
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	select {
	case <-h.download.Done():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("finish downloads: %w", ctx.Err())
	}
}

// now says how the held connections are, in one line.
func (h *held) now() string {
	ws, dl := h.sockets.Report(), h.download.Report()
	return fmt.Sprintf("%d of %d WebSockets open, %d messages echoed; %d of %d downloads going on, %.1f MB received",
		ws.Opened-ws.Dropped, webSockets, ws.Echoed, dl.Begun-dl.Whole-dl.Broken-dl.Altered, downloads, float64(dl.Bytes)/(1<<20))
}

// verdict says whether the clients of held connections noticed anything. It
// returns an error when they did, or the account does not add up.
func (h *held) verdict(show *screen) error {
	var errs []error
	ws := h.sockets.Stop()
	if err := ws.Check(); err != nil {
		errs = append(errs, fmt.Errorf("WebSockets: %w", err))
	}
	if ws.Failed() > 0 || ws.Opened != webSockets {
		errs = append(errs, fmt.Errorf("WebSockets were harmed: %v", ws))
	} else {
		show.good("%d WebSockets: none dropped; %d messages echoed, none lost, doubled or altered", ws.Opened, ws.Echoed)
	}
	dl := h.download.Stop()
	if err := dl.Check(); err != nil {
		errs = append(errs, fmt.Errorf("downloads: %w", err))
	}
	if dl.Failed() > 0 || dl.Whole != downloads {
		errs = append(errs, fmt.Errorf("downloads were harmed: %v", dl))
	} else {
		show.good("%d downloads, begun before the first step: whole by their SHA-256, and their connections served on", dl.Whole)
	}
	for _, f := range append(ws.Failures, dl.Failures...) {
		show.note("at %v: %s", round(f.At), f.What)
	}
	return errors.Join(errs...)
}
