package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/tlsconf"
)

// A Security is TLS towards servers as one location wants it: the *_ssl_ directives.
type Security struct {
	// Scheme is what the log writes before a server's address: "https://".
	Scheme string

	settings *tls.Config
	tellName bool            // the server hears which name it is asked by
	name     *httpd.Template // nil: the host that is asked
	verifier *tlsconf.Verifier
	sessions tls.ClientSessionCache // nil: none is resumed

	conf      *conf.Config
	cert      *tls.Certificate // of ours; nil for none, or for one whose name has variables
	certName  *httpd.Template  // with variables
	keyName   *httpd.Template
	passwords [][]byte
}

// maxSessions is how many sessions of one location's servers are remembered.
const maxSessions = 256

// SecurityDirectives are those that modules have which speak TLS with servers.
func (k *Kind) SecurityDirectives() []conf.Spec {
	const hsl = conf.HTTPServerLocation
	one := func(name string) conf.Spec {
		return conf.Spec{Name: k.Prefix + "_ssl_" + name, In: hsl, Min: 1, Max: 1}
	}
	flag := func(name string) conf.Spec {
		s := one(name)
		s.Flag = true
		return s
	}
	return []conf.Spec{
		one("certificate"),
		one("certificate_key"),
		noted(reads(one("password_file")), "Nobody is asked for a password that it does not have."),
		noted(checked(repeat(many(one("protocols"), 1, conf.AnyArgs)), checkProtocols),
			"TLSv1.2 and TLSv1.3 by default. What lies between the lowest and the highest is on."),
		noted(one("ciphers"), "OpenSSL's words choose among crypto/tls's suites, none of them DHE; their order is crypto/tls's."),
		one("name"),
		flag("server_name"),
		flag("verify"),
		checked(one("verify_depth"), conf.CheckNumber),
		one("trusted_certificate"),
		one("crl"),
		flag("session_reuse"),
	}
}

func checkProtocols(d *conf.Directive) error {
	_, unknown, _ := tlsconf.ReadProtocols(d.Args)
	if unknown != "" {
		return conf.Errorf(d, "invalid value \"%s\"", unknown)
	}
	return nil
}

// A securityReader reads a Security. Its names of directives lack "proxy_ssl_".
type securityReader struct {
	reader
}

func (rd *securityReader) ssl(name string) string { return rd.name("ssl_" + name) }

// NewSecurity reads the directives of scope s, where scheme is spoken.
func (k *Kind) NewSecurity(b *httpd.Builder, s *conf.Scope, scheme string) (*Security, error) {
	rd := &securityReader{reader{b: b, s: s, kind: k}}
	sec := &Security{
		Scheme: scheme, conf: b.Config,
		tellName: rd.flag("ssl_server_name", false),
		name:     rd.template("name"),
		settings: &tls.Config{
			MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13,
			// As in OpenSSL the handshake goes on, and who wants to looks afterwards.
			InsecureSkipVerify:          true, //nolint:gosec // see Exchange.verify
			DynamicRecordSizingDisabled: true,
		},
	}
	if rd.flag("ssl_session_reuse", true) {
		sec.sessions = tls.NewLRUClientSessionCache(maxSessions)
	}
	rd.protocols(sec)
	rd.certificate(sec)
	rd.verification(sec)
	return sec, rd.err
}

func (rd *securityReader) template(name string) *httpd.Template {
	d := rd.s.One(rd.ssl(name))
	if d == nil {
		return nil
	}
	t, err := rd.b.Template(d, d.Arg(0))
	rd.keep(err)
	return &t
}

// fault keeps an error that has no place in the configuration, as nginx words it.
func (rd *securityReader) fault(err error) {
	if err != nil {
		rd.keep(conf.Errorf(nil, "%s", err))
	}
}

func (rd *securityReader) protocols(sec *Security) {
	if d := rd.s.One(rd.ssl("protocols")); d != nil {
		var words []string // of a block; they add up
		for _, d := range rd.s.All(d.Name) {
			words = append(words, d.Args...)
		}
		p, _, _ := tlsconf.ReadProtocols(words)
		if p.Min == 0 {
			rd.keep(conf.Errorf(d, "crypto/tls has none of the protocols in \"%s\"", d.Name))
		}
		sec.settings.MinVersion, sec.settings.MaxVersion = p.Min, p.Max
	}
	var err error
	sec.settings.CipherSuites, err = tlsconf.Ciphers(rd.s.String(rd.ssl("ciphers"), "DEFAULT"))
	rd.fault(err)
}

// certificate reads ours, or only its name when that has variables.
func (rd *securityReader) certificate(sec *Security) {
	cert, key := rd.s.One(rd.ssl("certificate")), rd.s.One(rd.ssl("certificate_key"))
	if cert == nil {
		return
	}
	if key == nil {
		rd.keep(conf.Errorf(nil, "no \"%s\" is defined for certificate \"%s\"", rd.ssl("certificate_key"), cert.Arg(0)))
		return
	}
	if cert.Arg(0) == "" {
		return // what a block outside of this one names is not wanted
	}
	if d := rd.s.One(rd.ssl("password_file")); d != nil {
		data, err := rd.b.Config.ReadFile(d.Arg(0))
		if err != nil {
			rd.keep(conf.Errorf(d, "%s", err))
		}
		sec.passwords = tlsconf.Passwords(data)
	}
	certName, keyName := rd.template("certificate"), rd.template("certificate_key")
	_, certFixed := certName.Static()
	_, keyFixed := keyName.Static()
	if !certFixed || !keyFixed {
		sec.certName, sec.keyName = certName, keyName
		return
	}
	pair, err := tlsconf.Certificate(rd.file(cert.Arg(0)), rd.file(key.Arg(0)), sec.passwords)
	rd.fault(err)
	sec.cert = &pair
}

// file is a file's content, or that of a text that begins with "data:".
func (rd *securityReader) file(name string) tlsconf.File {
	if data, ok := strings.CutPrefix(name, "data:"); ok {
		return tlsconf.File{Name: "data:", Data: []byte(data)}
	}
	f := tlsconf.File{Name: rd.b.Config.AbsConf(name)}
	f.Data, f.Err = rd.b.Config.ReadFile(name)
	return f
}

// verification reads what servers' certificates are checked against, if they are.
func (rd *securityReader) verification(sec *Security) {
	depth, err := rd.s.Int(rd.ssl("verify_depth"), 1)
	rd.keep(err)
	v := &tlsconf.Verifier{Depth: depth, Usage: x509.ExtKeyUsageServerAuth}
	if !rd.flag("ssl_verify", false) {
		return
	}
	name := rd.s.String(rd.ssl("trusted_certificate"), "")
	if name == "" {
		rd.keep(conf.Errorf(nil, "no %s for %s", rd.ssl("trusted_certificate"), rd.ssl("verify")))
		return
	}
	v.Trusted, err = tlsconf.Authorities(rd.file(name))
	rd.fault(err)
	if name := rd.s.String(rd.ssl("crl"), ""); name != "" {
		v.CRLs, err = tlsconf.RevocationLists(rd.file(name))
		rd.fault(err)
	}
	sec.verifier = v
}

// nameFor is what a server's certificate must be for, and what it is told.
func (sec *Security) nameFor(x *Exchange) string {
	name := x.To.Host
	if sec.name != nil {
		name = sec.name.String(x.R)
	}
	from := 0
	if strings.HasPrefix(name, "[") {
		from = max(strings.IndexByte(name, ']'), 0)
	}
	if i := strings.IndexByte(name[from:], ':'); i >= 0 {
		name = name[:from+i]
	}
	return name
}

// config is the configuration of one handshake with the server that is called peer.
func (sec *Security) config(x *Exchange, name, peer string) (*tls.Config, error) {
	c := sec.settings.Clone()
	if sec.tellName && !strings.HasPrefix(name, "[") && net.ParseIP(name) == nil {
		c.ServerName = name
	}
	if sec.sessions != nil {
		c.ClientSessionCache = sessionsOf{sec.sessions, peer + " "}
	}
	cert, err := sec.ours(x)
	if cert != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return c, err
}

// ours is our certificate for one request, nil for none.
func (sec *Security) ours(x *Exchange) (*tls.Certificate, error) {
	if sec.certName == nil {
		return sec.cert, nil
	}
	name := sec.certName.String(x.R)
	if name == "" {
		return nil, nil
	}
	pair, err := tlsconf.Certificate(sec.load(name), sec.load(sec.keyName.String(x.R)), sec.passwords)
	return &pair, err
}

// load reads a file whose name has variables, as this process may.
func (sec *Security) load(name string) tlsconf.File {
	if data, ok := strings.CutPrefix(name, "data:"); ok {
		return tlsconf.File{Name: "data:", Data: []byte(data)} // a key may be in it
	}
	f := tlsconf.File{Name: sec.conf.AbsConf(name)}
	f.Data, f.Err = sec.conf.ReadLate(name)
	return f
}

// verify looks at a server's certificates and returns what is wrong with them, in
// nginx's words; "" for nothing.
func (sec *Security) verify(state *tls.ConnectionState, name string) string {
	if sec.verifier == nil {
		return ""
	}
	certs := state.PeerCertificates
	if v := sec.verifier.Verify(certs, time.Now()); v != tlsconf.Verified {
		return fmt.Sprintf("upstream SSL certificate verify error: (%d:%s)", int(v), v)
	}
	if !isFor(certs[0], name) {
		return "upstream SSL certificate does not match \"" + name + "\""
	}
	return ""
}

// isFor reports whether a certificate is for a host. One that lists no names is for
// its common name, as for OpenSSL.
func isFor(cert *x509.Certificate, host string) bool {
	switch {
	case tlsconf.VerifyName(cert, host) == tlsconf.Verified:
		return true
	case len(cert.DNSNames) > 0:
		return slices.Contains(cert.DNSNames, host) // an address among the names
	}
	common := strings.ToLower(cert.Subject.CommonName)
	host = strings.ToLower(host)
	if rest, ok := strings.CutPrefix(common, "*."); ok {
		_, above, dot := strings.Cut(host, ".")
		return dot && above == rest && strings.Contains(rest, ".")
	}
	return common != "" && common == host
}

// sessionsOf is what is remembered of one server.
type sessionsOf struct {
	all    tls.ClientSessionCache
	prefix string
}

func (s sessionsOf) Get(key string) (*tls.ClientSessionState, bool) { return s.all.Get(s.prefix + key) }

func (s sessionsOf) Put(key string, cs *tls.ClientSessionState) { s.all.Put(s.prefix+key, cs) }
