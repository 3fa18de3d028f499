package httpd

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/bufpool"
	"golang.org/x/sys/unix"
)

// spoolIn is a spool whose files are in a folder of the test.
func spoolIn(t *testing.T, conf SpoolConf) (sp *spool, log *strings.Builder) {
	t.Helper()
	sp, log = newSpool(&conf), new(strings.Builder)
	dir := t.TempDir()
	sp.create = func(*TempPath) (int, string, error) {
		name := dir + "/1"
		fd, err := createTemp(name, nil)
		return fd, name, err
	}
	sp.report = func(level slog.Level, msg string) {
		log.WriteString(level.String() + " " + strings.ReplaceAll(msg, dir, "") + "\n")
	}
	t.Cleanup(sp.drop)
	return sp, log
}

// takeAll takes what there is, and returns how much of it came from a file.
func takeAll(t *testing.T, sp *spool) (all []byte, inFile int64) {
	t.Helper()
	for {
		block, st := sp.next()
		switch {
		case block != nil:
			all = append(all, block...)
			bufpool.Put(block)
		case st.n > 0:
			n := min(st.n, 5000)
			p := make([]byte, n)
			if _, err := unix.Pread(st.fd, p, st.off); err != nil {
				t.Fatal(err)
			}
			all = append(all, p...)
			sp.sent(n)
			inFile += n
		default:
			return all, inFile
		}
	}
}

// What is put comes out in order, through memory and file, whoever is faster.
func TestSpoolKeepsTheOrder(t *testing.T) {
	for _, conf := range []SpoolConf{
		{Memory: 4 << 10}, {Memory: 100 << 10}, {Memory: 8 << 10, File: 1 << 30, Write: 3000},
		{Memory: 64 << 10, File: 100 << 10, Write: 1 << 20},
	} {
		sp, _ := spoolIn(t, conf)
		want := make([]byte, 3<<20)
		_, _ = rand.NewChaCha8([32]byte{}).Read(want)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for p := want; len(p) > 0; {
				n := min(len(p), 1+rand.IntN(40_000))
				sp.put(p[:n])
				p = p[n:]
			}
		}()
		var got []byte
		for end := time.Now().Add(10 * time.Second); len(got) < len(want); {
			some, _ := takeAll(t, sp)
			if got = append(got, some...); time.Now().After(end) {
				t.Fatalf("%+v: %d bytes came", conf, len(got))
			}
		}
		<-done
		if !bytes.Equal(got, want) {
			t.Errorf("%+v: other bytes came out", conf)
		}
	}
}

// A spool that is stopped takes what it is given, and rest is all that is left.
func TestSpoolThatIsStopped(t *testing.T) {
	for _, conf := range []SpoolConf{{Memory: 1}, {Memory: 1 << 20}, {Memory: 4 << 10, File: 9 << 10, Write: 1 << 20}} {
		sp, log := spoolIn(t, conf)
		want := bytes.Repeat([]byte("abcdefg"), 10_000)
		sp.stopped = true
		sp.put(want)
		if n := sp.inMemory(); n != int64(len(want)) {
			t.Errorf("%+v: %d bytes in memory, want %d", conf, n, len(want))
		}
		st, err := sp.rest()
		if err != nil || st.n != int64(len(want)) || st.off != 0 {
			t.Errorf("%+v: rest is %+v, %v", conf, st, err)
		}
		if got, inFile := takeAll(t, sp); !bytes.Equal(got, want) || inFile != int64(len(want)) {
			t.Errorf("%+v: other bytes are left, %d of them in a file", conf, inFile)
		}
		if wantLog := conf.File > 0; strings.Contains(log.String(), "a temporary file /1") != wantLog {
			t.Errorf("%+v: log %q", conf, log.String())
		}
	}
}

// What cannot be written stays in memory, and the log tells why in nginx's words.
func TestSpoolWhoseDiskIsFull(t *testing.T) {
	sp, log := spoolIn(t, SpoolConf{Memory: 10, File: 1 << 20, Write: 5})
	sp.create = func(*TempPath) (int, string, error) {
		fd, err := unix.Open("/dev/full", unix.O_RDWR|unix.O_CLOEXEC, 0)
		return fd, "/dev/full", err
	}
	done := make(chan struct{})
	go func() {
		sp.put([]byte("0123456789abcdefghij"))
		close(done)
	}()
	var got []byte
	for end := time.Now().Add(5 * time.Second); len(got) < 20 && time.Now().Before(end); {
		some, _ := takeAll(t, sp)
		got = append(got, some...)
	}
	if string(got) != "0123456789abcdefghij" {
		t.Fatalf("%q came out", got)
	}
	<-done
	want := "WARN an upstream response is buffered to a temporary file /dev/full\n" +
		"ERROR+4 pwrite() \"/dev/full\" failed (28: No space left on device)\n"
	if log.String() != want {
		t.Errorf("log %q, want %q", log, want)
	}
	sp.put([]byte("rest"))
	if _, err := sp.rest(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("rest: %v, want ENOSPC", err)
	}
	if got, _ := takeAll(t, sp); string(got) != "rest" {
		t.Errorf("%q is left", got)
	}
}

// A spool leaves nothing open.
func TestSpoolLeavesNothingOpen(t *testing.T) {
	open := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	before := open()
	for range 3 {
		sp, _ := spoolIn(t, SpoolConf{Memory: 10, File: 100, Write: 10})
		sp.put([]byte("0123456789abcdefghij"))
		if n, _ := takeAll(t, sp); len(n) != 20 {
			t.Fatalf("%q", n)
		}
		sp.drop()
	}
	if after := open(); after != before {
		t.Errorf("%d descriptors are open, %d were", after, before)
	}
}

func TestTempPathsNameFoldersByDigits(t *testing.T) {
	for _, test := range []struct {
		levels  [3]uint8
		number  uint64
		name    string
		folders string
	}{
		{[3]uint8{}, 7, "/t/0000000007", ""},
		{[3]uint8{1, 2}, 123456, "/t/6/45/0000123456", "/t/6 /t/6/45"},
		{[3]uint8{3, 3, 4}, 9876543210, "/t/210/543/9876/9876543210", "/t/210 /t/210/543 /t/210/543/9876"},
		{[3]uint8{9, 9}, 1, "/t/000000001/0000000001", "/t/000000001"},
	} {
		p := TempPath{"/t", test.levels}
		name, folders := p.file(test.number)
		if name != test.name || strings.Join(folders, " ") != test.folders {
			t.Errorf("%v: %s in %q, want %s in %q", test.levels, name, folders, test.name, test.folders)
		}
	}
}
