// Package ssl is TLS towards clients, by crypto/tls, as nginx's ngx_http_ssl_module
// configures it.
//
// Certificates and keys are read with the configuration, by the master, and are part
// of its snapshot, so a worker needs no right to read them. Only those whose names
// have variables are read by the worker, for each handshake, as in nginx. The keys of
// session tickets come from the secret that all processes share (package ticketkeys).
package ssl

import (
	"context"
	"crypto/tls"
	"slices"
	"sync"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/tlsconf"
)

// Module describes the module.
func Module() httpd.Module {
	return httpd.Module{
		Name:       "ngx_http_ssl_module",
		Option:     "with-http_ssl_module",
		Directives: directives(),
		Variables:  variables(),
		New: func(b *httpd.Builder) (httpd.Instance, error) {
			in := &instance{b: b, caches: map[string]*cache{}, secured: map[string]bool{}, told: map[*conf.Directive]bool{}}
			in.ctx, in.cancel = context.WithCancel(context.Background())
			return in, in.findSecured()
		},
	}
}

// An instance is the module's part in one configuration.
type instance struct {
	b *httpd.Builder
	// asking are the questions to responders that are under way; ctx ends them.
	asking sync.WaitGroup
	ctx    context.Context
	cancel context.CancelFunc
	// caches are those that ssl_session_cache names.
	caches map[string]*cache
	// secured are the keys of the addresses where connections begin with TLS.
	secured map[string]bool
	told    map[*conf.Directive]bool // what was warned of
}

// Location builds what a server has; there is nothing for a location.
func (in *instance) Location(s *conf.Scope) (httpd.Part, error) {
	if s.Context != conf.Server {
		return httpd.Part{}, nil
	}
	kept, err := in.cacheOf(s)
	if err != nil {
		return httpd.Part{}, err
	}
	sv, err := in.newServer(s, kept)
	if err != nil || sv == nil {
		return httpd.Part{}, err
	}
	in.b.Secure(sv)
	return httpd.Part{}, nil
}

// findSecured looks for the addresses where connections begin with TLS: one server
// says so for all that listen there.
func (in *instance) findSecured() error {
	for _, d := range in.b.HTTP.Own("server") {
		listens, err := in.b.Config.ServerListens(d)
		if err != nil {
			return err
		}
		for _, l := range listens {
			if l.SSL {
				in.secured[l.Key()] = true
			}
		}
	}
	return nil
}

// isSecured reports whether the server can be reached by TLS.
func (in *instance) isSecured(s *conf.Scope) (bool, error) {
	listens, err := in.b.Config.ServerListens(s.Self)
	return slices.ContainsFunc(listens, func(l conf.Listen) bool { return in.secured[l.Key()] }), err
}

// A server is what one server block has for TLS. One without certificates is reached
// with those of the address's default server, and all else counts as if it had its own.
type server struct {
	rejects    bool
	recordSize int
	settings   *tls.Config   // what is the same for every handshake
	certs      *certificates // nil for none
	// ownOrder is ssl_prefer_server_ciphers: of several certificates the rank counts,
	// not what the client would rather have.
	ownOrder bool
	sessions *sessions
	clients  *clients // nil: nobody asks for certificates
}

// newServer returns nil for a server that has no certificates and is not reached by
// TLS.
func (in *instance) newServer(s *conf.Scope, kept *cache) (*server, error) {
	rejects, err := s.Flag("ssl_reject_handshake", false)
	if err != nil {
		return nil, err
	}
	certs, err := in.newCertificates(s)
	if err != nil {
		return nil, err
	}
	if certs == nil {
		if secured, err := in.isSecured(s); err != nil || !secured {
			return nil, err
		}
	}
	sv := &server{rejects: rejects, certs: certs}
	if sv.settings, err = in.newSettings(s); err != nil {
		return nil, err
	}
	if sv.ownOrder, err = s.Flag("ssl_prefer_server_ciphers", false); err != nil {
		return nil, err
	}
	size, err := s.Size("ssl_buffer_size", 16<<10)
	if err != nil {
		return nil, err
	}
	if sv.recordSize = int(size); size == 0 {
		sv.recordSize = 16 << 10 // nginx sends nothing, for ever
	}
	if err := in.checkParameters(s); err != nil {
		return nil, err
	}
	if sv.clients, err = in.newClients(s, certs != nil || rejects); err != nil {
		return nil, err
	}
	if sv.clients != nil {
		sv.settings.ClientAuth = tls.RequestClientCert
		sv.settings.ClientCAs = sv.clients.named
	}
	if certs != nil {
		if err := in.staple(s, certs); err != nil {
			return nil, err
		}
	}
	if sv.sessions, err = in.newSessions(s, sv, kept); err != nil {
		return nil, err
	}
	return sv, nil
}

// newSettings reads protocols, cipher suites and curves.
func (in *instance) newSettings(s *conf.Scope) (*tls.Config, error) {
	c := &tls.Config{
		MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13,
		// Records of the size that was asked for: nginx has no other ones.
		DynamicRecordSizingDisabled: true,
	}
	if p, err := in.protocols(s); err != nil {
		return nil, err
	} else if p.Max != 0 {
		c.MinVersion, c.MaxVersion = p.Min, p.Max
	}
	var err error
	if c.CipherSuites, err = tlsconf.Ciphers(s.String("ssl_ciphers", "HIGH:!aNULL:!MD5")); err != nil {
		return nil, conf.Errorf(nil, "%s", err)
	}
	if c.CurvePreferences, err = tlsconf.Curves(s.String("ssl_ecdh_curve", "auto")); err != nil {
		return nil, conf.Errorf(nil, "%s", err)
	}
	return c, nil
}

// protocols reads ssl_protocols, which adds up in a block.
func (in *instance) protocols(s *conf.Scope) (p tlsconf.Protocols, err error) {
	var words []string
	for _, d := range s.All("ssl_protocols") {
		words = append(words, d.Args...)
		if _, _, twice := tlsconf.ReadProtocols(words); twice != "" && !in.told[d] {
			in.told[d] = true
			in.b.Warn(d, "duplicate value \""+twice+"\"")
		}
	}
	if p, _, _ = tlsconf.ReadProtocols(words); p.Min == 0 && words != nil {
		return p, conf.Errorf(s.One("ssl_protocols"), "crypto/tls has none of the protocols in \"ssl_protocols\"")
	}
	return p, nil
}

// checkParameters makes sure of the file of ssl_dhparam, of which nothing else is made.
func (in *instance) checkParameters(s *conf.Scope) error {
	d := s.One("ssl_dhparam")
	if d == nil {
		return nil
	}
	if err := tlsconf.CheckParameters(in.read(d.Arg(0))); err != nil {
		return conf.Errorf(nil, "%s", err)
	}
	return nil
}

// read reads a file that a directive names.
func (in *instance) read(name string) tlsconf.File {
	f := tlsconf.File{Name: in.b.Config.AbsConf(name)}
	f.Data, f.Err = in.b.Config.ReadFile(name)
	return f
}

// Config returns the configuration of a handshake.
func (sv *server) Config(h *httpd.Handshake) (*tls.Config, error) {
	if sv.rejects {
		return nil, httpd.ErrUnknownName
	}
	certs := sv.certs
	if def, ok := h.Default.(*server); ok && certs == nil {
		certs = def.certs
	}
	if certs == nil {
		return nil, errNoCertificate
	}
	return sv.sessions.config(h, certs)
}

// Certified reports whether the server has a certificate of its own.
func (sv *server) Certified() bool { return sv.certs != nil }

// RecordSize is ssl_buffer_size.
func (sv *server) RecordSize() int { return sv.recordSize }

// Verifies is ssl_verify_client.
func (sv *server) Verifies() bool { return sv.clients != nil }

// Rejects is ssl_reject_handshake.
func (sv *server) Rejects() bool { return sv.rejects }

// Admit looks at the client's certificate, if there is to be one.
func (sv *server) Admit(r *httpd.Request) int {
	if sv.clients == nil {
		return 0
	}
	return sv.clients.admit(r)
}
