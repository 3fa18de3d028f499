package upgrade

import (
	"os/exec"
	"testing"
)

// What a person is told to type reaches the command as it was meant.
func TestCommandsAreQuotedForAShell(t *testing.T) {
	t.Parallel()
	for _, w := range []string{"/srv/web/logs/nginx.pid", "/srv/my web/x", "it's", "http://a/?b=1&c=$d", "", "~x", "a\nb", `\"`, "#x"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", command("printf", "%s", w)).Output()
		if err != nil || string(out) != w {
			t.Errorf("%q comes as %q, %v: %s", w, out, err, command(w))
		}
	}
	if got, want := at("/srv/my web/nginx.pid", "upgrade", "--resume"), "baton upgrade --resume --pid-file '/srv/my web/nginx.pid'"; got != want {
		t.Errorf("command = %s, want %s", got, want)
	}
	if got := command("/usr/sbin/nginx-1.2_3", "http://127.0.0.1:80/"); got != "/usr/sbin/nginx-1.2_3 http://127.0.0.1:80/" {
		t.Errorf("quoted without need: %s", got)
	}
}
