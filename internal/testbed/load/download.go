package load

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Downloads are a number of clients that fetch one document slowly, and use the
// connection once more when they have it.
type Downloads struct {
	Addr, Path string
	Clients    int      // at least 1
	Bytes      int64    // the document's length
	Sum        [32]byte // its SHA-256
	// Rate is how many bytes a client reads in a second; 0 means as they come,
	// for a server that limits the rate itself.
	Rate    int
	Then    string        // path of the request that follows; "" means "/"
	Repeat  bool          // begin again, on the same connection, until stopped
	Timeout time.Duration // without a single byte; 0 means 10s
}

// A DownloadCount is what such clients have seen.
type DownloadCount struct {
	Opened, Unopened int   // connections
	Begun            int   // requests for the document that were sent
	Whole            int   // documents that arrived as they are
	Broken           int   // those that broke off, or stood still
	Altered          int   // those of other content, or answers of another status
	Abandoned        int   // those that the client gave up because it was stopped
	Announced        int   // documents whose head said Connection: close
	Unusable         int   // connections that the request afterwards failed on
	Bytes            int64 // of documents, received so far

	By       map[string]int // who answered afterwards, by the header Server
	Failures []Failure      // the first [maxFailures]
}

// Failed returns everything by which a client could tell that the server was
// replaced.
func (c DownloadCount) Failed() int {
	return c.Unopened + c.Broken + c.Altered + c.Announced + c.Unusable
}

// Check returns an error unless every download is accounted for once. It is for
// the report of clients that have stopped.
func (c DownloadCount) Check() error {
	if c.Whole+c.Broken+c.Altered+c.Abandoned != c.Begun {
		return fmt.Errorf("account for downloads: %d begun, %d whole, %d broken, %d altered, %d abandoned",
			c.Begun, c.Whole, c.Broken, c.Altered, c.Abandoned)
	}
	return nil
}

// String returns the count in one line.
func (c DownloadCount) String() string {
	return fmt.Sprintf("%d opened, %d unopened; downloads: %d begun, %d whole, %d broken, %d altered, %d abandoned; %d closes announced, %d connections unusable afterwards",
		c.Opened, c.Unopened, c.Begun, c.Whole, c.Broken, c.Altered, c.Abandoned, c.Announced, c.Unusable)
}

// A DownloadLoad is downloading clients at work.
type DownloadLoad struct {
	o       Downloads
	rate    atomic.Int64
	cancel  context.CancelFunc
	clients sync.WaitGroup
	done    chan struct{}

	// mu guards what follows. It is a leaf.
	mu       sync.Mutex
	count    DownloadCount
	failures failures
}

// StartDownloads starts the clients. They work until each has its document, or,
// if they repeat, until ctx is done or Stop is called. The caller must call Stop
// in any case.
func StartDownloads(ctx context.Context, o Downloads) (*DownloadLoad, error) {
	if o.Clients < 1 || o.Rate < 0 || o.Bytes < 1 {
		return nil, fmt.Errorf("check downloads: Clients is %d, Rate is %d, Bytes is %d", o.Clients, o.Rate, o.Bytes)
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &DownloadLoad{o: o, cancel: cancel, done: make(chan struct{}), failures: failures{began: time.Now()}}
	l.rate.Store(int64(o.Rate))
	l.count.By = map[string]int{}
	for id := range o.Clients {
		d := &download{l: l, id: id}
		l.clients.Go(func() { d.run(ctx) })
	}
	go func() { l.clients.Wait(); close(l.done) }()
	return l, nil
}

// Done is closed when every client has finished.
func (l *DownloadLoad) Done() <-chan struct{} { return l.done }

// Hurry makes the clients read as fast as they can from now on.
func (l *DownloadLoad) Hurry() { l.rate.Store(0) }

// Stop ends the load: downloads under way are given up. It returns the final
// report; calling it again returns it again.
func (l *DownloadLoad) Stop() DownloadCount {
	l.cancel()
	<-l.done
	return l.Report()
}

// Report returns what was seen so far.
func (l *DownloadLoad) Report() DownloadCount {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.count
	c.By = make(map[string]int, len(l.count.By))
	for by, n := range l.count.By {
		c.By[by] = n
	}
	c.Failures = l.failures.soFar()
	return c
}

func (l *DownloadLoad) note(change func(c *DownloadCount)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.count)
}

func (l *DownloadLoad) fail(change func(c *DownloadCount), format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.count)
	l.failures.add(format, args...)
}

// A download is one such client. It is used by one goroutine.
type download struct {
	l    *DownloadLoad
	id   int
	conn *throttle
	in   *bufio.Reader
}

var errStopped = errors.New("the client was stopped")

func (d *download) run(ctx context.Context) {
	// Small, so that what is under way is the server's to send and does not lie
	// in the kernel already.
	const window = 16 << 10
	conn, err := dial(ctx, d.l.o.Addr, 10*time.Second, window)
	if err != nil {
		d.l.fail(func(c *DownloadCount) { c.Unopened++ }, "download %d: not opened: %v", d.id, err)
		return
	}
	defer conn.Close()
	d.l.note(func(c *DownloadCount) { c.Opened++ })
	d.conn = &throttle{Conn: conn, ctx: ctx, rate: &d.l.rate, timeout: or(d.l.o.Timeout, 10*time.Second)}
	d.in = bufio.NewReaderSize(d.conn, 4<<10)
	for d.fetch() && d.again() && d.l.o.Repeat && ctx.Err() == nil {
	}
}

// fetch gets the document and reports whether the connection should be good
// afterwards.
func (d *download) fetch() bool {
	d.l.note(func(c *DownloadCount) { c.Begun++ })
	resp, err := d.ask(d.l.o.Path)
	if err != nil {
		d.broken(err, 0)
		return false
	}
	if resp.StatusCode != http.StatusOK || resp.ContentLength != d.l.o.Bytes {
		d.l.fail(func(c *DownloadCount) { c.Altered++ }, "download %d: %s, %d bytes announced", d.id, resp.Status, resp.ContentLength)
		return false
	}
	sum := sha256.New()
	got, err := io.Copy(sum, counting{resp.Body, d.l})
	if err != nil {
		d.broken(err, got)
		return false
	}
	if [32]byte(sum.Sum(nil)) != d.l.o.Sum {
		d.l.fail(func(c *DownloadCount) { c.Altered++ }, "download %d: %d bytes with another SHA-256", d.id, got)
		return false
	}
	d.l.note(func(c *DownloadCount) { c.Whole++ })
	if resp.Close {
		d.l.fail(func(c *DownloadCount) { c.Announced++ }, "download %d: the head says Connection: close", d.id)
	}
	return !resp.Close
}

func (d *download) broken(err error, got int64) {
	if errors.Is(err, errStopped) {
		d.l.note(func(c *DownloadCount) { c.Abandoned++ })
		return
	}
	d.l.fail(func(c *DownloadCount) { c.Broken++ }, "download %d: broke off after %d bytes: %v", d.id, got, err)
}

// again uses the connection once more and reports whether that went well.
func (d *download) again() bool {
	resp, err := d.ask(or(d.l.o.Then, "/"))
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	}
	switch {
	case errors.Is(err, errStopped):
		return false
	case err != nil:
		d.l.fail(func(c *DownloadCount) { c.Unusable++ }, "download %d: the request afterwards: %v", d.id, err)
		return false
	case resp.StatusCode != http.StatusOK || resp.Close:
		d.l.fail(func(c *DownloadCount) { c.Unusable++ }, "download %d: the request afterwards: %s, close %v", d.id, resp.Status, resp.Close)
		return false
	}
	d.l.note(func(c *DownloadCount) { c.By[resp.Header.Get("Server")]++ })
	return true
}

func (d *download) ask(path string) (*http.Response, error) {
	if _, err := fmt.Fprintf(d.conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, hostOf(d.l.o.Addr)); err != nil {
		return nil, err
	}
	return http.ReadResponse(d.in, &http.Request{Method: http.MethodGet})
}

// counting counts what is read from a document.
type counting struct {
	io.Reader
	l *DownloadLoad
}

func (r counting) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.l.note(func(c *DownloadCount) { c.Bytes += int64(n) })
	return n, err
}

// isTimeout reports whether a deadline ended a read.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
