package upstream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// streamTimeout bounds a connection to a server, which may well be asked by another one
	// meanwhile.
	streamTimeout = 30 * time.Second
	// maxDatagram bounds a message in a datagram, as in nginx.
	maxDatagram = 4096
)

// A question is one of the two that are asked about a name.
type question struct {
	kind    uint16
	id      uint16
	query   []byte
	stream  bool // the answer does not fit into a datagram
	settled bool
	answer  dnsAnswer
}

// A finding is what is known about a name. Without addresses and without an alias there
// are none, for the reason in code.
type finding struct {
	ip4, ip6 []netip.Addr
	alias    string
	aliased  bool
	code     int
	until    time.Time // it may be used
}

// A lookup asks name servers about one name, for all who want to know it at that time. It
// ends when there is an answer, or when nobody waits any more. What it learns is in the
// fields before done is closed.
type lookup struct {
	name      string
	servers   []string // the one to begin with first
	questions []*question

	done  chan struct{}
	found finding

	cancel  context.CancelFunc
	waiting int // guarded by the Resolver's lock

	faults chan string // what is wrong with answers, for the log of who began it
}

// maxFaults is how many faults one look-up tells; others are not written down.
const maxFaults = 16

// newLookup returns nil when name is no name.
func newLookup(name string, servers []string, ipv4, ipv6 bool) *lookup {
	l := &lookup{name: name, servers: servers, done: make(chan struct{}), faults: make(chan string, maxFaults)}
	for _, q := range []struct {
		kind uint16
		on   bool
	}{{typeA, ipv4}, {typeAAAA, ipv6}} {
		if !q.on {
			continue
		}
		id := uint16(rand.Uint32())
		query, ok := appendQuery(nil, id, q.kind, name)
		if !ok {
			return nil
		}
		l.questions = append(l.questions, &question{kind: q.kind, id: id, query: query})
	}
	return l
}

// A message is one that a server sent.
type message struct {
	server string
	b      []byte
	tcp    bool
}

// run asks the servers, another one after each resend, until all questions are answered,
// when it calls finish, or ctx is done. It returns when everything that it started has
// ended. valid is as for names.
func (l *lookup) run(ctx context.Context, resend, valid time.Duration, finish func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	ask := asker{ctx: ctx, wg: &wg, messages: make(chan message), sockets: map[string]net.Conn{}}
	turn := 0
	if !l.ask(&ask, l.servers[0]) {
		turn++ // at once, and only once
		l.ask(&ask, l.servers[turn%len(l.servers)])
	}
	again := time.NewTicker(resend)
	defer again.Stop()
	for !l.settle(valid) {
		select {
		case m := <-ask.messages:
			l.take(&ask, m)
		case <-again.C:
			turn++
			l.ask(&ask, l.servers[turn%len(l.servers)])
		case <-ctx.Done():
			return
		}
	}
	finish()
}

// ask sends a server the questions that are not answered yet, and reports whether it
// could.
func (l *lookup) ask(a *asker, server string) bool {
	for _, q := range l.questions {
		switch {
		case q.settled:
		case q.stream:
			a.stream(server, q.query)
		default:
			if err := a.datagram(server, q.query); err != nil {
				l.fault(err.Error())
				return false
			}
		}
	}
	return true
}

// fault notes what is wrong.
func (l *lookup) fault(text string) {
	select {
	case l.faults <- text:
	default:
	}
}

// take looks at a message. One that is no answer to a question of ours changes nothing.
func (l *lookup) take(a *asker, m message) {
	answer, err := parseAnswer(m.b, m.tcp)
	if err != nil {
		text := err.Error()
		if answer.code == codeFormat && l.byID(answer.id) {
			text += fmt.Sprintf(", name:\"%s\"", l.name)
		}
		l.fault(text)
		return
	}
	q := l.asked(answer.name, answer.kind)
	switch {
	case q == nil || q.settled:
		l.fault("unexpected DNS response for " + answer.name)
	case q.id != answer.id:
		l.fault(fmt.Sprintf("wrong ident %d in DNS response for %s, expect %d", answer.id, answer.name, q.id))
	case answer.truncated && !q.stream:
		q.stream = true
		a.stream(m.server, q.query)
	case answer.truncated: // asked for by TCP already
	default:
		q.answer, q.settled = answer, true
	}
}

func (l *lookup) byID(id uint16) bool {
	for _, q := range l.questions {
		if q.id == id {
			return true
		}
	}
	return false
}

func (l *lookup) asked(name string, kind uint16) *question {
	for _, q := range l.questions {
		if name == l.name && q.kind == kind {
			return q
		}
	}
	return nil
}

// settle makes the finding, once all questions are answered, and reports whether it did.
// An error for one question is an error for the name. An alias counts only where there is
// no address, and where the last answer has it: servers have it in all of them.
func (l *lookup) settle(valid time.Duration) bool {
	f := finding{}
	ttl := ^uint32(0)
	for _, q := range l.questions {
		if !q.settled {
			return false
		}
		a := &q.answer
		if a.code != 0 {
			f.code = a.code
		}
		if q.kind == typeA {
			f.ip4 = a.ips
		} else {
			f.ip6 = a.ips
		}
		f.alias, f.aliased = a.alias, a.aliased
		if !a.empty && a.code == 0 {
			ttl = min(ttl, a.ttl)
		}
	}
	switch addresses := len(f.ip4)+len(f.ip6) > 0; {
	case f.code != 0:
		f = finding{code: f.code}
	case addresses:
		f.alias, f.aliased = "", false
	case !f.aliased:
		f.code = codeNotFound
	}
	if f.code == 0 {
		if valid == 0 {
			valid = time.Duration(ttl) * time.Second
		}
		f.until = time.Now().Add(valid)
	}
	l.found = f
	return true
}

// An asker sends queries and receives messages. Its goroutines end with ctx.
type asker struct {
	ctx      context.Context
	wg       *sync.WaitGroup
	messages chan message
	sockets  map[string]net.Conn // for datagrams, by server
}

// datagram sends a query. Each look-up has a socket of its own for a server, whose port is
// as hard to guess as the number of the query.
func (a *asker) datagram(server string, query []byte) error {
	c := a.sockets[server]
	if c == nil {
		var err error
		if c, err = new(net.Dialer).DialContext(a.ctx, "udp", server); err != nil {
			return fmt.Errorf("ask name server %s: %w", server, err)
		}
		a.sockets[server] = c
		stop := context.AfterFunc(a.ctx, func() { _ = c.Close() })
		a.wg.Go(func() {
			defer stop()
			a.receive(server, c)
		})
	}
	if _, err := c.Write(query); err != nil {
		return fmt.Errorf("send to name server %s: %w", server, err)
	}
	return nil
}

// receive reads datagrams until the socket is closed.
func (a *asker) receive(server string, c net.Conn) {
	defer func() { _ = c.Close() }()
	buf := make([]byte, maxDatagram)
	for {
		n, err := c.Read(buf)
		switch {
		case err == nil:
			a.deliver(message{server, append([]byte(nil), buf[:n]...), false})
		case !errors.Is(err, unix.ECONNREFUSED):
			return
		}
		// That nobody listens there was the answer to one query; the next one may do better.
	}
}

func (a *asker) deliver(m message) {
	select {
	case a.messages <- m:
	case <-a.ctx.Done():
	}
}

// stream asks by TCP, on a connection of its own.
func (a *asker) stream(server string, query []byte) {
	a.wg.Go(func() {
		b, err := askStream(a.ctx, server, query)
		if err == nil {
			a.deliver(message{server, b, true})
		}
	})
}

// askStream sends one query by TCP and reads one message.
func askStream(ctx context.Context, server string, query []byte) ([]byte, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", server)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(streamTimeout)); err != nil {
		return nil, err
	}
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err = io.ReadFull(c, b)
	return b, err
}
