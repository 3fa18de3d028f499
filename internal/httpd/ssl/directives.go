package ssl

import (
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/tlsconf"
)

const hs = conf.HTTP | conf.Server

func one(name string) conf.Spec { return conf.Spec{Name: name, In: hs, Min: 1, Max: 1} }

func flag(name string) conf.Spec {
	s := one(name)
	s.Flag = true
	return s
}

func repeat(s conf.Spec) conf.Spec {
	s.Repeat = true
	return s
}

func checked(s conf.Spec, check func(*conf.Directive) error) conf.Spec {
	s.Check = check
	return s
}

func reads(s conf.Spec) conf.Spec {
	s.Reads = true
	return s
}

func many(s conf.Spec, most int) conf.Spec {
	s.Max = most
	return s
}

func noted(s conf.Spec, note string) conf.Spec {
	s.Note = note
	return s
}

func idle(s conf.Spec, note string) conf.Spec {
	s.Effect, s.Note = conf.NoEffect, note
	return s
}

func directives() []conf.Spec {
	return []conf.Spec{
		repeat(one("ssl_certificate")),
		noted(repeat(one("ssl_certificate_key")), "Files and data:, not engine:."),
		noted(reads(one("ssl_password_file")), "Nobody is asked for a password that it does not have."),
		noted(checked(repeat(many(one("ssl_protocols"), conf.AnyArgs)), checkProtocols),
			"TLSv1.2 and TLSv1.3 by default. What lies between the lowest and the highest is on."),
		noted(one("ssl_ciphers"), "OpenSSL's words choose among crypto/tls's suites, none of them DHE; their order is crypto/tls's."),
		noted(flag("ssl_prefer_server_ciphers"), "Chooses among several certificates. Suites have crypto/tls's order, by what the hardware is good at."),
		noted(one("ssl_ecdh_curve"), "Curves that crypto/tls has; their order is its own."),
		idle(one("ssl_dhparam"), "crypto/tls has no DHE suites. The file is checked."),
		noted(checked(one("ssl_buffer_size"), conf.CheckSize), "16k at most, the size of a record."),
		noted(checked(many(one("ssl_session_cache"), 2), checkSessionCache),
			"For `ssl_session_tickets off`. Each worker keeps its own; clients must know tickets, by which they name their sessions."),
		flag("ssl_session_tickets"),
		noted(repeat(one("ssl_session_ticket_key")), "Makes the keys of our tickets; nginx's tickets cannot be read."),
		noted(checked(one("ssl_session_timeout"), conf.CheckSeconds), "A day at most."),
		one("ssl_client_certificate"),
		one("ssl_trusted_certificate"),
		checked(one("ssl_verify_client"), conf.CheckEnum("off", "on", "optional", "optional_no_ca")),
		checked(one("ssl_verify_depth"), checkDepth),
		one("ssl_crl"),
		flag("ssl_stapling"),
		one("ssl_stapling_file"),
		noted(one("ssl_stapling_responder"), "The host is looked up when the configuration is loaded."),
		noted(flag("ssl_stapling_verify"), "An answer is always verified."),
		flag("ssl_reject_handshake"),
		idle(flag("ssl_early_data"), "crypto/tls takes no early data over TCP."),
	}
}

// checkDepth words it as nginx.
func checkDepth(d *conf.Directive) error {
	return conf.CheckNumber(d)
}

func checkProtocols(d *conf.Directive) error {
	if _, unknown, _ := tlsconf.ReadProtocols(d.Args); unknown != "" {
		return conf.Errorf(d, "invalid value \"%s\"", unknown)
	}
	return nil
}

// smallCache is the least that nginx takes: eight pages.
const smallCache = 8 * 4096

// checkSessionCache wants off, none, builtin[:size] or shared:name:size.
func checkSessionCache(d *conf.Directive) error {
	for _, arg := range d.Args {
		invalid := conf.Errorf(d, "invalid session cache \"%s\"", arg)
		kind, rest, colon := strings.Cut(arg, ":")
		switch {
		case arg == "off", arg == "none", arg == "builtin":
		case kind == "builtin" && colon:
			if _, err := conf.ParseNumber(rest); err != nil {
				return invalid
			}
		case kind == "shared" && colon:
			name, text, _ := strings.Cut(rest, ":")
			size, err := conf.ParseSize(text)
			if name == "" || err != nil {
				return invalid
			}
			if size < smallCache {
				return conf.Errorf(d, "session cache \"%s\" is too small", arg)
			}
		default:
			return invalid
		}
	}
	return nil
}
