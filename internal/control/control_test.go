package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// pair returns both ends in this process.
func pair(t *testing.T) (a, b *Conn) {
	t.Helper()
	a, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	fd, err := unix.FcntlInt(theirs.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	if b, err = Open(fd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return a, b
}

// openFiles counts the descriptors of this process.
func openFiles(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func TestMessage(t *testing.T) {
	a, b := pair(t)
	if err := a.Send(KindFailed, Failed{"listen", "no"}); err != nil {
		t.Fatal(err)
	}
	m, err := b.Receive()
	if err != nil {
		t.Fatal(err)
	}
	var f Failed
	if err := m.Into(&f); err != nil || m.Kind != KindFailed || f != (Failed{"listen", "no"}) {
		t.Errorf("got %q %+v, %v", m.Kind, f, err)
	}
	a.Close()
	if _, err := b.Receive(); err != io.EOF {
		t.Errorf("after the end: %v, want EOF", err)
	}
	if err := b.Send(KindReady, nil); err == nil {
		t.Error("sending to nobody succeeds")
	}
}

// TestLastWords: what a peer said is heard although it went away without having
// read what it was sent, which resets the channel.
func TestLastWords(t *testing.T) {
	a, b := pair(t)
	if err := b.Send(KindReopen, nil); err != nil { // a never reads it
		t.Fatal(err)
	}
	last := []error{
		a.Send(KindFailed, Failed{"config", "first"}),
		a.Send(KindRetired, Retired{Moved: 7}, File{Name: "f", FD: 0}),
		a.Close(),
	}
	if err := errors.Join(last...); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{KindFailed, KindRetired} {
		m, err := b.Receive()
		if err != nil || m.Kind != kind {
			t.Fatalf("got %q, %v, want %s", m.Kind, err, kind)
		}
		m.Close()
	}
	for range 2 {
		if _, err := b.Receive(); err != io.EOF {
			t.Errorf("after the last words: %v, want EOF", err)
		}
	}
}

// TestManyFiles: more than fit into one message, each arrives under its name
// and is what was sent.
func TestManyFiles(t *testing.T) {
	before := openFiles(t)
	t.Run("carry", func(t *testing.T) {
		a, b := pair(t)
		const n = 600
		fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if _, err := unix.Write(fd, []byte("content")); err != nil {
			t.Fatal(err)
		}
		var files []File
		for i := range n {
			files = append(files, File{Name: fmt.Sprint("file ", i), FD: fd})
		}
		sent := make(chan error, 1)
		go func() { sent <- a.Send(KindStart, Start{Seat: 3}, files...) }()
		m, err := b.Receive()
		if err != nil || <-sent != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if m.Kind != KindStart || len(m.Files) != n || len(m.Names) != n {
			t.Fatalf("got %q with %d files, %d names", m.Kind, len(m.Files), len(m.Names))
		}
		for i, f := range m.Files {
			if want := fmt.Sprint("file ", i); m.Names[i] != want || f.Name() != want {
				t.Fatalf("file %d is called %q, %q", i, m.Names[i], f.Name())
			}
		}
		buf := make([]byte, 7)
		if _, err := m.Files[n-1].ReadAt(buf, 0); err != nil || string(buf) != "content" {
			t.Errorf("the last file holds %q, %v", buf, err)
		}
		flags, err := unix.FcntlInt(m.Files[0].Fd(), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("a received descriptor leaks through exec: %v", err)
		}
	})
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// TestBadMessages: what is malformed is an error, and its descriptors are
// closed.
func TestBadMessages(t *testing.T) {
	a, b := pair(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	rights := unix.UnixRights(int(null.Fd()))
	for _, tt := range []struct {
		data string
		oob  []byte
		want string
	}{
		{"{", rights, "decode message"},
		{`{"kind":""}`, rights, "no kind"},
		{`{"kind":"x","names":["a","b"]}`, rights, "2 names for 1 descriptors"},
		{`{"kind":"x"}`, rights, "0 names for 1 descriptors"},
		{`{"kind":"` + strings.Repeat("x", maxMessageBytes) + `"}`, rights, ErrTooLarge.Error()},
	} {
		before := openFiles(t)
		if _, _, err := a.uc.WriteMsgUnix([]byte(tt.data), tt.oob, nil); err != nil {
			t.Fatal(err)
		}
		_, err := b.Receive()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.40s: %v, want %q", tt.data, err, tt.want)
		}
		if after := openFiles(t); after != before {
			t.Errorf("%.40s: %d descriptors before, %d after", tt.data, before, after)
		}
	}
}

func TestAgree(t *testing.T) {
	h := func(lo, hi int) Hello { return Hello{Min: lo, Max: hi} }
	for _, tt := range []struct {
		a, b Hello
		want int
	}{
		{h(1, 1), h(1, 1), 1},
		{h(1, 3), h(2, 5), 3},
		{h(1, 1), h(2, 5), 0},
		{h(4, 5), h(1, 3), 0},
	} {
		if got := Agree(tt.a, tt.b); got != tt.want {
			t.Errorf("Agree(%v, %v) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if Agree(tt.a, tt.b) != Agree(tt.b, tt.a) {
			t.Errorf("Agree(%v, %v) depends on who asks", tt.a, tt.b)
		}
	}
}

// TestWireForm keeps the words between releases: a master talks to another
// release's on every upgrade and roll-back.
func TestWireForm(t *testing.T) {
	for _, tt := range []struct {
		kind string
		body any
		want string
	}{
		{KindHello, Hello{"1.2.3", 7, 1, 2}, `{"kind":"hello","body":{"version":"1.2.3","pid":7,"min":1,"max":2}}`},
		{KindReady, nil, `{"kind":"ready"}`},
		{KindRetired, Retired{2, 1, 0, 34}, `{"kind":"retired","body":{"moved":2,"drained":1,"closed":0,"ms":34}}`},
		{KindFailed, Failed{"config", "x"}, `{"kind":"failed","body":{"stage":"config","reason":"x"}}`},
	} {
		a, b := pair(t)
		if err := a.Send(tt.kind, tt.body); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1024)
		n, err := b.uc.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, string(buf[:n])); diff != "" {
			t.Error(diff)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"kind":"start","names":["config"],"body":{"seat":1}}`))
	f.Add([]byte(`{"kind":"failed","body":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decode(data)
		if err != nil {
			return
		}
		var s Start
		_ = m.Into(&s)
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatalf("%+v cannot be sent on: %v", m, err)
		}
		if n, err := decode(again); err != nil || n.Kind != m.Kind || len(n.Names) != len(m.Names) {
			t.Errorf("%s became %s: %v", data, again, err)
		}
	})
}
