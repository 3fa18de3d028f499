// Package access is nginx's ngx_http_access_module: allow and deny, by the client's
// address. Nothing can be satisfied in place of it, as there is no other module that
// asks for something.
package access

import (
	"log/slog"
	"net/netip"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// Module describes the module.
func Module() httpd.Module {
	rule := func(name string) conf.Spec {
		return conf.Spec{Name: name, In: conf.HTTPServerLocation | conf.LimitExcept, Min: 1, Max: 1, Repeat: true, Check: check}
	}
	return httpd.Module{
		Name:       "ngx_http_access_module",
		Directives: []conf.Spec{rule("allow"), rule("deny")},
		New:        func(b *httpd.Builder) (httpd.Instance, error) { return instance{b, map[*conf.Directive]*rules{}}, nil },
	}
}

// An instance compiles the rules of each block once, however many locations inherit them.
type instance struct {
	b    *httpd.Builder
	read map[*conf.Directive]*rules // by the directive that opened the block
}

// A rule is one allow or deny.
type rule struct {
	deny    bool
	all     bool         // every client
	unix    bool         // those that came over a unix socket
	network netip.Prefix // else
}

// rules are those of one location, the first that fits counts.
type rules struct {
	list []rule
	ipv4 bool // one of them is about addresses of IPv4, if only because it is about all
}

// Location takes the rules of the nearest block that has any.
func (in instance) Location(s *conf.Scope) (httpd.Part, error) {
	for ; s != nil; s = s.Up {
		rs, err := in.rules(s)
		if err != nil {
			return httpd.Part{}, err
		}
		if rs != nil {
			return httpd.Part{Access: rs.judge}, nil
		}
	}
	return httpd.Part{}, nil
}

// rules reads those that stand in the block of s itself; nil when there are none.
func (in instance) rules(s *conf.Scope) (*rules, error) {
	if s.Own("allow") == nil && s.Own("deny") == nil {
		return nil, nil
	}
	if rs := in.read[s.Self]; rs != nil {
		return rs, nil
	}
	rs := new(rules)
	for _, d := range s.Block {
		if d.Name != "allow" && d.Name != "deny" {
			continue
		}
		r, low, err := parse(d)
		if err != nil {
			return nil, err
		}
		if low {
			in.b.Warn(d, "low address bits of "+d.Arg(0)+" are meaningless")
		}
		rs.list = append(rs.list, r)
		rs.ipv4 = rs.ipv4 || r.all || r.network.Addr().Is4()
	}
	in.read[s.Self] = rs
	return rs, nil
}

func check(d *conf.Directive) error {
	_, _, err := parse(d)
	return err
}

// parse reads a rule. low says that the address has bits that the mask leaves out.
func parse(d *conf.Directive) (r rule, low bool, err error) {
	text := d.Arg(0)
	r.deny = d.Name == "deny"
	switch text {
	case "all":
		r.all = true
		return r, false, nil
	case "unix:":
		r.unix = true
		return r, false, nil
	}
	invalid := conf.Errorf(d, "invalid parameter \"%s\"", text)
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return r, false, invalid
		}
		r.network = netip.PrefixFrom(a, a.BitLen())
		return r, false, nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return r, false, invalid
	}
	r.network = p.Masked()
	return r, r.network != p, nil
}

// judge lets the client pass or answers 403. As for nginx an address of IPv4 that is
// written as one of IPv6 is one of IPv6 where there are no rules for IPv4.
func (rs *rules) judge(r *httpd.Request) int {
	a, ok := r.RemoteIP()
	if rs.ipv4 {
		a = a.Unmap()
	}
	for i := range rs.list {
		if !rs.list[i].fits(a, ok) {
			continue
		}
		if !rs.list[i].deny {
			break
		}
		r.Log(slog.LevelError, "access forbidden by rule", nil)
		return 403
	}
	return httpd.Declined
}

// fits reports whether the rule is about client a; ip is false for a unix socket.
func (r *rule) fits(a netip.Addr, ip bool) bool {
	return r.all || !ip && r.unix || ip && r.network.Contains(a)
}
