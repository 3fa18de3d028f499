package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// stranger is a user that is neither root nor us.
const stranger = 12345

// aFolder returns a folder of user uid, with the file "victim" in another one.
func aFolder(t *testing.T, uid int) (dir, victim string) {
	t.Helper()
	top := t.TempDir()
	dir, victim = filepath.Join(top, "dir"), filepath.Join(top, "victim")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(victim, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(dir, uid, -1); err != nil {
		t.Fatal(err)
	}
	return dir, victim
}

// untouched checks that nobody wrote to a file nor gave it away.
func untouched(t *testing.T, victim string) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(victim, &st); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(victim); err != nil || string(content) != "secret" || int(st.Uid) != os.Getuid() {
		t.Errorf("it holds %q and is %d's, %v", content, st.Uid, err)
	}
}

// Whoever may put links into the folder of a log does not choose what is written to,
// created or given away.
func TestLogsFollowNoStrangersLinks(t *testing.T) {
	if !Privileged() {
		return // nobody can make another user's link; the next test has our own
	}
	id := &Identity{UID: stranger}
	for name, put := range map[string]func(path, victim string) error{
		"a link":                 func(path, victim string) error { return os.Symlink(victim, path) },
		"a link to nothing":      func(path, victim string) error { return os.Symlink(victim+".new", path) },
		"a relative link":        func(path, _ string) error { return os.Symlink("../victim", path) },
		"a link that goes on":    func(path, victim string) error { return os.Symlink("more", path) },
		"another name of a file": func(path, victim string) error { return os.Link(victim, path) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, victim := aFolder(t, stranger)
			path := filepath.Join(dir, "access.log")
			if err := put(path, victim); err != nil {
				t.Fatal(err)
			}
			if name == "a link that goes on" {
				if err := os.Symlink(victim, filepath.Join(dir, "more")); err != nil { // root's
					t.Fatal(err)
				}
			}
			if name != "another name of a file" {
				if err := os.Lchown(path, stranger, -1); err != nil {
					t.Fatal(err)
				}
			}
			f, err := OpenLog(path, id)
			if err == nil {
				f.Close()
				t.Error("it is opened")
			} else if want := fmt.Sprintf("open() %q failed (", path); !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
			untouched(t, victim)
			if _, err := os.Stat(victim + ".new"); err == nil {
				t.Error("a file was created where the link leads")
			}
			if name != "another name of a file" {
				if err := MakeTemp(path, id); err == nil {
					t.Error("a folder for temporary files is made of it")
				}
				untouched(t, victim)
			}
		})
	}
	t.Run("a folder", func(t *testing.T) {
		dir, victim := aFolder(t, stranger)
		link := filepath.Join(dir, "logs")
		if err := os.Symlink(filepath.Dir(victim), link); err != nil {
			t.Fatal(err)
		}
		if err := os.Lchown(link, stranger, -1); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"victim", "new.log"} {
			if f, err := OpenLog(filepath.Join(link, name), id); err == nil {
				f.Close()
				t.Errorf("%s is opened by way of it", name)
			}
		}
		if err := MakeTemp(filepath.Join(link, "temp"), id); err == nil {
			t.Error("a folder is made by way of it")
		}
		untouched(t, victim)
		if names, _ := filepath.Glob(filepath.Join(filepath.Dir(victim), "*")); len(names) != 2 {
			t.Errorf("there is %q", names)
		}
	})
	t.Run("a file that was there", func(t *testing.T) {
		dir, victim := aFolder(t, stranger)
		path := filepath.Join(dir, "access.log")
		if err := os.Rename(victim, path); err != nil {
			t.Fatal(err)
		}
		f, err := OpenLog(path, id)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		untouched(t, path)
	})
}

// What nobody else can have put there works: our own links, in every part of the path, a
// link to nothing, and those of /proc.
func TestLogsFollowOurLinks(t *testing.T) {
	uid := os.Getuid()
	id := (*Identity)(nil)
	if Privileged() {
		uid, id = stranger, &Identity{UID: stranger}
	}
	dir, _ := aFolder(t, os.Getuid())
	for link, target := range map[string]string{
		"here": "../dir", "a.log": "here/b.log", "b.log": dir + "/here/./c.log", "null": "/dev/null",
		"self": "/proc/self/fd/2", "loop": "loop",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	f, err := OpenLog(dir+"//here/../dir/here/a.log", id)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("line"); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "c.log"), &st); err != nil || st.Size != 4 || int(st.Uid) != uid {
		t.Errorf("the file at the end of the links has %d bytes and is %d's, %v", st.Size, st.Uid, err)
	}
	for _, name := range []string{"null", "self"} {
		f, err := OpenLog(filepath.Join(dir, name), id)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		f.Close()
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "loop"):       "40: Too many levels of symbolic links",
		filepath.Join(dir, "none", "x"):  "2: No such file or directory",
		filepath.Join(dir, "c.log", "x"): "20: Not a directory",
		dir:                              "21: Is a directory",
	} {
		f, err := OpenLog(path, id)
		if err == nil {
			f.Close()
		}
		if text := fmt.Sprintf("open() %q failed (%s)", path, want); err == nil || err.Error() != text {
			t.Errorf("%v, want %s", err, text)
		}
	}
}

// A log that is a FIFO is written to when somebody reads it. To wait for that would make a
// master deaf.
func TestLogThatIsAFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := OpenLog(path, nil); err == nil || !strings.Contains(err.Error(), "(6: No such device or address)") {
		t.Errorf("nobody reads: %v, %v", f, err)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	f, err := OpenLog(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("line"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 8)
	if n, err := reader.Read(buf); err != nil || string(buf[:n]) != "line" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
}
