package httpd_test

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd"
)

// A download at a limited rate moves at once, also when a page takes the rate long,
// and when the client does not read. The rate stays.
func TestLimitedDownloadMovesAtOnce(t *testing.T) {
	t.Parallel()
	for _, sendfile := range []string{"on", "off"} {
		for _, tc := range []struct {
			name, rate string
			size, stop int // bytes; after how many of them the client stops reading
			want       int // how many it reads in the end
			stall      bool
			least      time.Duration
		}{
			// All of it would take longer than there is time to move.
			{"slow", "2k", 150 << 10, 1 << 10, 3 << 10, false, 450 * time.Millisecond},
			{"stalled", "8m", 10 << 20, 50 << 10, 10 << 20, true, 150 * time.Millisecond},
		} {
			t.Run(tc.name+", sendfile "+sendfile, func(t *testing.T) {
				dir, content := bigFile(t, tc.size)
				addr, old, next := pair(t, `sendfile `+sendfile+`; limit_rate `+tc.rate+`; root `+dir+`;
					server { LISTEN location = /who { echo WHO; } }`)
				c := dial(t, addr)
				began := time.Now()
				_, got := c.ask("GET /big HTTP/1.1\r\nHost: a\r\n\r\n", tc.stop)
				if tc.stall {
					awaitStandstill(t, c)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if r := old.Retire(ctx, giveTo(next)); r != (httpd.Retired{Moved: 1}) {
					t.Fatalf("Retire = %+v", r)
				}
				if !bytes.Equal(c.rest(got, tc.want), content[:tc.want]) {
					t.Error("the content differs")
				}
				if took := time.Since(began); took < tc.least {
					t.Errorf("the download took %v, at this rate it takes at least %v", took, tc.least)
				}
				if tc.want < tc.size {
					return
				}
				if _, body := c.do("GET /who HTTP/1.1\r\nHost: a\r\n\r\n"); body != "next" {
					t.Errorf("the next request: %q", body)
				}
			})
		}
	}
}

// Where the successor does not take it, an interrupted download is as quick as its
// rate allows, and no quicker.
func TestLimitedDownloadThatStaysKeepsItsRate(t *testing.T) {
	t.Parallel()
	for _, sendfile := range []string{"on", "off"} {
		t.Run("sendfile "+sendfile, func(t *testing.T) {
			dir, content := bigFile(t, 600<<10)
			addr, old, _ := pair(t, `sendfile `+sendfile+`; limit_rate 400k; root `+dir+`; server { LISTEN }`)
			c := dial(t, addr)
			began := time.Now()
			_, got := c.ask("GET /big HTTP/1.1\r\nHost: a\r\n\r\n", 50<<10)
			done := make(chan httpd.Retired, 1)
			go func() {
				done <- old.Retire(context.Background(), func(byte, []byte, ...int) error { return io.ErrClosedPipe })
			}()
			if !bytes.Equal(c.rest(got, len(content)), content) {
				t.Error("the content differs")
			}
			if took := time.Since(began); took < 450*time.Millisecond || took > 30*time.Second {
				t.Errorf("600 KB at 400 KB a second took %v", took)
			}
			c.nc.Close()
			if r := <-done; r.Moved != 0 || r.Closed != 0 {
				t.Errorf("Retire = %+v", r)
			}
		})
	}
}
