package master_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/testbed"
)

// wantSh runs a script that must end with this status and say this on standard error.
func (s *server) wantSh(script string, status int, stderr string) {
	s.t.Helper()
	r := s.TrySh(script)
	if r.Status != status || !strings.Contains(r.Stderr, stderr) || stderr == "" && r.Stderr != "" {
		s.t.Errorf("%s: status %d, stderr %q; want %d and %q", script, r.Status, r.Stderr, status, stderr)
	}
}

// TestReloadTells: -s reload ends when the new configuration serves, or says why it does
// not; status tells of the last one and of files that have changed since.
func TestReloadTells(t *testing.T) {
	t.Parallel()
	s := start(t, testbed.Conf{})
	tells := func(want string, yes bool) {
		t.Helper()
		if out := s.Sh(`$P/sbin/nginx status --prefix $P`); strings.Contains(out, want) != yes {
			t.Errorf("status tells %q: %v, want %v:\n%s", want, !yes, yes, out)
		}
	}
	const changed = "changed since they were loaded: "
	tells("reload", false)
	s.Configure(testbed.Conf{Server: "location = /new { return 204; }"})
	tells(changed+s.ConfFile(), true)
	s.wantSh(`$P/sbin/nginx -s reload`, 0, "")
	if a := s.Get("/new"); a.Status != 204 {
		t.Errorf("after the reload /new is %d", a.Status)
	}
	tells(changed, false)
	tells("the last reload was ", true)

	// What passes the test, and is known by the master only.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s.Configure(testbed.Conf{Listen: []string{s.Addr, taken.Addr().String()}})
	fails := fmt.Sprintf("bind() to %s failed (98: Address already in use)", taken.Addr())
	s.wantSh(`$P/sbin/nginx -s reload --no-wait`, 0, "")
	s.wantSh(`$P/sbin/nginx -s reload`, 1, "nginx: reload: "+fails) // and not the answer to the one before
	tells("failed: "+fails, true)
	tells(changed+s.ConfFile(), true)
	if a := s.Get("/new"); a.Status != 204 {
		t.Errorf("after a reload that failed /new is %d", a.Status)
	}
	s.quit()
}

// TestReloadOfNginx: a master of nginx tells nothing; it gets the signal.
func TestReloadOfNginx(t *testing.T) {
	t.Parallel()
	s := site(t, testbed.Conf{User: testbed.PackageUser()})
	s.Sh(nginx(t).path + ` -p $P -c conf/nginx.conf -e logs/error.log`)
	s.WaitShape(oneMaster)
	s.wantSh(`$P/sbin/nginx -s reload`, 0, "")
	s.waitLog("reconfiguring")
	s.WaitShape(oneMaster)
	s.quit()
}
