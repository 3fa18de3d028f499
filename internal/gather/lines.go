// Package gather lets goroutines that have a line to write at the same moment share
// one write: a busy server saves most of its writes to log files that way.
package gather

import (
	"runtime"
	"sync"
)

// most is how much may wait for one write.
const most = 32 << 10

// Lines are lines that wait to be written. The zero value has none. They belong to
// whoever holds the mutex that Join is called with.
type Lines struct {
	// Buf is what waits, in order. Who has written it empties it with Clear.
	Buf   []byte
	taken bool // somebody is going to write it
}

// Join adds line and reports whether the caller is to write Buf now. Whoever comes
// first lets the goroutines run that are ready to, and then writes for all of them,
// before it goes on itself; to the others Join returns false. So a line waits no
// longer than it takes to serve what has arrived already, and not at all when nothing
// has.
//
// mu must be held. Join lets go of it meanwhile.
func (l *Lines) Join(mu *sync.Mutex, line []byte) bool {
	l.Buf = append(l.Buf, line...)
	if l.taken {
		return len(l.Buf) >= most
	}
	l.taken = true
	mu.Unlock()
	runtime.Gosched()
	mu.Lock()
	l.taken = false
	return true
}

// Clear empties Buf, and gives it back when something unusual has made it large.
func (l *Lines) Clear() {
	if l.Buf = l.Buf[:0]; cap(l.Buf) > 2*most {
		l.Buf = nil
	}
}
