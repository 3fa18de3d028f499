package proxy_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/modules"
)

// Sizes that do not fit together are refused in nginx's words.
func TestSizesAreJudgedAsByNginx(t *testing.T) {
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		t.Fatalf("find the real nginx to compare with: %v", err)
	}
	refused := 0
	for _, settings := range []string{
		"", "proxy_buffers 1 4k;", "proxy_buffers 2 4k;", "proxy_buffers 0 4k;", "proxy_buffers a 4k;", "proxy_buffers 8 x;",
		"proxy_buffers 8 0;", "proxy_buffers 8 4g;", "proxy_buffers 3 4k;", "proxy_buffers 16 64k;",
		"proxy_busy_buffers_size 64k;", "proxy_busy_buffers_size 1k;", "proxy_busy_buffers_size x;",
		"proxy_busy_buffers_size 28k;", "proxy_busy_buffers_size 29k;",
		"proxy_max_temp_file_size 1k;", "proxy_max_temp_file_size x;", "proxy_max_temp_file_size 0;", "proxy_max_temp_file_size 1g;",
		"proxy_max_temp_file_size 4k;", "proxy_temp_file_write_size 1k;", "proxy_temp_file_write_size y;", "proxy_temp_file_write_size 0;",
		"proxy_buffer_size 64k;", "proxy_buffer_size x;", "proxy_buffer_size 16k; proxy_buffers 2 4k;", "proxy_buffer_size 8k;",
		"proxy_buffers 4 4k; proxy_busy_buffers_size 12k; proxy_max_temp_file_size 12k;",
		"proxy_buffers 8 64k; proxy_temp_file_write_size 70k;", "proxy_buffering off; proxy_buffers 1 1k;",
		"proxy_temp_path tmp/t 0;", "proxy_temp_path tmp/t a;", "proxy_temp_path tmp/t 1a;", "proxy_temp_path tmp/t 1 2 x;", "proxy_temp_path tmp/t 4;",
		"proxy_temp_path tmp/t 1 2 3;", "proxy_temp_path tmp/t 1 2 3 4;", "client_body_temp_path tmp/t -1;",
		"proxy_temp_path tmp/a; proxy_temp_path tmp/b;",
	} {
		dir := t.TempDir()
		for _, sub := range []string{"conf", "logs", "tmp"} {
			if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		temp := ""
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			if !strings.Contains(settings, kind+"_temp_path") {
				temp += kind + "_temp_path tmp/" + kind + ";\n"
			}
		}
		content := "proxy_pass http://127.0.0.1:1;"
		if strings.Contains(settings, "busy") {
			content = "" // they are judged where nothing is passed on, too
		}
		text := func(extra string) {
			text := "error_log logs/error.log;\npid logs/pid;\nevents {}\nhttp {\n" + extra + settings +
				"\nserver { listen 127.0.0.1:1; location / { " + content + " } }\n}\n"
			if err := os.WriteFile(filepath.Join(dir, "conf/nginx.conf"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text(temp)
		out, _ := exec.Command(nginx, "-t", "-p", dir, "-c", "conf/nginx.conf", "-e", "stderr").CombinedOutput()
		want := ""
		if m := regexp.MustCompile(`\[emerg\] \d+#\d+: (.*) in /`).FindSubmatch(out); m != nil {
			want = string(m[1])
			refused++
		}
		text("")
		if got := compiles(t, dir); got != want {
			t.Errorf("%s\nwe say    %q\nnginx says %q", settings, got, want)
		}
	}
	if refused < 20 {
		t.Errorf("nginx refused %d configurations only: is it asked the right thing?", refused)
	}
}

// compiles says why the configuration in dir does not compile, "" when it does.
func compiles(t *testing.T, dir string) string {
	t.Helper()
	table, err := modules.Table()
	if err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(table, conf.Options{Prefix: dir})
	if err == nil {
		_, err = httpd.Compile(c, modules.All(), "x")
	}
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*conf.Error](err); ok {
		return e.Msg
	}
	return err.Error()
}
