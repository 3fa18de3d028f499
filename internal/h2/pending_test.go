package h2

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"
)

// A deaf is the socket of a client that sends what is in it, and reads nothing.
type deaf struct {
	*bytes.Reader
	gone chan struct{}
}

func (d *deaf) Buffered() bool { return false }

func (d *deaf) Read(p []byte, _ time.Duration) (int, error) { return d.Reader.Read(p) }

func (d *deaf) WriteNow([]byte) (int, error) { return 0, nil }

func (d *deaf) Write([]byte, time.Duration) error {
	<-d.gone
	return errors.New("gone")
}

func (d *deaf) Interrupt() {}

// headOnly answers with a head, as a transport sends one.
func headOnly(st *Stream) {
	st.SetHead(204, []byte("X-Field: "+strings.Repeat("~", 400)+"\r\n"), 0)
	for {
		if _, err := st.Send(nil, nil); err != unix.EAGAIN || st.AwaitWrite() != nil {
			return
		}
	}
}

// A client that asks again and again and reads no answer does not fill the memory with
// what it is to be told, also where nothing of that has content.
func TestPendingOutputIsBounded(t *testing.T) {
	t.Parallel()
	block := []byte{0x82, 0x84, 0x86, 0x41, 1, 'a'}
	head := http2.HeadersFrameParam{BlockFragment: block, EndStream: true, EndHeaders: true}
	for name, c := range map[string]struct {
		requests uint32
		serve    func(*Stream)
		ask      func(w *http2.Framer, id uint32) error
	}{
		"heads": {2000, headOnly, func(w *http2.Framer, id uint32) error {
			head := head
			head.StreamID = id
			return w.WriteHeaders(head)
		}},
		"resets": {32_000, func(*Stream) {}, func(w *http2.Framer, id uint32) error {
			head := head
			head.StreamID = id
			return w.WriteHeaders(head)
		}},
		"windows opened by nothing": {32_000, headOnly, func(w *http2.Framer, id uint32) error {
			head := head
			head.StreamID, head.EndStream = id, false
			return errors.Join(w.WriteHeaders(head), w.WriteRawFrame(http2.FrameWindowUpdate, 0, id, make([]byte, 4)))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var sent bytes.Buffer
			_, _ = io.WriteString(&sent, http2.ClientPreface)
			w := http2.NewFramer(&sent, nil)
			w.AllowIllegalWrites = true
			err := errors.Join(w.WriteSettings(), w.WriteSettingsAck())
			for id := uint32(1); id < 2*c.requests && err == nil; id += 2 {
				err = c.ask(w, id)
			}
			if err != nil {
				t.Fatal(err)
			}
			conf := config()
			conf.Requests, conf.MaxStreams = 1<<30, 1<<30
			sock := &deaf{bytes.NewReader(sent.Bytes()), make(chan struct{})}
			conn := New(sock, &host{serve: c.serve}, conf)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				conn.Serve()
			}()
			pending := func() (n int, over bool) {
				conn.mu.Lock()
				defer conn.mu.Unlock()
				return len(conn.out), conn.fault != nil
			}
			most := 0
			(&client{t: t}).waitFor("the end of the requests", func() bool {
				n, over := pending()
				most = max(most, n)
				return over
			})
			if limit := outLimit + 320<<10; most > limit {
				t.Errorf("%d bytes were pending, want at most %d", most, limit)
			}
			close(sock.gone)
			<-ended
		})
	}
}
