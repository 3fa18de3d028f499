package gzip

import (
	"bytes"
	"strings"
	"time"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// A rule says which requests may be answered with compressed content.
type rule struct {
	vary    bool
	http10  bool
	proxied uint // of the proxied constants
	msie6   bool // old browsers get nothing compressed
	disable []*httpd.Pattern
}

// What gzip_proxied allows for a request that came through a proxy.
const (
	proxiedOff uint = 1 << iota
	proxiedExpired
	proxiedNoCache
	proxiedNoStore
	proxiedPrivate
	proxiedNoLastModified
	proxiedNoETag
	proxiedAuth
	proxiedAny
)

var proxiedWords = []struct {
	word string
	bit  uint
}{
	{"off", proxiedOff}, {"expired", proxiedExpired}, {"no-cache", proxiedNoCache}, {"no-store", proxiedNoStore},
	{"private", proxiedPrivate}, {"no_last_modified", proxiedNoLastModified}, {"no_etag", proxiedNoETag},
	{"auth", proxiedAuth}, {"any", proxiedAny},
}

func newRule(b *httpd.Builder, s *conf.Scope) (*rule, error) {
	r := new(rule)
	var err error
	if r.vary, err = s.Flag("gzip_vary", false); err != nil {
		return nil, err
	}
	version, err := s.Enum("gzip_http_version", "1.1", "1.0", "1.1")
	if err != nil {
		return nil, err
	}
	r.http10 = version == "1.0"
	if r.proxied, err = proxied(s.All("gzip_proxied"), func(*conf.Directive, string) {}); err != nil {
		return nil, err
	}
	for _, d := range s.All("gzip_disable") {
		for _, a := range d.Args {
			if a == "msie6" {
				r.msie6 = true
				continue
			}
			p, err := b.Pattern(d, a, true)
			if err != nil {
				return nil, err
			}
			r.disable = append(r.disable, p)
		}
	}
	return r, nil
}

// proxied reads gzip_proxied; warn is told of words that stand there twice.
func proxied(ds []*conf.Directive, warn func(d *conf.Directive, msg string)) (bits uint, err error) {
	if len(ds) == 0 {
		return proxiedOff, nil
	}
	for _, d := range ds {
		for _, a := range d.Args {
			bit := proxiedBit(a)
			if bit == 0 {
				return 0, conf.Errorf(d, "invalid value \"%s\"", a)
			}
			if bits&bit != 0 {
				warn(d, "duplicate value \""+a+"\"")
			}
			bits |= bit
		}
	}
	return bits, nil
}

func proxiedBit(word string) uint {
	for _, w := range proxiedWords {
		if strings.EqualFold(word, w.word) {
			return w.bit
		}
	}
	return 0
}

// allows reports whether the client takes gzip and the rule has nothing against it, by
// the rule that is asked first.
func (c *rule) allows(r *httpd.Request) bool {
	if !r.GzipTested {
		r.GzipTested, r.GzipOK = true, c.test(r)
	}
	return r.GzipOK
}

func (c *rule) test(r *httpd.Request) bool {
	if !acceptsGzip(r.Field("Accept-Encoding")) {
		return false
	}
	if !c.http10 && !r.Head.IsHTTP11() {
		return false
	}
	if r.Field("Via") != nil && !c.allowsProxied(r) {
		return false
	}
	if agent := r.Field("User-Agent"); agent != nil {
		if c.msie6 && isMSIE6(agent) {
			return false
		}
		for _, p := range c.disable {
			if _, ok, err := p.Match(agent, nil); ok || err != nil {
				return false
			}
		}
	}
	return true
}

// allowsProxied decides about a request that came through a proxy, which might
// keep the answer for clients that do not take gzip.
func (c *rule) allowsProxied(r *httpd.Request) bool {
	o := &r.Out
	switch {
	case c.proxied&proxiedOff != 0:
		return false
	case c.proxied&proxiedAny != 0, c.proxied&proxiedAuth != 0 && r.Field("Authorization") != nil:
		return true
	}
	if expires := o.Get("Expires"); expires != nil {
		return c.proxied&proxiedExpired != 0 && isPast(expires, lastDate(o), r.Start())
	}
	if o.Get("Cache-Control") != nil {
		return c.proxied&proxiedNoCache != 0 && controls(o, "no-cache") ||
			c.proxied&proxiedNoStore != 0 && controls(o, "no-store") ||
			c.proxied&proxiedPrivate != 0 && controls(o, "private")
	}
	// As in nginx the time of a file of our own does not count.
	modified := o.Get("Last-Modified") != nil
	tagged := o.ETag != nil || o.Get("ETag") != nil
	return !(c.proxied&proxiedNoLastModified != 0 && modified) && !(c.proxied&proxiedNoETag != 0 && tagged)
}

// isPast reports whether a time has come, by date unless that is nil.
func isPast(at, date []byte, now time.Time) bool {
	t, ok := httpd.ParseDate(at)
	if !ok {
		return false
	}
	today := now.Unix()
	if date != nil {
		if today, ok = httpd.ParseDate(date); !ok {
			return false
		}
	}
	return t < today
}

// lastDate is the response's Date if it has one of its own: another server's.
func lastDate(o *httpd.Response) (date []byte) {
	for i := range o.Fields {
		if strings.EqualFold(o.Fields[i].Name, "Date") {
			date = o.Fields[i].Value
		}
	}
	return date
}

// controls reports whether word is one of a response's Cache-Control.
func controls(o *httpd.Response, word string) bool {
	for i := range o.Fields {
		if !strings.EqualFold(o.Fields[i].Name, "Cache-Control") {
			continue
		}
		for v := o.Fields[i].Value; len(v) > 0; {
			part, rest := v, []byte(nil)
			end := byte(',')
			if i := bytes.IndexAny(v, ",;"); i >= 0 {
				part, end, rest = v[:i], v[i], bytes.TrimLeft(v[i+1:], " ")
			}
			if end == ',' && strings.EqualFold(string(bytes.TrimRight(part, " ")), word) {
				return true
			}
			v = rest
		}
	}
	return false
}

// isMSIE6 reports whether a browser is one of those that have trouble with what is
// compressed: Internet Explorer 4 to 6, but for a mended 6.
func isMSIE6(agent []byte) bool {
	i := bytes.Index(agent, []byte("MSIE "))
	if i < 0 || i+7 >= len(agent) || agent[i+6] != '.' || bytes.Contains(agent, []byte("Opera")) {
		return false
	}
	switch agent[i+5] {
	case '4', '5':
		return true
	case '6':
		return !bytes.Contains(agent[i+8:], []byte("SV1"))
	}
	return false
}

// acceptsGzip reports whether an Accept-Encoding names gzip with a quality that is
// not zero.
func acceptsGzip(v []byte) bool {
	if bytes.HasPrefix(v, []byte("gzip,")) {
		return true
	}
	for {
		i := indexFold(v, "gzip")
		if i < 0 {
			return false
		}
		// Also right behind another one, which is no word that anybody sends.
		begins := i == 0 || v[i-1] == ',' || v[i-1] == ' '
		if v = v[i+len("gzip"):]; begins {
			return quality(v)
		}
	}
}

func indexFold(b []byte, word string) int {
	for i := 0; i+len(word) <= len(b); i++ {
		if strings.EqualFold(string(b[i:i+len(word)]), word) {
			return i
		}
	}
	return -1
}

// quality reads what follows "gzip": nothing, or ";q=" and a number above zero with
// at most three decimals. The semicolon may be all there is.
func quality(v []byte) bool {
	v = bytes.TrimLeft(v, " ")
	if len(v) == 0 || v[0] == ',' {
		return true
	}
	if v[0] != ';' {
		return false
	}
	if v = bytes.TrimLeft(v[1:], " "); len(v) == 0 {
		return true
	}
	if len(v) < 3 || v[0]|0x20 != 'q' || v[1] != '=' {
		return false
	}
	v = v[2:]
	if end := bytes.IndexAny(v, ", "); end >= 0 {
		v = v[:end]
	}
	return positive(v)
}

// positive reports whether v is a quality from 0.001 to 1.
func positive(v []byte) bool {
	if len(v) == 0 || len(v) > 5 || v[0] != '0' && v[0] != '1' {
		return false
	}
	more := false
	for i, c := range v[1:] {
		switch {
		case i == 0 && c != '.', i > 0 && (c < '0' || c > '9'):
			return false
		case i > 0 && c != '0':
			more = true
		}
	}
	if v[0] == '1' {
		return !more
	}
	return more
}
