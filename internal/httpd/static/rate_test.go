package static_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

const rateSite = `
	sendfile on;
	server {
		listen ADDR;
		root ROOT;
		location /slow/ { alias ROOT/; limit_rate 20k; }
		location /later/ { alias ROOT/; limit_rate 1k; limit_rate_after 60k; }
		location /copied/ { alias ROOT/; limit_rate 20k; sendfile off; }
		location /asked/ { alias ROOT/; limit_rate $arg_rate; }
		location /set/ { alias ROOT/; set $limit_rate 20k; }
		location /snail/ { alias ROOT/; limit_rate 1; }
	}`

// A limited response takes as long as from nginx: the first second's worth comes
// at once.
func TestLimitRate(t *testing.T) {
	p := sidebyside.Start(t, rateSite, sidebyside.Files{"60k": strings.Repeat("0123456789", 6<<10)})
	for target, want := range map[string]time.Duration{
		"/slow/60k": 2 * time.Second, "/later/60k": 0, "/copied/60k": 2 * time.Second,
		"/asked/60k?rate=20k": 2 * time.Second, "/asked/60k": 0, "/set/60k": 2 * time.Second,
	} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			resp, err := http.Get("http://" + p.Baton + target)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil || len(b) != 60<<10 {
				t.Errorf("%d bytes, %v", len(b), err)
			}
			if took := time.Since(start); took < want-200*time.Millisecond || took > want+30*time.Second {
				t.Errorf("took %v, want about %v", took, want)
			}
		})
	}
}

// A server that is closed does not wait for a response that would take hours.
func TestLimitRateEnds(t *testing.T) {
	p := sidebyside.Start(t, rateSite, sidebyside.Files{"60k": strings.Repeat("0123456789", 6<<10)})
	c, err := net.Dial("tcp", p.Baton)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, sidebyside.Get("/snail/60k")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	done := make(chan httpd.Retired)
	go func() { done <- p.Server().Retire(ctx, nil) }()
	select {
	case got := <-done:
		if got.Closed != 1 {
			t.Errorf("Retire = %+v, want one cut", got)
		}
	case <-time.After(time.Minute):
		t.Fatal("the server still waits for a limited response")
	}
}

// A file that becomes shorter while it is sent ends the connection: the client
// must not take the part for the whole.
func TestFileShrinks(t *testing.T) {
	p := sidebyside.Start(t, rateSite, sidebyside.Files{"60k": strings.Repeat("0123456789", 6<<10)})
	for _, target := range []string{"/slow/60k", "/copied/60k"} {
		name := filepath.Join(p.Dir, "60k")
		if err := os.WriteFile(name, []byte(strings.Repeat("0123456789", 6<<10)), 0o644); err != nil {
			t.Fatal(err)
		}
		resp, err := http.Get("http://" + p.Baton + target)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, 30<<10); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil || len(b) >= 60<<10 {
			t.Errorf("%s: %d bytes and %v, want a part and an error", target, len(b), err)
		}
	}
}

// A file that grows is sent as long as it was promised.
func TestFileGrows(t *testing.T) {
	p := sidebyside.Start(t, rateSite, sidebyside.Files{"60k": strings.Repeat("0123456789", 6<<10)})
	resp, err := http.Get("http://" + p.Baton + "/slow/60k")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	f, err := os.OpenFile(filepath.Join(p.Dir, "60k"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(strings.Repeat("more", 1000)); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(resp.Body); err != nil || len(b) != 60<<10 {
		t.Errorf("%d bytes, %v; want %d", len(b), err, 60<<10)
	}
}
