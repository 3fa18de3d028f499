package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"
)

const (
	masterPart   = ": master process "
	keeperPart   = ": keeper process "
	workerPart   = ": worker process"
	shuttingDown = " is shutting down"
)

// Word returns the word before the colon in the titles of a server that was
// started as argv0: the name of the file. Installed as sbin/nginx it is
// "nginx", so that whatever looks for nginx's processes finds ours.
func Word(argv0 string) string {
	return filepath.Base(argv0)
}

// MasterArgv returns argv with the master's title in place of argv[0], so that
// ps shows "nginx: master process /p/sbin/nginx -c file". [OriginalArgv] undoes
// it.
func MasterArgv(argv []string) []string {
	titled := append([]string(nil), argv...)
	titled[0] = Word(argv[0]) + masterPart + argv[0]
	return titled
}

// OriginalArgv returns the arguments a server was started with, and whether
// argv bore the master's title.
func OriginalArgv(argv []string) (original []string, titled bool) {
	if len(argv) == 0 {
		return argv, false
	}
	word, argv0, ok := strings.Cut(argv[0], masterPart)
	if !ok || argv0 == "" || word != Word(argv0) {
		return argv, false
	}
	return append([]string{argv0}, argv[1:]...), true
}

// KeeperTitle calls this process, which bears the title of a master, a keeper. Both words
// have the same length, so it is done where ps looks, as in [WorkerTitle].
func KeeperTitle() error {
	if len(os.Args) == 0 {
		return errors.New("take title: there is none")
	}
	at := strings.Index(os.Args[0], masterPart)
	if at < 0 {
		return fmt.Errorf("take title: %q is no master's", os.Args[0])
	}
	copy(unsafe.Slice(unsafe.StringData(os.Args[0]), len(os.Args[0]))[at:], keeperPart)
	return nil
}

// IsKeeper reports whether process pid calls itself a keeper.
func IsKeeper(pid int) bool { return strings.Contains(commandLine(pid), keeperPart) }

// commandLine returns the arguments of a process with blanks between them; "" when it has
// none.
func commandLine(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return strings.TrimRight(strings.ReplaceAll(string(text), "\x00", " "), " ")
}

// WorkerArgv returns the argv of a worker: its title, padded to what
// [Title.ShuttingDown] needs.
func WorkerArgv(word string) []string {
	return []string{word + workerPart + strings.Repeat(" ", len(shuttingDown))}
}

// IsWorkerArgv reports whether argv is one that [WorkerArgv] makes.
func IsWorkerArgv(argv []string) bool {
	return len(argv) == 1 && strings.HasSuffix(argv[0], workerPart+strings.Repeat(" ", len(shuttingDown)))
}

// A Title is the memory in which ps finds the name of this process.
type Title struct {
	mem  []byte
	word string
}

// WorkerTitle takes over the title of this process, which was started with
// [WorkerArgv]: the padding goes.
//
// The kernel shows the bytes between the process's arg_start and arg_end, the
// memory that argv points to, and Go's os.Args[0] is that memory and no copy of
// it. Writing there needs unsafe, and there is no other way for a worker:
// executing ourselves again with another argv[0], as masters do, would lose the
// connections it is just draining.
func WorkerTitle() (*Title, error) {
	if len(os.Args) == 0 || !strings.HasSuffix(os.Args[0], strings.Repeat(" ", len(shuttingDown))) {
		return nil, fmt.Errorf("take title: %q was not started as a worker", os.Args)
	}
	word, _, _ := strings.Cut(os.Args[0], ":")
	t := &Title{
		mem:  unsafe.Slice(unsafe.StringData(os.Args[0]), len(os.Args[0])),
		word: strings.Clone(word),
	}
	t.set(t.word + workerPart)
	return t, nil
}

// ShuttingDown says in ps that the worker is on its way out.
func (t *Title) ShuttingDown() { t.set(t.word + workerPart + shuttingDown) }

// Word is the word before the colon.
func (t *Title) Word() string { return t.word }

func (t *Title) set(s string) {
	n := copy(t.mem, s)
	clear(t.mem[n:])
}

// SetComm sets the short name that pgrep, pidof and killall look at. Executing
// /proc/self/exe leaves "exe" there.
func SetComm(word string) error {
	// The process's name is that of its first thread, and nothing pins this
	// goroutine to it: PR_SET_NAME would name whatever thread we are on.
	path := fmt.Sprintf("/proc/self/task/%d/comm", os.Getpid())
	if err := os.WriteFile(path, []byte(word), 0); err != nil {
		return fmt.Errorf("set process name: %w", err)
	}
	return nil
}
