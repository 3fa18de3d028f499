package ssl

import (
	"container/list"
	"crypto/rand"
	"crypto/tls"
	"strings"
	"sync"

	"github.com/baton-deploy/baton/internal/conf"
)

// A cache keeps sessions for servers that give no tickets: what a client gets in the place
// of a ticket is its session's name. It is one process's, and ends with it.
type cache struct {
	size int64 // as the configuration says, in bytes

	mu    sync.Mutex
	used  int64
	named map[string]*list.Element // of order, by name
	order list.List                // of *keptSession, the oldest first
}

type keptSession struct {
	name, purpose string
	state         []byte
}

// perSession is about what a session takes besides its state, and builtinSession what is
// counted for each of those that "builtin" has room for.
const (
	perSession     = 256
	builtinSession = 1024
	builtinDefault = 20 * 1024
	nameBytes      = 32
)

func newCache(size int64) *cache { return &cache{size: size, named: map[string]*list.Element{}} }

// keep returns a name for a session of a server with this purpose. The oldest sessions make
// room for it.
func (c *cache) keep(purpose string, ss *tls.SessionState) (name []byte, err error) {
	state, err := ss.Bytes()
	if err != nil {
		return nil, err
	}
	name = make([]byte, nameBytes)
	_, _ = rand.Read(name) // never fails
	s := &keptSession{string(name), purpose, state}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.named[s.name] = c.order.PushBack(s)
	c.used += s.size()
	for c.used > c.size && c.order.Len() > 0 {
		old := c.order.Remove(c.order.Front()).(*keptSession)
		delete(c.named, old.name)
		c.used -= old.size()
	}
	return name, nil
}

func (s *keptSession) size() int64 { return int64(len(s.state)) + perSession }

// find returns the session of this name, nil for none.
func (c *cache) find(purpose string, name []byte) (*tls.SessionState, error) {
	c.mu.Lock()
	e := c.named[string(name)]
	c.mu.Unlock()
	if e == nil {
		return nil, nil
	}
	s := e.Value.(*keptSession) // is never changed
	if s.purpose != purpose {
		return nil, nil
	}
	return tls.ParseSessionState(s.state)
}

// cacheOf is the cache that ssl_session_cache names, nil for none. Servers that name the
// same one share it, and must agree on its size. It was checked by [checkSessionCache].
func (in *instance) cacheOf(s *conf.Scope) (*cache, error) {
	d := s.One("ssl_session_cache")
	if d == nil {
		return nil, nil
	}
	var shared, builtin *cache
	for _, arg := range d.Args {
		kind, rest, _ := strings.Cut(arg, ":")
		switch kind {
		case "builtin":
			n := int64(builtinDefault)
			if rest != "" {
				n, _ = conf.ParseNumber(rest) // was checked
			}
			builtin = newCache(n * builtinSession)
		case "shared":
			name, text, _ := strings.Cut(rest, ":")
			size, err := conf.ParseSize(text)
			if err != nil {
				return nil, conf.Errorf(d, "invalid session cache \"%s\"", arg)
			}
			if in.caches[name] == nil {
				in.caches[name] = newCache(size)
			}
			if shared = in.caches[name]; shared.size != size {
				return nil, conf.Errorf(d, "the size %d of shared memory zone \"%s\" conflicts with already declared size %d", size, name, shared.size)
			}
		}
	}
	if shared != nil {
		return shared, nil
	}
	return builtin, nil
}
