package testbed

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed/backend"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// A Role is a program that a copy of the test binary plays, above all server
// binaries that are broken in one way.
type Role string

const (
	// ExitsAtOnce leaves with status 3 before it does anything.
	ExitsAtOnce Role = "exits at once"
	// ExitsAfterBinding listens on the address that is its argument, then
	// leaves with status 4.
	ExitsAfterBinding Role = "exits after binding"
	// NeverReady prints "running" and does nothing. TERM, INT and QUIT end it.
	NeverReady Role = "never ready"
	// NeverReadyNorGone is a NeverReady that only SIGKILL ends.
	NeverReadyNorGone Role = "never ready nor gone"
	// ExitsWhenReady writes its process id to the file that is its argument,
	// which is all the sign of life that nginx gives, and leaves with status 5.
	ExitsWhenReady Role = "exits when ready"
	// LosesWorkers calls itself a master, writes its process id to the file that is
	// its argument, and starts a worker that dies again and again. TERM and QUIT end it.
	LosesWorkers Role = "loses workers"
	// AnswersErrors takes over as a new master does, by the sockets that it inherits, and
	// its worker answers every request with status 500. TERM and QUIT end it.
	AnswersErrors Role = "answers errors"
	// ForksAway starts a process of its own in another session, and leaves with status 0. SIGTERM ends that process.
	ForksAway Role = "forks away"
	// EchoBackend serves package backend on the address that is its argument.
	EchoBackend Role = "echo backend"
)

// roleMark ends a binary that plays a role. The name of the file cannot tell
// the role: whatever is upgraded to is called sbin/nginx.
const roleMark = "\x00testbed role\x00"

type roleNote struct {
	Role Role
	Args []string
	// Server answers -v, -V and -t in the fixture's place; "" means that it plays its
	// role then too.
	Server string
}

// Fixture returns the path of a binary that plays role.
func Fixture(t testing.TB, role Role, args ...string) (path string) {
	t.Helper()
	return fixture(t, roleNote{Role: role, Args: args})
}

// Pretender is [Fixture] with a binary that answers -v, -V and -t as server does, so
// that it plays its role only when it is started to serve.
func Pretender(t testing.TB, server string, role Role, args ...string) (path string) {
	t.Helper()
	return fixture(t, roleNote{Role: role, Args: args, Server: server})
}

func fixture(t testing.TB, n roleNote) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "fixture")
	if err := copyFile(path, "/proc/self/exe"); err != nil {
		t.Fatal(err)
	}
	note, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	note = binary.BigEndian.AppendUint32(note, uint32(len(note)))
	appendTo(t, path, append(note, roleMark...))
	return path
}

// WrongArchitecture returns the path of an executable for a machine that does
// not exist: execve(2) says ENOEXEC.
func WrongArchitecture(t testing.TB) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "wrong-architecture")
	if err := copyFile(path, "/proc/self/exe"); err != nil {
		t.Fatal(err)
	}
	syscall.ForkLock.RLock() // as in copyFile
	defer syscall.ForkLock.RUnlock()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const machine = 18 // offset of e_machine, see elf(5)
	if _, err := f.WriteAt([]byte{0xfe, 0xfe}, machine); err != nil {
		t.Fatal(err)
	}
	return path
}

// NotExecutable returns the path of a copy of binary that nobody may execute.
func NotExecutable(t testing.TB, binary string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "not-executable")
	if err := copyFile(path, binary); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func appendTo(t testing.TB, path string, b []byte) {
	t.Helper()
	syscall.ForkLock.RLock() // as in copyFile
	defer syscall.ForkLock.RUnlock()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// Main runs the tests of a package, unless this process was started to be the
// root of a process tree or to play a [Role]. It returns the exit status.
func Main(m *testing.M) int {
	if status, wasRoot := tree.Main(); wasRoot {
		return status
	}
	note, ok := readNote("/proc/self/exe")
	if ok {
		return appear(note)
	}
	return m.Run()
}

// readNote reads the note at the end of a binary that [Fixture] made.
func readNote(path string) (note roleNote, ok bool) {
	f, err := os.Open(path)
	if err != nil {
		return note, false
	}
	defer f.Close()
	const maxNote = 4096
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return note, false
	}
	tail := make([]byte, min(end, maxNote))
	if _, err := f.ReadAt(tail, end-int64(len(tail))); err != nil {
		return note, false
	}
	tail, ok = bytes.CutSuffix(tail, []byte(roleMark))
	if !ok || len(tail) < 4 {
		return note, false
	}
	tail, size := tail[:len(tail)-4], int(binary.BigEndian.Uint32(tail[len(tail)-4:]))
	if size > len(tail) {
		return note, false
	}
	return note, json.Unmarshal(tail[len(tail)-size:], &note) == nil
}

// appear is the main function of a fixture.
func appear(note roleNote) (status int) {
	asks := func(arg string) bool { return arg == "-v" || arg == "-V" || arg == "-t" }
	if note.Server != "" && slices.ContainsFunc(os.Args[1:], asks) {
		return complain(syscall.Exec(note.Server, os.Args, os.Environ()))
	}
	return play(note)
}

// play plays the fixture's role.
func play(note roleNote) (status int) {
	switch note.Role {
	case ExitsAtOnce:
		return 3
	case ExitsAfterBinding:
		if _, err := net.Listen("tcp", note.Args[0]); err != nil {
			return complain(err)
		}
		return 4
	case NeverReady:
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
		defer stop()
		io.WriteString(os.Stdout, "running\n")
		<-ctx.Done()
		return 0
	case NeverReadyNorGone:
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP)
		io.WriteString(os.Stdout, "running\n")
		for forever := time.NewTicker(time.Hour); ; {
			<-forever.C
		}
	case ExitsWhenReady:
		if err := os.WriteFile(note.Args[0], fmt.Appendln(nil, os.Getpid()), 0o644); err != nil {
			return complain(err)
		}
		return 5
	case LosesWorkers:
		return playMaster(note.Args[0])
	case AnswersErrors:
		return playErrors(note.Args[0])
	case ForksAway:
		return playForker()
	case EchoBackend:
		return playBackend(note.Args[0])
	default:
		return complain(fmt.Errorf("play %q: no such role", note.Role))
	}
}

// playMaster is [LosesWorkers]: it executes itself again under a master's name, and
// again under a worker's for each worker.
func playMaster(pidFile string) int {
	const self = "/proc/self/exe"
	title := "nginx" + masterTitle + " fixture"
	switch os.Args[0] {
	case title:
	case "nginx" + workerTitle:
		for forever := time.NewTicker(time.Hour); ; { // until the master kills it
			<-forever.C
		}
	default:
		return complain(syscall.Exec(self, []string{title}, os.Environ()))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGQUIT)
	defer stop()
	if err := os.WriteFile(pidFile, fmt.Appendln(nil, os.Getpid()), 0o644); err != nil {
		return complain(err)
	}
	for again := time.NewTicker(100 * time.Millisecond); ; {
		worker := exec.CommandContext(ctx, self)
		worker.Args = []string{"nginx" + workerTitle}
		if err := worker.Start(); err != nil {
			return complain(err)
		}
		select {
		case <-ctx.Done():
			worker.Wait()
			return 0
		case <-again.C:
			worker.Process.Kill()
			worker.Wait()
		}
	}
}

// playErrors is [AnswersErrors]; it executes itself as [LosesWorkers] does.
func playErrors(pidFile string) int {
	const self = "/proc/self/exe"
	title := "nginx" + masterTitle + " fixture"
	switch os.Args[0] {
	case title:
	case "nginx" + workerTitle:
		return answerErrors()
	default:
		return complain(syscall.Exec(self, []string{title}, os.Environ()))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGQUIT)
	defer stop()
	worker := exec.CommandContext(ctx, self)
	worker.Args = []string{"nginx" + workerTitle}
	for fd := range strings.FieldsFuncSeq(os.Getenv("NGINX"), func(r rune) bool { return r == ';' || r == ':' }) {
		n, err := strconv.Atoi(fd)
		if err != nil {
			return complain(err)
		}
		worker.ExtraFiles = append(worker.ExtraFiles, os.NewFile(uintptr(n), "listener"))
	}
	worker.Env = append(os.Environ(), fmt.Sprintf("%s=%d", listenersVariable, len(worker.ExtraFiles)))
	if err := worker.Start(); err != nil {
		return complain(err)
	}
	if err := os.WriteFile(pidFile, fmt.Appendln(nil, os.Getpid()), 0o644); err != nil {
		return complain(err)
	}
	worker.Wait() // it is killed with ctx
	return 0
}

// listenersVariable tells the worker of [AnswersErrors] how many sockets it has.
const listenersVariable = "TESTBED_LISTENERS"

// answerErrors is that worker.
func answerErrors() int {
	n, err := strconv.Atoi(os.Getenv(listenersVariable))
	if err != nil {
		return complain(err)
	}
	ended := make(chan error)
	for i := range n {
		const first = 3 // of ExtraFiles
		ln, err := net.FileListener(os.NewFile(uintptr(first+i), "listener"))
		if err != nil {
			return complain(err)
		}
		go func() {
			ended <- http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusInternalServerError)
			}))
		}()
	}
	return complain(<-ended)
}

// playForker is [ForksAway]; what it leaves is called so.
func playForker() int {
	const left = "left behind"
	if os.Args[0] == left {
		for forever := time.NewTicker(time.Hour); ; {
			<-forever.C
		}
	}
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe")
	cmd.Args = []string{left}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return complain(err)
	}
	return 0
}

func playBackend(addr string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return complain(err)
	}
	if err := backend.Serve(ctx, ln); err != nil {
		return complain(err)
	}
	return 0
}

func complain(err error) int {
	fmt.Fprintf(os.Stderr, "fixture: %v\n", err)
	return 1
}
