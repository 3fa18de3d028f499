package conf

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestSnapshotIsTheWholeConfiguration defends invariant 5: a worker gets what its
// master loaded, not what lies on disk by then.
func TestSnapshotIsTheWholeConfiguration(t *testing.T) {
	t.Parallel()
	prefix := newPrefix(t, `
events {}
include d/*.conf;
http { types { include types; } server { listen 127.0.0.1:81; include none*; } }`,
		map[string]string{"d/a.conf": "env A;", "d/b.conf": "include deep;", "deep": "env DEEP;", "types": "text/html html;", "key.pem": "secret\x00\xff"})
	table := testTable(t)
	c, err := Load(table, Options{Prefix: prefix, Globals: "worker_processes 3;"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadFile("key.pem"); err != nil {
		t.Fatal(err)
	}
	wire, err := c.Snapshot.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(prefix); err != nil {
		t.Fatal(err)
	}
	s, err := DecodeSnapshot(wire)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Load(table)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct{ first, again any }{
		{c.Root, again.Root}, {c.Process, again.Process}, {c.Listens, again.Listens}, {c.Logs, again.Logs}, {c.File, again.File},
	} {
		if diff := cmp.Diff(part.first, part.again, cmp.Comparer(sameAddr), cmpopts.IgnoreUnexported(Scope{}, Directive{})); diff != "" {
			t.Error(diff)
		}
	}
	if key, err := again.ReadFile("key.pem"); err != nil || string(key) != "secret\x00\xff" {
		t.Errorf("key = %q, %v", key, err)
	}
	if got, want := string(again.Dump()), string(c.Dump()); got != want || strings.Contains(got, "secret") {
		t.Errorf("dump\n%s\nwant\n%s", got, want)
	}
	if twice, err := again.Snapshot.Encode(); err != nil || string(twice) != string(wire) {
		t.Errorf("the snapshot of the snapshot differs: %v", err)
	}
}

// TestSnapshotNeverReadsTheDisk changes the files instead of removing them.
func TestSnapshotNeverReadsTheDisk(t *testing.T) {
	t.Parallel()
	prefix := newPrefix(t, "events {}\ninclude d/*;", map[string]string{"d/a": "env A;"})
	c, err := Load(testTable(t), Options{Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	put(t, prefix, "nginx.conf", "broken")
	put(t, prefix, "d/a", "broken")
	put(t, prefix, "d/b", "env B;")
	put(t, prefix, "new.pem", "x")
	again, err := c.Snapshot.Load(testTable(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"A"}, again.Process.Env); diff != "" {
		t.Error(diff)
	}
	_, err = again.ReadFile("new.pem")
	if want := `open() "` + prefix + `/conf/new.pem" failed (2: No such file or directory)`; err == nil || err.Error() != want || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("ReadFile of what the master did not read: %v, want %s", err, want)
	}
}

// TestOneLoadSeesOneContent: a file that changes between two includes of it.
func TestOneLoadSeesOneContent(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, "events {}", map[string]string{"a.pem": "first"})
	for range 2 {
		if got, err := c.ReadFile("a.pem"); err != nil || string(got) != "first" {
			t.Fatalf("got %q, %v", got, err)
		}
		put(t, c.options.Prefix, "a.pem", "second")
	}
}

// TestSnapshotIsNotPrinted defends invariant 8.
func TestSnapshotIsNotPrinted(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, "events {}", map[string]string{"key.pem": "secret"})
	if _, err := c.ReadFile("key.pem"); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
		got := fmt.Sprintf(verb, c.Snapshot)
		if want := "snapshot of 2 files, 15 bytes"; got != want {
			t.Errorf("%s prints %q, want %q", verb, got, want)
		}
	}
}

// goldenSnapshot has every part of the wire form.
func goldenSnapshot() *Snapshot {
	s := newSnapshot(Options{Prefix: "/p", File: "f", Globals: "g;", Pid: "i", ErrorLog: "e", AccessLog: "a"}, true)
	s.files = []file{{"/p/f", []byte("events {}\n"), true}, {"/p/key", []byte("\x00\xff"), false}, {"/p/empty", []byte{}, true}}
	s.hostname = "h"
	for _, n := range []name{
		{"four", []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}},
		{"six", []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fe80::1%lo"), netip.MustParseAddr("::ffff:192.0.2.3")}},
	} {
		if err := s.addName(n); err != nil {
			panic(err) // far below every limit
		}
	}
	s.globs = []glob{{"/p/*", []string{"/p/a", "/p/b"}}, {"/q/*", nil}}
	return s
}

func TestWireFormNeverChanges(t *testing.T) {
	t.Parallel()
	wire, err := goldenSnapshot().Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "snapshot_v2.hex")
	got := hex.EncodeToString(wire) + "\n"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got  %swant %s", got, want)
	}
	s, err := DecodeSnapshot(wire)
	if err != nil {
		t.Fatal(err)
	}
	// The index and the size are made anew while decoding.
	if diff := cmp.Diff(goldenSnapshot(), s, cmp.AllowUnexported(Snapshot{}, file{}, glob{}, name{}), cmp.Comparer(sameIP),
		cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".index" || p.Last().String() == ".size" }, cmp.Ignore())); diff != "" {
		t.Error(diff)
	}
}

func sameIP(a, b netip.Addr) bool { return a == b }

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	wire, err := goldenSnapshot().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for n := range wire {
		if _, err := DecodeSnapshot(wire[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are accepted", n, len(wire))
		}
	}
	changed := func(i int, b byte) []byte {
		w := append([]byte(nil), wire...)
		w[i] = b
		return w
	}
	for name, b := range map[string][]byte{
		"version 0":          changed(0, 0),
		"version 1":          changed(0, 1),
		"version 3":          changed(0, 3),
		"neither yes nor no": changed(1, 2),
		"one byte more":      append(append([]byte(nil), wire...), 0),
		"a huge count":       {2, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"a padded count":     append([]byte{2, 0, 0x80, 0x00}, wire[3:]...),
	} {
		if _, err := DecodeSnapshot(b); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	// What follows the version, the user, six options, the host's name, files and
	// patterns of an empty configuration.
	head := append([]byte{2, 0}, make([]byte, 6+3)...)
	if _, err := DecodeSnapshot(append(head[:len(head):len(head)], 1, 1, 'a', 1, 4, 192, 0, 2, 1)); err != nil {
		t.Fatalf("one host: %v", err)
	}
	for fault, names := range map[string][]byte{
		"a host twice":               {2, 1, 'a', 1, 4, 192, 0, 2, 1, 1, 'a', 1, 4, 192, 0, 2, 1},
		"a host without an address":  {1, 1, 'a', 0},
		"an address that is none":    {1, 1, 'a', 1, 0},
		"an address of three bytes":  {1, 1, 'a', 1, 3, 192, 0, 2},
		"too many names":             {0xff, 0xff, 0x7f},
		"more addresses than follow": {1, 1, 'a', 2, 4, 192, 0, 2, 1},
	} {
		if _, err := DecodeSnapshot(append(head[:len(head):len(head)], names...)); err == nil {
			t.Errorf("%s is accepted", fault)
		}
	}
}

func FuzzDecodeSnapshot(f *testing.F) {
	wire, err := goldenSnapshot().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wire)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSnapshot(b)
		if err != nil {
			return
		}
		again, err := s.Encode()
		if err != nil || string(again) != string(b) {
			t.Errorf("decode then encode = %x, %v, want %x", again, err, b)
		}
	})
}

// bigConf is a configuration of many servers: about 1 MB in one file.
func bigConf() string {
	var b strings.Builder
	b.WriteString("events {}\nhttp {\n")
	for i := range 4000 {
		fmt.Fprintf(&b, "server {\n  listen 127.0.0.1:%d;\n  server_name a%d.example.org \"b%d.example.org\";\n  location / { root /srv/www/%d; return 200 \"hello $host\"; }\n  location ~ \\.php$ { deny all; send_timeout 10s; }\n}\n", 1024+i, i, i, i)
	}
	b.WriteString("}\n")
	return b.String()
}

func BenchmarkLoad(b *testing.B) {
	for name, text := range map[string]string{"small": "events {}\nhttp { server { listen 8080; location / { root html; } } }", "4000servers": bigConf()} {
		b.Run(name, func(b *testing.B) {
			s := newSnapshot(Options{Prefix: "/p"}, true)
			if err := s.add(file{name: "/p/conf/nginx.conf", data: []byte(text)}); err != nil {
				b.Fatal(err)
			}
			table := testTable(b)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Load(table); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// FuzzLoad loads a main file and one it may include from memory.
func FuzzLoad(f *testing.F) {
	for _, text := range same {
		if len(text) < 1000 {
			main, other, _ := strings.Cut(text, "\n--- ")
			f.Add(main, other, "")
		}
	}
	f.Add("events{} http { include a.conf; }", "server { listen unix:/a; location / { } }", "daemon off;")
	table := testTable(f)
	f.Fuzz(func(t *testing.T, main, other, globals string) {
		s := newSnapshot(Options{Prefix: "/p", Globals: globals}, true)
		for name, text := range map[string]string{"/p/conf/nginx.conf": main, "/p/conf/a.conf": other} {
			if err := s.add(file{name: name, data: []byte(text)}); err != nil {
				t.Skip(err)
			}
		}
		c, err := s.Load(table)
		if err != nil {
			if e, ok := errors.AsType[*Error](err); !ok || e.Msg == "" || e.Level == "" {
				t.Errorf("error %#v", err)
			}
			return
		}
		if _, err := c.Snapshot.Load(table); err != nil {
			t.Errorf("loaded once, but not twice: %v", err)
		}
	})
}
