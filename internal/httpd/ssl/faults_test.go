package ssl_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/modules"
	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/youmark/pkcs8"
)

var emerg = regexp.MustCompile(`(?m)^nginx: \[(?:emerg|warn)\] (.*)$`)

// faultOfNginx is what "nginx -t" says of a configuration first; "" when it is right.
func faultOfNginx(t *testing.T, dir, file string) string {
	t.Helper()
	// In a session of its own it has no terminal to ask for a password.
	out, _ := exec.Command("setsid", "-w", "nginx", "-t", "-e", "logs/error.log", "-p", dir, "-c", file).CombinedOutput()
	if m := emerg.FindSubmatch(out); m != nil {
		return string(m[1])
	}
	return ""
}

// faultOfBaton is what a master says of it.
func faultOfBaton(t *testing.T, dir, file string) string {
	t.Helper()
	table, err := modules.Table()
	if err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(table, conf.Options{Prefix: dir, File: file, Resolve: httpd.LookupHost})
	if err != nil {
		return err.Error()
	}
	site, err := httpd.Compile(c, modules.All(), "baton")
	if err != nil {
		return err.Error()
	}
	return strings.Join(site.Warnings(), "\n")
}

const good = "ssl_certificate site.crt; ssl_certificate_key site.key; "

// faults are what may stand in a server that listens with TLS. What is behind "want"
// is all that must be alike: behind that OpenSSL goes on at length. Instead of "old" nginx
// says "now" since 1.27.
var faults = []struct{ text, want, old, now string }{
	{text: ""},
	{text: "ssl_certificate site.crt;"},
	{text: "ssl_certificate none.crt; ssl_certificate_key site.key;"},
	{text: "ssl_certificate site.crt; ssl_certificate_key none.key;"},
	{text: "ssl_certificate folder; ssl_certificate_key site.key;"},
	{text: "ssl_certificate site.crt; ssl_certificate_key folder;"},
	{text: "ssl_certificate empty; ssl_certificate_key site.key;"},
	{text: "ssl_certificate junk; ssl_certificate_key site.key;"},
	{text: "ssl_certificate site.crt; ssl_certificate_key junk;"},
	{text: "ssl_certificate broken.crt; ssl_certificate_key site.key;"},
	{text: "ssl_certificate half.crt; ssl_certificate_key site.key;"},
	{text: "ssl_certificate expired.crt; ssl_certificate_key expired.key;"}, // clients will say so
	{text: "ssl_certificate data:foo; ssl_certificate_key site.key;"},
	{text: "ssl_certificate site.crt; ssl_certificate_key data:foo;"},
	{text: "ssl_certificate site.crt; ssl_certificate_key other.key;"},
	{text: "ssl_certificate $nothing.crt; ssl_certificate_key site.key;"},
	{text: "ssl_certificate site.crt; ssl_certificate site.crt; ssl_certificate_key site.key;"},
	{text: "ssl_certificate rsa.crt; ssl_certificate_key locked.key;", want: `: PEM_read_bio_PrivateKey() failed (SSL: error:`},
	{text: "ssl_certificate rsa.crt; ssl_certificate_key locked.key; ssl_password_file wrong;", want: `: PEM_read_bio_PrivateKey() failed (SSL: error:1C800064:Provider routines::bad decrypt error:11800074:PKCS12 routines::pkcs12 cipherfinal error:maybe wrong password`},
	{text: "ssl_certificate rsa.crt; ssl_certificate_key locked.old.key; ssl_password_file wrong;"},
	{text: "ssl_certificate rsa.crt; ssl_certificate_key locked.key; ssl_password_file right;"},
	{text: "ssl_certificate rsa.crt; ssl_certificate_key locked.old.key; ssl_password_file right;"},
	{text: good + "ssl_password_file none;"},
	{text: good + "ssl_reject_handshake on;"},
	{text: "ssl_reject_handshake on;"},
	{text: "ssl_reject_handshake on; } server { listen 127.0.0.1:1 ssl; server_name b;"},
	{text: good + "ssl_protocols TLSv9;"},
	{text: good + "ssl_protocols TLSv1.2 TLSv1.3 SSLv3;"},
	{text: good + "ssl_protocols TLSv1.2 TLSv1.2;"},
	{text: good + "ssl_protocols TLSv1.2; ssl_protocols TLSv1.3;"},
	{text: good + "ssl_ciphers FOO;"},
	{text: good + "ssl_ciphers !ALL;"},
	{text: good + "ssl_ciphers FOO:ECDHE-RSA-AES128-GCM-SHA256;"},
	{text: good + "ssl_ciphers TLS_AES_128_GCM_SHA256;"},
	{text: good + "ssl_ciphers HIGH:!aNULL:!MD5;"},
	{text: good + "ssl_ciphers EECDH+AESGCM:EDH+AESGCM:AES256+EECDH:AES256+EDH;"},
	{text: good + "ssl_ciphers DEFAULT:!kRSA:@SECLEVEL=2;"},
	{text: good + "ssl_ecdh_curve foo;"},
	{text: good + "ssl_ecdh_curve X25519:foo;"},
	{text: good + "ssl_ecdh_curve secp384r1:X448:P-256;"},
	{text: good + "ssl_session_cache foo;"},
	{text: good + "ssl_session_cache shared:S;"},
	{text: good + "ssl_session_cache shared:S:1;"},
	{text: good + "ssl_session_cache shared::1m;"},
	{text: good + "ssl_session_cache builtin:x;"},
	{text: good + "ssl_session_cache builtin:100 shared:S:32k;"},
	{text: good + "ssl_session_cache off;"},
	{text: good + "ssl_session_cache a b c;"},
	{text: good + "ssl_session_cache shared:S:32k; } server { listen 127.0.0.1:1 ssl; server_name b; ssl_session_cache shared:S:32k; " + good},
	{text: good + "ssl_session_cache shared:S:32k; } server { listen 127.0.0.1:1 ssl; server_name b; ssl_session_cache shared:S:64k; " + good},
	{text: good + "ssl_session_timeout x;"},
	{text: good + "ssl_session_ticket_key none;"},
	{text: good + "ssl_session_ticket_key junk;"},
	{text: good + "ssl_session_ticket_key tickets48; ssl_session_ticket_key tickets80;"},
	{text: good + "ssl_verify_client on;", old: "no ssl_client_certificate for", now: "no ssl_client_certificate or ssl_trusted_certificate for"},
	{text: good + "ssl_verify_client optional;", old: "no ssl_client_certificate for", now: "no ssl_client_certificate or ssl_trusted_certificate for"},
	{text: good + "ssl_verify_client optional_no_ca;"},
	{text: good + "ssl_verify_client foo;"},
	{text: good + "ssl_verify_client on; ssl_client_certificate none;"},
	{text: good + "ssl_verify_client on; ssl_client_certificate junk;"},
	{text: good + "ssl_verify_client on; ssl_client_certificate ca.crt;"},
	{text: good + "ssl_trusted_certificate none;"},
	{text: good + "ssl_crl none;"},
	{text: good + "ssl_crl junk;"},
	{text: good + "ssl_crl crl;"},
	{text: good + "ssl_verify_depth x;"},
	{text: good + "ssl_buffer_size x;"},
	{text: good + "ssl_dhparam none;"},
	{text: good + "ssl_dhparam junk;"},
	{text: good + "ssl_stapling on; ssl_stapling_file none;"},
	{text: good + "ssl_stapling on; ssl_stapling_file junk;"},
	{text: good + "ssl_stapling_file none;"},
	{text: good + "ssl_prefer_server_ciphers maybe;"},
}

func TestFaultsAreNginxs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := newAuthorities(t)
	writeFaulty(t, dir, a)
	for _, f := range faults {
		write(t, dir, map[string]string{"n.conf": "events {}\npid logs/nginx.pid;\nhttp {\nserver {\n listen 127.0.0.1:1 ssl;\n" + f.text + "\n}\n}\n"})
		want, got := faultOfNginx(t, dir, "n.conf"), faultOfBaton(t, dir, "n.conf")
		want = strings.Replace(want, f.old, f.now, 1)
		if f.want != "" {
			cut := strings.Index(want, f.want)
			if cut < 0 {
				t.Errorf("%s: nginx says\n%s\nnot %s", f.text, want, f.want)
				continue
			}
			want = want[:cut+len(f.want)]
			got = got[:min(len(got), len(want))]
		}
		if got != want {
			t.Errorf("%s:\n%s\nnginx says\n%s", f.text, got, want)
		}
	}
}

// writeFaulty writes what the faults name.
func writeFaulty(t *testing.T, dir string, a authorities) {
	t.Helper()
	rsa := a.ca.Issue(testbed.Certificate{Name: "www.example.com", RSA: true})
	der, err := x509.MarshalPKCS8PrivateKey(rsa.Key)
	if err != nil {
		t.Fatal(err)
	}
	expired := a.ca.Issue(testbed.Certificate{Name: "www.example.com", Ends: -time.Hour})
	broken := "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	write(t, dir, map[string]string{
		"site.crt": a.site.CertPEM(), "site.key": a.site.KeyPEM(), "other.key": a.other.KeyPEM(), "ca.crt": a.ca.CertPEM(),
		"rsa.crt": rsa.CertPEM(), "rsa.key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"empty": "", "junk": "junk\n", "broken.crt": broken, "half.crt": a.site.CertPEM() + broken,
		"expired.crt": expired.CertPEM(), "expired.key": expired.KeyPEM(),
		"right": "\nwrong\nright\n", "wrong": "wrong\nno\n", "crl": a.ca.Revoke(),
		"tickets48": strings.Repeat("k", 48), "tickets80": strings.Repeat("k", 80),
	})
	for _, sub := range []string{"folder", "logs"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lock(t, dir, "locked.key", func() {
		locked, err := pkcs8.MarshalPrivateKey(rsa.Key, []byte("right"), nil)
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, map[string]string{"locked.key": string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: locked}))})
	})
	lock(t, dir, "locked.old.key", func() {
		if out, err := openssl("rsa", "-traditional", "-in", filepath.Join(dir, "rsa.key"), "-aes128", "-passout", "pass:right", "-out", filepath.Join(dir, "locked.old.key")); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	})
}

// lock encrypts a key, anew until OpenSSL sees of the passwords in the file "wrong" that
// they are: what one key in 256 is decrypted to by a wrong one has a right end by chance,
// and is only found to be no key then, in other words.
func lock(t *testing.T, dir, name string, encrypt func()) {
	t.Helper()
	seen := func(password string) bool {
		out, err := openssl("pkey", "-in", filepath.Join(dir, name), "-passin", "pass:"+password, "-noout")
		return err != nil && bytes.Contains(out, []byte("bad decrypt"))
	}
	for range 10 {
		if encrypt(); seen("wrong") && seen("no") {
			return
		}
	}
	t.Fatalf("openssl does not say of %s that a password is wrong", name)
}

func openssl(args ...string) (out []byte, err error) {
	return exec.Command("openssl", args...).CombinedOutput()
}
