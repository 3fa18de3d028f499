package acceptance

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// status returns a number from a process's status file, 0 when it has left.
func (m *mover) status(pid int, field string) (n int) {
	m.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, ok := strings.Cut(string(text), "\n"+field)
	if !ok {
		m.t.Fatalf("no %q in the status of process %d:\n%s", field, pid, text)
	}
	if n, err = strconv.Atoi(strings.Fields(rest)[0]); err != nil {
		m.t.Fatal(err)
	}
	return n
}

// goroutines ends a worker in a way that makes Go's runtime tell what its
// goroutines do, in the error log, and returns how many there were.
func (m *mover) goroutines(pid int) (n int) {
	m.t.Helper()
	before := len(m.Log())
	m.Signal(pid, syscall.SIGABRT)
	m.WaitFor("end of the worker", func() bool { return m.parent(pid) == 0 })
	told := m.Log()[before:]
	n = strings.Count(told, "\ngoroutine ")
	if n == 0 {
		m.t.Fatalf("no goroutine in what the worker told:\n%s", told)
	}
	return n
}
