package master

import (
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/proc"
)

// doKeep does the actions of a master that another one has taken over from, and that stays
// for whoever started it.
func (m *Master) doKeep(a action) event {
	switch a := a.(type) {
	case keep:
		m.keep(a.pid)
	case findHeir:
		pid, err := proc.YoungestMaster(m.o.Argv, m.pid.path)
		m.report("find the next master", err)
		m.new = nil
		if pid != 0 {
			m.adoptMaster(pid)
		}
		return heirFound{pid}
	case forward:
		m.signal(a.pid, a.sig)
	default:
		return m.doUpgrade(a)
	}
	return nil
}

// keep closes what is the current master's now; the error log stays. The name of this
// process changes last: who sees it finds that the current master knows.
func (m *Master) keep(pid int) {
	if m.new != nil && m.new.conn != nil {
		m.new.conn.Close() // it tells the current master that it is on its own
	}
	m.new = &newMaster{pid: pid}
	for id, c := range m.configs {
		c.forget()
		if id != m.state.config.id {
			m.release(id, false)
		}
	}
	m.stats.Close()
	m.stats, m.shared.strangers, m.tickets = nil, nil, nil
	// A master that upgrades below us and goes leaves its successor to us.
	m.report("adopt processes", proc.AdoptOrphans())
	debug.FreeOSMemory()
	if err := proc.KeeperTitle(); err != nil {
		m.logf(errorlog.Alert, "%v", err)
	}
}

// adoptMaster waits for the end of a child that we did not start.
func (m *Master) adoptMaster(pid int) {
	m.new = &newMaster{pid: pid}
	go func() {
		_ = proc.Await(pid) // reap reports what is wrong
		m.ended <- pid
	}()
}

// forget closes what workers were given of c.
func (c *config) forget() {
	if c.snapshot >= 0 {
		unix.Close(c.snapshot)
		c.snapshot = -1
	}
	releaseZones(c.zones)
	c.Listens, c.Temps, c.zones = nil, nil, nil
}
