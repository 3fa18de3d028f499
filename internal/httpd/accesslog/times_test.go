package accesslog_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// What a response waited for is in its times, wherever it waited. nginx waits a
// second longer before it logs a limited response whose last byte it has sent.
func TestTimesHaveWhatWasWaitedFor(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `
		log_format times '$uri $request_time $upstream_response_time';
		server {
			listen ADDR; root ROOT;
			access_log logs/times.log times;
			location = /prompt { alias ROOT/4k; }
			location = /limited { alias ROOT/4k; limit_rate 2k; }
			location = /answered { limit_rate 500; return 200 "`+strings.Repeat("x", 1000)+`"; }
			location = /missing { error_page 404 = @other; }
			location @other { rewrite ^ /slow break; proxy_pass http://ADDR; }
			location = /slow { access_log off; alias ROOT/4k; limit_rate 2k; }
		}`, sidebyside.Files{"4k": strings.Repeat("0123456789abcdef", 256)})
	waits := map[string]bool{"/limited": true, "/answered": true, "/slow": true}
	targets := []string{"/prompt", "/limited", "/answered", "/slow", "/prompt"}
	for i, target := range targets {
		ask := target
		if target == "/slow" {
			ask = "/missing" // which @other answers by asking for /slow
		}
		p.Do(sidebyside.Get(ask))
		nginx, baton := waitLines(t, p, "logs/times.log", i+1)
		for _, line := range []string{nginx[i], baton[i]} {
			f := strings.Fields(line)
			if f[0] != target {
				t.Fatalf("line %d is %q, want one of %s", i, line, target)
			}
			for _, text := range f[1:] {
				took, err := strconv.ParseFloat(text, 64)
				if err == nil && (took >= 0.8) != waits[target] {
					t.Errorf("logged %q", line)
				}
			}
		}
	}
}
