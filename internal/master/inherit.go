package master

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/proc"
	"github.com/baton-deploy/baton/internal/shm"
	"github.com/baton-deploy/baton/internal/ticketkeys"
)

const (
	// askPatience is how long an old master may take to answer a new one that asks for
	// what it inherits. Without an answer it serves all the same.
	askPatience = 10 * time.Second
	// masterFiles is more descriptors than a message between two masters brings, but for
	// what the new one inherits.
	masterFiles = 16
	// maxTickets is more bytes than any release needs for the secret of tickets.
	maxTickets = 4 << 10
)

// bequeath answers a new master of ours that asked: the memory in which all workers
// count, the secret of session tickets, and the zones if it knows of any.
func (m *Master) bequeath(protocol int) error {
	conn := m.ear()
	if conn == nil || m.stats == nil {
		return nil // it has taken over already
	}
	files := []control.File{{Name: control.FileStats, FD: m.stats.FD()}}
	if tickets, err := m.sealTickets(); err == nil { // else clients begin new sessions
		defer unix.Close(tickets)
		files = append(files, control.File{Name: control.FileTickets, FD: tickets})
	}
	body := control.Inherit{StatsVersion: shm.TableVersion, StatsFirst: m.stats.Other()}
	if c := m.configs[m.state.config.id]; c != nil && protocol >= control.ProtocolZones {
		zones := fitting(c.zones)
		for _, z := range zones {
			body.Zones = append(body.Zones, z.Zone)
		}
		files = append(files, zoneFiles(zones)...)
	}
	if err := conn.Post(control.KindInherit, body, files...); err != nil && !hasGone(err) {
		return err
	}
	return nil
}

// askParent asks the old master for what it gives a new one of ours, and waits for it. It
// returns the version of the protocol that both speak, 0 when that is not known. An old
// master of a release that does not wait to be asked has passed it already.
func (m *Master) askParent() (protocol int) {
	if m.o.Old == nil || m.o.Stats != "" || m.o.Tickets != nil {
		return 0
	}
	m.o.Old.MaxFiles(masterFiles + maxPassedZones)
	if err := m.o.Old.SetReadTimeout(askPatience); err != nil {
		return 0
	}
	defer func() { _ = m.o.Old.SetReadTimeout(0) }() // fails when it is closed, which hearParent sees
	for {
		msg, err := m.o.Old.Receive()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				m.logf(errorlog.Notice, "old binary process %d does not tell what is inherited", m.o.Parent)
			}
			return protocol // the end of the old master is told again
		}
		switch msg.Kind {
		case control.KindHello:
			if protocol = m.agree(msg); protocol < control.ProtocolInherit {
				msg.Close()
				return protocol
			}
			_ = m.o.Old.Post(control.KindInherit, nil) // when it is gone, Receive tells
		case control.KindInherit:
			m.inherit(msg)
			return protocol
		}
		msg.Close() // no link is of use yet
	}
}

// inherit takes what the old master answered, and closes what it does not know.
func (m *Master) inherit(msg control.Message) {
	defer msg.Close()
	var in control.Inherit
	if msg.Into(&in) != nil {
		return
	}
	for i, f := range msg.Files {
		switch msg.Names[i] {
		case control.FileTickets:
			m.o.Tickets = ReadTickets(f)
		case control.FileStats:
			fd, err := proc.FD(f)
			if err == nil {
				fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
			}
			if err == nil {
				m.o.Stats = formatStats(in.StatsVersion, fd, in.StatsFirst)
			}
		default:
			m.shared.inherit(in.Zones, msg.Names[i], f)
		}
	}
}

// ReadTickets reads what an old master passed; nil when that is not what it should be,
// which costs clients no more than a new session. f stays the caller's.
func ReadTickets(f *os.File) *ticketkeys.Ring {
	data, err := proc.ReadSealed(f, maxTickets)
	if err != nil {
		return nil
	}
	ring, err := ticketkeys.Decode(data)
	if err != nil {
		return nil
	}
	return ring
}

// reopenOther has another master open its log files again.
func (m *Master) reopenOther(a reopenOther) {
	pid, conn := m.o.Parent, m.o.Old
	if a.pid != 0 {
		pid, conn = a.pid, m.ear()
	}
	var err error
	switch {
	case !a.signal && conn != nil:
		if err = conn.Post(control.KindReopen, nil); err != nil && hasGone(err) {
			err = nil
		}
	case a.signal && (a.pid != 0 || os.Getppid() == pid): // else it has gone, and the number may be another's
		m.signal(pid, syscall.SIGUSR1)
	}
	m.report(fmt.Sprintf("have process %d open log files again", pid), err)
}
