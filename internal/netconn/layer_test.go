package netconn

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/rawcall"
	"golang.org/x/sys/unix"
)

// A mask is a layer that turns each byte over, and encodes ahead: what of that the
// socket has not taken is not counted yet.
type mask struct {
	ahead  []byte // encoded, not written
	peeked []byte // decoded, not given out
}

const maskBlock = 10_000

func turnOver(dst, p []byte) []byte {
	for _, b := range p {
		dst = append(dst, b^0xff)
	}
	return dst
}

func (m *mask) Recv(fd int, p []byte) (int, error) {
	if err := m.Peek(fd); err != nil {
		return 0, err
	}
	n := copy(p, m.peeked)
	m.peeked = m.peeked[n:]
	return n, nil
}

func (m *mask) Peek(fd int) error {
	if len(m.peeked) > 0 {
		return nil
	}
	var b [1000]byte
	n, err := rawcall.Recv(fd, b[:])
	switch {
	case err != nil:
		return err
	case n == 0:
		return io.EOF
	}
	m.peeked = turnOver(nil, b[:n])
	return nil
}

func (m *mask) Send(fd int, a, b []byte) (int, error) {
	if len(m.ahead) == 0 {
		m.ahead = turnOver(nil, append(bytes.Clone(a), b...)[:min(maskBlock, len(a)+len(b))])
	}
	n, err := rawcall.Send(fd, m.ahead, 0)
	if err != nil {
		return 0, err
	}
	if m.ahead = m.ahead[n:]; len(m.ahead) > 0 {
		return 0, nil
	}
	return min(maskBlock, len(a)+len(b)), nil // what went before this call, too
}

func (m *mask) HungUp(fd int) bool { return Poll(fd, unix.POLLRDHUP)&unix.POLLRDHUP != 0 }
func (m *mask) CloseWrite(fd int)  { _ = unix.Shutdown(fd, unix.SHUT_WR) }
func (m *mask) CanMove() bool      { return false }

// maskedPair is a socket under a mask and the other end of it, which is bare.
func maskedPair(t *testing.T) (*Socket, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSocket(fds[0], "masked")
	if err != nil {
		t.Fatal(err)
	}
	s.SetLayer(new(mask))
	far := os.NewFile(uintptr(fds[1]), "far")
	t.Cleanup(func() { s.Drop(); far.Close() })
	return s, far
}

func TestLayerReadsAndWritesForTheSocket(t *testing.T) {
	s, far := maskedPair(t)
	if err := s.FillNow(); !errors.Is(err, ErrWouldBlock) || s.Ready() || !s.Idle() {
		t.Errorf("nothing came: FillNow = %v, Ready %v, Idle %v", err, s.Ready(), s.Idle())
	}
	if _, err := far.Write(turnOver(nil, []byte("question"))); err != nil {
		t.Fatal(err)
	}
	if !s.Ready() || s.Idle() || !s.c.Pending() {
		t.Error("the question has come: not Ready, or Idle, or not pending")
	}
	if err := s.Fill(time.Minute); err != nil || string(s.Buffered()) != "question" {
		t.Fatalf("Fill: %q, %v", s.Buffered(), err)
	}
	s.Consume(len("question"))
	if n, err := s.Ask([]byte("one"), 10*time.Millisecond); n != 3 || !errors.Is(err, ErrTimeout) {
		t.Errorf("Ask = %d, %v; want 3 and a time-out", n, err)
	}
	if err := s.Write([]byte(" two"), []byte(" three"), time.Minute); err != nil {
		t.Fatal(err)
	}
	s.CloseWrite()
	b, err := io.ReadAll(far)
	if got := turnOver(nil, b); err != nil || string(got) != "one two three" {
		t.Errorf("the other end got %q, %v", got, err)
	}
	if s.HungUp() {
		t.Error("HungUp before the other end closed")
	}
	far.Close()
	if err := s.Fill(time.Minute); err != io.EOF || !s.HungUp() {
		t.Errorf("after the end: Fill = %v, HungUp %v", err, s.HungUp())
	}
}

// TestLayerLosesNothingWhenInterrupted: a layer has taken more than it counts, and is
// given the same again.
func TestLayerLosesNothingWhenInterrupted(t *testing.T) {
	s, far := maskedPair(t)
	want := make([]byte, 3_000_000)
	for i := range want {
		want[i] = byte(i / 251)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Write(want); err != nil {
		t.Fatal(err)
	}
	sent, stops := 0, 0
	stalled := func(n int, err error) { // with the socket full, somebody interrupts
		t.Helper()
		sent += n
		if err != nil && !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrInterrupted) {
			t.Fatal(err)
		}
		if err != nil {
			stops++
		}
	}
	n, err := s.WriteSome(want, 20*time.Millisecond)
	stalled(n, err)
	s.Interrupt()
	n, err = s.WriteSome(want[sent:], 0)
	stalled(n, err)
	s.Resume()
	n, err = s.c.WriteNow(want[sent:sent+5], want[sent+5:])
	stalled(n, err)
	if stops != 2 || sent >= len(want) || s.c.Sent != int64(sent) {
		t.Fatalf("%d of %d bytes sent, %d stops, counted %d", sent, len(want), stops, s.c.Sent)
	}
	var got []byte
	var wg sync.WaitGroup
	wg.Go(func() {
		b, _ := io.ReadAll(far)
		got = turnOver(nil, b)
	})
	for sent < len(want) {
		n, err := s.SendFile(int(file.Fd()), int64(sent), len(want)-sent, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		sent += n
	}
	if n, err := s.SendFile(int(file.Fd()), int64(sent), 1, time.Minute); n != 0 || err != io.ErrUnexpectedEOF {
		t.Errorf("SendFile behind the end = %d, %v", n, err)
	}
	s.CloseWrite()
	wg.Wait()
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes arrived, or other ones; want %d", len(got), len(want))
	}
}

// pipeEnd is an endpoint that is no socket, and the layer on it.
type pipeEnd struct {
	net.Conn // for its deadlines only
	mu       sync.Mutex
	input    []byte
	came     chan struct{}
	output   []byte
	until    time.Time
}

func (p *pipeEnd) Read(f func(uintptr) bool) error {
	for !f(^uintptr(0)) {
		p.mu.Lock()
		left := time.Until(p.until)
		p.mu.Unlock()
		select {
		case <-p.came:
		case <-time.After(left):
			return os.ErrDeadlineExceeded
		}
	}
	return nil
}

func (p *pipeEnd) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = t
	return nil
}

func (p *pipeEnd) Write(f func(uintptr) bool) error { f(^uintptr(0)); return nil }
func (p *pipeEnd) Control(f func(uintptr)) error    { f(^uintptr(0)); return nil }
func (p *pipeEnd) HungUp(int) bool                  { return false }
func (p *pipeEnd) CanMove() bool                    { return false }
func (p *pipeEnd) CloseWrite(int)                   {}
func (p *pipeEnd) Send(_ int, a, b []byte) (int, error) {
	p.output = append(append(p.output, a...), b...)
	return len(a) + len(b), nil
}

func (p *pipeEnd) Recv(_ int, b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.input) == 0 {
		return 0, unix.EAGAIN
	}
	n := copy(b, p.input)
	p.input = p.input[n:]
	return n, nil
}

func (p *pipeEnd) Peek(int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.input) == 0 {
		return unix.EAGAIN
	}
	return nil
}

func TestTransportWithoutSocket(t *testing.T) {
	p := &pipeEnd{came: make(chan struct{}, 1)}
	tr := NewOn(p, p)
	var in Input
	if err := tr.Fill(&in, 10*time.Millisecond); err != ErrTimeout {
		t.Errorf("fill of nothing = %v, want a time-out", err)
	}
	go func() {
		p.mu.Lock()
		p.input = []byte("hello")
		p.mu.Unlock()
		p.came <- struct{}{}
	}()
	if err := tr.Fill(&in, time.Minute); err != nil || string(in.Data()) != "hello" {
		t.Errorf("fill = %q, %v", in.Data(), err)
	}
	if err := tr.WriteAll([]byte("a"), []byte("b"), time.Minute); err != nil || string(p.output) != "ab" || tr.Sent != 2 {
		t.Errorf("wrote %q, counted %d, %v", p.output, tr.Sent, err)
	}
}
