package master

import (
	"fmt"
	"os"

	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/handoff"
	"github.com/baton-deploy/baton/internal/proc"
)

// link makes a hand-over link for a worker that retires, sends one end to whoever
// inherits its connections, and returns the other, or nil: then the worker drains.
func (m *Master) link(a retire) *os.File {
	if !a.heirs.take() {
		return nil
	}
	giver, taker, err := handoff.Pair()
	if err == nil {
		defer taker.Close()
		if err = m.sendTaker(a, taker); err == nil {
			return giver
		}
		giver.Close()
	}
	m.report(fmt.Sprintf("link worker process %d to its successor", a.pid), err)
	return nil
}

func (m *Master) sendTaker(a retire, taker *os.File) error {
	files := linkEnd(control.FileTake, taker)
	switch {
	case a.heirs == toOwnWorkers && m.children[a.taker] != nil:
		return m.children[a.taker].tell(control.KindTake, nil, files...)
	case a.heirs == toNewMaster && m.new != nil:
		return m.new.conn.Post(control.KindTake, nil, files...)
	case a.heirs == toOldMaster && m.o.Old != nil:
		return m.o.Old.Post(control.KindTake, nil, files...)
	}
	return fmt.Errorf("%s: nobody is there", a.heirs)
}

// linkEnd names one end of a link for a message.
func linkEnd(name string, f *os.File) []control.File {
	fd, err := proc.FD(f)
	if err != nil {
		return nil // it is open: nobody else has it
	}
	return []control.File{{Name: name, FD: fd}}
}

// agree returns the version of the protocol that we and the sender of a hello use, or
// 0 when there is none.
func (m *Master) agree(msg control.Message) int {
	var theirs control.Hello
	if msg.Into(&theirs) != nil {
		return 0
	}
	return control.Agree(m.hello(), theirs)
}

// takeLink picks the link out of another master's message. It is called on the
// goroutine that listens to that master. Without a version of the protocol that both
// speak the message may mean anything: the link is closed and the giver drains.
func (m *Master) takeLink(msg control.Message, protocol int) {
	for i, f := range msg.Files {
		if protocol > 0 && msg.Names[i] == control.FileTake {
			m.sent <- f
		} else {
			f.Close()
		}
	}
}

// passLink gives a link that came to a worker, or closes it.
func (m *Master) passLink(a passLink) {
	f := m.links[a.link]
	delete(m.links, a.link)
	defer f.Close()
	ch := m.children[a.pid]
	if ch == nil {
		return // the giver drains
	}
	if err := ch.tell(control.KindTake, nil, linkEnd(control.FileTake, f)...); err != nil {
		m.report(fmt.Sprintf("pass a hand-over link to worker process %d", a.pid), err)
	}
}
