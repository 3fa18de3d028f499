package ssl

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// sessions makes the configurations of a server's handshakes, and lets clients resume
// what they had before.
type sessions struct {
	sv      *server
	timeout time.Duration
	// files are what the keys are made of; nil: they come with the handshake.
	files [][]byte
	// kept has the sessions of clients, which get no tickets; nil: they get tickets.
	kept *cache

	mu       sync.Mutex
	variants []*variant // those that were made; they are never changed but for their tickets
}

// A variant is the configuration of a server's handshakes at an address, which may offer
// other protocols than another one, and other certificates where the server has none.
type variant struct {
	protocols []string
	certs     *certificates
	config    *tls.Config
	// purpose names what a ticket is good for: a server with the same certificates and
	// the same rules for clients, in whatever process.
	purpose string
	hour    int64 // whose keys it has; guarded by sessions.mu
}

func (in *instance) newSessions(s *conf.Scope, sv *server, kept *cache) (*sessions, error) {
	se := &sessions{sv: sv}
	var err error
	if se.timeout, err = s.Seconds("ssl_session_timeout", 5*time.Minute); err != nil {
		return nil, err
	}
	on, err := s.Flag("ssl_session_tickets", true)
	if err != nil {
		return nil, err
	}
	if !on {
		se.kept = kept
	}
	// For crypto/tls a name of a session is a ticket, too.
	sv.settings.SessionTicketsDisabled = !on && kept == nil
	// As nginx, which looks at these files when it has read the whole block.
	end := &conf.Directive{File: in.b.HTTP.Self.File, Line: in.b.HTTP.Self.EndLine}
	for _, d := range s.All("ssl_session_ticket_key") {
		f := in.read(d.Arg(0))
		if f.Err != nil {
			return nil, conf.Errorf(end, "%s", f.Err)
		}
		if n := len(f.Data); n != 48 && n != 80 {
			return nil, conf.Errorf(end, "\"%s\" must be 48 or 80 bytes", f.Name)
		}
		se.files = append(se.files, f.Data)
	}
	return se, nil
}

// purpose is the same for servers that may resume each other's sessions.
func (sv *server) purpose(certs *certificates) string {
	h := sha256.New()
	for _, s := range certs.fixed {
		h.Write(s.cert.Leaf.Raw)
	}
	for _, p := range certs.open {
		h.Write([]byte(p.text))
	}
	if sv.clients != nil {
		sv.clients.describe(h)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// config returns the configuration of one handshake, in which certs are shown.
func (se *sessions) config(h *httpd.Handshake, certs *certificates) (*tls.Config, error) {
	v := se.variant(h, certs)
	for _, c := range certs.fixed {
		if c.from != nil {
			c.from.refresh(h)
		}
	}
	if len(certs.open) == 0 {
		return v.config, nil
	}
	read, err := certs.read(h)
	if err != nil {
		return nil, err
	}
	c := v.config.Clone()
	c.GetCertificate = se.sv.chooser(read)
	return c, nil
}

// chooser is the way in which crypto/tls asks for one of certs.
func (sv *server) chooser(certs *certificates) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return sv.choose(certs, hello) }
}

// variant returns that for the address, with the keys of the hour.
func (se *sessions) variant(h *httpd.Handshake, certs *certificates) *variant {
	now := time.Now()
	hour := h.Tickets.Hour(now)
	se.mu.Lock()
	defer se.mu.Unlock()
	i := slices.IndexFunc(se.variants, func(v *variant) bool {
		return v.certs == certs && slices.Equal(v.protocols, h.Protocols)
	})
	if i < 0 {
		i = len(se.variants)
		se.variants = append(se.variants, se.newVariant(h.Protocols, certs))
	}
	v := se.variants[i]
	if v.hour != hour && se.files == nil {
		v.config.SetSessionTicketKeys(h.Tickets.Keys(now, v.purpose))
		v.hour = hour
	}
	return v
}

func (se *sessions) newVariant(protocols []string, certs *certificates) *variant {
	purpose := se.sv.purpose(certs)
	c := se.sv.settings.Clone()
	c.NextProtos = slices.Concat(protocols, []string{"http/1.1", "http/1.0", "http/0.9"})
	c.GetCertificate = se.sv.chooser(certs)
	c.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
		ss.Extra = append(ss.Extra, stamp(time.Now()))
		if se.kept != nil {
			return se.kept.keep(purpose, ss)
		}
		return c.EncryptTicket(cs, ss)
	}
	read := c.DecryptTicket
	if se.kept != nil {
		read = func(name []byte, _ tls.ConnectionState) (*tls.SessionState, error) {
			return se.kept.find(purpose, name)
		}
	}
	c.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		ss, err := read(ticket, cs)
		if err != nil || ss == nil || !se.lives(ss, time.Now()) {
			return nil, err
		}
		return ss, nil
	}
	if se.files != nil {
		keys := make([][32]byte, len(se.files))
		for i, data := range se.files {
			keys[i] = sha256.Sum256(append(bytes.Clone(data), purpose...))
		}
		c.SetSessionTicketKeys(keys)
	}
	return &variant{protocols: slices.Clone(protocols), certs: certs, config: c, purpose: purpose, hour: -1}
}

// What we add to a session: when it was made.
const stampHead = "baton\x01"

func stamp(now time.Time) []byte {
	return binary.BigEndian.AppendUint64([]byte(stampHead), uint64(now.Unix()))
}

// lives reports whether a session is younger than ssl_session_timeout. What we added to
// it before goes: it gets a new stamp with its next ticket.
func (se *sessions) lives(ss *tls.SessionState, now time.Time) bool {
	lives := false
	ss.Extra = slices.DeleteFunc(ss.Extra, func(b []byte) bool {
		rest, ours := bytes.CutPrefix(b, []byte(stampHead))
		if ours && len(rest) == 8 {
			made := time.Unix(int64(binary.BigEndian.Uint64(rest)), 0)
			lives = now.Sub(made) < se.timeout
		}
		return ours
	})
	return lives
}
