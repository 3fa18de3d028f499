// Package nameserver is a small server of the domain name system for tests: it answers
// from a table, by UDP and by TCP on the same port, and remembers what it was asked.
package nameserver

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A Zone is what a server knows, by lower-case names without a dot at their end. Others do
// not exist.
type Zone map[string]Entry

// An Entry is what there is of a name.
type Entry struct {
	A, AAAA []string
	// Alias is a name that this one is another word for; "." is the root.
	Alias string
	TTL   uint32 // seconds; 0 is an hour, [NoTTL] is 0
	// Code is that of errors, for both kinds of question or for one.
	Code, CodeA, CodeAAAA int
	// Stream makes answers by UDP say that there is more by TCP.
	Stream bool
	// Silent makes it say nothing.
	Silent bool
	// Bend changes an answer that is ready to be sent.
	Bend func(answer []byte) []byte
}

// NoTTL is for answers that may not be kept.
const NoTTL = ^uint32(0)

// A Server answers until the test ends.
type Server struct {
	Addr string

	// mu guards what follows. It is a leaf.
	mu    sync.Mutex
	zone  Zone
	asked []string
}

// limit is how long a connection lasts at most.
const limit = time.Minute

// Serve starts a server.
func Serve(t testing.TB, zone Zone) *Server {
	t.Helper()
	udp, tcp, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: udp.LocalAddr().String(), zone: zone}
	var wg sync.WaitGroup
	wg.Go(func() { s.datagrams(udp) })
	wg.Go(func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			go s.stream(c) // ends with its connection, at the limit at the latest
		}
	})
	t.Cleanup(func() {
		_, _ = udp.Close(), tcp.Close()
		wg.Wait()
	})
	return s
}

// listen finds a port that is free for both.
func listen() (udp net.PacketConn, tcp net.Listener, err error) {
	for range 20 {
		if udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			return nil, nil, err
		}
		if tcp, err = net.Listen("tcp", udp.LocalAddr().String()); err == nil {
			return udp, tcp, nil
		}
		_ = udp.Close()
	}
	return nil, nil, err
}

// Set changes what there is of a name.
func (s *Server) Set(name string, e Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone[name] = e
}

// Asked returns all questions so far, "udp app.test A", and forgets them.
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

func (s *Server) datagrams(pc net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			return
		}
		if answer := s.answer(buf[:n], "udp"); answer != nil {
			_, _ = pc.WriteTo(answer, from)
		}
	}
}

func (s *Server) stream(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(limit))
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, query); err != nil {
			return
		}
		if answer := s.answer(query, "tcp"); answer != nil {
			_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
		}
	}
}

// answer returns nil for silence.
func (s *Server) answer(query []byte, over string) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	s.mu.Lock()
	e, ok := s.zone[name]
	s.asked = append(s.asked, fmt.Sprintf("%s %s %s", over, name, strings.TrimPrefix(q.Type.String(), "Type")))
	s.mu.Unlock()
	if e.Silent {
		return nil
	}
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	switch {
	case !ok:
		m.RCode = dnsmessage.RCodeNameError
	case e.Stream && over == "udp":
		m.Truncated = true
	default:
		m.RCode = dnsmessage.RCode(e.code(q.Type))
		m.Answers = e.records(q)
	}
	answer, err := m.Pack()
	if err == nil && e.Bend != nil {
		answer = e.Bend(answer)
	}
	return answer
}

func (e *Entry) code(kind dnsmessage.Type) int {
	switch {
	case kind == dnsmessage.TypeA && e.CodeA != 0:
		return e.CodeA
	case kind == dnsmessage.TypeAAAA && e.CodeAAAA != 0:
		return e.CodeAAAA
	}
	return e.Code
}

func (e *Entry) records(q dnsmessage.Question) (list []dnsmessage.Resource) {
	ttl := e.TTL
	switch ttl {
	case 0:
		ttl = 3600
	case NoTTL:
		ttl = 0
	}
	name := q.Name
	add := func(kind dnsmessage.Type, body dnsmessage.ResourceBody) {
		list = append(list, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: name, Type: kind, Class: q.Class, TTL: ttl}, Body: body,
		})
	}
	if e.Alias != "" {
		to := dnsmessage.MustNewName(strings.TrimSuffix(e.Alias, ".") + ".")
		add(dnsmessage.TypeCNAME, &dnsmessage.CNAMEResource{CNAME: to})
		name = to
	}
	switch q.Type {
	case dnsmessage.TypeA:
		for _, text := range e.A {
			add(q.Type, &dnsmessage.AResource{A: netip.MustParseAddr(text).As4()})
		}
	case dnsmessage.TypeAAAA:
		for _, text := range e.AAAA {
			add(q.Type, &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(text).As16()})
		}
	}
	return list
}
