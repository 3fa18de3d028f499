package httpd

import (
	"log/slog"
	"sync"

	"github.com/baton-deploy/baton/internal/bufpool"
	"golang.org/x/sys/unix"
)

// A SpoolConf says how much of a server's answer may be kept for a client that
// takes it more slowly than it comes.
type SpoolConf struct {
	// Memory is how much is kept in memory.
	Memory int64
	// File bounds the temporary file that holds what is more; 0 means that there is
	// none. When both are full the server waits for the client.
	File int64
	// Write is the most that one write to the file takes; 0 sets no bound.
	Write int
	// Temp is where the file is created.
	Temp TempPath
}

// A spool is a queue of content between a server that is read and a client that is
// slow: first what is in the file, then what is in memory. One goroutine puts and
// one takes.
//
// The file is written from its beginning to its end only once: sendfile(2) leaves
// pages of it in the socket that are not sent yet, and to write them again would
// change what the client gets. A spool that has become empty is thrown away.
type spool struct {
	conf *SpoolConf
	// create is Request.CreateTemp, report writes to the log. Who puts calls them.
	create func(p *TempPath) (fd int, name string, err error)
	report func(level slog.Level, msg string)
	name   string // of the file, for the log

	// mu guards what follows. It is a leaf: nothing else is locked while it is held,
	// but a server's socket may be interrupted, and no disk is waited for.
	mu      sync.Mutex
	change  sync.Cond // of anything below
	mem     [][]byte  // buffers of the pool
	held    int64     // bytes in mem, and those that are being written to the file
	fd      int       // of the file, -1 when there is none
	off     int64     // in the file: what is to be taken next
	end     int64     // in the file: where it ends
	writing bool      // a part of mem is on its way to the file
	noFile  bool      // the file cannot be had, or not be written
	stopped bool      // put does not wait for room
}

func newSpool(conf *SpoolConf) *spool {
	sp := &spool{conf: conf, fd: -1}
	sp.change.L = &sp.mu
	return sp
}

// put adds a copy of p. It waits while there is no room, unless the spool is
// stopped: then it takes all of p.
func (sp *spool) put(p []byte) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	for len(p) > 0 {
		switch {
		case sp.stopped:
			p = p[sp.store(p):]
		case sp.held < sp.conf.Memory:
			p = p[sp.store(p[:min(int64(len(p)), sp.conf.Memory-sp.held)]):]
		case sp.conf.File > sp.end && !sp.noFile:
			if err := sp.spill(); err != nil {
				sp.noFile = true
			}
		default:
			sp.change.Wait()
		}
	}
}

// store copies some of p into memory and returns how much. sp.mu must be held.
func (sp *spool) store(p []byte) int {
	last := len(sp.mem) - 1
	if last < 0 || len(sp.mem[last]) == cap(sp.mem[last]) {
		sp.mem = append(sp.mem, bufpool.Get(bufpool.Large)[:0])
		last++
	}
	b := sp.mem[last]
	n := copy(b[len(b):cap(b)], p)
	sp.mem[last] = b[:len(b)+n]
	sp.held += int64(n)
	return n
}

// spill moves what is in memory to the file. sp.mu must be held; it is let go of
// while the disk works. What could not be written stays in memory.
func (sp *spool) spill() error {
	blocks := sp.mem
	sp.mem, sp.writing = nil, true
	sp.mu.Unlock()
	fd, n, err := sp.write(blocks)
	sp.mu.Lock()
	sp.fd, sp.writing = fd, false
	if err != nil {
		sp.mem = blocks
	} else {
		sp.end += n
		sp.held -= n
		freeBlocks(blocks)
	}
	sp.change.Broadcast()
	return err
}

// write writes blocks behind the end of the file, which it creates when there is
// none. Only who puts calls it, so the file's end stands still.
func (sp *spool) write(blocks [][]byte) (fd int, n int64, err error) {
	if fd = sp.fd; fd < 0 {
		if fd, sp.name, err = sp.create(&sp.conf.Temp); err != nil {
			sp.report(levelCrit, err.Error())
			return -1, 0, err
		}
		sp.report(levelWarn, "an upstream response is buffered to a temporary file "+sp.name)
	}
	for _, b := range blocks {
		for len(b) > 0 {
			most := len(b)
			if sp.conf.Write > 0 {
				most = min(most, sp.conf.Write)
			}
			k, err := unix.Pwrite(fd, b[:most], sp.end+n)
			switch {
			case err == unix.EINTR:
				continue
			case err != nil:
				err = tempError("pwrite", sp.name, err)
				sp.report(levelCrit, err.Error())
				return fd, 0, err
			}
			b = b[k:]
			n += int64(k)
		}
	}
	return fd, n, nil
}

// A stretch is a part of a file.
type stretch struct {
	fd  int
	off int64
	n   int64
}

// next returns what comes next: a block, which is the caller's to give back, or a
// stretch of the file, of which the caller tells with sent what he has sent; neither
// when there is nothing.
func (sp *spool) next() ([]byte, stretch) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	for sp.off == sp.end && len(sp.mem) == 0 && sp.writing {
		sp.change.Wait()
	}
	switch {
	case sp.off < sp.end:
		return nil, stretch{sp.fd, sp.off, sp.end - sp.off}
	case len(sp.mem) == 0:
		return nil, stretch{}
	}
	b := sp.mem[0]
	sp.mem = append(sp.mem[:0], sp.mem[1:]...)
	sp.held -= int64(len(b))
	sp.change.Broadcast()
	return b, stretch{}
}

// sent tells that n bytes of the file are done with.
func (sp *spool) sent(n int64) {
	sp.mu.Lock()
	sp.off += n
	sp.mu.Unlock()
}

// rest moves what is in memory to the file, and returns all that is left. What has
// no file gets one in memory, which is as large as the memory that is given back.
// Nobody else may use the spool meanwhile.
func (sp *spool) rest() (stretch, error) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	var err error
	if len(sp.mem) > 0 && (sp.fd >= 0 || sp.conf.File > 0 && !sp.noFile) {
		err = sp.spill()
	}
	if len(sp.mem) > 0 && sp.fd < 0 {
		sp.noFile = true
		if sp.fd, err = unix.MemfdCreate("answer", unix.MFD_CLOEXEC); err == nil {
			err = sp.spill()
		}
	}
	return stretch{sp.fd, sp.off, sp.end - sp.off}, err
}

// inMemory is how much there is when all of it is in memory, else -1.
func (sp *spool) inMemory() int64 {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if sp.off < sp.end {
		return -1
	}
	return sp.held
}

// drop lets go of everything. Nobody else may use the spool any more.
func (sp *spool) drop() {
	freeBlocks(sp.mem)
	sp.mem = nil
	if sp.fd >= 0 {
		_ = unix.Close(sp.fd)
		sp.fd = -1
	}
}

func freeBlocks(blocks [][]byte) {
	for i, b := range blocks {
		bufpool.Put(b)
		blocks[i] = nil
	}
}
