package gzip

import (
	"bufio"
	"errors"
	"io"
	"iter"
	"sync"

	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/klauspost/compress/gzip"
)

// A decoder decompresses one response at a time, in memory that is bounded whatever
// the content grows to: what was decompressed is sent before more is. The
// decompressor wants to read and the content is written to us, so it runs as a
// coroutine, which stops where it needs more input.
type decoder struct {
	r    *httpd.Request
	pool *sync.Pool

	zip  gzip.Reader
	in   member // of the source
	page []byte // decompressed

	next  func() (page []byte, ok bool) // a nil page: it needs more input
	stop  func()
	yield func(page []byte) bool
	given []byte // content that was not taken yet
	ended bool   // no more will be given
	quit  bool   // stop was called
	err   error  // why next is not ok, nil for the content's end
}

// decodedBytes is how much is decompressed at a time.
const decodedBytes = 16 << 10

func newDecoder() *decoder {
	return &decoder{in: member{in: bufio.NewReaderSize(nil, 4<<10)}, page: make([]byte, decodedBytes)}
}

func (d *decoder) begin(r *httpd.Request, pool *sync.Pool) {
	d.r, d.pool = r, pool
	d.given, d.ended, d.quit, d.err = nil, false, false, nil
	d.in.in.Reset((*source)(d))
	d.next, d.stop = iter.Pull(d.pages)
}

// pages is the coroutine: the members of the content, one after the other.
func (d *decoder) pages(yield func([]byte) bool) {
	d.yield = yield
	for {
		if d.err = d.in.begin(); d.err != nil {
			return
		}
		if d.err = d.zip.Reset(&d.in); d.err != nil {
			return
		}
		// Member by member: what one held is sent before the next one has come.
		d.zip.Multistream(false)
		if !d.member() {
			return
		}
		if _, err := d.in.in.Peek(1); err != nil {
			return
		}
	}
}

// member yields one member and reports whether it came to its end.
func (d *decoder) member() bool {
	for {
		n, err := d.zip.Read(d.page)
		if n > 0 && !d.yield(d.page[:n]) {
			d.quit = true
			return false
		}
		switch {
		case err == io.EOF:
			return true
		case err != nil:
			d.err = err
			return false
		}
	}
}

// A source is a decoder as what its decompressor reads from.
type source decoder

func (s *source) Read(p []byte) (int, error) {
	for len(s.given) == 0 {
		if s.ended {
			return 0, io.EOF
		}
		if s.quit || !s.yield(nil) {
			s.quit = true
			return 0, errGivenUp
		}
	}
	n := copy(p, s.given)
	s.given = s.given[n:]
	return n, nil
}

var errGivenUp = errors.New("response was given up")

// Write decompresses some of the content.
func (d *decoder) Write(p []byte) error {
	d.given = p
	return d.send()
}

// send sends what comes of the content that was given.
func (d *decoder) send() error {
	for {
		page, ok := d.next()
		switch {
		case !ok:
			return d.report()
		case page != nil:
			if err := d.r.Out.WriteEncoded(page); err != nil {
				return err
			}
		case len(d.given) == 0:
			return nil
		}
	}
}

// report logs why the content could not be decompressed, if so, in the words of
// nginx, where -3 and -5 are zlib's for broken data and for data that is missing.
func (d *decoder) report() error {
	if d.err == nil {
		return nil
	}
	what := "inflate() failed: 0, -3"
	if d.ended && (d.err == io.EOF || errors.Is(d.err, io.ErrUnexpectedEOF)) {
		what = "inflate() returned -5 on response end"
	}
	d.r.Log(errorlog.Error, what+" while sending response to client", nil)
	return d.err
}

// Flush has nothing to do: what can be decompressed was sent already.
func (d *decoder) Flush() error { return nil }

// Close ends the content and makes the decoder free for another response.
func (d *decoder) Close(cut bool) error {
	var err error
	if !cut {
		d.ended = true
		err = d.send()
	}
	d.stop()
	pool := d.pool
	d.r, d.pool, d.next, d.stop, d.yield, d.given = nil, nil, nil, nil, nil, nil
	pool.Put(d)
	return err
}
