package upgrade

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOriginalArgvIsFoundBehindATitle(t *testing.T) {
	files := map[string]bool{"/usr/sbin/nginx": true, "/with blank/nginx": true}
	for _, tt := range []struct {
		name string
		argv []string
		want []string
	}{
		{"baton keeps arguments apart", []string{"nginx: master process ./nginx", "-g", "daemon off; pid x;"},
			[]string{"./nginx", "-g", "daemon off; pid x;"}},
		{"nginx", []string{"nginx: master process /usr/sbin/nginx -p /p -c conf/n.conf"},
			[]string{"/usr/sbin/nginx", "-p", "/p", "-c", "conf/n.conf"}},
		{"an argument with blanks", []string{"nginx: master process /usr/sbin/nginx -g daemon on; master_process on; -p /p"},
			[]string{"/usr/sbin/nginx", "-g", "daemon on; master_process on;", "-p", "/p"}},
		{"an argument with blanks, glued", []string{"nginx: master process /usr/sbin/nginx -gdaemon on; -q"},
			[]string{"/usr/sbin/nginx", "-gdaemon on;", "-q"}},
		{"a path with a blank", []string{"nginx: master process /with blank/nginx -q"}, []string{"/with blank/nginx", "-q"}},
		{"a file that is gone", []string{"nginx: master process ./gone -q"}, []string{"./gone", "-q"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := originalArgv(tt.argv, func(path string) bool { return files[path] })
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestExecutableIsWhatTheMasterWillExecute(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "nginx"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		argv0    string
		searches bool
		want     string
	}{
		{"/p/sbin/nginx", false, "/p/sbin/nginx"},
		{"./nginx", false, "/start/nginx"},
		{"../sbin/nginx", true, "/sbin/nginx"},
		{"nginx", false, "/start/nginx"}, // nginx does not search
		{"nginx", true, filepath.Join(bin, "nginx")},
		{"other", true, "/start/other"},
	} {
		if got := executable(tt.argv0, "/start", "/none:"+bin, tt.searches); got != tt.want {
			t.Errorf("executable(%q, %v) = %q, want %q", tt.argv0, tt.searches, got, tt.want)
		}
	}
}

func TestAddressesAreWordedForPeople(t *testing.T) {
	for key, want := range map[string]string{
		"tcp 0100007F:1F90":                          "127.0.0.1:8080",
		"tcp6 00000000000000000000000000000000:0050": "[::]:80",
		"unix /run/x.sock":                           "unix /run/x.sock",
	} {
		if got := address(key); got != want {
			t.Errorf("address(%q) = %q, want %q", key, got, want)
		}
	}
}
