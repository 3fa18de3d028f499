package prefix

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree returns every path below dir with its permissions and content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var content []byte
		if !d.IsDir() {
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		rel, err := filepath.Rel(dir, path)
		got[rel] = info.Mode().String() + " " + string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestCreateMakesAWholePrefix(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "baton")
	if err := os.WriteFile(exe, []byte("program"), 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "a", "b")
	entries, err := Create(Options{Dir: dir, Listen: "127.0.0.1:8080", Executable: exe})
	if err != nil {
		t.Fatal(err)
	}
	var want []Entry
	for _, p := range []string{"conf/", "html/", "logs/", "sbin/", "client_body_temp/", "proxy_temp/", "fastcgi_temp/",
		"scgi_temp/", "uwsgi_temp/", "conf/nginx.conf", "conf/mime.types",
		"conf/fastcgi.conf", "conf/fastcgi_params", "conf/scgi_params", "conf/uwsgi_params", "html/index.html", "html/50x.html", "sbin/nginx"} {
		want = append(want, Entry{p, true})
	}
	if d := cmp.Diff(want, entries); d != "" {
		t.Errorf("entries (-want +got):\n%s", d)
	}
	got := tree(t, dir)
	if len(got) != len(want)+1 {
		t.Errorf("files = %d, want %d: %v", len(got), len(want)+1, got)
	}
	for path, part := range map[string]string{
		"conf/nginx.conf":  "listen       127.0.0.1:8080;",
		"html/index.html":  "<h1>Welcome to baton!</h1>",
		"conf/mime.types":  "text/html ",
		"sbin/nginx":       "-rwxr-xr-x program",
		"html/50x.html":    "-rw-r--r-- ",
		"client_body_temp": "drwx------ ",
		"logs":             "drwxr-xr-x ",
	} {
		if !strings.Contains(got[path], part) {
			t.Errorf("%s = %q, want it to have %q", path, got[path], part)
		}
	}
	if strings.Contains(got["conf/nginx.conf"], listenMark) {
		t.Error("the mark is left in nginx.conf")
	}
}

func TestCreateNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	if _, err := Create(Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "conf/nginx.conf")
	if err := os.WriteFile(conf, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	// A link that leads nowhere is something of the operator's, too.
	page := filepath.Join(dir, "html/index.html")
	if err := os.Remove(page); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("gone", page); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "conf/mime.types")); err != nil {
		t.Fatal(err)
	}
	entries, err := Create(Options{Dir: dir, Listen: "81"})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if want := e.Path == "conf/mime.types"; e.Created != want {
			t.Errorf("%s: created = %v, want %v", e.Path, e.Created, want)
		}
	}
	if b, err := os.ReadFile(conf); err != nil || string(b) != "mine" {
		t.Errorf("nginx.conf = %q, %v, want it untouched", b, err)
	}
	if to, err := os.Readlink(page); err != nil || to != "gone" {
		t.Errorf("index.html = link to %q, %v, want it untouched", to, err)
	}
}

func TestFileThatAppearsMeanwhileIsKept(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	// The reader runs between the look and the rename: there the other one comes.
	r := readerFunc(func([]byte) (int, error) {
		if err := os.WriteFile(path, []byte("theirs"), 0o644); err != nil {
			t.Fatal(err)
		}
		return 0, io.EOF
	})
	created, err := writeNew(path, r, 0o644)
	if created || err != nil {
		t.Errorf("writeNew = %v, %v, want false, nil", created, err)
	}
	if got := tree(t, dir); len(got) != 2 || got["f"] != "-rw-r--r-- theirs" {
		t.Errorf("folder = %v, want only their file", got)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestFailureLeavesNoHalfFile(t *testing.T) {
	dir := t.TempDir()
	created, err := writeNew(filepath.Join(dir, "f"), readerFunc(func([]byte) (int, error) { return 0, fs.ErrInvalid }), 0o644)
	if created || err == nil {
		t.Errorf("writeNew = %v, %v, want an error", created, err)
	}
	if got := tree(t, dir); len(got) != 1 {
		t.Errorf("folder = %v, want it empty", got)
	}
}

func TestCreateSaysWhatIsInTheWay(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "html"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	entries, err := Create(Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "html")) {
		t.Errorf("err = %v, want it to name html", err)
	}
	if d := cmp.Diff([]Entry{{"conf/", true}}, entries); d != "" {
		t.Errorf("entries (-want +got):\n%s", d)
	}
}

// Under a umask that hides everything from others the workers find what they need.
func TestUmaskDoesNotMatter(t *testing.T) {
	dir := t.TempDir()
	old := syscall.Umask(0o077)
	_, err := Create(Options{Dir: filepath.Join(dir, "a/b"), Executable: "/proc/self/exe"})
	syscall.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{
		"a": 0o755, "a/b": 0o755, "a/b/html": 0o755, "a/b/html/index.html": 0o644, "a/b/conf/nginx.conf": 0o644,
		"a/b/sbin/nginx": 0o755, "a/b/logs": 0o755, "a/b/proxy_temp": 0o700,
	} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, mode %v; want %v", path, err, info.Mode(), want)
		}
	}
}
